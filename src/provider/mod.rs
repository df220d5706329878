//! Models behind one door: [`Provider::generate`].
//!
//! A provider is a vendor (a row: address, key variable, quirks), a wire protocol (a pure codec) and a transport (the
//! one place that talks to a server). Retry policy, time limits and redaction exist once, for all.
//!
//! One call is one request: waiting and asking again ([`retry`]) is the caller's, who tells the user of it.

use crate::generation::{Delta, GenerateRequest, GenerationFailure};
use crate::setting::ProviderName;

mod address;
mod auth;
pub mod catalog;
mod frame;
mod proxy;
pub mod transport;
pub mod retry;
mod failure;
mod media;
mod names;
mod native;
mod schema;
#[cfg(test)]
mod recorded;
mod reported_error;
#[cfg(test)]
mod sample_requests;
mod typed_event;
mod assemble;
pub mod anthropic;
pub mod openai;
pub mod chat;
pub mod ollama;
pub mod vendor;
mod watch;
mod connect;
mod generate;
#[cfg(test)]
mod testing;

pub use connect::Provider;
pub use native::NativeSupport;
pub use proxy::ProxySettings;
pub use vendor::choose;
pub use watch::Limits;

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

    /// The tools of these that go out in a request: those that the provider runs itself when asked in this protocol.
    fn native_support(&self) -> NativeSupport {
        NativeSupport::default()
    }

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

/// Why a provider cannot be used. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    #[error("provider {provider} is not built into this version; use {built}")]
    NotBuilt { provider: ProviderName, built: String },
    #[error("{variable} is not set: provider {provider} needs a key; set it in the environment or in .env")]
    MissingKey { variable: &'static str, provider: ProviderName },
    #[error("no model provider can be used: no key is set; set {variables} in the environment or in .env")]
    NothingToUse { variables: String },
    /// `origin` is the key or variable that holds the address.
    #[error("{origin} {reason}")]
    InvalidBaseUrl { origin: &'static str, reason: String },
    #[error("header {name:?} for the model provider has a name or value that HTTP does not allow{}", key_hint(name))]
    InvalidHeader { name: String },
    /// Does not show the address: it may hold a password.
    #[error("the proxy's address cannot be used; write it as http://host:port or socks5://host:port")]
    InvalidProxy,
}

/// What may be wrong with a header that HTTP does not allow.
fn key_hint(name: &str) -> &'static str {
    match name {
        "x-api-key" | "authorization" => {
            ": the provider's key holds a line break or another character that cannot be sent"
        }
        _ => "; correct it",
    }
}
