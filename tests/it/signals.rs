//! What signals do to the program: end it in order, end it at once, or stop it for a while.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::interactive::on_terminal;
use crate::support::signpost::Signpost;
use crate::support::storage::read_json;
use crate::support::tool_server::stdio_skill;
use crate::support::{Answer, Gate, PATIENCE, Provider, Test, call, skipped};

fn shell(id: &str, script: &str, timeout_ms: u64) -> Answer {
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
        "timeout": timeout_ms,
    });
    Answer::calls([call(id, "exec", arguments)])
}

/// How long a process may take for something while it runs, in milliseconds.
const LIMIT: &str = "6000";
/// How long it is stopped: longer than that. The one thing here that has to be waited out.
const STOPPED: Duration = Duration::from_secs(9);

/// The state of a process, `T` for stopped (`proc_pid_stat(5)`).
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn job_status(test: &Test) -> Value {
    read_json(&test.storage().jobs()[0].join("job.json"))["status"].clone()
}

#[test]
fn an_answer_is_not_given_up_because_the_program_was_stopped() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Back.").delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", "--timeout", LIMIT]);
    running.wait_for_request(1);
    running.signal(Signal::STOP);
    thread::sleep(STOPPED);
    running.signal(Signal::CONT);
    gate.open();
    assert_eq!(running.finish().assert_code(0).stdout, "Back.\n");
    assert_eq!(test.server().requests().len(), 1, "asked once, paid once");
}

#[cfg(target_os = "linux")]
#[test]
fn tools_go_on_while_the_program_is_stopped_and_their_results_count() {
    let test = Test::with(Provider::Anthropic);
    let (sign, go) = (Signpost::at(&test.workspace(), "sign"), Signpost::at(&test.workspace(), "go"));
    let script = "echo > sign; read line < go; echo done > done; echo heard";
    test.server().script([shell("c1", script, LIMIT.parse().unwrap()), Answer::text("Done.")]);
    let running = test.spawn(["run", "librarian", "q"]);
    sign.wait();
    // What Ctrl-Z sends.
    running.signal(Signal::TSTP);
    running.poll(Duration::from_millis(1), || is_stopped(running.pid()));
    go.pass();
    running.poll(Duration::from_millis(1), || test.workspace().join("done").exists());
    assert!(is_stopped(running.pid()));
    thread::sleep(STOPPED);
    running.signal(Signal::CONT);
    running.finish().assert_code(0);
    let results = test.server().requests()[1].results();
    assert!(results[0].1.contains("heard") && !results[0].1.contains("timed out"), "{results:?}");
}

#[test]
fn a_tool_that_will_not_end_is_ended_within_the_grace() {
    let test = Test::with(Provider::Anthropic);
    let sign = Signpost::at(&test.workspace(), "sign");
    let script = "trap '' TERM INT HUP; echo > sign; while :; do sleep 600; done";
    test.server().script([shell("c1", script, 600_000)]);
    let running = test.spawn(["run", "librarian", "q"]);
    sign.wait();
    running.signal(Signal::INT);
    let ran = running.finish().assert_code(130).snapshot("signals/a-tool-that-will-not-end-is-ended-within-the-grace");
    assert!(!ran.stderr.contains("stopped at once"), "{}", ran.stderr);
    assert_eq!(job_status(&test), "stoppedByCancellation");
    test.server().script([Answer::text("Done.")]);
    test.run(["resume", "latest"]).assert_code(0);
}

#[test]
fn the_second_signal_ends_the_program_at_once_with_all_that_it_started() {
    let test = Test::with(Provider::Anthropic);
    let sign = Signpost::at(&test.workspace(), "sign");
    let script = "trap '' TERM INT; echo $$ > id; echo x >> owls.txt; echo > sign; while :; do sleep 600; done";
    test.server().script([shell("c1", script, 600_000)]);
    let running = test.spawn(["run", "librarian", "q"]);
    sign.wait();
    running.signal(Signal::TERM);
    running.wait_for_stderr("once more to stop at once");
    running.signal(Signal::TERM);
    // Its output ends only when nobody of its descendants is left.
    let ran = running
        .finish()
        .assert_code(143)
        .snapshot("signals/the-second-signal-ends-the-program-at-once-with-all-that-it-started");
    assert!(ran.stderr.trim_end().lines().last().unwrap().starts_with("perstack resume"), "{}", ran.stderr);
    let id = fs::read_to_string(test.workspace().join("id")).unwrap();
    wait_until("the end of the tool", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    });
    test.server().script([Answer::text("Done.")]);
    test.run(["resume", "latest"]).assert_code(0);
    assert_eq!(fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), "x\n");
}

#[test]
fn under_nohup_a_closed_terminal_changes_nothing() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Done.").delay(&gate)]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" run librarian q"]).arg(test.binary());
    let running = test.start(command);
    running.wait_for_request(1);
    running.signal(Signal::HUP);
    gate.open();
    assert_eq!(running.finish().assert_code(0).stdout, "Done.\n");
}

