//! Guidance: where a job is, what to do next, and what differs from the request.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::interactive::on_terminal;
use crate::support::answer::Stop;
use crate::support::signpost::Signpost;
use crate::support::storage::checkpoint_id;
use crate::support::{Answer, KEY, Provider, Test, call};

const ASKING: &str = "[experts.librarian]\ninstruction = \"You ask.\"\n\
    [experts.librarian.skills.ask]\ntype = \"interactiveSkill\"\n\
    [experts.librarian.skills.ask.tools.askUser]\ndescription = \"Asks.\"\n\
    inputJsonSchema = '{\"type\":\"object\",\"properties\":{\"question\":{\"type\":\"string\"}}}'\n";

fn question(id: &str, text: &str) -> crate::support::answer::Call {
    call(id, "askUser", json!({"question": text}))
}

fn check(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

#[test]
fn a_continued_job_counts_the_steps_that_it_took() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("One.")]);
    let steps = |ran: crate::support::process::Ran| ran.assert_code(0).object()["steps"].clone();
    assert_eq!(steps(test.run(["run", "librarian", "q", "--output", "json"])), 1);
    test.server().script([Answer::text("Two.")]);
    assert_eq!(steps(test.run(["resume", "latest", "And?", "--output", "json"])), 1);
    test.server().script([check("c1"), Answer::text("Four.")]);
    let ran = test.run(["resume", "latest", "And?"]).assert_code(0);
    ran.snapshot("guidance/a-continued-job-counts-the-steps-that-it-took");
}

#[test]
fn what_the_last_step_of_a_stopped_job_did_is_shown() {
    let test = Test::with(Provider::Anthropic).answers([check("c1")]);
    let ran = test.run(["run", "librarian", "q", "--max-steps", "1"]).assert_code(3);
    ran.snapshot("guidance/what-the-last-step-of-a-stopped-job-did-is-shown");
}

#[test]
fn a_question_is_shown_to_a_quiet_user_too() {
    let test = Test::new().toml(ASKING).provider(Provider::Anthropic);
    test.server().script([Answer::calls([question("c1", "Which owl?"), question("c2", "How many?")])]);
    let ran = test.run(["run", "librarian", "q", "--quiet"]).assert_code(4);
    let lines: Vec<_> = ran.stderr.lines().collect();
    let asked = "waiting for an answer: askUser: Asks.";
    let (questions, command) = lines.split_at(4);
    assert_eq!(questions, [asked, "  question: Which owl?", asked, "  question: How many?"]);
    assert!(command.len() == 1 && command[0].starts_with("perstack resume "), "{lines:?}");
    assert!(command[0].ends_with(" ANSWER -i --quiet"), "{lines:?}");
}

#[test]
fn an_answer_where_nothing_was_asked_is_refused() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("One.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    test.run(["resume", "latest", "The barn owl.", "-i"])
        .assert_code(2)
        .snapshot("guidance/an-answer-where-nothing-was-asked-is-refused");
    test.run(["run", "librarian", "The barn owl.", "--continue", "-i"]).assert_code(2);
}

#[test]
fn an_answer_that_a_filter_ended_is_not_taken_for_a_whole_one() {
    Provider::each(|provider| {
        if provider.has_filter() {
            let test = Test::with(provider).answers([Answer::text("Owls are").stop_reason(Stop::Filtered)]);
            let ran = test.run(["run", "librarian", "q"]).assert_code(0);
            ran.assert_stderr(["the answer may be incomplete"]);
        }
        let test = Test::with(provider).answers([Answer::text("Owls.")]);
        assert!(!test.run(["run", "librarian", "q"]).assert_code(0).stderr.contains("incomplete"));
    });
}

