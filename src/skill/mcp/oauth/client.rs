//! The HTTP client of remote skills: requests with the token that is good now, once more with another when it is
//! refused.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};

use super::super::connection::chain;
use super::super::remote::MAX_EVENT;
use super::tokens::Tokens;

type Failed = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// Sends what a skill's transport asks for.
#[derive(Clone)]
pub(in super::super) struct HttpClient {
    pub client: Client,
    /// None where the client's own headers authorize, or nothing does.
    pub tokens: Option<Arc<Tokens>>,
}

impl HttpClient {
    /// Posts a JSON text that is answered elsewhere.
    ///
    /// # Errors
    /// In words.
    pub(in super::super) async fn post(&self, url: Url, body: Vec<u8>, limit: Duration) -> io::Result<()> {
        let mut token = self.token(None).await?;
        loop {
            let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").timeout(limit);
            let request = match &token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let sent = request.body(body.clone()).send().await;
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
        self.post_message_with_max_sse_event_size(uri, message, session, token, headers, MAX_EVENT).await
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
        let send = |token| {
            let (uri, message, session) = (Arc::clone(&uri), message.clone(), session.clone());
            self.client.post_message_with_max_sse_event_size(uri, message, session, token, headers.clone(), limit)
        };
        understood(&message, session.is_some(), self.authorized(send).await)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _token: Option<String>,
        headers: Headers,
    ) -> Result<(), Failed> {
        let send = |token| self.client.delete_session(Arc::clone(&uri), Arc::clone(&session), token, headers.clone());
        self.authorized(send).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<BoxedSseResponse, Failed> {
        self.get_stream_with_max_sse_event_size(uri, session, last_event, token, headers, MAX_EVENT).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _token: Option<String>,
        headers: Headers,
        limit: usize,
    ) -> Result<BoxedSseResponse, Failed> {
        let send = |token| {
            let (uri, session, last) = (Arc::clone(&uri), session.clone(), last_event.clone());
            self.client.get_stream_with_max_sse_event_size(uri, session, last, token, headers.clone(), limit)
        };
        self.authorized(send).await
    }
}

/// The answer to a posted message, where servers answer in ways of their own.
fn understood(
    message: &ClientJsonRpcMessage,
    has_session: bool,
    answer: Result<StreamableHttpPostResponse, Failed>,
) -> Result<StreamableHttpPostResponse, Failed> {
    match (message, answer) {
        // Nobody waits for the answer to a notification, so a refusal of one ends nothing.
        (
            JsonRpcMessage::Notification(_),
            Err(StreamableHttpError::UnexpectedServerResponse(_) | StreamableHttpError::HttpStatus(_))
            | Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(_), _)),
        ) => Ok(StreamableHttpPostResponse::Accepted),
        // It answers the request that was posted, whatever id it has; left as it is, the request would wait for its limit.
        (
            JsonRpcMessage::Request(request),
            Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(mut error), session)),
        ) if error.id.as_ref() != Some(&request.id) => {
            if has_session && error.error.message.to_lowercase().contains("session") {
                return Err(StreamableHttpError::SessionExpired);
            }
            error.id = Some(request.id.clone());
            Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), session))
        }
        (_, answer) => answer,
    }
}
