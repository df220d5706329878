//! MCP servers as skills: local ones over standard streams, remote ones over Streamable HTTP or the event streams before
//! it. <https://modelcontextprotocol.io/specification>
//!
//! A skill begins with `initialize`, which nearly every server speaks, and turns to the revisions without sessions when
//! that is refused. A probe for those first would have to be waited for, and ends servers that insist on `initialize`; a
//! server that knows both loses only questions to the user in mid-call, which are declined anyway. The protocol's
//! messages are the library's (`rmcp`); processes, addresses, time limits and what becomes of texts are decided here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use self::client::{Client, Era};
use self::connection::{Connection, Failure, Fault, Listing, Patience};
use self::health::Health;
use self::launch::Launch;
use self::notice::Reporter;
use self::remote::Remote;
use self::server::Server;
use self::sse::SseTransport;
use self::stdio::StdioTransport;
use crate::environment::Environment;
use crate::event::ServerInfo;
use crate::expert::{MAX_SKILL_TIMEOUT_MS, SkillCommon, SkillSpec};
use crate::future::BoxFuture;
use crate::redact::Redactor;
use crate::skill::output::{CallOutput, Outputs};
use crate::skill::{Skill, SkillError, limit};
use crate::tool::{ToolCall, ToolResult, ToolSpec};

mod client;
mod connection;
mod error;
mod guard;
mod health;
mod launch;
mod lines;
mod locked;
mod notice;
mod remote;
mod result;
mod server;
mod sse;
mod stdio;
mod tools;

#[cfg(test)]
mod tests;

pub use error::McpError;
pub use locked::{Compare, Locked, OnDrift};
pub use notice::{Notices, SkillNotice, Timings};

/// How long a server may take to start when the skill does not say. `npx` may have to fetch it first.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a server may stay silent on a call when the skill does not say (the original's).
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a call may take in all, however much progress it makes.
const MAX_CALL: Duration = Duration::from_millis(MAX_SKILL_TIMEOUT_MS);

/// Codes that the original's protocol library gives to failures of its own.
const CONNECTION_CLOSED: i32 = -32000;
const REQUEST_TIMEOUT: i32 = -32001;

/// Where a server works.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub workspace: &'a Path,
    /// Of these, a server sees the safe variables and those it requires.
    pub environment: &'a Environment,
    /// Where results that are too long for the model go.
    pub outputs: &'a Arc<Outputs>,
}

/// An MCP server: running, or to be started when it is called first.
pub struct McpSkill {
    common: SkillCommon,
    origin: Origin,
    workspace: PathBuf,
    outputs: Arc<Outputs>,
    reporter: Arc<Reporter>,
    /// What the expert sees in the place of `tools`, where a lock has it.
    locked: Option<Locked>,
    tools: RwLock<Vec<ToolSpec>>,
    live: Mutex<Option<Live>>,
    /// How many starts failed, and how the last one did: calls that waited for it fail with it.
    failed: RwLock<(u64, Option<McpError>)>,
    closing: CancellationToken,
}

#[derive(Clone)]
enum Origin {
    Local(Launch),
    Remote(Remote),
}

