//! A Job: one invocation's whole work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::{Budgets, Spent};
use crate::checkpoint::Status;
use crate::cost::Spend;
use crate::expert::ExpertKey;
use crate::id::{JobId, RunId};
use crate::usage::Usage;

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum JobStatus {
    Running,
    Completed,
    StoppedByMaxSteps,
    StoppedByInteractiveTool,
    StoppedByError,
    StoppedByCancellation,
    /// Not in the original.
    StoppedByBudget,
    /// Not in the original.
    StoppedByVerification,
}

impl From<Status> for JobStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Init | Status::Proceeding | Status::StoppedByDelegate => Self::Running,
            Status::Completed => Self::Completed,
            Status::StoppedByInteractiveTool => Self::StoppedByInteractiveTool,
            Status::StoppedByExceededMaxSteps => Self::StoppedByMaxSteps,
            Status::StoppedByError => Self::StoppedByError,
            Status::StoppedByCancellation => Self::StoppedByCancellation,
            Status::StoppedByBudget => Self::StoppedByBudget,
            Status::StoppedByVerification => Self::StoppedByVerification,
        }
    }
}

/// `job.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The stored format's version; 0 in the original's files.
    #[serde(default)]
    pub format_version: u32,
    pub id: JobId,
    pub status: JobStatus,
    pub coordinator_expert_key: ExpertKey,
    /// Steps of all its Runs, as its budgets count them; in older files, the number of its last step.
    #[serde(with = "crate::count::Count")]
    pub total_steps: u64,
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Of all its Runs.
    pub usage: Usage,
    /// The cost of that.
    #[serde(flatten)]
    pub spend: Spend,
    /// Milliseconds since the epoch.
    #[serde(with = "crate::count::Count")]
    pub started_at: u64,
    /// Milliseconds since the epoch; absent while the job can still go on by itself or waits for a person.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
    /// The start of its last Run, in milliseconds since the epoch, as of the end of the last invocation: lists of jobs
    /// need not look at the Runs then. Means nothing while the job is running; absent in older files.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<u64>,
    /// Made by replaying a cassette, and by nothing else since: may be replaced by the next replay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// The digest at the end of each Run's log, as of the end of the last invocation; of a Run without facts, as one that
    /// was imported, SHA-256 of its checkpoint's file. Absent in older files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<RunId, String>,
    /// Its limits, and what they count as spent.
    #[serde(default)]
    pub budget: JobBudget,
}

/// A job's account. Between the beginning and the end of an invocation it is as it was at the beginning; the Runs' logs
/// have the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct JobBudget {
    /// Hold for later invocations too, unless those are given others.
    #[serde(skip_serializing_if = "Budgets::is_empty")]
    pub limits: Budgets,
    /// Absent where nobody has counted: the Runs' logs have all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
    /// The start of the invocation under way, in milliseconds since the epoch.
    #[serde(with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub active_since: Option<u64>,
}
