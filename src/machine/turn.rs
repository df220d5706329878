//! How a turn's calls are answered: by tools, by delegates, by people, or not at all.

use crate::checkpoint::{DelegateTo, Status};
use crate::event::EventBody;
use crate::machine::calls::Turn;
use crate::machine::run::{Reaction, RunMachine};
use crate::machine::state::State;
use crate::machine::transition::Action;
use crate::tool::{ToolKind, ToolResult};

impl RunMachine {
    pub(super) fn returned(&mut self, mut turn: Turn, result: &ToolResult) -> Reaction {
        turn.take(result.clone(), &mut self.ids);
        let action = if turn.has_open(ToolKind::Mcp) { Action::Wait } else { Action::Proceed };
        Reaction { state: State::CallingMcpTools(turn), events: Vec::new(), save: false, action }
    }

    pub(super) fn mcp_done(&mut self, turn: Turn) -> Reaction {
        if let Some(text) = turn.completion.clone().filter(|_| self.head.queued_messages.is_empty()) {
            let results = turn.answers();
            let message = self.tool_message(&results);
            self.step.tool_results = results;
            self.add_new(message);
            let answer = self.expert_text_message(text.clone());
            self.add_new(answer);
            let (usage, spend) = (self.step.usage, self.step.spend);
            return self.stop(Status::Completed, |checkpoint, step| EventBody::CompleteRun {
                checkpoint,
                step,
                text,
                usage,
                spend,
            });
        }
        if turn.has_open(ToolKind::Delegate) || turn.has_open(ToolKind::Interactive) {
            Reaction::proceed(State::CallingDelegates(turn), Vec::new())
        } else {
            Reaction::all_answered(&turn)
        }
    }

    pub(super) fn delegates(&mut self, turn: Turn) -> Reaction {
        let calls = turn.open(ToolKind::Delegate);
        let experts = &self.parameters.delegates;
        let delegate_to: Vec<DelegateTo> = calls
            .iter()
            .filter_map(|call| {
                Some(DelegateTo {
                    expert: experts.iter().find(|expert| expert.key.as_str() == call.skill_name)?.clone(),
                    tool_call_id: call.id.clone(),
                    tool_name: call.tool_name.clone(),
                    query: call.args.get("query")?.as_str()?.to_owned(),
                })
            })
            .collect();
        if delegate_to.is_empty() {
            return Reaction::proceed(State::CallingInteractiveTools(turn), Vec::new());
        }
        self.head.delegate_to = delegate_to;
        self.head.pending_tool_calls = turn.open(ToolKind::Interactive);
        self.head.partial_tool_results = turn.answers();
        self.stop(Status::StoppedByDelegate, |checkpoint, step| EventBody::StopRunByDelegate { checkpoint, step })
    }

    pub(super) fn interactive(&mut self, turn: &Turn) -> Reaction {
        self.leave_open(turn);
        self.stop(Status::StoppedByInteractiveTool, |checkpoint, step| EventBody::StopRunByInteractiveTool {
            checkpoint,
            step,
        })
    }

    pub(super) fn cancel(&mut self, turn: &Turn) -> Reaction {
        self.leave_open(turn);
        self.stop(Status::StoppedByCancellation, |checkpoint, step| EventBody::StopRunByCancellation {
            checkpoint,
            step,
        })
    }

    /// Puts an unfinished turn into the checkpoint.
    pub(super) fn leave_open(&mut self, turn: &Turn) {
        self.head.pending_tool_calls = turn.unanswered();
        self.head.partial_tool_results = turn.answers();
    }

    pub(super) fn resolve(&mut self, results: Vec<ToolResult>) -> Reaction {
        let message = self.tool_message(&results);
        self.step.tool_results = results;
        self.add_new(message.clone());
        Reaction::proceed(State::FinishingStep, vec![EventBody::FinishToolCall { new_messages: vec![message] }])
    }
}
