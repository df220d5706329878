//! Cuts an answer's bytes into frames, whatever the pieces they come in.
//!
//! What a frame's data means is the protocol's business.

mod lines;

use lines::Lines;

use super::{Frame, Framing};

/// Most bytes that one frame may have: a whole answer with large tool arguments fits many times over, a server that
/// never ends its line does not fill the memory.
pub const FRAME_LIMIT: usize = 32 * 1024 * 1024;

/// Why bytes are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the answer is not valid UTF-8")]
    NotUtf8,
    #[error("one piece of the answer is longer than {limit} bytes")]
    TooLarge { limit: usize },
}

/// Takes bytes as they arrive and gives the frames they complete. Any split of the same bytes gives the same frames.
#[derive(Debug)]
pub struct Framer(Lines);

impl Framer {
    /// A framer for one answer; `limit` is the most bytes a frame may have, usually [`FRAME_LIMIT`].
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self(Lines::new(framing, limit))
    }

    /// The frames that `bytes` complete, in order.
    ///
    /// # Errors
    /// [`FrameError`]; the frames before the fault are lost, as the answer is.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        self.0.push(bytes)
    }

    /// What the end of the bytes completes.
    ///
    /// # Errors
    /// As [`Framer::push`].
    pub fn finish(&mut self) -> Result<Option<Frame>, FrameError> {
        self.0.finish()
    }

    /// How many signs of life came that carry no data.
    pub fn keep_alives(&self) -> u64 {
        self.0.keep_alives()
    }
}
