//! Cuts an answer's bytes into frames, whatever the pieces they come in.
//!
//! What a frame's data means is the protocol's business.

mod lines;
mod messages;

use lines::{LineFramer, LineKind};
use messages::MessageFramer;

use crate::provider::{Frame, Framing};

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
    /// A binary message that is not as it was sent, or no such message at all.
    #[error("{what}")]
    Damaged { what: &'static str },
}

/// Takes bytes as they arrive and gives the frames they complete. Any split of the same bytes gives the same frames.
#[derive(Debug)]
pub struct Framer(Kind);

#[derive(Debug)]
enum Kind {
    LineFramer(LineFramer),
    MessageFramer(MessageFramer),
}

impl Framer {
    /// A framer for one answer; `limit` is the most bytes a frame may have, usually [`FRAME_LIMIT`].
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self(match framing {
            Framing::Sse => Kind::LineFramer(LineFramer::new(LineKind::Fields, limit)),
            Framing::Ndjson => Kind::LineFramer(LineFramer::new(LineKind::Json, limit)),
            Framing::AwsEventStream => Kind::MessageFramer(MessageFramer::new(limit)),
        })
    }

    /// The frames that `bytes` complete, in order.
    ///
    /// # Errors
    /// [`FrameError`]; the frames before the fault are lost, as the answer is.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        match &mut self.0 {
            Kind::LineFramer(lines) => lines.push(bytes),
            Kind::MessageFramer(messages) => messages.push(bytes),
        }
    }

    /// What the end of the bytes completes. What was cut off in its middle is dropped: the answer then lacks its end,
    /// which tells more than a parser's complaint.
    ///
    /// # Errors
    /// As [`Framer::push`].
    pub fn finish(&mut self) -> Result<Option<Frame>, FrameError> {
        match &mut self.0 {
            Kind::LineFramer(lines) => lines.finish(),
            Kind::MessageFramer(_) => Ok(None),
        }
    }

    /// How many signs of life came that carry no data.
    pub fn keep_alives(&self) -> u64 {
        match &self.0 {
            Kind::LineFramer(lines) => lines.keep_alives(),
            Kind::MessageFramer(_) => 0,
        }
    }
}
