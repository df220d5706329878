//! What scripts rely on: the schemas of events, results and stored files hold for what the binary writes, and the page of
//! events has an example of each from a real run.

mod page;

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::answers::with_schema;
use crate::context::{nearly_full, small_window};
use crate::fallback::fallen_back;
use crate::support::contracts::{assert_checkpoint, assert_job, schema};
use crate::support::storage::read_json;
use crate::support::tool_server::{librarian, stdio_skill};
use crate::support::{Answer, Gate, Provider, Test, call};
use crate::verify::verified_by;

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n\
                    [experts.lead.skills.person]\ntype = \"interactiveSkill\"\n\
                    [experts.lead.skills.person.tools.ask]\ninputJsonSchema = '{\"type\":\"object\"}'\n";

/// A run of the binary, with the code that it ends with.
struct Scenario {
    test: Test,
    expert: &'static str,
    flags: &'static [&'static str],
    code: i32,
}

fn scenario(test: Test, code: i32) -> Scenario {
    Scenario { test, expert: "librarian", flags: &[], code }
}

fn note() -> Answer {
    Answer::calls([call("c1", "writeTextFile", json!({"path": "owls.txt", "text": "tawny"}))]).and_text("First a look.")
}

/// Runs that together have every kind of event.
fn scenarios() -> Vec<Scenario> {
    let anthropic = || Test::with(Provider::Anthropic);
    let team = || Test::new().toml(TEAM).provider(Provider::Anthropic);
    let answered = [Answer::busy(1), note(), Answer::text("Owls.").thinking("Hm.", "c2ln")];
    let asked = Answer::calls([call("q1", "ask", json!({"question": "Which owl?"}))]);
    let delegated = [
        Answer::calls([call("d1", "worker", json!({"query": "Count."}))]),
        Answer::text("Three."),
        Answer::text("There are three."),
    ];
    let skill = librarian(&stdio_skill("owls", ["rough", "stderr=1"]));
    let skill = skill.answers([Answer::calls([call("c1", "slow", json!({"steps": 2}))]), Answer::text("Owls.")]);
    let flags: &[&str] = &["--max-steps", "1"];
    vec![
        scenario(anthropic().answers(answered), 0),
        Scenario { flags, ..scenario(anthropic().answers([note()]), 3) },
        scenario(anthropic().answers([Answer::status(400)]), 1),
        Scenario {
            flags: &["--deny", "writeTextFile"],
            ..scenario(anthropic().answers([note(), Answer::text("No.")]), 0)
        },
        Scenario { flags: &["--max-tokens", "10"], ..scenario(anthropic(), 5) },
        Scenario { expert: "lead", ..scenario(team().answers([asked]), 4) },
        Scenario { expert: "lead", ..scenario(team().answers(delegated), 0) },
        scenario(skill, 0),
        Scenario { flags: &["--max-retries", "0"], ..scenario(fallen_back(), 0) },
        scenario(with_schema().answers([Answer::text("Owls."), Answer::text("{\"owls\": 3}")]), 0),
        scenario(verified_by("exit 3", "maxRounds = 1").answers([Answer::text("Owls.")]), 7),
        scenario(small_window(), 0),
        scenario(nearly_full(), 0),
    ]
}

/// A job that a signal stops.
fn interrupted(flags: [&str; 2]) -> Vec<Value> {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).may_leave_answers().answers([Answer::text("Owls.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", flags[0], flags[1]]);
    running.wait_for_request(1);
    running.signal(Signal::INT);
    running.wait_for_stderr("stopping");
    let ran = running.finish().assert_code(130);
    gate.open();
    assert_storage(&test);
    if flags[1] == "json" { vec![ran.object()] } else { ran.events() }
}

/// Holds all that is stored against the schemas.
fn assert_storage(test: &Test) {
    let storage = test.storage();
    for job in storage.jobs() {
        assert_job(&read_json(&job.join("job.json")));
    }
    for checkpoint in storage.checkpoints() {
        assert_checkpoint(&read_json(&checkpoint));
    }
}

/// The events of all scenarios. Reading them holds them against their schema.
fn all_events() -> Vec<Value> {
    let run = |flags: &[&str]| -> Vec<Value> {
        let mut events = Vec::new();
        for Scenario { test, expert, flags: own, code } in scenarios() {
            let mut command = std::process::Command::new(test.binary());
            command.args(["run", expert, "Which birds?", "--output", "jsonl"]).args(flags).args(own);
            events.extend(test.start(command).finish().assert_code(code).events());
            assert_storage(&test);
        }
        events
    };
    let mut events = run(&[]);
    run(&["--full-events"]);
    events.extend(interrupted(["--output", "jsonl"]));
    events
}

