//! The resumption of a Run: from a checkpoint, or in another process after the one before it died.

use crate::checkpoint::{CutAnswer, FORMAT_VERSION, Status};
use crate::event::EventBody;
use crate::fact::Resumption;
use crate::id::CheckpointId;
use crate::machine::account::RunAccount;
use crate::machine::calls::Turn;
use crate::machine::data::RunData;
use crate::machine::ending::{Ending, EndingParts};
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::State;
use crate::machine::token_bound::KnownPrompt;
use crate::machine::transition::Action;
use crate::tool::ToolKind;

/// Added behind an answer of a file from elsewhere that was not verified.
const UNVERIFIED: &str = "(The run was stopped before this answer was verified. Give it again, whole.)";

impl RunData {
    pub(super) fn resume(&mut self, resumption: &Resumption) -> Reaction {
        self.parameters = resumption.parameters.clone();
        self.instruct_anew(resumption);
        if self.head.from_elsewhere {
            self.head.deciding = None;
        }
        let is_begun = self.head.status != Status::Completed && self.goes_on_with_answer(resumption);
        let stays = !self.head.from_elsewhere && (self.head.status == Status::StoppedByDelegate || is_begun);
        let mut turn = Turn::rebuild(self.conversation.messages(), &self.head, &resumption.answers, &self.parameters);
        turn.name_answers(&mut self.ids);
        self.measured = self.head.context.map(KnownPrompt::from_checkpoint);
        let head = &mut self.head;
        head.format_version = FORMAT_VERSION;
        head.id = CheckpointId::from(self.ids.uuid());
        head.run_id = resumption.run_id.clone();
        head.untrusted |= resumption.untrusted;
        let last_step = head.step_number.max(resumption.reached_step);
        self.account = RunAccount::after_step(last_step);
        head.step_number = last_step.saturating_add(1);
        head.usage = head.usage.plus(resumption.delegated_usage);
        head.spend = head.spend.plus(resumption.delegated_spend);
        head.error = None;
        head.budget = None;
        head.retry_count = 0;
        head.checked_answer = None;
        head.refused_answers = 0;
        head.failed_rounds = 0;
        // A further message takes its place. What a file from elsewhere brings is no answer of this Run's.
        let is_unverified = resumption.query.is_none() && !head.from_elsewhere;
        let dropped = head.unverified_answer.take_if(|_| !is_unverified);
        head.cut_answer = match head.cut_answer.take() {
            // A cut answer goes on where it ended, as often again, unless there is something new to answer.
            Some(begun) if head.status != Status::Completed && resumption.query.is_none() => {
                Some(CutAnswer { continuations: 0, ..begun })
            }
            _ => None,
        };
        // Whoever resumes a Run that a summary did not help wants another try.
        head.summarized_at = None;
        head.snapshot.clone_from(&resumption.snapshot);
        head.delegate_to.clear();
        head.pending_tool_calls = turn.unanswered();
        // A question that stays open may have become another kind of tool by the time it is looked at again.
        head.from_elsewhere &= turn.has_open(ToolKind::Interactive);
        head.partial_tool_results = turn.answers();
        self.mark(false);
        self.settle_model(stays);
        self.change_window();
        let initial_checkpoint = self.checkpoint();
        self.begin_step();
        self.head.status = Status::Proceeding;
        self.head.queued_messages.extend(resumption.query.clone());
        if turn.is_empty() && self.head.unverified_answer.is_some() {
            let event = EventBody::StartRun { initial_checkpoint, input_messages: Vec::new() };
            return Reaction::proceed(State::ResumingFromStop(turn), vec![event]);
        }
        if turn.is_empty() {
            if dropped.is_some() && resumption.query.is_none() {
                let note = messages::user_text(UNVERIFIED, &mut self.ids);
                self.add_input(note);
            }
            for input in std::mem::take(&mut self.head.queued_messages) {
                let message = messages::user(input.into_contents(), &mut self.ids);
                self.add_input(message);
            }
            let event = EventBody::StartRun { initial_checkpoint, input_messages: self.step.inputs().to_vec() };
            Reaction::proceed(State::PreparingForStep, vec![event])
        } else {
            self.note(|step| step.set_calls(turn.calls()));
            Reaction::proceed(
                State::ResumingFromStop(turn),
                vec![EventBody::ResumeFromStop { checkpoint: initial_checkpoint }],
            )
        }
    }

    /// Puts a new instruction in the place of the old one, where there is one.
    fn instruct_anew(&mut self, resumption: &Resumption) {
        let Some(instruction) = &resumption.instruction else { return };
        let instruction = messages::instruction(instruction, &mut self.ids);
        self.conversation.replace_instruction(instruction);
        // What was counted had another instruction, perhaps a shorter one.
        self.head.context = None;
        self.measured = None;
    }

