//! The events that a Run reports while it happens: the original's events and JSON shapes, with a schema version and a number.
//!
//! Inside events, messages of earlier events are replaced by their count; [`Event::to_json`] puts them back where
//! a whole checkpoint is wanted.

use serde::Serialize;
use strum::VariantNames as _;

use crate::access_count::AccessCount;
use crate::budget::Reached;
use crate::checkpoint::{CheckpointHead, RunFailure};
use crate::cost::Spend;
use crate::expert::ExpertKey;
use crate::fact::Fact;
use crate::id::{JobId, RunId};
use crate::message::Message;
use crate::model_name::ModelName;
use crate::permission::CallDecision;
use crate::sandbox::SandboxState;
use crate::snapshot::SnapshotId;
use crate::tool::{ToolCall, ToolResult};
use crate::usage::Usage;

mod json;

pub use json::Detail;

/// Version of the events' JSON shape; a field is only ever added within one version.
pub const SCHEMA_VERSION: u32 = 1;

/// Receives events. Must not block for long: the loop waits for it. A closure is one, too.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use perstack::event::{Event, EventSink};
/// use perstack::message::Message;
///
/// /// Counts the events of a job.
/// #[derive(Default)]
/// struct Counter(AtomicUsize);
///
/// impl EventSink for Counter {
///     fn emit(&self, _event: &Event, _history: &[Message]) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let mut options = perstack::runtime::Options::new(Default::default(), std::env::temp_dir());
/// options.sink = std::sync::Arc::new(Counter::default());
/// ```
pub trait EventSink: Send + Sync {
    /// Takes one event. `history` holds the Run's messages so far; empty for events that belong to no Run's state.
    fn emit(&self, event: &Event, history: &[Message]);

    /// Takes a fact that Run `run` has just recorded, before the events that follow from it. Facts that a Run takes up from
    /// an earlier process are left out. Drops it, unless implemented: events are enough for most.
    fn fact(&self, _run: &RunId, _fact: &Fact) {}
}

impl<F: Fn(&Event, &[Message]) + Send + Sync> EventSink for F {
    fn emit(&self, event: &Event, history: &[Message]) {
        self(event, history);
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(flatten)]
    pub body: EventBody,
    /// Unique.
    pub id: String,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
    pub job_id: JobId,
    pub run_id: RunId,
    /// State and streaming events, and all events of a job's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert_key: Option<ExpertKey>,
    /// As `expertKey`; from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_number: Option<u64>,
    /// State events only: numbers them within their Run, from 1, also across a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    pub schema_version: u32,
}

/// A checkpoint within an event: its messages are the first `messages` of the Run's history.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventCheckpoint {
    #[serde(flatten)]
    pub head: Box<CheckpointHead>,
    #[cfg_attr(test, schemars(with = "Messages"))]
    pub messages: usize,
}

/// The messages of a conversation, or their number where earlier events had them.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is wanted")]
enum Messages {
    Number(usize),
    Whole(Vec<Message>),
}

/// One turn of the loop, as events carry it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub step_number: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_messages: Vec<Message>,
    pub new_messages: Vec<Message>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_results: Vec<ToolResult>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partial_tool_results: Vec<ToolResult>,
    /// Of this step only.
    pub usage: Usage,
    /// The cost of this step.
    #[serde(flatten)]
    pub spend: Spend,
    /// Milliseconds since the epoch.
    pub started_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
}

