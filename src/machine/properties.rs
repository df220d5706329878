//! Plays random but legal worlds against the machine and checks what must hold in all of them.

mod invariants;
mod play;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::checkpoint::Status;
use crate::event::{Event, EventBody};
use crate::fact::{AnswerCheck, Fact, FactBody};
use crate::generation::FinishReason;
use crate::machine::{ARROWS, Action, Arrow, Input, RunMachine, State};
use crate::tool::ToolResult;

use invariants::{added_messages, is_summary};
use play::{Played, feed, fresh, play, replay};
use world::{Choices, generation, resumed, stamp, started, summary_of};

fn check_world(bytes: &[u8]) -> BTreeSet<Arrow> {
    let mut choices = Choices { bytes, at: 0 };
    let mut first = fresh();
    feed(&mut first, started(1 + choices.below(12) as u64));
    play(&mut first, &mut choices, 1..60);
    check_replay(&first);
    check_terminal(&first);
    check_numbers(&first);
    check_summaries(&first);
    check_queries(&first, 0);
    let mut arrows = first.arrows.clone();

    // Any checkpoint that was saved continues in a Run of its own, its history untouched.
    if !first.saved.is_empty() {
        let from = first.saved[choices.below(first.saved.len())].clone();
        let mut second = Played { machine: RunMachine::restore(from.clone()), ..fresh() };
        feed(&mut second, resumed("run-1", Some(&from), &mut choices, 900));
        play(&mut second, &mut choices, 901..940);
        let is_summarized = second.events.iter().any(is_summary);
        assert!(is_summarized || second.machine.messages().starts_with(&from.messages));
        assert!(second.machine.head().step_number > from.head.step_number);
        check_terminal(&second);
        check_numbers(&second);
        check_summaries(&second);
        check_queries(&second, added_messages(&from.messages, &from.head.queued_messages));
        arrows.extend(second.arrows);
    }
    arrows
}

/// A crash after any fact, then recovery from the facts on record: same conversation, same events, and the machine
/// asks for what is still open.
fn check_replay(played: &Played) {
    for n in 1..=played.facts.len() {
        let again = replay(&played.facts[..n]);
        assert_eq!(again.events[..], played.events[..again.events.len()]);
        let is_summarized = played.events[again.events.len()..].iter().any(is_summary);
        assert!(is_summarized || played.machine.messages().starts_with(again.machine.messages()));
        assert_eq!(again.asked[..], played.asked[..n]);
        match (&played.asked[n - 1], again.machine.outstanding()) {
            (Action::CallTools { calls, .. }, Action::CallTools { calls: open, in_doubt }) => {
                assert_eq!((&open, in_doubt), (calls, true));
            }
            (Action::Wait, Action::CallTools { calls, in_doubt }) => assert!(in_doubt && !calls.is_empty()),
            (Action::Generate { .. }, outstanding) => assert_eq!(outstanding, Action::Generate { after_ms: 0 }),
            (Action::Summarize { .. }, outstanding) => assert_eq!(outstanding, Action::Summarize { after_ms: 0 }),
            (asked, outstanding) => assert_eq!(&outstanding, asked),
        }
    }
    for quiet in [played.facts.len() / 2, played.facts.len()] {
        check_quiet(played, quiet);
    }
    let again = replay(&played.facts);
    assert_eq!(again.events, played.events);
    assert_eq!(again.machine.into_checkpoint(), played.machine.clone().into_checkpoint());
}

