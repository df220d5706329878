//! Plays random but legal worlds against the machine and checks what must hold in all of them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use crate::budget::{Reached, Reservation};
use crate::checkpoint::{Checkpoint, Status};
use crate::content::{Content, ExpertPart, Opaque, ResultPart};
use crate::cost::{Cost, Price, Rates, Spend};
use crate::event::{Event, EventBody};
use crate::expert::{ContextLimit, ExpertRef};
use crate::fact::{Fact, FactBody, ParentCheckpoint, Resumption, RunParameters, RunSpec, Stamp};
use crate::generation::{Arguments, FailureKind, FinishReason, GeneratedPart, Generation, GenerationFailure};
use crate::id::RunId;
use crate::machine::{ARROWS, Action, Arrow, Input, RunMachine, State};
use crate::message::Message;
use crate::setting::Limits;
use crate::tool::{BASE_SKILL, ToolKind, ToolResult, ToolRoute};
use crate::usage::Usage;

/// A message that users add.
const MORE: &str = "more";

/// The source of a world's decisions; ends in zeros.
struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % n
    }
}

fn expert(key: &str) -> ExpertRef {
    ExpertRef { key: key.parse().unwrap(), name: key.to_owned(), version: "1.0.0".to_owned() }
}

fn parameters(max_steps: u64) -> RunParameters {
    let tool = |name: &str, skill: &str, kind| ToolRoute { name: name.to_owned(), skill_name: skill.to_owned(), kind };
    // A picodollar a token, of whatever kind: the cost is as high as the usage.
    let rates = Rates { input: 1, cached_input: 1, cache_write: None, output: 1 };
    RunParameters {
        tools: vec![
            tool("read", BASE_SKILL, ToolKind::Mcp),
            tool("write", BASE_SKILL, ToolKind::Mcp),
            tool("todo", BASE_SKILL, ToolKind::Conversation),
            tool("clearTodo", BASE_SKILL, ToolKind::Conversation),
            tool("attemptCompletion", BASE_SKILL, ToolKind::Conversation),
            tool("helper", "helper", ToolKind::Delegate),
            tool("ask", "person", ToolKind::Interactive),
        ],
        delegates: vec![expert("helper")],
        limits: Limits { max_steps, max_retries: 2 },
        context_window: Some(1000),
        context_limit: if max_steps.is_multiple_of(3) { ContextLimit::Stop } else { ContextLimit::Summarize },
        price: Some(Price { rates, long_prompts: None }),
        max_tool_repetitions: Some(3),
    }
}

fn call(choices: &mut Choices<'_>, n: usize) -> GeneratedPart {
    let (name, arguments) = match choices.below(12) {
        0 | 1 => ("read", json!({ "path": "a" })),
        2 | 3 => ("write", json!({ "path": "b", "text": "c" })),
        4 => ("todo", json!({ "newTodos": ["one"] })),
        5 => ("todo", json!({ "completedTodos": [0] })),
        6 => ("clearTodo", json!({})),
        7 => ("attemptCompletion", json!({ "result": "all done" })),
        8 => ("helper", json!({ "query": "help" })),
        9 => ("ask", json!({ "question": "?" })),
        10 => ("no-such-tool", json!({})),
        _ => ("read", json!(null)),
    };
    let arguments = match arguments {
        serde_json::Value::Object(map) => Arguments::Valid(map),
        _ => Arguments::Invalid("{\"path\": ".to_owned()),
    };
    // Ids are missing, repeated within a turn, and repeated between turns now and then.
    let id = match choices.below(5) {
        0 => String::new(),
        1 => "same".to_owned(),
        _ => format!("id-{n}"),
    };
    GeneratedPart::ToolCall { id, name: name.to_owned(), arguments }
}

fn generation(choices: &mut Choices<'_>, n: usize) -> Generation {
    let mut parts = Vec::new();
    if choices.below(3) == 0 {
        parts.push(GeneratedPart::Thinking { thinking: crate::content::Thinking::default() });
    }
    if choices.below(5) == 0 {
        let block = json!({"type": "search", "n": n});
        parts.push(GeneratedPart::Opaque { opaque: Opaque { protocol: "p".to_owned(), block } });
    }
    if choices.below(4) == 0 {
        parts.push(GeneratedPart::Text { text: "some text".to_owned() });
    }
    for i in 0..choices.below(4) {
        parts.push(call(choices, n * 10 + i));
    }
    let finish = match choices.below(11) {
        0 => FinishReason::Length,
        1 => FinishReason::ContentFilter,
        2 => FinishReason::Pause,
        3 => FinishReason::Other("odd".to_owned()),
        4 | 5 => FinishReason::Stop,
        6 => FinishReason::ContextWindow,
        _ => FinishReason::ToolCalls,
    };
    let tokens = choices.below(50) as u64;
    let usage = Usage { input_tokens: tokens, output_tokens: 1, total_tokens: tokens + 1, ..Usage::default() };
    Generation { parts, finish, usage: Some(usage), context_tokens: Some(tokens + 1) }
}

