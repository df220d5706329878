//! The completion of a Run with an answer. Where there is a schema, it is checked before: a refused answer is asked for
//! again, or stops the Run. Where there is a command, it is verified then (`verification`).
//!
//! Part of the handlers of [`RunData`]. `answer` and `turn` lead here; the check itself is the driver's.

use crate::checkpoint::{CheckedAnswer, RunFailure, Status};
use crate::cost::Spend;
use crate::event::EventBody;
use crate::fact::AnswerCheck;
use crate::machine::calls::Turn;
use crate::machine::data::RunData;
use crate::machine::ending::{Ending, EndingParts};
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::State;
use crate::machine::transition::Action;
use crate::usage::Usage;

/// The number of times that a refused answer is asked for again.
const MAX_CORRECTIONS: u32 = 2;

/// Added behind an answer whose check was stopped.
const UNCHECKED: &str = "(The run was stopped before this answer was checked. Give it again, whole.)";

impl RunData {
    /// Completes the Run, or first has the answer checked and verified.
    pub(super) fn end(&mut self, ending: Ending) -> Reaction {
        if self.parameters.output_schema.is_some() {
            return Reaction::check_answer(ending, Vec::new());
        }
        self.complete_or_verify(ending)
    }

    pub(super) fn complete_with(&mut self, ending: Ending) -> Reaction {
        let (usage, spend) = ending.used();
        let text = ending.text().to_owned();
        self.head.checked_answer = ending.checked().cloned();
        match ending.into_parts() {
            EndingParts::Text(message) => self.add_new(message),
            EndingParts::Kept => {}
            EndingParts::Call(turn) => {
                self.add_results(turn);
                let answer = messages::expert_text(text.clone(), &mut self.ids);
                self.add_new(answer);
            }
        }
        self.stop(Status::Completed, |checkpoint, step| EventBody::CompleteRun { checkpoint, step, text, usage, spend })
    }

    pub(super) fn answer_checked(&mut self, ending: Ending, check: &AnswerCheck) -> Reaction {
        match check {
            AnswerCheck::Valid { text, is_closed } => {
                let checked = CheckedAnswer { text: text.clone(), is_closed: *is_closed };
                self.complete_or_verify(ending.with_checked(checked))
            }
            AnswerCheck::Refused { problems } => self.refuse(ending, problems),
        }
    }

    /// Asks for the answer again, or stops the Run after too many. Either way the reasons are in the conversation, so that
    /// a resumed Run goes on.
    fn refuse(&mut self, ending: Ending, problems: &[String]) -> Reaction {
        let is_last = self.head.refused_answers >= MAX_CORRECTIONS;
        self.head.refused_answers = self.head.refused_answers.saturating_add(1);
        let refusals = self.head.refused_answers;
        let list = problems.join("\n- ");
        let reason = format!(
            "Your answer is refused, since it is not a JSON document that is valid against the schema you were given:\n\
             - {list}\n\
             Answer again, with the whole document and nothing else"
        );
        let used = ending.used();
        let (new_messages, turn) = self.return_answer(ending, &reason);
        if is_last {
            if let Some(turn) = turn {
                self.add_results(turn);
            }
            return self.stop_by_error(refused_too_often(refusals, problems));
        }
        // What a call cost was reported with it.
        let (usage, spend) = if turn.is_some() { (Usage::default(), Spend::default()) } else { used };
        let event = EventBody::RefuseAnswer { problems: problems.to_vec(), refusals, new_messages, usage, spend };
        match turn {
            Some(turn) => Reaction::call_tools(turn, vec![event], Action::Proceed),
            None => Reaction::proceed(State::FinishingStep, vec![event]),
        }
    }

    /// Keeps an answer whose check was stopped in the conversation, and returns the calls that the checkpoint has to hold.
    pub(super) fn leave_unchecked(&mut self, ending: Ending) -> Turn {
        self.return_answer(ending, UNCHECKED).1.unwrap_or_default()
    }

    /// Adds a turn's answers to the conversation.
    pub(super) fn add_results(&mut self, turn: Turn) {
        let results = turn.into_answers();
        self.note(|step| step.set_results(results.clone()));
        let message = messages::tool_results(results, &mut self.ids);
        self.add_new(message);
    }
}

fn refused_too_often(refusals: u32, problems: &[String]) -> RunFailure {
    let problems = problems.join("; ");
    RunFailure {
        name: "AnswerRefusedError".to_owned(),
        message: format!(
            "the answer was refused {refusals} times, as it is not valid against its schema: {}. Continue the job for another \
             try, simplify the schema, or use a model that keeps to it",
            problems.trim_end_matches('.')
        ),
        status_code: None,
        is_retryable: true,
    }
}
