//! Errors in Google's form: `{"error":{"code","message","status","details"}}`, in a body or in mid-stream, also as the
//! only element of an array (<https://google.aip.dev/193>).
//!
//! Called by the protocol and its decoder.

use serde_json::{Value, json};

use crate::generation::GenerationFailure;
use crate::provider::ErrorBody;
use crate::provider::failure::DAILY_QUOTA;
use crate::provider::wire::reported_error::ReportedError;

/// Reads an HTTP error body; `None` when it is not JSON or has no message.
pub(super) fn from_body(body: &[u8]) -> Option<ErrorBody> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let value = within_array(&value);
    let reported = ReportedError::from_body(value.to_string().as_bytes())?;
    let error = value.get("error").unwrap_or(value);
    let code = if is_daily_quota(error) { Some(DAILY_QUOTA) } else { reason(error).or_else(|| status(error)) };
    let code = code.map(str::to_owned).or(reported.code);
    Some(ErrorBody { code, retry_after_ms: retry_after_ms(error), ..reported })
}

/// The failure that a frame of a stream reports; `None` when it reports none.
pub(super) fn from_frame(frame: &Value) -> Option<GenerationFailure> {
    let error = within_array(frame).get("error").filter(|error| !error.is_null())?;
    let number = error.get("code").and_then(Value::as_u64).or_else(|| number(status(error)?));
    let name = if is_daily_quota(error) { json!(DAILY_QUOTA) } else { json!(number) };
    let message = error.get("message").or(Some(error)).and_then(Value::as_str).unwrap_or_default();
    let failure = ReportedError::from_value(&json!({"message": message, "code": name})).into_failure();
    Some(GenerationFailure { retry_after_ms: retry_after_ms(error), ..failure })
}

fn within_array(value: &Value) -> &Value {
    value.get(0).unwrap_or(value)
}

fn status(error: &Value) -> Option<&str> {
    error.get("status")?.as_str().filter(|status| !status.is_empty())
}

/// The details of one type, e.g. `google.rpc.RetryInfo`.
fn details<'a>(error: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = error.get("details").and_then(Value::as_array).into_iter().flatten();
    all.filter(move |detail| {
        detail.get("@type").and_then(Value::as_str).is_some_and(|name| name.rsplit('/').next() == Some(kind))
    })
}

/// The machine-readable reason, e.g. `API_KEY_INVALID`.
fn reason(error: &Value) -> Option<&str> {
    details(error, "google.rpc.ErrorInfo").find_map(|detail| detail.get("reason")?.as_str())
}

/// Returns true when a quota for a whole day is spent: only its name shows it, the wait that comes with it does not.
fn is_daily_quota(error: &Value) -> bool {
    let violations =
        details(error, "google.rpc.QuotaFailure").filter_map(|detail| detail.get("violations")?.as_array());
    let ids = violations.flatten().filter_map(|violation| violation.get("quotaId")?.as_str());
    ids.into_iter().any(|id| id.contains("PerDay"))
}

/// `retryDelay`, a duration in seconds such as `34s` or `1.5s`, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and `as` saturates")]
fn retry_after_ms(error: &Value) -> Option<u64> {
    let delay = details(error, "google.rpc.RetryInfo").find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    (seconds.is_finite() && seconds > 0.0).then(|| (seconds * 1000.0).ceil() as u64)
}

/// The HTTP status of a status name (<https://cloud.google.com/apis/design/errors>).
fn number(status: &str) -> Option<u64> {
    Some(match status {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "RESOURCE_EXHAUSTED" => 429,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" | "CANCELLED" => 500,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::FailureKind;

    fn quota(id: &str) -> Value {
        json!({"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.2s"},
        ]})
    }

    fn body(value: &Value) -> Option<(String, Option<String>, Option<u64>)> {
        from_body(value.to_string().as_bytes()).map(|body| (body.message, body.code, body.retry_after_ms))
    }

    #[test]
    fn bodies_have_message_name_and_wait() {
        let expected = |message: &str, code: &str, wait| Some((message.to_owned(), Some(code.to_owned()), wait));
        let minute = quota("GenerateRequestsPerMinutePerProject");
        let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
        let key = json!({"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        ]});
        let cases = [
            (json!({"error": minute}), expected("Quota exceeded", "RESOURCE_EXHAUSTED", Some(34_200))),
            (json!([{"error": minute}]), expected("Quota exceeded", "RESOURCE_EXHAUSTED", Some(34_200))),
            (json!({"error": day}), expected("Quota exceeded", DAILY_QUOTA, Some(34_200))),
            (json!({"error": key}), expected("API key not valid.", "API_KEY_INVALID", None)),
            (json!({"error": {"code": 502, "message": "Bad"}}), expected("Bad", "502", None)),
            (json!({"error": {"code": 500, "status": "INTERNAL"}}), None),
            (json!([]), None),
        ];
        for (value, expected) in cases {
            assert_eq!(body(&value), expected, "{value}");
        }
        assert_eq!(from_body(b"<html>"), None);
    }

    #[test]
    fn unreadable_waits_are_none() {
        for delay in ["0s", "-1s", "soon", "12", "infs"] {
            let detail = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
            assert_eq!(retry_after_ms(&json!({"details": [detail]})), None, "{delay}");
        }
    }

    #[test]
    fn errors_in_mid_stream_are_failures_by_number_or_name() {
        let cases = [
            (json!({"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}), FailureKind::Provider, true),
            (json!({"message": "No", "status": "INVALID_ARGUMENT"}), FailureKind::InvalidRequest, false),
            (quota("GenerateRequestsPerMinutePerProject"), FailureKind::RateLimit, true),
            (quota("GenerateRequestsPerDayPerProject"), FailureKind::RateLimit, false),
            (json!("broken"), FailureKind::Provider, true),
        ];
        for (error, kind, is_retryable) in cases {
            let failure = from_frame(&json!({"error": error})).unwrap();
            assert_eq!((failure.kind, failure.is_retryable), (kind, is_retryable), "{error}");
            assert_eq!(failure.retry_after_ms.is_some(), error.get("details").is_some());
        }
        assert_eq!(from_frame(&json!([{"error": "broken"}])).unwrap().message, "broken");
        assert_eq!(from_frame(&json!({"error": null})), None);
        assert_eq!(from_frame(&json!({"candidates": []})), None);
    }
}
