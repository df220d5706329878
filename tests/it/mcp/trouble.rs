//! Servers that go wrong in a call: the model gets an error, the run goes on.

use serde_json::json;

use super::{calling, tool_results, wait_until};
use crate::support::Test;
use crate::support::tool_server::{librarian, lines, stdio_skill};

/// An expert with the rough server, which keeps a diary, and a limit for calls in milliseconds.
fn rough(call_timeout: u64) -> Test {
    librarian(&format!("{}callTimeout = {call_timeout}\n", stdio_skill("owls", ["rough", "diary=diary"])))
}

/// How often the server was asked for this tool.
fn asked(test: &Test, tool: &str) -> usize {
    lines(test, "diary").iter().filter(|line| **line == format!("called {tool}")).count()
}

#[test]
fn a_call_that_hangs_ends_within_its_limit_and_the_server_is_informed() {
    let (test, requests) = calling(rough(500), [("hang", json!({})), ("echo", json!({"text": "owl"}))]);
    let results = tool_results(&requests[2]);
    let (result, is_error) = &results[0];
    assert!(*is_error && result.contains("hang"), "{result}");
    assert_eq!(results[1].0, "echo: owl", "the server is still there");
    assert_eq!(asked(&test, "hang"), 1);
    assert!(lines(&test, "diary").contains(&"cancelled".to_owned()), "{:?}", lines(&test, "diary"));
}

#[test]
fn progress_extends_the_limit_but_one_sign_of_life_is_not_enough() {
    // Twelve pauses of 200 ms, each far below the limit, together above it.
    let (_test, requests) = calling(rough(1_500), [("slow", json!({"steps": 12})), ("stall", json!({}))]);
    let results = tool_results(&requests[2]);
    assert_eq!(results[0], ("slow and sure".to_owned(), false));
    assert!(results[1].1, "{results:?}");
}

#[test]
fn a_server_that_dies_in_a_call_is_started_again_for_the_next() {
    let (test, requests) = calling(rough(60_000), [("die", json!({})), ("echo", json!({"text": "owl"}))]);
    let results = tool_results(&requests[2]);
    assert!(results[0].1 && results[0].0.contains("die"), "{results:?}");
    assert_eq!(results[1], ("echo: owl".to_owned(), false));
    assert_eq!(asked(&test, "die"), 1, "what may have had an effect is not done twice");
}

#[test]
fn a_server_that_died_once_works_the_next_time() {
    let (test, requests) = calling(rough(60_000), [("dieOnce", json!({})), ("dieOnce", json!({}))]);
    let results = tool_results(&requests[2]);
    assert_eq!(results[1], ("alive again".to_owned(), false), "{results:?}");
    assert_eq!(asked(&test, "dieOnce"), 2);
}

#[test]
fn a_call_that_only_reads_is_made_again_after_a_death() {
    let (test, requests) = calling(rough(60_000), [("readDyingOnce", json!({}))]);
    assert_eq!(tool_results(&requests[1]), [("alive again".to_owned(), false)]);
    assert_eq!(asked(&test, "readDyingOnce"), 2);
}

#[test]
fn lines_that_are_no_messages_do_no_harm() {
    let (_test, requests) = calling(rough(60_000), [("babble", json!({})), ("misaddress", json!({}))]);
    assert_eq!(tool_results(&requests[2]), [("found it".to_owned(), false), ("yours".to_owned(), false)]);
}

#[test]
fn contents_of_no_known_kind_leave_the_rest_alone_or_are_an_error() {
    let (_test, requests) = calling(rough(60_000), [("odd", json!({})), ("echo", json!({"text": "owl"}))]);
    let results = tool_results(&requests[2]);
    let (text, is_error) = &results[0];
    assert!(*is_error || (text.contains("before") && text.contains("after")), "{text}");
    assert_eq!(results[1].0, "echo: owl");
}

#[test]
fn an_interrupted_call_is_cancelled_at_the_server() {
    let test = rough(600_000).answers(super::script([("hang", json!({}))])).may_leave_answers();
    let running = test.spawn(["run", "librarian", "Look."]);
    wait_until("the call", || asked(&test, "hang") == 1);
    running.signal(rustix::process::Signal::INT);
    let ran = running.finish().assert_code(130);
    assert!(ran.stderr.contains("perstack resume"), "{}", ran.stderr);
    assert!(lines(&test, "diary").contains(&"cancelled".to_owned()), "{:?}", lines(&test, "diary"));
}
