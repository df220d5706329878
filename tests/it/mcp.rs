//! MCP servers as skills: the binary with real servers, good and bad, at the other end of real pipes and sockets.

use std::fs;

use serde_json::Value;

use crate::support::process::Ran;
use crate::support::request::Request;
use crate::support::{Answer, PATIENCE, Test, call};

mod events;
mod listing;
mod locked;
mod names;
mod oauth;
mod processes;
mod proxy;
mod questions;
mod remote;
mod replayed;
mod results;
mod server;
mod start;
mod trouble;

/// Runs `librarian`, whose model makes these calls one after the other and then is done; every request it made.
#[track_caller]
pub fn calling<const N: usize>(test: Test, calls: [(&str, Value); N]) -> (Test, Vec<Request>) {
    let test = test.answers(script(calls));
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let requests = test.server().requests();
    assert_eq!(requests.len(), N + 1);
    (test, requests)
}

/// A turn for each call, then a last one.
pub fn script<const N: usize>(calls: [(&str, Value); N]) -> Vec<Answer> {
    let turn = |(number, (tool, arguments)): (usize, (&str, Value))| {
        Answer::calls([call(&format!("c{}", number + 1), tool, arguments)])
    };
    calls.into_iter().enumerate().map(turn).chain([Answer::text("Done.")]).collect()
}

/// The tool results of an Anthropic conversation, in order: their text, and whether they are marked as errors.
pub fn tool_results(request: &Request) -> Vec<(String, bool)> {
    let messages = request.body["messages"].as_array().unwrap();
    let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let results = blocks.filter(|block| block["type"] == "tool_result");
    let errors: Vec<bool> = results.map(|block| block["is_error"] == true).collect();
    request.results().into_iter().map(|(_, text)| text).zip(errors).collect()
}

/// Fails unless the run was refused for a reason that can be mended, told in these words.
#[track_caller]
fn assert_refused(ran: &Ran, words: &[&str]) {
    assert!(matches!(ran.code, Some(1 | 2)), "code {:?}, signal {:?}\n{}", ran.code, ran.signal, ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?} on standard error:\n{}", ran.stderr);
    }
    let headline = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default().trim_end();
    assert!(
        !headline.is_empty() && !headline.ends_with(':') && !headline.ends_with("()"),
        "no reason:\n{}",
        ran.stderr
    );
}

/// Waits for a condition that another process brings about.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The ids that `processes=FILE` made a server write: its own and its grandchild's.
#[track_caller]
fn processes(test: &Test, file: &str) -> [u32; 2] {
    let path = test.workspace().join(file);
    wait_until("the file of processes", || path.exists());
    let written = fs::read_to_string(path).unwrap();
    let ids: Vec<u32> = written.split_whitespace().map(|id| id.parse().unwrap()).collect();
    ids.try_into().unwrap()
}

/// Whether a process that was this program or `sleep` still runs. Without `/proc`, nobody does: such systems run the
/// tests for the rest.
pub fn is_running(id: u32) -> bool {
    // `ID (COMMAND) STATE ...`; a process that has ended and waits to be collected is in state Z.
    let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let Some((command, rest)) = status.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") ")) else {
        return false;
    };
    matches!(command, "mcp_server" | "sleep") && !rest.starts_with(['Z', 'X'])
}

/// Waits until neither a server nor its grandchild runs.
#[track_caller]
fn assert_gone(ids: [u32; 2]) {
    for id in ids {
        wait_until(&format!("the end of process {id}"), || !is_running(id));
    }
}
