//! The library's door: [`run`] and [`resume`], and the drivers behind it.

mod budget;
mod clock;
pub mod history;
mod job;
mod run;
mod stop;
mod tools;

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budgets, Reached, Spent};
use crate::checkpoint::{Checkpoint, Status};
use crate::config::lockfile::{DiscoveredTools, Lock, LockUse};
use crate::config::{ConfigError, Settings};
use crate::cost::Spend;
use crate::environment::Environment;
use crate::event::{Event, EventSink};
use crate::expert::{Expert, ExpertKey};
use crate::id::{CheckpointId, JobId};
use crate::machine::IllegalInput;
use crate::message::Message;
use crate::model::Catalogue;
use crate::provider::{ProviderError, catalog};
use crate::redact::Redactor;
use crate::replay::ReplayError;
use crate::runtime::tools::{ToolSource, ToolsetOptions};
use crate::setting::ProviderName;
use crate::skill::SkillError;
use crate::skill::mcp::AskPerson;
use crate::store::StoreError;
use crate::tool::ToolSpec;
use crate::usage::Usage;

pub use clock::SystemClock;

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
    /// An HTTP(S) or SOCKS proxy for requests to models and remote skills; overrides the usual variables.
    pub proxy: Option<String>,
    /// The folder that keeps people's logins to remote skills; without one, none is known.
    pub logins: Option<PathBuf>,
    pub sink: Arc<dyn EventSink>,
    /// Fires to stop the job gracefully: what was done is recorded, and it can be resumed.
    pub cancel: CancellationToken,
    pub in_doubt: InDoubt,
    pub cassette: CassetteMode,
    /// How `lockfile` is to be used.
    pub lock: LockUse,
    /// The lock beside the configuration, when there is one.
    pub lockfile: Option<Arc<Lock>>,
    /// What is known of models: tiers, context windows, prices.
    pub catalogue: Arc<Catalogue>,
    /// Asks a person what an MCP server wants to know in the middle of a call; without it, servers are told that nobody
    /// answers. A question is withdrawn by dropping its future.
    pub person: Option<AskPerson>,
}

