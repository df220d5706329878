//! What a failed model call leads to: the same request again, or a stop.

use crate::checkpoint::RunFailure;
use crate::cost::Spend;
use crate::event::EventBody;
use crate::generation::{FailureKind, GenerationFailure};
use crate::machine::run::{CallUsage, Reaction, RunMachine};
use crate::machine::state::{Overflow, State};
use crate::machine::transition::Action;
use crate::message::Message;
use crate::tool::ToolResult;

impl RunMachine {
    /// Nothing more is heard of the request under way, which the provider may charge for.
    pub(super) fn give_up(&mut self) {
        self.break_off(Some(0));
        self.charge(Spend::UNKNOWN);
    }

    /// Adds what a model call cost to the accounts of step and Run.
    pub(super) fn charge(&mut self, spend: Spend) {
        self.account.totals.spend = self.account.totals.spend.plus(spend);
        self.step.spend = self.step.spend.plus(spend);
        self.head.spend = self.head.spend.plus(spend);
    }

    pub(super) fn failed(&mut self, failure: &GenerationFailure, retry_in_ms: Option<u64>) -> Reaction {
        let spend = if failure.may_be_charged() { Spend::UNKNOWN } else { Spend::default() };
        self.count_step();
        self.charge(spend);
        if failure.kind == FailureKind::ContextOverflow {
            return self.overflowed(Overflow::new(failure));
        }
        let retries = self.head.retry_count;
        let exhausted = retries >= self.parameters.limits.max_retries;
        if let Some(after_ms) = retry_in_ms.filter(|_| !exhausted) {
            let reason = serde_json::json!({ "error": failure.kind.name(), "message": failure.message });
            let event = self.retry(
                reason.to_string(),
                Vec::new(),
                Vec::new(),
                CallUsage { spend, ..CallUsage::default() },
                Some(after_ms),
            );
            return Reaction {
                state: State::GeneratingToolCall,
                events: vec![event],
                save: false,
                action: Action::Generate { after_ms },
            };
        }
        let message = if exhausted && retries > 0 && failure.is_retryable {
            format!("Max retries ({retries}) exceeded: {}", failure.message)
        } else {
            failure.message.clone()
        };
        self.stop_by_error(RunFailure {
            name: failure.kind.name().to_owned(),
            message,
            status_code: failure.status_code,
            is_retryable: failure.is_retryable,
        })
    }

    /// Counts a failure and tells it. With `delay_ms`, the same request is made again; without, the step is over.
    pub(super) fn retry(
        &mut self,
        reason: String,
        new_messages: Vec<Message>,
        tool_results: Vec<ToolResult>,
        used: CallUsage,
        delay_ms: Option<u64>,
    ) -> EventBody {
        let CallUsage { usage, spend } = used;
        self.head.retry_count = self.head.retry_count.saturating_add(1);
        let retry_count = self.head.retry_count;
        let tool_calls = self.step.tool_calls.clone();
        EventBody::Retry { reason, new_messages, tool_calls, tool_results, usage, spend, delay_ms, retry_count }
    }
}