/// A connection, and the task that follows the changes of its tools.
struct Live {
    connection: Arc<Connection>,
    follower: AbortHandle,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl McpSkill {
    /// Starts the server that `spec` declares, and lists its tools.
    ///
    /// # Errors
    /// [`SkillError::Mcp`]. Nothing is left running then.
    pub async fn start(spec: &SkillSpec, place: Place<'_>, notices: Notices) -> Result<Arc<Self>, SkillError> {
        let skill = Self::prepared(spec, place, notices, None)?;
        skill.connection().await?;
        Ok(skill)
    }

    /// The server that `spec` declares, with the tools of a lock. It is started when one of them is called; a start that
    /// fails is that call's result, and the next call tries again.
    ///
    /// # Errors
    /// [`SkillError::Mcp`] for what is wrong whether or not the server works: a variable that is not set, an address that
    /// is not allowed.
    pub fn locked(
        spec: &SkillSpec,
        place: Place<'_>,
        notices: Notices,
        locked: Locked,
    ) -> Result<Arc<Self>, SkillError> {
        Self::prepared(spec, place, notices, Some(locked))
    }

    fn prepared(
        spec: &SkillSpec,
        place: Place<'_>,
        notices: Notices,
        locked: Option<Locked>,
    ) -> Result<Arc<Self>, SkillError> {
        let mut redactor = Redactor::of_environment(place.environment);
        let origin = match spec {
            SkillSpec::McpStdioSkill { .. } => {
                let workspace = place.workspace.to_owned();
                Origin::Local(Launch::of(spec, workspace, place.environment, &mut redactor)?)
            }
            SkillSpec::McpSseSkill { .. } => Origin::Remote(Remote::of(spec, place.environment, &mut redactor)?),
            SkillSpec::InteractiveSkill { common, .. } => {
                return Err(McpError::NoServer { skill: common.name.clone() }.into());
            }
        };
        Ok(Arc::new(Self {
            common: spec.common().clone(),
            origin,
            workspace: std::path::absolute(place.workspace).unwrap_or_else(|_| place.workspace.to_owned()),
            outputs: Arc::clone(place.outputs),
            reporter: Arc::new(Reporter::new(notices, redactor)),
            locked,
            tools: RwLock::default(),
            live: Mutex::default(),
            failed: RwLock::default(),
            closing: CancellationToken::new(),
        }))
    }

    /// The connection; a new one when there is none that works. Who asks while a start is under way shares its outcome.
    async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, McpError> {
        let failed_before = self.failed.read().unwrap_or_else(PoisonError::into_inner).0;
        let mut live = self.live.lock().await;
        if self.closing.is_cancelled() {
            return Err(McpError::Closed { skill: self.common.name.clone() });
        }
        if let Some(live) = &*live
            && !live.connection.is_over()
        {
            return Ok(Arc::clone(&live.connection));
        }
        if let Some(gone) = live.take() {
            gone.connection.close().await;
            self.reporter.tell(SkillNotice::Disconnected);
        }
        if let (failures, Some(error)) = &*self.failed.read().unwrap_or_else(PoisonError::into_inner)
            && *failures != failed_before
        {
            return Err(error.clone());
        }
        let connection = match self.open_in_time().await {
            Ok(connection) => Arc::new(connection),
            Err(error) => {
                let mut failed = self.failed.write().unwrap_or_else(PoisonError::into_inner);
                *failed = (failed.0.wrapping_add(1), Some(error.clone()));
                return Err(error);
            }
        };
        let follower = tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(&connection))).abort_handle();
        *live = Some(Live { connection: Arc::clone(&connection), follower });
        Ok(connection)
    }

    /// Connects and lists the tools within the skill's time, unless it is closed meanwhile.
    async fn open_in_time(&self) -> Result<Connection, McpError> {
        let limit = self.start_timeout();
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(McpError::Closed { skill: self.common.name.clone() }),
            opened = limit::within(limit, self.open(limit)) => opened.unwrap_or_else(|| {
                Err(McpError::TimedOut {
                    skill: self.common.name.clone(),
                    seconds: limit.as_secs_f64(),
                    stderr: self.reporter.last_words(),
                })
            }),
        }
    }

    /// Connects and lists the tools, without a limit of its own.
    async fn open(&self, limit: Duration) -> Result<Connection, McpError> {
        let failed = |why: String| McpError::NotStarted {
            skill: self.common.name.clone(),
            why: self.reporter.fit(&why),
            stderr: self.reporter.last_words(),
        };
        let (connection, spawn) = match &self.origin {
            Origin::Local(launch) => self.open_local(launch).await?,
            Origin::Remote(remote) => (self.open_remote(remote, limit).await.map_err(failed)?, Duration::ZERO),
        };
        let began = Instant::now();
        if let Err(fault) = self.list(&connection, limit).await {
            connection.close().await;
            return Err(failed(format!("its tools cannot be listed: {}", self.words(&fault))));
        }
        if let Some(locked) = &self.locked {
            let live = self.tools.read().unwrap_or_else(PoisonError::into_inner).clone();
            if let Err(drift) = locked.check(&self.common.name, &live, &self.reporter) {
                connection.close().await;
                return Err(drift);
            }
        }
        let timings = Timings { spawn, handshake: connection.handshake, discovery: began.elapsed() };
        self.reporter.tell(SkillNotice::Connected { server: self.server_info(&connection), timings });
        Ok(connection)
    }

    async fn open_local(&self, launch: &Launch) -> Result<(Connection, Duration), McpError> {
        let skill = || self.common.name.clone();
        let mut refusal = None;
        for era in [Era::Sessions, Era::Stateless] {
            self.reporter.tell(SkillNotice::Starting { command: launch.command.clone(), args: launch.args.clone() });
            let began = Instant::now();
            let health = Arc::new(Health::default());
            let started = Server::start(launch, Arc::clone(&self.reporter), Arc::clone(&health)).await;
            let started = started.map_err(|error| McpError::Spawn { skill: skill(), why: causes(&error) })?;
            let spawn = began.elapsed();
            let reporter = Arc::clone(&self.reporter);
            let transport = StdioTransport::new(started.stdout, started.stdin, reporter, Arc::clone(&health));
            match Connection::open(self.client(era), era, transport, Some(started.server), health).await {
                Ok(connection) => return Ok((connection, spawn)),
                Err(failure @ Failure::Refused(_)) if era == Era::Sessions => refusal = Some(failure),
                Err(failure) => {
                    // The first refusal tells more of a server that speaks neither.
                    let why = refusal.unwrap_or(failure).text();
                    return Err(McpError::NotStarted {
                        skill: skill(),
                        why: self.reporter.fit(&why),
                        stderr: self.reporter.last_words(),
                    });
                }
            }
        }
        Err(McpError::Closed { skill: skill() })
    }

    /// Streamable HTTP in either era, else the transport before it.
    async fn open_remote(&self, remote: &Remote, limit: Duration) -> Result<Connection, String> {
        let streamable =
            |era: Era| Connection::open(self.client(era), era, remote.streamable(), None, Arc::new(Health::default()));
        // A server of the older kind may leave the request unanswered; half the time is left for it.
        let first = match limit::within(limit / 2, streamable(Era::Sessions)).await {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(Failure::Broken(why))) => return Err(why),
            Some(Err(Failure::Refused(error))) => {
                let refusal = Failure::Refused(error).text();
                return streamable(Era::Stateless).await.map_err(|_| refusal);
            }
            Some(Err(Failure::OtherTransport(why))) => why,
            None => "no answer".to_owned(),
        };
        let health = Arc::new(Health::default());
        let older = match SseTransport::open(remote, Arc::clone(&health)).await {
            Ok(transport) => {
                let client = self.client(Era::Sessions);
                Connection::open(client, Era::Sessions, transport, None, health).await.map_err(|failure| failure.text())
            }
            Err(why) => Err(why),
        };
        older.map_err(|why| format!("its endpoint speaks neither Streamable HTTP ({first}) nor HTTP with SSE ({why})"))
    }

    fn client(&self, era: Era) -> Client {
        Client::new(&self.common.name, era, &self.workspace, Arc::clone(&self.reporter))
    }

    /// Reads the server's tools anew.
    async fn list(&self, connection: &Connection, limit: Duration) -> Result<(), Fault> {
        let mut listing = if connection.has_tools() {
            connection.tools(Patience { silence: limit, total: limit }).await?
        } else {
            Listing { tools: Vec::new(), is_cut: false }
        };
        // Definitions are shown, stored in the lock and sent to the model.
        let redactor = self.reporter.redactor();
        listing.tools = listing.tools.into_iter().map(|tool| redactor.value(tool)).collect();
        let (tools, warnings) = tools::read(listing, &self.common);
        for warning in warnings {
            self.reporter.warn(warning);
        }
        *self.tools.write().unwrap_or_else(PoisonError::into_inner) = tools;
        Ok(())
    }

    /// Who the server says it is, fit to be shown.
    fn server_info(&self, connection: &Connection) -> Option<ServerInfo> {
        let ServerInfo { name, version } = connection.server_info()?;
        Some(ServerInfo { name: self.reporter.fit(&name), version: self.reporter.fit(&version) })
    }

    fn start_timeout(&self) -> Duration {
        self.common.start_timeout_ms.map_or(DEFAULT_START_TIMEOUT, Duration::from_millis)
    }

    fn patience(&self) -> Patience {
        let silence = self.common.call_timeout_ms.map_or(DEFAULT_CALL_TIMEOUT, Duration::from_millis).min(MAX_CALL);
        Patience { silence, total: MAX_CALL }
    }

    fn is_repeatable(&self, tool: &str) -> bool {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools.iter().any(|known| known.name == tool && known.hints.is_repeatable())
    }

    /// A failure in the original's words.
    fn words(&self, fault: &Fault) -> String {
        let (code, message) = match fault {
            Fault::Refused { code, message } => (*code, message.clone()),
            Fault::TimedOut(after) => {
                (REQUEST_TIMEOUT, format!("Request timed out after {} s without an answer", after.as_secs()))
            }
            Fault::Cancelled => (CONNECTION_CLOSED, "The call was cancelled; its effect is unknown".to_owned()),
            Fault::Lost(why) => (CONNECTION_CLOSED, format!("Connection closed: {why}")),
        };
        format!("MCP error {code}: {}", self.reporter.fit(&message))
    }

    /// Makes the call. A connection that is lost meanwhile is replaced once; the call is made again only where that is
    /// safe.
    async fn answer(self: Arc<Self>, call: ToolCall, output: CallOutput, cancel: CancellationToken) -> ToolResult {
        let failed = |fault: &str| ToolResult::error(&call, format!("Error calling tool {}: {fault}", call.tool_name));
        let mut lost: Option<String> = None;
        loop {
            let connection = tokio::select! {
                biased;
                () = cancel.cancelled() => return failed(&self.words(&Fault::Cancelled)),
                connection = self.connection() => match connection {
                    Ok(connection) => connection,
                    Err(error) => {
                        let before = lost.map(|lost| format!("{lost}; ")).unwrap_or_default();
                        return failed(&format!("{before}{error}"));
                    }
                },
            };
            if let Some(lost) = &lost
                && !self.is_repeatable(&call.tool_name)
            {
                return failed(&format!(
                    "{lost}. Whether the call took effect is unknown; the skill has been started again. Check before \
                     you call it again"
                ));
            }
            let answer = connection.call(&call.tool_name, call.args.clone(), self.patience(), &cancel).await;
            match answer {
                Ok(answer) => {
                    // A long result goes to the disk, which is waited for off the runtime's threads.
                    let own = call.clone();
                    let read = move || result::read(&own, &answer, &output);
                    return match tokio::task::spawn_blocking(read).await {
                        Ok(result) => result,
                        Err(error) => failed(&format!("its result could not be read: {error}")),
                    };
                }
                Err(fault @ Fault::Lost(_)) if lost.is_none() => lost = Some(self.words(&fault)),
                Err(fault) => return failed(&self.words(&fault)),
            }
        }
    }
}

