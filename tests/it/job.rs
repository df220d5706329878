//! `perstack job`: comparing and removing recorded jobs.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::interactive::at_new_terminal;
use crate::support::process::Ran;
use crate::support::{Answer, Gate, Provider, Test, call};

fn run(test: &Test, words: &[&str]) -> Ran {
    let mut command = Command::new(test.binary());
    command.args(words);
    test.start(command).finish()
}

/// Two jobs that read the same file and answer differently.
fn two() -> Test {
    let look = || Answer::calls([call("c1", "readTextFile", json!({"path": "owls.txt"}))]);
    let test = Test::with(Provider::Anthropic).file("owls.txt", "barn\n");
    test.server().script([
        look(),
        Answer::text("One owl:\nthe barn owl."),
        look(),
        Answer::text("One owl:\nthe tawny owl."),
    ]);
    for id in ["nest", "burrow"] {
        test.run(["run", "librarian", "Count owls.", "--job-id", id]).assert_code(0);
    }
    test
}

fn ids(test: &Test) -> Vec<String> {
    test.storage().jobs().iter().map(|job| job.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn two_jobs_are_compared_message_by_message() {
    let test = two();
    let ran = test.run(["job", "diff", "nest", "burrow"]).assert_code(0);
    for text in [
        "\n= messages 2 to 4, the same\n",
        "\n~ message 5, expert\n    One owl:\n  - the barn owl.\n  + the tawny owl.\n",
        "\n3 messages the same, 2 changed, 0 in A alone, 0 in B alone\n",
    ] {
        assert!(ran.stdout.contains(text), "no {text:?} in\n{}", ran.stdout);
    }
    let object = test.run(["job", "diff", "nest", "latest", "--json"]).assert_code(0).object();
    assert_eq!((&object["a"]["jobId"], &object["b"]["jobId"]), (&json!("nest"), &json!("burrow")));
    assert_eq!(object["parts"][1]["same"], true);
    assert_eq!(object["parts"][2]["b"]["messages"][0]["contents"][0]["text"], "One owl:\nthe tawny owl.");
    let same = test.run(["job", "diff", "nest", "nest"]).assert_code(0);
    assert!(same.stdout.ends_with("no difference in 5 messages\n"), "{}", same.stdout);
}

#[test]
fn checkpoints_are_compared_by_id_part_of_it_or_file() {
    let test = two();
    let nest = test.storage().jobs().into_iter().find(|job| job.ends_with("nest")).unwrap();
    let folder = fs::read_dir(nest.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-1-"));
    let name = files[0].file_stem().unwrap().to_str().unwrap();
    let short = &name[name.len() - 8..];
    for a in [short, files[0].to_str().unwrap()] {
        let ran = run(&test, &["job", "diff", a, "nest"]).assert_code(0);
        assert!(
            ran.stdout.ends_with("\n4 messages the same, 0 changed, 0 in A alone, 1 in B alone\n"),
            "{}",
            ran.stdout
        );
    }
    run(&test, &["job", "diff", "gone", "nest"]).assert_code(2).assert_stderr(["names no checkpoint, run or job"]);
    // A file from elsewhere has to hold its conversation.
    let copy = test.workspace().join(files[0].file_name().unwrap());
    fs::copy(&files[0], &copy).unwrap();
    run(&test, &["job", "diff", copy.to_str().unwrap(), "nest"]).assert_code(2);
}

#[test]
fn nothing_is_removed_without_a_yes() {
    let test = two();
    let ran = test.run(["job", "rm", "nest"]).assert_code(2);
    ran.snapshot("job/rm-without-a-yes");
    assert_eq!(ids(&test), ["burrow", "nest"]);
    let ran = test.run(["job", "rm", "nest", "--yes"]).assert_code(0);
    assert!(
        ran.stdout.starts_with("JOB ") && ran.stderr.starts_with("removed 1 job, "),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(ids(&test), ["burrow"]);
    test.run(["job", "rm", "nest", "--yes"]).assert_code(2).assert_stderr(["there is no job \"nest\""]);
    test.run(["job", "rm"]).assert_code(2);
    test.run(["job", "rm", "burrow", "--older-than", "1d"]).assert_code(2);
    test.server().script([Answer::text("What is left still works.")]);
    test.run(["resume", "burrow", "And?"]).assert_code(0);
}

#[test]
fn a_person_is_asked_on_a_terminal() {
    let test = two().env("TERM", "xterm").silent_stdin();
    let asked = |answer: &str, id: &str| {
        let line = format!("PERSTACK_TRUST=1 exec '{}' job rm {id}", test.binary().display());
        let running = at_new_terminal(&test, &line)?;
        running.wait_for_stdout("[y/N] ");
        running.type_in(answer);
        Some(running.finish().assert_code(0).stdout)
    };
    let Some(kept) = asked("n\n", "nest") else { return };
    assert!(kept.contains("nothing was removed"), "{kept}");
    assert_eq!(ids(&test), ["burrow", "nest"]);
    let gone = asked("y\n", "nest").unwrap();
    assert!(gone.contains("removed 1 job"), "{gone}");
    assert_eq!(ids(&test), ["burrow"]);
}

#[test]
fn old_jobs_are_those_on_which_nothing_was_done() {
    let test = two();
    let file = test.storage().jobs().into_iter().find(|job| job.ends_with("nest")).unwrap();
    let mut job = crate::support::storage::read_json(&file.join("job.json"));
    (job["startedAt"], job["finishedAt"]) = (json!(1_600_000_000_000_u64), json!(1_600_000_001_000_u64));
    fs::write(file.join("job.json"), job.to_string()).unwrap();
    let runs = fs::read_dir(file.join("runs")).unwrap().next().unwrap().unwrap().path().join("run-setting.json");
    let ran = test.run(["job", "rm", "--older-than", "30d"]).assert_code(0);
    assert_eq!(ran.stderr, "no job to remove\n", "its run is of today");
    let mut setting = crate::support::storage::read_json(&runs);
    setting["startedAt"] = json!(1_600_000_000_000_u64);
    fs::write(&runs, setting.to_string()).unwrap();
    test.run(["job", "rm", "--older-than", "30d", "--yes"]).assert_code(0);
    assert_eq!(ids(&test), ["burrow"]);
    test.run(["job", "rm", "--older-than", "soon"]).assert_code(2).assert_stderr(["expected a time"]);
}

#[test]
fn a_job_that_is_worked_on_is_left_alone() {
    let gate = Gate::new();
    let test = two();
    test.server().script([Answer::text("Done.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", "--job-id", "hive"]);
    running.wait_for_request(5);
    let ran = test.run(["job", "rm", "hive", "nest", "--yes"]).assert_code(6);
    ran.assert_stderr(["job hive is left alone: a process works on it", "removed 1 job, "]);
    assert_eq!(ids(&test), ["burrow", "hive"]);
    gate.open();
    running.finish().assert_code(0);
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    let test = two();
    let jobs = test.workspace().join("perstack/jobs");
    fs::rename(jobs.join("nest"), jobs.join(".nest.removed")).unwrap();
    fs::remove_file(jobs.join(".nest.removed/job.json")).unwrap();
    let ran = test.run(["job", "rm", "nest", "--yes"]).assert_code(0);
    assert_eq!(ran.stderr, "removed the rest of job nest, whose removal was cut short\n");
    assert_eq!(fs::read_dir(&jobs).unwrap().count(), 1);
    test.run(["job", "rm", "nest", "--yes"]).assert_code(2);
    // A folder that only looks like one is left alone.
    fs::create_dir(jobs.join(".a b.removed")).unwrap();
    test.run(["job", "rm", "burrow", "--yes"]).assert_code(0);
    assert_eq!(fs::read_dir(&jobs).unwrap().count(), 1);
}
