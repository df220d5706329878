//! [`TypedEvent`]: a frame that is a JSON object with a `type`, the form of every event of the Anthropic Messages and
//! OpenAI Responses streams.
//!
//! Called by those decoders and Bedrock's, to which the meaning of events is left.

use serde_json::Value;

use crate::generation::{FailureKind, GenerationFailure};
use crate::provider::Frame;

/// The end mark of Chat Completions, which gateways add to other protocols' streams too.
const DONE_MARK: &str = "[DONE]";

/// One event. Fields are read leniently: a missing one or one of another type reads as nothing, because servers that
/// imitate a protocol leave out fields that their own clients do not need.
pub struct TypedEvent {
    name: String,
    value: Value,
}

impl TypedEvent {
    /// Reads a frame; `None` for one without content. An event without a `type` is named by the SSE `event:` field, or
    /// is an `error` when it holds one.
    ///
    /// # Errors
    /// A retryable failure for a frame that is no JSON object: the next stream may be whole again.
    pub fn read(frame: &Frame) -> Result<Option<Self>, GenerationFailure> {
        let data = frame.data.trim();
        if data.is_empty() || data == DONE_MARK {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(data).map_err(|error| malformed(frame, &error.to_string()))?;
        if !value.is_object() {
            return Err(malformed(frame, "it is no object"));
        }
        let named = value.get("type").and_then(Value::as_str);
        let implied = value.get("error").filter(|error| !error.is_null()).map(|_| "error");
        let name = named.or(implied).or(frame.event.as_deref()).unwrap_or_default().to_owned();
        Ok(Some(Self { name, value }))
    }

    /// The event's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole event.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value at a JSON pointer; `None` also for `null`.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        at(&self.value, pointer).filter(|value| !value.is_null())
    }

    /// The string at a JSON pointer, empty when there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The natural number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.at(pointer).and_then(Value::as_u64)
    }
}

/// The value at a JSON pointer without escapes. [`Value::pointer`] looks for them with two copies of every name, and is
/// asked for dozens of names in each answer.
pub fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn malformed(frame: &Frame, reason: &str) -> GenerationFailure {
    let event = frame.event.as_deref().unwrap_or("unnamed");
    GenerationFailure {
        kind: FailureKind::Malformed,
        message: format!("the provider's stream is damaged: event {event:?} cannot be read as JSON: {reason}"),
        status_code: None,
        is_retryable: true,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: Option<&str>, data: &str) -> Result<Option<String>, GenerationFailure> {
        let frame = Frame::event(event.map(str::to_owned), data.to_owned());
        TypedEvent::read(&frame).map(|event| event.map(|event| event.name().to_owned()))
    }

    #[test]
    fn the_type_in_the_data_wins_over_the_event_field() {
        assert_eq!(read(Some("b"), r#"{"type":"a"}"#), Ok(Some("a".into())));
        assert_eq!(read(Some("b"), "{}"), Ok(Some("b".into())));
        assert_eq!(read(None, "{}"), Ok(Some(String::new())));
    }

    #[test]
    fn values_are_found_by_their_place() {
        let value = serde_json::json!({"a": [{"b": 1}, null], "": 2});
        for pointer in ["", "/", "/a", "/a/0/b", "/a/1", "/a/2", "/a/b", "/a/0/b/c", "/b", "/a/-1"] {
            assert_eq!(at(&value, pointer), value.pointer(pointer), "{pointer:?}");
        }
    }

    #[test]
    fn an_error_without_a_type_is_an_error() {
        assert_eq!(read(Some("message"), r#"{"error":{"message":"no"}}"#), Ok(Some("error".into())));
        assert_eq!(read(Some("message"), r#"{"error":null}"#), Ok(Some("message".into())));
    }

    #[test]
    fn frames_without_content_are_no_events() {
        for data in ["", "  ", "[DONE]", " [DONE]\n"] {
            assert_eq!(read(Some("ping"), data), Ok(None), "{data:?}");
        }
    }

    #[test]
    fn damaged_frames_name_their_event_and_may_be_retried() {
        let failure = |reason: &str| GenerationFailure {
            kind: FailureKind::Malformed,
            message: format!("the provider's stream is damaged: event \"ping\" cannot be read as JSON: {reason}"),
            status_code: None,
            is_retryable: true,
            retry_after_ms: None,
        };
        assert_eq!(read(Some("ping"), r#"{"type":"#), Err(failure("EOF while parsing a value at line 1 column 8")));
        assert_eq!(read(Some("ping"), "42"), Err(failure("it is no object")));
    }
}
