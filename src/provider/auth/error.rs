//! [`AuthError`]: the reason why a request could not be given its credentials.

use crate::generation::{FailureKind, GenerationFailure};
use crate::provider::failure;
use crate::provider::http::fetch::FetchResponse;
use crate::provider::http::transport::{TransportError, TransportErrorKind};

/// Most characters shown of a token server's message.
const MESSAGE_LIMIT: usize = 300;

/// The reason why there are no credentials. Messages name sources and places, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing to authenticate with; `tried` lists the sources that were tried.
    #[error("no credentials for {provider}: {tried}; {remedy}")]
    NothingFound { provider: &'static str, tried: String, remedy: &'static str },
    /// A file, a variable or a program's output is not what it must be.
    #[error("{what} cannot be used: {reason}")]
    Unusable { what: String, reason: String },
    /// The server that gives tokens could not be asked.
    #[error("{who} could not be asked for a token: {source}")]
    Unreachable { who: String, source: TransportError },
    /// The server refused.
    #[error("{who} gave no token (HTTP status {status}): {message}")]
    Refused { who: String, status: u16, message: String },
    /// A source took too long.
    #[error("{what} took longer than {seconds} s")]
    TooSlow { what: String, seconds: u64 },
}

impl AuthError {
    pub(super) fn unusable(what: impl Into<String>, reason: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self::Unusable { what: what.into(), reason: failure::shortened(&reason.to_string(), MESSAGE_LIMIT) }
    }

    /// The error for a token server's refusal, with OAuth's `error_description` or `error` (RFC 6749, section 5.2), or
    /// the message in Google's form.
    pub(super) fn refused(who: &str, answer: &FetchResponse) -> Self {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let places = ["/error_description", "/error/message", "/message", "/error"];
        let message = places.iter().find_map(|place| body.pointer(place).and_then(|it| it.as_str()));
        let message = message.and_then(|text| text.lines().next()).unwrap_or("no explanation");
        Self::Refused {
            who: who.to_owned(),
            status: answer.status,
            message: failure::shortened(message, MESSAGE_LIMIT),
        }
    }

    /// Returns true when the next attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind == TransportErrorKind::Connection,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::TooSlow { .. } => true,
            Self::NothingFound { .. } | Self::Unusable { .. } => false,
        }
    }
}

/// A foreign text in one line of limited length.
#[cfg(feature = "aws")]
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    failure::shortened(&words.join(" "), MESSAGE_LIMIT)
}

impl From<AuthError> for GenerationFailure {
    fn from(error: AuthError) -> Self {
        let make = if error.is_retryable() { failure::retryable } else { failure::lasting };
        make(FailureKind::Authentication, error.to_string())
    }
}
