//! `perstack resume`: a job goes on from wherever it stopped, and nothing that was done is done again.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::signpost::Signpost;
use crate::support::storage::checkpoint_id;
use crate::support::{Answer, Gate, Provider, Test, call};

fn append(id: &str, word: &str) -> Answer {
    Answer::calls([call(id, "appendTextFile", json!({"path": "owls.txt", "text": word}))])
}

fn shell(id: &str, script: &str) -> Answer {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    Answer::calls([call(id, "exec", arguments)])
}

fn owls(test: &Test) -> String {
    std::fs::read_to_string(test.workspace().join("owls.txt")).unwrap()
}

#[test]
fn a_job_at_its_step_limit_goes_on() {
    Provider::each(|provider| {
        let test = Test::with(provider).file("owls.txt", "").answers([append("c1", "a"), append("c2", "b")]);
        test.run(["run", "librarian", "q", "--max-steps", "2"]).assert_code(3).assert_stderr(["perstack resume"]);
        test.server().script([append("c3", "c"), Answer::text("Done.")]);
        let ran = test.run(["resume", "latest", "Go on.", "--max-steps", "9"]).assert_code(0);
        assert_eq!((ran.stdout.as_str(), owls(&test).as_str()), ("Done.\n", "abc"), "{provider:?}");
        let request = test.server().requests().pop().unwrap();
        let ids: Vec<_> = request.results().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["c1", "c2", "c3"], "{provider:?}");
        assert!(request.contains("Go on."), "{provider:?}");
    });
}

#[test]
fn a_checkpoint_is_found_by_id_prefix_path_and_job() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("First.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    let file = test.storage().last_checkpoint();
    let id = checkpoint_id(&file);
    for name in [id, &id[..id.len() - 4], file.to_str().unwrap(), "nest", "latest"] {
        test.server().script([Answer::text("Again.")]);
        let ran = test.run(["resume", name, "Once more."]).assert_code(0);
        assert_eq!(ran.stdout, "Again.\n", "{name}");
    }
}

#[test]
fn the_originals_options_continue_too() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("First.")]);
    test.run(["run", "librarian", "q", "--job-id", "nest"]).assert_code(0);
    test.server().script([Answer::text("Second."), Answer::text("Third.")]);
    assert_eq!(test.run(["run", "librarian", "q", "--continue"]).assert_code(0).stdout, "Second.\n");
    let ran = test.run(["run", "librarian", "q", "--continue-job", "nest"]).assert_code(0);
    assert_eq!(ran.stdout, "Third.\n");
}

#[test]
fn a_stopped_checkpoint_alone_is_enough_in_another_folder() {
    let home = Test::with(Provider::Anthropic).file("owls.txt", "").answers([append("c1", "a")]);
    home.run(["run", "librarian", "Count owls.", "--max-steps", "1"]).assert_code(3);
    let checkpoint = std::fs::read(home.storage().last_checkpoint()).unwrap();
    let away = Test::with(Provider::Anthropic).file("copied.json", checkpoint).answers([Answer::text("One.")]);
    let ran = away.run(["resume", "copied.json", "Go on.", "--max-steps", "9"]).assert_code(0);
    assert_eq!(ran.stdout, "One.\n");
    let request = away.server().requests().remove(0);
    assert!(request.contains("Count owls.") && request.contains("Go on."));
    assert_eq!(request.results().len(), 1);
}

#[test]
fn older_checkpoints_fork() {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers([
        append("c1", "a"),
        append("c2", "b"),
        Answer::text("First."),
    ]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let checkpoints = test.storage().checkpoints();
    let before: Vec<_> = checkpoints.iter().map(|file| std::fs::read(file).unwrap()).collect();
    test.server().script([Answer::text("Another.")]);
    let ran = test.run(["resume", checkpoint_id(&checkpoints[0]), "Stop here."]).assert_code(0);
    assert_eq!(ran.stdout, "Another.\n");
    let ids: Vec<_> = test.server().requests().pop().unwrap().results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["c1"]);
    let after: Vec<_> = checkpoints.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert_eq!(before, after);
    assert_eq!(test.storage().runs().len(), 2);
}

