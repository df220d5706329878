//! An encoder of the AWS event stream, `application/vnd.amazon.eventstream`.
//!
//! For tests and fuzzing, whose servers answer as Amazon Bedrock does; the program itself only reads such streams, in
//! [`http::frame`](crate::provider::http::frame). Format: <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use serde_json::Value;

/// The content type of such an answer.
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

/// An error that the service's model does not name; it has no payload.
pub fn error(code: &str, text: &str) -> Vec<u8> {
    message(&[(":message-type", "error"), (":error-code", code), (":error-message", text)], &[])
}

/// A stream from readable lines of JSON: `{"event": name, "payload": ..}`, `{"exception": name, "payload": ..}` or
/// `{"error": code, "message": text}`. Other lines go in as they are.
pub fn stream(lines: &[u8]) -> Vec<u8> {
    let frame = |line: &[u8]| {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let payload = value.get("payload").unwrap_or(&Value::Null);
        if let Some(name) = text("event") {
            event(name, payload)
        } else if let Some(name) = text("exception") {
            exception(name, payload)
        } else if let Some(code) = text("error") {
            error(code, text("message").unwrap_or_default())
        } else {
            line.to_vec()
        }
    };
    lines.split(|byte| *byte == b'\n').flat_map(frame).collect()
}

/// One message with text headers. What is longer than the format can express is cut.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        let name_length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let value_length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        encoded.push(name_length);
        encoded.extend(name.bytes().take(name_length.into()));
        encoded.push(TEXT);
        encoded.extend(value_length.to_be_bytes());
        encoded.extend(value.bytes().take(value_length.into()));
    }
    framed(&encoded, payload)
}

/// One message of these headers, encoded already.
pub fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = length(FRAME + headers.len() + payload.len()).to_vec();
    bytes.extend(length(headers.len()));
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

#[test]
fn messages_are_as_the_format_has_them() {
    use serde_json::json;

    // The smallest message there is.
    assert_eq!(framed(&[], &[]), *b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff");
    assert_eq!(message(&[("a", "b")], b"{}")[..17], *b"\0\0\0\x18\0\0\0\x06\xdc\xd1\xa6\x1f\x01a\x07\0\x01");
    let lines = [
        json!({"event": "messageStop", "payload": {"stopReason": "end_turn"}}),
        json!({"exception": "throttlingException", "payload": {"message": "Slow down."}}),
        json!({"error": "InternalFailure", "message": "Oh."}),
    ];
    let frames = [
        event("messageStop", &json!({"stopReason": "end_turn"})),
        exception("throttlingException", &json!({"message": "Slow down."})),
        error("InternalFailure", "Oh."),
    ];
    assert_eq!(stream(lines.map(|line| line.to_string()).join("\n").as_bytes()), frames.concat());
    assert_eq!(stream(b"as it is"), b"as it is");
}
