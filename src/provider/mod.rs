//! [`Provider`]: one interface to every model, [`Provider::generate`].
//!
//! A provider is a vendor (a row: address, key variable, quirks), a wire protocol (a pure codec) and a transport (the
//! only code that opens a connection to a server). Retry policy, time limits and redaction exist once, for all.
//!
//! `runtime` calls it, one request per call. Waiting and sending again ([`retry`]) is left to the caller, which reports
//! it to the user.

use std::borrow::Cow;

use crate::generation::{Delta, GenerateRequest, GenerationFailure};
use crate::hint::ErrorHint;
use crate::message::Message;
use crate::setting::ProviderName;

use http::request_body::RequestBody;
use wire::reported_error::ReportedError;

mod assemble;
mod auth;
mod builder;
mod call_ids;
pub mod catalog;
mod conversation;
#[doc(hidden)]
pub mod event_stream;
mod failure;
mod generate;
mod halves;
pub mod http;
mod native;
mod repair;
mod request_part;
pub mod retry;
#[cfg(test)]
mod testing;
mod thinking;
mod timeouts;
mod tool_names;
pub mod vendor;
pub mod wire;

pub use crate::proxy::ProxySettings;
#[cfg(all(feature = "aws", feature = "s3"))]
pub(crate) use auth::AwsKeys;
pub use builder::Provider;
pub use conversation::EncodedConversation;
pub use native::NativeSupport;
pub use request_part::{RequestChange, RequestPart, changed_part};
pub use timeouts::GenerationTimeouts;
pub use vendor::choose;
pub use vendor::detect::find;
pub use vendor::trust::{is_own_address, users_credential};
pub use vendor::variables::{key_variable, vendor_variables};

/// One wire protocol: pure functions between this crate's types and a server's bytes.
pub trait Protocol: Send + Sync {
    /// The protocol's name in thinking parts and cassettes, e.g. `anthropic-messages`.
    fn name(&self) -> &'static str;

    /// A fresh encoder for the requests of one conversation, which have the model, the reasoning and the tools of `request`
    /// in common. Its messages are not looked at.
    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder>;

    /// Returns the request to send, of a conversation of which no other was encoded.
    fn encode(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let mut encoder = self.encoder(request);
        request.messages.iter().for_each(|message| encoder.add(message));
        encoder.request(request)
    }

    /// The way the answer's bytes are cut into frames: as server-sent events, unless the protocol has another.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// A fresh decoder for one answer.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// The frames of an answer that came as one JSON document although a stream was asked for; none for a document that
    /// is no answer.
    fn whole_answer(&self, _document: serde_json::Value) -> Vec<Frame> {
        Vec::new()
    }

    /// The tools that the provider itself can run when a request in this protocol asks for them.
    fn native_support(&self) -> NativeSupport {
        NativeSupport::default()
    }

    /// Reads the body of an HTTP error: the provider's own message and code, if the body has them. In the usual form
    /// unless the protocol has another.
    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        ReportedError::from_body(body)
    }
}

/// Turns the messages of one conversation into requests. Each message is encoded once, however many requests have it, and
/// a request is the same whether others were made before it or not.
pub trait Encoder: Send + Sync {
    /// Adds the conversation's next message.
    fn add(&mut self, message: &Message);

    /// Takes the tools of `request`, whose conversation has been added as far as it is, in place of those before.
    fn set_tools(&mut self, request: &GenerateRequest<'_>);

    /// Returns the request to send for the messages so far, not for those of `request`: path below the base URL, extra
    /// headers, JSON body.
    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest;
}

/// Turns one answer's frames into deltas.
pub trait Decoder: Send {
    /// Decodes one frame; an empty list for frames without content (pings).
    ///
    /// # Errors
    /// The failure that the frame reports, or one for a frame that the protocol does not allow.
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure>;
}

/// The form of an answer's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (WHATWG HTML, "Server-sent events").
    Sse,
    /// One JSON value a line.
    Ndjson,
    /// Binary messages with headers and checksums (`application/vnd.amazon.eventstream`).
    AwsEventStream,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The SSE `event:` field, or the type of an AWS event, exception or error, when there was one.
    pub event: Option<String>,
    /// The data: the SSE `data:` lines joined, the line, or an AWS message's payload. An AWS error has none; its
    /// message is put here as `{"message": ..}`, the form of an exception's payload.
    pub data: String,
    /// The framing itself marks this as a failure, not an event: an AWS exception or error.
    pub is_failure: bool,
}

