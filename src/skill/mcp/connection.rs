//! One connection to a server, from the handshake to its end: requests with limits of time, cancelled where nobody
//! waits any more.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientNotification, ClientRequest, ListToolsRequest,
    PaginatedRequestParams, ProtocolVersion, RequestId, SubscriptionFilter,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt, Peer, PeerRequestOptions, RunningService,
    ServiceError,
};
use rmcp::transport::{IntoTransport, streamable_http_client::StreamableHttpError};
use rmcp::{ErrorData, RoleClient};
use serde_json::Value;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Era, ProgressTable};
use super::health::Health;
use super::server::Server;
use super::server_requests::Replies;
use crate::event::ServerInfo;
use crate::skill::limit;

/// Most pages of a list of tools.
const MAX_PAGES: usize = 100;

/// Most tools of a server; no model chooses among so many.
pub(super) const MAX_TOOLS: usize = 2_000;

/// How long the message that takes a request back may take to be sent.
const TAKING_BACK: Duration = Duration::from_secs(1);

/// How long a connection may take to close by itself.
const CLOSING: Duration = Duration::from_secs(2);

/// Most characters of the reason for a failure.
pub(super) const MAX_CAUSE: usize = 500;

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Without an answer or progress.
    pub silence: Duration,
    /// In all, whatever the progress.
    pub total: Duration,
}

/// A server's list of tools.
#[derive(Debug, PartialEq)]
pub(super) struct Listing {
    pub tools: Vec<Value>,
    /// There were more.
    pub is_cut: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// The server refused.
    Refused { code: i32, message: String },
    /// Over HTTP: the server lets nobody in any more, or not with this token; with the status.
    Unauthorized(u16),
    /// No answer in time.
    TimedOut(Duration),
    /// The caller gave up.
    Cancelled,
    /// The connection is gone; whether the server acted is unknown.
    Lost(String),
}

/// Why no connection came about.
#[derive(Debug)]
pub(super) enum ConnectionFailure {
    /// The server answered with an error, as one of another era does.
    Refused(ErrorData),
    /// Over HTTP: the server lets nobody in, or not with this token; with the scope that it asks for, if it names one.
    Unauthorized { status: u16, scope: Option<String> },
    /// Over HTTP: the server's answer is not that of a Streamable HTTP endpoint.
    OtherTransport(String),
    /// Anything else.
    Broken(String),
}

impl ConnectionFailure {
    /// In words, for an error text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Refused(error) => format!("its server refused the handshake: {} ({})", error.message, error.code.0),
            Self::Unauthorized { status, .. } => format!("its server demands authorization (HTTP status {status})"),
            Self::OtherTransport(why) | Self::Broken(why) => why.clone(),
        }
    }
}

/// An open connection. Dropping it ends everything at once.
pub(super) struct Connection {
    service: Mutex<Option<RunningService<RoleClient, Client>>>,
    server: Mutex<Option<Server>>,
    peer: Peer<RoleClient>,
    progress: Arc<ProgressTable>,
    tools_changed: Arc<Notify>,
    health: Arc<Health>,
    has_process: bool,
    pub(super) replies: Arc<Replies>,
    pub(super) era: Era,
    /// From connecting to agreement.
    pub handshake: Duration,
}

