//! Recorded sessions with servers, replayed where there is none.

use std::fs;

use serde_json::json;

use super::script;
use crate::support::process::Ran;
use crate::support::tool_server::{command_skill, librarian, lines, program};
use crate::support::{Answer, Test};

/// Runs an expert whose server is started by a script, and records it.
fn recorded() -> Test {
    let test = librarian(&command_skill("owls", "sh", &["server.sh"]));
    fs::write(test.workspace().join("server.sh"), format!("exec '{}' rough diary=diary\n", program())).unwrap();
    let test = test.answers(script([("echo", json!({"text": "owl"}))]));
    test.run(["run", "librarian", "Look.", "--record", "c.cassette"]).assert_code(0);
    assert_eq!(lines(&test, "diary"), ["listed", "called echo"]);
    test
}

/// From now on the server writes that it was started, and ends.
fn broken(test: &Test) {
    fs::write(test.workspace().join("server.sh"), "echo started >> diary\nexit 7\n").unwrap();
}

/// Replays into this folder: a replay has the ids of its recording.
fn replay(test: &Test, storage: &str, option: &str) -> Ran {
    let [run, expert, query, replay, file, tools] =
        ["run", "librarian", "Look.", "--replay", "c.cassette", "--replay-tools"];
    test.run([run, expert, query, replay, file, tools, "--storage", storage, option])
}

/// An option that changes nothing of a session.
const NONE: &str = "--max-steps=100";

#[test]
fn replayed_tools_start_no_server() {
    let test = recorded();
    broken(&test);
    assert_eq!(replay(&test, "zero", NONE).assert_code(0).stdout, "Done.\n");
    assert_eq!(lines(&test, "diary"), ["listed", "called echo"]);
    let replays = ["one", "two"].map(|storage| replay(&test, storage, "--output=jsonl").assert_code(0).stdout);
    assert_eq!(replays[0], replays[1]);
}

#[test]
fn an_older_cassette_asks_the_lock_and_else_the_servers() {
    let test = recorded();
    let cassette = test.workspace().join("c.cassette");
    let written = crate::support::cassette::whole(&fs::read_to_string(&cassette).unwrap());
    let older: Vec<&str> = written.lines().filter(|line| !line.contains("\"offer\"")).collect();
    assert_eq!(older.len() + 1, written.lines().count(), "one offer was recorded");
    let older = older.join("\n") + "\n";
    fs::write(&cassette, older.replacen("\"version\":5", "\"version\":1", 1)).unwrap();
    replay(&test, "one", "--trust").assert_code(0);
    assert_eq!(lines(&test, "diary"), ["listed", "called echo", "listed"]);

    test.run(["install"]).assert_code(0);
    broken(&test);
    let before = lines(&test, "diary");
    assert_eq!(replay(&test, "two", NONE).assert_code(0).stdout, "Done.\n");
    assert_eq!(lines(&test, "diary"), before);
}

#[test]
fn a_lock_that_must_serve_must_do_so_in_a_replay_too() {
    let test = recorded();
    broken(&test);
    replay(&test, "one", "--locked")
        .assert_code(2)
        .snapshot("mcp-replayed/a-lock-that-must-serve-must-do-so-in-a-replay-too");
}

#[test]
fn a_session_with_a_lock_is_replayed_without_it() {
    let test = recorded();
    test.run(["install"]).assert_code(0);
    test.server().script([Answer::text("Owls.")]);
    test.run(["run", "librarian", "Look.", "--locked", "--record", "c.cassette"]).assert_code(0);
    fs::remove_file(test.workspace().join("perstack.lock")).unwrap();
    broken(&test);
    assert_eq!(replay(&test, "one", NONE).assert_code(0).stdout, "Owls.\n");
    assert!(!lines(&test, "diary").contains(&"started".to_owned()));
}
