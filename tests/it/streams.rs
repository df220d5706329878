//! Streams that nobody reads: closed from the start, closed in mid-run, or never emptied.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::Signal;
use serde_json::json;

use crate::support::process::Running;
use crate::support::signpost::Signpost;
use crate::support::storage::read_json;
use crate::support::{Answer, Gate, Provider, Test, call};

pub const GLANCE: Duration = Duration::from_millis(2);

/// Starts the binary by a line of shell, in which it is `"$0"`.
pub fn by_shell(test: &Test, line: &str) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", line]).arg(test.binary());
    test.start(command)
}

fn check(id: &str) -> Answer {
    Answer::calls([call(id, "healthCheck", json!({}))])
}

/// A pipe of that name, which this holds open and does not read.
pub fn unread(test: &Test, name: &str) -> File {
    let path = test.workspace().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // What this end writes is for filling it.
    let waits_never = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(waits_never).open(path).unwrap()
}

/// Fills a pipe up to its last `room` bytes.
pub fn fill(mut pipe: &File, room: usize) {
    let mut held = 0;
    while let Ok(written) = pipe.write(&[b'.'; 4096]) {
        held += written;
    }
    pipe.read_exact(&mut vec![0; held]).unwrap();
    pipe.write_all(&vec![b'.'; held - room]).unwrap();
}

/// Waits until a pipe takes no more. It has 16 pages (`pipe(7)`), which writes of any length need not fill: so the pipe is
/// full when it holds a good part of that, and no more for many glances.
fn wait_until_full(running: &Running, pipe: &File) {
    let (mut held, mut alike) = (0, 0);
    running.poll(GLANCE, || {
        let now = rustix::io::ioctl_fionread(pipe).unwrap();
        alike = if now == held { alike + 1 } else { 0 };
        held = now;
        held > 20_000 && alike > 50
    });
}

fn job_status(test: &Test) -> serde_json::Value {
    read_json(&test.storage().jobs()[0].join("job.json"))["status"].clone()
}

/// More than a pipe holds.
fn long_text() -> String {
    "owl ".repeat(60_000)
}

#[test]
fn streams_that_are_closed_from_the_start_do_no_harm() {
    for closed in [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        for flags in ["", "--json --verbose", "--output json"] {
            let test = Test::with(Provider::Anthropic).answers([check("c1"), Answer::text("Owls.")]);
            let ran = by_shell(&test, &format!("\"$0\" run librarian q {flags} {closed}")).finish().assert_code(0);
            assert!(!ran.stderr.contains("panicked"), "{closed} {flags}: {}", ran.stderr);
            assert_eq!(job_status(&test), "completed", "{closed} {flags}");
        }
    }
}

/// Runs with one stream leading into a pipe whose reader leaves once the model is asked.
fn with_reader_that_leaves(flags: &str, stream: &str, code: i32) -> (Test, crate::support::process::Ran) {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).may_leave_answers();
    test.server().script([check("c1").delay(&gate), Answer::text("Owls.")]);
    let redirection = if stream == "stderr" { "2>&1 >answer" } else { "" };
    let line = format!(
        "{{ \"$0\" run librarian q {flags} {redirection}; echo $? > code; }} | {{ read line < go; exec <&-; echo > left; }}"
    );
    let go = Signpost::at(&test.workspace(), "go");
    let running = by_shell(&test, &line);
    running.wait_for_request(1);
    go.pass();
    running.poll(GLANCE, || test.workspace().join("left").exists());
    gate.open();
    let ran = running.finish();
    let told = std::fs::read_to_string(test.workspace().join("code")).unwrap();
    assert_eq!(told.trim(), code.to_string(), "{flags} {stream}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("Broken pipe"), "{}", ran.stderr);
    (test, ran)
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly_and_loses_nothing() {
    let (test, _) = with_reader_that_leaves("", "stdout", 0);
    assert_eq!(job_status(&test), "completed");
    let (test, ran) = with_reader_that_leaves("--json", "stdout", 1);
    assert_eq!(job_status(&test), "stoppedByCancellation");
    assert!(ran.stderr.contains("perstack resume"), "{}", ran.stderr);
    test.server().script([Answer::text("Owls.")]);
    test.run(["resume", "latest"]).assert_code(0);
}

#[test]
fn unread_progress_does_not_stop_the_job() {
    for flags in ["", "--verbose"] {
        let (test, _) = with_reader_that_leaves(flags, "stderr", 0);
        assert_eq!(std::fs::read_to_string(test.workspace().join("answer")).unwrap(), "Owls.\n");
    }
}

#[test]
fn a_signal_ends_a_program_whose_answer_is_not_read() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text(&long_text())]);
    let pipe = unread(&test, "pipe");
    let running = by_shell(&test, "exec \"$0\" run librarian q > pipe");
    wait_until_full(&running, &pipe);
    running.signal(Signal::INT);
    running.finish().assert_code(130);
    assert_eq!(job_status(&test), "completed", "the answer is kept");
}

#[test]
fn the_second_signal_ends_a_program_whose_events_are_not_read() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text(&long_text())]);
    let pipe = unread(&test, "pipe");
    let running = by_shell(&test, "exec \"$0\" run librarian q --json > pipe");
    wait_until_full(&running, &pipe);
    running.signal(Signal::INT);
    running.wait_for_stderr("once more to stop at once");
    running.signal(Signal::INT);
    running.finish().assert_code(130).snapshot("streams/the-second-signal-ends-a-program-whose-events-are-not-read");
    test.server().script([Answer::text("Owls.")]);
    assert_eq!(test.run(["resume", "latest"]).assert_code(0).stdout, "Owls.\n");
}
