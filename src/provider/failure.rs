//! [`GenerationFailure`]s of error answers: their kind, whether a retry can help, the wait and the message.
//!
//! Called by `generate` with heads and bodies already received. Finding the message in a body, and errors in
//! mid-stream, are left to the protocols.

use jiff::fmt::rfc2822;

use crate::generation::{FailureKind, GenerationFailure};

use crate::provider::ErrorBody;
use crate::provider::http::transport::{TransportError, TransportErrorKind};
use crate::provider::retry::LONGEST_DELAY;

/// Most characters of a failure's message: it is stored with the run and shown on a terminal.
const MESSAGE_LIMIT: usize = 2000;
/// Most characters shown of an error body that is no JSON.
const RAW_BODY_LIMIT: usize = 300;
/// Codes with which OpenAI and its imitators report that the account, not the load, is the problem. They come with
/// status 429, but waiting does not help.
const ACCOUNT_CODES: [&str; 4] =
    ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active", DAILY_QUOTA];
/// The code of a quota that is spent for the day; Google shows it only by the quota's name.
pub const DAILY_QUOTA: &str = "daily_quota";

/// Error codes for a conversation that does not fit the model's context window.
const OVERFLOW_NAMES: [&str; 6] = [
    "context_length_exceeded",
    "exceed_context_size_error",
    "model_context_window_exceeded",
    "model_max_prompt_tokens_exceeded",
    "context_window_exceeded",
    // Z.ai's number.
    "1261",
];
/// Fragments, in lower case, of the messages of such refusals where no code shows it: Anthropic (twice: the prompt alone,
/// the prompt and `max_tokens`), Bedrock, OpenAI, OpenAI and most of its imitators, Gemini, llama.cpp, xAI, Groq,
/// Mistral; then Ollama, TGI, Cohere, Qwen, `MiniMax`, Moonshot, llama-cpp-python, vLLM.
const OVERFLOW_MESSAGES: [&str; 20] = [
    "prompt is too long",
    "exceed context limit",
    "input is too long for requested model",
    "exceeds the context window",
    "maximum context length",
    "exceeds the maximum number of tokens allowed",
    "exceeds the available context size",
    "maximum prompt length",
    "reduce the length of the messages",
    "too large for model with",
    "prompt too long",
    "`max_new_tokens` must be",
    "too many tokens: total number of tokens in the prompt",
    "range of input length should be",
    "context window exceeds limit",
    "exceeded model token limit",
    "exceed context window",
    "prompt exceeds max length",
    "maximum model length",
    "context size has been exceeded",
];

/// Parts of messages that name the size of a conversation, in lower case, and words for an excess. A message with one of
/// each is about an overflow. The limit on an answer is named by other words.
const SIZES: [&str; 14] = [
    "context length",
    "context window",
    "context size",
    "context limit",
    "prompt length",
    "input length",
    "input tokens",
    "prompt tokens",
    "prompt token count",
    "token limit of the model",
    "model token limit",
    "tokens in the prompt",
    "tokens to keep from the initial prompt",
    "sequence length",
];
const EXCESSES: [&str; 9] = [
    "exceed",
    "too long",
    "too large",
    "longer than",
    "greater than",
    "larger than",
    "too many",
    "must be less than",
    "is over",
];

/// Returns true when a request was refused because the conversation does not fit the model's context window. For
/// refusals that no retry helps only: limits on tokens per minute are reported in similar words.
pub fn is_context_overflow<'a>(names: impl IntoIterator<Item = &'a str>, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    names.into_iter().any(|name| OVERFLOW_NAMES.contains(&name))
        || OVERFLOW_MESSAGES.iter().any(|part| message.contains(part))
        || (has_any(&message, &SIZES) && has_any(&message, &EXCESSES) && !message.contains("max_tokens"))
}

fn has_any(message: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| message.contains(part))
}

/// The kind of failure that an error's code shows to be one of load, which a retry may cure, whatever its status: gateways
/// answer 400 or 403 where others answer 429. The code is compared without its separators.
pub fn load_of_code(code: &str) -> Option<FailureKind> {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let is = |parts: &[&str]| has_any(&code, parts);
    if is(&["ratelimit", "toomanyrequests", "throttl", "resourceexhausted", "slowdown"]) {
        Some(FailureKind::RateLimit)
    } else if is(&["overload", "serverbusy", "capacityexceeded", "serviceunavailable", "modelnotready"]) {
        Some(FailureKind::Provider)
    } else {
        None
    }
}

