//! [`ReportedError`]: the error object that a provider reports, in a body or in mid-stream. Anthropic's
//! `{"type":"error","error":{..}}`, OpenAI's `{"error":{..}}` and bare form, and imitators' variants of both.
//!
//! Called by the decoders and by their protocols' `read_error`. The meaning of an HTTP status is left to
//! `provider/failure.rs`.

use serde_json::Value;

use crate::generation::{FailureKind, GenerationFailure};
use crate::provider::ErrorBody;
use crate::provider::failure::{DAILY_QUOTA, is_context_overflow, load_of_code};

/// Longest message kept, in characters: failures are written to the log, and providers' longest useful messages
/// (schema complaints) are about a thousand.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// An error in the provider's words.
#[derive(Debug, PartialEq, Eq)]
pub struct ReportedError {
    message: String,
    /// Codes, the most specific first: the textual `code`, the `type`, the numeric `code`.
    names: Vec<String>,
}

impl ReportedError {
    /// Reads an HTTP error body; `None` when it is not JSON or has no message.
    pub fn from_body(body: &[u8]) -> Option<ErrorBody> {
        let error = Self::from_value(&serde_json::from_slice(body).ok()?);
        let code = error.names.into_iter().next();
        if error.message.is_empty() {
            None
        } else {
            Some(ErrorBody { message: error.message, code, retry_after_ms: None })
        }
    }

    /// Reads an object that is an error or has one under `error` or `errors`, or a list that begins with such an object.
    /// Missing fields stay empty.
    pub fn from_value(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = match value.get("error").or_else(|| value.pointer("/errors/0")) {
            Some(error @ (Value::Object(_) | Value::String(_))) => error,
            _ => value,
        };
        let at = |pointer: &str| error.pointer(pointer);
        let message = [Some(error), at("/message"), at("/detail"), at("/detail/0/msg")];
        let message = message.into_iter().flatten().find_map(Value::as_str).unwrap_or_default().trim();
        let message = match (filters(error), of_upstream(error)) {
            (Some(filters), _) => format!("{message} (blocked by the content filter: {filters})"),
            (None, Some(upstream)) => format!("{message}: {upstream}"),
            (None, None) => message.to_owned(),
        };
        let code = error.get("code");
        let text = code.and_then(Value::as_str).filter(|code| !code.is_empty()).map(str::to_owned);
        let kind = error.get("type").and_then(Value::as_str).filter(|kind| *kind != "error").map(str::to_owned);
        let numbers = [code, at("/status"), at("/status_code")];
        let number = numbers.into_iter().flatten().find_map(Value::as_u64).map(|number| number.to_string());
        Self {
            message: message.trim().chars().take(MAX_MESSAGE_CHARS).collect(),
            names: [text, kind, number].into_iter().flatten().collect(),
        }
    }

    /// The failure of a stream that ended with this error. An unknown code counts as a fault of the provider,
    /// which a retry may cure: the request had been accepted before.
    pub fn into_failure(self) -> GenerationFailure {
        let known = self.names.iter().find_map(|name| classify(name));
        let (kind, is_retryable) = match known {
            None | Some((FailureKind::InvalidRequest | FailureKind::Provider, _))
                if is_context_overflow(self.names.iter().map(String::as_str), &self.message) =>
            {
                (FailureKind::ContextOverflow, false)
            }
            known => known.unwrap_or((FailureKind::Provider, true)),
        };
        let message = match self.names.first() {
            _ if !self.message.is_empty() => self.message,
            Some(name) => format!("the provider reported {name} in mid-stream, without a message"),
            None => "the provider reported an error in mid-stream, without a message".to_owned(),
        };
        GenerationFailure { kind, message, status_code: None, is_retryable, retry_after_ms: None }
    }
}

/// The message of the server behind a gateway, whose own only reports that there is one (`OpenRouter`'s form).
fn of_upstream(error: &Value) -> Option<String> {
    let raw = error.pointer("/metadata/raw")?;
    let parsed = raw.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let message = ReportedError::from_value(parsed.as_ref().unwrap_or(raw)).message;
    Some(message).filter(|message| !message.is_empty())
}

/// The filters that Azure's error names as blocking, e.g. `violence (medium), jailbreak`: one report in Chat
/// Completions, several in Responses.
fn filters(error: &Value) -> Option<String> {
    let one = error.pointer("/innererror/content_filter_result").into_iter();
    let several = error.get("content_filters").and_then(Value::as_array).into_iter().flatten();
    let mut blocked = Vec::new();
    for report in one.chain(several.filter_map(|report| report.get("content_filter_results"))) {
        for (name, verdict) in report.as_object().into_iter().flatten() {
            if verdict.get("filtered").and_then(Value::as_bool) != Some(true) {
                continue;
            }
            let severity = verdict.get("severity").and_then(Value::as_str);
            blocked.push(severity.map_or_else(|| name.clone(), |severity| format!("{name} ({severity})")));
        }
    }
    if blocked.is_empty() { None } else { Some(blocked.join(", ")) }
}