#[test]
fn a_terminal_that_goes_away_stops_the_job_in_order() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).env("TERM", "xterm");
    test.server().script([Answer::text("Lost.").delay(&gate)]);
    test.binary();
    let Some(running) = on_terminal(&test, "run librarian q") else { return drop(test.may_leave_answers()) };
    running.wait_for_request(1);
    // The terminal's other end.
    running.kill();
    wait_until("the end of the job", || job_status(&test) != "running");
    assert_eq!(job_status(&test), "stoppedByCancellation");
    gate.open();
    test.server().script([Answer::text("Found.")]);
    // The lock goes with the process, which may still be on its way out.
    wait_until("the lock", || {
        let lock = fs::File::open(test.storage().jobs()[0].join("lock")).unwrap();
        lock.try_lock().is_ok()
    });
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Found.\n");
}

#[test]
fn a_signal_while_skills_start_on_resume_leaves_the_job_as_it_was() {
    let plain = "[experts.librarian]\ninstruction = \"You look.\"\n[provider]\nproviderName = \"anthropic\"\n";
    let test = Test::new().file("perstack.toml", plain).provider(Provider::Anthropic);
    let sign = Signpost::at(&test.workspace(), "sign");
    test.server().script([shell("c1", "echo x >> owls.txt; echo > sign; sleep 600", 600_000)]);
    let running = test.spawn(["run", "librarian", "q"]);
    sign.wait();
    running.kill();
    running.finish();
    let log = test.storage().runs()[0].join("log.jsonl");
    let before = fs::read(&log).unwrap();
    let hanging = stdio_skill("owls", ["rough", "start=hang", "processes=ids"]);
    fs::write(test.workspace().join("perstack.toml"), format!("{plain}{hanging}")).unwrap();
    let running = test.spawn(["resume", "latest"]);
    running.poll(Duration::from_millis(5), || test.workspace().join("ids").exists());
    running.signal(Signal::INT);
    let ran = running.finish().assert_code(130);
    assert!(!ran.stderr.contains("stopped at once"), "{}", ran.stderr);
    assert_eq!(fs::read(&log).unwrap(), before, "nothing was begun");
    fs::write(test.workspace().join("perstack.toml"), plain).unwrap();
    test.server().script([Answer::text("Done.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Done.\n");
    assert_eq!(fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), "x\n");
}

/// A tool of an ordinary user must not read the key from the program that it was started by.
#[cfg(target_os = "linux")]
#[test]
fn tools_cannot_look_into_the_program() {
    let test = Test::with(Provider::Anthropic);
    let binary = test.binary();
    let script = "cat /proc/$PPID/environ > seen; cat /proc/$PPID/mem > seen; cat notes.txt; echo more >> notes.txt";
    test.server().script([
        shell("c1", script, 60_000),
        Answer::calls([
            call("c2", "writeTextFile", json!({"path": "owls.txt", "text": "tawny"})),
            call("c3", "listDirectory", json!({"path": "."})),
            call("c4", "readTextFile", json!({"path": "notes.txt"})),
        ]),
        Answer::text("Done."),
    ]);
    let test = test.file("notes.txt", "tawny\n").may_leave_answers();
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        let whole = test.root().to_str().unwrap();
        let given = Command::new("chown").args(["-R", "65534:65534", whole]).status().is_ok_and(|code| code.success());
        let tried = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(binary)
            .arg("--version")
            .output();
        if !given || !tried.is_ok_and(|ran| ran.status.success()) {
            return skipped("no other user can start the binary here");
        }
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg(binary).args(["run", "librarian", "q"]);
    test.start(command).finish().assert_code(0);
    let results = test.server().requests()[2].results();
    assert_eq!(results[0].1.matches("Permission denied").count(), 2, "{results:?}");
    assert_eq!(fs::read(test.workspace().join("seen")).unwrap(), b"");
    assert!(results[0].1.contains("tawny") && results[2].1.contains("owls.txt"), "files work as ever: {results:?}");
    assert!(results[3].1.contains("more"), "{results:?}");
}

#[test]
fn the_program_leaves_no_core_file_with_its_memory() {
    let test = Test::with(Provider::Anthropic);
    let sign = Signpost::at(&test.workspace(), "sign");
    test.server().script([shell("c1", "echo > sign; sleep 600", 600_000)]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" run librarian q"]).arg(test.binary());
    let running = test.start(command);
    sign.wait();
    running.signal(Signal::QUIT);
    assert_eq!(running.finish().signal, Some(Signal::QUIT.as_raw()));
    let names = fs::read_dir(test.workspace()).unwrap().map(|entry| entry.unwrap().file_name());
    let cores: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("core")).collect();
    assert!(cores.is_empty(), "{cores:?}");
}

/// Waits for a condition that another process brings about.
#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        thread::sleep(Duration::from_millis(5));
    }
}
