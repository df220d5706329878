//! What the runner itself costs: `cargo bench`. Prints a line per measurement.
//!
//! - A step of the machine, at histories of ten to ten thousand messages: must not grow with the history.
//! - Bytes stored by a job, at ten to a thousand steps: must grow with the steps, and no faster.
//! - The binary's start up to its first request to the model.
//! - The answer to a shell that completes an expert, and a job among a thousand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot go on is none; its result is printed"
)]

mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use perstack::checkpoint::{Checkpoint, CheckpointHead, Status};
use perstack::config::{self, Overrides};
use perstack::content::{Content, ExpertPart, ResultPart};
use perstack::environment::Environment;
use perstack::expert::ExpertRef;
use perstack::fact::{Fact, FactBody, ParentCheckpoint, Resumption, RunParameters, Stamp};
use perstack::generation::{Arguments, FinishReason, GeneratedPart, Generation};
use perstack::machine::{Action, Input, RunMachine};
use perstack::message::Message;
use perstack::runtime::{self, Options, RunInput};
use perstack::setting::Limits;
use perstack::tool::{BASE_SKILL, ToolKind, ToolResult, ToolRoute};
use perstack::usage::Usage;

use self::server::Server;

/// Steps over which one is averaged.
const STEPS: u64 = 2000;
/// Starts of the binary, of which the median counts.
const STARTS: usize = 21;

const TOML: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\n";

fn main() {
    println!("a step of the machine");
    for history in [10, 100, 1000, 10_000] {
        println!("  after {history:>6} messages: {:>10.2?}", machine_step(history));
    }
    println!("bytes stored by a job");
    for steps in [10, 100, 1000] {
        let (bytes, took) = job(steps);
        let per_step = bytes / u64::try_from(steps).unwrap();
        println!("  of {steps:>5} steps: {bytes:>9} ({per_step} a step), in {took:.2?}");
    }
    let mut starts: Vec<Duration> = (0..STARTS).map(|_| start()).collect();
    starts.sort();
    println!("from start to first request");
    println!("  median {:.2?}, fastest {:.2?}, slowest {:.2?}", starts[STARTS / 2], starts[0], starts[STARTS - 1]);
    println!("words for a shell, median");
    let folder = project_of_jobs(1000);
    for line in [["run", "lib"], ["resume", ""]] {
        let mut answers: Vec<Duration> = (0..STARTS).map(|_| completion(folder.path(), line)).collect();
        answers.sort();
        println!("  {:>10}: {:.2?}", line.join(" "), answers[STARTS / 2]);
    }
}

/// A folder with a configuration and this many copies of one job.
fn project_of_jobs(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("perstack.toml"), TOML).unwrap();
    for number in 0..count {
        let job = folder.path().join(format!("perstack/jobs/job-{number:04}"));
        fs::create_dir_all(job.join("runs")).unwrap();
        let text = format!(
            r#"{{"formatVersion":1,"id":"job-{number:04}","status":"completed","coordinatorExpertKey":"librarian","totalSteps":1,"usage":{{}},"startedAt":1}}"#
        );
        fs::write(job.join("job.json"), text).unwrap();
    }
    folder
}

/// The time from the start to the whole answer.
fn completion(folder: &Path, line: [&str; 2]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perstack"));
    command.args(["--", "perstack"]).args(line).current_dir(folder).env_clear().env("HOME", folder);
    command.env("PERSTACK_COMPLETE", "fish").stdin(Stdio::null());
    let began = Instant::now();
    let answer = command.output().unwrap();
    assert!(answer.status.success() && !answer.stdout.is_empty());
    began.elapsed()
}

/// One step with a tool call, averaged, on top of a history of this many messages.
fn machine_step(history: usize) -> Duration {
    let mut machine = RunMachine::restore(checkpoint(history));
    let mut action = tell(&mut machine, resumed());
    let began = Instant::now();
    for n in 1..=STEPS {
        assert!(matches!(action, Action::Generate { .. }), "{action:?}");
        let asked = tell(&mut machine, generated(n));
        let Action::CallTools { calls, .. } = asked else { panic!("{asked:?}") };
        let result = ToolResult::new(&calls[0], vec![Content::text("tawny")]);
        action = tell(&mut machine, fact(FactBody::ToolReturned { result }, n));
    }
    began.elapsed() / u32::try_from(STEPS).unwrap()
}

/// Tells a fact and proceeds as far as the machine goes by itself.
fn tell(machine: &mut RunMachine, fact: Fact) -> Action {
    let mut transition = machine.advance(&Input::Fact(fact)).unwrap();
    while transition.action == Action::Proceed {
        transition = machine.advance(&Input::Proceed).unwrap();
    }
    transition.action
}

