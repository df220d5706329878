//! What is told of a server's life: the original's four events.

use serde_json::{Value, json};

use super::script;
use crate::support::tool_server::{HttpServer, librarian, program, remote_skill, stdio_skill};

/// The events of one type.
fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// Where the first event of a type is.
#[track_caller]
fn place(events: &[Value], kind: &str) -> usize {
    events.iter().position(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn a_server_starts_connects_and_disconnects() {
    let test = librarian(&stdio_skill("owls", ["polite"])).answers(script([("echo", json!({"text": "owl"}))]));
    let events = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0).events();
    let [starting] = of_kind(&events, "skillStarting")[..] else { panic!("one start: {events:#?}") };
    assert_eq!(
        (&starting["skillName"], &starting["command"], &starting["args"]),
        (&json!("owls"), &json!(program()), &json!(["polite"]))
    );
    let [connected] = of_kind(&events, "skillConnected")[..] else { panic!("one connection: {events:#?}") };
    assert_eq!(connected["skillName"], "owls");
    assert_eq!(connected["serverInfo"], json!({"name": "polite", "version": "1.2.3"}));
    let milliseconds = |name: &str| connected[name].as_u64().unwrap_or_else(|| panic!("no {name} in {connected}"));
    assert_eq!(
        milliseconds("connectDurationMs"),
        milliseconds("spawnDurationMs") + milliseconds("handshakeDurationMs")
    );
    assert!(milliseconds("totalDurationMs") >= milliseconds("toolDiscoveryDurationMs"));
    let [disconnected] = of_kind(&events, "skillDisconnected")[..] else { panic!("one end: {events:#?}") };
    assert_eq!(disconnected["skillName"], "owls");
    for event in [starting, connected, disconnected] {
        assert!(event["id"].is_string() && event["jobId"].is_string() && event["runId"].is_string(), "{event}");
    }
    let order =
        ["initializeRuntime", "skillStarting", "skillConnected", "startGeneration", "callTools", "skillDisconnected"];
    assert!(order.map(|kind| place(&events, kind)).is_sorted(), "{events:#?}");
    let calls = &events[place(&events, "callTools")]["toolCalls"];
    assert_eq!((&calls[0]["skillName"], &calls[0]["toolName"]), (&json!("owls"), &json!("echo")));
}

#[test]
fn lines_on_standard_error_are_shown_without_their_escapes() {
    let skill = stdio_skill("owls", ["rough", "stderr=3"]);
    let test = librarian(&skill).answers(script([("echo", json!({"text": "owl"}))]));
    let events = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0).events();
    let told: Vec<&str> =
        of_kind(&events, "skillStderr").iter().map(|event| event["message"].as_str().unwrap()).collect();
    assert_eq!(told.join("\n"), "loading shelf 1\nloading shelf 2\nloading shelf 3");
    assert!(of_kind(&events, "skillStderr").iter().all(|event| event["skillName"] == "owls"));
}

#[test]
fn progress_is_reported_of_its_call() {
    let test = librarian(&stdio_skill("owls", ["rough"])).answers(script([("slow", json!({"steps": 3}))]));
    let events = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0).events();
    let told = of_kind(&events, "skillProgress");
    assert!(told.iter().all(|event| event["skillName"] == "owls" && event["toolName"] == "slow"), "{told:#?}");
    let steps: Vec<f64> = told.iter().map(|event| event["progress"].as_f64().unwrap()).collect();
    // Those that come close behind another are passed over.
    assert!(steps.first() == Some(&1.0) && steps.is_sorted() && steps.len() <= 3, "{told:#?}");
    let messages = steps.iter().map(|step| json!(format!("step {step}")));
    assert!(told.iter().map(|event| event["message"].clone()).eq(messages), "{told:#?}");
}

#[test]
fn a_remote_server_connects_without_a_start() {
    let server = HttpServer::start(["polite-http"]);
    let test = librarian(&remote_skill("owls", server.url()))
        .env("PERSTACK_ALLOW_PRIVATE_ENDPOINTS", "1")
        .answers(script([("echo", json!({"text": "owl"}))]));
    let events = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0).events();
    assert_eq!(of_kind(&events, "skillStarting").len(), 0);
    assert_eq!(of_kind(&events, "skillDisconnected").len(), 1);
    assert_eq!(events[place(&events, "skillConnected")]["serverInfo"]["name"], "polite");
}

#[test]
fn a_start_that_fails_is_reported_as_events_too() {
    let test = librarian(&stdio_skill("owls", ["rough", "start=exit", "stderr=1"]));
    let ran = test.run(["run", "librarian", "Look.", "--output", "jsonl"]);
    super::assert_refused(&ran, &["owls", "no database at owls.db"]);
    assert_eq!(of_kind(&ran.events(), "skillConnected").len(), 0);
}
