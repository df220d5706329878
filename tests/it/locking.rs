//! One process writes to a job; everything else goes on beside it.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Answer, Gate, Provider, Test, call};

fn check(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

#[test]
fn a_job_in_work_keeps_other_writers_out_and_names_its_own() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).answers([check("c1"), Answer::text("Done.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(2);
    let pid = format!("process {}", first.pid());
    for (words, name) in [
        (&["resume", "nest", "Me too."][..], "resume-job"),
        (&["resume", "latest", "Me too."], "resume-latest"),
        (&["run", "librarian", "Me too.", "--continue-job", "nest"], "continue-job"),
        (&["run", "librarian", "Me too.", "--continue"], "continue"),
        (&["run", "librarian", "Me too.", "--job-id", "nest"], "job-id"),
    ] {
        let mut command = std::process::Command::new(test.binary());
        command.args(words);
        let ran = test.start(command).finish().assert_code(6);
        assert!(ran.stderr.contains(&pid), "{}", ran.stderr);
        ran.snapshot(&format!("locking/in-work-{name}"));
    }
    gate.open();
    assert_eq!(first.finish().assert_code(0).stdout, "Done.\n");
}

#[test]
fn a_job_in_work_does_not_hinder_others() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic);
    test.server().script([Answer::text("Other.")]);
    test.run(["run", "librarian", "q", "--job-id", "other"]).assert_code(0);
    test.server().script([check("c1"), Answer::text("Done.").delay(&gate)]);
    let first = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    first.wait_for_request(3);
    test.server().script([Answer::text("More."), Answer::text("New.")]);
    assert_eq!(test.run(["resume", "other", "And?"]).assert_code(0).stdout, "More.\n");
    assert_eq!(test.run(["run", "librarian", "q", "--job-id", "third"]).assert_code(0).stdout, "New.\n");
    assert!(test.run(["list-tools", "librarian"]).assert_code(0).stdout.contains("healthCheck"));
    gate.open();
    assert_eq!(first.finish().assert_code(0).stdout, "Done.\n");
}

#[test]
fn the_lock_of_a_dead_process_is_no_obstacle_whatever_it_holds() {
    // The number of a process that lives, though not here; no number; nothing.
    for left in [None, Some("1\n"), Some("owl"), Some("")] {
        let gate = Gate::new();
        let test = Test::with(Provider::Anthropic).answers([check("c1"), Answer::text("Lost.").delay(&gate)]);
        let running = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
        running.wait_for_request(2);
        let pid = running.pid();
        running.kill();
        assert_eq!(running.finish().signal, Some(Signal::KILL.as_raw()));
        gate.open();
        let lock = test.storage().jobs()[0].join("lock");
        assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{pid}\n"));
        if let Some(left) = left {
            fs::write(&lock, left).unwrap();
        }
        test.server().script([Answer::text("Done.")]);
        assert_eq!(test.run(["resume", "nest"]).assert_code(0).stdout, "Done.\n");
    }
}
