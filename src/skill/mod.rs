//! [`Skill`]: a source of tools that can be called, in this process ([`base`]) or by an MCP server ([`mcp`]); and
//! [`SkillSet`], all tools of one expert. A Run opens them by `runtime/tools` and calls them in `runtime/run`. Interactive
//! and delegate tools are only declared here: the machine turns a call of one into a stop.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::future::BoxFuture;
use crate::hint::ErrorHint;
use crate::tool::{ToolCall, ToolResult, ToolSpec};

pub mod agent_skills;
pub mod base;
pub mod contain;
pub mod declare;
pub mod egress;
mod lexical_path;
mod limit;
pub mod mcp;
mod offered;
pub mod output;
pub mod process;
mod set;
#[cfg(test)]
pub mod testing;
pub mod tool_search;

pub use set::{NameClaim, SkillSet, ToolsChange};

/// A source of tools that run.
pub trait Skill: Send + Sync {
    /// The skill's name in the configuration.
    fn name(&self) -> &str;

    /// Its tools, after `omit` and `pick`.
    fn tools(&self) -> Vec<ToolSpec>;

    /// A number that is another one whenever its tools may be others.
    fn tools_revision(&self) -> u64;

    /// The protocol version that was negotiated with its server; none for a skill within this process.
    fn protocol(&self) -> Option<String> {
        None
    }

    /// The names of all tools that its server lists, before `omit` and `pick`; `None` where they are not all known.
    fn listed(&self) -> Option<Vec<String>> {
        None
    }

    /// The reasons why tools of its server are left out, in words.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }

    /// Answers one call. Every failure is a result marked as error, for the model to see. When `cancel` fires, the
    /// call should end soon; dropping the future ends it at once, with everything it started.
    fn call(self: Arc<Self>, call: ToolCall, cancel: CancellationToken) -> BoxFuture<'static, ToolResult>;

    /// Ends the skill's process or connection.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Why a skill could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SkillError {
    /// The workspace is missing, no directory, or may not be read.
    #[error("cannot open the workspace {}", path.display())]
    Workspace { path: PathBuf, source: io::Error },
    /// The folder of an Agent Skill cannot be opened.
    #[error("cannot open the skill's folder {}", path.display())]
    AgentSkill { path: PathBuf, source: io::Error },
    /// An Agent Skill is to be read that is known from a recording alone.
    #[error("the files of the Agent Skill {name:?} are not here: a recording has its name and description alone")]
    RecordedAgentSkill { name: String },
    /// A child process could not be started.
    #[error("cannot start {program:?}")]
    Spawn { program: String, source: io::Error },
    /// A child process would have to be contained, and cannot be.
    #[error("cannot start {program:?} contained")]
    NotContained { program: String, source: io::Error },
    /// An MCP server cannot be used.
    #[error(transparent)]
    Mcp(#[from] mcp::McpError),
    /// A tool's schema in the configuration is no JSON object.
    #[error("skill {skill}: the inputJsonSchema of tool {tool} is no JSON object")]
    InvalidSchema { skill: String, tool: String, source: serde_json::Error },
}

impl ErrorHint for SkillError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Workspace { .. } => Some("run in an existing directory that you may read".into()),
            Self::AgentSkill { .. } => Some("check that it is there and may be read".into()),
            Self::RecordedAgentSkill { .. } => {
                Some("replay its tools too, or give the job no recorded files (`recorded_context: None`)".into())
            }
            Self::Spawn { .. } => Some("check that it is installed, executable and on PATH".into()),
            Self::NotContained { .. } => {
                Some("choose a workspace below the home folder, or lift the containment (sandbox = \"off\")".into())
            }
            Self::Mcp(error) => error.hint(),
            Self::InvalidSchema { .. } => None,
        }
    }
}
