//! [`McpSkill`]: an MCP server as a skill, a local one over standard streams, a remote one over Streamable HTTP or the
//! event streams before it. <https://modelcontextprotocol.io/specification>
//!
//! A server is greeted in the mode that a lock implies, or that worked before. For an unknown one a skill begins with
//! `initialize`, which nearly every server knows, and turns to the revisions without sessions when that is refused: a
//! probe for those first would cost a wait, and ends servers that insist on `initialize`. The protocol's messages are the
//! library's (`rmcp`); processes, addresses, time limits and the treatment of texts are decided here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use self::connect::SessionMode;
use self::connection::Connection;
use self::launch::Launch;
use self::locked::Drift;
use self::notice::Reporter;
use self::remote::Remote;
use self::server_requests::Replies;
use self::tools::ToolList;
use crate::environment::Environment;
use crate::expert::{MAX_SKILL_TIMEOUT_MS, SkillCommon, SkillSpec};
use crate::future::BoxFuture;
use crate::redact::Redactor;
use crate::skill::contain::{NetworkMark, Programs};
use crate::skill::output::Outputs;
use crate::skill::{Skill, SkillError};
use crate::tool::{ToolCall, ToolResult, ToolSpec};

mod call;
mod client;
mod connection;
mod dialect;
mod elicitation;
mod error;
mod form_field;
#[cfg(fuzzing)]
pub mod fuzzing;
mod watch_tools;
mod guard;
mod health;
mod http;
mod launch;
mod lines;
mod locked;
mod notice;
mod oauth;
mod connect;
mod remote;
mod server_requests;
mod result;
mod input_rounds;
mod network;
mod schema;
mod schema_mend;
mod server;
mod sse;
mod stdio;
mod tools;

#[cfg(test)]
mod tests;

pub use elicitation::{AskPerson, Asked, Elicitation, Reply};
pub use error::McpError;
pub use form_field::{Choice, Field, FieldKind};
pub use locked::{Compare, Locked, OnDrift, ToolDrift};
pub use network::Network;
pub use notice::{Notices, SkillNotice, Timings};
pub use oauth::{AuthorizationCode, CallbackOutcome, Login, forget};

/// How long a server may take to start when the skill sets no limit. `npx` may have to fetch it first.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a server may stay silent on a call when the skill sets no limit (the original's).
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a call may take in all, however much progress it makes.
const MAX_CALL: Duration = Duration::from_millis(MAX_SKILL_TIMEOUT_MS);

/// The surroundings of a server.
#[derive(Clone)]
pub struct McpContext<'a> {
    pub workspace: &'a Path,
    /// Of these, a server sees the safe variables and those it requires.
    pub environment: &'a Environment,
    /// The confinement of a local server.
    pub programs: Programs,
    /// Receives results that are too long for the model.
    pub outputs: &'a Arc<Outputs>,
    /// Puts a server's questions to a person; without it, they are declined.
    pub person: Option<&'a AskPerson>,
    /// How servers elsewhere are reached.
    pub network: &'a Network,
}

/// An MCP server: running, or to be started when it is called first.
pub struct McpSkill {
    common: SkillCommon,
    origin: Origin,
    /// Absolute.
    workspace: PathBuf,
    replies: Arc<Replies>,
    outputs: Arc<Outputs>,
    reporter: Arc<Reporter>,
    /// The definitions that the expert sees in place of the live ones, where a lock has them.
    locked: Option<Locked>,
    /// Held while the connection is opened or closed, so that only one is at a time. Calls that need a connection meanwhile
    /// wait here.
    start_gate: tokio::sync::Mutex<()>,
    /// Never locked across a wait: readers that cannot wait ([`Skill::tools`]) see it too.
    state: std::sync::Mutex<ConnectionState>,
    closing: CancellationToken,
}

/// The connection of a skill with everything learned from it. It outlives a lost connection: the tools stay on offer, and
/// the next start begins with the mode that worked.
#[derive(Default)]
struct ConnectionState {
    live: Option<LiveConnection>,
    /// The mode that worked last, or that a lock implies.
    mode: Option<SessionMode>,
    list: ToolList,
    /// The number of times that the list was read.
    lists_read: u64,
    /// How the running server differs from its lock.
    drift: Drift,
    failed_starts: u64,
    /// The place in the record of refusals on the network when the server was started last.
    mark_of_start: NetworkMark,
    /// The end of the last start that failed: calls that waited for it fail with it.
    last_failure: Option<McpError>,
}

