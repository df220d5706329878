//! The transport before Streamable HTTP (revision 2024-11-05): an event stream for the server's messages, whose first
//! event names the address that ours are posted to.
//!
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Url;
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_client::SseError;

use super::connection::{ConnectionFailure, chain, http_failure};
use super::health::Health;
use super::http::{HttpClient, MAX_MESSAGE};
use super::remote::Remote;

/// How long a server may take to acknowledge a message; the answer itself comes by the event stream.
const POST_TIMEOUT: Duration = Duration::from_mins(1);

/// An event, as the protocol library gives it: its type and its data.
type Event = (Option<String>, String);

/// An open event stream, and where to post to.
pub(super) struct SseTransport {
    client: HttpClient,
    messages: Url,
    events: BoxStream<'static, Result<Event, SseError>>,
    waiting: VecDeque<ServerJsonRpcMessage>,
    health: Arc<Health>,
}

impl SseTransport {
    /// Opens the stream and waits for the address of messages.
    ///
    /// # Errors
    /// There is no such stream, or nobody is let in.
    pub(super) async fn open(remote: &Remote, health: Arc<Health>) -> Result<Self, ConnectionFailure> {
        let broken = |why: &str| ConnectionFailure::Broken(why.to_owned());
        let opened = remote.client.events(remote.endpoint.as_str(), None, None, &HashMap::new(), MAX_MESSAGE).await;
        let stream = opened.map_err(|error| http_failure(&error))?;
        let mut events = stream.map(|event| event.map(|event| (event.event, event.data.unwrap_or_default()))).boxed();
        let messages = loop {
            match events.next().await {
                Some(Ok((Some(kind), data))) if kind == "endpoint" => break data,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(ConnectionFailure::Broken(chain(&error))),
                None => return Err(broken("its event stream ended without an endpoint event")),
            }
        };
        let messages = remote
            .endpoint
            .join(messages.trim())
            .ok()
            .filter(|messages| messages.origin() == remote.endpoint.origin())
            .ok_or_else(|| broken("its endpoint event names another server, which is not followed"))?;
        Ok(Self { client: remote.client.clone(), messages, events, waiting: VecDeque::new(), health })
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = io::Error;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (client, messages) = (self.client.clone(), self.messages.clone());
        async move { client.post(messages, serde_json::to_vec(&message)?, POST_TIMEOUT).await }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            match self.events.next().await {
                Some(Ok((kind, data))) if kind.as_deref().is_none_or(|kind| kind == "message") => {
                    self.waiting.extend(super::dialect::messages(data.as_bytes()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.health.lost(format!("its event stream broke: {}", chain(&error)));
                    return None;
                }
                None => {
                    self.health.lost("it closed its event stream".to_owned());
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.events = futures_util::stream::empty().boxed();
        Ok(())
    }
}
