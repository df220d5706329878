//! A Job: one invocation's whole work.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::budget::{Budgets, Spent};
use crate::checkpoint::Status;
use crate::cost::{Cost, Spend};
use crate::expert::ExpertKey;
use crate::id::{JobId, RunId};
use crate::usage::Usage;
use crate::workspace_source::MadeFrom;

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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The source that its first workspace was made from, if it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_from: Option<MadeFrom>,
}

impl<'de> Deserialize<'de> for Job {
    /// In one pass. Serde's own code for a flattened value first builds a list of all fields, and lists of jobs read the
    /// file of each.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let fields = JobFields::deserialize(from)?;
        Ok(Self {
            format_version: fields.format_version,
            id: fields.id,
            status: fields.status,
            coordinator_expert_key: fields.coordinator_expert_key,
            total_steps: fields.total_steps,
            max_steps: fields.max_steps,
            usage: fields.usage,
            spend: Spend::of_fields(fields.cost, fields.cost_is_complete),
            started_at: fields.started_at,
            finished_at: fields.finished_at,
            last_run_at: fields.last_run_at,
            replayed: fields.replayed,
            ends: fields.ends,
            budget: fields.budget,
            workspace_from: fields.workspace_from,
        })
    }
}

/// The keys of a [`Job`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobFields {
    #[serde(default)]
    format_version: u32,
    id: JobId,
    status: JobStatus,
    coordinator_expert_key: ExpertKey,
    #[serde(with = "crate::count::Count")]
    total_steps: u64,
    #[serde(default, with = "crate::count::OptionalCount")]
    max_steps: Option<u64>,
    usage: Usage,
    cost: Option<Cost>,
    cost_is_complete: Option<bool>,
    #[serde(with = "crate::count::Count")]
    started_at: u64,
    #[serde(default, with = "crate::count::OptionalCount")]
    finished_at: Option<u64>,
    #[serde(default, with = "crate::count::OptionalCount")]
    last_run_at: Option<u64>,
    #[serde(default)]
    replayed: bool,
    #[serde(default)]
    ends: BTreeMap<RunId, String>,
    #[serde(default)]
    budget: JobBudget,
    #[serde(default)]
    workspace_from: Option<MadeFrom>,
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_field_comes_back_as_it_was_written() {
        let mut stored = json!({
            "formatVersion": 1, "id": "a", "status": "stoppedByBudget", "coordinatorExpertKey": "librarian",
            "totalSteps": 3, "maxSteps": 9,
            "usage": {"inputTokens": 1, "outputTokens": 2, "reasoningTokens": 0, "totalTokens": 3, "cachedInputTokens": 0},
            "cost": 0.5, "costIsComplete": false, "startedAt": 4, "finishedAt": 5, "lastRunAt": 6, "replayed": true,
            "ends": {"r": "00"},
            "budget": {"limits": {"maxTokens": 7}, "spent": {"tokens": 1, "cost": 0.5, "steps": 3, "activeMs": 8}},
            "workspaceFrom": {"kind": "git", "address": "https://example.com/owls", "commit": "00"},
        });
        let read = |stored: &Value| serde_json::from_value::<Job>(stored.clone());
        assert_eq!(serde_json::to_value(read(&stored).unwrap()).unwrap(), stored);
        // What a newer version adds is passed over; what is not as it should be is named.
        stored["mood"] = json!("calm");
        assert!(read(&stored).is_ok());
        stored["lastRunAt"] = json!("soon");
        assert!(read(&stored).is_err());
    }
}
