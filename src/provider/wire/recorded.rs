//! Recorded streams for the protocols' tests: text cut into frames at blank lines or into lines, which is all that
//! these recordings need, or lines of JSON that describe binary messages.

use crate::generation::{Delta, FailureKind, GenerationFailure};
use crate::provider::http::frame::{FRAME_LIMIT, Framer};
use crate::provider::{Frame, Framing, Protocol, event_stream};

/// The frames of a recording; a last one that is cut off counts too.
fn frames(framing: Framing, recording: &str) -> Vec<Frame> {
    match framing {
        Framing::AwsEventStream => {
            let mut frames = Vec::new();
            let bytes = event_stream::stream(recording.as_bytes());
            Framer::new(framing, FRAME_LIMIT).push(&bytes, &mut frames).unwrap();
            return frames;
        }
        Framing::Ndjson => return recording.lines().map(|line| Frame::event(None, line.to_owned())).collect(),
        Framing::Sse => {}
    }
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
    };
    let blocks = recording.split("\n\n").filter(|block| !block.is_empty());
    blocks.map(|block| Frame::event(field(block, "event:"), field(block, "data:").unwrap_or_default())).collect()
}

/// The deltas of a recording from a fresh decoder, up to its first failure.
pub(super) fn decode(protocol: &dyn Protocol, recording: &str) -> (Vec<Delta>, Option<GenerationFailure>) {
    let mut decoder = protocol.decoder();
    let mut deltas = Vec::new();
    for frame in frames(protocol.framing(), recording) {
        match decoder.frame(&frame) {
            Ok(more) => deltas.extend(more),
            Err(failure) => return (deltas, Some(failure)),
        }
    }
    (deltas, None)
}

/// The deltas of a recording without a failure.
pub(super) fn deltas(protocol: &dyn Protocol, recording: &str) -> Vec<Delta> {
    let (deltas, failure) = decode(protocol, recording);
    assert_eq!(failure, None);
    deltas
}

/// Cuts every frame at every character: a torn frame gives nothing or a retryable failure, and leaves the decoder
/// unchanged.
pub(super) fn assert_torn_frames_do_no_harm(protocol: &dyn Protocol, recording: &str) {
    let mut decoder = protocol.decoder();
    let mut deltas = Vec::new();
    let mut failure = None;
    for frame in frames(protocol.framing(), recording) {
        for (end, _) in frame.data.char_indices() {
            let torn = Frame { data: frame.data[..end].to_owned(), ..frame.clone() };
            let result = decoder.frame(&torn).map_err(|failure| (failure.kind, failure.is_retryable));
            let expected = if end == 0 { Ok(Vec::new()) } else { Err((FailureKind::Malformed, true)) };
            assert_eq!(result, expected, "{torn:?}");
        }
        match decoder.frame(&frame) {
            Ok(more) => deltas.extend(more),
            Err(last) => failure = Some(last),
        }
    }
    assert_eq!((deltas, failure), decode(protocol, recording));
}