#[derive(Clone)]
enum Origin {
    Local(Launch),
    Remote(Remote),
}

/// A connection, and the task that follows the changes of its tools.
struct LiveConnection {
    connection: Arc<Connection>,
    follower: AbortHandle,
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl McpSkill {
    /// Starts the server that `spec` declares, and lists its tools.
    ///
    /// # Errors
    /// [`SkillError::Mcp`]. Nothing is left running then.
    pub async fn start(spec: &SkillSpec, place: McpContext<'_>, notices: Notices) -> Result<Arc<Self>, SkillError> {
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
        place: McpContext<'_>,
        notices: Notices,
        locked: Locked,
    ) -> Result<Arc<Self>, SkillError> {
        Self::prepared(spec, place, notices, Some(locked))
    }

    fn prepared(
        spec: &SkillSpec,
        place: McpContext<'_>,
        notices: Notices,
        locked: Option<Locked>,
    ) -> Result<Arc<Self>, SkillError> {
        // A skill that is opened outside of a session has its own secrets alone.
        let mut redactor = match &place.network.redactor {
            none if none.is_empty() => Redactor::for_skills(place.environment, &[spec], &[]).learning_with(none),
            session => session.clone(),
        };
        let origin = match spec {
            SkillSpec::McpStdioSkill { .. } => {
                let workspace = place.workspace.to_owned();
                Origin::Local(Launch::new(spec, workspace, place.environment, place.programs)?)
            }
            SkillSpec::McpSseSkill { .. } => {
                Origin::Remote(Remote::new(spec, place.environment, place.network, &mut redactor)?)
            }
            SkillSpec::InteractiveSkill { common, .. } => {
                return Err(McpError::NoServer { skill: common.name.clone() }.into());
            }
        };
        let workspace = std::path::absolute(place.workspace).unwrap_or_else(|_| place.workspace.to_owned());
        let mode = locked.as_ref().and_then(|locked| SessionMode::on_record(locked, &origin));
        Ok(Arc::new(Self {
            common: spec.common().clone(),
            origin,
            replies: Arc::new(Replies::new(
                &spec.common().name,
                spec.common().roots.then_some(&*workspace),
                place.person.cloned(),
            )),
            workspace,
            outputs: Arc::clone(place.outputs),
            reporter: Arc::new(Reporter::new(notices, redactor)),
            locked,
            start_gate: tokio::sync::Mutex::default(),
            state: std::sync::Mutex::new(ConnectionState { mode, ..ConnectionState::default() }),
            closing: CancellationToken::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Skill for McpSkill {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn tools(&self) -> Vec<ToolSpec> {
        if let Some(locked) = &self.locked {
            return locked.tools.clone();
        }
        self.state().list.tools.clone()
    }

    fn tools_revision(&self) -> u64 {
        if self.locked.is_some() { 0 } else { self.state().lists_read }
    }

    fn listed(&self) -> Option<Vec<String>> {
        self.state().list.names.clone()
    }

    fn left_out(&self) -> Vec<String> {
        let left_out = self.state().list.left_out.clone();
        left_out.iter().map(|why| self.reporter.fit(why)).collect()
    }

    fn protocol(&self) -> Option<String> {
        self.state().live.as_ref()?.connection.protocol()
    }

    fn call(self: Arc<Self>, call: ToolCall, cancel: CancellationToken) -> BoxFuture<'static, ToolResult> {
        // Here, and not in the future: numbers follow the order of the calls.
        let output = self.outputs.of_call(&call.tool_name, self.reporter.redactor());
        Box::pin(self.answer(call, output, cancel))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.closing.cancel();
            let _gate = self.start_gate.lock().await;
            let live = self.state().live.take();
            if let Some(live) = live {
                live.connection.close().await;
                self.reporter.send(SkillNotice::Disconnected);
            }
        })
    }
}
