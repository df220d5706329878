//! [`MessageFramer`]: frames that are binary messages, the AWS event stream, `application/vnd.amazon.eventstream`.
//!
//! Format: <https://smithy.io/2.0/aws/amazon-eventstream.html>. A message is its whole length and its headers' length
//! (4 bytes each, big-endian), the checksum of those eight bytes, headers, payload, and the checksum of all before it.

use serde_json::json;

use crate::provider::Frame;
use crate::provider::http::frame::FrameError;

/// Bytes of the two lengths and of a checksum.
const LENGTHS: usize = 8;
const CHECKSUM: usize = 4;
/// Bytes of lengths and their checksum.
const PRELUDE: usize = LENGTHS + CHECKSUM;
/// Fewest bytes of a message: one without headers and payload.
const SMALLEST: usize = PRELUDE + CHECKSUM;
/// The type of a header value that is text.
const TEXT: u8 = 7;

const BAD_PRELUDE: FrameError = FrameError::Damaged {
    problem: "the checksum of a message's lengths is wrong, or the answer is no AWS event stream",
};
const BAD_LENGTHS: FrameError = FrameError::Damaged { problem: "the lengths of a message cannot be" };
const BAD_MESSAGE: FrameError = FrameError::Damaged { problem: "the checksum of a message is wrong" };
const BAD_HEADERS: FrameError = FrameError::Damaged { problem: "the headers of a message cannot be read" };

/// The messages of one answer.
#[derive(Debug)]
pub(super) struct MessageFramer {
    limit: usize,
    /// Bytes of the message that has not ended yet; no more than `limit` before the next piece comes.
    held: Vec<u8>,
}

impl MessageFramer {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        self.held.extend_from_slice(bytes);
        let mut rest = self.held.as_slice();
        let read = take_frames(&mut rest, self.limit, frames);
        let done = self.held.len() - rest.len();
        self.held.drain(..done);
        read
    }
}

/// Takes all whole messages off the front of `bytes`.
fn take_frames(bytes: &mut &[u8], limit: usize, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
    while let Some(message) = Message::take(bytes, limit)? {
        frames.push(message.into_frame()?);
    }
    Ok(())
}

/// A whole message whose checksums are right.
struct Message<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes a message off the front of `bytes`, if it is there as a whole. Lengths are used only when their
    /// checksum is right: a damaged one could mean a wait for gigabytes.
    fn take(bytes: &mut &'a [u8], limit: usize) -> Result<Option<Self>, FrameError> {
        let mut rest = *bytes;
        let (Some(lengths), Some(checksum)) = (take(&mut rest, LENGTHS), take(&mut rest, CHECKSUM)) else {
            return Ok(None);
        };
        if !is_checksum(checksum, lengths) {
            return Err(BAD_PRELUDE);
        }
        let (whole, headers) = lengths.split_at(LENGTHS / 2);
        let (whole, headers) = (number(whole), number(headers));
        let payload =
            whole.checked_sub(SMALLEST).and_then(|content| content.checked_sub(headers)).ok_or(BAD_LENGTHS)?;
        if whole > limit {
            return Err(FrameError::TooLarge { limit });
        }
        let checked = bytes.get(..whole.saturating_sub(CHECKSUM)).unwrap_or_default();
        let (Some(headers), Some(payload), Some(checksum)) =
            (take(&mut rest, headers), take(&mut rest, payload), take(&mut rest, CHECKSUM))
        else {
            return Ok(None);
        };
        if !is_checksum(checksum, checked) {
            return Err(BAD_MESSAGE);
        }
        *bytes = rest;
        Ok(Some(Self { headers, payload }))
    }

    fn into_frame(self) -> Result<Frame, FrameError> {
        let headers = Headers::read(self.headers)?;
        let data = String::from_utf8_lossy(self.payload).into_owned();
        Ok(match headers.message_type {
            Some("exception") => Frame { event: owned(headers.exception_type), data, is_failure: true },
            Some("error") => {
                let data = json!({"message": headers.error_message.unwrap_or_default()}).to_string();
                Frame { event: owned(headers.error_code), data, is_failure: true }
            }
            _ => Frame::event(owned(headers.event_type), data),
        })
    }
}

