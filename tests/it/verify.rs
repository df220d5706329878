//! Answers that a command has to verify: run contained, every time, and never printed before it has succeeded.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::interactive::on_terminal;
use crate::mcp::{is_running, wait_until};
use crate::support::cassette;
use crate::support::signpost::Signpost;
use crate::support::storage::{files_with, read_json};
use crate::support::{Answer, KEY, Provider, Test, call};

/// An expert whose answers this shell command verifies. `limits` are further lines of the table.
pub fn verified_by(command: &str, limits: &str) -> Test {
    with_expert("", command, limits)
}

/// The same with further keys of the expert.
fn with_expert(keys: &str, command: &str, limits: &str) -> Test {
    let command = toml::Value::from(command);
    let toml = format!(
        "[experts.librarian]\ninstruction = \"You count.\"\n{keys}\n[experts.librarian.verify]\ncommand = {command}\n{limits}\n"
    );
    Test::new().toml(&toml).provider(Provider::Anthropic)
}

/// Notes that it was run, and succeeds from the round `needed` on.
fn passes_at(needed: usize) -> String {
    format!("echo x >> rounds; echo \"saw $(wc -l < rounds)\"; echo problem >&2; [ $(wc -l < rounds) -ge {needed} ]")
}

fn rounds(test: &Test) -> usize {
    fs::read_to_string(test.workspace().join("rounds")).unwrap_or_default().lines().count()
}

fn text(answer: &str) -> Answer {
    Answer::text(answer)
}

fn completion(id: &str, result: &str) -> Answer {
    Answer::calls([call(id, "attemptCompletion", json!({"result": result}))])
}

fn status(test: &Test) -> Value {
    read_json(&test.storage().jobs()[0].join("job.json"))["status"].clone()
}

fn kinds(events: &[Value], wanted: &str) -> usize {
    events.iter().filter(|event| event["type"] == wanted).count()
}

#[test]
fn a_text_counts_once_the_command_succeeds() {
    let test = verified_by(&passes_at(3), "").answers([text("One."), text("Two."), text("Three.")]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(ran.stdout, "Three.\n");
    ran.assert_stderr([
        "verifying: echo x",
        "not verified (1 of 3): it exited with code 1",
        "not verified (2 of 3)",
        "verified (",
    ]);
    let requests = test.server().requests();
    assert_eq!((requests.len(), rounds(&test)), (3, 3));
    assert!(requests[0].contains("counts only once the command"), "the instruction names the command");
    assert!(requests[1].contains("saw 1") && requests[1].contains("problem") && requests[1].contains("round 1 of 3"));
    assert!(requests[2].contains("saw 2") && requests[2].contains("round 2 of 3"));
    let step = test.run(["log", "--step", "1"]).assert_code(0).stdout;
    assert!(step.contains("not verified: ") && step.contains("exited with code 1"), "{step}");
}

#[test]
fn a_completion_counts_once_the_command_succeeds() {
    let test = verified_by(&passes_at(3), "").answers([
        completion("c1", "One."),
        completion("c2", "Two."),
        completion("c3", "Three."),
    ]);
    let ran = test.run(["run", "librarian", "q", "--output", "jsonl"]).assert_code(0);
    let events = ran.events();
    let ends: Vec<&Value> = events.iter().filter(|event| event["type"] == "finishVerification").collect();
    assert_eq!((kinds(&events, "startVerification"), ends.len()), (3, 3));
    assert_eq!((&ends[0]["exitCode"], &ends[0]["passed"], &ends[0]["round"]), (&json!(1), &json!(false), &json!(1)));
    assert_eq!((&ends[2]["exitCode"], &ends[2]["passed"]), (&json!(0), &json!(true)));
    assert_eq!(ends[1]["output"], "saw 2\nproblem\n");
    assert!(ends[0]["durationMs"].is_u64());
    let answer = events.iter().find(|event| event["type"] == "completeRun").unwrap();
    assert_eq!(answer["text"], "Three.");
    let results = test.server().requests()[2].results();
    assert!(results.iter().all(|(_, result)| result.starts_with("Your answer does not count yet")), "{results:?}");
}

#[test]
fn nothing_of_an_answer_is_shown_before_it_counts() {
    let test = verified_by(&passes_at(2), "").answers([text("Wrong."), text("Right.")]);
    let ran = test.run(["run", "librarian", "q", "--stream"]).assert_code(0);
    assert_eq!(ran.stdout, "Right.\n");
    let test = verified_by(&passes_at(2), "").answers([text("Wrong."), text("Right.")]);
    let events = test.run(["run", "librarian", "q", "--output", "jsonl"]).assert_code(0).events();
    assert_eq!(kinds(&events, "streamText"), 0);
    let results: Vec<&Value> = events.iter().filter(|event| event["type"] == "completeStreamingRunResult").collect();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["text"], "Right.");
    let test = verified_by(&passes_at(2), "").answers([text("Wrong."), text("Right.")]);
    let test = test.env("TERM", "xterm").silent_stdin();
    let Some(running) = on_terminal(&test, "run librarian q --plain") else { return };
    let shown = running.finish().assert_code(0).stdout;
    assert!(!shown.contains("Wrong.") && shown.contains("Right."), "{shown}");
}

