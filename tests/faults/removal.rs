//! The removal of a job that meets a fault at any of its operations: what is left is the whole job or none, `log` and
//! `resume` see no half of it, and the same command finishes it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::case::{self, Fault, Kind};
use crate::support::crash::Chance;
use crate::support::process::Ran;
use crate::support::{Answer, Provider, Test};
use crate::trace::{self, Entry};

/// The job that is removed.
const GONE: &str = "nest";

/// The job that stays.
const KEPT: &str = "burrow";

const REMOVE: [&str; 4] = ["job", "rm", GONE, "--yes"];

fn place() -> Test {
    let test = Test::with(Provider::Anthropic);
    test.server().answer_by(|_| Answer::text("Two owls."));
    test
}

/// A storage with both jobs.
fn filled() -> Test {
    let test = place();
    for id in [GONE, KEPT] {
        test.run(["run", "librarian", "Which owls?", "--job-id", id]).assert_code(0);
    }
    test
}

/// A place with a copy of this storage.
fn copied(from: &Test) -> Test {
    let test = place();
    let copied = Command::new("cp").arg("-r").arg(from.workspace().join("perstack")).arg(test.workspace()).status();
    assert!(copied.is_ok_and(|status| status.success()));
    test
}

/// The names in the folder of jobs.
fn names(test: &Test) -> Vec<String> {
    let entries = fs::read_dir(test.workspace().join("perstack/jobs")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn leftover(test: &Test) -> PathBuf {
    test.workspace().join("perstack/jobs").join(format!(".{GONE}.removed"))
}

/// Removes the job and meets `fault`, then looks and removes again.
fn play(from: &Test, fault: &Fault) {
    let test = copied(from);
    let (ran, met) = case::run(&test, Some(fault), &REMOVE);
    let Some(Entry::Operation { name, path, .. }) = met else { panic!("it never came to the fault") };
    let is_whole = names(&test).iter().any(|name| name == GONE);
    check_exit(ran, fault, is_whole, &name);
    // A removal goes file by file: some may be gone already.
    let _ = fs::remove_file(leftover(&test).join("job.json"));
    let what = format!("{name} {}", path.display());
    check_readers(&test, is_whole, &what);
    let had_leftover = leftover(&test).exists();
    let again = test.run(REMOVE);
    let code = if is_whole || had_leftover { 0 } else { 2 };
    again.assert_code(code);
    assert_eq!(names(&test), [KEPT], "{what}");
    check_readers(&test, false, &what);
    // The name is free again.
    test.run(["run", "librarian", "Which owls?", "--job-id", GONE]).assert_code(0);
    assert_eq!(names(&test), [KEPT, GONE]);
}

fn check_exit(ran: Ran, fault: &Fault, is_whole: bool, operation: &str) {
    if !fault.kind.is_error() {
        assert_eq!(ran.signal, Some(Signal::KILL.as_raw()), "{operation} {fault:?}: {}", ran.stderr);
    } else if ran.code == Some(0) {
        assert!(!is_whole, "{operation}: reported as removed\n{}", ran.stderr);
    } else {
        ran.assert_code(6).assert_stderr(["error: cannot ", fault.shown()]);
    }
}

/// Both jobs as readers see them: the one that stays as it was, the other whole or not at all.
fn check_readers(test: &Test, is_whole: bool, what: &str) {
    test.run(["log", KEPT, "--text"]).assert_code(0);
    let listed = test.run(["log", "--jobs", "--json"]).assert_code(0).object();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids.contains(&GONE), is_whole, "{what}: {ids:?}");
    assert_eq!(ids.len(), if is_whole { 2 } else { 1 }, "{what}: {ids:?}");
    test.run(["log", "latest"]).assert_code(0);
    let answer = test.run(["log", GONE, "--text"]);
    let resumed = test.run(["resume", GONE]).assert_code(2);
    if is_whole {
        assert_eq!(answer.assert_code(0).stdout, "Two owls.\n", "{what}");
        resumed.assert_stderr(["job nest is completed"]);
    } else {
        answer.assert_code(2);
        assert!(!resumed.stderr.contains("completed"), "{what}: {}", resumed.stderr);
    }
}

#[test]
fn a_removal_that_meets_any_fault_leaves_a_whole_job_or_none_and_is_finished_later() {
    let from = filled();
    let undisturbed = copied(&from);
    case::run(&undisturbed, None, &REMOVE).0.assert_code(0);
    let trace = trace::read(&case::trace_file(&undisturbed));
    assert!(trace.len() >= 4, "{trace:?}");
    let mut chance = Chance(1);
    for operation in &trace {
        let Entry::Operation { number, bytes, .. } = operation else { continue };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.applies_to(operation)) {
            play(&from, &Fault::new(kind, *number, *bytes, &mut chance));
        }
    }
}
