//! Jobs with a workspace of their own: a worker makes it from a repository, and whoever goes on with the job has its files.

use std::fs;

use serde_json::json;

use super::{Fleet, check};
use crate::interactive::asking;
use crate::support::process::Running;
use crate::support::{Answer, Gate, call};
use crate::workspace_from::{Repository, reached, reads, writes};

/// A fleet whose ssh leads to a repository beside its workspace.
fn fleet(answers: impl IntoIterator<Item = Answer>) -> Option<(Fleet, Repository)> {
    let test = asking();
    let repository = Repository::new(&test);
    Some((Fleet::in_world(reached(test), answers)?, repository))
}

/// A worker that makes workspaces from the barn's repositories.
fn worker(fleet: &Fleet) -> Running {
    let words =
        ["worker", "--listen", &fleet.address, "--register", &fleet.admin, "--workspace-source", "ssh://owl@barn/"];
    let worker = fleet.start_command(&words);
    worker.wait_for_stderr("waiting for jobs");
    worker
}

/// The workspaces that were made and not removed.
fn left(fleet: &Fleet) -> usize {
    let folder = fleet.test.root().join("home/cache/perstack/workspaces");
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn submit(fleet: &Fleet, from: &str) {
    fleet.fleet(&["submit", "librarian", "q", "--job-id", "nest", "--workspace-from", from]).assert_code(0);
}

#[test]
fn a_job_has_a_workspace_of_its_own_and_its_files_behind_a_question() {
    let gate = Gate::new();
    let question = Answer::calls([call("c2", "askUser", json!({"question": "Which owl?"}))]);
    let Some((fleet, repository)) = fleet([writes("c1", "b.txt", "written"), question]) else { return };
    let first = worker(&fleet);
    submit(&fleet, &repository.address("#v1"));
    fleet.fleet(&["wait", "nest"]).assert_code(4);
    assert!(!fleet.test.workspace().join("b.txt").exists(), "it worked in the worker's workspace");
    assert_eq!(left(&fleet), 0);
    let lost = Answer::text("Lost.").delay(&gate);
    fleet.script([reads("c3", "b.txt"), lost]);
    fleet.fleet(&["answer", "nest", "The tawny owl."]).assert_code(0);
    // Its process is killed behind a step: the answer's turn is tried again.
    first.wait_for_request(4);
    fleet.script([reads("c4", "b.txt"), reads("c5", "a.txt"), Answer::text("Done.")]);
    let _second = worker(&fleet);
    first.kill();
    gate.open();
    drop(first);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Done.\n");
    let requests = fleet.test.server().requests();
    let results = requests.last().unwrap().results();
    let has = |text: &str| results.iter().any(|result| format!("{result:?}").contains(text));
    assert!(has("written") && has("one"), "{results:?}");
    for mark in ["HOOK", "FILTER", "LFS"] {
        assert!(!fleet.test.root().join(mark).exists(), "{mark}");
    }
}

#[test]
fn who_takes_a_job_over_has_the_files_of_its_steps() {
    let gate = Gate::new();
    let answers = [writes("c1", "b.txt", "written"), check("c2"), Answer::text("Lost.").delay(&gate)];
    let Some((fleet, repository)) = fleet(answers) else { return };
    let first = worker(&fleet);
    submit(&fleet, &repository.address("#v1"));
    first.wait_for_request(3);
    fleet.script([reads("c3", "b.txt"), Answer::text("Done.")]);
    let second = worker(&fleet);
    first.kill();
    gate.open();
    drop(first);
    assert_eq!(fleet.fleet(&["wait", "nest"]).assert_code(0).stdout, "Done.\n");
    let requests = fleet.test.server().requests();
    assert!(format!("{:?}", requests.last().unwrap().results()).contains("written"));
    drop(second);
}

#[test]
fn a_source_that_is_not_the_same_everywhere_or_that_no_worker_takes_is_refused() {
    let Some((fleet, repository)) = fleet([]) else { return };
    let submit_from = |from: &str| fleet.fleet(&["submit", "librarian", "q", "--workspace-from", from]).assert_code(2);
    submit_from(".").assert_stderr(["is a folder", "https://…#REVISION"]);
    submit_from(&repository.address("")).assert_stderr(["names no revision"]);
    submit_from("ext::sh -c 'touch x'#v1").assert_stderr(["start any program"]);
    submit_from("file:///srv/owls#v1").assert_stderr(["without file://"]);
    fleet
        .fleet(&["worker", "--workspace-source", "owls"])
        .assert_code(2)
        .assert_stderr(["is no address of a repository"]);
    let plain = fleet.worker();
    submit(&fleet, &repository.address("#v1"));
    fleet
        .fleet(&["wait", "nest"])
        .assert_code(2)
        .assert_stderr(["the worker makes no workspace from", "--workspace-source"]);
    drop(plain);
    assert!(fleet.test.server().requests().is_empty());
    assert_eq!(left(&fleet), 0);
}