/// The same for a message, of which only plain words count.
fn load_of_message(message: &str) -> Option<FailureKind> {
    let message = message.to_ascii_lowercase();
    if has_any(&message, &["rate limit", "rate-limit", "too many requests", "throttl", "slow down"]) {
        Some(FailureKind::RateLimit)
    } else if has_any(&message, &["overloaded", "server is busy", "temporarily unavailable"]) {
        Some(FailureKind::Provider)
    } else {
        None
    }
}

/// A failure that a retry may cure.
pub fn retryable(kind: FailureKind, message: impl Into<String>) -> GenerationFailure {
    GenerationFailure { is_retryable: true, ..lasting(kind, message) }
}

/// A failure that the same request would meet again.
pub fn lasting(kind: FailureKind, message: impl Into<String>) -> GenerationFailure {
    GenerationFailure {
        kind,
        message: shortened(&message.into(), MESSAGE_LIMIT),
        status_code: None,
        is_retryable: false,
        retry_after_ms: None,
    }
}

impl From<TransportError> for GenerationFailure {
    fn from(error: TransportError) -> Self {
        match error.kind {
            TransportErrorKind::Connection => retryable(FailureKind::Connection, error.message),
            TransportErrorKind::Certificate => lasting(FailureKind::Connection, error.message),
            TransportErrorKind::Unusable => lasting(FailureKind::InvalidRequest, error.message),
            TransportErrorKind::Replay => lasting(FailureKind::Replay, error.message),
        }
    }
}

/// The failure for an answer with an error status. `header` finds a header by its name in lower case; `reported` is the
/// error that the protocol found in `body`.
pub fn of_status<'a>(
    status: u16,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    reported: Option<ErrorBody>,
) -> GenerationFailure {
    let code = reported.as_ref().and_then(|error| error.code.clone());
    let asked_ms = reported.as_ref().and_then(|error| error.retry_after_ms);
    let is_silent = reported.is_none() && body.iter().all(u8::is_ascii_whitespace);
    let mut message = match reported.map(|error| error.message).filter(|message| !message.trim().is_empty()) {
        Some(message) => message,
        None => match raw_text(body) {
            Some(text) => format!("HTTP status {status}: {text}"),
            None => format!("HTTP status {status} without an explanation"),
        },
    };
    let (kind, is_retryable) = kind_of_status(status, code.as_deref(), &message);
    // A gateway's limit on the size of a request, mostly in front of a model with a smaller one.
    let is_silent_413 = status == 413 && is_silent;
    // Some servers fail with 500 on an overflow instead of refusing it; a retry would fail again.
    let may_overflow = matches!(kind, FailureKind::InvalidRequest) || status == 500;
    let (kind, is_retryable) = if is_silent_413 || (may_overflow && is_context_overflow(code.as_deref(), &message)) {
        (FailureKind::ContextOverflow, false)
    } else {
        (kind, is_retryable)
    };
    if let (300..=399, Some(to)) = (status, header("location")) {
        message = format!("the server redirects to {to}, which is not followed: set that address as the base URL");
    }
    // OpenAI's and Anthropic's servers know better than their status.
    let is_retryable = match header("x-should-retry").map(str::trim) {
        Some("true") => kind != FailureKind::ContextOverflow,
        Some("false") => false,
        _ => is_retryable,
    };
    let retry_after_ms = retry_after_ms(&header).or(asked_ms);
    let longest_ms = u64::try_from(LONGEST_DELAY.as_millis()).unwrap_or(u64::MAX);
    if let Some(ms) = retry_after_ms.filter(|ms| *ms > longest_ms) {
        message = format!("{message} (the provider asks to wait {} s)", ms.div_ceil(1000));
    }
    GenerationFailure { status_code: Some(status), is_retryable, retry_after_ms, ..lasting(kind, message) }
}

/// The failure for an answer that is a web page.
pub fn of_page(status: u16, body: &[u8]) -> GenerationFailure {
    let page = raw_text(body).unwrap_or_else(|| "an empty page".to_owned());
    let message = format!("the server answered with {page}");
    GenerationFailure { status_code: Some(status), ..lasting(FailureKind::Malformed, message) }
}

