//! [`AnswerReader`]: the answer to a posted message: its status, its kind, and the messages in it, mended like a local
//! server's. Called by the HTTP client; sending and tokens are left to it, sessions to the protocol library.
//!
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http>

use futures_util::{StreamExt, stream};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, JsonRpcMessage, JsonRpcRequest, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, InsufficientScopeError, SseError, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;

use super::super::dialect;
use super::events::{self, BYTE_ORDER_MARK, EventTooLarge, Events};
use super::{Failed, SESSION};

/// Most bytes of a refusal's body: its beginning explains it.
const MAX_REFUSAL: usize = 64 << 10;

/// Most bytes of a body that are quoted in an error.
const MAX_QUOTE: usize = 256;

/// Bytes of the longest fields that an event begins with, `event:` and `retry:`.
const LONGEST_FIELD: usize = 6;

/// Reads the answer to one posted message.
pub(super) struct AnswerReader<'a> {
    pub message: &'a ClientJsonRpcMessage,
    pub has_session: bool,
    /// The session has a stream, or may have one, on which the answer may come.
    pub has_stream: bool,
    /// Most bytes of one message.
    pub limit: usize,
}

/// A successful answer's body, by its content type, or by its beginning where the type is none that is expected.
enum Body {
    Empty,
    Json(Vec<u8>),
    Events(Events),
    Other(String),
}

impl AnswerReader<'_> {
    /// The messages in `response`.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub(super) async fn read(self, response: Response) -> Result<StreamableHttpPostResponse, Failed> {
        if let Some(challenge) = challenge(&response) {
            return Err(challenge);
        }
        if !response.status().is_success() {
            return self.refusal(response).await;
        }
        // Nobody waits for the answer to an answer or a notification.
        let JsonRpcMessage::Request(request) = self.message else { return Ok(StreamableHttpPostResponse::Accepted) };
        let status = response.status();
        let session = response.headers().get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        match body(response, self.limit).await? {
            Body::Empty if self.has_stream => Ok(StreamableHttpPostResponse::Accepted),
            Body::Empty => Err(unexpected(format!("HTTP {status} without an answer to the request"))),
            Body::Json(text) => self.whole(&text, request, session),
            Body::Events(events) => {
                Ok(StreamableHttpPostResponse::Sse(mended(events, Some(request.id.clone())), session))
            }
            Body::Other(what) => Err(unexpected(what)),
        }
    }

    /// The messages of a JSON text.
    fn whole(
        &self,
        text: &[u8],
        request: &JsonRpcRequest<ClientRequest>,
        session: Option<String>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let mut messages = dialect::messages(text);
        match messages.as_mut_slice() {
            [] => Err(unexpected(format!("its answer is no message of the protocol: {}", quote(text)))),
            [ServerJsonRpcMessage::Error(error)]
                if self.has_session
                    && error.id.as_ref() != Some(&request.id)
                    && names_lost_session(&error.error.message) =>
            {
                Err(StreamableHttpError::SessionExpired)
            }
            // It answers the request that was posted, whatever id it has; left as it is, the request would wait for its
            // limit.
            [ServerJsonRpcMessage::Error(error)] => {
                error.id = Some(request.id.clone());
                Ok(StreamableHttpPostResponse::Json(messages.swap_remove(0), session))
            }
            [ServerJsonRpcMessage::Response(response)] => {
                response.id = request.id.clone();
                Ok(StreamableHttpPostResponse::Json(messages.swap_remove(0), session))
            }
            _ => {
                let events: Vec<_> = messages.iter().filter_map(event).map(Ok).collect();
                Ok(StreamableHttpPostResponse::Sse(stream::iter(events).boxed(), session))
            }
        }
    }

    /// An answer whose status is no success.
    async fn refusal(&self, response: Response) -> Result<StreamableHttpPostResponse, Failed> {
        let status = response.status();
        if self.has_session && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(StreamableHttpError::SessionExpired);
        }
        let answer = self.refused(response).await;
        match (self.message, answer) {
            // Nobody waits for the answer to a notification, so a refusal of one ends nothing.
            (
                JsonRpcMessage::Notification(_),
                Ok(_) | Err(StreamableHttpError::UnexpectedServerResponse(_) | StreamableHttpError::HttpStatus(_)),
            ) => Ok(StreamableHttpPostResponse::Accepted),
            (_, answer) => answer,
        }
    }

    async fn refused(&self, response: Response) -> Result<StreamableHttpPostResponse, Failed> {
        let status = response.status();
        let failure = status_failure(&response);
        let may_explain = content_type(&response).is_none_or(|kind| is_json(&kind));
        match failure {
            Some(failure) if status == StatusCode::TOO_MANY_REQUESTS || !may_explain => return Err(failure.into()),
            _ => {}
        }
        let session = response.headers().get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let text = match whole_body(response, Vec::new(), MAX_REFUSAL).await {
            Ok(text) => text,
            Err(error) => return Err(failure.map_or(error, StreamableHttpError::from)),
        };
        let error = dialect::messages(&text).into_iter().find_map(|message| match message {
            ServerJsonRpcMessage::Error(error) => Some(error.error),
            _ => None,
        });
        let words = error.as_ref().map_or_else(|| quote(&text), |error| error.message.clone().into_owned());
        if status == StatusCode::BAD_REQUEST && self.has_session && names_lost_session(&words) {
            return Err(StreamableHttpError::SessionExpired);
        }
        let is_unauthorized = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if let JsonRpcMessage::Request(request) = self.message
            && !is_unauthorized
        {
            // A server of sessions that refuses this greeting is turned to in its own way.
            let is_probe = !self.has_session
                && status.is_client_error()
                && matches!(request.request, ClientRequest::DiscoverRequest(_));
            let refused = || ErrorData::invalid_request(format!("HTTP {status}: {words}"), None);
            if let Some(error) = error.or_else(|| is_probe.then(refused)) {
                let message = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
                return Ok(StreamableHttpPostResponse::Json(message, session));
            }
        }
        let unexplained = || unexpected(format!("HTTP {status}: {}", String::from_utf8_lossy(&text)));
        Err(failure.map_or_else(unexplained, StreamableHttpError::from))
    }
}

