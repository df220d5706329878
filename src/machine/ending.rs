//! Where steps and Runs begin and end.

use crate::checkpoint::{RunFailure, Status};
use crate::event::{EventBody, EventCheckpoint, Step};
use crate::id::CheckpointId;
use crate::machine::run::{Reaction, RunMachine};
use crate::machine::state::State;
use crate::machine::transition::Action;

impl RunMachine {
    pub(super) fn finish_step(&mut self) -> Reaction {
        for text in std::mem::take(&mut self.head.queued_messages) {
            let message = self.user_message(&text);
            self.add_new(message);
        }
        if self.head.step_number >= self.parameters.limits.max_steps {
            return self.stop(Status::StoppedByExceededMaxSteps, |checkpoint, step| {
                EventBody::StopRunByExceededMaxSteps { checkpoint, step }
            });
        }
        if let Some(reached) = self.repetition() {
            return self.stop_by_budget(reached);
        }
        let checkpoint = self.told();
        self.head.id = CheckpointId::from(self.ids.uuid());
        self.head.step_number = self.head.step_number.saturating_add(1);
        let next_checkpoint = self.told();
        let step = self.end_step();
        self.begin_step();
        Reaction {
            state: State::PreparingForStep,
            events: vec![EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint }],
            save: true,
            action: Action::Proceed,
        }
    }

    pub(super) fn stop_by_error(&mut self, error: RunFailure) -> Reaction {
        self.head.error = Some(error.clone());
        self.stop(Status::StoppedByError, |checkpoint, step| EventBody::StopRunByError { checkpoint, step, error })
    }

    /// Ends the Run with `status` and the event that `event` makes.
    pub(super) fn stop(&mut self, status: Status, event: impl FnOnce(EventCheckpoint, Step) -> EventBody) -> Reaction {
        self.head.status = status;
        self.step.pending_tool_calls.clone_from(&self.head.pending_tool_calls);
        self.step.partial_tool_results.clone_from(&self.head.partial_tool_results);
        let step = self.end_step();
        let event = event(self.told(), step);
        Reaction { state: State::Stopped(status), events: vec![event], save: true, action: Action::Stop(status) }
    }

    /// The state of now, as events carry it.
    pub(super) fn told(&self) -> EventCheckpoint {
        EventCheckpoint { head: Box::new(self.head.clone()), messages: self.messages.len() }
    }

    pub(super) fn begin_step(&mut self) {
        self.step = Step { step_number: self.head.step_number, started_at: self.ids.at(), ..Step::default() };
    }

    pub(super) fn end_step(&mut self) -> Step {
        let mut step = std::mem::take(&mut self.step);
        step.finished_at = Some(self.ids.at());
        step
    }
}
