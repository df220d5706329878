//! `perstack log` of a job whose files are missing, damaged or of a newer version: nothing is lost by it.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{assert_has, completed, contents, heads, killed, run_file, team, types};
use crate::support::log::chained;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate};

/// A fact of a kind that does not exist yet.
const DREAM: &str = "{\"at\":1771000000000,\"seed\":1,\"fact\":\"dreamt\",\"of\":\"owls\"}";

/// Replaces a line of a file, counted from 1.
fn set_line(file: &Path, number: usize, text: &str) {
    let old = fs::read_to_string(file).unwrap();
    let lines = old.lines().enumerate().map(|(at, line)| if at + 1 == number { text } else { line });
    fs::write(file, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
}

/// Puts a line into a log before another, counted from 1.
fn insert_line(file: &Path, number: usize, text: &str) {
    let old = fs::read_to_string(file).unwrap();
    let mut lines: Vec<&str> = old.lines().collect();
    lines.insert(number - 1, text);
    fs::write(file, chained(&(lines.join("\n") + "\n"))).unwrap();
}

#[test]
fn a_job_without_its_own_file_is_shown_by_its_runs() {
    for (test, status) in [(completed().0, "completed"), (killed(), "interrupted, can be resumed")] {
        for torn in [None, Some(""), Some("{\"id\": \"ne")] {
            let file = test.storage().jobs()[0].join("job.json");
            match torn {
                None => drop(fs::remove_file(file)),
                Some(rest) => fs::write(file, rest).unwrap(),
            }
            let ran = test.run(["log", "--events"]).assert_code(0);
            assert_has(&ran, [&format!("Job: nest ({status})\nExpert: librarian\nQuery: "), "[Step 1] startRun "]);
            let short = status.split(',').next().unwrap();
            assert_has(&test.run(["log", "--jobs"]).assert_code(0), ["nest", short, "librarian"]);
        }
    }
}

#[test]
fn a_job_of_which_only_the_log_is_left_is_shown() {
    let test = killed();
    for file in [test.storage().jobs()[0].join("job.json"), run_file(&test, "run-setting.json")] {
        fs::remove_file(file).unwrap();
    }
    for checkpoint in test.storage().checkpoints() {
        fs::write(checkpoint, "").unwrap();
    }
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert_has(&ran, ["Job: nest (interrupted, can be resumed)\nExpert: librarian\n", "[Step 2] callTools "]);
    test.server().script([Answer::text("One.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "One.\n");
}

#[test]
fn a_damaged_checkpoint_hides_no_events() {
    let (test, _) = completed();
    let last = test.storage().last_checkpoint();
    fs::write(&last, "").unwrap();
    assert_eq!(heads(&test.run(["log", "--events"]).assert_code(0)).len(), 13);
    let ran = test.run(["log", "--checkpoint", checkpoint_id(&last)]).assert_code(6);
    assert_has(&ran, [&format!("Checkpoint: {}\nStep: 3\n", checkpoint_id(&last)), "[Step 3] completeRun "]);
    ran.snapshot("log-damaged/a-damaged-checkpoint-hides-no-events");
}

#[test]
fn a_damaged_line_is_named_and_what_is_before_it_shown() {
    let (test, _) = completed();
    let log = run_file(&test, "log.jsonl");
    // The header, the start, the first answer, its result, and then the second answer.
    set_line(&log, 5, "{\"at\":177100000");
    let ran = test.run(["log", "--events"]).assert_code(6);
    assert_eq!(heads(&ran).last().map(String::as_str), Some("[Step 2] startGeneration"));
    ran.snapshot("log-damaged/a-damaged-line-is-named-and-what-is-before-it-shown-1");
    let ran = test.run(["log", "--json"]).assert_code(6);
    let object = ran.object();
    assert_eq!(types(&object).last(), Some(&"startGeneration"));
    assert_eq!(object["problems"][0]["kind"], "unreadable");
    // JSON that is a fact, but none that can have happened there.
    set_line(
        &log,
        5,
        "{\"at\":1771000000000,\"seed\":1,\"fact\":\"toolReturned\",\"result\":{\"id\":\"c9\",\"skillName\":\"s\",\"toolName\":\"t\",\"result\":[]}}",
    );
    fs::write(&log, chained(&fs::read_to_string(&log).unwrap())).unwrap();
    test.run(["log", "--events"])
        .assert_code(6)
        .snapshot("log-damaged/a-damaged-line-is-named-and-what-is-before-it-shown-2");
}

#[test]
fn one_damaged_run_does_not_hide_the_others() {
    let test = team();
    let object = test.run(["log", "--json"]).assert_code(0).object();
    let worker = object["runs"].as_array().unwrap().iter().find(|run| run["expertKey"] == "worker").unwrap();
    let log = test.storage().jobs()[0].join("runs").join(worker["id"].as_str().unwrap()).join("log.jsonl");
    set_line(&log, 1, "noise");
    let ran = test.run(["log", "--type", "completeRun"]).assert_code(6);
    assert_eq!(heads(&ran).len(), 2, "the other worker's and the lead's\n{}", ran.stdout);
    // Which of the two delegates ran first differs, and so no snapshot.
    ran.assert_stderr([&format!("{}, line 1, is damaged", log.display())]);
}

#[test]
fn facts_of_a_newer_version_are_passed_over_with_one_warning() {
    let (test, _) = completed();
    let log = run_file(&test, "log.jsonl");
    for line in [3, 6] {
        insert_line(&log, line, DREAM);
    }
    let before = contents(&test.storage().jobs()[0]);
    let ran = test.run(["log", "--events"]).assert_code(0);
    assert_eq!(heads(&ran).len(), 13, "all that is known is shown");
    assert_eq!(ran.stderr.matches("warning: ").count(), 1);
    ran.snapshot("log-damaged/facts-of-a-newer-version-are-passed-over-with-one-warning");
    let object = test.run(["log", "--json"]).assert_code(0).object();
    assert_eq!(object["problems"][0]["kind"], "unknownFacts");
    assert_eq!(contents(&test.storage().jobs()[0]), before);
}

#[test]
fn nothing_goes_on_from_facts_that_are_not_understood() {
    for line in [2, 3] {
        let test = killed();
        insert_line(&run_file(&test, "log.jsonl"), line, DREAM);
        let before = contents(&test.storage().jobs()[0]);
        let ran = test.run(["resume", "latest"]).assert_code(6);
        ran.snapshot(&format!("log-damaged/an-unknown-fact-in-line-{line}-cannot-be-gone-on-from"));
        let mut after = contents(&test.storage().jobs()[0]);
        after.retain(|path, _| !path.ends_with("lock"));
        assert!(after.iter().all(|(path, bytes)| before.get(path) == Some(bytes)), "nothing was written");
    }
}

#[test]
fn what_a_newer_version_wrote_is_named_and_hides_nothing_else() {
    let (test, _) = completed();
    let job = test.storage().jobs()[0].join("job.json");
    let mut newer = read_json(&job);
    newer["formatVersion"] = json!(99);
    fs::write(&job, newer.to_string()).unwrap();
    let ran = test.run(["log", "--events"]).assert_code(6);
    assert_eq!(heads(&ran).len(), 13);
    ran.snapshot("log-damaged/what-a-newer-version-wrote-is-named-and-hides-nothing-else-1");
    let object = test.run(["log", "--json"]).assert_code(6).object();
    assert_eq!(object["problems"][0]["kind"], "unreadable");
    assert_has(&test.run(["log", "--jobs"]).assert_code(6), ["nest", "format version 99"]);

    let (test, _) = completed();
    set_line(&run_file(&test, "log.jsonl"), 1, "{\"format\":\"perstack-log\",\"version\":99}");
    let ran = test.run(["log", "--events"]).assert_code(6);
    assert_has(&ran, ["Job: nest (completed)"]);
    ran.snapshot("log-damaged/what-a-newer-version-wrote-is-named-and-hides-nothing-else-2");
}

#[test]
fn a_continued_run_is_shown_although_the_checkpoint_before_it_is_gone_or_empty() {
    for is_emptied in [true, false] {
        let gate = Gate::new();
        let (test, _) = completed();
        test.server().script([Answer::hang_up().delay(&gate)]);
        let running = test.spawn(["resume", "nest", "And bats?"]);
        running.wait_for_request(4);
        running.kill();
        running.finish();
        gate.open();
        let parent = test.storage().last_checkpoint();
        if is_emptied {
            fs::write(&parent, "").unwrap();
        } else {
            fs::remove_file(&parent).unwrap();
        }
        let ran = test.run(["log", "--events"]).assert_code(0);
        assert_has(&ran, ["Job: nest (interrupted, can be resumed)", "  Query: \"And bats?\"\n", "  continues "]);
        test.server().script([Answer::text("No bats.")]);
        assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "No bats.\n");
        assert!(test.server().requests().pop().unwrap().contains("Two owls."), "the history before it");
    }
}
