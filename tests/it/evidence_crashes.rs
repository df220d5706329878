//! `perstack job verify` after crashes, which leave no fault behind, and of runs that were added, which are one.

use std::fs;
use std::path::{Path, PathBuf};

use perstack::hex::digits;
use perstack::runtime::history::{self, JobSelector, RecordFault, Verification};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::recovery::{append, killed};
use crate::support::{Answer, Provider, Test};

/// A job that ended after a tool's call.
fn finished() -> Test {
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers([append("c1", "a"), Answer::text("One.")]);
    test.run(["run", "librarian", "Count owls.", "--job-id", "nest"]).assert_code(0);
    test
}

fn verify(test: &Test) -> Verification {
    let storage = test.storage().jobs()[0].parent().unwrap().parent().unwrap().to_owned();
    history::open(&storage, JobSelector::Named("nest")).unwrap().unwrap().verify()
}

#[track_caller]
fn assert_fits(test: &Test) {
    let verified = verify(test);
    assert_eq!((verified.faults, verified.notes), (vec![], vec![]));
}

/// Goes on from the first step's checkpoint.
fn fork(test: &Test) {
    test.server().script([Answer::text("Forked.")]);
    let first = test.storage().checkpoints().into_iter().find(|file| name(file).starts_with("checkpoint-1-")).unwrap();
    test.run(["resume", first.to_str().unwrap(), "Again."]).assert_code(0);
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

/// A file of the first run.
fn run_file(test: &Test, name: &str) -> PathBuf {
    test.storage().runs()[0].join(name)
}

/// Makes `job.json` that of a process which was killed before the job's end was stored.
fn as_running(test: &Test) {
    let job = test.storage().jobs()[0].join("job.json");
    let running = fs::read_to_string(&job).unwrap().replace("\"completed\"", "\"running\"");
    let (head, _) = running.split_once(",\n  \"ends\"").expect("the ends");
    let seal = digits(&Sha256::digest(head));
    fs::write(&job, format!("{head},\n  \"seal\": \"{seal}\"\n}}\n")).unwrap();
}

#[test]
fn a_last_checkpoint_that_was_owed_when_a_run_was_forked_is_noted() {
    let answers = [append("c1", "a"), append("c2", "b"), Answer::text("Two.")];
    let test = Test::with(Provider::Anthropic).file("owls.txt", "").answers(answers);
    test.run(["run", "librarian", "Count owls.", "--job-id", "nest"]).assert_code(0);
    let last = test.storage().checkpoints().into_iter().find(|file| name(file).starts_with("checkpoint-3-")).unwrap();
    fs::remove_file(&last).unwrap();
    assert_eq!(verify(&test).faults.first().map(|fault| &fault.path), Some(&last), "it was stored");
    as_running(&test);
    fork(&test);
    let verified = verify(&test);
    assert_eq!(verified.faults, []);
    assert_eq!(verified.notes.iter().map(|note| &note.path).collect::<Vec<_>>(), [&last]);
    // The fork's own was stored.
    let of_fork = test.storage().runs()[1].read_dir().unwrap().map(|entry| entry.unwrap().path());
    let end = of_fork.filter(|file| name(file).starts_with("checkpoint-")).max().unwrap();
    fs::remove_file(&end).unwrap();
    assert_eq!(verify(&test).faults.first().map(|fault| &fault.path), Some(&end));
}

#[test]
fn a_killed_run_that_was_forked_fits_and_may_be_recovered() {
    for torn in ["", "{\"at\":5,\"se"] {
        let test = killed();
        let log = run_file(&test, "log.jsonl");
        let own = fs::read_to_string(&log).unwrap();
        fs::write(&log, own.clone() + torn).unwrap();
        fork(&test);
        assert_fits(&test);
        // The end of a run that did not end is held all the same.
        let lines: Vec<&str> = own.split_inclusive('\n').collect();
        fs::write(&log, lines[..lines.len() - 1].concat()).unwrap();
        assert_eq!(verify(&test).faults.first().map(|fault| &fault.path), Some(&log));
        fs::write(&log, own + torn).unwrap();
        let newest = test.storage().checkpoints().into_iter().find(|file| name(file).starts_with("checkpoint-2-"));
        test.server().script([Answer::text("Recovered.")]);
        test.run(["resume", newest.unwrap().to_str().unwrap()]).assert_code(0);
        assert_fits(&test);
        assert!(verify(&test).is_chained());
    }
}

#[test]
fn a_setting_is_replaced_behind_the_fact_that_has_its_digests() {
    let test = killed();
    let (log, setting) = (run_file(&test, "log.jsonl"), run_file(&test, "run-setting.json"));
    let (facts, before) = (fs::read(&log).unwrap(), fs::read(&setting).unwrap());
    let test = test.toml("[experts.librarian]\ninstruction = \"You look for things in books.\"\n");
    test.server().script([Answer::text("Two.")]);
    test.run(["resume", "nest"]).assert_code(0);
    assert_fits(&test);
    // As if that process had been killed behind the first fact, before the setting was replaced.
    let after = fs::read(&log).unwrap();
    let new = fs::read(&setting).unwrap();
    assert!(String::from_utf8_lossy(&new).contains("You look for things"), "the expert was changed");
    let resumed = after[facts.len()..].split_inclusive(|byte| *byte == b'\n').next().unwrap();
    for path in test.storage().checkpoints().into_iter().filter(|file| name(file).starts_with("checkpoint-3-")) {
        fs::remove_file(path).unwrap();
    }
    as_running(&test);
    fs::write(&log, [&facts[..], resumed].concat()).unwrap();
    assert_fits(&test);
    fs::write(&setting, &before).unwrap();
    assert_fits(&test);
    // Without that fact the new one has no place.
    fs::write(&log, &facts).unwrap();
    assert_fits(&test);
    fs::write(&setting, &new).unwrap();
    assert_eq!(verify(&test).faults.first().map(|fault| &fault.path), Some(&setting));
}

#[test]
fn a_run_that_was_not_begun_is_no_record() {
    for is_killed in [true, false] {
        let test = if is_killed { killed() } else { finished() };
        let folder = run_file(&test, "").parent().unwrap().join("01a20244-7d8b-7008-bd08-3365e99a00b3");
        fs::create_dir(&folder).unwrap();
        assert_fits(&test);
        fs::write(folder.join("log.jsonl"), "{\"format\":\"perstack-log\",\"version\":2}\n").unwrap();
        fs::write(folder.join("run-setting.json"), "").unwrap();
        assert_fits(&test);
        assert_eq!(verify(&test).runs.len(), 1);
    }
}

#[test]
fn a_checkpoint_that_a_power_cut_took_is_noted() {
    let test = finished();
    let step = test.storage().checkpoints().into_iter().find(|file| name(file).starts_with("checkpoint-1-")).unwrap();
    let own = fs::read(&step).unwrap();
    let zeros = vec![0; own.len()];
    let torn = [&own[..40], &zeros[40..]].concat();
    for left in [None, Some(&b""[..]), Some(&own[..own.len() / 2]), Some(&zeros), Some(&torn)] {
        match left {
            None => fs::remove_file(&step).unwrap(),
            Some(bytes) => fs::write(&step, bytes).unwrap(),
        }
        let verified = verify(&test);
        assert_eq!(verified.faults, []);
        assert_eq!(verified.notes.iter().map(|note| &note.path).collect::<Vec<_>>(), [&step]);
        let ran = test.run(["job", "verify", "nest"]).assert_code(0);
        assert!(ran.stdout.contains("it follows from the log\n"), "{}", ran.stdout);
        let object = test.run(["job", "verify", "nest", "--json"]).assert_code(0).object();
        assert_eq!((&object["fits"], &object["notes"][0]["file"]), (&json!(true), &json!(step)));
    }
    // What is not a beginning of it was written by somebody.
    fs::write(&step, "{}\n").unwrap();
    assert_eq!(verify(&test).faults.first().map(|fault| &fault.path), Some(&step));
    fs::write(&step, own).unwrap();
    assert_fits(&test);
}

#[test]
fn a_run_that_was_added_to_a_job_that_has_ended_is_named() {
    let test = finished();
    let own = test.storage().runs()[0].clone();
    let id = "01a20244-7d8b-7008-bd08-3365e99a00b3";
    let folder = own.parent().unwrap().join(id);
    let expected = test.storage().jobs()[0].join("job.json");
    let named = |files: &[(&str, String)]| -> Option<RecordFault> {
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let found = verify(&test).faults.into_iter().next();
        fs::remove_dir_all(&folder).unwrap();
        found
    };
    let of_run = |text: String| text.replace(own.file_name().unwrap().to_str().unwrap(), id);
    let mut setting = crate::support::storage::read_json(&own.join("run-setting.json"));
    setting.as_object_mut().unwrap().shift_remove("seal");
    setting["runId"] = json!(id);
    let setting = ("run-setting.json", format!("{setting:#}\n"));
    let mut last = crate::support::storage::read_json(&test.storage().last_checkpoint());
    last.as_object_mut().unwrap().shift_remove("log");
    let last_name = name(&test.storage().last_checkpoint());
    let last = (&*last_name, of_run(last.to_string()).replace("One.", "Two.") + "\n");
    let header = |version: u32| format!("{{\"format\":\"perstack-log\",\"version\":{version}}}\n");
    for version in [1, 2] {
        let log = ("log.jsonl", header(version));
        let found = named(&[log, setting.clone(), last.clone()]).expect("a fault");
        assert_eq!((&found.path, found.what.contains(id)), (&expected, true), "{found:?}");
    }
    let old: String = fs::read_to_string(own.join("log.jsonl")).unwrap();
    let old: Vec<String> = old
        .lines()
        .skip(1)
        .map(|line| {
            let mut fact: serde_json::Value = serde_json::from_str(line).unwrap();
            fact.as_object_mut().unwrap().shift_remove("chain");
            of_run(fact.to_string()) + "\n"
        })
        .collect();
    assert!(named(&[("log.jsonl", header(1) + &old[0]), setting]).is_some());
    let event = json!({"type": "startRun", "timestamp": 5, "stepNumber": 1}).to_string();
    let found = named(&[("event-5-1-startRun.json", event)]).expect("a fault");
    assert_eq!(found.path, expected, "{found:?}");
    assert_fits(&test);
}
