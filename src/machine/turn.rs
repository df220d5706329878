//! The answers of a turn's calls: by tools, by delegates, by people, or by none.

use crate::checkpoint::{DelegateTo, Status};
use crate::event::EventBody;
use crate::machine::calls::Turn;
use crate::machine::data::RunData;
use crate::machine::ending::Ending;
use crate::machine::messages;
use crate::machine::run::Reaction;
use crate::machine::state::State;
use crate::machine::transition::Action;
use crate::permission::CallDecision;
use crate::tool::{ToolKind, ToolResult};

impl RunData {
    pub(super) fn returned(&mut self, mut turn: Turn, result: &ToolResult) -> Reaction {
        let skill = turn.skill_of(&result.id);
        self.mark(skill.is_some_and(|skill| self.parameters.untrusted_skills.iter().any(|name| name == skill)));
        turn.take(result.clone(), &mut self.ids);
        let action = if turn.has_open(ToolKind::Mcp) { Action::Wait } else { Action::Proceed };
        Reaction::call_tools(turn, Vec::new(), action)
    }

    /// Takes decisions about calls. The last of them lets the turn's calls be made.
    pub(super) fn decided(&mut self, mut turn: Turn, decisions: &[CallDecision]) -> Reaction {
        for decision in decisions {
            turn.decide(decision, &mut self.ids);
        }
        // A process with other parameters may have taken over meanwhile.
        turn.adapt(&self.parameters);
        Reaction::decide_or_call(turn, vec![EventBody::DecideToolCalls { decisions: decisions.to_vec() }])
    }

    pub(super) fn mcp_done(&mut self, turn: Turn) -> Reaction {
        if let Some(text) = turn.completion.clone().filter(|_| self.head.queued_messages.is_empty()) {
            let used = (self.step.usage(), self.step.spend());
            return self.end(Ending::by_call(text, turn, used));
        }
        if turn.has_open(ToolKind::Delegate) || turn.has_open(ToolKind::Interactive) {
            Reaction::proceed(State::CallingDelegates(turn), Vec::new())
        } else {
            self.all_answered(turn)
        }
    }

    /// Goes on with the answers of a turn whose calls have one each.
    pub(super) fn all_answered(&mut self, turn: Turn) -> Reaction {
        let results = turn.into_answers();
        let events = self.report(|| EventBody::ResolveToolResults { tool_results: results.clone() });
        Reaction::proceed(State::ResolvingToolResult(results), events)
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

    pub(super) fn resolve(&mut self, results: Vec<ToolResult>) -> Reaction {
        self.offer_found(&results);
        self.note(|step| step.set_results(results.clone()));
        let message = messages::tool_results(results, &mut self.ids);
        let new = &message;
        let events = self.report(|| EventBody::FinishToolCall { new_messages: vec![new.clone()] });
        self.add_new(message);
        Reaction::proceed(State::FinishingStep, events)
    }

    /// Has the next requests offer what searches have found. In the order of the calls, not in that of their results' arrival,
    /// which another time is another one.
    fn offer_found(&mut self, results: &[ToolResult]) {
        let found = &mut self.head.found_tools;
        let before = found.len();
        for name in results.iter().flat_map(|result| &result.found_tools) {
            if !found.contains(name) {
                found.push(name.clone());
            }
        }
        if found.len() > before
            && let Some(measured) = &mut self.measured
        {
            measured.tools_changed();
        }
    }
}