/// A summary, or what is none, of some of the older messages.
fn summarized(machine: &RunMachine, choices: &mut Choices<'_>) -> FactBody {
    let text = ["", "what was done before", "what was done"][choices.below(3)];
    let finish = if choices.below(5) == 1 { FinishReason::Length } else { FinishReason::Stop };
    let usage = Usage { input_tokens: 7, output_tokens: 2, total_tokens: 9, ..Usage::default() };
    let generation = Generation {
        parts: vec![GeneratedPart::Text { text: text.to_owned() }],
        finish,
        usage: Some(usage),
        context_tokens: Some(9),
    };
    let legal: Vec<usize> = (0..=machine.messages().len()).filter(|replaced| machine.can_replace(*replaced)).collect();
    let replaced = legal[choices.below(legal.len())];
    FactBody::Summarized {
        generation,
        replaced,
        tokens_before: 990,
        tokens_after: 300 + 700 * (choices.below(8) / 7) as u64,
    }
}

fn summary_of(replaced: usize) -> FactBody {
    let parts = vec![GeneratedPart::Text { text: "what was done".to_owned() }];
    let generation = Generation { parts, finish: FinishReason::Stop, usage: None, context_tokens: None };
    FactBody::Summarized { generation, replaced, tokens_before: 9, tokens_after: 8 }
}

fn is_summary(event: &Event) -> bool {
    matches!(event.body, EventBody::ContextSummarized { .. })
}

/// Everything that happened to one Run.
#[derive(Clone)]
struct Played {
    facts: Vec<Fact>,
    events: Vec<Event>,
    /// The actions that the machine asked for after each fact (and the `Proceed`s that follow from it).
    asked: Vec<Action>,
    machine: RunMachine,
    arrows: BTreeSet<Arrow>,
    saved: Vec<Checkpoint>,
    /// Messages that users added and a summary has replaced.
    forgotten: usize,
}

/// Feeds `input`, then proceeds as long as the machine does; checks every arrow.
fn feed(played: &mut Played, fact: Fact) {
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
        if let Some(save) = transition.save {
            let messages = played.machine.messages()[..save.messages].to_vec();
            played.saved.push(Checkpoint { head: *save.head, messages });
        }
        played.events.extend(transition.events);
        input = Input::Proceed;
        if transition.action != Action::Proceed {
            check_conversation(&played.machine, &transition.action);
            played.asked.push(transition.action);
            return;
        }
    }
}