#[test]
fn after_the_last_round_the_run_stops_with_7_and_a_resumption_has_fresh_rounds() {
    for by_call in [false, true] {
        let answer = |id: &str, words: &str| if by_call { completion(id, words) } else { text(words) };
        let test = verified_by(&passes_at(4), "maxRounds = 2").answers([answer("c1", "One."), answer("c2", "Two.")]);
        let ran = test.run(["run", "librarian", "q"]).assert_code(7);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.trim_end().lines().last().unwrap().starts_with("perstack resume "), "{}", ran.stderr);
        let ran = ran.assert_stderr(["the answer does not count", "did not succeed in 2 rounds", "exited with code 1"]);
        drop(ran);
        assert_eq!(status(&test), "stoppedByVerification");
        let checkpoint = read_json(&test.storage().last_checkpoint());
        assert_eq!((&checkpoint["status"], &checkpoint["failedRounds"]), (&json!("stoppedByVerification"), &json!(2)));
        assert_eq!(test.run(["log", "--text"]).stdout, "");
        test.server().script([answer("c3", "Three."), answer("c4", "Four.")]);
        let ran = test.run(["resume"]).assert_code(0);
        assert_eq!(ran.stdout, "Four.\n");
        ran.assert_stderr(["not verified (1 of 2)"]);
        assert_eq!((test.server().requests().len(), rounds(&test)), (4, 4));
    }
}

#[test]
fn the_object_and_the_summary_of_a_stop_have_its_reason() {
    let test = verified_by("exit 3", "maxRounds = 1").answers([text("Owls.")]);
    let words = ["run", "librarian", "q", "--output", "json", "--summary-file", "summary.md"];
    let object = test.run(words).assert_code(7).object();
    assert_eq!((&object["status"], &object["text"]), (&json!("stoppedByVerification"), &Value::Null));
    assert!(object["error"]["message"].as_str().unwrap().contains("exited with code 3 in the last"), "{object}");
    let summary = fs::read_to_string(test.workspace().join("summary.md")).unwrap();
    assert!(summary.contains("was not verified") && summary.contains("exited with code 3"), "{summary}");
    let listed = test.run(["log"]).assert_code(0).stdout;
    assert!(listed.contains("not verified"), "{listed}");
}

#[test]
fn a_program_that_is_missing_is_named_to_the_model() {
    let test = verified_by("no-such-program --now", "").answers([text("One."), text("Two."), text("Three.")]);
    test.run(["run", "librarian", "q"]).assert_code(7).assert_stderr(["exited with code 127", "was not found"]);
    assert!(test.server().requests()[1].contains("no-such-program"));
}

#[test]
fn a_command_that_hangs_is_ended_with_its_group_and_has_failed() {
    // What leaves its session lets go of the pipes, or their end would be waited for.
    let command = "[ ! -e go ] || exit 0; trap '' TERM; echo begun\n\
                   (setsid sh -c 'echo $$ > new; mv new id; exec sleep 1000' > /dev/null 2>&1 &)\n\
                   while :; do sleep 1000; done";
    for timeout in ["timeout = 2000", "timeout = \"2s\""] {
        let go = Answer::calls([call("c1", "writeTextFile", json!({"path": "go", "text": "x"}))]);
        let test = verified_by(command, timeout).answers([text("One."), go, text("Two.")]);
        let ran = test.run(["run", "librarian", "q"]).assert_code(0);
        assert_eq!(ran.stdout, "Two.\n");
        ran.assert_stderr(["not verified (1 of 3): it was ended after 2s"]);
        assert!(test.server().requests()[1].contains("begun"));
        let id = fs::read_to_string(test.workspace().join("id")).unwrap().trim().parse().unwrap();
        wait_until("the end of what it started", || !is_running(id));
    }
}