/// The headers that name the kind of message; others (its content type) are not needed.
#[derive(Default)]
struct Headers<'a> {
    message_type: Option<&'a str>,
    event_type: Option<&'a str>,
    exception_type: Option<&'a str>,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
}

impl<'a> Headers<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut headers = Self::default();
        while !bytes.is_empty() {
            let (name, value) = header(&mut bytes).ok_or(BAD_HEADERS)?;
            let known = match name {
                b":message-type" => &mut headers.message_type,
                b":event-type" => &mut headers.event_type,
                b":exception-type" => &mut headers.exception_type,
                b":error-code" => &mut headers.error_code,
                b":error-message" => &mut headers.error_message,
                _ => continue,
            };
            *known = value.map(std::str::from_utf8).transpose().map_err(|_| FrameError::NotUtf8)?;
        }
        Ok(headers)
    }
}

/// Takes a header off the front: its name, and its value if that is text. `None` when it is cut short or of a type
/// that does not exist.
fn header<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let length = number(take(bytes, 1)?);
    let name = take(bytes, length)?;
    let kind = *take(bytes, 1)?.first()?;
    let length = match kind {
        // True and false.
        0 | 1 => 0,
        // Integers of growing size, a time, a UUID.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        // Bytes and text have their length in front.
        6 | TEXT => number(take(bytes, 2)?),
        _ => return None,
    };
    let value = take(bytes, length)?;
    Some((name, (kind == TEXT).then_some(value)))
}

