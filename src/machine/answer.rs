//! The consequences of a model's answer: calls, completion, another try, or a stop.
//!
//! Part of the handlers of [`RunData`]; failed model calls are in `failed`, summaries in `context`.

use crate::checkpoint::RunFailure;
use crate::cost::Spend;
use crate::event::EventBody;
use crate::generation::{FinishReason, GeneratedPart, Generation};
use crate::machine::calls::{AskedCall, Turn, is_asked_for_result};
use crate::machine::data::RunData;
use crate::machine::ending::Ending;
use crate::machine::failed::CallUsage;
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::{Overflow, State};
use crate::message::Message;
use crate::tool::ToolResult;
use crate::usage::Usage;

/// Sent to a model that gave neither text nor a call (the original's nudge).
const EMPTY_ANSWER: &str = r#"{"error":"Error: No tool call or text generated","message":"You must generate a tool call or provide a response. Try again."}"#;
/// Sent to a model whose calls were cut off (the original's).
const CUT_OFF: &str =
    r#"{"error":"Error: Tool call generation failed","message":"Generation length exceeded. Try again."}"#;
/// Sent to a model whose answer was cut off. (The original takes what came for the whole answer.)
const GO_ON: &str = r#"{"error":"Error: Answer cut off","message":"Your answer was cut off at the output limit. Continue exactly where it ended, without repeating any of it."}"#;
/// The number of times that a model is asked to go on with one answer. Our own choice: an answer four times
/// the output limit is rarer than a model that repeats itself without end.
const MAX_CONTINUATIONS: u32 = 3;
/// Sent to observers when the provider paused a long turn; the conversation needs nothing added.
const PAUSED: &str = r#"{"error":"Paused","message":"The provider paused a long turn; it goes on in the next step."}"#;

/// The error of a refusal.
const REFUSED: &str = "the provider's content filter, or the model itself, refused to answer";