/// Kind and retryability of an error's code. The codes of all vendors are in one table: they do not collide, and
/// imitators use each other's.
fn classify(name: &str) -> Option<(FailureKind, bool)> {
    Some(match name {
        "overloaded_error" | "api_error" | "server_error" | "unavailable_error" => (FailureKind::Provider, true),
        "rate_limit_error" | "rate_limit_exceeded" => (FailureKind::RateLimit, true),
        // Paying a bill takes longer than a Run waits.
        "billing_error" | "insufficient_quota" | DAILY_QUOTA => (FailureKind::RateLimit, false),
        "timeout_error" | "vector_store_timeout" => (FailureKind::Timeout, true),
        "authentication_error" | "permission_error" | "invalid_api_key" => (FailureKind::Authentication, false),
        "not_found_error" | "model_not_found" => (FailureKind::NotFound, false),
        "invalid_request_error"
        | "request_too_large"
        | "invalid_prompt"
        | "content_filter"
        | "content_policy_violation"
        | "bio_policy"
        | "misalignment_policy_violation"
        | "data_residency_mismatch"
        | "failed_to_download_image" => (FailureKind::InvalidRequest, false),
        "tool_use_failed" => (FailureKind::Malformed, true),
        image if is_image_complaint(image) => (FailureKind::InvalidRequest, false),
        name if let Some(kind) = load_of_code(name) => (kind, true),
        status => classify_status(status.parse().ok()?)?,
    })
}

/// OpenAI has a dozen codes for an image it cannot use, e.g. `invalid_image_url`, `image_too_large`.
fn is_image_complaint(name: &str) -> bool {
    name.starts_with("image_")
        || name.ends_with("_image")
        || name.starts_with("invalid_image")
        || name.contains("_image_")
}