    /// Lets another process go on with this Run, whose tools were being called.
    pub(super) fn take_over_calls(&mut self, mut turn: Turn, resumption: &Resumption) -> Reaction {
        let event = self.take_over(resumption);
        // The providers want a turn's answers directly behind its calls, so that what the user adds waits for them.
        self.head.queued_messages.extend(resumption.query.clone());
        turn.adapt(&self.parameters);
        let action = Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true };
        Reaction::call_tools(turn, vec![event], action)
    }

    /// Lets another process go on with this Run, whose calls were being decided: none of them was made.
    pub(super) fn take_over_decisions(&mut self, turn: Turn, resumption: &Resumption) -> Reaction {
        let event = self.take_over(resumption);
        self.head.queued_messages.extend(resumption.query.clone());
        Reaction::decide_or_call(turn, vec![event])
    }

    /// Lets another process go on with this Run, whose model was being asked, for an answer or for a summary.
    pub(super) fn take_over_request(&mut self, resumption: &Resumption) -> Reaction {
        let event = self.take_over(resumption);
        // The dead process was waiting for an answer, which the provider may charge for.
        self.give_up();
        if let Some(measured) = &mut self.measured {
            measured.tools_changed();
        }
        if let Some(query) = &resumption.query {
            self.head.cut_answer = None;
            let message = messages::user(query.clone().into_contents(), &mut self.ids);
            self.add_input(message);
        }
        Reaction::generate(vec![event])
    }

    /// Lets another process go on with this Run, whose answer was being checked, or is to be again. A further message takes
    /// its place.
    pub(super) fn take_over_check(&mut self, ending: Ending, resumption: &Resumption) -> Reaction {
        let event = self.take_over(resumption);
        let Some(query) = &resumption.query else {
            return Reaction::check_answer(ending, vec![event]);
        };
        self.head.queued_messages.push(query.clone());
        self.head.cut_answer = None;
        match ending.into_parts() {
            EndingParts::Text(message) => {
                self.add_new(message);
                Reaction::proceed(State::FinishingStep, vec![event])
            }
            EndingParts::Kept => Reaction::proceed(State::FinishingStep, vec![event]),
            EndingParts::Call(turn) => Reaction::call_tools(turn, vec![event], Action::Proceed),
        }
    }

    pub(super) fn take_over(&mut self, resumption: &Resumption) -> EventBody {
        self.parameters = resumption.parameters.clone();
        self.instruct_anew(resumption);
        self.mark(resumption.untrusted);
        self.head.retry_count = 0;
        self.head.snapshot.clone_from(&resumption.snapshot);
        let stays = self.goes_on_with_answer(resumption);
        self.settle_model(stays);
        self.change_window();
        EventBody::ResumeFromStop { checkpoint: self.checkpoint() }
    }

    /// Returns true if the model has to end an answer that is begun. A further message is answered anew.
    fn goes_on_with_answer(&self, resumption: &Resumption) -> bool {
        resumption.query.is_none() && self.has_begun_answer()
    }

    pub(super) fn take_up(&mut self, turn: Turn) -> Reaction {
        self.head.pending_tool_calls.clear();
        self.head.partial_tool_results.clear();
        if let Some(text) = self.head.unverified_answer.take() {
            return self.end(Ending::unverified(text, turn));
        }
        if self.head.deciding.take().is_some() && turn.has_unanswered() {
            return Reaction::decide_or_call(turn, Vec::new());
        }
        if turn.has_open(ToolKind::Mcp) {
            // A checkpoint does not record which of its open calls had begun: the process may have died, or been
            // cancelled, in the middle of any of them. So all are in doubt.
            let action = Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true };
            Reaction::call_tools(turn, Vec::new(), action)
        } else if turn.has_open(ToolKind::Delegate) {
            Reaction::proceed(State::CallingDelegates(turn), Vec::new())
        } else if turn.has_open(ToolKind::Interactive) {
            Reaction::proceed(State::CallingInteractiveTools(turn), Vec::new())
        } else {
            self.all_answered(turn)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, CheckpointHead, MeasuredTokens};
    use crate::content::{Content, ExpertPart, ResultPart};
    use crate::expert::ExpertRef;
    use crate::fact::{Fact, FactBody, ParentCheckpoint, RunParameters, Stamp};
    use crate::machine::RunMachine;
    use crate::machine::transition::Input;
    use crate::message::Message;
    use crate::tool::{ToolCall, ToolRoute};

    const TOOLS: [(&str, ToolKind); 4] = [
        ("write", ToolKind::Mcp),
        ("helper", ToolKind::Delegate),
        ("todo", ToolKind::Conversation),
        ("ask", ToolKind::Interactive),
    ];

    /// A checkpoint whose last answer calls `tools`, each call with the tool's name for its id, none answered.
    fn stopped(tools: &[&str], from_elsewhere: bool) -> Checkpoint {
        let expert = ExpertRef { key: "owl".parse().unwrap(), name: "owl".into(), version: "1.0.0".into() };
        let head = CheckpointHead::fresh("c".parse().unwrap(), "j".parse().unwrap(), "r".parse().unwrap(), expert);
        let call = |name: &&str| ToolCall {
            id: (*name).to_owned(),
            skill_name: "s".to_owned(),
            tool_name: (*name).to_owned(),
            args: serde_json::Map::from_iter([("query".to_owned(), "q".into())]),
        };
        let part = |name: &&str| ExpertPart::ToolCallPart {
            id: format!("part-{name}"),
            tool_call_id: (*name).to_owned(),
            tool_name: (*name).to_owned(),
            args: serde_json::json!({"query": "q"}),
        };
        let instruction =
            Message::InstructionMessage { id: "i".into(), contents: vec![Content::text("theirs")], cache: true };
        let calls = Message::ExpertMessage { id: "e".into(), contents: tools.iter().map(part).collect(), cache: false };
        let pending_tool_calls = tools.iter().map(call).collect();
        let head = CheckpointHead { status: Status::StoppedByCancellation, from_elsewhere, pending_tool_calls, ..head };
        Checkpoint { head, messages: vec![instruction, calls] }
    }

    /// Resumes `from` and proceeds until the outside is needed.
    fn resumed(from: Checkpoint, instruction: Option<&str>) -> (RunMachine, Action) {
        let route = |(name, kind): (&str, ToolKind)| ToolRoute {
            name: name.to_owned(),
            skill_name: if kind == ToolKind::Delegate { "helper" } else { "s" }.to_owned(),
            kind,
        };
        let helper = ExpertRef { key: "helper".parse().unwrap(), name: "helper".into(), version: "1.0.0".into() };
        let resumption = Resumption {
            run_id: "next".parse().unwrap(),
            parent: Some(ParentCheckpoint { run_id: "r".parse().unwrap(), checkpoint_id: "c".parse().unwrap() }),
            query: None,
            answers: Vec::new(),
            reached_step: 0,
            delegated_usage: crate::usage::Usage::default(),
            delegated_spend: crate::cost::Spend::default(),
            untrusted: false,
            instruction: instruction.map(str::to_owned),
            snapshot: None,
            parameters: RunParameters {
                tools: TOOLS.map(route).to_vec(),
                delegates: vec![helper],
                ..RunParameters::default()
            },
        };
        let body = FactBody::Resumed { resumption: Box::new(resumption) };
        let mut machine = RunMachine::restore(from);
        let mut input = Input::Fact(Fact::new(Stamp { at: 1, seed: 1 }, body));
        loop {
            let action = machine.advance(&input).unwrap().action;
            if action != Action::Proceed {
                return (machine, action);
            }
            input = Input::Proceed;
        }
    }

    #[test]
    fn open_calls_of_a_checkpoint_from_elsewhere_are_answered_and_none_is_made() {
        let (machine, action) = resumed(stopped(&["write", "helper", "todo"], true), Some("ours"));
        assert_eq!(action, Action::Generate { after_ms: 0 });
        let results = machine.messages().iter().find_map(|message| match message {
            Message::ToolMessage { contents, .. } => Some(contents),
            _ => None,
        });
        let ids = results.unwrap().iter().map(|ResultPart::ToolResultPart { tool_call_id, is_error, .. }| {
            assert!(is_error);
            tool_call_id.as_str()
        });
        assert_eq!(ids.collect::<Vec<_>>(), ["write", "helper", "todo"]);
        assert!(!machine.head().from_elsewhere);
        let instructions: Vec<&Message> =
            machine.messages().iter().filter(|it| matches!(it, Message::InstructionMessage { .. })).collect();
        let [Message::InstructionMessage { contents, .. }] = instructions.as_slice() else {
            panic!("{instructions:?}")
        };
        assert_eq!(contents[0].as_text(), Some("ours"));
    }

    #[test]
    fn a_new_instruction_is_not_counted_by_what_was_measured_with_the_old_one() {
        let measured = |instruction| {
            let mut from = stopped(&[], false);
            from.head.context = Some(MeasuredTokens { tokens: 9, messages: 2 });
            resumed(from, instruction).0.head().context
        };
        assert_eq!((measured(Some("ours")), measured(None).is_some()), (None, true));
    }

    #[test]
    fn a_question_from_elsewhere_stays_open_and_so_does_the_mark() {
        let (machine, action) = resumed(stopped(&["write", "ask"], true), Some("ours"));
        assert_eq!(action, Action::Stop(Status::StoppedByInteractiveTool));
        let head = machine.head();
        assert_eq!(head.pending_tool_calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["ask"]);
        assert_eq!(head.partial_tool_results.len(), 1);
        assert!(head.from_elsewhere);
    }

    #[test]
    fn open_calls_of_an_own_checkpoint_are_made() {
        let (machine, action) = resumed(stopped(&["write", "ask"], false), None);
        let Action::CallTools { calls, in_doubt: true } = action else { panic!("{action:?}") };
        assert_eq!(calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["write"]);
        let Some(Message::InstructionMessage { contents, .. }) = machine.messages().first() else { panic!() };
        assert_eq!(contents[0].as_text(), Some("theirs"));
    }
}