#[test]
fn a_flood_is_bounded_and_has_failed() {
    let test = verified_by("yes owls", "maxRounds = 1").answers([text("One.")]);
    test.run(["run", "librarian", "q"]).assert_code(7).assert_stderr(["printed more than 10 MiB to stdout"]);
    assert!(test.storage().log_bytes() < 1 << 20);
    // A long output is whole in a file, and what the model gets of it is bounded.
    let test = verified_by("seq 100000; [ -e rounds ] || { echo x > rounds; exit 1; }", "");
    let test = test.answers([text("One."), text("Two.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let request = test.server().requests().remove(1);
    assert!(request.contains("perstack-output/0001-verify.txt") && !request.contains("\\n50000\\n"));
    let kept = fs::read_to_string(test.storage().runs()[0].join("outputs/0001-verify.txt")).unwrap();
    assert!(kept.contains("\n50000\n") && kept.lines().count() == 100_000);
}

#[test]
fn the_command_has_no_secrets_and_its_output_is_masked() {
    let test =
        verified_by("env; echo key-$(cat secret); seq 100000; [ -e rounds ] || { echo x > rounds; exit 1; }", "");
    let test = test.file("secret", KEY).answers([text("One."), text("Two.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let request = test.server().requests().remove(1);
    assert!(!request.contains(KEY) && request.contains("key-[redacted]"));
    assert!(!request.contains("ANTHROPIC_API_KEY"));
    // The whole output is in a file, as it is too long for the model.
    let job = &test.storage().jobs()[0];
    let whole = files_with(job, "\n50000\n50001\n");
    assert_eq!(whole.len(), 2, "of each round: {whole:?}");
    assert!(whole.iter().all(|file| fs::read_to_string(file).unwrap().contains("key-[redacted]")));
    assert!(files_with(job, KEY).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn the_command_is_contained_and_cannot_end_the_runner() {
    if perstack::skill::process::KernelAbility::lacking().is_some() {
        crate::support::skipped("programs cannot be contained here");
        return;
    }
    // Temporary folders are within reach of commands.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let outside = "kill -9 $PPID; kill -9 -1; echo x > \"$HOME/mine\" || exit 9";
    for skills in ["", "skills = {}"] {
        let test = with_expert(skills, outside, "maxRounds = 1").env("HOME", home.path().to_str().unwrap());
        let test = test.env("PERSTACK_SANDBOX", "required").answers([text("One.")]);
        let ran = test.run(["run", "librarian", "q"]).assert_code(7);
        assert!(!home.path().join("mine").exists(), "{}", ran.stderr);
    }
}

#[test]
fn an_interrupted_command_is_run_again_without_asking_the_model() {
    for by_call in [false, true] {
        let command = "[ ! -e go ] || exit 0; trap '' TERM INT; echo $$ > id; echo > sign; sleep 1000 & wait; wait";
        let test = verified_by(command, "");
        let sign = Signpost::at(&test.workspace(), "sign");
        test.server().script([if by_call { completion("c1", "Owls.") } else { text("Owls.") }]);
        let running = test.spawn(["run", "librarian", "q"]);
        sign.wait();
        running.signal(Signal::INT);
        let ran = running.finish().assert_code(130);
        assert_eq!(ran.stdout, "");
        let id = fs::read_to_string(test.workspace().join("id")).unwrap().trim().parse().unwrap();
        wait_until("the end of the command", || !is_running(id));
        assert_eq!(status(&test), "stoppedByCancellation");
        assert_eq!(read_json(&test.storage().last_checkpoint())["unverifiedAnswer"], "Owls.");
        let test = test.file("go", "");
        let ran = test.run(["resume"]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n");
        assert_eq!(test.server().requests().len(), 1, "the answer was there");
        assert_eq!(test.run(["log", "--text"]).assert_code(0).stdout, "Owls.\n");
    }
}

#[test]
fn a_further_message_takes_the_place_of_an_answer_that_was_not_verified() {
    let command = "[ ! -e go ] || exit 0; echo > sign; sleep 1000";
    for by_call in [false, true] {
        let test = verified_by(command, "");
        let sign = Signpost::at(&test.workspace(), "sign");
        test.server().script([if by_call { completion("c1", "Owls.") } else { text("Owls.") }]);
        let running = test.spawn(["run", "librarian", "q"]);
        sign.wait();
        running.signal(Signal::TERM);
        running.finish().assert_code(143);
        let test = test.file("go", "");
        test.server().script([text("Ravens.")]);
        assert_eq!(test.run(["resume", "latest", "And ravens?"]).assert_code(0).stdout, "Ravens.\n");
        assert!(test.server().requests()[1].contains("And ravens?"));
    }
}

#[test]
fn after_a_kill_the_command_is_run_again() {
    for by_call in [false, true] {
        let command = "echo x >> rounds; [ ! -e go ] || exit 0; echo $$ > id; echo > sign; sleep 1000";
        let test = verified_by(command, "");
        let sign = Signpost::at(&test.workspace(), "sign");
        test.server().script([if by_call { completion("c1", "Owls.") } else { text("Owls.") }]);
        let running = test.spawn(["run", "librarian", "q"]);
        sign.wait();
        running.kill();
        assert_eq!(running.finish().signal, Some(Signal::KILL.as_raw()));
        let id = fs::read_to_string(test.workspace().join("id")).unwrap().trim().parse().unwrap();
        wait_until("the end of the command", || !is_running(id));
        let test = test.file("go", "");
        let listed = test.run(["log", "latest"]).assert_code(0).stdout;
        assert!(listed.contains("interrupted: verifying its answer"), "{listed}");
        let ran = test.run(["resume"]).assert_code(0);
        assert_eq!(ran.stdout, "Owls.\n");
        assert_eq!((test.server().requests().len(), rounds(&test)), (1, 2));
    }
}

#[test]
fn a_budget_of_time_ends_the_command() {
    let test = verified_by("[ -e go ] || sleep 1000", "").answers([text("Owls.")]);
    let ran = test.run(["run", "librarian", "q", "--max-duration", "2s"]).assert_code(5);
    assert_eq!(ran.stdout, "");
    let test = test.file("go", "");
    assert_eq!(test.run(["resume", "latest", "--max-duration", "10m"]).assert_code(0).stdout, "Owls.\n");
    assert_eq!(test.server().requests().len(), 1);
}

#[test]
fn failed_rounds_are_steps() {
    let test = verified_by("exit 1", "").answers([text("One.")]);
    assert_eq!(test.run(["run", "librarian", "q", "--max-steps", "1"]).assert_code(3).stdout, "");
}

#[test]
fn a_replay_runs_nothing() {
    let answers = || [text("One."), completion("c1", "Two."), text("Three.")];
    let test = verified_by(&passes_at(3), "").answers(answers());
    test.run(["run", "librarian", "q", "--record", "owls.cassette"]).assert_code(0);
    assert_eq!(rounds(&test), 3);
    let replay = |storage: &str, more: &[&str]| {
        let mut command = std::process::Command::new(test.binary());
        command.args(["run", "librarian", "q", "--replay", "owls.cassette", "--output", "jsonl", "--storage", storage]);
        command.args(more);
        test.start(command).finish().assert_code(0)
    };
    let (first, second) = (replay("first", &[]), replay("second", &[]));
    replay("third", &["--replay-tools"]);
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(kinds(&first.events(), "finishVerification"), 3);
    assert_eq!(rounds(&test), 3, "no command was run");
    // Where the recording has no end of it, the answer does not count.
    let whole = cassette::whole(&fs::read_to_string(test.workspace().join("owls.cassette")).unwrap());
    let without: String =
        whole.lines().filter(|line| !line.contains("perstack/verify")).flat_map(|line| [line, "\n"]).collect();
    let test = test.file("without.cassette", without);
    let words = ["run", "librarian", "q", "--replay", "without.cassette", "--storage", "fourth"];
    test.run(words).assert_code(7).assert_stderr(["no further result"]);
    assert_eq!(rounds(&test), 3);
}

#[test]
fn the_form_is_checked_before_the_command_runs() {
    let schema = "outputSchema = { type = \"object\", required = [\"owls\"] }";
    let test = with_expert(schema, &passes_at(2), "").answers([
        text("Three."),
        text("{\"owls\": 3}"),
        text("Four."),
        text("{\"owls\": 4}"),
    ]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!((ran.stdout.as_str(), rounds(&test)), ("{\"owls\": 4}\n", 2));
    ran.assert_stderr(["answer refused (1)", "not verified (1 of 3)", "answer refused (2)"]);
    assert_eq!(read_json(&test.storage().last_checkpoint())["checkedAnswer"]["text"], "{\"owls\": 4}");
}

#[test]
fn a_delegate_that_is_never_verified_is_a_failed_call() {
    let toml = "[experts.librarian]\ninstruction = \"You lead.\"\ndelegates = [\"reader\"]\n\
                [experts.reader]\ninstruction = \"You read.\"\n[experts.reader.verify]\ncommand = \"exit 9\"\nmaxRounds = 2\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([
        Answer::calls([call("d1", "reader", json!({"query": "read"}))]),
        text("One."),
        text("Two."),
        text("It failed."),
    ]);
    assert_eq!(test.run(["run", "librarian", "q"]).assert_code(0).stdout, "It failed.\n");
    let results = test.server().requests().pop().unwrap().results();
    assert!(results[0].1.contains("Delegation to reader failed") && results[0].1.contains("code 9"), "{results:?}");
}

#[test]
fn a_read_only_run_begins_nothing() {
    let test = verified_by("true", "");
    test.run(["run", "librarian", "q", "--read-only"])
        .assert_code(2)
        .assert_stderr(["verified by `true`", "a read-only run starts no command"]);
    assert_eq!(test.server().requests().len(), 0);
}

#[test]
fn mistakes_have_their_place_and_begin_nothing() {
    for (table, problem) in [
        ("command = \"\"", "experts.librarian.verify.command: expected a shell command"),
        ("maxRounds = 2", "experts.librarian.verify.command: missing"),
        (
            "command = \"true\"\nmaxRounds = 0",
            "experts.librarian.verify.maxRounds: expected a whole number from 1 to 100",
        ),
        ("command = \"true\"\ntimeout = \"soon\"", "experts.librarian.verify.timeout: "),
    ] {
        let toml = format!("[experts.librarian]\ninstruction = \"i\"\n[experts.librarian.verify]\n{table}\n");
        let test = Test::new().toml(&toml).provider(Provider::Anthropic);
        test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr([problem]);
        let checked = test.run(["check"]).assert_code(2).stdout;
        assert!(checked.contains(problem), "{checked}");
    }
}

#[test]
fn the_command_is_shown_where_a_folder_is_trusted() {
    let test = verified_by("make -C owls check", "");
    let shown = test.run(["trust", "--show"]).assert_code(0).stdout;
    assert!(shown.contains("runs make -C owls check before answers of expert librarian count (verify)"), "{shown}");
    let checked = test.run(["check"]).stdout;
    assert!(checked.contains("run `make -C owls check` before it answers (verify)"), "{checked}");
}

#[test]
fn a_job_that_was_not_verified_is_not_done() {
    let test = verified_by(&passes_at(2), "maxRounds = 1").answers([text("One.")]);
    let words = ["run", "librarian", "q", "--job-id", "nest", "--ensure"];
    test.run(words).assert_code(7);
    test.server().script([text("Two.")]);
    assert_eq!(test.run(words).assert_code(0).stdout, "Two.\n");
    assert_eq!(test.run(words).assert_code(0).stdout, "Two.\n");
    assert_eq!((test.server().requests().len(), rounds(&test)), (2, 2));
}

#[test]
fn an_expert_without_a_command_is_as_before() {
    let test = Test::with(Provider::Anthropic).answers([text("Owls.")]);
    let ran = test.run(["run", "librarian", "q", "--output", "jsonl"]).assert_code(0);
    assert!(!ran.stdout.to_lowercase().contains("verif"), "{}", ran.stdout);
    assert!(!test.server().requests()[0].contains("counts only once"));
    let checkpoint = fs::read_to_string(test.storage().last_checkpoint()).unwrap();
    let log = fs::read_to_string(test.storage().runs()[0].join("log.jsonl")).unwrap();
    for word in ["verify", "failedRounds", "unverifiedAnswer"] {
        assert!(!checkpoint.contains(word) && !log.contains(word), "{word}");
    }
}
