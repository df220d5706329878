//! Checks of one arrow and of the conversation after it.

use std::collections::BTreeSet;

use crate::checkpoint::Status;
use crate::content::{ExpertPart, ResultPart};
use crate::event::{Event, EventBody};
use crate::fact::{Fact, FactBody};
use crate::machine::{Action, RunMachine, State};
use crate::message::{Message, UserInput};

use super::world::MORE;

pub(super) fn is_summary(event: &Event) -> bool {
    matches!(event.body, EventBody::ContextSummarized { .. })
}

pub(super) fn check_arrow(before: &RunMachine, after: &RunMachine) {
    let (old, new) = (before.head(), after.head());
    assert!(new.usage.total_tokens >= old.usage.total_tokens, "usage never shrinks");
    assert_eq!(new.spend.cost.picodollars(), new.usage.total_tokens, "every token is paid for, once");
    assert!(old.spend.is_complete || !new.spend.is_complete, "what is not known is never known later");
    check_ledgers(before, after);
    assert!(new.untrusted || !old.untrusted, "a mark stays");
    let rise = new.step_number - old.step_number;
    assert!(rise <= 1, "steps rise by one");
}

/// All that is recorded was reported by the provider, or is within what was set aside; a reservation ends in the totals or in
/// nothing.
fn check_ledgers(before: &RunMachine, after: &RunMachine) {
    let (old, new) = (before.totals(), after.totals());
    assert!(old.charged.tokens <= new.charged.tokens && old.charged.cost <= new.charged.cost);
    assert!(new.steps >= old.steps && new.steps <= after.head().step_number);
    assert!(new.charged.tokens >= new.usage.total_tokens, "budgets count no less than was reported");
    if let Some(held) = before.reserved()
        && after.reserved().is_none()
    {
        let room = held.whole();
        assert!(new.charged.tokens - old.charged.tokens <= room.tokens, "{held:?}");
        assert!(new.charged.cost.picodollars() - old.charged.cost.picodollars() <= room.cost.picodollars());
    }
    if before.reserved().is_some() && matches!(after.state(), State::Stopped(_)) {
        assert!(after.reserved().is_none(), "nothing stays set aside for a Run that is over");
    }
}

/// History is only added to, but for a summary: it takes the place of messages behind the opening, with all around it
/// as it was. How many additional messages of users it replaces.
pub(super) fn check_history(before: &RunMachine, after: &RunMachine, is_summarized: bool) -> usize {
    let (old, new) = (before.messages(), after.messages());
    if !is_summarized {
        assert!(new.starts_with(old), "history is only added to");
        return 0;
    }
    let opening = before.opening();
    let kept = &new[opening + 1..];
    assert_eq!(new[..opening], old[..opening]);
    assert!(matches!(new[opening], Message::UserMessage { .. }));
    assert!(old.ends_with(kept) && opening + kept.len() < old.len());
    assert_eq!(after.head().todos, before.head().todos);
    added_messages(&old[opening..old.len() - kept.len()], &[])
}

/// Every call is answered once, directly behind it and in call order, before the model is asked again; a stopped
/// turn's open calls are in the checkpoint.
pub(super) fn check_conversation(machine: &RunMachine, action: &Action) {
    let messages = machine.messages();
    for (i, message) in messages.iter().enumerate() {
        let asked: Vec<&str> = message.call_ids().collect();
        let unique: BTreeSet<&str> = asked.iter().copied().collect();
        assert_eq!(unique.len(), asked.len(), "ids are unique");
        if asked.is_empty() {
            continue;
        }
        match messages.get(i + 1) {
            Some(Message::ToolMessage { contents, .. }) => {
                let answered: Vec<&str> = contents
                    .iter()
                    .map(|ResultPart::ToolResultPart { tool_call_id, .. }| tool_call_id.as_str())
                    .collect();
                assert_eq!(answered, asked);
            }
            Some(other) => panic!("calls followed by {other:?}"),
            None => {
                assert!(!matches!(action, Action::Generate { .. } | Action::Summarize { .. }), "asked with open calls");
            }
        }
    }
    let all: Vec<&str> = messages.iter().flat_map(Message::call_ids).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "ids are unique over the whole conversation");
    for message in messages {
        if let Message::ExpertMessage { contents, .. } = message {
            for part in contents {
                if let ExpertPart::ToolCallPart { args, .. } = part {
                    assert!(args.is_object(), "arguments in the history are objects");
                }
            }
        }
    }
    if let (Action::Stop(status), Some(last)) = (action, messages.last()) {
        let head = machine.head();
        let mut left: BTreeSet<&str> = head.pending_tool_calls.iter().map(|call| call.id.as_str()).collect();
        left.extend(head.partial_tool_results.iter().map(|result| result.id.as_str()));
        left.extend(head.delegate_to.iter().map(|to| to.tool_call_id.as_str()));
        assert_eq!(left, last.call_ids().collect(), "an open turn is whole in the checkpoint of {status:?}");
        if *status == Status::StoppedByInteractiveTool {
            let names: Vec<&str> = head.pending_tool_calls.iter().map(|call| call.tool_name.as_str()).collect();
            assert!(names.iter().all(|name| *name == "ask"), "a person is asked to answer {names:?}");
        }
    }
}

/// No call is made that was denied, or that nobody decided about where all are decided; none is decided twice.
pub(super) fn check_decisions(facts: &[Fact], action: &Action) {
    let mut denied = BTreeSet::new();
    let mut decided = BTreeSet::new();
    for fact in facts {
        // Ids may come again in another turn.
        if matches!(fact.body, FactBody::Generated { .. }) {
            denied.clear();
            decided.clear();
        }
        let FactBody::CallsDecided { decisions } = &fact.body else { continue };
        for decision in decisions {
            assert!(decided.insert(&decision.tool_call_id), "decided twice");
            if decision.is_denied() {
                denied.insert(&decision.tool_call_id);
            }
        }
    }
    match action {
        Action::CallTools { calls, .. } => assert!(calls.iter().all(|call| !denied.contains(&call.id))),
        Action::DecideCalls { calls } => assert!(calls.iter().all(|call| !decided.contains(&call.id))),
        _ => {}
    }
}

pub(super) fn added_messages(messages: &[Message], queued: &[UserInput]) -> usize {
    let is_more = |message: &&Message| match message {
        Message::UserMessage { contents, .. } => contents.iter().any(|part| part.as_text() == Some(MORE)),
        _ => false,
    };
    messages.iter().filter(is_more).count() + queued.len()
}