impl RunData {
    pub(super) fn generated(&mut self, generation: &Generation) -> Reaction {
        self.is_untried = false;
        let cut = self.account.cut_by(&generation.finish);
        let used = self.record(generation);
        if let Some(reached) = cut {
            // Nothing of it goes into the conversation: the same request is made again when there is room.
            return self.stop_by_budget(reached);
        }
        let text = text_of(generation);
        self.measure(generation, &text);
        let asked: Vec<AskedCall<'_>> = generation
            .parts
            .iter()
            .filter_map(|part| match part {
                GeneratedPart::ToolCall { id, name, arguments } => Some(AskedCall { id, name, arguments }),
                _ => None,
            })
            .collect();
        match (&generation.finish, asked.is_empty(), text.trim().is_empty()) {
            // Its text is cut off at any place, and there is no room to repeat it.
            (FinishReason::ContextWindow, ..) => self.overflowed(Overflow {
                message: "the answer was cut off where the window ended".to_owned(),
                status_code: None,
                failures: 0,
            }),
            (FinishReason::Pause, true, _) => self.paused(generation, used),
            (FinishReason::Length, true, false) => self.cut_answer(generation, &text, used),
            (_, true, false) => self.complete(generation, text, used),
            (FinishReason::ContentFilter, true, true) => self.stop_by_error(RunFailure {
                name: "ContentFilterError".to_owned(),
                message: match generation.refusal() {
                    Some(reason) => format!("{REFUSED}: {reason}"),
                    None => REFUSED.to_owned(),
                },
                status_code: None,
                is_retryable: false,
            }),
            (_, true, true) => self.try_again("No tool call or text generated", used, |data| {
                let nudge = messages::user_text(EMPTY_ANSWER, &mut data.ids);
                (EMPTY_ANSWER, vec![nudge], Vec::new())
            }),
            (FinishReason::ToolCalls | FinishReason::Stop | FinishReason::Pause, false, _) => {
                self.call(generation, &asked, &text, used)
            }
            (FinishReason::Length, false, _) => {
                self.try_again("Generation length exceeded", used, |data| data.cut_off(generation, &asked))
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
        let (usage, spend, tokens) = if self.is_free {
            (Usage::default(), Spend::default(), Some(0))
        } else {
            let spend = Spend::for_usage(self.parameters.price.as_ref(), generation.billed());
            // The larger of the two: the total has what does not stay in the window, the window's count what is cached.
            let tokens = generation.context_tokens.max(generation.usage.map(|usage| usage.total_tokens));
            (generation.usage.unwrap_or_default(), spend, tokens)
        };
        self.step.add_usage(usage);
        self.head.usage = self.head.usage.plus(usage);
        self.account.count_step(self.head.step_number);
        self.account.record(usage, spend, tokens);
        self.charge(spend);
        CallUsage { usage, spend }
    }

    fn call(&mut self, generation: &Generation, asked: &[AskedCall<'_>], text: &str, used: CallUsage) -> Reaction {
        // Asked once: a model that has nothing to add must come to an end.
        let beside =
            Some(text).filter(|text| !text.trim().is_empty() || is_asked_for_result(self.conversation.messages()));
        let turn = Turn::new(
            asked,
            beside,
            &self.parameters,
            &mut self.head.todos,
            self.conversation.call_ids(),
            &mut self.ids,
        );
        let message = messages::expert(generation, turn.iter(), &mut self.ids);
        self.head.retry_count = 0;
        self.head.cut_answer = None;
        self.note(|step| step.set_calls(turn.calls()));
        let CallUsage { usage, spend } = used;
        let new = &message;
        self.called = self.called.saturating_add(turn.iter().map(|_| 1).sum());
        let events =
            self.report(|| EventBody::CallTools { new_message: new.clone(), tool_calls: turn.calls(), usage, spend });
        self.add_new(message);
        Reaction::decide_or_call(turn, events)
    }

    fn complete(&mut self, generation: &Generation, text: String, used: CallUsage) -> Reaction {
        let message = messages::expert(generation, [], &mut self.ids);
        self.head.retry_count = 0;
        let text = match &self.head.cut_answer {
            Some(begun) => format!("{}{text}", begun.text),
            None => text,
        };
        self.end(Ending::by_text(text, message, (used.usage, used.spend)))
    }

    fn paused(&mut self, generation: &Generation, used: CallUsage) -> Reaction {
        let message = messages::expert(generation, [], &mut self.ids);
        if matches!(&message, Message::ExpertMessage { contents, .. } if contents.is_empty()) {
            return self.try_again("No tool call or text generated", used, |data| {
                let nudge = messages::user_text(EMPTY_ANSWER, &mut data.ids);
                (EMPTY_ANSWER, vec![nudge], Vec::new())
            });
        }
        self.add_new(message.clone());
        let event = self.retry(PAUSED.to_owned(), vec![message], Vec::new(), used, None);
        self.head.retry_count = 0;
        Reaction::proceed(State::FinishingStep, vec![event])
    }

    /// Asks the model to go on with an answer that was cut off at the output limit, or stops the Run after too many
    /// pieces. Either way the pieces and the request to go on are in the conversation, so that a resumed Run goes on.
    fn cut_answer(&mut self, generation: &Generation, text: &str, used: CallUsage) -> Reaction {
        let piece = messages::expert(generation, [], &mut self.ids);
        let go_on = messages::user_text(GO_ON, &mut self.ids);
        for message in [&piece, &go_on] {
            self.add_new(message.clone());
        }
        let answer = self.head.cut_answer.get_or_insert_default();
        answer.text.push_str(text);
        if answer.continuations >= MAX_CONTINUATIONS {
            let pieces = answer.continuations.saturating_add(1);
            return self.stop_by_error(RunFailure {
                name: "AnswerCutOffError".to_owned(),
                message: format!(
                    "the answer was cut off at the model's output limit {pieces} times: continue the job for more of \
                     it, ask for less at once, or use a model that answers with more"
                ),
                status_code: None,
                is_retryable: true,
            });
        }
        answer.continuations = answer.continuations.saturating_add(1);
        let continuations = answer.continuations;
        self.head.retry_count = 0;
        let CallUsage { usage, spend } = used;
        let event = EventBody::Retry {
            reason: GO_ON.to_owned(),
            new_messages: vec![piece, go_on],
            tool_calls: Vec::new(),
            tool_results: Vec::new(),
            usage,
            spend,
            delay_ms: None,
            retry_count: continuations,
        };
        Reaction::proceed(State::FinishingStep, vec![event])
    }

    /// Begins another step with what `mend` adds to the conversation, or stops the Run after too many of them in a row.
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
        let answer = messages::expert(generation, calls.iter(), &mut self.ids);
        let refusals = messages::tool_results(results.clone(), &mut self.ids);
        self.step.set_calls(calls);
        self.head.cut_answer = None;
        (CUT_OFF, vec![answer, refusals], results)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Status;
    use crate::content::Content;
    use crate::fact::{Fact, FactBody, Resumption, RunParameters, RunSpec, Stamp};
    use crate::machine::{Action, Input, RunMachine};
    use crate::setting::Limits;

    fn fact(body: FactBody) -> Input {
        Input::Fact(Fact::new(Stamp { at: 1, seed: 1 }, body))
    }

    /// Feeds `body`, proceeds until the outside is needed, and returns what is asked for then and the events.
    fn feed(machine: &mut RunMachine, body: FactBody) -> (Action, Vec<EventBody>) {
        let mut events = Vec::new();
        let mut input = fact(body);
        loop {
            let transition = machine.advance(&input).unwrap();
            events.extend(transition.events.into_iter().map(|event| event.body));
            if transition.action != Action::Proceed {
                return (transition.action, events);
            }
            input = Input::Proceed;
        }
    }

    fn started() -> RunMachine {
        let expert =
            crate::expert::ExpertRef { key: "owl".parse().unwrap(), name: "owl".into(), version: "1.0.0".into() };
        let mut machine =
            RunMachine::new("j".parse().unwrap(), "r".parse().unwrap(), expert.clone(), "c".parse().unwrap());
        let spec = RunSpec {
            job_id: "j".parse().unwrap(),
            run_id: "r".parse().unwrap(),
            expert,
            instruction: "be good".to_owned(),
            first_step: 1,
            delegated_by: None,
            parameters: RunParameters {
                limits: Limits { max_steps: 20, ..Limits::default() },
                ..RunParameters::default()
            },
            budgets: crate::budget::Budgets::default(),
            untrusted: false,
            snapshot: None,
        };
        let input = vec![Content::text("q")];
        feed(&mut machine, FactBody::Started { spec: Box::new(spec), input });
        machine
    }

    fn text(text: &str, finish: FinishReason) -> FactBody {
        let parts = vec![GeneratedPart::Text { text: text.to_owned() }];
        FactBody::Generated { generation: Generation { parts, finish, usage: None, context_tokens: None } }
    }

    #[test]
    fn an_answer_in_pieces_is_one_answer() {
        let mut machine = started();
        let (action, events) = feed(&mut machine, text("Owls ", FinishReason::Length));
        assert_eq!(action, Action::Generate { after_ms: 0 });
        assert!(matches!(&events[..], [EventBody::Retry { retry_count: 1, .. }, ..]), "{events:?}");
        feed(&mut machine, text("are ", FinishReason::Length));
        let (action, events) = feed(&mut machine, text("birds.", FinishReason::Stop));
        assert_eq!(action, Action::Stop(Status::Completed));
        assert!(matches!(&events[..], [EventBody::CompleteRun { text, .. }] if text == "Owls are birds."));
        let roles: Vec<bool> =
            machine.messages().iter().map(|message| matches!(message, Message::ExpertMessage { .. })).collect();
        assert_eq!(roles, [false, false, true, false, true, false, true], "the roles alternate");
        let checkpoint = machine.into_checkpoint();
        assert_eq!(checkpoint.text().as_deref(), Some("Owls are birds."));
        let stored = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(serde_json::from_str::<crate::checkpoint::Checkpoint>(&stored).unwrap(), checkpoint);
    }

    #[test]
    fn an_answer_that_is_cut_off_again_and_again_stops_the_run_and_can_go_on() {
        let mut machine = started();
        for piece in ["a", "b", "c"] {
            assert_eq!(feed(&mut machine, text(piece, FinishReason::Length)).0, Action::Generate { after_ms: 0 });
        }
        assert_eq!(feed(&mut machine, text("d", FinishReason::Length)).0, Action::Stop(Status::StoppedByError));
        let checkpoint = machine.into_checkpoint();
        assert_eq!(checkpoint.text(), None);
        assert_eq!(checkpoint.head.error.as_ref().map(|error| error.name.as_str()), Some("AnswerCutOffError"));
        for (query, expected) in [(None, "abcde"), (Some("Shorter."), "e")] {
            let mut machine = RunMachine::restore(checkpoint.clone());
            let resumption = Resumption {
                run_id: "next".parse().unwrap(),
                parent: None,
                query: query.map(|text| text.to_owned().into()),
                answers: Vec::new(),
                reached_step: 0,
                delegated_usage: crate::usage::Usage::default(),
                delegated_spend: Spend::default(),
                untrusted: false,
                instruction: None,
                snapshot: None,
                parameters: RunParameters {
                    limits: Limits { max_steps: 20, ..Limits::default() },
                    ..RunParameters::default()
                },
            };
            feed(&mut machine, FactBody::Resumed { resumption: Box::new(resumption) });
            feed(&mut machine, text("e", FinishReason::Stop));
            assert_eq!(machine.into_checkpoint().text().as_deref(), Some(expected));
        }
    }

    #[test]
    fn text_before_a_call_is_no_piece_of_the_answer() {
        let mut machine = started();
        feed(&mut machine, text("Let me ", FinishReason::Length));
        let parts = vec![
            GeneratedPart::Text { text: "look.".to_owned() },
            GeneratedPart::ToolCall {
                id: "c".to_owned(),
                name: "no-such-tool".to_owned(),
                arguments: crate::generation::Arguments::parse(""),
            },
        ];
        let generation = Generation { parts, finish: FinishReason::ToolCalls, usage: None, context_tokens: None };
        feed(&mut machine, FactBody::Generated { generation });
        feed(&mut machine, text("Owls.", FinishReason::Stop));
        assert_eq!(machine.into_checkpoint().text().as_deref(), Some("Owls."));
    }
}
