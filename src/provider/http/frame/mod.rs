//! [`Framer`]: cuts an answer's bytes into frames, whatever the pieces they arrive in.
//!
//! Called by `generate`. The meaning of a frame's data is left to the protocol.

mod lines;
mod messages;

use lines::{LineFramer, LineKind};
use messages::MessageFramer;

use crate::provider::{Frame, Framing};

/// Most bytes that one frame may have: a whole answer with large tool arguments fits many times over, and a server that
/// never ends its line cannot fill the memory.
pub const FRAME_LIMIT: usize = 32 * 1024 * 1024;

/// The reason why bytes are not frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the answer is not valid UTF-8")]
    NotUtf8,
    #[error("one piece of the answer is longer than {limit} bytes")]
    TooLarge { limit: usize },
    /// A binary message with a wrong checksum or length, or bytes that are no such message.
    #[error("{problem}")]
    Damaged { problem: &'static str },
}

/// Takes bytes as they arrive and returns the frames they complete. Any split of the same bytes gives the same frames
/// and the same error behind them.
#[derive(Debug)]
pub struct Framer(Kind);

#[derive(Debug)]
enum Kind {
    Lines(LineFramer),
    Messages(MessageFramer),
}

impl Framer {
    /// A framer for one answer; `limit` is the most bytes a frame may have, usually [`FRAME_LIMIT`].
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self(match framing {
            Framing::Sse => Kind::Lines(LineFramer::new(LineKind::Fields, limit)),
            Framing::Ndjson => Kind::Lines(LineFramer::new(LineKind::Json, limit)),
            Framing::AwsEventStream => Kind::Messages(MessageFramer::new(limit)),
        })
    }

    /// Adds the frames that `bytes` complete to `frames`, in order. On an error these are the frames before the fault,
    /// which count: the answer may have ended with them. Nothing can be read behind a fault.
    ///
    /// # Errors
    /// [`FrameError`], the same for any split of the bytes.
    pub fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        match &mut self.0 {
            Kind::Lines(lines) => lines.push(bytes, frames),
            Kind::Messages(messages) => messages.push(bytes, frames),
        }
    }

    /// The frames that the end of the bytes completes. A frame cut off in its middle is dropped: the missing end of the
    /// answer is then the error, which helps more than a parser's message.
    pub fn finish(&mut self) -> Vec<Frame> {
        match &mut self.0 {
            Kind::Lines(lines) => lines.finish(),
            Kind::Messages(_) => Vec::new(),
        }
    }

    /// The number of keep-alives, which carry no data.
    pub fn keep_alives(&self) -> u64 {
        match &self.0 {
            Kind::Lines(lines) => lines.keep_alives(),
            Kind::Messages(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a stream that comes in these pieces, and the error behind them.
    pub(super) fn frames_of<'a>(
        framing: Framing,
        limit: usize,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Frame>, Option<FrameError>) {
        let mut framer = Framer::new(framing, limit);
        let mut found = Vec::new();
        for piece in pieces {
            if let Err(error) = framer.push(piece, &mut found) {
                return (found, Some(error));
            }
        }
        found.extend(framer.finish());
        (found, None)
    }

    /// The bytes, cut at these places.
    pub(super) fn pieces<'a>(bytes: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }
}
