//! [`RunError`]: the reasons for which a job cannot begin or go on. Every driver of this folder returns it; exit codes
//! are the command line's.

use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;

use crate::budget::Reached;
use crate::config::ConfigError;
use crate::expert::ExpertKey;
use crate::expert_map::{ExpertError, UnknownDelegate, listed};
use crate::hint::ErrorHint;
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::IllegalInput;
use crate::model_name::ModelName;
use crate::output_schema::InvalidOutputSchema;
use crate::provider::ProviderError;
use crate::replay::ReplayError;
use crate::runtime::snapshots::failure::SnapshotError;
use crate::setting::ProviderName;
use crate::skill::SkillError;
use crate::skill::mcp::McpError;
use crate::store::StoreError;
use crate::workspace::RestoreError;

/// A failure that keeps a job from beginning or going on. What was recorded before stays on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The query is empty.
    #[error("the query is empty")]
    EmptyQuery,
    /// Images or files, and no query that they are attached to.
    #[error("images and files go along with a query, and there is none")]
    AttachedToNothing,
    /// An expert is not defined, or has mistakes in its definition.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// A file from elsewhere belongs to an expert that is not defined here.
    #[error(
        "{} is a checkpoint of expert {key}, which is not defined here{}: a file from elsewhere does not bring its experts",
        path.display(),
        listed(known)
    )]
    ExpertOfFile { path: PathBuf, key: ExpertKey, known: Vec<ExpertKey> },
    /// A job on record belongs to an expert that is not defined here.
    #[error(
        "job {job} is of expert {key}, which is not defined here{}: a recorded job does not bring its experts",
        listed(known)
    )]
    ExpertOfJob { job: JobId, key: ExpertKey, known: Vec<ExpertKey> },
    /// A record names a delegate that its caller does not have.
    #[error("expert {expert} does not delegate to {delegate}")]
    NoDelegate { expert: ExpertKey, delegate: ExpertKey },
    /// The setting of a Run cannot be stored without the secrets in it.
    #[error(
        "expert {key} cannot be run: a secret variable's value is also a name or a word in its definition or in the \
         provider's setting, which cannot be stored without the secret"
    )]
    SecretInSetting { key: ExpertKey, source: serde_json::Error },
    /// Answers cannot be checked against the schema that they have to be valid against.
    #[error("the answer of expert {key} cannot be checked, as its schema is not usable: {problem}")]
    OutputSchema { key: ExpertKey, problem: InvalidOutputSchema },
    /// A checkpoint belongs to another expert than the one named.
    #[error("Checkpoint expert key {checkpoint} does not match input expert key {given}")]
    OtherExpert { checkpoint: ExpertKey, given: ExpertKey },
    /// The id that the caller chose for a Run names something else.
    #[error("the run id {run} names something in this storage already")]
    RunIdTaken { run: RunId },
    /// A job of the id is there, and about something else.
    #[error("job {job} was started with another query or other files")]
    OtherQuery { job: JobId },
    /// The job is over, and nothing further was asked.
    #[error("job {job} is completed")]
    NothingToDo { job: JobId },
    /// A checkpoint from before a Run's first step.
    #[error("checkpoint {checkpoint} is of a run that never began")]
    NeverBegan { checkpoint: CheckpointId },
    /// The run waits for a person.
    #[error("the run waits for an answer to: {}", questions.join("; "))]
    AnswerNeeded { questions: Vec<String> },
    /// An answer, but nothing was asked.
    #[error("nothing in job {job} waits for an answer")]
    NothingAsked { job: JobId },
    /// An answer names a call that does not wait.
    #[error("no call {id:?} waits for an answer")]
    NoSuchCall { id: String },
    /// A file holds a checkpoint whose messages are elsewhere.
    #[error("{} refers to its run's log, which is not here", path.display())]
    NotSelfContained { path: PathBuf },
    /// Stored facts do not fit together.
    #[error("{} cannot be followed: {what}", place.display())]
    History { place: PathBuf, what: String },
    /// Calls may or may not have taken effect, and the caller wants to decide.
    #[error("interrupted calls whose effect is unknown: {}", tools.join(", "))]
    CallsInDoubt { tools: Vec<String> },
    /// The job was cancelled while servers were being started. No Run was begun.
    #[error("stopped while the skills were being started: nothing was begun")]
    StoppedAtStart,
    /// The job's time was up while servers were being started. No Run was begun.
    #[error("{reached}: the skills were still being started, and nothing was begun")]
    TimeUpAtStart { reached: Reached },
    /// A model that is to answer when an expert's own has failed could not.
    #[error("the fallback {model} of expert {expert} cannot be used")]
    Fallback { expert: ExpertKey, model: ModelName, source: FallbackProblem },
    /// The cost cannot be bounded.
    #[error("the cost of model {model} of {provider} is not known, so that maxCost cannot hold")]
    UnknownPrice { model: String, provider: ProviderName },
    /// The containment that the setting requires cannot be had here.
    #[error("the sandbox is required, and this system lacks {lacking}: nothing was started")]
    NotContained { lacking: &'static str },
    /// An expert's answers are verified by a command, and no call may change anything.
    #[error(
        "the answers of expert {key} are verified by `{command}`, and a read-only run starts no command: nothing was begun"
    )]
    VerifyReadOnly { key: ExpertKey, command: String },
    /// The needs of programs cannot be observed here.
    #[error("the needs of programs cannot be learned: this system lacks {lacking}")]
    CannotLearn { lacking: &'static str },
    /// Programs that are not contained are refused nothing.
    #[error("there is nothing to learn with sandbox = \"off\": programs are refused nothing")]
    NothingToLearn,
    /// A delegate's checkpoint cannot be resumed by itself: its parent waits for it.
    #[error("checkpoint {checkpoint} belongs to the delegate {expert}")]
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
    /// A state of the workspace could not be restored.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A cassette could not be written or replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A task of this program failed in a way that it should not.
    #[error("internal error: {0}")]
    Internal(String),
    /// The recorded facts, or this program, violate the state machine.
    #[error(transparent)]
    Machine(#[from] IllegalInput),
}

/// The reason for which a fallback cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FallbackProblem {
    /// Its provider cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The catalogue does not have it, and its provider serves no others.
    #[error("{provider} has no such model in the catalogue{}", did_you_mean(near.as_deref()))]
    UnknownModel { provider: ProviderName, near: Option<String> },
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
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
                | StoreError::OtherBatch { .. }
                | StoreError::AccountWithoutLimits { .. }
                | StoreError::JobExists { .. },
            ) => ErrorClass::Usage,
            Self::Store(_)
            | Self::History { .. }
            | Self::Snapshot(
                SnapshotError::Store(_) | SnapshotError::Restore { source: RestoreError::Object(_), .. },
            ) => ErrorClass::Storage,
            Self::TimeUpAtStart { .. } => ErrorClass::Budget,
            Self::Replay(error) if error.is_write_failure() => ErrorClass::Storage,
            Self::CallsInDoubt { .. }
            | Self::StoppedAtStart
            | Self::Internal(_)
            | Self::Machine(_)
            | Self::Snapshot(SnapshotError::Restore { .. } | SnapshotError::Folder { .. }) => ErrorClass::Other,
            _ => ErrorClass::Usage,
        }
    }
}