#[test]
fn the_printed_schemas_are_those_of_the_book() {
    for name in ["events", "result", "dry-run", "job", "checkpoint"] {
        let printed = Test::new().run(["schema", name]).assert_code(0).object();
        assert!(jsonschema::meta::is_valid(&printed), "{name}");
        assert_eq!(printed, schema(name), "{name}");
    }
    let config = Test::new().run(["schema"]).assert_code(0).stdout;
    assert_eq!(config, Test::new().run(["schema", "config"]).assert_code(0).stdout);
    Test::new().run(["schema", "event"]).assert_code(2).assert_stderr(["'events'"]);
}

#[test]
fn every_end_of_a_job_is_a_result_by_its_schema() {
    let mut statuses = Vec::new();
    for Scenario { test, expert, flags, code } in scenarios() {
        let mut command = std::process::Command::new(test.binary());
        command.args(["run", expert, "Which birds?", "--output", "json"]).args(flags);
        let object = test.start(command).finish().assert_code(code).object();
        assert_eq!(object["schemaVersion"], 1);
        statuses.push(object["status"].as_str().unwrap().to_owned());
    }
    statuses.push(interrupted(["--output", "json"])[0]["status"].as_str().unwrap().to_owned());
    statuses.sort();
    statuses.dedup();
    let expected = [
        "completed",
        "stoppedByBudget",
        "stoppedByCancellation",
        "stoppedByError",
        "stoppedByExceededMaxSteps",
        "stoppedByInteractiveTool",
        "stoppedByVerification",
    ];
    assert_eq!(statuses, expected);
}

#[test]
fn files_of_the_original_are_as_the_schemas_have_them() {
    let usage = json!({
        "inputTokens": 10, "outputTokens": 2, "reasoningTokens": 0, "totalTokens": 12, "cachedInputTokens": 0,
    });
    assert_job(&json!({
        "id": "tz4a98xxat96iws9zmbrgj3a", "status": "stoppedByMaxSteps", "coordinatorExpertKey": "@org/lead@1.0.0",
        "totalSteps": 3, "maxSteps": 3, "usage": usage, "startedAt": 1_700_000_000_000_u64,
    }));
    assert_checkpoint(&json!({
        "id": "tz4a98xxat96iws9zmbrgj3b", "jobId": "j", "runId": "r", "status": "stoppedByInteractiveTool",
        "stepNumber": 2, "expert": {"key": "lead", "name": "lead", "version": "1.0.0"}, "usage": usage,
        "contextWindow": 200_000, "contextWindowUsage": 0.1,
        "pendingToolCalls": [{"id": "c1", "skillName": "person", "toolName": "ask", "args": {"question": "?"}}],
        "messages": [
            {"type": "instructionMessage", "id": "m1", "contents": [{"type": "textPart", "id": "p1", "text": "i"}], "cache": true},
            {"type": "userMessage", "id": "m2", "contents": [{"type": "textPart", "id": "p2", "text": "q"}]},
            {"type": "expertMessage", "id": "m3", "contents": [
                {"type": "thinkingPart", "id": "p3", "thinking": "Hm.", "signature": "s"},
                {"type": "toolCallPart", "id": "p4", "toolCallId": "c1", "toolName": "ask", "args": {"question": "?"}},
            ]},
        ],
    }));
}

#[test]
fn what_is_no_event_or_result_is_refused() {
    let validator = jsonschema::validator_for(&schema("events")).unwrap();
    let known = json!({
        "type": "streamText", "delta": "Owl", "id": "e", "timestamp": 1, "jobId": "j", "runId": "r", "schemaVersion": 1,
    });
    let with = |key: &str, value: Value| {
        let mut event = known.clone();
        event[key] = value;
        event
    };
    assert!(validator.is_valid(&known));
    assert!(validator.is_valid(&with("addedLater", json!(1))), "a field that a later version adds");
    for wrong in [with("delta", json!(1)), with("type", json!("sing")), with("jobId", json!("../x"))] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

/// `docs/events.md`. `UPDATE_DOCS=1 cargo test --test it contracts` writes it anew.
#[test]
fn the_page_of_events_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let page = page::page(&schema("events"), &all_events());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).find(|(kept, made)| kept != made);
    assert!(kept == page, "docs/events.md is not current, the first difference: {differs:#?}");
}