/// `text` with at most `limit` characters, and a mark where it was cut.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn kind_of_status(status: u16, code: Option<&str>, message: &str) -> (FailureKind, bool) {
    let is_of_account = code.is_some_and(|code| ACCOUNT_CODES.contains(&code));
    let load = || code.and_then(load_of_code).or_else(|| load_of_message(message));
    match status {
        400 | 403 | 409 | 422 if !is_of_account && load().is_some() => (load().unwrap_or(FailureKind::Provider), true),
        // Groq's code for a call that its parser could not read; the next answer mostly has one that it can.
        400 if code == Some("tool_use_failed") => (FailureKind::Malformed, true),
        401 | 403 => (FailureKind::Authentication, false),
        // Google's code for a wrong key.
        400 if code == Some("API_KEY_INVALID") => (FailureKind::Authentication, false),
        402 => (FailureKind::RateLimit, false),
        404 => (FailureKind::NotFound, false),
        408 => (FailureKind::Timeout, true),
        429 => (FailureKind::RateLimit, !is_of_account),
        // 424 is Bedrock's status for a model that failed on an accepted request.
        409 | 424 | 500.. => (FailureKind::Provider, true),
        _ => (FailureKind::InvalidRequest, false),
    }
}

/// The wait that the provider asks for: `retry-after-ms` (OpenAI, Azure), else `retry-after` in seconds or as a date
/// (RFC 9110, section 10.2.3). A date is measured from the answer's own `date`, so that no clock is read here.
fn retry_after_ms<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<u64> {
    if let Some(ms) = header("retry-after-ms").and_then(|text| milliseconds(text, 1.0)) {
        return Some(ms);
    }
    let text = header("retry-after")?.trim();
    milliseconds(text, 1000.0).or_else(|| {
        let until = rfc2822::parse(text).ok()?.timestamp();
        let now = rfc2822::parse(header("date")?).ok()?.timestamp();
        Some(u64::try_from(until.as_millisecond().saturating_sub(now.as_millisecond())).unwrap_or(0))
    })
}

/// A decimal number of units of `unit_ms`, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and `as` saturates")]
fn milliseconds(text: &str, unit_ms: f64) -> Option<u64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| (number * unit_ms).ceil() as u64)
}

/// A body that no protocol could read: an HTML page by its title, other text shortened; `None` for an empty body.
fn raw_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if !text.starts_with('<') {
        let words: Vec<&str> = text.split_whitespace().collect();
        return Some(shortened(&words.join(" "), RAW_BODY_LIMIT));
    }
    Some(match title(text) {
        Some(title) => format!("an HTML page titled {title:?}"),
        None => "an HTML page".to_owned(),
    })
}