impl Options {
    /// `experts` at work in `workspace`, with nothing else said: built-in settings and catalogue, no variables (and so no key), jobs
    /// stored in the workspace's `perstack` folder, nobody listening.
    pub fn new(experts: IndexMap<ExpertKey, Expert>, workspace: PathBuf) -> Self {
        Self {
            settings: Settings::default(),
            experts,
            base_skill_command: None,
            environment: Environment::default(),
            storage: workspace.join("perstack"),
            workspace,
            proxy: None,
            logins: None,
            sink: Arc::new(|_: &Event, _: &[Message]| {}),
            cancel: CancellationToken::new(),
            in_doubt: InDoubt::default(),
            cassette: CassetteMode::default(),
            lock: LockUse::default(),
            lockfile: None,
            catalogue: catalog::built_in(),
            person: None,
        }
    }
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

/// Whether a backends is recorded or replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CassetteMode {
    #[default]
    None,
    /// Write every model exchange and tool result to this file.
    Record(PathBuf),
    /// Answer from this file, without network or key.
    Replay {
        file: PathBuf,
        /// Take tool results from it too, instead of running tools, and what servers offer, instead of starting them.
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
    /// The query answers a call that waits, and is nothing else: where none waits, it is not taken for a message.
    pub is_answer: bool,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The checkpoint that the coordinator stopped with.
    pub checkpoint: Checkpoint,
    /// How the job ended: the checkpoint's status, but for a job that was stopped while delegates were at work, where
    /// the coordinator waits for them.
    pub status: Status,
    /// The checkpoint's file.
    pub path: PathBuf,
    /// Milliseconds from start to end of this invocation.
    pub duration_ms: u64,
    /// Steps that this invocation had a part in, delegates' included.
    pub steps: u64,
    /// Of all Runs of the job, over all invocations.
    pub usage: Usage,
    /// What that cost.
    pub spend: Spend,
    /// What the job may spend.
    pub budgets: Budgets,
    /// What its budgets count as spent.
    pub spent: Spent,
    /// The budget that the job was stopped by.
    pub budget: Option<Reached>,
}

/// Why a job could not be run or went on no further. What was recorded before stays on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Nothing was asked.
    #[error("the query is empty: say what the expert is to do")]
    EmptyQuery,
    /// No expert of that key is defined.
    #[error("no expert {key} is defined{}", known_experts(known))]
    UnknownExpert { key: ExpertKey, known: Vec<String> },
    /// A file from elsewhere belongs to an expert that is not defined here.
    #[error(
        "{} is a checkpoint of expert {key}, which is not defined here{}: a file from elsewhere does not bring its \
         experts; define {key} in perstack.toml, or resume where it is defined", path.display(), known_experts(known)
    )]
    ExpertOfFile { path: PathBuf, key: ExpertKey, known: Vec<String> },
    /// A checkpoint belongs to another expert than the one named.
    #[error(
        "Checkpoint expert key {checkpoint} does not match input expert key {given}: name {checkpoint}, or no expert"
    )]
    OtherExpert { checkpoint: ExpertKey, given: ExpertKey },
    /// The job is over, and nothing further was asked.
    #[error("job {job} is completed: give a further query to continue it")]
    NothingToDo { job: JobId },
    /// A checkpoint from before a Run's first step.
    #[error("checkpoint {checkpoint} is of a run that never began: start it again")]
    NeverBegan { checkpoint: CheckpointId },
    /// The run waits for a person.
    #[error("the run waits for an answer to: {}. Give the answer as the query", questions.join("; "))]
    AnswerNeeded { questions: Vec<String> },
    /// An answer, but nothing was asked.
    #[error("nothing in job {job} waits for an answer: give the query as a message")]
    NothingAsked { job: JobId },
    /// An answer names a call that does not wait.
    #[error("no call {id:?} waits for an answer: leave the call out to answer the first that waits")]
    NoSuchCall { id: String },
    /// A file holds a checkpoint whose messages are elsewhere.
    #[error(
        "{} refers to its run's log, which is not here: take the checkpoint that the run stopped with, or the job's \
         whole folder", path.display()
    )]
    NotSelfContained { path: PathBuf },
    /// Stored facts do not fit together.
    #[error("{} cannot be followed: {what}. Continue from an older checkpoint", place.display())]
    History { place: PathBuf, what: String },
    /// Calls may or may not have taken effect, and the caller wants to decide.
    #[error(
        "interrupted calls whose effect is unknown: {}. Resume with these reported to the model, or made again",
        tools.join(", ")
    )]
    CallsInDoubt { tools: Vec<String> },
    /// The caller gave up while servers were being started. Nothing was begun.
    #[error("stopped while the skills were being started: nothing was begun")]
    StoppedAtStart,
    /// The job's time was up while servers were being started. Nothing was begun.
    #[error("{reached}: the skills were still being started, and nothing was begun. Allow more time (maxDuration)")]
    TimeUpAtStart { reached: Reached },
    /// The cost cannot be bounded.
    #[error(
        "the cost of model {model} of {provider} is not known, so that maxCost cannot hold: add its price to the user's \
         models.toml ([{provider}.models] \"{model}\" = {{ price = {{ input = 1.0, output = 2.0 }} }}, US dollars per \
         million tokens), or limit maxTokens instead"
    )]
    UnknownPrice { model: String, provider: ProviderName },
    /// An expert delegates to one that is not defined.
    #[error("expert {expert} delegates to {delegate}, which is not defined: define it, or take it out of delegates")]
    UnknownDelegate { expert: ExpertKey, delegate: ExpertKey },
    /// A delegate's checkpoint cannot be resumed by itself: its parent waits for it.
    #[error("checkpoint {checkpoint} belongs to the delegate {expert}: resume its job, {job}, which goes on with it")]
    DelegatesCheckpoint { checkpoint: CheckpointId, expert: ExpertKey, job: JobId },
    /// The lock must serve, and cannot.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The provider cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A skill cannot be used.
    #[error(transparent)]
    Skill(#[from] SkillError),
    /// Something could not be stored, read back or found, or another process holds the job.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A backends could not be recorded or replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A task of this program failed in a way that it should not.
    #[error("internal error: {0}. What was done before is on disk")]
    Internal(String),
    /// The recorded facts, or this program, do not keep to the state machine.
    #[error(transparent)]
    Machine(#[from] IllegalInput),
}

/// What kind of failure a [`RunError`] is, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller asked for something that cannot be, or the configuration does not allow it.
    Usage,
    /// A budget was used up before anything was begun.
    Budget,
    /// State could not be stored, or is held by another process.
    Storage,
    /// Anything else.
    Other,
}

