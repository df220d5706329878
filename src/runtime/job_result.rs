//! [`JobResult`]: the object of `--output json`. The command line prints it; a program that embeds the library makes the
//! same of its [`Outcome`].

use serde::Serialize;

use super::Outcome;
use crate::budget::Reached;
use crate::checkpoint::{RunFailure, Status};
use crate::cost::Cost;
use crate::fallback::FallenBack;
use crate::tool::ToolCall;
use crate::usage::Usage;

/// Version of the object's shape; a field is only ever added within one version.
pub const RESULT_SCHEMA_VERSION: u32 = 1;

/// The end of a job, as one JSON object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobResult<'a> {
    pub status: Status,
    /// The answer; absent unless completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The error that the job was stopped by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a RunFailure>,
    /// The budget that the job was stopped by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<&'a Reached>,
    /// The calls that the job waits for.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub pending_tool_calls: &'a [ToolCall],
    /// The fallback that answered last, of the coordinator; absent where its own model did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<&'a FallenBack>,
    pub job_id: &'a str,
    pub run_id: &'a str,
    pub checkpoint_id: &'a str,
    /// The checkpoint's file.
    pub checkpoint: String,
    /// Taken in this invocation.
    pub steps: u64,
    /// Over the whole job.
    pub step_number: u64,
    /// Of all runs, over the whole job.
    pub usage: Usage,
    /// US dollars, over the whole job; null when nothing is known of them.
    pub cost: Option<Cost>,
    /// True if every part of the cost is known; otherwise the cost is a lower bound.
    pub cost_is_complete: bool,
    /// Of this invocation, in milliseconds.
    pub duration_ms: u64,
    /// Version of this shape; a field is only ever added within one version.
    pub schema_version: u32,
}

impl<'a> From<&'a Outcome> for JobResult<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let head = &outcome.checkpoint.head;
        Self {
            status: outcome.status,
            text: outcome.checkpoint.text(),
            error: head.error.as_ref(),
            budget: outcome.budget.as_ref(),
            pending_tool_calls: &head.pending_tool_calls,
            fallback: head.fallback.as_ref(),
            job_id: head.job_id.as_str(),
            run_id: head.run_id.as_str(),
            checkpoint_id: head.id.as_str(),
            checkpoint: outcome.path.display().to_string(),
            steps: outcome.steps,
            step_number: head.step_number,
            usage: outcome.usage,
            cost: (!outcome.spend.is_unknown()).then_some(outcome.spend.cost),
            cost_is_complete: outcome.spend.is_complete,
            duration_ms: outcome.duration_ms,
            schema_version: RESULT_SCHEMA_VERSION,
        }
    }
}
