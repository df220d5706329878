//! How a Run goes on: from a checkpoint, or in another process after the one before it died.

use crate::checkpoint::{FORMAT_VERSION, Status};
use crate::event::EventBody;
use crate::fact::Resumption;
use crate::id::CheckpointId;
use crate::machine::calls::Turn;
use crate::machine::estimate::Measured;
use crate::machine::run::{Arrow, RunMachine};
use crate::machine::state::State;
use crate::machine::transition::Action;
use crate::tool::ToolKind;

impl RunMachine {
    pub(super) fn resume(&mut self, resumption: &Resumption) -> Arrow {
        self.surroundings = resumption.surroundings.clone();
        if let Some(instruction) = &resumption.instruction {
            self.replace_instruction(instruction);
        }
        let mut turn = Turn::rebuild(&self.messages, &self.head, &resumption.answers, &self.surroundings);
        turn.name_answers(&mut self.mint);
        self.measured = self.head.context.map(Measured::of_checkpoint);
        let head = &mut self.head;
        head.format_version = FORMAT_VERSION;
        head.id = CheckpointId::from(self.mint.uuid());
        head.run_id = resumption.run_id.clone();
        self.book.counted_step = head.step_number.max(resumption.reached_step);
        head.step_number = self.book.counted_step.saturating_add(1);
        head.usage = head.usage.plus(resumption.delegated_usage);
        head.spend = head.spend.plus(resumption.delegated_spend);
        head.error = None;
        head.budget = None;
        head.retry_count = 0;
        // Who resumes a Run that a summary did not help wants another try.
        head.summarized_at = None;
        head.delegate_to.clear();
        head.pending_tool_calls = turn.unanswered();
        // A question that stays open may have become another kind of tool by the time it is looked at again.
        head.from_elsewhere &= turn.has_open(ToolKind::Interactive);
        head.partial_tool_results = turn.answers();
        self.change_window();
        let initial = self.told();
        self.begin_step();
        self.head.status = Status::Proceeding;
        self.head.queued_messages.extend(resumption.query.clone());
        if turn.is_empty() {
            for text in std::mem::take(&mut self.head.queued_messages) {
                let message = self.user_message(&text);
                self.add_input(message);
            }
            let event =
                EventBody::StartRun { initial_checkpoint: initial, input_messages: self.step.input_messages.clone() };
            Arrow::proceed(State::PreparingForStep, vec![event])
        } else {
            self.step.tool_calls = turn.calls();
            Arrow::proceed(State::ResumingFromStop(turn), vec![EventBody::ResumeFromStop { checkpoint: initial }])
        }
    }

    /// Another process goes on with this Run, in the state that its facts lead to.
    pub(super) fn taken_over(&mut self, state: State, resumption: &Resumption) -> Arrow {
        self.surroundings = resumption.surroundings.clone();
        self.head.retry_count = 0;
        self.change_window();
        let event = EventBody::ResumeFromStop { checkpoint: self.told() };
        match state {
            State::CallingMcpTools(mut turn) => {
                self.head.queued_messages.extend(resumption.query.clone());
                turn.adapt(&self.surroundings);
                let action = Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true };
                Arrow { state: State::CallingMcpTools(turn), events: vec![event], save: false, action }
            }
            state => {
                // The dead process was waiting for an answer, which the provider may charge for.
                self.give_up();
                if let Some(measured) = &mut self.measured {
                    measured.other_tools = true;
                }
                if let Some(query) = &resumption.query {
                    let message = self.user_message(query);
                    self.add_input(message);
                }
                Arrow { state, events: vec![event], save: false, action: Action::Generate { after_ms: 0 } }
            }
        }
    }

    pub(super) fn take_up(&mut self, turn: Turn) -> Arrow {
        self.head.pending_tool_calls.clear();
        self.head.partial_tool_results.clear();
        if turn.has_open(ToolKind::Mcp) {
            let action = Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true };
            Arrow { state: State::CallingMcpTools(turn), events: Vec::new(), save: false, action }
        } else if turn.has_open(ToolKind::Delegate) {
            Arrow::proceed(State::CallingDelegates(turn), Vec::new())
        } else if turn.has_open(ToolKind::Interactive) {
            Arrow::proceed(State::CallingInteractiveTools(turn), Vec::new())
        } else {
            Arrow::all_answered(&turn)
        }
    }
}
