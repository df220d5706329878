//! Recorded streams for the protocols' tests: cut into frames at blank lines, which is all that these recordings need.

use super::{Frame, Protocol};
use crate::generation::{Delta, FailureKind, GenerationFailure};

/// The frames of a recording; a last one that is cut off counts too.
fn frames(recording: &str) -> Vec<Frame> {
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
    };
    let blocks = recording.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| Frame { event: field(block, "event:"), data: field(block, "data:").unwrap_or_default() })
        .collect()
}

/// What a fresh decoder makes of a recording, up to its first failure.
pub(super) fn decode(protocol: &dyn Protocol, recording: &str) -> (Vec<Delta>, Option<GenerationFailure>) {
    let mut decoder = protocol.decoder();
    let mut deltas = Vec::new();
    for frame in frames(recording) {
        match decoder.frame(&frame) {
            Ok(more) => deltas.extend(more),
            Err(failure) => return (deltas, Some(failure)),
        }
    }
    (deltas, None)
}

/// What a decoder makes of a recording that holds no failure.
pub(super) fn deltas(protocol: &dyn Protocol, recording: &str) -> Vec<Delta> {
    let (deltas, failure) = decode(protocol, recording);
    assert_eq!(failure, None);
    deltas
}

/// Cuts a recording at every character: what comes out is always a beginning of what comes out of the whole, and the
/// only new failure is that of a torn frame.
pub(super) fn assert_any_cut_gives_a_beginning(protocol: &dyn Protocol, recording: &str) {
    let (whole, whole_failure) = decode(protocol, recording);
    for (end, _) in recording.char_indices() {
        let (cut, failure) = decode(protocol, &recording[..end]);
        assert!(whole.starts_with(&cut), "cut at {end}: {cut:?}");
        if let Some(failure) = failure.filter(|failure| Some(failure) != whole_failure.as_ref()) {
            assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Malformed, true), "cut at {end}");
        }
    }
}