fn fact(body: FactBody, n: u64) -> Fact {
    Fact { stamp: Stamp { at: 1_771_000_000_000 + n, seed: n }, body }
}

fn generated(n: u64) -> Fact {
    let arguments = serde_json::json!({"path": "owls.txt"}).as_object().unwrap().clone();
    let call = GeneratedPart::ToolCall {
        id: format!("new-{n}"),
        name: "readTextFile".to_owned(),
        arguments: Arguments::Valid(arguments),
    };
    let generation =
        Generation { parts: vec![call], finish: FinishReason::ToolCalls, usage: None, context_tokens: None };
    fact(FactBody::Generated { generation }, n)
}

fn resumed() -> Fact {
    let tool = ToolRoute { name: "readTextFile".to_owned(), skill_name: BASE_SKILL.to_owned(), kind: ToolKind::Mcp };
    let resumption = Resumption {
        run_id: "next".parse().unwrap(),
        parent: Some(ParentCheckpoint { run_id: "run".parse().unwrap(), checkpoint_id: "point".parse().unwrap() }),
        query: None,
        answers: Vec::new(),
        reached_step: 0,
        delegated_usage: Usage::default(),
        delegated_spend: perstack::cost::Spend::default(),
        instruction: None,
        parameters: RunParameters {
            tools: vec![tool],
            limits: Limits { max_steps: u64::MAX, max_retries: 5 },
            ..RunParameters::default()
        },
    };
    fact(FactBody::Resumed { resumption: Box::new(resumption) }, 0)
}

fn checkpoint(history: usize) -> Checkpoint {
    let expert =
        ExpertRef { key: "librarian".parse().unwrap(), name: "librarian".to_owned(), version: "1.0.0".to_owned() };
    let ids = ("point".parse().unwrap(), "job".parse().unwrap(), "run".parse().unwrap());
    let mut head = CheckpointHead::fresh(ids.0, ids.1, ids.2, expert);
    head.status = Status::Proceeding;
    let turns = (0..history / 2).flat_map(|n| {
        let call = ExpertPart::ToolCallPart {
            id: format!("call-part-{n}"),
            tool_call_id: format!("old-{n}"),
            tool_name: "readTextFile".to_owned(),
            args: serde_json::json!({"path": "owls.txt"}),
        };
        let result = ResultPart::ToolResultPart {
            id: format!("result-part-{n}"),
            tool_call_id: format!("old-{n}"),
            tool_name: "readTextFile".to_owned(),
            contents: vec![Content::text("tawny ".repeat(50))],
            is_error: false,
        };
        [
            Message::ExpertMessage { id: format!("asks-{n}"), contents: vec![call], cache: false },
            Message::ToolMessage { id: format!("answers-{n}"), contents: vec![result], cache: false },
        ]
    });
    Checkpoint { head, messages: turns.collect() }
}

/// The bytes that a job of this many steps has stored at its end, and how long it took.
fn job(steps: usize) -> (u64, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(steps);
    fs::write(folder.path().join("owls.txt"), "tawny\n").unwrap();
    fs::write(folder.path().join("perstack.toml"), TOML).unwrap();
    let project = config::load(&folder.path().join("perstack.toml")).unwrap();
    let nothing = Overrides::default();
    let mut options = Options::new(project.experts.clone(), folder.path().to_owned());
    options.settings = config::settle(&nothing, &nothing, Some(&project), &nothing).unwrap();
    options.settings.limits.max_steps = u64::MAX;
    options.environment = server.variables().into_iter().collect::<Environment>();
    let input = RunInput::new("librarian".parse().unwrap(), "Which owls?");
    let began = Instant::now();
    let outcome = tokio::runtime::Runtime::new().unwrap().block_on(runtime::run(input, &options)).unwrap();
    let took = began.elapsed();
    assert_eq!((outcome.checkpoint.head.status, outcome.steps), (Status::Completed, steps as u64));
    (size_of(&options.storage), took)
}

fn size_of(path: &Path) -> u64 {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().map(|entry| size_of(&entry.unwrap().path())).sum();
    }
    fs::metadata(path).unwrap().len()
}

/// How long the binary takes from its start to its first request.
fn start() -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(1);
    fs::write(folder.path().join("perstack.toml"), TOML).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_perstack"));
    command.args(["run", "librarian", "Which owls?"]).current_dir(folder.path()).env_clear();
    command.envs(server.variables()).env("HOME", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let asked = server.first_request();
    assert!(child.wait().unwrap().success());
    asked - began
}