#[test]
fn an_answer_that_is_cut_off_each_time_is_no_result() {
    Provider::each(|provider| {
        let test = Test::with(provider);
        test.server().answer_by(|_| Answer::text("and so on ").stop_reason(Stop::Length));
        let ran = test.run(["run", "librarian", "q", "--output", "json"]).assert_code(1);
        assert_eq!(ran.object()["status"], "stoppedByError", "{provider:?}");
        assert_eq!(test.server().requests().len(), 4, "{provider:?}");
        test.server().script([Answer::text("to the end.")]);
        let whole = format!("{}to the end.\n", "and so on ".repeat(4));
        assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, whole, "{provider:?}");
    });
}

#[test]
fn an_environment_file_that_was_named_and_is_missing_is_an_error() {
    let test = Test::with(Provider::Anthropic).file("here.env", "").answers([Answer::text("One.")]);
    let ran = test.run(["run", "librarian", "q", "--env-path", "here.env", "--env-path", "gone.env"]).assert_code(0);
    assert!(ran.stderr.contains("warning: --env-path gone.env") && !ran.stderr.contains("here.env"), "{}", ran.stderr);
}

/// A job that was killed while a tool with an effect was at work.
fn killed_in_a_call() -> Test {
    let test = Test::with(Provider::Anthropic);
    let signpost = Signpost::at(&test.workspace(), "sign");
    let script = "echo x >> owls.txt; echo > sign; sleep 600";
    let arguments =
        json!({"command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    test.server().script([Answer::calls([call("c1", "exec", arguments)])]);
    let running = test.spawn(["run", "librarian", "q"]);
    signpost.wait();
    running.signal(Signal::KILL);
    running.finish();
    test
}

#[test]
fn on_a_terminal_a_person_decides_about_calls_in_doubt() {
    for (typed, effects, code) in [("1\n", "x\n", 0), ("\n", "x\n", 1)] {
        let test = killed_in_a_call().env("TERM", "xterm").silent_stdin();
        test.server().script([Answer::text("Checked.")]);
        let Some(running) = on_terminal(&test, "resume latest") else { return };
        running.wait_for_stdout("effect unknown: exec");
        running.wait_for_stdout("stops here)\r\n> ");
        running.type_in(typed);
        let ran = running.finish().assert_code(code);
        assert_eq!(ran.stdout.contains("Checked."), code == 0, "{}", ran.stdout);
        assert_eq!(fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), effects);
        if code == 1 {
            assert!(ran.stdout.contains("perstack resume "), "{}", ran.stdout);
            test.run(["resume", "latest"]).assert_code(0);
        }
    }
}

#[test]
fn the_command_after_a_stop_in_doubt_goes_on() {
    let test = killed_in_a_call();
    let ran = test.run(["resume", "latest", "--in-doubt", "stop"]).assert_code(1);
    let ran = ran.snapshot("guidance/the-command-after-a-stop-in-doubt-goes-on");
    let line = ran.stderr.lines().last().unwrap();
    let id = line.strip_prefix("perstack resume ").unwrap_or_else(|| panic!("{line}"));
    test.server().script([Answer::text("Checked.")]);
    assert_eq!(test.run(["resume", id]).assert_code(0).stdout, "Checked.\n");
    assert_eq!(fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), "x\n");
}

#[test]
fn an_id_in_use_is_a_mistake_of_the_command() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    test.run(["run", "librarian", "q", "--job-id", "nest"])
        .assert_code(2)
        .snapshot("guidance/an-id-in-use-is-a-mistake-of-the-command");
}

#[test]
fn a_replay_beside_its_recording_is_sent_to_another_storage() {
    let test = Test::with(Provider::Anthropic).answers([check("c1"), Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--record", "c.cassette"]).assert_code(0);
    test.run(["run", "librarian", "q", "--replay", "c.cassette"])
        .assert_code(2)
        .snapshot("guidance/a-replay-beside-its-recording-is-sent-to-another-storage");
    let mut stored = Vec::new();
    for storage in ["a", "b"] {
        let ran = test.run(["run", "librarian", "q", "--replay", "c.cassette", "--replay-tools", "--storage", storage]);
        assert_eq!(ran.assert_code(0).stdout, "One.\n");
        stored.push(files(&test.workspace().join(storage)));
    }
    assert!(stored[0].len() >= 5 && stored[0] == stored[1], "two replays store the same bytes");
}

/// Every file below `folder` by its path there, with its bytes.
fn files(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_replays_differences_have_lines_of_their_own() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("One.")]);
    test.run(["run", "librarian", "Which owl?", "--record", "c.cassette"]).assert_code(0);
    let ran = test.run(["run", "librarian", "Which bee?", "--replay", "c.cassette", "--storage", "a"]).assert_code(1);
    let line = ran.stderr.lines().find(|line| line.contains("recorded \"Which owl?\"")).unwrap_or_default();
    assert!(line.trim_start().starts_with("/messages/"), "{}", ran.stderr);
}

