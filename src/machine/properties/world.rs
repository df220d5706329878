//! The facts of a random but legal world.

use serde_json::json;

use crate::budget::{Reached, Reservation};
use crate::checkpoint::Checkpoint;
use crate::content::{Content, Opaque};
use crate::cost::{Cost, Price, Rates, Spend};
use crate::expert::{ContextLimit, ExpertRef, VerifyCommand};
use crate::fact::{
    Fact, FactBody, ParentCheckpoint, Resumption, RunParameters, RunSpec, Stamp, VerifyEnd, VerifyOutcome,
};
use crate::fallback::ChainModel;
use crate::generation::{Arguments, FinishReason, GeneratedPart, Generation};
use crate::id::RunId;
use crate::machine::RunMachine;
use crate::message::UserInput;
use crate::output_schema::OutputSchema;
use crate::setting::Limits;
use crate::snapshot::SnapshotMode;
use crate::tool::{BASE_SKILL, ToolKind, ToolResult, ToolRoute};
use crate::usage::Usage;

/// A message that users add.
pub(super) const MORE: &str = "more";

/// The source of a world's decisions; ends in zeros.
pub(super) struct Choices<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Choices<'_> {
    pub(super) fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % n
    }
}

pub(super) fn expert(key: &str) -> ExpertRef {
    ExpertRef { key: key.parse().unwrap(), name: key.to_owned(), version: "1.0.0".to_owned() }
}

pub(super) fn parameters(max_steps: u64) -> RunParameters {
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
        models: if max_steps % 4 == 2 { Vec::new() } else { models(Price { rates, long_prompts: None }) },
        max_tool_repetitions: Some(3),
        decides_calls: max_steps.is_multiple_of(2),
        output_schema: (max_steps % 4 == 1).then(|| OutputSchema::new(json!({"type": "object"})).unwrap()),
        verify: (max_steps % 5 <= 1).then(|| VerifyCommand { max_rounds: 2, ..VerifyCommand::new("make check") }),
        untrusted_skills: if max_steps.is_multiple_of(5) { vec![BASE_SKILL.to_owned()] } else { Vec::new() },
        context_files: Vec::new(),
        context_folders: Vec::new(),
        snapshots: match max_steps % 7 {
            0 | 1 => SnapshotMode::Every,
            2 => SnapshotMode::Stop,
            _ => SnapshotMode::Off,
        },
        digests: None,
    }
}

/// Two fallbacks, the first with a small window.
fn models(price: Price) -> Vec<ChainModel> {
    let model =
        |name: &str, context_window| ChainModel { model: name.parse().unwrap(), context_window, price: Some(price) };
    vec![model("anthropic/first", Some(1000)), model("openai/second", Some(100)), model("google/third", None)]
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

pub(super) fn generation(choices: &mut Choices<'_>, n: usize) -> Generation {
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

/// An answer without calls.
pub(super) fn answer() -> Generation {
    let parts = vec![GeneratedPart::Text { text: "{}".to_owned() }];
    Generation { parts, finish: FinishReason::Stop, usage: None, context_tokens: None }
}

/// The end of the command that verifies an answer: it succeeds, fails, is ended or cannot be run.
pub(super) fn verified(choices: &mut Choices<'_>) -> FactBody {
    let end = match choices.below(8) {
        0 | 1 => VerifyEnd::Exited { code: 0 },
        2 => VerifyEnd::Killed { signal: 9 },
        3 => VerifyEnd::TimedOut { limit_ms: 9 },
        4 => VerifyEnd::Flooded { stream: "stdout".to_owned(), limit_bytes: 9 << 20 },
        5 => VerifyEnd::NotRun { reason: "there is no shell".to_owned() },
        _ => VerifyEnd::Exited { code: 2 },
    };
    FactBody::AnswerVerified { outcome: VerifyOutcome { end, output: "1 test".to_owned() } }
}

/// A summary, or what is none, of some of the older messages.
pub(super) fn summarized(machine: &RunMachine, choices: &mut Choices<'_>) -> FactBody {
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

pub(super) fn summary_of(replaced: usize) -> FactBody {
    let parts = vec![GeneratedPart::Text { text: "what was done".to_owned() }];
    let generation = Generation { parts, finish: FinishReason::Stop, usage: None, context_tokens: None };
    FactBody::Summarized { generation, replaced, tokens_before: 9, tokens_after: 8 }
}

pub(super) fn stamp(n: usize) -> Stamp {
    Stamp { at: 1_771_000_000_000 + n as u64, seed: n as u64 * 31 }
}

pub(super) fn started(max_steps: u64) -> Fact {
    let spec = RunSpec {
        job_id: "job".parse().unwrap(),
        run_id: "run-0".parse().unwrap(),
        expert: expert("e"),
        instruction: "be good".to_owned(),
        first_step: 1,
        delegated_by: None,
        parameters: parameters(max_steps),
        budgets: crate::budget::Budgets::default(),
        untrusted: false,
        snapshot: None,
    };
    Fact::new(stamp(0), FactBody::Started { spec: Box::new(spec), input: vec![Content::text("question")] })
}

pub(super) fn resumed(run: &str, parent: Option<&Checkpoint>, choices: &mut Choices<'_>, n: usize) -> Fact {
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
                    found_tools: Box::default(),
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
        query: (choices.below(3) == 0).then(|| more(choices)),
        answers,
        reached_step: 0,
        delegated_usage: Usage::default(),
        delegated_spend: Spend::default(),
        untrusted: choices.below(5) == 0,
        instruction: None,
        snapshot: None,
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
    Fact::new(stamp(n), FactBody::Resumed { resumption: Box::new(resumption) })
}

/// A further message of the user, with an image or without.
fn more(choices: &mut Choices<'_>) -> UserInput {
    let image =
        Content::ImageInlinePart { id: String::new(), encoded_data: "b3ds".into(), mime_type: "image/png".into() };
    let attached = if choices.below(2) == 0 { vec![image] } else { Vec::new() };
    UserInput { text: MORE.to_owned(), attached }
}

/// More than any request of these worlds takes.
pub(super) fn reservation(is_clamped: bool) -> Reservation {
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