/// A machine that is quiet for the first facts comes to the same, and from the next step on its events are the same.
fn check_quiet(played: &Played, facts: usize) {
    let mut machine = fresh().machine;
    machine.set_quiet(true);
    let (mut events, mut saved) = (Vec::new(), Vec::new());
    for (n, fact) in played.facts.iter().enumerate() {
        if n == facts {
            machine.set_quiet(false);
        }
        let mut input = Input::Fact(fact.clone());
        let asked = loop {
            let transition = machine.advance(&input).unwrap();
            assert!(!machine.is_quiet() || transition.events.is_empty());
            events.extend(transition.events);
            saved.extend(transition.save.map(|save| *save.head));
            input = Input::Proceed;
            let is_dead = transition.action == Action::TakeSnapshot && (n + 1).is_multiple_of(3);
            if transition.action != Action::Proceed && !is_dead {
                break transition.action;
            }
        };
        assert_eq!(asked, played.asked[n]);
    }
    assert_eq!(saved, played.saved.iter().map(|checkpoint| checkpoint.head.clone()).collect::<Vec<_>>());
    let is_new_step = |event: &Event| matches!(event.body, EventBody::ContinueToNextStep { .. });
    let whole = events.iter().position(is_new_step).map_or(events.len(), |at| at + 1);
    let tail = &events[whole..];
    assert_eq!(*tail, played.events[played.events.len() - tail.len()..]);
    assert_eq!(machine.totals(), played.machine.totals());
    let counts = |machine: &RunMachine| (machine.event_count(), machine.call_count());
    assert_eq!(counts(&machine), counts(&played.machine));
    assert_eq!(machine.into_checkpoint(), played.machine.clone().into_checkpoint());
}

/// Nothing moves a Run that has ended.
fn check_terminal(played: &Played) {
    let State::Stopped(status) = played.machine.state() else { return };
    assert!(status.is_terminal());
    let mut machine = played.machine.clone();
    for input in played.facts.iter().cloned().map(Input::Fact).chain([Input::Proceed]) {
        assert!(machine.advance(&input).is_err());
    }
    assert_eq!(machine.into_checkpoint(), played.machine.clone().into_checkpoint());
    let last = played.events.last().unwrap();
    let refusals = played.events.iter().filter(|event| event.body.type_name() == "refuseAnswer").count();
    assert!(refusals <= 2, "asked for an answer again {refusals} times");
    assert_eq!(last.body.ending().map(|checkpoint| checkpoint.head.status), Some(*status));
    assert_eq!(*status == Status::StoppedByVerification, last.body.type_name() == "stopRunByVerification");
    if *status == Status::Completed {
        // Nothing that was cut off is taken for whole: the end of the answer came with another reason.
        let finish = played.facts.iter().rev().find_map(|fact| match &fact.body {
            FactBody::Generated { generation } => Some(&generation.finish),
            _ => None,
        });
        let is_snapshot = |body: &&FactBody| matches!(body, FactBody::SnapshotTaken { .. });
        let mut bodies = played.facts.iter().rev().map(|fact| &fact.body).skip_while(is_snapshot).peekable();
        let verified = bodies.next_if(|body| matches!(body, FactBody::AnswerVerified { .. }));
        let has_passed =
            matches!(verified, Some(FactBody::AnswerVerified { outcome }) if outcome.end.code() == Some(0));
        assert!(has_passed || played.machine.parameters().verify.is_none(), "completed without a verification");
        // Whoever takes over while the command runs has it run again, or has none.
        while bodies.next_if(|body| matches!(body, FactBody::Resumed { .. })).is_some() {}
        let check = bodies.next_if(|body| matches!(body, FactBody::AnswerChecked { .. }));
        let by_tool = matches!(bodies.next(), Some(FactBody::ToolReturned { .. }));
        let is_valid = matches!(check, Some(FactBody::AnswerChecked { check: AnswerCheck::Valid { .. } }));
        assert!(is_valid || played.machine.parameters().output_schema.is_none(), "completed without a check");
        assert_eq!(is_valid, played.machine.head().checked_answer.is_some());
        assert!(by_tool || finish != Some(&FinishReason::Length));
        assert!(played.machine.messages().last().unwrap().expert_text().is_some());
    }
}

