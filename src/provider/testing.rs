//! A transport that answers from a script, for the tests of this folder.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::environment::Environment;
use crate::future::BoxFuture;
use crate::generation::{GenerateRequest, NativeTools, Occasion};
use crate::setting::ReasoningBudget;

use crate::provider::http::transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};

/// An environment of these pairs.
pub fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A request of `model` without messages and tools.
pub fn bare_request(model: &str) -> GenerateRequest<'_> {
    GenerateRequest {
        model,
        messages: &[],
        tools: &[],
        reasoning: ReasoningBudget::None,
        max_output_tokens: None,
        native: NativeTools::default(),
        found: 0,
        occasion: Occasion::default(),
    }
}

/// The result of one read of a body.
pub enum Chunk {
    Bytes(Vec<u8>),
    /// These bytes at every reading from now on.
    Forever(&'static str),
    /// Nothing, ever.
    Never,
    Fails(TransportError),
}

impl Chunk {
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// An answer, or none.
pub struct ScriptedReply(Option<HttpResponse>);

impl ScriptedReply {
    pub fn new(status: u16, headers: &[(&str, &str)], chunks: impl IntoIterator<Item = Chunk>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = Box::new(ScriptedBody(chunks.into_iter().collect()));
        Self(Some(HttpResponse { status, headers, body }))
    }

    pub fn stream(chunks: impl IntoIterator<Item = Chunk>) -> Self {
        Self::new(200, &[("content-type", "text/event-stream")], chunks)
    }

    /// A server that takes the request and never answers.
    pub fn silent() -> Self {
        Self(None)
    }
}

/// Answers requests with its replies in turn, leaves the others without an answer, and records them all.
pub struct Script {
    replies: Mutex<VecDeque<Option<HttpResponse>>>,
    requests: Mutex<Vec<HttpRequest>>,
}

impl Script {
    pub fn from_reply(reply: ScriptedReply) -> Self {
        Self::from_replies([reply])
    }

    pub fn from_replies(replies: impl IntoIterator<Item = ScriptedReply>) -> Self {
        let replies = replies.into_iter().map(|ScriptedReply(reply)| reply).collect();
        Self { replies: Mutex::new(replies), requests: Mutex::new(Vec::new()) }
    }

    pub fn silent() -> Self {
        Self::from_reply(ScriptedReply::silent())
    }

    pub fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Transport for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let reply = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten();
        match reply {
            Some(reply) => Box::pin(async { Ok(reply) }),
            None => Box::pin(std::future::pending()),
        }
    }
}

struct ScriptedBody(VecDeque<Chunk>);

impl Body for ScriptedBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
        match self.0.pop_front() {
            None => Box::pin(async { Ok(None) }),
            Some(Chunk::Bytes(bytes)) => Box::pin(async { Ok(Some(bytes)) }),
            Some(Chunk::Fails(error)) => Box::pin(async { Err(error) }),
            Some(Chunk::Never) => {
                self.0.push_front(Chunk::Never);
                Box::pin(std::future::pending())
            }
            Some(Chunk::Forever(text)) => {
                self.0.push_front(Chunk::Forever(text));
                Box::pin(async { Ok(Some(text.as_bytes().to_vec())) })
            }
        }
    }
}
