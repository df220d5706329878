//! The three framers: server-sent events, lines of JSON, AWS event streams. The first byte chooses one, the second the
//! size of the pieces; any split of the rest must give the same frames and the same
//! error behind them.
#![no_main]

use perstack::provider::http::frame::Framer;
use perstack::provider::{Frame, Framing};

/// Most bytes of one frame: small, so that the fuzzer reaches it.
const LIMIT: usize = 4096;

fn frames<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<String>) {
    let mut framer = Framer::new(framing, LIMIT);
    let mut frames = Vec::new();
    for piece in pieces {
        if let Err(error) = framer.push(piece, &mut frames) {
            return (frames, Some(error.to_string()));
        }
    }
    frames.extend(framer.finish());
    (frames, None)
}

libfuzzer_sys::fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, size, bytes) = input;
    let framing = match kind % 3 {
        0 => Framing::Sse,
        1 => Framing::Ndjson,
        _ => Framing::AwsEventStream,
    };
    let whole = frames(framing, std::iter::once(bytes));
    let split = frames(framing, bytes.chunks(usize::from(size) + 1));
    assert_eq!(whole, split);
});
