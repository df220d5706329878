//! An encoder of the AWS event stream, `application/vnd.amazon.eventstream`, for the tests of this folder.
//!
//! Format: <https://smithy.io/2.0/aws/amazon-eventstream.html>. The tests of the binary have a smaller one of their own.

use serde_json::{Value, json};

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
/// `{"error": code, "message": text}`.
pub fn stream(lines: &str) -> Vec<u8> {
    let frame = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        match ["event", "exception", "error"].map(|key| value[key].as_str()) {
            [Some(name), ..] => event(name, &value["payload"]),
            [_, Some(name), _] => exception(name, &value["payload"]),
            [.., Some(code)] => error(code, value["message"].as_str().unwrap_or_default()),
            _ => panic!("no event, exception or error: {line}"),
        }
    };
    lines.lines().flat_map(frame).collect()
}

/// One message with text headers.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
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
pub fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
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
    assert_eq!(stream(&lines.map(|line| line.to_string()).join("\n")), frames.concat());
    assert!(CONTENT_TYPE.starts_with("application/vnd."));
}