/// Imitators put the HTTP status into `code`.
fn classify_status(status: u16) -> Option<(FailureKind, bool)> {
    Some(match status {
        401 | 403 => (FailureKind::Authentication, false),
        404 => (FailureKind::NotFound, false),
        408 => (FailureKind::Timeout, true),
        429 => (FailureKind::RateLimit, true),
        400..=499 => (FailureKind::InvalidRequest, false),
        500..=599 => (FailureKind::Provider, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: &Value) -> Option<(String, Option<String>)> {
        ReportedError::from_body(value.to_string().as_bytes()).map(|body| (body.message, body.code))
    }

    #[test]
    fn bodies_of_every_known_shape_give_message_and_code() {
        let expected = |message: &str, code: Option<&str>| Some((message.to_owned(), code.map(str::to_owned)));
        let cases = [
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}, "request_id": "r"}),
                expected("Busy", Some("overloaded_error")),
            ),
            (
                json!({"error": {"message": "No", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}),
                expected("No", Some("insufficient_quota")),
            ),
            (
                json!({"error": {"message": "Bad", "type": "invalid_request_error", "param": "x", "code": null}}),
                expected("Bad", Some("invalid_request_error")),
            ),
            (
                json!({"error": {"code": 400, "message": "Too long", "type": "exceed_context_size_error"}}),
                expected("Too long", Some("exceed_context_size_error")),
            ),
            (json!({"error": {"code": 503, "message": "Loading model"}}), expected("Loading model", Some("503"))),
            (
                json!({"error": {"message": "Filtered.", "type": null, "param": "prompt", "code": "content_filter",
                "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {
                    "hate": {"filtered": false, "severity": "safe"},
                    "violence": {"filtered": true, "severity": "medium"},
                    "jailbreak": {"filtered": true, "detected": true},
                }}}}),
                expected(
                    "Filtered. (blocked by the content filter: violence (medium), jailbreak)",
                    Some("content_filter"),
                ),
            ),
            (
                json!({"error": {"message": "Filtered.", "code": "content_filter", "content_filters": [
                    {"blocked": true, "source_type": "prompt",
                     "content_filter_results": {"sexual": {"filtered": true, "severity": "high"}}}]}}),
                expected("Filtered. (blocked by the content filter: sexual (high))", Some("content_filter")),
            ),
            (json!({"error": "model not found"}), expected("model not found", None)),
            (json!({"message": "Forbidden", "code": "forbidden"}), expected("Forbidden", Some("forbidden"))),
            (json!({"detail": "Not Found"}), expected("Not Found", None)),
            (json!({"detail": [{"loc": ["body"], "msg": "Field required"}]}), expected("Field required", None)),
            (
                json!([{"error": {"code": 429, "message": "Slow down", "status": "X"}}]),
                expected("Slow down", Some("429")),
            ),
            (json!({"success": false, "errors": [{"code": 7, "message": "No"}]}), expected("No", Some("7"))),
            (json!({"error": {"message": "No", "status": 429}}), expected("No", Some("429"))),
            (
                json!({"error": {"message": "Provider returned error", "code": 400,
                                 "metadata": {"raw": "{\"error\":{\"message\":\"prompt is too long\"}}"}}}),
                expected("Provider returned error: prompt is too long", Some("400")),
            ),
            (
                json!({"error": {"message": "Provider returned error", "metadata": {"raw": "busy"}}}),
                expected("Provider returned error: busy", None),
            ),
            (json!({"error": {"type": "api_error"}}), None),
            (json!([1, 2]), None),
            (json!({}), None),
        ];
        for (value, expected) in cases {
            assert_eq!(body(&value), expected, "{value}");
        }
        assert_eq!(ReportedError::from_body(b"<html>Bad gateway</html>"), None);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let error = ReportedError::from_value(&json!({"message": "ü".repeat(MAX_MESSAGE_CHARS + 1)}));
        assert_eq!(error.into_failure().message, "ü".repeat(MAX_MESSAGE_CHARS));
    }

    #[test]
    fn names_decide_kind_and_retry() {
        let cases = [
            (json!({"type": "overloaded_error"}), FailureKind::Provider, true),
            (json!({"type": "api_error"}), FailureKind::Provider, true),
            (json!({"type": "rate_limit_error"}), FailureKind::RateLimit, true),
            (json!({"type": "timeout_error"}), FailureKind::Timeout, true),
            (json!({"type": "billing_error"}), FailureKind::RateLimit, false),
            (json!({"type": "invalid_request_error"}), FailureKind::InvalidRequest, false),
            (json!({"type": "request_too_large"}), FailureKind::InvalidRequest, false),
            (json!({"code": "context_length_exceeded"}), FailureKind::ContextOverflow, false),
            (json!({"type": "exceed_context_size_error", "code": 400}), FailureKind::ContextOverflow, false),
            (json!({"type": "api_error", "message": "Prompt is too long"}), FailureKind::ContextOverflow, false),
            (json!({"message": "Your input exceeds the context window."}), FailureKind::ContextOverflow, false),
            (json!({"code": 429, "message": "prompt is too long for now"}), FailureKind::RateLimit, true),
            (json!({"type": "authentication_error"}), FailureKind::Authentication, false),
            (json!({"type": "permission_error"}), FailureKind::Authentication, false),
            (json!({"type": "not_found_error"}), FailureKind::NotFound, false),
            (json!({"code": "server_error"}), FailureKind::Provider, true),
            (json!({"code": "rate_limit_exceeded"}), FailureKind::RateLimit, true),
            (json!({"code": "insufficient_quota", "type": "rate_limit_error"}), FailureKind::RateLimit, false),
            (json!({"code": "unheard_of", "type": "invalid_request_error"}), FailureKind::InvalidRequest, false),
            (json!({"code": "invalid_image_url"}), FailureKind::InvalidRequest, false),
            (json!({"code": "empty_image_file"}), FailureKind::InvalidRequest, false),
            (json!({"code": 429}), FailureKind::RateLimit, true),
            (json!({"code": 400}), FailureKind::InvalidRequest, false),
            (json!({"code": 502}), FailureKind::Provider, true),
            (json!({"code": 7}), FailureKind::Provider, true),
            (json!({"code": "unheard_of"}), FailureKind::Provider, true),
            (json!({}), FailureKind::Provider, true),
        ];
        for (value, kind, is_retryable) in cases {
            let failure = ReportedError::from_value(&value).into_failure();
            assert_eq!((failure.kind, failure.is_retryable), (kind, is_retryable), "{value}");
        }
    }

    #[test]
    fn an_error_without_a_message_is_shown_by_its_name() {
        let failure = |value| ReportedError::from_value(&value).into_failure().message;
        assert_eq!(
            failure(json!({"error": {"type": "api_error"}})),
            "the provider reported api_error in mid-stream, without a message"
        );
        assert_eq!(failure(json!({})), "the provider reported an error in mid-stream, without a message");
    }
}
