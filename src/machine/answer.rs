//! What a model's answer leads to: calls, completion, another try, or a stop.

use crate::checkpoint::{RunFailure, Status};
use crate::cost::Spend;
use crate::event::EventBody;
use crate::generation::{FinishReason, GeneratedPart, Generation};
use crate::machine::calls::{AskedCall, Turn, is_asked_for_result};
use crate::machine::data::RunData;
use crate::machine::failed::CallUsage;
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::{Overflow, State};
use crate::machine::transition::Action;
use crate::message::Message;
use crate::tool::{ToolKind, ToolResult};

/// Sent to a model that gave neither text nor a call (the original's nudge).
const NOTHING_SAID: &str = r#"{"error":"Error: No tool call or text generated","message":"You must generate a tool call or provide a response. Try again."}"#;
/// Sent to a model whose calls were cut off (the original's).
const CUT_OFF: &str =
    r#"{"error":"Error: Tool call generation failed","message":"Generation length exceeded. Try again."}"#;
/// Sent to observers when the provider paused a long turn; the conversation needs nothing added.
const PAUSED: &str = r#"{"error":"Paused","message":"The provider paused a long turn; it goes on in the next step."}"#;

/// What is said of an answer that nobody gave.
const REFUSED: &str = "the provider's content filter, or the model itself, refused to answer";

impl RunData {
    pub(super) fn generated(&mut self, generation: &Generation) -> Reaction {
        let cut = self.account.cut_by(&generation.finish);
        let used = self.record(generation);
        if let Some(reached) = cut {
            // Nothing of it goes into the conversation: the same request is made again when there is room.
            return self.stop_by_budget(reached);
        }
        let said = text_of(generation);
        self.measure(generation, &said);
        let asked: Vec<AskedCall<'_>> = generation
            .parts
            .iter()
            .filter_map(|part| match part {
                GeneratedPart::ToolCall { id, name, arguments } => Some(AskedCall { id, name, arguments }),
                _ => None,
            })
            .collect();
        match (&generation.finish, asked.is_empty(), said.trim().is_empty()) {
            // What it had said is cut off anywhere, and leaves no room to say it again.
            (FinishReason::ContextWindow, ..) => self.overflowed(Overflow {
                what: "the answer was cut off where the window ended".to_owned(),
                status_code: None,
                failures: 0,
            }),
            (FinishReason::Pause, true, _) => self.paused(generation, used),
            (_, true, false) => self.complete(generation, said, used),
            (FinishReason::ContentFilter, true, true) => self.stop_by_error(RunFailure {
                name: "ContentFilterError".to_owned(),
                message: match generation.refusal() {
                    Some(why) => format!("{REFUSED}: {why}"),
                    None => REFUSED.to_owned(),
                },
                status_code: None,
                is_retryable: false,
            }),
            (_, true, true) => self.try_again("No tool call or text generated", used, |machine| {
                let nudge = messages::user_text(NOTHING_SAID, &mut machine.ids);
                (NOTHING_SAID, vec![nudge], Vec::new())
            }),
            (FinishReason::ToolCalls | FinishReason::Stop | FinishReason::Pause, false, _) => {
                self.call(generation, &asked, &said, used)
            }
            (FinishReason::Length, false, _) => {
                self.try_again("Generation length exceeded", used, |machine| machine.cut_off(generation, &asked))
            }
            (other, false, _) => self.stop_by_error(RunFailure {
                name: "UnexpectedFinishReason".to_owned(),
                message: format!("Unexpected finish reason: {other}"),
                status_code: None,
                is_retryable: false,
            }),
        }
    }

    /// Adds the answer's tokens and what they cost to the accounts of step, checkpoint and Run.
    pub(super) fn record(&mut self, generation: &Generation) -> CallUsage {
        let usage = generation.usage.unwrap_or_default();
        let spend = Spend::for_usage(self.parameters.price.as_ref(), generation.billed());
        let tokens = generation.context_tokens.or(generation.usage.map(|usage| usage.total_tokens));
        self.step.add_usage(usage);
        self.head.usage = self.head.usage.plus(usage);
        self.account.count_step(self.head.step_number);
        self.account.record(usage, spend, tokens);
        self.charge(spend);
        CallUsage { usage, spend }
    }