/// Ends the binary by a signal while a command runs, then goes on.
fn assert_goes_on_after(signal: Signal, code: Option<i32>) {
    let test = Test::with(Provider::Anthropic)
        .file("owls.txt", "")
        .answers([append("c1", "a"), shell("c2", "echo b >> owls.txt; echo > sign; sleep 600")]);
    let sign = Signpost::at(&test.workspace(), "sign");
    let running = test.spawn(["run", "librarian", "q"]);
    sign.wait();
    running.signal(signal);
    let ran = running.finish();
    assert_eq!(ran.code, code, "{}", ran.stderr);
    if code.is_none() {
        assert_eq!(ran.signal, Some(signal.as_raw()));
    } else {
        ran.assert_stderr(["perstack resume"]);
    }
    test.server().script([Answer::text("Recovered.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Recovered.\n");
    assert_eq!(owls(&test), "ab\n", "nothing was done twice");
    let request = test.server().requests().pop().unwrap();
    let ids: Vec<_> = request.results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["c1", "c2"], "every call is answered");
}

#[test]
fn an_interrupted_command_is_reported_and_not_repeated() {
    assert_goes_on_after(Signal::INT, Some(130));
}

#[test]
fn a_terminated_command_is_reported_and_not_repeated() {
    assert_goes_on_after(Signal::TERM, Some(143));
}

#[test]
fn a_command_that_lost_its_terminal_is_reported_and_not_repeated() {
    assert_goes_on_after(Signal::HUP, Some(143));
}

#[test]
fn a_job_that_was_quit_goes_on_without_repeating_anything() {
    assert_goes_on_after(Signal::QUIT, None);
}

#[test]
fn a_killed_job_goes_on_without_repeating_anything() {
    assert_goes_on_after(Signal::KILL, None);
}

#[test]
fn an_answer_that_never_came_is_asked_for_again() {
    Provider::each(|provider| {
        let gate = Gate::new();
        let test = Test::with(provider).file("owls.txt", "").answers([
            append("c1", "a"),
            append("c2", "b"),
            Answer::text("Lost with the process.").delay(&gate),
        ]);
        let running = test.spawn(["run", "librarian", "q"]);
        running.wait_for_request(3);
        running.signal(Signal::KILL);
        assert_eq!(running.finish().code, None);
        gate.open();
        test.server().script([Answer::text("Found.")]);
        assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Found.\n", "{provider:?}");
        assert_eq!(owls(&test), "ab", "{provider:?}");
        let answers = test.storage().facts().iter().filter(|fact| fact["fact"] == "generated").count();
        assert_eq!(answers, 3, "{provider:?}: two turns before, one after");
    });
}

#[test]
fn a_failed_run_goes_on() {
    let test = Test::with(Provider::Anthropic).answers([Answer::status(400).message("no such model")]);
    test.run(["run", "librarian", "q"]).assert_code(1).snapshot("resume/a-failed-run-goes-on");
    test.server().script([Answer::text("Better.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Better.\n");
}

#[test]
fn questions_to_a_person_wait_for_the_answer() {
    let toml = "[experts.librarian]\ninstruction = \"You ask.\"\n\
                [experts.librarian.skills.ask]\ntype = \"interactiveSkill\"\n\
                [experts.librarian.skills.ask.tools.askUser]\ndescription = \"Asks.\"\n\
                inputJsonSchema = '{\"type\":\"object\",\"properties\":{\"question\":{\"type\":\"string\"}}}'\n";
    Provider::each(|provider| {
        let test = Test::new().toml(toml).provider(provider);
        test.server().script([Answer::calls([call("c1", "askUser", json!({"question": "Which owl?"}))])]);
        test.run(["run", "librarian", "q"]).assert_code(4).assert_stderr(["Which owl?", "perstack resume"]);
        test.server().script([Answer::text("The barn owl, then.")]);
        let ran = test.run(["resume", "latest", "The barn owl."]).assert_code(0);
        assert_eq!(ran.stdout, "The barn owl, then.\n", "{provider:?}");
        let results = test.server().requests().pop().unwrap().results();
        assert_eq!(results, [("c1".to_owned(), "The barn owl.".to_owned())], "{provider:?}");
    });
}

#[test]
fn a_torn_log_line_is_ignored() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("First.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let log = test.storage().runs()[0].join("log.jsonl");
    let torn = [std::fs::read(&log).unwrap(), b"{\"at\":17710".to_vec()].concat();
    std::fs::write(&log, torn).unwrap();
    test.server().script([Answer::text("Second.")]);
    let ran = test.run(["resume", "latest", "Again.", "--output", "json"]).assert_code(0);
    assert_eq!(ran.object()["text"], Value::from("Second."));
}