fn check_arrow(before: &RunMachine, after: &RunMachine) {
    let (old, new) = (before.head(), after.head());
    assert!(new.usage.total_tokens >= old.usage.total_tokens, "usage never shrinks");
    assert_eq!(new.spend.cost.picodollars(), new.usage.total_tokens, "every token is paid for, once");
    assert!(old.spend.is_complete || !new.spend.is_complete, "what is not known is never known later");
    check_ledgers(before, after);
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
fn check_history(before: &RunMachine, after: &RunMachine, is_summarized: bool) -> usize {
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
fn check_conversation(machine: &RunMachine, action: &Action) {
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

fn stamp(n: usize) -> Stamp {
    Stamp { at: 1_771_000_000_000 + n as u64, seed: n as u64 * 31 }
}

fn fresh() -> Played {
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

fn started(max_steps: u64) -> Fact {
    let spec = RunSpec {
        job_id: "job".parse().unwrap(),
        run_id: "run-0".parse().unwrap(),
        expert: expert("e"),
        instruction: "be good".to_owned(),
        first_step: 1,
        delegated_by: None,
        parameters: parameters(max_steps),
    };
    Fact { stamp: stamp(0), body: FactBody::Started { spec: Box::new(spec), input: vec![Content::text("question")] } }
}

fn resumed(run: &str, parent: Option<&Checkpoint>, choices: &mut Choices<'_>, n: usize) -> Fact {
    let answers = parent
        .map(|parent| {
            let head = &parent.head;
            let delegated = head.delegate_to.iter().map(|to| (&to.tool_call_id, "helper", &to.tool_name));
            let asked = head
                .pending_tool_calls
                .iter()
                .filter(|call| call.tool_name == "ask")
                .map(|call| (&call.id, "person", &call.tool_name));
            delegated
                .chain(asked)
                .filter(|_| choices.below(4) != 0)
                .map(|(id, skill, tool)| ToolResult {
                    id: id.clone(),
                    skill_name: skill.to_owned(),
                    tool_name: tool.clone(),
                    result: vec![Content::text("answer")],
                    is_error: false,
                })
                .collect()
        })
        .unwrap_or_default();
    let resumption = Resumption {
        run_id: run.parse::<RunId>().unwrap(),
        parent: parent.map(|parent| ParentCheckpoint {
            run_id: parent.head.run_id.clone(),
            checkpoint_id: parent.head.id.clone(),
        }),
        query: (choices.below(3) == 0).then(|| MORE.to_owned()),
        answers,
        reached_step: 0,
        delegated_usage: Usage::default(),
        delegated_spend: Spend::default(),
        instruction: None,
        parameters: {
            let mut parameters = parameters(1 + choices.below(30) as u64);
            if choices.below(4) == 0 {
                // Another configuration than the one that the calls were made under.
                parameters.delegates.clear();
                parameters.tools.retain(|tool| !matches!(tool.name.as_str(), "helper" | "write"));
            }
            parameters
        },
    };
    Fact { stamp: stamp(n), body: FactBody::Resumed { resumption: Box::new(resumption) } }
}

/// More than any request of these worlds takes.
fn reservation(is_clamped: bool) -> Reservation {
    let cost = Cost::from_picodollars;
    let reached = Reached::Tokens { limit: 100, spent: 9, next: 100 };
    Reservation {
        prompt_tokens: 50,
        prompt_cost: cost(50),
        output_tokens: 30,
        cost: cost(80),
        clamped_by: is_clamped.then_some(reached),
    }
}

/// The next fact that the world could bring, given what the machine asked for last.
fn next_fact(played: &Played, choices: &mut Choices<'_>, n: usize) -> Option<Fact> {
    let odd = choices.below(24);
    let body = match &played.machine.outstanding() {
        Action::Stop(_) => return None,
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
        Action::CallTools { .. } if odd == 6 => {
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
        Action::Generate { .. } => FactBody::Generated { generation: generation(choices, n) },
        Action::CallTools { calls, .. } => {
            let call = &calls[choices.below(calls.len())];
            FactBody::ToolReturned { result: ToolResult::new(call, vec![Content::text("result")]) }
        }
        Action::Proceed | Action::Wait => unreachable!("the driver never waits here"),
    };
    Some(Fact { stamp: stamp(n), body })
}

/// Plays until the Run ends, or a fact was fed at each of these times.
fn play(played: &mut Played, choices: &mut Choices<'_>, times: std::ops::Range<usize>) {
    for n in times {
        let Some(fact) = next_fact(played, choices, n) else { break };
        feed(played, fact);
    }
}

fn replay(facts: &[Fact]) -> Played {
    let mut played = fresh();
    for fact in facts {
        feed(&mut played, fact.clone());
    }
    played
}

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
    let again = replay(&played.facts);
    assert_eq!(again.events, played.events);
    assert_eq!(again.machine.into_checkpoint(), played.machine.clone().into_checkpoint());
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
    assert_eq!(last.body.ending().map(|checkpoint| checkpoint.head.status), Some(*status));
    if *status == Status::Completed {
        // Nothing that was cut off is taken for whole: the end of the answer came with another reason.
        let finish = played.facts.iter().rev().find_map(|fact| match &fact.body {
            FactBody::Generated { generation } => Some(&generation.finish),
            _ => None,
        });
        let by_tool = matches!(played.facts.last().map(|fact| &fact.body), Some(FactBody::ToolReturned { .. }));
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

fn added_messages(messages: &[Message], queued: &[String]) -> usize {
    let is_more = |message: &&Message| match message {
        Message::UserMessage { contents, .. } => contents.iter().any(|part| part.as_text() == Some(MORE)),
        _ => false,
    };
    messages.iter().filter(is_more).count() + queued.len()
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
        };
        let inputs = [
            Input::Proceed,
            Input::Fact(started(3)),
            Input::Fact(Fact { stamp: stamp(7), body: FactBody::ToolReturned { result: stray } }),
            Input::Fact(Fact { stamp: stamp(8), body: FactBody::Interrupted }),
            Input::Fact(Fact { stamp: stamp(8), body: summary_of(0) }),
            Input::Fact(Fact { stamp: stamp(8), body: summary_of(1) }),
            Input::Fact(Fact { stamp: stamp(8), body: summary_of(usize::MAX) }),
            Input::Fact(Fact { stamp: stamp(9), body: FactBody::Generated { generation: generation(&mut choices, 9) } }),
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
