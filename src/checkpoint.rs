//! Checkpoints: the state of a Run at a step's end.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::budget::Reached;
use crate::cost::Spend;
use crate::expert::ExpertRef;
use crate::fallback::FallenBack;
use crate::id::{CheckpointId, JobId, RunId, ToolCallId};
use crate::message::{Message, UserInput};
use crate::snapshot::SnapshotId;
use crate::tool::{ToolCall, ToolResult};
use crate::usage::Usage;

/// Version of every stored file's format. Files without one (0) are the original's; newer ones are refused.
pub const FORMAT_VERSION: u32 = 1;

/// The status of a Run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumIter, strum::IntoStaticStr)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum Status {
    Init,
    Proceeding,
    Completed,
    StoppedByInteractiveTool,
    StoppedByDelegate,
    StoppedByExceededMaxSteps,
    StoppedByError,
    StoppedByCancellation,
    /// Not in the original.
    StoppedByBudget,
    /// The command that verifies answers did not succeed in any of its rounds, or could not be run. Not in the original.
    StoppedByVerification,
}

impl Status {
    /// The name, as checkpoints spell it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The status of a Run that has reached a budget.
    pub fn for_budget(reached: &Reached) -> Self {
        match reached {
            Reached::Steps { .. } => Self::StoppedByExceededMaxSteps,
            _ => Self::StoppedByBudget,
        }
    }

    /// Returns true if the Run has ended, and nothing goes on behind it: it does not wait for delegates. Its checkpoint
    /// holds everything.
    pub fn is_at_rest(self) -> bool {
        self.is_terminal() && self != Self::StoppedByDelegate
    }

    /// Returns true if the Run has ended (it may be continued by another).
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Init | Self::Proceeding)
    }
}

/// A Run's state without its messages: what changes from step to step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CheckpointHead {
    /// 0 in the original's files.
    #[serde(default)]
    pub format_version: u32,
    pub id: CheckpointId,
    pub job_id: JobId,
    pub run_id: RunId,
    pub status: Status,
    /// From 1, rising over the whole job.
    #[serde(with = "crate::count::Count")]
    pub step_number: u64,
    pub expert: ExpertRef,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegate_to: Vec<DelegateTo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated_by: Option<DelegatedBy>,
    /// Summed over the Run and those it continues.
    pub usage: Usage,
    /// The cost of that.
    #[serde(flatten)]
    pub spend: Spend,
    /// The model's context window in tokens.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// The share of the window that was taken after the latest answer: 0 to 1. (The original divides the *accumulated* usage.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window_usage: Option<f64>,
    /// The last measured size of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<MeasuredTokens>,
    /// The step in which older ones were last summarised.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub summarized_at: Option<u64>,
    /// Calls not answered yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_tool_calls: Vec<ToolCall>,
    /// Answers not in a message yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial_tool_results: Vec<ToolResult>,
    /// It stopped while its calls were decided, so that none of them was made: those that may be made so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding: Option<Vec<ToolCallId>>,
    /// Messages of the user from while a turn was open: they join the conversation behind the turn's answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued_messages: Vec<UserInput>,
    /// The conversation's task list.
    #[serde(default, skip_serializing_if = "TodoList::is_untouched")]
    pub todos: TodoList,
    /// The tools that a search has found, in the order in which requests have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found_tools: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunFailure>,
    /// The budget that it was stopped by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Reached>,
    /// Failed generations in a row.
    #[serde(default)]
    pub retry_count: u32,
    /// The fallback that it goes on with, as the models before it failed; absent with its own model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallenBack>,
    /// The answer that the model's output limit cut off, as far as it came before the last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_answer: Option<CutAnswer>,
    /// The answer that it completed with, as the check against its schema let it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_answer: Option<CheckedAnswer>,
    /// Answers that were refused since the Run was begun, or resumed from a stop; a process that takes over counts on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_answers: u32,
    /// Rounds of the command that verifies answers which failed, counted in the same way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_rounds: u32,
    /// The answer that it was stopped with before that answer was verified: it is verified when the Run is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified_answer: Option<String>,
    /// The conversation holds text from strangers: only the tools that its expert names for that are called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// It was read from a file outside the storage: the calls open in it are never made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_elsewhere: bool,
    /// The state of the workspace then, as the job's folder has it; that of an earlier checkpoint where nothing was changed
    /// since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// Free keys of other programs, kept as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl CheckpointHead {
    /// The state of a Run that has not begun.
    pub fn fresh(id: CheckpointId, job_id: JobId, run_id: RunId, expert: ExpertRef) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            id,
            job_id,
            run_id,
            status: Status::Init,
            step_number: 1,
            expert,
            delegate_to: Vec::new(),
            delegated_by: None,
            usage: Usage::default(),
            spend: Spend::default(),
            context_window: None,
            context_window_usage: None,
            context: None,
            summarized_at: None,
            pending_tool_calls: Vec::new(),
            partial_tool_results: Vec::new(),
            deciding: None,
            queued_messages: Vec::new(),
            todos: TodoList::default(),
            found_tools: Vec::new(),
            error: None,
            budget: None,
            retry_count: 0,
            fallback: None,
            cut_answer: None,
            checked_answer: None,
            refused_answers: 0,
            failed_rounds: 0,
            unverified_answer: None,
            untrusted: false,
            from_elsewhere: false,
            snapshot: None,
            metadata: Map::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An answer that is valid against its schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CheckedAnswer {
    /// The JSON document.
    pub text: String,
    /// The schema leaves no room for free text, so that nothing of what strangers wrote comes with the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_closed: bool,
}

