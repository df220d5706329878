//! [`RunError`]: the reasons for which a job cannot begin or go on. Every driver of this folder returns it; exit codes
//! and remedies are the command line's.

use std::path::PathBuf;

use crate::budget::Reached;
use crate::config::ConfigError;
use crate::expert::ExpertKey;
use crate::expert_map::{ExpertError, listed};
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::IllegalInput;
use crate::provider::ProviderError;
use crate::replay::ReplayError;
use crate::setting::ProviderName;
use crate::skill::SkillError;
use crate::store::StoreError;

/// A failure that keeps a job from beginning or going on. What was recorded before stays on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The query is empty.
    #[error("the query is empty: give the expert something to do")]
    EmptyQuery,
    /// An expert is not defined, or has mistakes in its definition.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// A file from elsewhere belongs to an expert that is not defined here.
    #[error(
        "{} is a checkpoint of expert {key}, which is not defined here{}: a file from elsewhere does not bring its \
         experts; define {key} in perstack.toml, or resume where it is defined", path.display(), listed(known)
    )]
    ExpertOfFile { path: PathBuf, key: ExpertKey, known: Vec<ExpertKey> },
    /// A checkpoint belongs to another expert than the one named.
    #[error(
        "Checkpoint expert key {checkpoint} does not match input expert key {given}: name {checkpoint}, or no expert"
    )]
    OtherExpert { checkpoint: ExpertKey, given: ExpertKey },
    /// The id that the caller chose for a Run names something else.
    #[error("the run id {run} names something in this storage already: choose another, or leave it out")]
    RunIdTaken { run: RunId },
    /// A job of the id is there, and about something else.
    #[error(
        "job {job} was started with another query: choose another job id, or continue the job with a further query"
    )]
    OtherQuery { job: JobId },
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
    /// The job was cancelled while servers were being started. No Run was begun.
    #[error("stopped while the skills were being started: nothing was begun")]
    StoppedAtStart,
    /// The job's time was up while servers were being started. No Run was begun.
    #[error("{reached}: the skills were still being started, and nothing was begun. Allow more time (maxDuration)")]
    TimeUpAtStart { reached: Reached },
    /// The cost cannot be bounded.
    #[error(
        "the cost of model {model} of {provider} is not known, so that maxCost cannot hold: add its price to the user's \
         models.toml ([{provider}.models] \"{model}\" = {{ price = {{ input = 1.0, output = 2.0 }} }}, US dollars per \
         million tokens), or limit maxTokens instead"
    )]
    UnknownPrice { model: String, provider: ProviderName },
    /// A delegate's checkpoint cannot be resumed by itself: its parent waits for it.
    #[error("checkpoint {checkpoint} belongs to the delegate {expert}: resume its job, {job}, which goes on with it")]
    DelegatesCheckpoint { checkpoint: CheckpointId, expert: ExpertKey, job: JobId },
    /// The lock must be used, and cannot.
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
    /// A cassette could not be written or replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A task of this program failed in a way that it should not.
    #[error("internal error: {0}. What was done before is on disk")]
    Internal(String),
    /// The recorded facts, or this program, violate the state machine.
    #[error(transparent)]
    Machine(#[from] IllegalInput),
}

/// The kind of a [`RunError`], for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller asked for something impossible, or the configuration does not allow it.
    Usage,
    /// A budget was used up before a Run was begun.
    Budget,
    /// State could not be stored, or is held by another process.
    Storage,
    /// Anything else.
    Other,
}

impl RunError {
    /// The kind of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            // The caller's mistake: what was named is not there, or is there already. A file that should be there and
            // is not is the storage's.
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