#[test]
fn a_copied_checkpoint_goes_on_with_the_provider_and_model_of_the_place() {
    let home = Test::with(Provider::OpenAi).answers([check("c1")]);
    home.run(["run", "librarian", "Count owls.", "--max-steps", "1", "--model", "gpt-5-mini"]).assert_code(3);
    let file = home.storage().last_checkpoint();
    let toml = "model = \"gpt-5\"\n[experts.librarian]\ninstruction = \"You find things.\"\n";
    let away = Test::new().toml(toml).provider(Provider::OpenAi).env("ANTHROPIC_API_KEY", KEY);
    let away = away.file("copied.json", fs::read(&file).unwrap()).answers([Answer::text("One.")]);
    let ran = away.run(["resume", "copied.json", "--max-steps", "9"]).assert_code(0);
    assert_eq!(ran.stdout, "One.\n", "{}", checkpoint_id(&file));
    assert_eq!(away.server().requests().remove(0).body["model"], "gpt-5");
}

#[test]
fn a_file_in_the_way_of_the_storage_is_named() {
    let test = Test::with(Provider::Anthropic).file("taken", "");
    let ran = test.run(["run", "librarian", "q", "--storage", "taken"]).assert_code(6);
    ran.snapshot("guidance/a-file-in-the-way-of-the-storage-is-named");
}

#[test]
fn a_resumption_without_a_name_means_the_latest_job() {
    let test = Test::with(Provider::Anthropic);
    test.run(["resume"]).assert_code(2).snapshot("guidance/nothing-to-resume");
    test.server().script([check("c1"), Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--max-steps", "1"]).assert_code(3);
    assert_eq!(test.run(["resume", "--max-steps", "5"]).assert_code(0).stdout, "One.\n");
}

#[test]
fn the_end_of_its_id_names_a_job() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("One."), Answer::text("Two.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    test.run(["run", "librarian", "q"]).assert_code(0);
    for job in test.storage().jobs() {
        let id = job.file_name().unwrap().to_str().unwrap().to_owned();
        let short = &id[id.len() - 8..];
        assert_eq!(test.run(["log", short, "--json"]).assert_code(0).object()["job"]["id"], id);
        test.server().script([Answer::text("More.")]);
        let object = test.run(["resume", short, "And?", "--output", "json"]).assert_code(0).object();
        assert_eq!(object["jobId"], id);
    }
    // Neither a beginning nor an end.
    let middle = &test.storage().jobs()[0].file_name().unwrap().to_str().unwrap()[9..18].to_owned();
    test.run(["log", middle]).assert_code(2);
}

#[test]
fn a_history_has_the_way_on_and_the_cost() {
    let test = killed_in_a_call();
    let id = test.storage().job_id();
    let short = &id[id.len() - 8..];
    for view in [&["log"][..], &["log", &id], &["log", "-v"]] {
        let mut command = std::process::Command::new(test.binary());
        command.args(view);
        let ran = test.start(command).finish().assert_code(0);
        assert!(ran.stdout.contains(&format!(" perstack resume {short}\n")), "{}", ran.stdout);
    }
    test.server().script([Answer::text("Checked.")]);
    test.run(["resume", &id]).assert_code(0);
    let ran = test.run(["log", &id]).assert_code(0);
    assert!(ran.stdout.contains("\nCost: ") && !ran.stdout.contains("To continue"), "{}", ran.stdout);
}