/// Takes `count` bytes off the front, if they are there.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// A big-endian number of at most four bytes.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn is_checksum(checksum: &[u8], bytes: &[u8]) -> bool {
    checksum == crc32fast::hash(bytes).to_be_bytes()
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::Framing;
    use crate::provider::event_stream::{error, event, exception, framed, message};
    use crate::provider::http::frame::tests::{frames_of, pieces};

    const LIMIT: usize = 4096;

    /// The frames of a stream, or its error.
    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, FrameError> {
        let (frames, error) = frames_of(Framing::AwsEventStream, LIMIT, chunks);
        error.map_or(Ok(frames), Err)
    }

    fn frame(event: &str, data: &str) -> Frame {
        Frame::event(Some(event.to_owned()), data.to_owned())
    }

    #[test]
    fn events_exceptions_and_errors_are_distinguished() {
        let bytes = [
            event("contentBlockDelta", &json!({"text": "é🦉"})),
            exception("throttlingException", &json!({"message": "Slow down."})),
            error("InternalFailure", "Oh \"no\"."),
            message(&[], b"bare"),
        ]
        .concat();
        let failure = |event, data| Frame { is_failure: true, ..frame(event, data) };
        let expected = vec![
            frame("contentBlockDelta", r#"{"text":"é🦉"}"#),
            failure("throttlingException", r#"{"message":"Slow down."}"#),
            failure("InternalFailure", r#"{"message":"Oh \"no\"."}"#),
            Frame::event(None, "bare".to_owned()),
        ];
        assert_eq!(read([bytes.as_slice()]), Ok(expected));
    }

    #[test]
    fn headers_of_every_type_are_passed_over() {
        let headers = [
            b"\x01a\x00\x01b\x01\x01c\x02\x7f\x01d\x03\x01\x02\x01e\x04\0\0\0\x01".as_slice(),
            b"\x01f\x05\0\0\0\0\0\0\0\0\x01g\x06\0\x02\xff\xfe\x0b:event-type\x07\0\x01x",
            b"\x01t\x08\0\0\0\0\0\0\0\0\x01u\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ]
        .concat();
        assert_eq!(read([framed(&headers, b"{}").as_slice()]), Ok(vec![frame("x", "{}")]));
        // Cut short at every place, or of a type that does not exist.
        let ends: Vec<usize> = [3, 6, 10, 15, 22, 33, 40, 56, 67, 86].into();
        for end in 1..headers.len() {
            let found = read([framed(&headers[..end], b"{}").as_slice()]);
            assert_eq!(found.is_ok(), ends.contains(&end), "{end}: {found:?}");
        }
        assert_eq!(read([framed(b"\x01a\x0a", b"").as_slice()]), Err(BAD_HEADERS));
    }

    #[test]
    fn a_header_that_is_no_text_is_an_error_and_a_payload_is_mended() {
        let frames = read([message(&[], b"\xff").as_slice()]).unwrap();
        assert_eq!(frames, [Frame::event(None, "\u{fffd}".to_owned())]);
        let headers = b"\x0b:event-type\x07\0\x01\xff";
        assert_eq!(read([framed(headers, b"").as_slice()]), Err(FrameError::NotUtf8));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_awaited() {
        let prelude = |whole: u32, headers: u32| {
            let mut bytes = [whole.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            read([bytes.as_slice()])
        };
        assert_eq!(prelude(4096, 0), Ok(Vec::new()));
        assert_eq!(prelude(4097, 0), Err(FrameError::TooLarge { limit: LIMIT }));
        assert_eq!(prelude(u32::MAX, 7), Err(FrameError::TooLarge { limit: LIMIT }));
        for (whole, headers) in [(0, 0), (15, 0), (16, 1), (20, 5), (16, u32::MAX)] {
            assert_eq!(prelude(whole, headers), Err(BAD_LENGTHS), "{whole} {headers}");
        }
        assert_eq!(read([b"event: message_start\n".as_slice()]), Err(BAD_PRELUDE));
    }

    #[test]
    fn a_message_that_was_cut_off_is_dropped() {
        let bytes = [event("a", &json!(1)), event("b", &json!(2))].concat();
        assert_eq!(read([&bytes[..bytes.len() - 1]]), Ok(vec![frame("a", "1")]));
    }

    #[test]
    fn the_messages_before_a_fault_are_delivered() {
        let good = event("a", &json!(1));
        for (bad, error) in [(b"event: x\n\n\n\n".as_slice(), BAD_PRELUDE), (&framed(b"\x01a\x0a", b""), BAD_HEADERS)] {
            let bytes = [&good, bad, &good].concat();
            let found = frames_of(Framing::AwsEventStream, LIMIT, [bytes.as_slice()]);
            assert_eq!(found, (vec![frame("a", "1")], Some(error)));
        }
    }

    /// Messages of all kinds.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let one = ("[a-z]{0,9}", "[a-zé🦉]{0,30}", 0..3).prop_map(|(name, text, kind)| match kind {
            0 => event(&name, &json!({"text": text})),
            1 => exception(&name, &json!({"message": text})),
            _ => error(&name, &text),
        });
        prop::collection::vec(one, 1..6).prop_map(|messages| messages.concat())
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames_and_the_same_end(
            bytes in stream(),
            // A fault at any place, or none.
            fault in prop::option::of((any::<prop::sample::Index>(), 1_u8..)),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut bytes = bytes;
            if let Some((at, change)) = fault {
                *at.get_mut(&mut bytes) ^= change;
            }
            let whole = frames_of(Framing::AwsEventStream, LIMIT, [bytes.as_slice()]);
            prop_assert_eq!(whole.1.is_some(), fault.is_some());
            prop_assert_eq!(&frames_of(Framing::AwsEventStream, LIMIT, pieces(&bytes, &cuts)), &whole);
            prop_assert_eq!(&frames_of(Framing::AwsEventStream, LIMIT, bytes.chunks(1)), &whole);
        }

        #[test]
        fn any_changed_byte_is_noticed(bytes in stream(), at in any::<prop::sample::Index>(), change in 1_u8..) {
            let mut bytes = bytes;
            *at.get_mut(&mut bytes) ^= change;
            let found = read([bytes.as_slice()]);
            prop_assert!(matches!(found, Err(FrameError::Damaged { .. })), "{:?}", found);
        }

        #[test]
        fn arbitrary_bytes_and_headers_do_no_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            headers in prop::collection::vec(0_u8..12, 0..60),
        ) {
            prop_assert_eq!(read(bytes.chunks(7)), read([bytes.as_slice()]));
            prop_assert_eq!(read(framed(&headers, &bytes).chunks(5)), read([framed(&headers, &bytes).as_slice()]));
        }
    }
}
