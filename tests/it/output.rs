//! What goes to standard output and what to standard error.

use serde_json::{Value, json};

use crate::support::storage::read_json;
use crate::support::{Answer, Gate, Provider, Test, call};

fn note(id: &str) -> Answer {
    Answer::calls([
        call(id, "writeTextFile", json!({"path": "owls.txt", "text": "tawny"})),
        call(&format!("{id}b"), "healthCheck", json!({})),
    ])
}

#[test]
fn text_output_is_the_answer_alone() {
    let test = Test::with(Provider::Anthropic).answers([note("c1"), Answer::text("Owls.\n\nTwo of them.")]);
    let ran = test
        .run(["run", "librarian", "Which birds?"])
        .assert_code(0)
        .snapshot("output/text-output-is-the-answer-alone");
    assert_eq!(ran.stdout, "Owls.\n\nTwo of them.\n");
    assert!(!ran.stderr.contains('\u{1b}'), "colours without a terminal: {:?}", ran.stderr);
}

#[test]
fn quiet_runs_print_nothing_else() {
    let test = Test::with(Provider::Anthropic).answers([note("c1"), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Which birds?", "--quiet"]).assert_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("Owls.\n", ""));
}

#[test]
fn json_output_is_one_object_about_the_job() {
    let test = Test::with(Provider::Anthropic).answers([note("c1"), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Which birds?", "--output", "json"]).assert_code(0);
    let object = ran.object();
    assert_eq!(object["status"], "completed");
    assert_eq!(object["text"], "Owls.");
    assert_eq!(object["steps"], 2);
    assert_eq!(object["jobId"], json!(ran.storage().job_id()));
    assert_eq!(
        object["usage"],
        json!({
            "inputTokens": 200, "outputTokens": 40, "reasoningTokens": 0, "totalTokens": 240, "cachedInputTokens": 0,
        })
    );
    let checkpoint = object["checkpoint"].as_str().unwrap();
    assert_eq!(read_json(checkpoint.as_ref())["status"], "completed");
}

#[test]
fn jsonl_output_is_every_event_in_order() {
    let test = Test::with(Provider::Anthropic).answers([note("c1"), Answer::text("Owls.").thinking("Hm.", "c2ln")]);
    let ran = test.run(["run", "librarian", "Which birds?", "--output", "jsonl"]).assert_code(0);
    assert_eq!(
        ran.state_events(),
        [
            "startRun",
            "startGeneration",
            "callTools",
            "resolveToolResults",
            "finishToolCall",
            "continueToNextStep",
            "startGeneration",
            "completeRun",
        ]
    );
    let events = ran.events();
    let streamed = |kind: &str, field: &str| {
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind.filter_map(|event| event[field].as_str()).collect::<String>()
    };
    assert_eq!(events[0]["type"], "initializeRuntime");
    assert_eq!(streamed("streamReasoning", "delta"), "Hm.");
    assert_eq!(streamed("completeStreamingReasoning", "text"), "Hm.");
    assert_eq!(streamed("streamRunResult", "delta"), "Owls.");
    let calls = events.iter().find(|event| event["type"] == "callTools").unwrap();
    assert_eq!(calls["toolCalls"][0]["id"], "c1");
    assert_eq!(calls["toolCalls"][0]["skillName"], "@perstack/base");
    assert_eq!(calls["stepNumber"], 1);
    let last = events.iter().find(|event| event["type"] == "completeRun").unwrap();
    assert_eq!((&last["text"], &last["stepNumber"]), (&json!("Owls."), &json!(2)));
}

#[test]
fn events_of_a_run_are_numbered_and_its_last_carries_the_whole_checkpoint() {
    let test = Test::with(Provider::OpenAi).answers([note("c1"), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Which birds?", "--json"]).assert_code(0);
    let events = ran.events();
    let numbers: Vec<_> = events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    let newest = |kind: &str| events.iter().rev().find(|event| event["type"] == kind).unwrap();
    assert!(newest("startGeneration")["messages"].is_u64());
    let checkpoint = &newest("completeRun")["checkpoint"]["messages"];
    assert_eq!(checkpoint.as_array().map(Vec::len), Some(5), "instruction, query, calls, results, answer");
}

#[test]
fn full_events_carry_the_whole_history() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Which birds?", "--json", "--full-events"]).assert_code(0);
    let events = ran.events();
    let start = events.iter().find(|event| event["type"] == "startGeneration").unwrap();
    assert_eq!(start["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn filters_choose_event_types() {
    let test = Test::with(Provider::Anthropic).answers([note("c1"), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "q", "--json", "--filter", "callTools,completeRun"]).assert_code(0);
    let types: Vec<Value> = ran.events().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["callTools", "completeRun"]);
}

#[test]
fn events_come_as_they_happen() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).answers([note("c1"), Answer::text("Owls.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Which birds?", "--output", "jsonl"]);
    running.wait_for_stdout("\"type\":\"callTools\"");
    gate.open();
    running.finish().assert_code(0);
}