/// A stream of messages without a request of its own, or to be resumed.
///
/// # Errors
/// There is none.
pub(super) fn stream(response: Response, limit: usize) -> Result<Events, Failed> {
    if let Some(challenge) = challenge(&response) {
        return Err(challenge);
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        return Err(StreamableHttpError::ServerDoesNotSupportSse);
    }
    if let Some(failure) = status_failure(&response) {
        return Err(failure.into());
    }
    let response = response.error_for_status().map_err(StreamableHttpError::Client)?;
    match content_type(&response) {
        Some(kind) if kind != "text/event-stream" && !is_json(&kind) => {
            Err(unexpected(format!("its answer is no event stream (content type {kind})")))
        }
        _ => Ok(events::read(response, b"", limit)),
    }
}

/// The events, with the messages in them mended. `request` is the id of the request that they answer.
pub(super) fn mended(events: Events, request: Option<RequestId>) -> Events {
    let mend = move |found: Result<Sse, SseError>| match (found, &request) {
        (Ok(found), request) => mended_event(found, request.as_ref()),
        (Err(fault), Some(id)) => match EventTooLarge::in_error(&fault) {
            // Asking for the rest of the stream would bring the same event.
            Some(too_large) => {
                let error = ErrorData::internal_error(format!("its answer has {too_large}"), None);
                event(&ServerJsonRpcMessage::error(error, Some(id.clone()))).map(Ok).into_iter().collect()
            }
            None => vec![Err(fault)],
        },
        (Err(fault), None) => vec![Err(fault)],
    };
    events.flat_map(move |event| stream::iter(mend(event))).boxed()
}

/// An event for each message in this one, whatever the event's type; one without data where there is none, since its id
/// counts.
fn mended_event(found: Sse, request: Option<&RequestId>) -> Vec<Result<Sse, SseError>> {
    let messages = dialect::messages(found.data.as_deref().unwrap_or_default().as_bytes());
    let mut mended: Vec<Sse> = messages
        .into_iter()
        .filter_map(|mut message| {
            if let (ServerJsonRpcMessage::Error(error), Some(request)) = (&mut message, request)
                && error.id.as_ref().is_none_or(|id| !is_number(id))
            {
                error.id = Some(request.clone());
            }
            event(&message)
        })
        .collect();
    if mended.is_empty() {
        mended.push(Sse::default());
    }
    // A stream is resumed after the last of them.
    if let Some(last) = mended.last_mut() {
        (last.id, last.retry) = (found.id, found.retry);
    }
    mended.into_iter().map(Ok).collect()
}

