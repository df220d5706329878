//! The AWS event stream, written: `application/vnd.amazon.eventstream`, as Amazon Bedrock answers.
//!
//! Format: <https://smithy.io/2.0/aws/amazon-eventstream.html>. The library's own tests check its reader.

use serde_json::Value;

/// What such an answer says of itself.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The type of a header value that is text.
const TEXT: u8 = 7;
/// Bytes of a message without headers and payload.
const FRAME: usize = 16;

/// An event, named as in the service's model, e.g. `contentBlockDelta`.
pub fn event(name: &str, payload: &Value) -> Vec<u8> {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, payload.to_string().as_bytes())
}

/// An exception in mid-stream, e.g. `throttlingException` with `{"message": ..}`.
pub fn exception(name: &str, payload: &Value) -> Vec<u8> {
    let headers = [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
    message(&headers, payload.to_string().as_bytes())
}

/// One message with text headers.
fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encoded.push(u8::try_from(name.len()).expect("a short name"));
        encoded.extend(name.as_bytes());
        encoded.push(TEXT);
        encoded.extend(u16::try_from(value.len()).expect("a short value").to_be_bytes());
        encoded.extend(value.as_bytes());
    }
    framed(&encoded, payload)
}

/// One message of these headers, encoded already.
fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let whole = u32::try_from(FRAME + headers.len() + payload.len()).expect("a short message");
    let mut bytes = whole.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(headers.len()).expect("short headers").to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

#[test]
fn messages_are_as_the_format_says() {
    // The smallest message there is.
    assert_eq!(framed(&[], &[]), *b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff");
    assert_eq!(message(&[("a", "b")], b"{}")[..17], *b"\0\0\0\x18\0\0\0\x06\xdc\xd1\xa6\x1f\x01a\x07\0\x01");
}