/// The answer to an interactive call that a run was resumed with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InteractiveAnswer {
    pub tool_call_id: String,
    pub tool_name: String,
    pub skill_name: String,
    pub text: String,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Serialize, strum::IntoStaticStr, strum::VariantNames)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum EventBody {
    // State events: made by the machine.
    /// A Run begins, or goes on with nothing pending.
    StartRun { initial_checkpoint: EventCheckpoint, input_messages: Vec<Message> },
    /// A Run goes on with calls pending or answers collected.
    ResumeFromStop { checkpoint: EventCheckpoint },
    /// The model is asked; `messages` counts the history.
    StartGeneration {
        #[cfg_attr(test, schemars(with = "Messages"))]
        messages: usize,
    },
    /// The model call failed or gave nothing usable, and will be made again. With `delayMs`, the same request after
    /// that wait; without, in the next step with `newMessages` added.
    Retry {
        reason: String,
        new_messages: Vec<Message>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_results: Vec<ToolResult>,
        usage: Usage,
        /// The cost of the call.
        #[serde(flatten)]
        spend: Spend,
        #[serde(skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// Failures in a row, this one included.
        retry_count: u32,
    },
    /// The model has failed, and tries of it are used up: the same request is made to the expert's next `fallback`, which the
    /// run goes on with. Not in the original.
    FallBack {
        from_model: ModelName,
        to_model: ModelName,
        /// The model's last failure, as in `retry`.
        reason: String,
        usage: Usage,
        /// The cost of the call.
        #[serde(flatten)]
        spend: Spend,
    },
    /// Older steps were summarised, because the conversation no longer fitted the context window. `newMessage` takes
    /// the place where the messages behind the first question were, up to the latest steps. Tokens are those of the whole
    /// request, as estimated. Not in the original.
    ContextSummarized {
        new_message: Message,
        messages_before: usize,
        messages_after: usize,
        tokens_before: u64,
        tokens_after: u64,
        usage: Usage,
        /// The cost of the summary.
        #[serde(flatten)]
        spend: Spend,
    },
    /// The answer is not valid against its schema, and is asked for again. A text is asked for again with `newMessages` added,
    /// in the next step; the result of `attemptCompletion` by the call's result. Not in the original.
    RefuseAnswer {
        problems: Vec<String>,
        /// Refusals of this run, this one included.
        refusals: u32,
        new_messages: Vec<Message>,
        usage: Usage,
        /// The cost of the answer.
        #[serde(flatten)]
        spend: Spend,
    },
    /// The command is run that has to succeed before the answer counts. Not in the original.
    StartVerification {
        command: String,
        /// From 1; rounds that succeed end the run.
        round: u32,
        max_rounds: u32,
    },
    /// The command ended. A round that failed goes back to the model: with `newMessages` added, in the next step, or as the result
    /// of `attemptCompletion`. After the last one the run stops. Not in the original.
    FinishVerification {
        command: String,
        round: u32,
        max_rounds: u32,
        passed: bool,
        /// Absent where it did not exit by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// The way it ended, in words: `exited with code 101`.
        end: String,
        /// The output, bounded.
        output: String,
        duration_ms: u64,
        new_messages: Vec<Message>,
        usage: Usage,
        /// The cost of the answer; nothing where another event has it.
        #[serde(flatten)]
        spend: Spend,
    },
    /// The model wants tools called.
    CallTools {
        new_message: Message,
        tool_calls: Vec<ToolCall>,
        usage: Usage,
        /// The cost of the call.
        #[serde(flatten)]
        spend: Spend,
    },
    /// Calls were decided, by rules or by a person, before the turn's calls are made. Not in the original.
    DecideToolCalls { decisions: Vec<CallDecision> },
    /// All calls of the turn are answered.
    ResolveToolResults { tool_results: Vec<ToolResult> },
    /// The answers are in the conversation.
    FinishToolCall { new_messages: Vec<Message> },
    /// The step is over and another begins.
    ContinueToNextStep { checkpoint: EventCheckpoint, step: Step, next_checkpoint: EventCheckpoint },
    /// The Run ended with an answer. Usage and cost are those of the last model call.
    CompleteRun {
        checkpoint: EventCheckpoint,
        step: Step,
        text: String,
        usage: Usage,
        #[serde(flatten)]
        spend: Spend,
    },
    /// The Run waits for the answer of a person: the checkpoint's `pendingToolCalls`.
    StopRunByInteractiveTool { checkpoint: EventCheckpoint, step: Step },
    /// The Run waits for other experts: the checkpoint's `delegateTo`. It goes on as a Run of its own.
    StopRunByDelegate { checkpoint: EventCheckpoint, step: Step },
    /// The largest number of steps is reached.
    StopRunByExceededMaxSteps { checkpoint: EventCheckpoint, step: Step },
    /// An error stopped the Run.
    StopRunByError { checkpoint: EventCheckpoint, step: Step, error: RunFailure },
    /// A signal, or the end of the events' reader, stopped the Run. Not in the original, which ends without an event here.
    StopRunByCancellation { checkpoint: EventCheckpoint, step: Step },
    /// A budget is used up: of the job, or of this Run's repetitions. Not in the original, which has none.
    StopRunByBudget { checkpoint: EventCheckpoint, step: Step, reached: Reached },
    /// The command that verifies answers did not succeed in any of its rounds, or could not be run. Not in the original.
    StopRunByVerification { checkpoint: EventCheckpoint, step: Step, error: RunFailure },

    // Streaming events: for eyes only, never stored.
    /// The model begins to reason.
    StartStreamingReasoning,
    /// A piece of the reasoning.
    StreamReasoning { delta: String },
    /// The reasoning, whole.
    CompleteStreamingReasoning { text: String },
    /// Text of an answer, of which it is not known yet whether it is the Run's result.
    StartStreamingText,
    /// A piece of the text.
    StreamText { delta: String },
    /// The text was not the Run's result: its turn ends in calls, or was cut and is asked for again.
    CompleteStreamingText { text: String },
    /// The Run's result, whole and once it is known to be that; right before [`EventBody::CompleteRun`].
    StartStreamingRunResult,
    /// A piece of the Run's result.
    StreamRunResult { delta: String },
    /// The Run's result, whole.
    CompleteStreamingRunResult { text: String },

    // Runtime events: about the process, never stored, but for `ProxyAccess`, which facts carry.
    /// Before skills start, for each Run.
    InitializeRuntime {
        runtime_version: String,
        runtime: String,
        expert_name: String,
        experts: Vec<String>,
        provider: String,
        model: String,
        max_steps: u64,
        max_retries: u32,
        /// Milliseconds.
        timeout: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        query: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        interactive_tool_call: Option<InteractiveAnswer>,
        #[serde(skip_serializing_if = "Option::is_none")]
        context_window: Option<u64>,
        /// The models that are asked when `model` fails, as `provider/model`. Not in the original.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        fallback: Vec<ModelName>,
        /// The containment of started programs. Not in the original.
        sandbox: SandboxState,
    },
    /// The program of a skill is started.
    SkillStarting { skill_name: String, command: String, args: Vec<String> },
    /// A skill is up, with how long each part took, in milliseconds.
    SkillConnected {
        skill_name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        server_info: Option<ServerInfo>,
        spawn_duration_ms: u64,
        handshake_duration_ms: u64,
        tool_discovery_duration_ms: u64,
        connect_duration_ms: u64,
        total_duration_ms: u64,
    },
    /// A line that a skill's program wrote to its standard error.
    SkillStderr { skill_name: String, message: String },
    /// A skill has ended.
    SkillDisconnected { skill_name: String },
    /// The progress of a call, as its server reports it; at most some ten of a call a second. Not in the original.
    SkillProgress {
        skill_name: String,
        tool_name: String,
        /// Rises; its unit is the server's.
        progress: f64,
        /// The value that `progress` rises to, when the server knows.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A connection of a skill's programs was judged by the skill's `allowedDomains`.
    ProxyAccess {
        action: ProxyAction,
        /// A name or an address, as URLs have it; `*`, with port 0, in a record for hosts that are counted together.
        domain: String,
        port: u16,
        /// The entry of the list that allowed it. Not in the original.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// The reason for which it was blocked.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Not in the original.
        skill_name: String,
        /// The number of connections that were judged alike, in a job's record: there they are counted between two facts.
        /// Absent for one. Not in the original.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    /// Something that does not stop the run, but that its owner should know. Not in the original.
    RuntimeWarning { message: String },
}

/// The judgement of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ProxyAction {
    Allowed,
    Blocked,
}

/// The name and version that a tool server gives itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
}