impl Frame {
    /// A frame that is an event.
    pub fn event(event: Option<String>, data: String) -> Self {
        Self { event, data, is_failure: false }
    }
}

/// A request before address and credentials are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRequest {
    /// Appended to the base URL; starts with `/`.
    pub path: String,
    /// Protocol headers (versions, betas), without credentials.
    pub headers: Vec<(String, String)>,
    pub body: RequestBody,
}

/// The content of an error body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    pub message: String,
    /// The provider's error type or code, e.g. `overloaded_error`, `insufficient_quota`.
    pub code: Option<String>,
    /// The wait that the body asks for, in milliseconds; a header with one takes precedence.
    pub retry_after_ms: Option<u64>,
}

/// The reason why a provider cannot be used. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    #[error("{variable} is not set: provider {provider} needs a key")]
    MissingKey { variable: &'static str, provider: ProviderName },
    /// No model was named, and the provider has none for the tier that is asked for.
    #[error("provider {provider} has no default model")]
    NoDefaultModel { provider: ProviderName },
    #[error("no model provider can be used: no key is set, and no Ollama server answers")]
    NothingToUse { variables: String },
    /// A part of the address that the user must give.
    #[error("{name} is not set: {reason}")]
    MissingPlace { name: &'static str, reason: &'static str, remedy: &'static str },
    /// A part of the address that would lead to another host.
    #[error("{origin} is {value:?}, which cannot be a part of an address")]
    InvalidPlace { origin: &'static str, value: String },
    /// Does not show the key.
    #[error("{variable} holds a line break or another character that cannot be sent")]
    InvalidKey { variable: &'static str },
    #[error("provider {provider} needs the feature {feature}, which this program was built without")]
    FeatureMissing { provider: ProviderName, feature: &'static str, remedy: &'static str },
    /// `origin` is the key or variable that holds the address.
    #[error("{origin} {reason}")]
    InvalidBaseUrl { origin: &'static str, reason: String, remedy: &'static str },
    #[error("header {name:?} for the model provider has a name or value that HTTP does not allow")]
    InvalidHeader { name: String },
    /// Does not show the address: it may hold a password.
    #[error("the proxy's address cannot be used")]
    InvalidProxy,
}

impl ProviderError {
    /// Returns true for a missing variable, as where keys are kept out of a check on purpose.
    pub fn is_about_environment(&self) -> bool {
        matches!(self, Self::MissingKey { .. } | Self::NothingToUse { .. } | Self::MissingPlace { .. })
    }
}

impl ErrorHint for ProviderError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::MissingKey { .. } => "set it in the environment or in .env",
            Self::NoDefaultModel { .. } => "name one (model in perstack.toml, or PERSTACK_MODEL)",
            Self::NothingToUse { variables } => {
                return Some(format!("set {variables} in the environment or in .env").into());
            }
            Self::InvalidPlace { .. } => "use letters, digits and -",
            Self::MissingPlace { remedy, .. }
            | Self::FeatureMissing { remedy, .. }
            | Self::InvalidBaseUrl { remedy, .. } => remedy,
            Self::InvalidKey { .. } => "set it to the key alone, without a line break",
            Self::InvalidHeader { .. } => "correct it under headers in [provider.setting]",
            Self::InvalidProxy => "write it as http://host:port or socks5://host:port",
        };
        Some(hint.into())
    }
}
