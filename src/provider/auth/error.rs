//! Why a request could not be given its credentials.

use crate::generation::{FailureKind, GenerationFailure};
use crate::provider::failure;
use crate::provider::http::fetch::FetchResponse;
use crate::provider::http::transport::{TransportError, TransportErrorKind};

/// Most characters shown of what a token server says.
const SAID_LIMIT: usize = 300;

/// Why there are no credentials. Messages name what was looked for and where, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing to authenticate with; `looked` is everything that was tried.
    #[error("no credentials for {provider}: {looked}; {remedy}")]
    NothingFound { provider: &'static str, looked: String, remedy: &'static str },
    /// A file, a variable or a program's output is not what it must be.
    #[error("{what} cannot be used: {reason}")]
    Unusable { what: String, reason: String },
    /// The server that gives tokens could not be asked.
    #[error("{who} could not be asked for a token: {source}")]
    Unreachable { who: String, source: TransportError },
    /// It was asked and refused.
    #[error("{who} gave no token (HTTP status {status}): {said}")]
    Refused { who: String, status: u16, said: String },
    /// It took too long.
    #[error("{what} took longer than {seconds} s")]
    TooSlow { what: String, seconds: u64 },
}

impl AuthError {
    pub(super) fn unusable(what: impl Into<String>, reason: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self::Unusable { what: what.into(), reason: failure::shortened(&reason.to_string(), SAID_LIMIT) }
    }

    /// What a token server's refusal means: OAuth's `error_description` or `error` (RFC 6749, section 5.2), or the
    /// message in Google's form.
    pub(super) fn refused(who: &str, answer: &FetchResponse) -> Self {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let places = ["/error_description", "/error/message", "/message", "/error"];
        let said = places.iter().find_map(|place| body.pointer(place).and_then(|it| it.as_str()));
        let said = said.and_then(|text| text.lines().next()).unwrap_or("no explanation");
        Self::Refused { who: who.to_owned(), status: answer.status, said: failure::shortened(said, SAID_LIMIT) }
    }

    /// Whether the next try may fare better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind == TransportErrorKind::Connection,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::TooSlow { .. } => true,
            Self::NothingFound { .. } | Self::Unusable { .. } => false,
        }
    }
}

/// A text of somebody else's, in one line and not too long.
#[cfg(feature = "aws")]
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    failure::shortened(&words.join(" "), SAID_LIMIT)
}

impl From<AuthError> for GenerationFailure {
    fn from(error: AuthError) -> Self {
        let make = if error.is_retryable() { failure::retryable } else { failure::lasting };
        make(FailureKind::Authentication, error.to_string())
    }
}
