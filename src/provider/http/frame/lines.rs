//! [`LineFramer`]: frames that are made of lines, which are server-sent events and lines of JSON.
//!
//! Called by [`Framer`](super::Framer). Server-sent events follow the WHATWG HTML standard, "Server-sent events"
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use crate::json_text;
use crate::provider::Frame;
use crate::provider::http::frame::FrameError;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The end mark of Chat Completions, which is not JSON.
const DONE_MARK: &str = "[DONE]";

/// The content of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// Fields of server-sent events.
    Fields,
    /// JSON, a value each.
    Json,
}

/// The lines of one answer.
#[derive(Debug)]
pub(super) struct LineFramer {
    kind: LineKind,
    limit: usize,
    /// Bytes of the line that has not ended yet.
    line: Vec<u8>,
    /// A carriage return ended the last line: a line feed right after it belongs to the same line end.
    after_carriage_return: bool,
    event: Option<String>,
    /// The data lines of the event so far; `None` until there is one (an empty one counts).
    data: Option<String>,
    keep_alives: u64,
}

impl LineFramer {
    pub(super) fn new(kind: LineKind, limit: usize) -> Self {
        Self { kind, limit, line: Vec::new(), after_carriage_return: false, event: None, data: None, keep_alives: 0 }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        if std::mem::take(&mut self.after_carriage_return) {
            match bytes {
                [b'\n', rest @ ..] => bytes = rest,
                [] => self.after_carriage_return = true,
                _ => {}
            }
        }
        while let Some(end) = bytes.iter().position(|byte| self.ends_line(*byte)) {
            let (line, rest) = bytes.split_at(end);
            self.extend_line(line)?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => rest,
            };
            self.after_carriage_return = rest == b"\r";
            frames.extend(self.end_line());
        }
        self.extend_line(bytes)
    }

    /// The frames that the end of the bytes completes: a last line of JSON without its line feed, an event without its
    /// blank line. The standard drops such an event, but servers end with one; it counts when its data is whole. Half of
    /// it is dropped: the missing end of the answer is then the error.
    pub(super) fn finish(&mut self) -> Vec<Frame> {
        let mut frames: Vec<Frame> = self.end_line().into_iter().collect();
        if self.kind == LineKind::Fields {
            frames.extend(self.end_event_line(""));
        }
        frames.retain(|frame| is_whole(&frame.data));
        frames
    }

    /// The number of comments and blank lines of JSON: keep-alives, which carry no data.
    pub(super) fn keep_alives(&self) -> u64 {
        self.keep_alives
    }

    fn ends_line(&self, byte: u8) -> bool {
        byte == b'\n' || (byte == b'\r' && self.kind == LineKind::Fields)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held.saturating_add(bytes.len()) > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Frame> {
        let mut bytes = std::mem::take(&mut self.line);
        // Also in mid-stream, where a gateway joins several bodies.
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        // A stray byte costs a character, not the answer: a retry would be paid for, and often have the same byte.
        let line =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        match self.kind {
            LineKind::Fields => self.end_event_line(&line),
            LineKind::Json => self.end_json_line(line),
        }
    }

    fn end_event_line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let event = self.event.take();
            return self.data.take().map(|data| Frame::event(event, data));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.keep_alives += 1,
            "event" => self.event = Some(value.to_owned()).filter(|name| !name.is_empty()),
            // Servers that leave the blank line out write one event after the other.
            "data" if self.data.as_deref().is_some_and(is_whole) => {
                let event = self.event.take();
                return self.data.replace(value.to_owned()).map(|data| Frame::event(event, data));
            }
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // `id` and `retry` serve reconnecting, which a billed request never does; others are unknown.
            _ => {}
        }
        None
    }

    fn end_json_line(&mut self, line: String) -> Option<Frame> {
        if line.trim().is_empty() {
            self.keep_alives += 1;
            return None;
        }
        Some(Frame::event(None, line))
    }
}

