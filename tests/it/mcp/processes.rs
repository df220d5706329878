//! A server's process: what it is given, and that neither it nor what it started is left behind.
#![cfg(target_os = "linux")]

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{assert_gone, calling, is_running, processes, script, tool_results, wait_until};
use crate::support::Test;
use crate::support::process::Running;
use crate::support::storage::{files_with, read_json};
use crate::support::tool_server::{librarian, lines, stdio_skill};
use crate::trust::{attack, neighbour};

/// What the server sees of its parameters.
#[track_caller]
fn parameters(test: Test) -> (Test, Value) {
    let (test, requests) = calling(test, [("environment", json!({}))]);
    let (seen, _) = tool_results(&requests[1]).pop().unwrap();
    (test, serde_json::from_str(&seen).unwrap())
}

#[test]
fn a_server_sees_no_key_and_nothing_else_that_it_was_not_promised() {
    attack("a server that reads its environment");
    let test = librarian(&stdio_skill("owls", ["polite"])).env("OWL", "grey").env("OPENAI_API_KEY", "other");
    let (test, seen) = parameters(test);
    let variables = seen["variables"].as_object().unwrap();
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    assert_eq!(names, ["HOME", "PATH"]);
    let workspace = std::fs::canonicalize(test.workspace()).unwrap();
    assert_eq!(seen["directory"], workspace.to_str().unwrap());
}

#[test]
fn what_a_skill_requires_it_gets_unless_it_is_protected() {
    attack("a skill that requires a protected variable");
    neighbour("a skill that requires its own");
    let skill = stdio_skill("owls", ["polite"]);
    let test = librarian(&format!("{skill}requiredEnv = [\"OWL_TOKEN\", \"LD_PRELOAD\"]\n"))
        .env("OWL_TOKEN", "grey-7261")
        // A library that is not there: the loader complains and goes on.
        .env("LD_PRELOAD", "/nowhere/owl.so");
    let (_test, seen) = parameters(test);
    // The server told its value, and the model was not.
    assert_eq!(seen["variables"]["OWL_TOKEN"], "[redacted]");
    assert_eq!(seen["variables"]["LD_PRELOAD"], Value::Null);
}

#[test]
fn a_required_value_is_stored_nowhere() {
    attack("a value that a server requires is stored");
    let skill = stdio_skill("owls", ["polite"]);
    let test = librarian(&format!("{skill}requiredEnv = [\"OWL_TOKEN\"]\n")).env("OWL_TOKEN", "grey-7261-owl");
    // The server itself tells it.
    let (test, _requests) = calling(test, [("environment", json!({}))]);
    assert_eq!(files_with(&test.workspace().join("perstack"), "grey-7261-owl"), Vec::<std::path::PathBuf>::new());
}

/// A run that waits in a call, with the server's process and its grandchild's.
#[track_caller]
fn hanging(fault: &str) -> (Test, Running, [u32; 2]) {
    let skill = stdio_skill("owls", ["rough", "processes=ids", "diary=diary", fault]);
    let test = librarian(&skill).answers(script([("hang", json!({}))])).may_leave_answers();
    let running = test.spawn(["run", "librarian", "Look."]);
    let ids = processes(&test, "ids");
    wait_until("the call", || lines(&test, "diary").contains(&"called hang".to_owned()));
    assert!(ids.iter().all(|id| is_running(*id)), "both are there to be ended");
    (test, running, ids)
}

#[test]
fn a_run_that_ends_leaves_neither_server_nor_grandchild() {
    attack("a server that stays");
    neighbour("a server that ends");
    for fault in ["stderr=0", "stubborn"] {
        let test = librarian(&stdio_skill("owls", ["rough", "processes=ids", fault]));
        let (test, _requests) = calling(test, [("echo", json!({"text": "owl"}))]);
        assert_gone(processes(&test, "ids"));
    }
}

#[test]
fn the_answer_is_printed_while_a_server_is_still_waited_for() {
    for signal in [None, Some(Signal::INT)] {
        let test = librarian(&stdio_skill("owls", ["rough", "processes=ids", "stubborn"]));
        let test = test.answers(script([("echo", json!({"text": "owl"}))]));
        let running = test.spawn(["run", "librarian", "Look."]);
        running.wait_for_stdout("Done.");
        let ids = processes(&test, "ids");
        assert!(is_running(ids[0]), "a stubborn server goes on for seconds");
        // A person need not wait for it: what was answered is on record.
        if let Some(signal) = signal {
            running.signal(signal);
        }
        let ran = running.finish().assert_code(0);
        assert_eq!(ran.stdout, "Done.\n");
        assert_gone(ids);
        let job = read_json(&test.storage().jobs()[0].join("job.json"));
        assert_eq!(job["status"], "completed");
    }
}

#[test]
fn a_job_stays_locked_until_its_servers_are_gone() {
    let test = librarian(&stdio_skill("owls", ["rough", "processes=ids", "stubborn"]));
    let test = test.answers(script([("echo", json!({"text": "owl"}))]));
    let running = test.spawn(["run", "librarian", "Look."]);
    running.wait_for_stdout("Done.");
    // What the server holds, another Run of the job would need.
    test.run(["resume", "latest", "More."]).assert_code(6);
    running.finish().assert_code(0);
}

#[test]
fn killing_the_runner_leaves_neither_server_nor_grandchild() {
    attack("a server that outlives a killed runner");
    for fault in ["stderr=0", "stubborn"] {
        let (_test, running, ids) = hanging(fault);
        running.signal(Signal::KILL);
        assert_eq!(running.finish().signal, Some(9));
        assert_gone(ids);
    }
}

#[test]
fn killing_the_runner_of_a_stopped_keeper_leaves_neither_server_nor_grandchild() {
    attack("a keeper that is stopped before its runner is killed");
    let (_test, running, ids) = hanging("stubborn");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", ids[0])).unwrap();
    let parent: i32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(parent).unwrap(), Signal::STOP).unwrap();
    running.signal(Signal::KILL);
    assert_eq!(running.finish().signal, Some(9));
    assert_gone(ids);
}

#[test]
fn interrupting_the_runner_leaves_neither_server_nor_grandchild() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for fault in ["stderr=0", "stubborn"] {
            let (_test, running, ids) = hanging(fault);
            running.signal(signal);
            running.finish().assert_code(code);
            assert_gone(ids);
        }
    }
}

#[test]
fn killing_the_runner_while_servers_start_leaves_none() {
    attack("a server that is starting outlives a runner that is killed");
    let skill = stdio_skill("owls", ["rough", "processes=ids", "start=hang", "stubborn"]);
    let test = librarian(&skill);
    let running = test.spawn(["run", "librarian", "Look."]);
    let ids = processes(&test, "ids");
    running.signal(Signal::KILL);
    running.finish();
    assert_gone(ids);
}

#[test]
fn interrupting_the_runner_while_servers_start_ends_it() {
    let skill = stdio_skill("owls", ["rough", "processes=ids", "start=hang"]);
    let test = librarian(&skill);
    let running = test.spawn(["run", "librarian", "Look."]);
    let ids = processes(&test, "ids");
    running.signal(Signal::INT);
    running.finish().assert_code(130);
    assert_gone(ids);
}
