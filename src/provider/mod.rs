//! Models behind one door: [`Provider::generate`].
//!
//! A provider is a vendor (a row: address, key variable, quirks), a wire protocol (a pure codec) and a transport (the
//! one place that talks to a server). Retry policy, time limits and redaction exist once, for all.

pub mod anthropic;
pub mod openai;
pub mod transport;
mod media;
#[cfg(test)]
mod recorded;
mod reported_error;
mod typed_event;

use crate::generation::{Delta, GenerateRequest, GenerationFailure};

/// One wire protocol: pure functions between our words and a server's bytes.
pub trait Protocol: Send + Sync {
    /// The protocol's name in thinking parts and cassettes, e.g. `anthropic-messages`.
    fn name(&self) -> &'static str;

    /// What to send: path below the base URL, extra headers, JSON body.
    fn encode(&self, request: &GenerateRequest<'_>) -> EncodedRequest;

    /// How the answer's bytes are cut into frames.
    fn framing(&self) -> Framing;

    /// A fresh decoder for one answer.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Reads the body of an HTTP error: the provider's own message and code, if the body has them.
    fn read_error(&self, body: &[u8]) -> Option<ErrorBody>;
}

/// Turns one answer's frames into deltas.
pub trait Decoder: Send {
    /// Decodes one frame; an empty list for frames that say nothing (pings).
    ///
    /// # Errors
    /// The failure that the frame reports, or that it is not what the protocol says.
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure>;
}

/// How bytes become frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, "Server-sent events").
    Sse,
    /// One JSON value a line.
    Ndjson,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The SSE `event:` field, when there was one.
    pub event: Option<String>,
    /// The data: the SSE `data:` lines joined, or the line.
    pub data: String,
}

/// A request before address and credentials are added.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedRequest {
    /// Appended to the base URL; starts with `/`.
    pub path: String,
    /// Protocol headers (versions, betas), without credentials.
    pub headers: Vec<(String, String)>,
    pub body: serde_json::Value,
}

/// What an error body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    pub message: String,
    /// The provider's error type or code, e.g. `overloaded_error`, `insufficient_quota`.
    pub code: Option<String>,
}
