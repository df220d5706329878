//! Errors as each vendor words them: headers and body.

use serde_json::{Value, json};

use super::super::answer::Plain;
use super::super::endpoint::Service;
use super::{messages, responses};

/// The vendor's own headers and body for an error.
pub(super) fn answer(service: Service, plain: &Plain) -> (Vec<(String, String)>, Value) {
    let Plain { status, message, .. } = plain;
    let seconds = plain.retry_ms.map(|ms| ("retry-after", ms.div_ceil(1000)));
    let milliseconds = plain.retry_ms.map(|ms| ("retry-after-ms", ms));
    let (hints, body) = match service {
        Service::Anthropic => ([seconds, None], messages::error(*status, message)),
        Service::OpenAi => ([seconds, milliseconds], responses::error(*status, message)),
        Service::DeepSeek => ([None, None], deepseek(*status, message)),
        Service::Azure => ([seconds, milliseconds], json!({"error": {"code": status.to_string(), "message": message}})),
        Service::Gemini | Service::Vertex => {
            ([None, None], google(*status, message, plain.retry_ms, plain.refuses_key && service == Service::Gemini))
        }
        Service::Bedrock => {
            let header = ("x-amzn-errortype".to_owned(), format!("{}:http://internal.example/", exception(*status)));
            return (vec![header], json!({"message": message}));
        }
        Service::Ollama => ([None, None], json!({"error": message})),
    };
    let headers = hints.into_iter().flatten().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    (headers, body)
}

/// Returns true if the vendor sends with a 429 how long to wait, so that the program can know.
pub fn reports_wait(service: Service) -> bool {
    matches!(service, Service::Anthropic | Service::OpenAi | Service::Azure | Service::Gemini | Service::Vertex)
}

/// <https://google.aip.dev/193>.
pub(super) fn google(status: u16, message: &str, retry_ms: Option<u64>, refuses_key: bool) -> Value {
    let name = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    let mut error = json!({"code": status, "message": message, "status": name});
    if refuses_key {
        error["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"},
        }]);
    }
    if let Some(ms) = retry_ms {
        error["details"] = json!([
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
                {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "10"},
            ]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo",
             "retryDelay": format!("{}.{:03}s", ms / 1000, ms % 1000)},
        ]);
    }
    json!({"error": error})
}

/// <https://api-docs.deepseek.com/quick_start/error_codes>.
fn deepseek(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        402 => "unknown_error",
        429 => "rate_limit_reached_error",
        503 => "service_unavailable_error",
        status if status >= 500 => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": "invalid_request_error"}})
}

fn exception(status: u16) -> &'static str {
    match status {
        400 => "ValidationException",
        401 | 403 => "UnrecognizedClientException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}