/// An answer in pieces: the model's output limit cut it off, and the model is asked to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CutAnswer {
    /// The pieces so far, joined.
    pub text: String,
    /// The number of times that the model was asked to go on.
    pub continuations: u32,
}

/// Tokens that the provider counted in a conversation, up to one of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeasuredTokens {
    #[serde(with = "crate::count::Count")]
    pub tokens: u64,
    /// The number of these messages, the answer that reported it included.
    pub messages: usize,
}

/// A whole checkpoint, as a library call returns it and as the file of a stopped Run holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    #[serde(flatten)]
    pub head: CheckpointHead,
    /// The complete history.
    pub messages: Vec<Message>,
}

impl Checkpoint {
    /// The final text of a completed Run: the document, if it was checked against a schema; else that of its last expert
    /// message, behind the pieces of an answer that came in several.
    pub fn text(&self) -> Option<String> {
        if self.head.status != Status::Completed {
            return None;
        }
        if let Some(answer) = &self.head.checked_answer {
            return Some(answer.text.clone());
        }
        let last = self.messages.iter().rev().find_map(Message::expert_text)?;
        Some(match &self.head.cut_answer {
            Some(begun) => format!("{}{last}", begun.text),
            None => last,
        })
    }
}

/// A checkpoint whose messages are borrowed: for writing one without copying a history.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointView<'a> {
    #[serde(flatten)]
    pub head: &'a CheckpointHead,
    pub messages: &'a [Message],
}

/// A call that another expert is to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DelegateTo {
    pub expert: ExpertRef,
    pub tool_call_id: ToolCallId,
    pub tool_name: String,
    pub query: String,
}

/// The call that a delegated Run answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DelegatedBy {
    pub expert: ExpertRef,
    pub tool_call_id: ToolCallId,
    pub tool_name: String,
    pub checkpoint_id: CheckpointId,
    pub run_id: RunId,
    /// The Run that called had read text from strangers, so that the query may come from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
}

/// The error that a Run stopped by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunFailure {
    pub name: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    pub is_retryable: bool,
}

/// The tasks an expert has set itself. Ids count from 0 and are never given twice until the list is cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TodoList {
    pub todos: Vec<Todo>,
    #[serde(with = "crate::count::Count")]
    pub next_id: u64,
}

impl TodoList {
    /// Nothing was ever put on it since it was last cleared.
    pub fn is_untouched(&self) -> bool {
        self.next_id == 0
    }
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Todo {
    #[serde(with = "crate::count::Count")]
    pub id: u64,
    pub title: String,
    pub completed: bool,
}