fn title(page: &str) -> Option<String> {
    // ASCII lower case keeps every byte's place.
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower.get(open..)?.find('>')? + 1;
    let end = start + lower.get(start..)?.find("</title")?;
    let words: Vec<&str> = page.get(start..end)?.split_whitespace().collect();
    (!words.is_empty()).then(|| shortened(&words.join(" "), RAW_BODY_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure_for(
        status: u16,
        headers: &[(&str, &'static str)],
        body: &str,
        reported: Option<ErrorBody>,
    ) -> GenerationFailure {
        let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        of_status(status, header, body.as_bytes(), reported)
    }

    fn reported(message: &str, code: &str) -> ErrorBody {
        ErrorBody { message: message.to_owned(), code: Some(code.to_owned()), ..ErrorBody::default() }
    }

    #[test]
    fn a_header_with_a_wait_takes_precedence_over_the_body() {
        let slow_down =
            || Some(ErrorBody { retry_after_ms: Some(34_000), ..reported("slow down", "RESOURCE_EXHAUSTED") });
        assert_eq!(failure_for(429, &[], "", slow_down()).retry_after_ms, Some(34_000));
        assert_eq!(failure_for(429, &[("retry-after", "2")], "", slow_down()).retry_after_ms, Some(2000));
    }

    #[test]
    fn a_wrong_key_is_recognised_by_its_code_too() {
        let failure = failure_for(400, &[], "", Some(reported("API key not valid.", "API_KEY_INVALID")));
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Authentication, false));
        let failure = failure_for(429, &[], "", Some(reported("Quota exceeded.", DAILY_QUOTA)));
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::RateLimit, false));
    }

    #[test]
    fn a_status_gives_kind_and_retryability() {
        use FailureKind::{Authentication, InvalidRequest, NotFound, Provider, RateLimit, Timeout};
        let expected = [
            (400, InvalidRequest, false),
            (401, Authentication, false),
            (402, RateLimit, false),
            (403, Authentication, false),
            (404, NotFound, false),
            (408, Timeout, true),
            (409, Provider, true),
            (413, InvalidRequest, false),
            (422, InvalidRequest, false),
            (424, Provider, true),
            (429, RateLimit, true),
            (500, Provider, true),
            (503, Provider, true),
            (529, Provider, true),
        ];
        for (status, kind, is_retryable) in expected {
            let failure = failure_for(status, &[], "{}", Some(reported("no", "some_error")));
            let wanted = GenerationFailure { status_code: Some(status), is_retryable, ..lasting(kind, "no") };
            assert_eq!(failure, wanted);
        }
    }

    #[test]
    fn a_conversation_that_does_not_fit_is_recognised_in_each_vendors_words() {
        for (status, message, code) in [
            (400, "prompt is too long: 208310 tokens > 200000 maximum", "invalid_request_error"),
            (
                400,
                "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
                "invalid_request_error",
            ),
            (400, "Input is too long for requested model.", "ValidationException"),
            (400, "Your input exceeds the context window of this model.", "context_length_exceeded"),
            (400, "No.", "context_length_exceeded"),
            (400, "This model's maximum context length is 65536 tokens. However, you requested 70000.", "400"),
            (400, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048576).", "400"),
            (
                400,
                "request (9412 tokens) exceeds the available context size (8192 tokens)",
                "exceed_context_size_error",
            ),
            (500, "request (9412 tokens) exceeds the available context size (8192 tokens)", "500"),
            (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens.", "400"),
            (413, "Please reduce the length of the messages or completion.", "invalid_request_error"),
            (422, "Prompt contains 65673 tokens, too large for model with 32768 maximum context length", "3051"),
        ] {
            let failure = failure_for(status, &[], "", Some(reported(message, code)));
            let wanted =
                GenerationFailure { status_code: Some(status), ..lasting(FailureKind::ContextOverflow, message) };
            assert_eq!(failure, wanted);
        }
        for (status, message, code) in [
            (429, "Request too large: maximum context length per minute reached", "rate_limit_exceeded"),
            (400, "max_tokens: 90000 > 64000, which is the maximum allowed number of output tokens", "e"),
            (413, "Request exceeds the maximum size", "request_too_large"),
            (401, "prompt is too long for this key", "e"),
        ] {
            assert_ne!(
                failure_for(status, &[], "", Some(reported(message, code))).kind,
                FailureKind::ContextOverflow,
                "{message}"
            );
        }
    }

    #[test]
    fn a_code_or_message_of_load_beats_the_status() {
        for (status, message, code, kind) in [
            (400, "Rate limit exceeded", "rate_limit_exceeded", FailureKind::RateLimit),
            (403, "no", "RateLimitReached", FailureKind::RateLimit),
            (400, "no", "ThrottlingException", FailureKind::RateLimit),
            (403, "You have exceeded a secondary rate limit.", "e", FailureKind::RateLimit),
            (400, "The engine is currently overloaded", "e", FailureKind::Provider),
            (400, "Failed to call a function.", "tool_use_failed", FailureKind::Malformed),
        ] {
            let failure = failure_for(status, &[], "", Some(reported(message, code)));
            assert_eq!((failure.kind, failure.is_retryable), (kind, true), "{status} {message} {code}");
        }
        for (status, message, code) in
            [(403, "no access", "e"), (400, "bad tool", "e"), (400, "paid up?", "insufficient_quota")]
        {
            assert!(!failure_for(status, &[], "", Some(reported(message, code))).is_retryable, "{message}");
        }
    }

    #[test]
    fn the_servers_own_word_on_a_retry_beats_its_status() {
        let retries = |status, word| failure_for(status, &[("x-should-retry", word)], "", None).is_retryable;
        assert_eq!([retries(400, "true"), retries(529, "false"), retries(500, "maybe")], [true, false, true]);
    }

    #[test]
    fn a_413_without_a_body_is_an_overflow() {
        assert_eq!(failure_for(413, &[], "", None).kind, FailureKind::ContextOverflow);
        assert_eq!(failure_for(413, &[], "<html>too large</html>", None).kind, FailureKind::InvalidRequest);
    }

    #[test]
    fn an_overflow_is_recognised_in_the_words_of_imitators() {
        for message in [
            "prompt too long; exceeded max context length by 100 tokens",
            "input length exceeds the context length",
            "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 9000>= n_ctx: 4096).",
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 270000)",
            "invalid params, context window exceeds limit (2013)",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
            "too many tokens: total number of tokens in the prompt cannot exceed 128000 - received 150000",
            "Prompt exceeds max length",
            "Requested tokens (5000) exceed context window of 4096",
            "The input (8000 tokens) is longer than the model's context length (4096 tokens).",
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
            "prompt token count of 130000 exceeds the limit of 128000",
        ] {
            let failure = failure_for(400, &[], "", Some(reported(message, "e")));
            assert_eq!((failure.kind, failure.is_retryable), (FailureKind::ContextOverflow, false), "{message}");
        }
        for message in [
            "Invalid 'tools[0].description': string too long. Expected a string with maximum length 1024.",
            "image exceeds 5 MB maximum",
            "Too many tools: 200",
        ] {
            let failure = failure_for(400, &[], "", Some(reported(message, "e")));
            assert_eq!(failure.kind, FailureKind::InvalidRequest, "{message}");
        }
    }

    #[test]
    fn an_exhausted_quota_does_not_pass() {
        assert!(
            !failure_for(429, &[], "", Some(reported("You exceeded your current quota", "insufficient_quota")))
                .is_retryable
        );
    }

    #[test]
    fn the_wait_that_was_asked_for_is_read_in_each_form() {
        let wait = |headers: &[(&str, &'static str)]| failure_for(429, headers, "slow", None).retry_after_ms;
        assert_eq!(wait(&[("retry-after", "7")]), Some(7000));
        assert_eq!(wait(&[("retry-after", "0.25")]), Some(250));
        assert_eq!(wait(&[("retry-after-ms", "1500"), ("retry-after", "7")]), Some(1500));
        let now = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), now]), Some(30_000));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:48:07 GMT"), now]), Some(0));
        for odd in ["soon", "-3", "NaN", "inf", "Sun, 06 Nov 1994 08:50:07 GMT"] {
            assert_eq!(failure_for(429, &[("retry-after", odd)], "slow", None).retry_after_ms, None, "{odd}");
        }
    }

    #[test]
    fn a_wait_that_is_too_long_is_reported() {
        let failure =
            failure_for(429, &[("retry-after", "3600")], "", Some(reported("Quota used up.", "rate_limit_error")));
        assert_eq!(failure.message, "Quota used up. (the provider asks to wait 3600 s)");
    }

    #[test]
    fn bodies_that_are_no_json_are_shown_shortened() {
        let message = |status, body: &str| failure_for(status, &[], body, None).message;
        assert_eq!(message(502, "upstream\n  died"), "HTTP status 502: upstream died");
        assert_eq!(message(502, ""), "HTTP status 502 without an explanation");
        let page = "<!DOCTYPE html><HTML><head><Title lang=\"é\"> Bad\nGateway </TITLE></head><body>x</body>";
        assert_eq!(message(502, page), "HTTP status 502: an HTML page titled \"Bad Gateway\"");
        assert_eq!(message(502, "<html><title>"), "HTTP status 502: an HTML page");
        assert_eq!(message(500, &"é".repeat(5000)), format!("HTTP status 500: {}…", "é".repeat(300)));
    }

    #[test]
    fn a_redirect_names_where_to() {
        let failure = failure_for(301, &[("location", "https://example.com/v1")], "", None);
        let message = "the server redirects to https://example.com/v1, which is not followed: set that address as the \
                       base URL";
        assert_eq!((failure.message.as_str(), failure.is_retryable), (message, false));
    }
}