impl ErrorHint for RunError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::EmptyQuery => "give the expert something to do",
            Self::AttachedToNothing => "give a query with them",
            Self::NoDelegate { expert, .. } => {
                return Some(format!("add it to the delegates of {expert}, if it should").into());
            }
            Self::OutputSchema { .. } => "correct its outputSchema, or give another schema",
            Self::SecretInSetting { .. } => "rename it, or choose another secret",
            Self::ExpertOfFile { key, .. } | Self::ExpertOfJob { key, .. } => {
                return Some(format!("define {key} in perstack.toml, or resume where it is defined").into());
            }
            Self::OtherExpert { checkpoint, .. } => return Some(format!("name {checkpoint}, or no expert").into()),
            Self::RunIdTaken { .. } => "choose another, or leave it out",
            Self::OtherQuery { .. } => "choose another job id, or continue the job with a further query",
            Self::NothingToDo { .. } => "give a further query to continue it",
            Self::NeverBegan { .. } => "start it again",
            Self::AnswerNeeded { .. } => "give the answer as the query",
            Self::NothingAsked { .. } => "give the query as a message",
            Self::NoSuchCall { .. } => "leave the call out to answer the first that waits",
            Self::NotSelfContained { .. } => "take the checkpoint that the run stopped with, or the job's whole folder",
            Self::History { .. } => "continue from an older checkpoint",
            Self::CallsInDoubt { .. } => "resume with these reported to the model, or made again",
            Self::TimeUpAtStart { .. } => "allow more time (maxDuration)",
            Self::Fallback { source: FallbackProblem::UnknownModel { .. }, .. } => {
                "correct its name, or add it to the user's models.toml"
            }
            Self::UnknownPrice { model, provider } => {
                return Some(
                    format!(
                        "add its price to the user's models.toml ([{provider}.models] \"{model}\" = {{ price = {{ input = \
                         1.0, output = 2.0 }} }}, US dollars per million tokens), or limit maxTokens instead"
                    )
                    .into(),
                );
            }
            Self::NotContained { .. } => "run on a system that has it, or without that demand (sandbox = \"auto\")",
            Self::VerifyReadOnly { .. } => "run it without that restriction, or an expert without `verify`",
            Self::CannotLearn { .. } => {
                "learn on a system that has it; the lines to add are shown by refused calls, too"
            }
            Self::NothingToLearn => "learn with sandbox = \"auto\"",
            Self::DelegatesCheckpoint { job, .. } => {
                return Some(format!("resume its job, {job}, which goes on with it").into());
            }
            Self::Internal(_) => "resume the job; what was done before is on disk",
            Self::Expert(error) => return error.hint(),
            Self::Config(error) => return error.hint(),
            Self::Provider(error) | Self::Fallback { source: FallbackProblem::Provider(error), .. } => {
                return error.hint();
            }
            Self::Skill(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Snapshot(error) => return error.hint(),
            Self::Replay(error) => return error.hint(),
            Self::StoppedAtStart | Self::Machine(_) => return None,
        };
        Some(hint.into())
    }
}

/// The remedy of `error`, or of the first among its causes that has one: what the command line prints behind `help:`.
///
/// Errors of this library have it apart from their text, as a program may have another way to the same end. An error of
/// another type that has one of the library's as its [`source`](Error::source) is looked through.
pub fn hint<'a>(error: &'a (dyn Error + 'static)) -> Option<Cow<'a, str>> {
    fn of<'a, E: ErrorHint + 'static>(error: &'a (dyn Error + 'static)) -> Option<Cow<'a, str>> {
        error.downcast_ref::<E>()?.hint()
    }
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        // Those that others contain transparently are not their `source`, and are asked by them.
        of::<RunError>(error)
            .or_else(|| of::<ConfigError>(error))
            .or_else(|| of::<ExpertError>(error))
            .or_else(|| of::<UnknownDelegate>(error))
            .or_else(|| of::<ProviderError>(error))
            .or_else(|| of::<SkillError>(error))
            .or_else(|| of::<McpError>(error))
            .or_else(|| of::<StoreError>(error))
            .or_else(|| of::<ReplayError>(error))
    })
}
