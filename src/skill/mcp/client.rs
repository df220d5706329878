//! [`Client`]: our side of a connection. It answers a server's requests and takes its notifications: log lines, progress,
//! changes of its tools. The answers come from `server_requests.rs`.
#![expect(deprecated, reason = "roots and log messages, which servers of the session-based revisions use")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationCapability, ErrorCode,
    FormElicitationCapability, Implementation, ListRootsResult, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProgressToken, ProtocolVersion, RootsCapabilities, UrlElicitationCapability,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::notice::{Reporter, SkillNotice};
use super::server_requests::Replies;

/// The version this client sends to servers (the original's).
const CLIENT_VERSION: &str = "1.0.0";

/// The time between two notices of one call's progress: as often as a person can read it.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The revisions of the protocol in use, by how requests are tied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// Up to 2025-11-25: a session begins with `initialize`.
    Sessions,
    /// From 2026-07-28: every request is complete by itself.
    Stateless,
}

/// Our side of one connection.
pub(super) struct Client {
    config: ClientConfig,
    reporter: Arc<Reporter>,
    replies: Arc<Replies>,
    progress: Arc<ProgressTable>,
    tools_changed: Arc<Notify>,
}

impl Client {
    /// The same whether or not a person is there: servers offer other tools to clients that can do less, and what they
    /// offer must not depend on where a job runs.
    pub(super) fn new(skill: &str, reporter: Arc<Reporter>, replies: Arc<Replies>) -> Self {
        let mut capabilities = ClientCapabilities::default();
        capabilities.roots = replies.roots().map(|_| RootsCapabilities::default());
        let (form, url) = (FormElicitationCapability::new(), UrlElicitationCapability::new());
        capabilities.elicitation = Some(ElicitationCapability::new().with_form(form).with_url(url));
        let info = Implementation::new(format!("{skill}-mcp-client"), CLIENT_VERSION);
        let config =
            ClientConfig::new(capabilities, info).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        Self { config, reporter, replies, progress: Arc::default(), tools_changed: Arc::default() }
    }

    /// The same, asking for this revision when a session begins.
    pub(super) fn asking_for(mut self, revision: ProtocolVersion) -> Self {
        self.config = self.config.with_protocol_version(revision);
        self
    }

    /// The answers to its server's requests.
    pub(super) fn replies(&self) -> Arc<Replies> {
        Arc::clone(&self.replies)
    }

    /// The table of calls whose progress is awaited.
    pub(super) fn progress(&self) -> Arc<ProgressTable> {
        Arc::clone(&self.progress)
    }

    /// Notified when the server reports that its tools have changed.
    pub(super) fn tools_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.tools_changed)
    }
}

impl ClientHandler for Client {
    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        let refused = || ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "roots are not offered to this server", None);
        self.replies.roots().ok_or_else(refused)
    }

    async fn create_elicitation(
        &self,
        asked: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(self.replies.elicit(&asked, &context.ct).await)
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        let Some(tool) = self.progress.made(&progress.progress_token) else { return };
        self.reporter.send(SkillNotice::Progress {
            tool,
            progress: progress.progress,
            total: progress.total,
            message: progress.message.map(|text| self.reporter.fit(&text)).filter(|text| !text.is_empty()),
        });
    }

    async fn on_logging_message(
        &self,
        message: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let level = serde_json::to_value(message.level).ok();
        let level = level.as_ref().and_then(Value::as_str).unwrap_or("log");
        let logger = message.logger.map(|logger| format!(" {logger}:")).unwrap_or_default();
        let data = message.data.as_str().map_or_else(|| message.data.to_string(), str::to_owned);
        self.reporter.line(&format!("[{level}]{logger} {data}"));
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.tools_changed.notify_one();
    }

    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }
}

/// The calls whose progress is awaited, by token.
#[derive(Default)]
pub(super) struct ProgressTable(Mutex<HashMap<ProgressToken, Awaited>>);

/// A call that somebody waits for.
struct Awaited {
    tool: String,
    made: Arc<Notify>,
    /// When its progress was last reported.
    reported: Option<Instant>,
}

/// One call's progress, until dropped.
pub(super) struct Watched {
    token: ProgressToken,
    made: Arc<Notify>,
    progress: Arc<ProgressTable>,
}

impl ProgressTable {
    /// Watches the call that has this token.
    pub(super) fn watch(self: &Arc<Self>, token: ProgressToken, tool: &str) -> Watched {
        let made = Arc::new(Notify::new());
        let awaited = Awaited { tool: tool.to_owned(), made: Arc::clone(&made), reported: None };
        self.calls().insert(token.clone(), awaited);
        Watched { token, made, progress: Arc::clone(self) }
    }

    /// Wakes the waiter of the call; returns its tool when it is time for another notice.
    fn made(&self, token: &ProgressToken) -> Option<String> {
        let mut calls = self.calls();
        let awaited = calls.get_mut(token)?;
        awaited.made.notify_one();
        let now = Instant::now();
        if awaited.reported.is_some_and(|reported| now.duration_since(reported) < REPORT_EVERY) {
            return None;
        }
        awaited.reported = Some(now);
        Some(awaited.tool.clone())
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<ProgressToken, Awaited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Waits for the next step.
    pub(super) async fn made(&self) {
        self.made.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.progress.calls().remove(&self.token);
    }
}
