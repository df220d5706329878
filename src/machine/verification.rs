//! The verification of an answer by its expert's command: it runs before a Run completes, a round that fails goes back to
//! the model, and the last one stops the Run.
//!
//! Part of the handlers of [`RunData`]. `completion` leads here, behind the check of the answer's form; the command is run by
//! the driver.

use crate::checkpoint::{RunFailure, Status};
use crate::cost::Spend;
use crate::event::EventBody;
use crate::expert::VerifyCommand;
use crate::fact::{Resumption, VerifyEnd, VerifyOutcome};
use crate::machine::calls::Turn;
use crate::machine::data::RunData;
use crate::machine::ending::{Ending, EndingParts, Verdict};
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::State;
use crate::machine::transition::Action;
use crate::message::Message;
use crate::tool::BASE_SKILL;
use crate::usage::Usage;

impl RunData {
    /// Completes the Run, or first has the answer verified.
    pub(super) fn complete_or_verify(&mut self, ending: Ending) -> Reaction {
        if self.parameters.verify.is_some() {
            return Reaction::proceed(State::StartingVerification(ending), Vec::new());
        }
        self.complete_with(ending)
    }

    /// Asks for the command to be run; a process that took over may have none.
    pub(super) fn start_verification(&mut self, ending: Ending) -> Reaction {
        let Some(verify) = &self.parameters.verify else { return self.complete_with(ending) };
        let event = EventBody::StartVerification {
            command: verify.command.clone(),
            round: self.round(),
            max_rounds: verify.max_rounds,
        };
        let ending = ending.verified_from(self.ids.at());
        Reaction {
            state: State::VerifyingAnswer(ending),
            events: vec![event],
            save: false,
            action: Action::VerifyAnswer,
        }
    }

    /// The number of the present round.
    fn round(&self) -> u32 {
        self.head.failed_rounds.saturating_add(1)
    }

    pub(super) fn answer_verified(&mut self, ending: Ending, outcome: &VerifyOutcome) -> Reaction {
        let verify = self.parameters.verify.clone().unwrap_or_else(|| VerifyCommand::new(String::new()));
        let (round, duration_ms) = (self.round(), self.ids.at().saturating_sub(ending.began_at()));
        let passed = outcome.end.code() == Some(0);
        let report = |new_messages, (usage, spend)| EventBody::FinishVerification {
            command: verify.command.clone(),
            round,
            max_rounds: verify.max_rounds,
            passed,
            exit_code: outcome.end.code(),
            end: outcome.end.to_string(),
            output: outcome.output.clone(),
            duration_ms,
            new_messages,
            usage,
            spend,
        };
        let unused = (Usage::default(), Spend::default());
        if passed {
            let event = report(Vec::new(), unused);
            return Reaction::proceed(State::ConcludingVerification(Verdict::Passed(ending)), vec![event]);
        }
        if let VerifyEnd::NotRun { reason } = &outcome.end {
            // Nothing is wrong with the answer: it is verified when the Run is resumed.
            let turn = self.leave_unverified(ending);
            self.leave_open(&turn);
            let verdict = Verdict::Failed(not_run(&verify.command, reason));
            return Reaction::proceed(State::ConcludingVerification(verdict), vec![report(Vec::new(), unused)]);
        }
        self.head.failed_rounds = round;
        // What the command prints may hold what the expert's tools have read.
        self.mark(self.parameters.untrusted_skills.iter().any(|skill| skill == BASE_SKILL));
        let used = ending.used();
        let (new_messages, turn) = self.return_answer(ending, &refusal(&verify, round, outcome));
        if round < verify.max_rounds {
            // What a call cost was reported with it.
            let used = if turn.is_some() { unused } else { used };
            let verdict = turn.map_or(Verdict::AskedAgain, Verdict::Answered);
            return Reaction::proceed(State::ConcludingVerification(verdict), vec![report(new_messages, used)]);
        }
        if let Some(turn) = turn {
            self.add_results(turn);
        }
        let verdict = Verdict::Failed(never_passed(&verify, round, outcome));
        Reaction::proceed(State::ConcludingVerification(verdict), vec![report(new_messages, unused)])
    }

