//! The binary as a process: started in a group of its own, bounded in time, its output read as it comes.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use super::settle::assert_snapshot;
use super::storage::Storage;
use super::world::World;
use super::{PATIENCE, contracts};

/// What standard input is.
#[derive(Debug, Clone)]
pub enum Stdin {
    /// Empty.
    Closed,
    /// This, then its end.
    Text(String),
    /// This, then its end, over a socket instead of a pipe.
    Socket(String),
    /// Open for as long as the process lives, without a byte.
    Silent,
}

/// A process that has not been waited for. Dropped early, it is killed with its group.
pub struct Running {
    /// As it would be typed.
    command: String,
    pid: Pid,
    exit: mpsc::Receiver<ExitStatus>,
    stdout: Capture,
    stderr: Capture,
    /// Held open until the end.
    stdin: Option<ChildStdin>,
    world: Arc<World>,
    has_ended: Arc<AtomicBool>,
}

impl Running {
    pub(super) fn start(mut command: Command, stdin: &Stdin, world: &Arc<World>) -> Self {
        let input = match stdin {
            Stdin::Closed => Stdio::null(),
            Stdin::Text(_) | Stdin::Silent => Stdio::piped(),
            Stdin::Socket(text) => {
                let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
                ours.write_all(text.as_bytes()).expect("a socket with room");
                Stdio::from(OwnedFd::from(theirs))
            }
        };
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let typed = as_typed(&command);
        let mut child = command.spawn().expect("the built binary");
        let pid = Pid::from_child(&child);
        let stdout = Capture::start(child.stdout.take().expect("a pipe"));
        let stderr = Capture::start(child.stderr.take().expect("a pipe"));
        let mut pipe = child.stdin.take();
        if let (Stdin::Text(text), Some(mut pipe)) = (stdin.clone(), pipe.take_if(|_| matches!(stdin, Stdin::Text(_))))
        {
            // A program may well end before it has read everything.
            thread::spawn(move || pipe.write_all(text.as_bytes()));
        }
        let (ended, exit) = mpsc::channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let ring = world.server().bell();
        thread::spawn({
            let has_ended = Arc::clone(&has_ended);
            move || {
                let status = child.wait().expect("the status of a child");
                has_ended.store(true, Ordering::SeqCst);
                ring();
                // Nobody listens when the test has failed meanwhile.
                let _ = ended.send(status);
            }
        });
        Self { command: typed, pid, exit, stdout, stderr, stdin: pipe, world: Arc::clone(world), has_ended }
    }

    /// The process's id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("a process to signal");
    }

    /// Writes to a standard input that was silent so far.
    #[track_caller]
    pub fn type_in(&self, text: &str) {
        let mut stdin = self.stdin.as_ref().expect("a standard input that is open");
        stdin.write_all(text.as_bytes()).expect("a process that can be written to");
    }

    /// Ends a standard input that was silent so far.
    pub fn end_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until the server has had this many requests.
    #[track_caller]
    pub fn wait_for_request(&self, number: usize) {
        self.world.server().wait_for_request_unless(number, || self.has_ended.load(Ordering::SeqCst));
    }

    /// Waits until something about the process's doings holds, or the process has ended.
    #[track_caller]
    pub fn poll(&self, glance: Duration, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() && !self.has_ended.load(Ordering::SeqCst) {
            assert!(began.elapsed() < PATIENCE, "the process gets nowhere\n{}", self.stderr.so_far());
            thread::sleep(glance);
        }
    }

    /// Kills the process, unless it has ended.
    pub fn kill(&self) {
        // It is waited for elsewhere, so that it may be gone between two looks.
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Waits until standard output contains this.
    #[track_caller]
    pub fn wait_for_stdout(&self, text: &str) {
        self.stdout.wait_for(text);
    }

    /// Waits until something holds of standard output; all that came so far.
    #[track_caller]
    pub fn stdout_when(&self, holds: impl Fn(&str) -> bool) -> String {
        let (come, is_so) = self.stdout.wait(|captured| holds(&String::from_utf8_lossy(&captured.bytes)));
        assert!(is_so, "what was waited for did not come, but:\n{come}");
        come
    }

    /// Waits until standard error contains this; all that came so far.
    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str) -> String {
        self.stderr.wait_for(text);
        self.stderr.so_far()
    }

    /// Waits for the end. A process that does not come to one fails the test.
    pub fn finish(self) -> Ran {
        let Ok(status) = self.exit.recv_timeout(PATIENCE) else {
            let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
            panic!("the process hangs\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        };
        Ran {
            command: self.command.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            world: Arc::clone(&self.world),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An open stream means that somebody of the group is left, so the group's number is still its own.
        let is_over = self.has_ended.load(Ordering::SeqCst) && self.stdout.is_closed() && self.stderr.is_closed();
        if !is_over {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.exit.recv_timeout(PATIENCE);
        }
    }
}

/// One output stream, read as it comes.
struct Capture(Arc<(Mutex<Captured>, Condvar)>);

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Capture {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Captured::default()), Condvar::new()));
        let capture = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut captured = shared.0.lock().unwrap();
                captured.bytes.extend_from_slice(&buffer[..read]);
                captured.is_closed = read == 0;
                shared.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        capture
    }

    /// Waits until the condition holds or nothing more can come; the text so far, and whether it holds.
    fn wait(&self, holds: impl Fn(&Captured) -> bool) -> (String, bool) {
        let (captured, changed) = &*self.0;
        let goes_on = |captured: &mut Captured| !holds(captured) && !captured.is_closed;
        let (captured, _) = changed.wait_timeout_while(captured.lock().unwrap(), PATIENCE, goes_on).unwrap();
        (String::from_utf8_lossy(&captured.bytes).into_owned(), holds(&captured))
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        let (come, holds) = self.wait(|captured| String::from_utf8_lossy(&captured.bytes).contains(text));
        assert!(holds, "no {text:?} came, but:\n{come}");
    }

    fn is_closed(&self) -> bool {
        self.0.0.lock().unwrap().is_closed
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap().bytes).into_owned()
    }

    fn all(&self) -> String {
        let (text, is_closed) = self.wait(|captured| captured.is_closed);
        assert!(is_closed, "a descendant outlives the process and holds its output open");
        text
    }
}

