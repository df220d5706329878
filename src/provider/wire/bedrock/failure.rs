//! Errors in Bedrock's form: bodies of error statuses, and exceptions in mid-stream.
//!
//! Called by the protocol and its decoder.

use serde_json::Value;

use crate::generation::{FailureKind, GenerationFailure};
use crate::provider::failure::{lasting, retryable};
use crate::provider::{ErrorBody, Frame};

/// Reads the body of an error status; `None` when it is not JSON or has no message. The status gives the kind of
/// error; where the body names it too (`__type`), that is its code.
pub(super) fn error_body(body: &[u8]) -> Option<ErrorBody> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let code = text(&value, &["__type"]).map(|name| name.rsplit('#').next().unwrap_or(name).to_owned());
    // Bedrock names no wait.
    Some(ErrorBody { message: message(&value)?, code, retry_after_ms: None })
}

/// The failure of a stream that ended with an exception or an error.
pub(super) fn of_frame(frame: &Frame) -> GenerationFailure {
    let name = frame.event.as_deref().unwrap_or_default();
    let value = serde_json::from_str(&frame.data).unwrap_or_default();
    let message = message(&value).unwrap_or_else(|| match name {
        "" => "the provider reported an error in mid-stream, without a message".to_owned(),
        name => format!("the provider reported {name} in mid-stream, without a message"),
    });
    let (kind, is_retryable) = classify(name);
    if is_retryable { retryable(kind, message) } else { lasting(kind, message) }
}

/// Kind and retryability of an exception's name. An unknown name counts as a fault of the provider, which a retry may
/// cure: the request had been accepted before.
fn classify(name: &str) -> (FailureKind, bool) {
    match name.to_ascii_lowercase().trim_end_matches("exception") {
        "throttling" | "modelnotready" => (FailureKind::RateLimit, true),
        "modeltimeout" => (FailureKind::Timeout, true),
        "validation" => (FailureKind::InvalidRequest, false),
        "accessdenied" => (FailureKind::Authentication, false),
        "resourcenotfound" => (FailureKind::NotFound, false),
        // internalServer, modelError, modelStreamError, serviceUnavailable.
        _ => (FailureKind::Provider, true),
    }
}

/// The message, followed by the model's own where Bedrock passes that on.
fn message(value: &Value) -> Option<String> {
    let own = text(value, &["message", "Message"]);
    let models = text(value, &["originalMessage"]).filter(|models| Some(*models) != own);
    Some(match (own, models) {
        (Some(own), Some(models)) => format!("{own} ({models})"),
        (one, other) => one.or(other)?.to_owned(),
    })
}

/// The first of these fields that holds a text.
fn text<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().filter_map(|key| value.get(key)?.as_str()).map(str::trim).find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_of_every_form_give_their_message() {
        let error = |message: &str, code: Option<&str>| {
            Some(ErrorBody { message: message.to_owned(), code: code.map(str::to_owned), retry_after_ms: None })
        };
        for (body, expected) in [
            (json!({"message": "Malformed input request"}), error("Malformed input request", None)),
            (json!({"Message": "User is not authorized"}), error("User is not authorized", None)),
            (
                json!({"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "No such token"}),
                error("No such token", Some("UnrecognizedClientException")),
            ),
            (
                json!({"message": "Model error", "originalStatusCode": 500, "originalMessage": "Out of owls"}),
                error("Model error (Out of owls)", None),
            ),
            (json!({"message": null}), None),
            (json!([]), None),
        ] {
            assert_eq!(error_body(body.to_string().as_bytes()), expected, "{body}");
        }
        assert_eq!(error_body(b"<html>"), None);
    }

    #[test]
    fn an_exceptions_name_decides_whether_a_retry_can_help() {
        use FailureKind::{Authentication, InvalidRequest, NotFound, Provider, RateLimit, Timeout};
        for (name, kind, can_pass) in [
            ("throttlingException", RateLimit, true),
            ("modelStreamErrorException", Provider, true),
            ("internalServerException", Provider, true),
            ("serviceUnavailableException", Provider, true),
            ("modelTimeoutException", Timeout, true),
            ("ThrottlingException", RateLimit, true),
            ("validationException", InvalidRequest, false),
            ("accessDeniedException", Authentication, false),
            ("resourceNotFoundException", NotFound, false),
            ("unheardOfException", Provider, true),
        ] {
            let frame =
                Frame { event: Some(name.into()), data: json!({"message": "No."}).to_string(), is_failure: true };
            let expected = GenerationFailure { is_retryable: can_pass, ..lasting(kind, "No.") };
            assert_eq!(of_frame(&frame), expected, "{name}");
        }
    }

    #[test]
    fn an_exception_without_a_message_is_shown_by_its_name() {
        let message = |event: Option<&str>, data: &str| {
            of_frame(&Frame { event: event.map(str::to_owned), data: data.to_owned(), is_failure: true }).message
        };
        let named = "the provider reported throttlingException in mid-stream, without a message";
        assert_eq!(message(Some("throttlingException"), "{}"), named);
        assert_eq!(message(Some("throttlingException"), "no JSON"), named);
        assert_eq!(message(None, ""), "the provider reported an error in mid-stream, without a message");
    }
}
