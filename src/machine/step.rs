//! The step under construction: what the event at its end will report.

use crate::checkpoint::CheckpointHead;
use crate::cost::Spend;
use crate::event::Step;
use crate::message::Message;
use crate::tool::{ToolCall, ToolResult};
use crate::usage::Usage;

/// A step that has begun and not ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct OpenStep {
    step: Step,
}

impl OpenStep {
    /// The step `number`, begun `at` milliseconds since the epoch.
    pub fn begin(number: u64, at: u64) -> Self {
        Self { step: Step { step_number: number, started_at: at, ..Step::default() } }
    }

    /// Notes a message that came from outside.
    pub fn add_input(&mut self, message: Message) {
        self.step.input_messages.push(message);
    }

    /// Notes a message that the step added.
    pub fn add_new(&mut self, message: Message) {
        self.step.new_messages.push(message);
    }

    pub fn set_calls(&mut self, calls: Vec<ToolCall>) {
        self.step.tool_calls = calls;
    }

    pub fn set_results(&mut self, results: Vec<ToolResult>) {
        self.step.tool_results = results;
    }

    pub fn add_usage(&mut self, usage: Usage) {
        self.step.usage = self.step.usage.plus(usage);
    }

    pub fn add_spend(&mut self, spend: Spend) {
        self.step.spend = self.step.spend.plus(spend);
    }

    pub fn inputs(&self) -> &[Message] {
        &self.step.input_messages
    }

    pub fn calls(&self) -> &[ToolCall] {
        &self.step.tool_calls
    }

    pub fn usage(&self) -> Usage {
        self.step.usage
    }

    pub fn spend(&self) -> Spend {
        self.step.spend
    }

    /// Ends the step of a Run that goes on.
    pub fn finish(&mut self, at: u64) -> Step {
        let mut step = std::mem::take(&mut self.step);
        step.finished_at = Some(at);
        step
    }

    /// Ends the step of a Run that stops, with the calls that `head` leaves open.
    pub fn stop(&mut self, at: u64, head: &CheckpointHead) -> Step {
        self.step.pending_tool_calls.clone_from(&head.pending_tool_calls);
        self.step.partial_tool_results.clone_from(&head.partial_tool_results);
        self.finish(at)
    }
}
