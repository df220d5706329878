//! `perstack replay FILE --against CONFIG --live`: all before the first difference comes from the recording, at no cost; what is
//! behind it goes on as a job of `run` does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::recovery::append;
use crate::support::process::{Ran, Running};
use crate::support::storage::read_json;
use crate::support::tool_server::command_skill;
use crate::support::{Answer, Gate, Provider, Test, call};

const TOML: &str = r#"
[experts.librarian]
instruction = "You lead."
delegates = ["worker"]
[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
[experts.worker]
instruction = "You work."
description = "Does one task."
"#;

/// A job that writes a file in its first step, asks a delegate in the second, and ends in the fourth.
fn recorded_with(provider: Provider) -> Test {
    let test = Test::new().toml(TOML).provider(provider).file("owls.txt", "");
    let test = test.answers([
        append("c1", "a"),
        Answer::calls([call("d1", "worker", json!({"query": "Count."}))]),
        Answer::text("One."),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Go.", "--record", "c.cassette", "--job-id", "nest"]).assert_code(0);
    test
}

fn recorded() -> Test {
    recorded_with(Provider::Anthropic)
}

/// Writes the configuration of the recording with a change.
fn change(test: &Test, from: &str, to: &str) {
    let toml = fs::read_to_string(test.workspace().join("perstack.toml")).unwrap();
    let changed = toml.replacen(from, to, 1);
    assert_ne!(changed, toml, "{from}");
    fs::write(test.workspace().join("other.toml"), changed).unwrap();
}

fn start(test: &Test, more: &[&str]) -> Running {
    let mut command = Command::new(test.binary());
    command.args(["replay", "c.cassette", "--against", "other.toml", "--live"]).args(more);
    test.start(command)
}

fn live(test: &Test, more: &[&str]) -> Ran {
    start(test, more).finish()
}

/// The storage of the only job that went on live.
fn storage(test: &Test) -> PathBuf {
    let below = fs::read_dir(test.workspace().join("perstack/replays")).unwrap();
    let folders: Vec<PathBuf> = below.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

fn job(test: &Test) -> Value {
    read_json(&storage(test).join("jobs/nest/job.json"))
}

/// The record of the job that went on live is whole, and so is that of the job that was recorded.
fn assert_whole(test: &Test) {
    let storage = storage(test);
    test.run(["job", "verify", "nest", "--storage", storage.to_str().unwrap()]).assert_code(0);
    test.run(["job", "verify", "nest"]).assert_code(0);
    test.run(["job", "verify", "nest", "--replay", "c.cassette"]).assert_code(0);
}

#[test]
fn what_is_behind_the_difference_is_asked_for_and_what_is_before_it_costs_nothing() {
    Provider::each(|provider| {
        let test = recorded_with(provider);
        change(&test, "You work.", "You rest.");
        fs::write(test.workspace().join("owls.txt"), "").unwrap();
        test.server().script([Answer::text("Two."), Answer::text("Done again.")]);
        let ran = live(&test, &[]).assert_code(0);
        assert!(ran.stdout.starts_with("step 3 of expert worker differs: instruction\n"), "{}", ran.stdout);
        assert!(ran.stdout.ends_with("\n\nDone again.\n"), "{}", ran.stdout);
        let requests = test.server().requests();
        assert_eq!(requests.len(), 6);
        assert!(requests[4].contains("You rest.") && requests[5].contains("Two."));
        assert_eq!(fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), "", "a recorded call was made");
        let job = job(&test);
        assert_eq!((&job["status"], &job["usage"]["inputTokens"]), (&json!("completed"), &json!(200)), "{job}");
        assert_whole(&test);
        let looks = format!("to look at it:\nperstack log nest --storage {}", storage(&test).display());
        assert!(ran.stderr.trim_end().ends_with(&looks), "{}", ran.stderr);
    });
}

#[test]
fn nothing_is_asked_or_stored_where_nothing_differs() {
    let test = recorded();
    change(&test, "[experts.librarian]", "maxSteps = 50\n[experts.librarian]");
    let ran = live(&test, &[]).assert_code(0);
    assert!(ran.stdout.starts_with("same: "), "{}", ran.stdout);
    assert_eq!(live(&test, &["--output", "json"]).assert_code(0).object(), json!({"same": true}));
    assert_eq!(test.server().requests().len(), 4);
    assert!(!test.workspace().join("perstack/replays").exists());
}

#[test]
fn the_result_is_one_object_with_the_difference() {
    let test = recorded();
    change(&test, "You lead.", "You follow.");
    test.server().script([Answer::text("Alone.")]);
    let object = live(&test, &["--output", "json"]).assert_code(0).object();
    assert_eq!((&object["same"], &object["difference"]["cause"]), (&json!(false), &json!("instruction")));
    assert_eq!((&object["result"]["text"], &object["result"]["status"]), (&json!("Alone."), &json!("completed")));
    assert_eq!(object["result"]["usage"]["inputTokens"], 100);
    assert_eq!(object["result"]["costIsComplete"], true, "{object}");
    let kept = live(&test, &["--storage", "perstack/replays/nest-0"]).assert_code(2);
    kept.assert_stderr(["job nest is in", "name another folder"]);
    // The next one has a place of its own.
    test.server().script([Answer::text("Again.")]);
    assert!(live(&test, &[]).assert_code(0).stdout.ends_with("\n\nAgain.\n"));
    assert_eq!(fs::read_dir(test.workspace().join("perstack/replays")).unwrap().count(), 2);
}

#[test]
fn delegates_that_do_not_differ_are_answered_by_the_recording() {
    let helper = "[experts.helper]\ninstruction = \"You help.\"\ndescription = \"Helps.\"\n";
    let both = TOML.replacen("[\"worker\"]", "[\"worker\", \"helper\"]", 1);
    let test = Test::new().toml(&format!("{both}{helper}")).provider(Provider::Anthropic);
    let of = |text: &'static str, answer: &str| Answer::text(answer).when(move |request| request.contains(text));
    let tasks = [call("d1", "worker", json!({"query": "Count."})), call("d2", "helper", json!({"query": "Help."}))];
    test.server().script([
        Answer::calls(tasks),
        of("You work.", "One."),
        of("You help.", "Helped."),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Go.", "--record", "c.cassette", "--job-id", "nest"]).assert_code(0);
    change(&test, "You work.", "You rest.");
    test.server().script([of("You rest.", "Two."), Answer::text("Both.")]);
    assert!(live(&test, &[]).assert_code(0).stdout.ends_with("\n\nBoth.\n"));
    assert_eq!(test.server().requests().len(), 6);
    assert!(test.server().requests().last().unwrap().contains("Helped."));
    assert_whole(&test);
}

#[test]
fn a_call_that_was_denied_then_is_made_now() {
    let test = recorded();
    let rule = "permissions = { deny = [\"appendTextFile\"] }\n";
    let test = test.toml(&format!("{rule}{TOML}"));
    let write = call("c1", "appendTextFile", json!({"path": "owls.txt", "text": "b"}));
    let read = call("c2", "readTextFile", json!({"path": "owls.txt"}));
    test.server().script([Answer::calls([write, read]), Answer::text("No.")]);
    test.run(["run", "librarian", "Write.", "--record", "c.cassette", "--job-id", "denied"]).assert_code(0);
    change(&test, rule, "");
    test.server().script([Answer::text("Yes.")]);
    let ran = live(&test, &[]).assert_code(0);
    assert!(ran.stdout.contains("differs: tool result") && ran.stdout.ends_with("\n\nYes.\n"), "{}", ran.stdout);
    assert_eq!(fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), "ab");
    let last = test.server().requests().last().unwrap().results();
    assert!(!last.iter().any(|(_, text)| text.contains("interrupted")), "{last:?}");
}

#[test]
fn budgets_count_what_is_live() {
    let test = recorded();
    change(&test, "You work.", "You rest.");
    // The four recorded answers took more than this.
    test.server().script([Answer::text("Two."), Answer::text("Done again.")]);
    live(&test, &["--max-tokens", "20000"]).assert_code(0);
    assert!(job(&test)["budget"]["spent"]["tokens"].as_u64().unwrap() < 400, "{}", job(&test));
    let ran = live(&test, &["--max-tokens", "10", "--storage", "short"]).assert_code(5);
    ran.assert_stderr(["--storage", "--max-tokens"]);
    assert_eq!(test.server().requests().len(), 6);
}

#[test]
fn a_job_that_was_stopped_live_is_resumed() {
    for signal in [Signal::INT, Signal::KILL] {
        let gate = Gate::new();
        let test = recorded().may_leave_answers();
        change(&test, "You work.", "You rest.");
        test.server().script([Answer::text("Never.").delay(&gate)]);
        let running = start(&test, &["--storage", "kept"]);
        running.wait_for_request(5);
        running.signal(signal);
        let ran = running.finish();
        gate.open();
        if signal == Signal::INT {
            assert_eq!(ran.code, Some(130), "{}", ran.stderr);
            assert!(ran.stderr.contains("perstack resume") && ran.stderr.contains("--storage"), "{}", ran.stderr);
        }
        test.server().script([Answer::text("Two."), Answer::text("Done again.")]);
        let resumed = test.run(["resume", "nest", "--config", "other.toml", "--storage", "kept", "--output", "json"]);
        let object = resumed.assert_code(0).object();
        assert_eq!(
            (&object["text"], &object["usage"]["inputTokens"]),
            (&json!("Done again."), &json!(200)),
            "{object}"
        );
    }
}

#[test]
fn a_question_behind_the_difference_waits_for_its_answer() {
    let test = recorded();
    let asks = "[experts.librarian.skills.person]\ntype = \"interactiveSkill\"\n\
                [experts.librarian.skills.person.tools.ask]\ninputJsonSchema = '{\"type\":\"object\"}'\n";
    change(&test, "[experts.worker]", &format!("{asks}[experts.worker]"));
    test.server().script([Answer::calls([call("q1", "ask", json!({"question": "Which?"}))]), Answer::text("Both.")]);
    let ran = live(&test, &["--storage", "kept"]).assert_code(4);
    assert!(ran.stdout.contains("differs: tool definition ask"), "{}", ran.stdout);
    let answered = test.run(["resume", "nest", "Barn owls.", "-i", "--config", "other.toml", "--storage", "kept"]);
    assert_eq!(answered.assert_code(0).stdout, "Both.\n");
}

#[test]
fn a_recording_that_was_cut_short_goes_on_behind_its_end() {
    let test = recorded();
    change(&test, "\n", "\n\n");
    let whole = fs::read_to_string(test.workspace().join("c.cassette")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let kept = lines.iter().position(|line| line.contains("\"number\":3")).unwrap();
    fs::write(test.workspace().join("c.cassette"), lines[..kept].join("\n") + "\n").unwrap();
    test.server().script([Answer::text("Two."), Answer::text("Done again.")]);
    let ran = live(&test, &[]).assert_code(0);
    assert!(ran.stdout.contains("cut short") && ran.stdout.ends_with("\n\nDone again.\n"), "{}", ran.stdout);
}

#[test]
fn mistakes_are_found_before_anything_is_asked_or_stored() {
    let test = recorded();
    change(&test, "You work.", "You rest.");
    test.run(["replay", "c.cassette", "--live"]).assert_code(2);
    test.run(["replay", "c.cassette", "--max-cost", "1"]).assert_code(2);
    test.run(["replay", "c.cassette", "--against", "other.toml", "--storage", "kept"]).assert_code(2);
    live(&test, &["--output", "jsonl"]).assert_code(2);
    let test = test.unset("ANTHROPIC_API_KEY");
    live(&test, &[]).assert_code(2).assert_stderr(["ANTHROPIC_API_KEY"]);
    assert_eq!(test.server().requests().len(), 4);
    let left = fs::read_dir(test.workspace().join("perstack/replays")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn a_server_that_does_not_start_is_an_error_as_with_run() {
    let test = recorded();
    let skill = command_skill("owls", "no-such-server", &["x"]);
    change(&test, "[experts.worker]", &format!("{skill}\n[experts.worker]"));
    let ran = live(&test, &["--trust"]);
    assert_eq!(
        ran.code,
        test.run(["run", "librarian", "Go.", "--config", "other.toml", "--trust"]).code,
        "{}",
        ran.stderr
    );
    ran.assert_stderr(["no-such-server"]);
    assert_eq!(test.server().requests().len(), 4);
}
