//! [`Played`]: a Run in a random world, every arrow of which is checked as it is taken.

use std::collections::BTreeSet;

use crate::budget::Reached;
use crate::checkpoint::Checkpoint;
use crate::content::Content;
use crate::event::Event;
use crate::fact::{AnswerCheck, Fact, FactBody};
use crate::generation::{FailureKind, GenerationFailure};
use crate::machine::{ARROWS, Action, Arrow, Input, RunMachine, State};
use crate::permission::{CallDecision, CallVerdict, DecidedBy};
use crate::snapshot::SnapshotId;
use crate::tool::{ToolCall, ToolResult};

use super::invariants::{check_arrow, check_conversation, check_decisions, check_history, is_summary};
use super::world::{
    Choices, answer, expert, generation, parameters, reservation, resumed, stamp, summarized, verified,
};

/// Everything that happened to one Run.
#[derive(Clone)]
pub(super) struct Played {
    pub(super) facts: Vec<Fact>,
    pub(super) events: Vec<Event>,
    /// The actions that the machine asked for after each fact (and the `Proceed`s that follow from it).
    pub(super) asked: Vec<Action>,
    pub(super) machine: RunMachine,
    pub(super) arrows: BTreeSet<Arrow>,
    pub(super) saved: Vec<Checkpoint>,
    /// Messages that users added and a summary has replaced.
    pub(super) forgotten: usize,
}

pub(super) fn fresh() -> Played {
    let id = "run-0";
    let machine = RunMachine::new("job".parse().unwrap(), id.parse().unwrap(), expert("e"), "none".parse().unwrap());
    Played {
        facts: Vec::new(),
        events: Vec::new(),
        asked: Vec::new(),
        machine,
        arrows: BTreeSet::new(),
        saved: Vec::new(),
        forgotten: 0,
    }
}

/// Feeds `input`, then proceeds as long as the machine does; checks every arrow.
pub(super) fn feed(played: &mut Played, fact: Fact) {
    let mut input = Input::Fact(fact.clone());
    played.facts.push(fact);
    loop {
        let before = played.machine.clone();
        let transition = played.machine.advance(&input).unwrap();
        let event = transition.events.first().map_or("", |event| event.body.type_name());
        assert!(transition.events.len() <= 1);
        let arrow =
            Arrow { from: before.state().name(), input: input.name(), to: played.machine.state().name(), event };
        assert!(ARROWS.contains(&arrow), "not in the diagram: {arrow:?}");
        played.arrows.insert(arrow);
        check_arrow(&before, &played.machine);
        played.forgotten += check_history(&before, &played.machine, transition.events.iter().any(is_summary));
        check_decisions(&played.facts, &transition.action);
        if let Some(save) = transition.save {
            let messages = played.machine.messages()[..save.messages].to_vec();
            played.saved.push(Checkpoint { head: *save.head, messages });
        }
        played.events.extend(transition.events);
        input = Input::Proceed;
        // Now and then the process dies that was to store the state of the workspace.
        let is_dead = transition.action == Action::TakeSnapshot && played.facts.len().is_multiple_of(3);
        if transition.action != Action::Proceed && !is_dead {
            check_conversation(&played.machine, &transition.action);
            played.asked.push(transition.action);
            return;
        }
    }
}

/// Returns true if an answer has to be valid, or a command to succeed.
fn is_judged(machine: &RunMachine) -> bool {
    let parameters = machine.parameters();
    parameters.output_schema.is_some() || parameters.verify.is_some()
}