/// Reads the tools anew whenever the server says that they have changed, for as long as both are there.
async fn follow(skill: Weak<McpSkill>, connection: Weak<Connection>) {
    loop {
        let Some(current) = connection.upgrade() else { return };
        current.tools_changed().await;
        let Some(skill) = skill.upgrade() else { return };
        match skill.list(&current, skill.start_timeout()).await {
            Ok(()) => skill.reporter.warn(format!(
                "skill {}: its tools have changed; the next step goes on with the new ones",
                skill.common.name
            )),
            Err(_) if current.is_over() => return,
            Err(fault) => skill.reporter.warn(format!(
                "skill {}: its tools have changed and cannot be listed: {}",
                skill.common.name,
                skill.words(&fault)
            )),
        }
    }
}

/// An error and its causes in one line.
fn causes(error: &SkillError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Skill for McpSkill {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn tools(&self) -> Vec<ToolSpec> {
        if let Some(locked) = &self.locked {
            return locked.tools.clone();
        }
        self.tools.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn protocol(&self) -> Option<String> {
        // Asked when nothing is under way; while the server is being started nothing is agreed on yet.
        self.live.try_lock().ok()?.as_ref()?.connection.protocol()
    }

    fn call(self: Arc<Self>, call: ToolCall, cancel: CancellationToken) -> BoxFuture<'static, ToolResult> {
        // Here, and not in the future: numbers follow the order of the calls.
        let output = self.outputs.of_call(&call.tool_name, self.reporter.redactor());
        Box::pin(self.answer(call, output, cancel))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.closing.cancel();
            if let Some(live) = self.live.lock().await.take() {
                live.connection.close().await;
                self.reporter.tell(SkillNotice::Disconnected);
            }
        })
    }
}
