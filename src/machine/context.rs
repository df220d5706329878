//! The consequences of a conversation that no longer fits the model's context window: a summary of older steps, or a
//! stop.
//!
//! Nothing is measured here. That a conversation does not fit is a fact, from the provider or from an estimate made
//! before the request; so is which messages a summary replaces.

use std::fmt::Write as _;

use crate::checkpoint::{MeasuredTokens, RunFailure, Todo};
use crate::content::Content;
use crate::event::EventBody;
use crate::expert::ContextLimit;
use crate::generation::{FailureKind, FinishReason, Generation, GenerationFailure};
use crate::machine::answer::text_of;
use crate::machine::data::RunData;
use crate::machine::failed::CallUsage;
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::Overflow;
use crate::machine::token_bound::KnownPrompt;
use crate::message::Message;

/// Fewest steps from one summary to the next. Our own choice: a conversation that fills up again sooner is not helped
/// by summaries, each of which costs as much as a request with everything in it.
const STEPS_BETWEEN: u64 = 4;
/// Summaries that may fail before the Run stops: the first, and one more.
const MAX_FAILURES: u32 = 2;

impl Overflow {
    /// As a failure reports it.
    pub(super) fn new(failure: &GenerationFailure) -> Self {
        Self { message: failure.message.clone(), status_code: failure.status_code, failures: 0 }
    }
}

impl RunData {
    /// Notes how full the window is, as an answer reports it. `text`: that of the answer.
    pub(super) fn measure(&mut self, generation: &Generation, text: &str) {
        let Some(tokens) = generation.context_tokens else { return };
        self.measured = Some(KnownPrompt::new(tokens, self.conversation.messages().len()));
        // An empty answer, or one that is cut off by the window, does not join the conversation.
        let joins = generation.finish != FinishReason::ContextWindow && (!text.is_empty() || generation.has_calls());
        self.head.context =
            Some(MeasuredTokens { tokens, messages: self.conversation.messages().len() + usize::from(joins) });
        self.head.context_window_usage = self.head.context_window.map(|window| share(tokens, window));
    }

    /// Adopts the window of the model that the Run goes on with, which may be another.
    pub(super) fn change_window(&mut self) {
        let head = &mut self.head;
        if head.context_window != self.parameters.context_window {
            // Another window is another model, which counts otherwise.
            self.measured = None;
        }
        head.context_window = self.parameters.context_window;
        head.context_window_usage = match (head.context_window, head.context) {
            (Some(window), Some(measured)) => Some(share(measured.tokens, window)),
            (Some(_), None) => head.context_window_usage,
            (None, _) => None,
        };
    }

    /// Has older steps of a conversation that does not fit summarised, if that is wanted and may help, or stops the Run.
    pub(super) fn overflowed(&mut self, overflow: Overflow) -> Reaction {
        let since = self.head.summarized_at.map(|step| self.head.step_number.saturating_sub(step));
        let remedy = match self.parameters.context_limit {
            ContextLimit::Stop => {
                "Continue with a model that has a larger window, with contextLimit = \"summarize\", or with smaller \
                 outputs of tools (maxToolOutput)"
            }
            ContextLimit::Summarize if since.is_some_and(|steps| steps < STEPS_BETWEEN) => {
                "Older steps were summarised only just before. Continue with a model that has a larger window, or with \
                 smaller outputs of tools (maxToolOutput)"
            }
            ContextLimit::Summarize if !self.conversation.can_replace(1) && !self.conversation.can_replace(2) => {
                "There are no older steps to summarise. Continue with a model that has a larger window, or with a \
                 shorter instruction, question and list of tools"
            }
            ContextLimit::Summarize => return Reaction::summarize(overflow, Vec::new(), 0),
        };
        self.stop_by_overflow(&overflow, remedy)
    }