impl RunError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            // What the caller named is not there, or is there already; a file that should be is another matter.
            Self::Store(
                StoreError::NotFound { .. }
                | StoreError::Ambiguous { .. }
                | StoreError::AmbiguousName { .. }
                | StoreError::JobExists { .. },
            ) => ErrorClass::Usage,
            Self::Store(_) | Self::History { .. } => ErrorClass::Storage,
            Self::TimeUpAtStart { .. } => ErrorClass::Budget,
            Self::Replay(error) if error.is_write_failure() => ErrorClass::Storage,
            Self::CallsInDoubt { .. } | Self::StoppedAtStart | Self::Internal(_) | Self::Machine(_) => {
                ErrorClass::Other
            }
            _ => ErrorClass::Usage,
        }
    }
}

fn known_experts(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(": there are {}", known.join(", ")) }
}

/// Runs a job: a fresh run of `input.expert`.
///
/// # Errors
/// [`RunError`]; a Run that stops by error, at its step limit or for an answer is no error but an [`Outcome`].
pub async fn run(input: RunInput, options: &Options) -> Result<Outcome, RunError> {
    job::run(input, options).await
}

/// Continues a job from a checkpoint.
///
/// A Run that was killed goes on as itself: what is on record is not done again. Otherwise a new Run begins that names
/// the checkpoint as its parent and leaves everything before as it is.
///
/// # Errors
/// As [`run`].
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Outcome, RunError> {
    Box::pin(job::resume::resume(input, options)).await
}

/// The tools that `expert` would see: those of servers from `options.lockfile` where it serves, else as the servers tell
/// now.
///
/// # Errors
/// When the expert is not defined, a skill of it cannot be opened, or the lock must serve and cannot.
pub async fn tools(expert: &ExpertKey, options: &Options) -> Result<Vec<ToolSpec>, RunError> {
    Ok(list(expert, options).await?.tools)
}

/// As [`tools`], with what the owner should know; no server is spoken to where the lock serves.
///
/// # Errors
/// As [`tools`].
pub async fn list(expert: &ExpertKey, options: &Options) -> Result<DiscoveredTools, RunError> {
    let found = tools::lock::find(run::scope::find_expert(expert, &options.experts)?, options)?;
    let source = found.lock.as_ref().map_or(ToolSource::Servers, |lock| ToolSource::Definitions(lock.tools()));
    let mut listed = look(expert, options, source).await?;
    listed.warnings.extend(found.warning);
    Ok(listed)
}

/// What a lock holds of `expert`: its tools, and how its servers are spoken to. Every skill is opened for it, lock or
/// not.
///
/// # Errors
/// As [`tools`].
pub async fn discover_tools(expert: &ExpertKey, options: &Options) -> Result<DiscoveredTools, RunError> {
    look(expert, options, ToolSource::Servers).await
}

/// Opens the skills of `expert`, looks at them, and closes them again.
async fn look(expert: &ExpertKey, options: &Options, source: ToolSource<'_>) -> Result<DiscoveredTools, RunError> {
    let expert = run::scope::find_expert(expert, &options.experts)?;
    let network = tools::open::network(options, &Redactor::default());
    let place = ToolsetOptions { source, ..tools::open::place(options, &network) };
    let toolset = tools::open(expert, &options.experts, place).await?;
    let skills = toolset.skills.skills();
    let protocols = skills.iter().filter_map(|skill| Some((skill.name().to_owned(), skill.protocol()?))).collect();
    let found = DiscoveredTools { tools: toolset.skills.tools().to_vec(), protocols, warnings: toolset.warnings };
    tools::close(&toolset.skills).await;
    // A run can do without a skill that starts late; who asks for the tools wants all of them.
    match toolset.missing.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(found),
    }
}