/// Returns true for an id that could be one of our own requests', which are numbers.
fn is_number(id: &RequestId) -> bool {
    match id {
        RequestId::Number(_) => true,
        RequestId::String(text) => text.parse::<i64>().is_ok(),
    }
}

fn event(message: &ServerJsonRpcMessage) -> Option<Sse> {
    Some(Sse::default().data(serde_json::to_string(message).ok()?))
}

/// The body of a successful answer.
async fn body(mut response: Response, limit: usize) -> Result<Body, Failed> {
    let kind = content_type(&response);
    if kind.as_deref() == Some("text/event-stream") {
        return Ok(Body::Events(events::read(response, b"", limit)));
    }
    let mut start = Vec::new();
    let is_whole = loop {
        if text(&start).len() >= LONGEST_FIELD || text(&start).starts_with(b"{") || text(&start).starts_with(b"[") {
            break false;
        }
        match response.chunk().await.map_err(StreamableHttpError::Client)? {
            Some(bytes) => start.extend_from_slice(&bytes),
            None => break true,
        }
        if start.len() > limit {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size: limit });
        }
    };
    Ok(match text(&start) {
        [] if is_whole => Body::Empty,
        [b'{' | b'[', ..] => Body::Json(whole_body(response, start, limit).await?),
        text if begins_stream(text) => Body::Events(events::read(response, &start, limit)),
        text => {
            let kind = kind.map_or_else(|| "none".to_owned(), |kind| quote(kind.as_bytes()));
            let what = format!("its answer is neither JSON nor an event stream (content type {kind}): {}", quote(text));
            Body::Other(what)
        }
    })
}

/// A text without what may stand before its first character.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start()
}

/// Returns true when a text begins with a field of an event or a comment.
fn begins_stream(text: &[u8]) -> bool {
    [":", "data:", "event:", "id:", "retry:"].iter().any(|field| text.starts_with(field.as_bytes()))
}

/// The whole body, of which `read` is the beginning.
async fn whole_body(mut response: Response, mut read: Vec<u8>, limit: usize) -> Result<Vec<u8>, Failed> {
    loop {
        if read.len() > limit {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size: limit });
        }
        match response.chunk().await.map_err(StreamableHttpError::Client)? {
            Some(bytes) => read.extend_from_slice(&bytes),
            None => return Ok(read),
        }
    }
}

/// The content type without its parameters, in lower case.
fn content_type(response: &Response) -> Option<String> {
    let kind = response.headers().get(CONTENT_TYPE)?.as_bytes();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    (!kind.is_empty()).then(|| String::from_utf8_lossy(kind).to_ascii_lowercase())
}

fn is_json(kind: &str) -> bool {
    kind == "application/json" || kind.ends_with("+json")
}

/// Returns true when a server's words show that it does not know the session: most that have lost one answer with 404, others with 400.
fn names_lost_session(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("session") || words.contains("not initialized")
}

/// The demand for other credentials, if `response` is one.
fn challenge(response: &Response) -> Option<Failed> {
    let header = response.headers().get(WWW_AUTHENTICATE)?;
    let challenge = String::from_utf8_lossy(header.as_bytes()).into_owned();
    match response.status() {
        StatusCode::UNAUTHORIZED => Some(StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge))),
        StatusCode::FORBIDDEN => {
            let scope = scope(&challenge);
            Some(StreamableHttpError::InsufficientScope(InsufficientScopeError::new(challenge, scope)))
        }
        _ => None,
    }
}

/// The scope that a challenge asks for.
fn scope(challenge: &str) -> Option<String> {
    let at = challenge.to_ascii_lowercase().find("scope=")?;
    let value = challenge.get(at..)?.split_once('=')?.1;
    let scope = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => value.split([',', ';', ' ', '\t']).next().unwrap_or_default(),
    };
    (!scope.is_empty()).then(|| scope.to_owned())
}

/// The status of a server that is in trouble or has too much to do.
fn status_failure(response: &Response) -> Option<HttpStatusError> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_failure = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    is_failure.then(|| HttpStatusError::new(status.as_u16(), retry_after))
}

fn unexpected(what: String) -> Failed {
    StreamableHttpError::UnexpectedServerResponse(what.into())
}

/// The beginning of a text.
fn quote(text: &[u8]) -> String {
    if text.is_empty() {
        return "nothing".to_owned();
    }
    String::from_utf8_lossy(text.get(..MAX_QUOTE).unwrap_or(text)).into_owned()
}

#[cfg(test)]
mod tests;