    /// Puts the model's summary in the place of the `replaced` messages behind the opening. `tokens`: of the request,
    /// before and after.
    pub(super) fn summarized(
        &mut self,
        overflow: Overflow,
        generation: &Generation,
        replaced: usize,
        tokens: (u64, u64),
    ) -> Reaction {
        let cut = self.account.cut_by(&generation.finish);
        let used = self.record(generation);
        if let Some(reached) = cut {
            return self.stop_by_budget(reached);
        }
        let text = text_of(generation);
        let (tokens_before, tokens_after) = tokens;
        let problem = match generation.finish {
            _ if text.trim().is_empty() => Some("the summary is empty"),
            FinishReason::Length | FinishReason::ContextWindow => Some("the summary is too long and was cut off"),
            FinishReason::ContentFilter => {
                Some("the provider's content filter, or the model itself, ended the summary")
            }
            _ if tokens_after >= tokens_before => Some("the summary is longer than what it is to replace"),
            _ => None,
        };
        if let Some(problem) = problem {
            return self.summarize_again(overflow, "SummaryError", problem, used, Some(0));
        }
        let messages_before = self.conversation.messages().len();
        let new_message = self.summary_message(replaced, text.trim());
        self.conversation.replace(replaced, new_message.clone());
        self.head.context = None;
        self.measured = None;
        self.head.context_window_usage = self.head.context_window.map(|window| share(tokens_after, window));
        self.head.summarized_at = Some(self.head.step_number);
        let CallUsage { usage, spend } = used;
        let messages_after = self.conversation.messages().len();
        let event = EventBody::ContextSummarized {
            new_message,
            messages_before,
            messages_after,
            tokens_before,
            tokens_after,
            usage,
            spend,
        };
        Reaction::generate(vec![event])
    }

    /// Handles a summary that the model could not be asked for, or did not give.
    pub(super) fn summary_failed(
        &mut self,
        overflow: Overflow,
        failure: &GenerationFailure,
        retry_in_ms: Option<u64>,
        received_bytes: Option<u64>,
    ) -> Reaction {
        let used = self.record_failure(failure, received_bytes);
        let is_last = retry_in_ms.is_none() || overflow.failures.saturating_add(1) >= MAX_FAILURES;
        if is_last && let Some(event) = self.fall_back(failure, used) {
            // The conversation may fit its window.
            return Reaction::generate(vec![event]);
        }
        self.summarize_again(overflow, failure.kind.name(), &failure.message, used, retry_in_ms)
    }

    /// Makes one more try after the wait, or stops the Run where there was one already or another would not help.
    fn summarize_again(
        &mut self,
        overflow: Overflow,
        name: &str,
        problem: &str,
        used: CallUsage,
        retry_in_ms: Option<u64>,
    ) -> Reaction {
        let overflow = Overflow { failures: overflow.failures.saturating_add(1), ..overflow };
        let Some(after_ms) = retry_in_ms.filter(|_| overflow.failures < MAX_FAILURES) else {
            let remedy = format!(
                "Older steps could not be summarised: {problem}. Continue once more, or with a model that has a larger \
                 window"
            );
            return self.stop_by_overflow(&overflow, &remedy);
        };
        let event = EventBody::Retry {
            reason: serde_json::json!({ "error": name, "message": problem }).to_string(),
            new_messages: Vec::new(),
            tool_calls: Vec::new(),
            tool_results: Vec::new(),
            usage: used.usage,
            spend: used.spend,
            delay_ms: Some(after_ms),
            retry_count: overflow.failures,
        };
        Reaction::summarize(overflow, vec![event], after_ms)
    }

    fn stop_by_overflow(&mut self, overflow: &Overflow, remedy: &str) -> Reaction {
        let message = overflow.message.trim_end_matches('.');
        self.stop_by_error(RunFailure {
            name: FailureKind::ContextOverflow.name().to_owned(),
            message: self.with_earlier_failures(format!(
                "the conversation no longer fits the model's context window: {message}. {remedy}"
            )),
            status_code: overflow.status_code,
            is_retryable: false,
        })
    }

    /// The message that takes the place of those that a summary replaces. The tasks in it are the Run's own list.
    fn summary_message(&mut self, replaced: usize, summary: &str) -> Message {
        let mut text = format!(
            "(The {replaced} messages that followed were replaced by this summary of them, to make room. What they did \
             is done.)\n\n{summary}"
        );
        let tasks = &self.head.todos.todos;
        if !tasks.is_empty() {
            text.push_str("\n\nThe list of tasks as it is now:");
        }
        for Todo { id, title, completed } in tasks {
            let mark = if *completed { "x" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "\n- [{mark}] {id}: {title}");
        }
        let contents = messages::with_ids(vec![Content::text(text)], &mut self.ids);
        messages::user(contents, &mut self.ids)
    }
}

/// The share of the window that is taken: 0 to 1, and above where an estimate comes to more.
#[expect(clippy::cast_precision_loss, reason = "a ratio for display; windows are far below 2^52")]
fn share(tokens: u64, window: u64) -> f64 {
    tokens as f64 / window.max(1) as f64
}