/// A command as a person would type it, long words cut off.
fn as_typed(command: &Command) -> String {
    const LONGEST: usize = 200;
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| {
        let word = if word == env!("CARGO_BIN_EXE_perstack") { "perstack".into() } else { word.to_string_lossy() };
        if word.len() > LONGEST {
            return format!("{:?}…", word.chars().take(20).collect::<String>());
        }
        let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) { word.into_owned() } else { format!("{word:?}") }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A process that has ended.
pub struct Ran {
    command: String,
    /// Absent when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    world: Arc<World>,
}

impl Ran {
    /// Fails unless this was the exit code.
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        assert_eq!(
            (self.code, self.signal),
            (Some(code), None),
            "exit code and signal\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }

    /// Fails unless standard error contains each of these.
    #[track_caller]
    pub fn assert_stderr<const N: usize>(self, texts: [&str; N]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} on standard error:\n{}", self.stderr);
        }
        self
    }

    /// Holds the command, its exit code and its output against `tests/it/snapshots/NAME.snap`. `NAME` is
    /// `subject/case`; what differs from run to run is filtered out.
    #[track_caller]
    pub fn snapshot(self, name: &str) -> Self {
        let code = match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let mut text = format!("$ {}\n{code}\n", self.command);
        for (stream, content) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !content.is_empty() {
                text.extend(["--- ", stream, "\n", &content.replace('\r', "\\r")]);
            }
        }
        assert_snapshot(self.world.root(), name, &text);
        self
    }

    /// Standard output as one JSON object a line. Those of a run or a resumption are events by their schema.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let events: Vec<Value> = self.stdout.lines().map(parse).collect();
        for event in events.iter().filter(|event| event.get("schemaVersion").is_some()) {
            contracts::assert_event(event);
        }
        events
    }

    /// The types of the events that belong to a run's state: no streaming, nothing about the process.
    #[track_caller]
    pub fn state_events(&self) -> Vec<String> {
        self.events()
            .iter()
            .map(|event| event["type"].as_str().expect("an event with a type").to_owned())
            .filter(|kind| !kind.to_lowercase().contains("stream") && !kind.starts_with("skill"))
            .filter(|kind| kind != "initializeRuntime")
            .collect()
    }

    /// Standard output as one JSON value. That of a run or a resumption is a result by its schema.
    #[track_caller]
    pub fn object(&self) -> Value {
        let object: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout));
        if object.get("checkpointId").is_some() && object.get("durationMs").is_some() {
            contracts::assert_result(&object);
        }
        object
    }

    /// What the binary has stored in the workspace.
    pub fn storage(&self) -> Storage {
        self.world.storage()
    }

    /// The folder that the binary was started in.
    pub fn workspace(&self) -> PathBuf {
        self.world.workspace()
    }
}
