//! The consequences of a failed model call: the same request again, to the same model or to a fallback, or a stop.

use crate::checkpoint::RunFailure;
use crate::cost::Spend;
use crate::event::EventBody;
use crate::generation::{FailureKind, GenerationFailure};
use crate::machine::data::RunData;
use crate::machine::run::Reaction;
use crate::machine::state::Overflow;
use crate::message::Message;
use crate::tool::ToolResult;
use crate::usage::Usage;

/// The tokens and cost of one model call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallUsage {
    pub usage: Usage,
    pub spend: Spend,
}

impl RunData {
    pub(super) fn failed(
        &mut self,
        failure: &GenerationFailure,
        retry_in_ms: Option<u64>,
        received_bytes: Option<u64>,
    ) -> Reaction {
        let used = self.record_failure(failure, received_bytes);
        if failure.kind == FailureKind::ContextOverflow {
            if let Some(event) = self.fall_back(failure, used) {
                return Reaction::generate(vec![event]);
            }
            return self.overflowed(Overflow::new(failure));
        }
        let retries = self.head.retry_count;
        let exhausted = retries >= self.parameters.limits.max_retries;
        if let Some(after_ms) = retry_in_ms.filter(|_| !exhausted) {
            let reason = serde_json::json!({ "error": failure.kind.name(), "message": failure.message });
            let event = self.retry(reason.to_string(), Vec::new(), Vec::new(), used, Some(after_ms));
            return Reaction::generate_after(after_ms, vec![event]);
        }
        if let Some(event) = self.fall_back(failure, used) {
            return Reaction::generate(vec![event]);
        }
        let message = if exhausted && retries > 0 && failure.is_retryable {
            format!("Max retries ({retries}) exceeded: {}", failure.message)
        } else {
            failure.message.clone()
        };
        self.stop_by_error(RunFailure {
            name: failure.kind.name().to_owned(),
            message: self.with_earlier_failures(message),
            status_code: failure.status_code,
            is_retryable: failure.is_retryable,
        })
    }

    /// Adds what a failed call may have cost to the accounts.
    pub(super) fn record_failure(&mut self, failure: &GenerationFailure, received_bytes: Option<u64>) -> CallUsage {
        let may_be_charged = failure.may_be_charged() && !self.is_free;
        let spend = if may_be_charged { Spend::UNKNOWN } else { Spend::default() };
        self.account.break_off(received_bytes.filter(|_| !self.is_free));
        self.account.count_step(self.head.step_number);
        self.charge(spend);
        CallUsage { spend, ..CallUsage::default() }
    }

    /// Counts a failure and reports it. With `delay_ms`, the same request is made again; without, the step is over.
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
        let tool_calls = self.step.calls().to_vec();
        EventBody::Retry { reason, new_messages, tool_calls, tool_results, usage, spend, delay_ms, retry_count }
    }
}