    fn call(&mut self, generation: &Generation, asked: &[AskedCall<'_>], said: &str, used: CallUsage) -> Reaction {
        // Asked once: a model that has nothing to add must come to an end.
        let said =
            Some(said).filter(|said| !said.trim().is_empty() || is_asked_for_result(self.conversation.messages()));
        let turn =
            Turn::new(asked, said, &self.parameters, &mut self.head.todos, self.conversation.call_ids(), &mut self.ids);
        let message = messages::expert(generation, &turn.calls(), &mut self.ids);
        self.head.retry_count = 0;
        self.step.set_calls(turn.calls());
        self.add_new(message.clone());
        let CallUsage { usage, spend } = used;
        let event = EventBody::CallTools { new_message: message, tool_calls: turn.calls(), usage, spend };
        let open = turn.open(ToolKind::Mcp);
        let action = if open.is_empty() { Action::Proceed } else { Action::CallTools { calls: open, in_doubt: false } };
        Reaction::call_tools(turn, vec![event], action)
    }

    fn complete(&mut self, generation: &Generation, text: String, used: CallUsage) -> Reaction {
        let message = messages::expert(generation, &[], &mut self.ids);
        self.head.retry_count = 0;
        self.add_new(message);
        let CallUsage { usage, spend } = used;
        self.stop(Status::Completed, |checkpoint, step| EventBody::CompleteRun { checkpoint, step, text, usage, spend })
    }

    fn paused(&mut self, generation: &Generation, used: CallUsage) -> Reaction {
        let message = messages::expert(generation, &[], &mut self.ids);
        if matches!(&message, Message::ExpertMessage { contents, .. } if contents.is_empty()) {
            return self.try_again("No tool call or text generated", used, |machine| {
                let nudge = messages::user_text(NOTHING_SAID, &mut machine.ids);
                (NOTHING_SAID, vec![nudge], Vec::new())
            });
        }
        self.add_new(message.clone());
        let event = self.retry(PAUSED.to_owned(), vec![message], Vec::new(), used, None);
        self.head.retry_count = 0;
        Reaction::proceed(State::FinishingStep, vec![event])
    }

    /// Another step with what `mend` adds to the conversation, or a stop when there were too many of them in a row.
    fn try_again(
        &mut self,
        problem: &str,
        used: CallUsage,
        mend: impl FnOnce(&mut Self) -> (&'static str, Vec<Message>, Vec<ToolResult>),
    ) -> Reaction {
        let retries = self.head.retry_count;
        if retries >= self.parameters.limits.max_retries {
            return self.stop_by_error(RunFailure {
                name: "MaxRetriesExceeded".to_owned(),
                message: format!("Max retries ({retries}) exceeded: {problem}"),
                status_code: None,
                is_retryable: true,
            });
        }
        let (reason, messages, results) = mend(self);
        for message in &messages {
            self.add_new(message.clone());
        }
        self.step.set_results(results.clone());
        let event = self.retry(reason.to_owned(), messages, results, used, None);
        Reaction::proceed(State::FinishingStep, vec![event])
    }

    /// Keeps only the first call, answered with the reason: later ones, and the arguments of the last, may be torn.
    fn cut_off(
        &mut self,
        generation: &Generation,
        asked: &[AskedCall<'_>],
    ) -> (&'static str, Vec<Message>, Vec<ToolResult>) {
        // Nothing is called, so the task list must not change either.
        let mut todos = self.head.todos.clone();
        let first = asked.get(..1).unwrap_or(asked);
        let calls =
            Turn::new(first, Some(""), &self.parameters, &mut todos, self.conversation.call_ids(), &mut self.ids)
                .calls();
        let results: Vec<ToolResult> = calls.iter().map(|call| ToolResult::error(call, CUT_OFF)).collect();
        let said = messages::expert(generation, &calls, &mut self.ids);
        let answered = messages::tool_results(&results, &mut self.ids);
        self.step.set_calls(calls);
        (CUT_OFF, vec![said, answered], results)
    }
}

/// The answer's texts, joined by newlines.
pub(super) fn text_of(generation: &Generation) -> String {
    let texts: Vec<&str> = generation
        .parts
        .iter()
        .filter_map(|part| match part {
            GeneratedPart::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}
