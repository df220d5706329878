//! The library's door: [`run`] and [`resume`].

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Checkpoint;
use crate::config::Settings;
use crate::environment::Environment;
use crate::event::EventSink;
use crate::expert::{Expert, ExpertKey};
use crate::id::{CheckpointId, JobId};
use crate::tool::ToolSpec;

/// This runtime's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything around a job but the question itself.
#[derive(Clone)]
pub struct Options {
    pub settings: Settings,
    pub experts: IndexMap<ExpertKey, Expert>,
    /// `perstackBaseSkillCommand`, when not empty.
    pub base_skill_command: Option<Vec<String>>,
    pub environment: Environment,
    /// The folder that experts work in.
    pub workspace: PathBuf,
    /// The folder that holds `jobs/`.
    pub storage: PathBuf,
    /// An HTTP(S) or SOCKS proxy for all model requests; overrides the usual variables.
    pub proxy: Option<String>,
    pub sink: Arc<dyn EventSink>,
    /// Fires to stop the job gracefully: what was done is recorded, and it can be resumed.
    pub cancel: CancellationToken,
    pub in_doubt: InDoubt,
    pub cassette: Cassette,
}

/// What to do with calls of which nobody knows whether they happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InDoubt {
    /// Tell the model: interrupted, effect unknown.
    #[default]
    Report,
    /// Make them again.
    Retry,
    /// Do not go on.
    Stop,
}

/// Whether a session is recorded or replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cassette {
    #[default]
    None,
    /// Write every model exchange and tool result to this file.
    Record(PathBuf),
    /// Answer from this file, without network or key.
    Replay {
        file: PathBuf,
        /// Take tool results from it too, instead of running tools.
        tools: bool,
    },
}

/// What to do.
#[derive(Debug, Clone)]
pub struct RunInput {
    pub expert: ExpertKey,
    pub query: String,
    /// Chosen by the caller; made up when absent.
    pub job_id: Option<JobId>,
}

/// Where to go on from.
#[derive(Debug, Clone)]
pub enum ResumeFrom {
    /// The newest checkpoint of the newest job.
    Latest,
    /// The newest checkpoint of this job.
    Job(JobId),
    /// This checkpoint of this job.
    Checkpoint(JobId, CheckpointId),
    /// What a user typed: a file's path, a checkpoint id or unique prefix, a job id, or `latest`.
    Named(String),
}

/// How to go on.
#[derive(Debug, Clone)]
pub struct ResumeInput {
    pub from: ResumeFrom,
    /// The expert the checkpoint must belong to, when the caller named one.
    pub expert: Option<ExpertKey>,
    /// A further message; or, where the run waits for a person, the answer.
    pub query: Option<String>,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub checkpoint: Checkpoint,
    /// The checkpoint's file.
    pub path: PathBuf,
    /// Milliseconds from start to end of this invocation.
    pub duration_ms: u64,
    /// Steps taken in this invocation.
    pub steps: u64,
}

/// Why a job could not be run or went on no further. What was recorded before stays on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration, the environment or the caller's input does not allow the job to start.
    #[error("{0}")]
    Usage(String),
    /// Something could not be stored or read back, or another process holds the job.
    #[error("{0}")]
    Storage(String),
    /// Anything else that ends a job without a checkpoint of its own.
    #[error("{0}")]
    Failed(String),
}

/// Runs a job: a fresh run of `input.expert`.
///
/// # Errors
/// [`RunError`]; a Run that stops by error, at its step limit or for an answer is no error but an [`Outcome`].
pub async fn run(input: RunInput, options: &Options) -> Result<Outcome, RunError> {
    let _ = (input, options);
    Err(RunError::Failed("not built yet".to_owned()))
}

/// Continues a job from a checkpoint.
///
/// # Errors
/// As [`run`].
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Outcome, RunError> {
    let _ = (input, options);
    Err(RunError::Failed("not built yet".to_owned()))
}

/// The tools that `expert` would see.
///
/// # Errors
/// [`RunError::Usage`] when a skill cannot be used.
pub async fn tools(expert: &ExpertKey, options: &Options) -> Result<Vec<ToolSpec>, RunError> {
    let _ = (expert, options);
    Err(RunError::Failed("not built yet".to_owned()))
}
