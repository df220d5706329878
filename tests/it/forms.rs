//! The forms of output that a person or a script reads, whole: one snapshot for each.

use rustix::process::Signal;
use serde_json::json;

use crate::interactive::on_terminal;
use crate::support::process::Ran;
use crate::support::screen::last_screen;
use crate::support::settle::assert_snapshot;
use crate::support::signpost::Signpost;
use crate::support::{Answer, Provider, Test, call};

const TEAM: &str = r#"
[experts.lead]
instruction = "You lead."
delegates = ["worker"]
[experts.lead.skills.ask]
type = "interactiveSkill"
[experts.lead.skills.ask.tools.askUser]
description = "Asks the reader."
inputJsonSchema = '{"type": "object", "properties": {"question": {"type": "string"}}}'
[experts.lead.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
pick = ["readTextFile", "exec"]
[experts.worker]
instruction = "You work."
description = "Does one task."
[experts.worker.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
pick = ["healthCheck", "readTextFile"]
"#;

/// An expert with tools of every kind, and a delegate.
fn team() -> Test {
    Test::new().toml(TEAM).provider(Provider::Anthropic).file("owls.txt", "barn owl\n")
}

fn look(id: &str) -> Answer {
    Answer::calls([call(id, "readTextFile", json!({"path": "owls.txt"}))])
}

fn question(id: &str) -> Answer {
    Answer::calls([call(id, "askUser", json!({"question": "Which owl?"}))])
}

fn task(id: &str) -> Answer {
    Answer::calls([call(id, "worker", json!({"query": "Count the owls."}))])
}

/// A job that read a file, missed another and was answered.
fn completed() -> Test {
    let missing = Answer::calls([call("c2", "readTextFile", json!({"path": "bees.txt"}))]);
    let test = team().answers([look("c1"), missing, Answer::text("One owl.")]);
    test.run(["run", "lead", "Count owls.", "--job-id", "nest"]).assert_code(0);
    test
}

#[test]
fn tools_are_listed() {
    team().run(["list-tools"]).assert_code(0).snapshot("list-tools/every-expert");
    team().run(["list-tools", "worker"]).assert_code(0).snapshot("list-tools/one-expert");
    team().run(["list-tools", "worker", "--json"]).assert_code(0).snapshot("list-tools/json");
    team().run(["list-tools", "wroker"]).assert_code(2).snapshot("list-tools/unknown-expert");
}

#[test]
fn a_configuration_is_checked() {
    team().run(["check"]).assert_code(0).snapshot("check/nothing-wrong");
    let wrong = TEAM.replace("delegates = [\"worker\"]", "delegates = [\"wroker\"]\nmaxStep = 3");
    let wrong = || Test::new().toml(&wrong).provider(Provider::Anthropic).env("ANTHROPIC_API_KEY", "");
    wrong().run(["check"]).assert_code(2).snapshot("check/mistakes");
    wrong().run(["check", "--json"]).assert_code(2).snapshot("check/json");
}

#[test]
fn a_job_is_looked_back_on() {
    let test = completed();
    test.run(["log"]).assert_code(0).snapshot("log-forms/recent");
    test.run(["log", "nest"]).assert_code(0).snapshot("log-forms/job");
    test.run(["log", "nest", "--step", "2"]).assert_code(0).snapshot("log-forms/step");
    test.run(["log", "--events"]).assert_code(0).snapshot("log-forms/events");
    test.run(["log", "--last", "2"]).assert_code(0).snapshot("log-forms/last-jobs");
    test.run(["log", "nest", "--last", "2"]).assert_code(0).snapshot("log-forms/last-events");
    test.run(["log", "--jobs"]).assert_code(0).snapshot("log-forms/jobs");
    test.run(["log", "--jobs", "--json", "--pretty"]).assert_code(0).snapshot("log-forms/jobs-json");
    test.run(["log", "--steps"]).assert_code(0).snapshot("log-forms/steps");
    test.run(["log", "--summary"]).assert_code(0).snapshot("log-forms/summary");
    test.run(["log", "--verbose", "--step", "1"]).assert_code(0).snapshot("log-forms/verbose");
    test.run(["log", "--tools"]).assert_code(0).snapshot("log-forms/tools");
    test.run(["log", "--errors"]).assert_code(0).snapshot("log-forms/errors");
    test.run(["log", "--take", "2", "--offset", "1"]).assert_code(0).snapshot("log-forms/page");
    test.run(["log", "--filter", ".toolCalls[].toolName == readTextFile", "--json", "--pretty"])
        .assert_code(0)
        .snapshot("log-forms/filter-json");
    test.run(["log", "--filter", ".stepNumber >"]).assert_code(2).snapshot("log-forms/bad-filter");
    test.run(["log", "owls"]).assert_code(2).snapshot("log-forms/unknown-job");
    team().run(["log"]).snapshot("log-forms/nothing-stored");
}

#[test]
fn progress_is_a_line_a_step() {
    let answers = || [look("c1"), task("c2"), Answer::text("One."), Answer::text("One owl.")];
    let run = |args: [&str; 4]| team().answers(answers()).run(args).assert_code(0);
    run(["run", "lead", "Count owls.", "--no-interactive"]).snapshot("progress/plain");
    run(["run", "lead", "Count owls.", "--quiet"]).snapshot("progress/quiet");
    run(["run", "lead", "Count owls.", "--verbose"]).snapshot("progress/verbose");
}

#[test]
fn progress_on_a_terminal_is_drawn_in_its_width() {
    let long = call("c1", "readTextFile", json!({"path": format!("{}/owls.txt", "nest/".repeat(30))}));
    let answers = [Answer::calls([long]), task("c2"), Answer::text("One."), Answer::text("One owl.")];
    let test = team().env("TERM", "xterm").silent_stdin().answers(answers);
    let Some(running) = on_terminal(&test, "run lead 'Count owls.'") else { return };
    let ran = running.finish().assert_code(0);
    assert_snapshot(test.root(), "progress/terminal", &last_screen(&ran.stdout, 80));
}

/// One job for each way to stop, each with the arguments given.
fn every_stop(args: [&str; 2]) -> Vec<(&'static str, Ran)> {
    let run = |test: &Test, more: [&str; 2]| {
        let ran = test.run(["run", "lead", "Count owls.", args[0], args[1], more[0], more[1]]);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    };
    let plain = ["--job-id", "nest"];
    let sign = |test: &Test| Signpost::at(&test.workspace(), "sign");
    let wait = json!({"command": "sh", "args": ["-c", "echo > sign; sleep 600"], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    let interrupted = team().answers([Answer::calls([call("c1", "exec", wait)])]);
    let signpost = sign(&interrupted);
    let running = interrupted.spawn(["run", "lead", "Count owls.", args[0], args[1], plain[0], plain[1]]);
    signpost.wait();
    running.signal(Signal::INT);
    vec![
        ("completed", run(&team().answers([look("c1"), Answer::text("One owl.")]), plain).assert_code(0)),
        ("error", run(&team().answers([Answer::refused_key("invalid key")]), plain).assert_code(1)),
        ("max-steps", run(&team().answers([look("c1")]), ["--max-steps", "1"]).assert_code(3)),
        ("question", run(&team().answers([question("c1")]), plain).assert_code(4)),
        ("budget", run(&team(), ["--max-tokens", "10"]).assert_code(5)),
        (
            "delegate",
            run(&team().answers([task("c1"), Answer::text("One."), Answer::text("One owl.")]), plain).assert_code(0),
        ),
        ("interrupted", running.finish().assert_code(130)),
    ]
}

#[test]
fn every_kind_of_stop_ends_in_words() {
    for (stop, ran) in every_stop(["--output", "text"]) {
        ran.snapshot(&format!("stop-text/{stop}"));
    }
}

#[test]
fn every_kind_of_stop_ends_in_one_object() {
    for (stop, ran) in every_stop(["--output", "json"]) {
        ran.snapshot(&format!("stop-json/{stop}"));
    }
}

#[test]
fn every_kind_of_stop_ends_in_an_event() {
    for (stop, ran) in every_stop(["--output", "jsonl"]) {
        ran.snapshot(&format!("stop-jsonl/{stop}"));
    }
}
