//! Sends requests.

use serde::{Deserialize, Serialize};

use crate::future::BoxFuture;

/// Sends one request and gives the answer's head; its body follows piece by piece.
pub trait Transport: Send + Sync {
    /// Sends `request`. Dropping the future, or the body, closes the connection.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// A POST request.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer: its head, and its body to be read.
pub struct HttpResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Box<dyn Body>,
}

/// The bytes of an answer as they arrive.
pub trait Body: Send {
    /// The next piece; `None` at the end.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>>;
}

/// Why no answer, or no more of it, came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    pub kind: TransportErrorKind,
    pub message: String,
}

/// The kinds of [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TransportErrorKind {
    /// No connection, or a connection cut: the next try may fare better.
    Connection,
    /// The server's certificate is not trusted, or TLS could not be agreed on.
    Certificate,
    /// The request cannot be sent as it is.
    Unusable,
    /// A recorded session has no answer to this request.
    Replay,
}