/// All that users added is in the conversation, or waits in the checkpoint for the turn's end.
fn check_queries(played: &Played, before: usize) {
    let queries = played
        .facts
        .iter()
        .filter(|fact| matches!(&fact.body, FactBody::Resumed { resumption } if resumption.query.is_some()));
    let machine = &played.machine;
    assert_eq!(
        added_messages(machine.messages(), &machine.head().queued_messages) + played.forgotten,
        before + queries.count()
    );
}

/// Summaries keep their distance, and one that fails is tried once more at most.
fn check_summaries(played: &Played) {
    let steps: Vec<u64> =
        played.events.iter().filter(|event| is_summary(event)).filter_map(|e| e.step_number).collect();
    assert!(steps.windows(2).all(|pair| pair[1] >= pair[0] + 4), "summaries in steps {steps:?}");
    // What is set aside for a summary is no try at it.
    let is_reserved = |fact: &Fact| matches!(fact.body, FactBody::Reserved { .. });
    let tries = played.facts.iter().zip(&played.asked).filter(|(fact, _)| !is_reserved(fact));
    let asked: Vec<bool> = tries.map(|(_, action)| matches!(action, Action::Summarize { .. })).collect();
    for three in asked.windows(3) {
        assert!(three.contains(&false), "a third try at a summary");
    }
}

/// Events are numbered without a gap, and their ids differ.
fn check_numbers(played: &Played) {
    let numbers: Vec<u64> = played.events.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(numbers, (1..=played.events.len() as u64).collect::<Vec<_>>());
    let ids: BTreeSet<&str> = played.events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), played.events.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_must_hold_holds_in_any_legal_world(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check_world(&bytes);
    }

    #[test]
    fn an_illegal_input_is_an_error_that_changes_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut choices = Choices { bytes: &bytes, at: 0 };
        let mut played = fresh();
        feed(&mut played, started(20));
        play(&mut played, &mut choices, 1..12);
        let stray = ToolResult {
            id: "nobody asked".to_owned(),
            skill_name: "s".to_owned(),
            tool_name: "t".to_owned(),
            result: Vec::new(),
            is_error: false,
            found_tools: Box::default(),
        };
        let inputs = [
            Input::Proceed,
            Input::Fact(started(3)),
            Input::Fact(Fact::new(stamp(7), FactBody::ToolReturned { result: stray })),
            Input::Fact(Fact::new(stamp(8), FactBody::Interrupted)),
            Input::Fact(Fact::new(stamp(8), summary_of(0))),
            Input::Fact(Fact::new(stamp(8), summary_of(1))),
            Input::Fact(Fact::new(stamp(8), summary_of(usize::MAX))),
            Input::Fact(Fact::new(stamp(9), FactBody::Generated { generation: generation(&mut choices, 9) })),
        ];
        for input in inputs {
            let mut machine = played.machine.clone();
            if machine.accepts(&input) {
                let from = machine.state().name();
                prop_assert!(machine.advance(&input).is_ok());
                prop_assert!(ARROWS.iter().any(|arrow| arrow.from == from && arrow.input == input.name()));
            } else {
                let illegal = machine.advance(&input).unwrap_err();
                prop_assert_eq!((illegal.state, illegal.input), (machine.state().name(), input.name()));
                // The whole machine: ids, accounts and counters included.
                prop_assert_eq!(&machine, &played.machine);
            }
        }
    }
}

/// The worlds above take every arrow of the diagram (and, by [`feed`], no other).
#[test]
fn every_arrow_of_the_diagram_is_taken() {
    let mut arrows = BTreeSet::new();
    for seed in 0..3000_u64 {
        let bytes: Vec<u8> = (0..60)
            .flat_map(|i| {
                let word =
                    (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (i + 1_u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
                (word ^ (word >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_be_bytes()
            })
            .collect();
        arrows.extend(check_world(&bytes));
    }
    assert_eq!(arrows, BTreeSet::from(ARROWS));
}