    pub(super) fn conclude_verification(&mut self, verdict: Verdict) -> Reaction {
        match verdict {
            Verdict::Passed(ending) => self.complete_with(ending),
            Verdict::AskedAgain => Reaction::proceed(State::FinishingStep, Vec::new()),
            Verdict::Answered(turn) => Reaction::call_tools(turn, Vec::new(), Action::Proceed),
            Verdict::Failed(error) => {
                self.head.error = Some(error.clone());
                self.stop(Status::StoppedByVerification, |checkpoint, step| EventBody::StopRunByVerification {
                    checkpoint,
                    step,
                    error,
                })
            }
        }
    }

    /// Keeps an answer whose verification was stopped, for whoever resumes the Run, and returns the calls that the
    /// checkpoint has to hold.
    pub(super) fn leave_unverified(&mut self, ending: Ending) -> Turn {
        self.head.unverified_answer = Some(ending.text().to_owned());
        match ending.into_parts() {
            EndingParts::Text(message) => {
                self.add_new(message);
                Turn::default()
            }
            EndingParts::Kept => Turn::default(),
            EndingParts::Call(turn) => turn,
        }
    }

    /// Lets another process go on with this Run, whose answer was being verified: the command is run again. A further message
    /// takes the answer's place.
    pub(super) fn take_over_verification(&mut self, ending: Ending, resumption: &Resumption) -> Reaction {
        if resumption.query.is_some() || resumption.parameters.output_schema.is_some() {
            return self.take_over_check(ending, resumption);
        }
        let event = self.take_over(resumption);
        Reaction::proceed(State::StartingVerification(ending), vec![event])
    }

    /// Has the reasons for which an answer does not count follow it in the conversation: as a message, which is returned
    /// with those before it that are new, or as the result of the call, whose turn is returned.
    pub(super) fn return_answer(&mut self, ending: Ending, reason: &str) -> (Vec<Message>, Option<Turn>) {
        self.head.cut_answer = None;
        let mut new_messages = Vec::new();
        match ending.into_parts() {
            EndingParts::Text(message) => new_messages.push(message),
            EndingParts::Kept => {}
            EndingParts::Call(mut turn) => {
                turn.refuse_completion(reason);
                return (new_messages, Some(turn));
            }
        }
        new_messages.push(messages::user_text(reason, &mut self.ids));
        for message in &new_messages {
            self.add_new(message.clone());
        }
        (new_messages, None)
    }
}

/// The reasons for which an answer does not count yet, for the model.
fn refusal(verify: &VerifyCommand, round: u32, outcome: &VerifyOutcome) -> String {
    let VerifyCommand { command, max_rounds, .. } = verify;
    let output = outcome.output.trim_end();
    let printed = if output.is_empty() { "It printed nothing.".to_owned() } else { format!("It printed:\n{output}") };
    format!(
        "Your answer does not count yet. It counts once the command `{command}` exits with code 0 in the workspace; this time \
         it {} (round {round} of {max_rounds}). {printed}\n\nMend the cause, then give your final answer again, whole.",
        outcome.end
    )
}

fn never_passed(verify: &VerifyCommand, round: u32, outcome: &VerifyOutcome) -> RunFailure {
    let rounds = if round == 1 { "1 round".to_owned() } else { format!("{round} rounds") };
    RunFailure {
        name: "VerificationFailedError".to_owned(),
        message: format!(
            "the answer does not count: `{}` did not succeed in {rounds}, and {} in the last",
            verify.command, outcome.end
        ),
        status_code: None,
        is_retryable: true,
    }
}

fn not_run(command: &str, reason: &str) -> RunFailure {
    RunFailure {
        name: "VerificationNotRunError".to_owned(),
        message: format!("the answer was not verified: `{command}` was not run: {reason}"),
        status_code: None,
        is_retryable: true,
    }
}