impl Connection {
    /// Shakes hands over `transport`, which ends with `server` when there is one.
    pub(super) async fn open<T, E, A>(
        client: Client,
        era: Era,
        transport: T,
        server: Option<Server>,
        health: Arc<Health>,
    ) -> Result<Self, ConnectionFailure>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let began = Instant::now();
        let lifecycle = match era {
            Era::Sessions => ClientLifecycleMode::Initialize,
            Era::Stateless => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
        };
        let (progress, tools_changed, replies) = (client.progress(), client.tools_changed(), client.replies());
        let has_process = server.is_some();
        let service = match client.serve_with_lifecycle(transport, lifecycle).await {
            Ok(service) => service,
            Err(error) => return Err(failure(error, &health, has_process).await),
        };
        if let Some(info) = service.peer().peer_info()
            && !ProtocolVersion::KNOWN_VERSIONS.contains(&info.protocol_version)
        {
            let version = info.protocol_version.as_str();
            return Err(ConnectionFailure::Broken(format!(
                "its server uses an unknown revision of the protocol: {version}"
            )));
        }
        Ok(Self {
            peer: service.peer().clone(),
            service: Mutex::new(Some(service)),
            server: Mutex::new(server),
            progress,
            tools_changed,
            health,
            has_process,
            replies,
            era,
            handshake: began.elapsed(),
        })
    }

    /// The server's own name and version.
    pub(super) fn server_info(&self) -> Option<ServerInfo> {
        let info = self.peer.peer_info()?;
        let server = info.server_info.as_ref()?;
        Some(ServerInfo { name: server.name.clone(), version: server.version.clone() })
    }

    /// The revision of the protocol that was agreed on.
    pub(super) fn protocol(&self) -> Option<String> {
        Some(self.peer.peer_info()?.protocol_version.as_str().to_owned())
    }

    /// Returns true when no request can be made any more.
    pub(super) fn is_over(&self) -> bool {
        self.peer.is_transport_closed() || self.health.is_over()
    }

    /// Waits until the server reports that its tools have changed; for ever when it cannot report that.
    pub(super) async fn tools_changed(&self) {
        let listens = self.era == Era::Stateless
            && self.peer.peer_info().is_some_and(|info| {
                info.capabilities.tools.as_ref().is_some_and(|tools| tools.list_changed == Some(true))
            });
        if listens {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            if let Ok(mut subscription) = self.peer.listen(filter).await
                && let Ok(Some(_)) = subscription.next().await
            {
                return;
            }
        }
        self.tools_changed.notified().await;
    }

    /// All tools, as the server lists them. A list that does not end is cut.
    pub(super) async fn tools(&self, patience: Patience) -> Result<Listing, CallFailure> {
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        let mut seen = HashSet::new();
        for _ in 0..MAX_PAGES {
            let params = cursor.take().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let request = ListToolsRequest { params, ..ListToolsRequest::default() };
            let nobody = CancellationToken::new();
            let mut page = self.ask(ClientRequest::ListToolsRequest(request), "", patience, &nobody).await?;
            let Some(Value::Array(listed)) = page.get_mut("tools").map(Value::take) else {
                return Err(CallFailure::Refused { code: -32603, message: "its list of tools is no list".to_owned() });
            };
            tools.extend(listed);
            // An empty cursor, or one that came before, leads to nothing new.
            let next = page.get("nextCursor").and_then(Value::as_str).filter(|next| !next.is_empty());
            cursor = next.filter(|next| seen.insert((*next).to_owned())).map(str::to_owned);
            if cursor.is_none() || tools.len() > MAX_TOOLS {
                break;
            }
        }
        Ok(Listing { tools, is_cut: cursor.is_some() })
    }

    /// Returns true when the server declares tools.
    pub(super) fn has_tools(&self) -> bool {
        self.peer.peer_info().is_none_or(|info| info.capabilities.tools.is_some())
    }

    /// Sends a request and waits for its answer. Progress is reported for `tool`.
    pub(super) async fn ask(
        &self,
        request: ClientRequest,
        tool: &str,
        patience: Patience,
        cancel: &CancellationToken,
    ) -> Result<Value, CallFailure> {
        let began = tokio::time::Instant::now();
        let mut total = pin!(limit::passed(patience.total));
        let mut silence = pin!(limit::passed(patience.silence));
        let sent = self.peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await;
        let mut handle = match sent {
            Ok(handle) => handle,
            Err(error) => return Err(self.fault(error).await),
        };
        let progress = self.progress.watch(handle.progress_token.clone(), tool);
        let mut questions = self.replies.open_questions();
        let fault = loop {
            tokio::select! {
                // In this order, an answer that came in the instant of a cancellation or limit still counts.
                biased;
                answer = &mut handle.rx => return match answer {
                    Ok(Ok(result)) => serde_json::to_value(result)
                        .map_err(|error| CallFailure::Refused { code: -32603, message: error.to_string() }),
                    Ok(Err(error)) => Err(self.fault(error).await),
                    Err(_) => Err(CallFailure::Lost(self.reason().await)),
                },
                () = cancel.cancelled() => break CallFailure::Cancelled,
                () = progress.made() => silence.set(limit::passed(patience.silence)),
                // A server that waits for a person is not silent.
                Ok(()) = questions.changed() => silence.set(limit::passed(match *questions.borrow_and_update() {
                    0 => patience.silence,
                    _ => patience.total,
                })),
                () = &mut total => break CallFailure::TimedOut(began.elapsed()),
                () = &mut silence => break CallFailure::TimedOut(began.elapsed()),
            }
        };
        let reason =
            if matches!(fault, CallFailure::Cancelled) { "the call was cancelled" } else { "the call took too long" };
        self.take_back(handle.id.clone(), reason).await;
        Err(fault)
    }

    /// Notifies the server that nobody waits for an answer any more.
    async fn take_back(&self, id: RequestId, reason: &str) {
        let params = CancelledNotificationParam::new(Some(id), Some(reason.to_owned()));
        let notification = ClientNotification::CancelledNotification(CancelledNotification::new(params));
        // A server that takes no notification has other troubles, which the next request reports.
        let _ = timeout(TAKING_BACK, self.peer.send_notification(notification)).await;
    }

    async fn fault(&self, error: ServiceError) -> CallFailure {
        match error {
            ServiceError::McpError(error) => {
                CallFailure::Refused { code: error.code.0, message: error.message.into_owned() }
            }
            ServiceError::TransportSend(error) => match http_failure(error.error.as_ref()) {
                // The server has done nothing, and the connection is as it was.
                ConnectionFailure::Unauthorized { status, .. } => CallFailure::Unauthorized(status),
                _ => CallFailure::Lost(chain(error.error.as_ref())),
            },
            ServiceError::TransportClosed => CallFailure::Lost(self.reason().await),
            ServiceError::Cancelled { .. } => {
                CallFailure::Refused { code: -32800, message: "the server cancelled".to_owned() }
            }
            other => CallFailure::Refused { code: -32603, message: other.to_string() },
        }
    }

    async fn reason(&self) -> String {
        self.health.reason(self.has_process).await
    }

    /// Ends the connection, then the process behind it.
    pub(super) async fn close(&self) {
        // First the connection: closing it closes the server's input, by which a local server knows that it should end.
        if let Some(mut service) = self.service.lock().await.take() {
            // A connection that does not close in time is dropped, and closed so.
            let _ = service.close_with_timeout(CLOSING).await;
        }
        if let Some(server) = self.server.lock().await.take() {
            server.end().await;
        }
    }
}

