//! The state of the workspace that a checkpoint names is that of its own moment: where none was stored then, it names none.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::signpost::Signpost;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate, Provider, Test, call};

fn write(id: &str, text: &str) -> Answer {
    Answer::calls([call(id, "writeTextFile", json!({"path": "a.txt", "text": text}))])
}

/// Whether each checkpoint names a state, by step.
fn has_names(test: &Test) -> Vec<bool> {
    let mut heads: Vec<Value> = test.storage().checkpoints().iter().map(|path| read_json(path)).collect();
    heads.sort_by_key(|head| head["stepNumber"].as_u64());
    heads.iter().map(|head| head["snapshot"].is_string()).collect()
}

#[test]
fn what_a_run_before_had_stored_is_not_the_state_of_the_steps_behind_it() {
    for (mode, expected) in [
        ("every", [true, true, true, true]),
        ("stop", [false, true, false, true]),
        ("off", [false, true, false, false]),
    ] {
        let test = Test::with(Provider::Anthropic).answers([
            write("c1", "one"),
            Answer::text("Done."),
            write("c2", "two"),
            Answer::text("Again."),
        ]);
        let first = if mode == "every" { "every" } else { "stop" };
        test.run(["run", "librarian", "Go.", "--snapshot", first]).assert_code(0);
        test.run(["resume", "latest", "More.", "--snapshot", mode]).assert_code(0);
        assert_eq!(has_names(&test), expected, "{mode}");
        test.run(["job", "verify", "latest"]).assert_code(0);
    }
}

#[test]
fn a_job_that_died_behind_a_checkpoint_goes_on_with_the_files_of_that() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).may_leave_answers().env("PERSTACK_SNAPSHOT", "every");
    test.server().script([write("c1", "one"), Answer::text("Never.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Go.", "--job-id", "nest"]);
    running.wait_for_request(2);
    running.kill();
    assert_eq!(running.finish().signal, Some(Signal::KILL.as_raw()));
    gate.open();
    fs::write(test.workspace().join("a.txt"), "changed").unwrap();
    test.server().script([Answer::text("Done.")]);
    test.run(["resume", "nest", "--restore"]).assert_code(0);
    assert_eq!(fs::read_to_string(test.workspace().join("a.txt")).unwrap(), "one");
    test.run(["job", "verify", "nest"]).assert_code(0);
}

#[test]
fn a_job_that_died_in_the_middle_of_a_step_has_no_state_for_what_its_calls_have_done() {
    let test = Test::with(Provider::Anthropic).may_leave_answers().env("PERSTACK_SNAPSHOT", "every");
    let sign = Signpost::at(&test.workspace(), "sign");
    let waits = json!({"command": "sh", "args": ["-c", "echo > sign; sleep 600"], "env": {}, "cwd": ".", "stdout": true,
        "stderr": true, "timeout": 600_000});
    test.server().script([write("c1", "one"), Answer::calls([call("c2", "exec", waits)])]);
    let running = test.spawn(["run", "librarian", "Go.", "--job-id", "nest"]);
    sign.wait();
    running.kill();
    running.finish();
    fs::write(test.workspace().join("a.txt"), "changed").unwrap();
    // The call may have had effects, which no stored state has: going back to the state before would take them from the
    // conversation that goes on.
    let ran = test.run(["resume", "nest", "--restore"]).assert_code(2);
    ran.assert_stderr(["has no snapshot of the workspace", "name one that has"]);
    assert_eq!(fs::read_to_string(test.workspace().join("a.txt")).unwrap(), "changed");
    // The files alone are had back, as they were at the checkpoint.
    let first = checkpoint_id(&test.storage().checkpoints()[0]).to_owned();
    test.run(["job", "restore", &first]).assert_code(0);
    assert_eq!(fs::read_to_string(test.workspace().join("a.txt")).unwrap(), "one");
    test.server().script([Answer::text("Done.")]);
    test.run(["resume", "nest"]).assert_code(0);
    test.run(["job", "verify", "nest"]).assert_code(0);
}
