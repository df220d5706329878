//! The disk in mid-run: full, or the storage moved, replaced or removed under the job. The run stops with what it has,
//! and goes on when the disk is mended.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::answer::Call;
use crate::support::{Answer, Provider, Test, call, skipped};

fn shell(id: &str, script: &str) -> Call {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    call(id, "exec", arguments)
}

fn check(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

fn owls(test: &Test) -> String {
    fs::read_to_string(test.workspace().join("owls.txt")).unwrap()
}

#[track_caller]
fn sh(test: &Test, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(test.workspace()).status().unwrap();
    assert!(status.success(), "{script}");
}

/// What can happen to a storage, how it is mended, and whether the result of the call under way is kept. A command stands for
/// anybody who does it, and so is not contained: what is contained finds the storage read-only.
const TROUBLES: [(&str, &str, bool); 6] = [
    ("mv perstack aside; echo > perstack", "rm perstack; mv aside perstack", true),
    ("mv perstack aside; mkdir perstack", "rm -r perstack; mv aside perstack", true),
    ("mv perstack/jobs/nest aside", "mv aside perstack/jobs/nest", true),
    (
        "mv perstack/jobs/nest/runs aside; mkdir -p perstack/jobs/nest/runs/$(ls aside)",
        "rm -r perstack/jobs/nest/runs; mv aside perstack/jobs/nest/runs",
        true,
    ),
    // As editors save.
    ("cd perstack/jobs/nest/runs/*; cp log.jsonl log.new; mv log.new log.jsonl", "true", false),
    ("cp -r perstack copy; rm -r perstack", "mv copy perstack", false),
];

#[test]
fn a_storage_that_is_changed_under_a_job_stops_it_and_it_goes_on_when_mended() {
    for (trouble, mending, keeps_result) in TROUBLES {
        let test = Test::with(Provider::Anthropic)
            .answers([check("c1"), Answer::calls([shell("c2", &format!("echo x >> owls.txt; {trouble}"))])]);
        let ran = test.run(["run", "librarian", "q", "--job-id", "nest", "--sandbox", "off"]).assert_code(6);
        ran.snapshot("disk/a-storage-that-is-changed-under-a-job");
        assert_eq!(test.server().requests().len(), 2, "nothing was begun that could not be recorded: {trouble}");
        sh(&test, mending);
        test.server().script([Answer::text("Done.")]);
        assert_eq!(test.run(["resume", "nest"]).assert_code(0).stdout, "Done.\n", "{trouble}");
        assert_eq!(owls(&test), "x\n", "{trouble}");
        let results = test.server().requests().pop().unwrap().results();
        let ids: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["c1", "c2"], "{trouble}");
        assert_eq!(!results[1].1.starts_with("interrupted: "), keeps_result, "{trouble}: {results:?}");
    }
}

#[test]
fn a_step_whose_checkpoint_cannot_be_written_is_not_followed_by_another() {
    let trouble = "chmod 0500 perstack/jobs/nest/runs/*";
    if rustix::process::geteuid().is_root() {
        return skipped("permissions do not bind root");
    }
    let test = Test::with(Provider::Anthropic)
        .answers([Answer::calls([shell("c1", trouble)]), check("c2")])
        .may_leave_answers();
    let ran = test.run(["run", "librarian", "q", "--job-id", "nest", "--sandbox", "off"]).assert_code(6);
    assert!(ran.stderr.contains("checkpoint-1-") && ran.stderr.contains("permissions"), "{}", ran.stderr);
    sh(&test, "chmod 0700 perstack/jobs/nest/runs/*");
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(["resume", "nest"]).assert_code(0).stdout, "Done.\n");
}

#[test]
fn a_workspace_that_is_removed_is_the_models_trouble_and_the_job_is_kept_elsewhere() {
    let test = Test::with(Provider::Anthropic);
    let storage = test.root().join("elsewhere");
    test.server().script([
        Answer::calls([shell("c1", "rm -r \"$PWD\"")]),
        Answer::calls([
            call("c2", "writeTextFile", json!({"path": "owls.txt", "text": "tawny"})),
            call("c3", "readTextFile", json!({"path": "owls.txt"})),
            shell("c4", "echo hoot"),
        ]),
        Answer::text("Done."),
    ]);
    // A contained command could only empty it.
    let storage = storage.to_str().unwrap();
    let ran = test.run(["run", "librarian", "q", "--storage", storage, "--job-id", "nest", "--sandbox", "off"]);
    assert_eq!(ran.assert_code(0).stdout, "Done.\n");
    assert_eq!(test.server().requests()[2].results().len(), 4);
    fs::create_dir(test.workspace()).unwrap();
    test.server().script([Answer::text("Again.")]);
    let ran = test.run(["resume", "nest", "More.", "--storage", storage]);
    assert_eq!(ran.assert_code(0).stdout, "Again.\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_without_room_stops_the_job_and_it_goes_on_when_there_is_some() {
    let mount = "mkdir -p perstack && mount -t tmpfs -o size=64k none perstack";
    let test = Test::with(Provider::Anthropic).file("owls.txt", "");
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", mount]).current_dir(test.root()).output();
    if !tried.is_ok_and(|ran| ran.status.success()) {
        return skipped("no file system can be mounted here");
    }
    let append = |n: usize| {
        let digits = n.to_string().repeat(3000);
        Answer::calls([call(&format!("c{n}"), "appendTextFile", json!({"path": "owls.txt", "text": digits}))])
    };
    test.server().answer_by(move |request| match request.results().len() {
        9 => Answer::text("Done."),
        results => append(results + 1),
    });
    let script = format!(
        "{mount} && {{ \"$0\" run librarian q --job-id nest; echo $? > code; tail -c 1 perstack/jobs/nest/runs/*/log.jsonl \
         > last; mount -o remount,size=8m perstack && exec \"$0\" resume nest; }}"
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(test.binary());
    let ran = test.start(command).finish().assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert_eq!(fs::read_to_string(test.workspace().join("code")).unwrap(), "6\n", "{}", ran.stderr);
    assert!(ran.stderr.contains("help: free some space\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("perstack resume nest") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    let results = test.server().requests().pop().unwrap().results();
    assert_eq!(results.len(), 9);
    let owls = owls(&test);
    for (id, text) in results {
        let times = owls.matches(&id[1..]).count();
        assert!(times == 3000 || (times == 0 && text.starts_with("interrupted: ")), "{id}: {times}, {text}");
    }
}