/// Every event type's name, for filters and their suggestions.
pub const TYPES: &[&str] = EventBody::VARIANTS;

impl EventBody {
    /// The `type` of the JSON form.
    pub fn type_name(&self) -> &'static str {
        self.into()
    }

    /// The event of connections that were judged alike.
    pub fn of_access(access: &AccessCount) -> Self {
        Self::ProxyAccess {
            action: if access.reason.is_some() { ProxyAction::Blocked } else { ProxyAction::Allowed },
            domain: access.domain.clone(),
            port: access.port,
            rule: access.rule.clone(),
            reason: access.reason.clone(),
            skill_name: access.skill_name.clone(),
            count: (access.count > 1).then_some(access.count),
        }
    }

    /// The checkpoint a Run ended with, for the events that end one.
    pub fn ending(&self) -> Option<&EventCheckpoint> {
        match self {
            Self::CompleteRun { checkpoint, .. }
            | Self::StopRunByInteractiveTool { checkpoint, .. }
            | Self::StopRunByDelegate { checkpoint, .. }
            | Self::StopRunByExceededMaxSteps { checkpoint, .. }
            | Self::StopRunByError { checkpoint, .. }
            | Self::StopRunByCancellation { checkpoint, .. }
            | Self::StopRunByBudget { checkpoint, .. }
            | Self::StopRunByVerification { checkpoint, .. } => Some(checkpoint),
            _ => None,
        }
    }

    /// The step that ends with it, if one does.
    pub fn step(&self) -> Option<&Step> {
        match self {
            Self::ContinueToNextStep { step, .. }
            | Self::CompleteRun { step, .. }
            | Self::StopRunByInteractiveTool { step, .. }
            | Self::StopRunByDelegate { step, .. }
            | Self::StopRunByExceededMaxSteps { step, .. }
            | Self::StopRunByError { step, .. }
            | Self::StopRunByCancellation { step, .. }
            | Self::StopRunByBudget { step, .. }
            | Self::StopRunByVerification { step, .. } => Some(step),
            _ => None,
        }
    }

    /// Names the state of the workspace, or none, in the checkpoints of an event that ends a step or a Run.
    pub fn set_snapshot(&mut self, snapshot: Option<&SnapshotId>) {
        match self {
            Self::ContinueToNextStep { checkpoint, next_checkpoint, .. } => {
                checkpoint.head.snapshot = snapshot.cloned();
                next_checkpoint.head.snapshot = snapshot.cloned();
            }
            Self::CompleteRun { checkpoint, .. }
            | Self::StopRunByInteractiveTool { checkpoint, .. }
            | Self::StopRunByDelegate { checkpoint, .. }
            | Self::StopRunByExceededMaxSteps { checkpoint, .. }
            | Self::StopRunByError { checkpoint, .. }
            | Self::StopRunByCancellation { checkpoint, .. }
            | Self::StopRunByBudget { checkpoint, .. }
            | Self::StopRunByVerification { checkpoint, .. } => checkpoint.head.snapshot = snapshot.cloned(),
            _ => {}
        }
    }
}
