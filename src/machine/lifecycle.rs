//! The beginnings and ends of steps and Runs.

use crate::budget::{Reached, Reservation};
use crate::checkpoint::{CheckpointHead, RunFailure, Status};
use crate::content::Content;
use crate::event::{EventBody, EventCheckpoint, Step};
use crate::fact::RunSpec;
use crate::id::CheckpointId;
use crate::machine::account::RunAccount;
use crate::machine::calls::Turn;
use crate::machine::data::RunData;
use crate::machine::run::Reaction;
use crate::machine::state::State;
use crate::machine::transition::Action;
use crate::machine::{messages, repetition};
use crate::tool::ToolRoute;

impl RunData {
    pub(super) fn start(&mut self, spec: &RunSpec, input: &[Content]) -> Reaction {
        let id = CheckpointId::from(self.ids.uuid());
        self.head = CheckpointHead::fresh(id, spec.job_id.clone(), spec.run_id.clone(), spec.expert.clone());
        self.head.step_number = spec.first_step.max(1);
        self.account = RunAccount::after_step(self.head.step_number.saturating_sub(1));
        self.head.delegated_by.clone_from(&spec.delegated_by);
        self.head.snapshot.clone_from(&spec.snapshot);
        self.head.context_window = spec.parameters.context_window;
        self.head.context_window_usage = spec.parameters.context_window.map(|_| 0.0);
        let initial_checkpoint = self.checkpoint();
        self.head.status = Status::Proceeding;
        self.parameters = spec.parameters.clone();
        self.mark(spec.untrusted || spec.delegated_by.as_ref().is_some_and(|by| by.untrusted));
        let instruction = messages::instruction(&spec.instruction, &mut self.ids);
        let query = messages::user(input.to_vec(), &mut self.ids);
        self.begin_step();
        self.add_input(instruction);
        self.add_input(query);
        let event = EventBody::StartRun { initial_checkpoint, input_messages: self.step.inputs().to_vec() };
        Reaction::proceed(State::PreparingForStep, vec![event])
    }

    /// Marks the conversation as one that holds text from strangers, if `untrusted`. The mark stays.
    pub(super) fn mark(&mut self, untrusted: bool) {
        self.head.untrusted |= untrusted;
        self.parameters.decides_calls |= self.head.untrusted;
    }

    pub(super) fn prepare(&mut self) -> Reaction {
        Reaction::generate(vec![EventBody::StartGeneration { messages: self.conversation.messages().len() }])
    }

    /// Replaces the tools that the model may call; it is about to be asked.
    pub(super) fn change_tools(&mut self, tools: &[ToolRoute]) -> Reaction {
        self.parameters.tools = tools.to_vec();
        if let Some(measured) = &mut self.measured {
            measured.tools_changed();
        }
        Reaction::generate(Vec::new())
    }

    /// Records what is set aside for the request that is sent next.
    pub(super) fn reserve(&mut self, reservation: &Reservation) {
        self.account.count_step(self.head.step_number);
        self.account.reserve(reservation);
    }

    pub(super) fn finish_step(&mut self) -> Reaction {
        // Before the limits: what the user added is kept even when the Run stops here.
        for input in std::mem::take(&mut self.head.queued_messages) {
            let message = messages::user(input.into_contents(), &mut self.ids);
            self.add_new(message);
        }
        if self.head.step_number >= self.parameters.limits.max_steps {
            return self.stop(Status::StoppedByExceededMaxSteps, |checkpoint, step| {
                EventBody::StopRunByExceededMaxSteps { checkpoint, step }
            });
        }
        let limit = self.parameters.max_tool_repetitions;
        if let Some(reached) = limit.and_then(|limit| repetition::reached(self.conversation.messages(), limit)) {
            return self.stop_by_budget(reached);
        }
        let checkpoint = self.checkpoint();
        self.head.id = CheckpointId::from(self.ids.uuid());
        self.head.step_number = self.head.step_number.saturating_add(1);
        let next_checkpoint = self.checkpoint();
        let step = self.step.finish(self.ids.at());
        self.begin_step();
        Reaction {
            state: State::PreparingForStep,
            events: vec![EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint }],
            save: true,
            action: Action::Proceed,
        }
    }

    /// Ends the Run with `status` and the event that `event` makes.
    pub(super) fn stop(&mut self, status: Status, event: impl FnOnce(EventCheckpoint, Step) -> EventBody) -> Reaction {
        self.head.status = status;
        let step = self.step.stop(self.ids.at(), &self.head);
        let event = event(self.checkpoint(), step);
        Reaction { state: State::Stopped(status), events: vec![event], save: true, action: Action::Stop(status) }
    }

    pub(super) fn stop_by_error(&mut self, error: RunFailure) -> Reaction {
        self.head.error = Some(error.clone());
        self.stop(Status::StoppedByError, |checkpoint, step| EventBody::StopRunByError { checkpoint, step, error })
    }

    /// Stops the Run, as the user or the program around it wants. `turn`: the calls that were being answered.
    pub(super) fn cancel(&mut self, turn: &Turn) -> Reaction {
        self.leave_open(turn);
        self.stop(Status::StoppedByCancellation, |checkpoint, step| EventBody::StopRunByCancellation {
            checkpoint,
            step,
        })
    }

    /// Stops the Run, as a budget of the job is used up while the model is asked or is to be.
    pub(super) fn reach_while_asking(&mut self, reached: &Reached) -> Reaction {
        // Time passes while a request is under way; everything else is reached before one is sent.
        if self.account.reserved().is_some() || matches!(reached, Reached::Duration { .. }) {
            self.give_up();
        }
        self.reach(reached, &Turn::default())
    }

    /// Stops the Run, as a budget of the job is used up. `turn`: the calls that were being answered.
    pub(super) fn reach(&mut self, reached: &Reached, turn: &Turn) -> Reaction {
        self.leave_open(turn);
        self.stop_by_budget(reached.clone())
    }

    pub(super) fn stop_by_budget(&mut self, reached: Reached) -> Reaction {
        let status = Status::for_budget(&reached);
        self.head.budget = Some(reached.clone());
        self.stop(status, |checkpoint, step| match status {
            Status::StoppedByExceededMaxSteps => EventBody::StopRunByExceededMaxSteps { checkpoint, step },
            _ => EventBody::StopRunByBudget { checkpoint, step, reached },
        })
    }

    /// Puts an unfinished turn into the checkpoint.
    pub(super) fn leave_open(&mut self, turn: &Turn) {
        self.head.pending_tool_calls = turn.unanswered();
        self.head.partial_tool_results = turn.answers();
    }
}