/// The next fact that the world could bring, given what the machine asked for last.
fn next_fact(played: &Played, choices: &mut Choices<'_>, n: usize) -> Option<Fact> {
    let odd = choices.below(24);
    let body = match &played.machine.outstanding() {
        Action::Stop(_) => return None,
        Action::TakeSnapshot => FactBody::SnapshotTaken { snapshot: SnapshotId::of_bytes(&n.to_be_bytes()) },
        _ if odd == 0 => FactBody::Interrupted,
        _ if odd == 1 => return Some(resumed("run-0", None, choices, n)),
        Action::Generate { .. } | Action::Summarize { .. } if odd < 5 => FactBody::GenerationFailed {
            failure: GenerationFailure {
                kind: FailureKind::Provider,
                message: "overloaded".to_owned(),
                status_code: Some(529),
                is_retryable: odd != 2,
                retry_after_ms: None,
            },
            retry_in_ms: (odd != 2).then_some(10),
            received_bytes: (odd == 3).then_some(40),
        },
        asked @ (Action::Generate { .. } | Action::Summarize { .. })
            if odd == 6 || odd == 7 || odd < 16 && matches!(asked, Action::Summarize { .. }) =>
        {
            let duration = Reached::Duration { limit_ms: 9, spent_ms: 10 };
            match choices.below(8) {
                0 => FactBody::BudgetReached { reached: duration },
                1 => FactBody::BudgetReached { reached: Reached::Steps { limit: 9, spent: 9 } },
                n if played.machine.reserved().is_none() => FactBody::Reserved { reservation: reservation(n % 2 == 0) },
                _ if matches!(played.machine.state(), State::SummarizingContext(_)) => {
                    summarized(&played.machine, choices)
                }
                _ => FactBody::Generated { generation: generation(choices, n) },
            }
        }
        Action::CallTools { .. } | Action::DecideCalls { .. } | Action::CheckAnswer { .. } | Action::VerifyAnswer
            if odd == 6 =>
        {
            FactBody::BudgetReached { reached: Reached::Duration { limit_ms: 9, spent_ms: 10 } }
        }
        Action::Generate { .. } if odd == 5 => FactBody::ToolsChanged { tools: parameters(1).tools },
        Action::Generate { .. } if odd == 8 || odd == 9 => FactBody::GenerationFailed {
            failure: GenerationFailure {
                kind: FailureKind::ContextOverflow,
                message: "too much".to_owned(),
                status_code: (odd == 8).then_some(400),
                is_retryable: false,
                retry_after_ms: None,
            },
            retry_in_ms: None,
            received_bytes: None,
        },
        Action::Summarize { .. } => summarized(&played.machine, choices),
        // Many answers, as it takes several that are refused to stop a Run.
        Action::Generate { .. } if odd > 15 && is_judged(&played.machine) => {
            FactBody::Generated { generation: answer() }
        }
        Action::Generate { .. } => FactBody::Generated { generation: generation(choices, n) },
        Action::DecideCalls { calls } => FactBody::CallsDecided { decisions: decisions(calls, choices) },
        Action::CallTools { calls, .. } => {
            let call = &calls[choices.below(calls.len())];
            FactBody::ToolReturned { result: ToolResult::new(call, vec![Content::text("result")]) }
        }
        Action::CheckAnswer { text } => FactBody::AnswerChecked {
            check: match choices.below(6) {
                0 => AnswerCheck::Valid { text: text.clone(), is_closed: false },
                _ => AnswerCheck::Refused { problems: vec!["it is no object".to_owned()] },
            },
        },
        Action::VerifyAnswer => verified(choices),
        Action::Proceed | Action::Wait => unreachable!("the driver never waits here"),
    };
    Some(Fact::new(stamp(n), body))
}

/// Decisions about one of the calls or all of them.
fn decisions(calls: &[ToolCall], choices: &mut Choices<'_>) -> Vec<CallDecision> {
    let first = if choices.below(2) == 0 { 1 } else { calls.len() };
    let decision = |call: &ToolCall| {
        let is_denied = choices.below(3) == 0;
        CallDecision {
            tool_call_id: call.id.clone(),
            tool_name: call.tool_name.clone(),
            decision: if is_denied { CallVerdict::Denied } else { CallVerdict::Allowed },
            by: DecidedBy::Rule,
            rule: None,
            always: false,
            reason: is_denied.then(|| "not run".to_owned()),
        }
    };
    calls[..first].iter().map(decision).collect()
}

/// Plays until the Run ends, or a fact was fed at each of these times.
pub(super) fn play(played: &mut Played, choices: &mut Choices<'_>, times: std::ops::Range<usize>) {
    for n in times {
        let Some(fact) = next_fact(played, choices, n) else { break };
        feed(played, fact);
    }
}

pub(super) fn replay(facts: &[Fact]) -> Played {
    let mut played = fresh();
    for fact in facts {
        feed(&mut played, fact.clone());
    }
    played
}
