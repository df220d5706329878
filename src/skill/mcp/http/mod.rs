//! [`HttpClient`]: the HTTP client of remote skills: requests with the token that is good now, once more with another
//! when it is refused.
//!
//! Called by both of the protocol's transports over HTTP. The answers are read in `answer.rs`, streams in `events.rs`;
//! where requests may go is decided in `remote.rs` and `network.rs`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};
use tracing::debug;

use self::answer::AnswerReader;
use self::events::Events;
use super::connection::chain;
use super::oauth::tokens::Tokens;

mod answer;
mod events;

/// Most bytes of one message, as of one message of a local server.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// The kinds of answers that every server has to choose from.
const ACCEPTED: &str = "text/event-stream, application/json";

type Failed = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// Sends what a skill's transport asks for.
#[derive(Clone)]
pub(super) struct HttpClient {
    pub client: Client,
    /// None where the client's own headers authorize, or nothing does.
    pub tokens: Option<Arc<Tokens>>,
    /// The server has refused its session a stream of its own, so that an answer comes with its request or not at all.
    pub is_without_stream: Arc<AtomicBool>,
}

impl HttpClient {
    /// Posts a JSON text that is answered elsewhere.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn post(&self, url: Url, body: Vec<u8>, limit: Duration) -> io::Result<()> {
        let mut token = self.token(None).await?;
        loop {
            let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").timeout(limit);
            let request = match &token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let sent = execute(request.body(body.clone())).await;
            let refused =
                token.filter(|_| sent.as_ref().is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED));
            token = match refused {
                Some(refused) => self.token(Some(&refused)).await?.filter(|fresh| *fresh != refused),
                None => None,
            };
            if token.is_none() {
                let sent = sent.and_then(reqwest::Response::error_for_status);
                return sent.map(drop).map_err(|error| io::Error::other(chain(&error)));
            }
        }
    }

    /// The stream of a session, or of a server of the older transport, its messages as they come.
    ///
    /// # Errors
    /// There is none, or nobody is let in.
    pub(super) async fn events(
        &self,
        url: &str,
        session: Option<&str>,
        last_event: Option<&str>,
        headers: &Headers,
        limit: usize,
    ) -> Result<Events, Failed> {
        let send = |token| {
            let request = within(self.client.get(url).header(ACCEPT, ACCEPTED), session, token, headers);
            let request = last_event.into_iter().fold(request, |request, id| request.header("last-event-id", id));
            async move { answer::stream(sent(request).await?, limit) }
        };
        self.authorized(send).await
    }

    async fn token(&self, refused: Option<&str>) -> io::Result<Option<String>> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let token = match refused {
            None => tokens.current().await,
            Some(refused) => tokens.instead_of(refused).await,
        };
        token.map_err(io::Error::other)
    }

    async fn authorized<T, F>(&self, send: impl Fn(Option<String>) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let token = self.token(None).await?;
        let answer = send(token.clone()).await;
        match (token, answer) {
            (Some(refused), Err(StreamableHttpError::AuthRequired(challenge))) => {
                match self.token(Some(&refused)).await? {
                    Some(fresh) => send(Some(fresh)).await,
                    None => Err(StreamableHttpError::AuthRequired(challenge)),
                }
            }
            (_, answer) => answer,
        }
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        self.post_message_with_max_sse_event_size(uri, message, session, token, headers, MAX_MESSAGE).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _token: Option<String>,
        headers: Headers,
        limit: usize,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let (body, message, session) = (serde_json::to_vec(&message)?, &message, session.as_deref());
        let send = |token| {
            let request = self.client.post(&*uri).header(CONTENT_TYPE, "application/json").body(body.clone());
            let request = within(request.header(ACCEPT, ACCEPTED), session, token, &headers);
            async move {
                let response = sent(request).await?;
                let has_session = session.is_some();
                let has_stream = has_session && !self.is_without_stream.load(Ordering::Relaxed);
                AnswerReader { message, has_session, has_stream, limit }.read(response).await
            }
        };
        self.authorized(send).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _token: Option<String>,
        headers: Headers,
    ) -> Result<(), Failed> {
        let send = |token| {
            let request = within(self.client.delete(&*uri), Some(&session), token, &headers);
            async move {
                let response = sent(request).await?;
                if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                    return Ok(());
                }
                response.error_for_status().map(drop).map_err(StreamableHttpError::Client)
            }
        };
        self.authorized(send).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<Events, Failed> {
        self.get_stream_with_max_sse_event_size(uri, session, last_event, token, headers, MAX_MESSAGE).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _token: Option<String>,
        headers: Headers,
        limit: usize,
    ) -> Result<Events, Failed> {
        let opened = self.events(&uri, session.as_deref(), last_event.as_deref(), &headers, limit).await;
        if last_event.is_none() {
            self.is_without_stream.store(opened.is_err(), Ordering::Relaxed);
        }
        Ok(answer::mended(opened?, None))
    }
}

/// A request in a session, with a token and these headers.
fn within(request: RequestBuilder, session: Option<&str>, token: Option<String>, headers: &Headers) -> RequestBuilder {
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let request = session.into_iter().fold(request, |request, session| request.header(SESSION, session));
    token.into_iter().fold(request, RequestBuilder::bearer_auth)
}

async fn sent(request: RequestBuilder) -> Result<Response, Failed> {
    execute(request).await.map_err(StreamableHttpError::Client)
}

/// Sends a request, and logs how it ended.
async fn execute(request: RequestBuilder) -> reqwest::Result<Response> {
    let (client, request) = request.build_split();
    let request = request?;
    let (method, host) = (request.method().clone(), request.url().host_str().unwrap_or_default().to_owned());
    let began = Instant::now();
    let sent = client.execute(request).await;
    let ms = began.elapsed().as_millis();
    match &sent {
        Ok(response) => debug!("{method} {host}: status {} after {ms} ms", response.status().as_u16()),
        Err(error) => debug!("{method} {host}: no answer after {ms} ms: {}", chain(error)),
    }
    sent
}