async fn failure(error: ClientInitializeError, health: &Health, has_process: bool) -> ConnectionFailure {
    match error {
        ClientInitializeError::JsonRpcError(error) => ConnectionFailure::Refused(error),
        ClientInitializeError::TransportError { error, .. } if !has_process => http_failure(error.error.as_ref()),
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. } => {
            ConnectionFailure::Broken(health.reason(has_process).await)
        }
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let versions: Vec<&str> = server_supported.iter().map(ProtocolVersion::as_str).collect();
            ConnectionFailure::Broken(format!(
                "its server supports only other revisions of the protocol: {}",
                versions.join(", ")
            ))
        }
        other => ConnectionFailure::Broken(format!("its server's answer to the handshake is not understood: {other}")),
    }
}

/// Classifies an HTTP failure: the server uses another transport, demands authorization, or something is broken.
pub(super) fn http_failure(error: &(dyn std::error::Error + 'static)) -> ConnectionFailure {
    let text = chain(error);
    let is_other = match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::AuthRequired(_)) => {
            return ConnectionFailure::Unauthorized { status: 401, scope: None };
        }
        Some(StreamableHttpError::InsufficientScope(missing)) => {
            return ConnectionFailure::Unauthorized { status: 403, scope: missing.required_scope.clone() };
        }
        Some(StreamableHttpError::UnexpectedServerResponse(_) | StreamableHttpError::UnexpectedContentType(_)) => true,
        Some(StreamableHttpError::Client(error)) => error.status().is_some(),
        _ => false,
    };
    if is_other { ConnectionFailure::OtherTransport(text) } else { ConnectionFailure::Broken(text) }
}

/// An error and its causes in one line, without addresses, which may hold secrets.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // The library wraps the client's errors without naming them as causes.
    let error: &(dyn std::error::Error + 'static) = match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(inner)) => inner,
        Some(StreamableHttpError::Io(inner)) => inner,
        _ => error,
    };
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = match cause.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_connect() => "cannot connect".to_owned(),
            Some(error) if error.is_timeout() => "no answer in time".to_owned(),
            Some(error) => match error.status() {
                Some(status) => format!("HTTP status {status}"),
                None => "the request failed".to_owned(),
            },
            None => cause.to_string(),
        };
        let is_known = texts.iter().any(|known| known.contains(&text));
        let is_wrapper = text.starts_with("client error (");
        if !is_known && !is_wrapper {
            texts.push(text);
        }
    }
    // An answer's whole body may be in it.
    texts.join(": ").chars().take(MAX_CAUSE).collect()
}