/// Returns true for data that is whole: a JSON object, or the mark of an end.
fn is_whole(data: &str) -> bool {
    let data = data.trim();
    data == DONE_MARK || (data.starts_with('{') && json_text::parse::<serde::de::IgnoredAny>(data).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::Framing;
    use crate::provider::http::frame::Framer;
    use crate::provider::http::frame::tests::{frames_of, pieces};

    const LIMIT: usize = 1024;

    fn sse(text: &str) -> (Vec<Frame>, Option<FrameError>) {
        frames_of(Framing::Sse, LIMIT, [text.as_bytes()])
    }

    /// The frames of a stream without an error.
    fn whole(frames: impl Into<Vec<Frame>>) -> (Vec<Frame>, Option<FrameError>) {
        (frames.into(), None)
    }

    fn frame(event: Option<&str>, data: &str) -> Frame {
        Frame::event(event.map(str::to_owned), data.to_owned())
    }

    #[test]
    fn every_line_end_ends_a_line() {
        let expected = whole([frame(Some("a"), "1"), frame(None, "2")]);
        assert_eq!(sse("event: a\ndata: 1\n\ndata: 2\n\n"), expected);
        assert_eq!(sse("event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n"), expected);
        assert_eq!(sse("event: a\rdata: 1\r\rdata: 2\r\r"), expected);
    }

    #[test]
    fn data_lines_are_joined_and_only_one_space_is_taken_off() {
        assert_eq!(sse("data:one\ndata:  two\ndata\n\n"), whole([frame(None, "one\n two\n")]));
        assert_eq!(sse("data:\n\n"), whole([frame(None, "")]));
    }

    #[test]
    fn comments_and_events_without_data_are_no_frames() {
        let mut framer = Framer::new(Framing::Sse, LIMIT);
        let mut found = Vec::new();
        let read = framer.push(b": keep-alive\n\nevent: ping\n\nid: 7\nretry: 5\n\n:\n\ndata: 1\n\n", &mut found);
        assert_eq!((read, found), (Ok(()), vec![frame(None, "1")]));
        assert_eq!(framer.keep_alives(), 2);
    }

    #[test]
    fn a_last_event_without_its_blank_line_counts_when_it_is_whole() {
        let one = frame(None, "1");
        for end in ["data: {\"a\":2}\n", "data: {\"a\":2}", "data: {\"a\":2}\r"] {
            assert_eq!(sse(&format!("data: 1\n\n{end}")), whole([one.clone(), frame(None, "{\"a\":2}")]), "{end:?}");
        }
        assert_eq!(sse("data: 1\n\ndata: [DONE]"), whole([one.clone(), frame(None, "[DONE]")]));
        for half in ["data: {\"a\":2\n", "data: {\"a\"", "data: 2\n", "data", "event: x\n", ": x"] {
            assert_eq!(sse(&format!("data: 1\n\n{half}")), whole([one.clone()]), "{half:?}");
        }
    }

    #[test]
    fn events_without_blank_lines_are_distinguished_by_their_data() {
        let text = "event: x\ndata: {\"a\":1}\ndata: {\"a\":\ndata: 2}\ndata: {\"b\":3}\ndata: [DONE]\n";
        let data = ["{\"a\":\n2}", "{\"b\":3}", "[DONE]"].map(|data| frame(None, data));
        assert_eq!(sse(text), whole([&[frame(Some("x"), "{\"a\":1}")], data.as_slice()].concat()));
    }

    #[test]
    fn bytes_that_are_not_utf_8_become_replacement_characters() {
        let found = |framing, bytes: &[u8]| frames_of(framing, LIMIT, [bytes]);
        assert_eq!(found(Framing::Sse, b"data: a\xff b\n\n"), whole([frame(None, "a\u{fffd} b")]));
        assert_eq!(found(Framing::Ndjson, b"\"\xc3\"\n"), whole([frame(None, "\"\u{fffd}\"")]));
    }

    #[test]
    fn a_byte_order_mark_may_begin_any_line() {
        let bytes = b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n";
        assert_eq!(frames_of(Framing::Sse, LIMIT, [bytes.as_slice()]), whole([frame(None, "1"), frame(None, "2")]));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_an_error_whether_in_one_line_or_many() {
        let one = format!("data: {}", "x".repeat(2000));
        let many = "data: 0123456789\n".repeat(200);
        for text in [one, many] {
            assert_eq!(sse(&text), (Vec::new(), Some(FrameError::TooLarge { limit: LIMIT })));
        }
    }

    #[test]
    fn json_lines_are_frames_and_the_last_needs_no_line_feed() {
        let lines = b"{\"a\":1}\r\n\n{\"b\":2}".as_slice();
        assert_eq!(
            frames_of(Framing::Ndjson, LIMIT, [lines]),
            whole([frame(None, "{\"a\":1}\r"), frame(None, "{\"b\":2}")])
        );
        assert_eq!(
            frames_of(Framing::Ndjson, LIMIT, [b"{\"a\":1}\n{\"b\"".as_slice()]),
            whole([frame(None, "{\"a\":1}")])
        );
    }

    #[test]
    fn the_frames_before_a_frame_beyond_the_limit_are_delivered() {
        let text = format!("data: 1\n\n{}", "x".repeat(LIMIT + 1));
        assert_eq!(sse(&text), (vec![frame(None, "1")], Some(FrameError::TooLarge { limit: LIMIT })));
    }

    /// Bytes that are likely to be events: words, line ends and a character of several bytes, in any order.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(vec![
            "data:",
            "data: ",
            "event: x",
            ":",
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            "\r\n\r\n",
            "é🦉",
            "{\"a\":1}",
            "\u{feff}",
            " ",
        ]);
        prop::collection::vec(word, 0..60).prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames_and_the_same_end(
            bytes in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            // Some streams reach this limit, with frames before and behind.
            for (framing, limit) in [(Framing::Sse, LIMIT), (Framing::Ndjson, LIMIT), (Framing::Sse, 12), (Framing::Ndjson, 12)] {
                let whole = frames_of(framing, limit, [bytes.as_slice()]);
                prop_assert_eq!(&frames_of(framing, limit, pieces(&bytes, &cuts)), &whole);
                prop_assert_eq!(&frames_of(framing, limit, bytes.chunks(1)), &whole);
            }
        }
    }
}
