//! `exec`: runs one program without a shell, within limits of time and output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::commands::Commands;
use super::failure::FileFailure;
use super::order::FileTurn;
use super::protected::{CommandWatch, Protected};
use super::workspace::{LastLink, Workspace};
use crate::skill::SkillError;
use crate::skill::contain::WorkspaceTooWide;
use crate::skill::limit;
use crate::skill::output::{CallOutput, bound};
use crate::skill::process::{Child, ChildInput, ChildSpec, Cwd, child_environment, spawn};

/// How long a program may run when the call gives no `timeout`, in milliseconds (the original's).
pub const DEFAULT_TIMEOUT_MS: u64 = 60_000;

/// The longest time a call may ask for, in milliseconds: a day, so that nothing hangs for ever.
pub(super) const MAX_TIMEOUT_MS: u64 = 86_400_000;

/// Most bytes of each stream (the original's `maxBuffer`).
pub(super) const MAX_OUTPUT: usize = 10 << 20;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the pipes once the program has ended: a background process may hold them open.
const PIPE_GRACE: Duration = Duration::from_secs(1);

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// How to see what was left out of the output.
pub(super) const HINT: &str = "write the output to a file and read parts of it to see more";

/// `exec`.
#[derive(Debug, Deserialize)]
pub(super) struct Exec {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "here")]
    cwd: String,
    #[serde(default = "wanted")]
    stdout: bool,
    #[serde(default = "wanted")]
    stderr: bool,
    /// Milliseconds.
    timeout: Option<u64>,
}

/// The workspace, for a call that names no directory.
fn here() -> String {
    ".".to_owned()
}

/// A stream is returned unless the call leaves it out.
fn wanted() -> bool {
    true
}

impl Exec {
    /// The call of a shell command in the workspace, for at most `timeout_ms`.
    pub fn shell(command: &str, timeout_ms: u64) -> Self {
        Self {
            command: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), command.to_owned()],
            env: BTreeMap::new(),
            cwd: here(),
            stdout: true,
            stderr: true,
            timeout: Some(timeout_ms),
        }
    }

    /// The milliseconds that it may run.
    fn limit(&self) -> u64 {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT_MS)
    }
}

/// The reason for which a program is no longer waited for.
enum Stop {
    Exited,
    TimedOut,
    Cancelled,
    TooMuch(&'static str),
    Unwaitable(std::io::Error),
}

/// The way in which a program ended.
pub(super) enum End {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
    TooMuch(&'static str),
    Unwaitable(std::io::Error),
}

impl End {
    fn new(stop: Stop, status: std::io::Result<ExitStatus>) -> Self {
        match (stop, status) {
            (Stop::Exited, Ok(status)) => Self::Exited(status),
            (Stop::TimedOut, _) => Self::TimedOut,
            (Stop::Cancelled, _) => Self::Cancelled,
            (Stop::TooMuch(stream), _) => Self::TooMuch(stream),
            (Stop::Unwaitable(error), _) | (Stop::Exited, Err(error)) => Self::Unwaitable(error),
        }
    }
}

/// A program that has ended.
pub(super) struct Executed {
    args: Exec,
    pub end: End,
    /// All that it wrote to stdout and stderr.
    pub streams: [String; 2],
    /// Lines on protected files that were put back, and on the containment that the program may have failed by.
    pub reason: Option<String>,
}

/// The end of a call.
pub(super) struct ExecEnd {
    /// `Err` holds the whole answer too; the call then counts as failed.
    pub answer: Result<Value, Value>,
    /// As that of [`Executed`].
    pub reason: Option<String>,
}

/// Runs the program, giving up `turn` once it has started.
pub(super) async fn run(
    commands: &Commands,
    args: Exec,
    output: CallOutput,
    turn: FileTurn,
    cancel: &CancellationToken,
) -> ExecEnd {
    let conclude = move |executed: Executed| {
        let Executed { args, end, streams, reason } = executed;
        ExecEnd { answer: answer(&args, end, streams, &output), reason }
    };
    let executed = execute(commands, args, turn, cancel, conclude).await;
    executed
        .unwrap_or_else(|NotStarted { message, reason }| ExecEnd { answer: Err(json!({ "error": message })), reason })
}

/// Runs the program, giving up `turn` once it has started, and returns what `conclude` makes of its end, off the runtime's
/// threads: long output goes to the disk.
///
/// # Errors
/// It was not started.
pub(super) async fn execute<T: Send + 'static>(
    commands: &Commands,
    args: Exec,
    turn: impl Sized,
    cancel: &CancellationToken,
    conclude: impl FnOnce(Executed) -> T + Send + 'static,
) -> Result<T, NotStarted> {
    let mark = commands.programs.network_mark();
    let started = start(commands, &args).await;
    // Calls made later go on while the program runs.
    drop(turn);
    // Dropped from the last to the first: what a call that is given up changed is put back once its command has ended.
    let Started { watch, cwd, mut child } = started?;
    let mut stdout = Drain::new("stdout", child.stdout.take());
    let mut stderr = Drain::new("stderr", child.stderr.take());
    let limit = args.limit();
    let end = {
        let mut drained = pin!(async { tokio::try_join!(stdout.run(), stderr.run()).map(drop) });
        let mut is_drained = false;
        let stop = tokio::select! {
            // First what the program did: it may have ended while this process was stopped.
            biased;
            stop = ended(&mut child, drained.as_mut(), &mut is_drained) => stop,
            () = cancel.cancelled() => Stop::Cancelled,
            () = limit::passed(Duration::from_millis(limit)) => Stop::TimedOut,
        };
        let status = match stop {
            Stop::Exited => child.wait().await,
            // Reading goes on meanwhile: a program that tidies up may still print.
            _ if is_drained || matches!(stop, Stop::TooMuch(_)) => child.terminate(GRACE).await,
            _ => {
                let (status, _) = tokio::join!(child.terminate(GRACE), timeout(GRACE + PIPE_GRACE, drained.as_mut()));
                status
            }
        };
        End::new(stop, status)
    };
    let streams = [stdout.whole(), stderr.whole()];
    let (programs, warn) = (commands.programs.clone(), Arc::clone(&commands.warn));
    let report_end = move || {
        let put_back = watch.and_then(CommandWatch::end);
        if let Some(line) = &put_back {
            warn(line.clone());
        }
        // Refusals that a program got over are none of the model's concern.
        let [stdout, stderr] = &streams;
        let has_failed = !matches!(&end, End::Exited(status) if status.success());
        let guess = || programs.reason(stderr, &cwd).or_else(|| programs.reason(stdout, &cwd));
        let refused = has_failed.then(|| [programs.refused_since(mark), guess()]).into_iter().flatten().flatten();
        let reason = put_back.into_iter().chain(refused).reduce(|lines, line| lines + "\n" + &line);
        conclude(Executed { args, end, streams, reason })
    };
    let concluded = tokio::task::spawn_blocking(report_end).await;
    concluded.map_err(|source| NotStarted::from(FileFailure::Ended { source }))
}

/// The answer, from how the program ended and what it wrote to stdout and stderr.
fn answer(args: &Exec, end: End, [stdout, stderr]: [String; 2], output: &CallOutput) -> Result<Value, Value> {
    let part = |is_wanted, text: String, name| {
        if is_wanted { output.bound(text, output.limit() / 4, name, HINT) } else { String::new() }
    };
    let message = match end {
        End::Exited(status) if status.success() => {
            return Ok(json!({ "output": joined(args, stdout, &stderr, output) }));
        }
        End::Exited(status) => {
            // Returned twice, as the original did; kept once.
            let stderr = part(true, stderr, "stderr");
            return Err(report(
                args,
                failed(args, status, &stderr, output.limit() / 4),
                part(args.stdout, stdout, "stdout"),
                stderr,
            ));
        }
        End::TimedOut => format!("Command timed out after {}ms.", args.limit()),
        End::Cancelled => "Command was cancelled.".to_owned(),
        End::TooMuch(stream) => format!("Command stopped: {stream} exceeded {} MiB.", MAX_OUTPUT >> 20),
        End::Unwaitable(error) => format!("Cannot wait for command: {error}"),
    };
    Err(report(args, message, part(args.stdout, stdout, "stdout"), part(args.stderr, stderr, "stderr")))
}

/// Waits for the program's end, then a little for its pipes'; or for too much output.
async fn ended(
    child: &mut Child,
    mut drained: std::pin::Pin<&mut impl Future<Output = Result<(), &'static str>>>,
    is_drained: &mut bool,
) -> Stop {
    loop {
        tokio::select! {
            outcome = drained.as_mut(), if !*is_drained => {
                *is_drained = true;
                if let Err(stream) = outcome {
                    return Stop::TooMuch(stream);
                }
            }
            outcome = child.ended() => {
                if let Err(error) = outcome {
                    return Stop::Unwaitable(error);
                }
                if !*is_drained && let Ok(Err(stream)) = timeout(PIPE_GRACE, drained.as_mut()).await {
                    *is_drained = true;
                    return Stop::TooMuch(stream);
                }
                return Stop::Exited;
            }
        }
    }
}

/// A program that was not started, in words for the model.
pub(super) struct NotStarted {
    pub message: String,
    pub reason: Option<String>,
}

impl From<FileFailure> for NotStarted {
    fn from(failure: FileFailure) -> Self {
        Self { message: failure.message(), reason: None }
    }
}

/// A program that runs.
struct Started {
    child: Child,
    /// Its working folder.
    cwd: PathBuf,
    watch: Option<CommandWatch>,
}

/// Starts the program.
async fn start(commands: &Commands, args: &Exec) -> Result<Started, NotStarted> {
    let (workspace, path, programs) = (Arc::clone(&commands.workspace), args.cwd.clone(), commands.programs.clone());
    let protected = commands.protected.clone();
    let added = commands.temporary.iter().cloned().chain(args.env.clone()).chain(commands.granted.iter().cloned());
    let mut env = child_environment(&commands.environment, added);
    let prepare = move || {
        let folder = working_directory(&workspace, &path)?;
        let confinement = programs.confinement().and_then(|confinement| {
            programs.set_network(&mut env)?;
            Ok((confinement, env))
        });
        Ok((folder, confinement, protected.as_ref().map(Protected::watch)))
    };
    let ((cwd, path), confinement, watch) = tokio::task::spawn_blocking(prepare)
        .await
        .unwrap_or_else(|source| Err(NotStarted::from(FileFailure::Ended { source })))?;
    let refused = |error| NotStarted { message: not_contained(&error), reason: None };
    let (confinement, env) = confinement.map_err(refused)?;
    #[cfg(target_os = "linux")]
    let held_calls = commands.programs.held_calls(&args.command, &path, &env).map_err(refused)?;
    let spec = ChildSpec {
        program: args.command.clone(),
        args: args.args.clone(),
        env,
        cwd,
        stdin: ChildInput::Null,
        confinement,
        #[cfg(target_os = "linux")]
        held_calls,
    };
    match spawn(spec).await {
        Ok(child) => Ok(Started { child, cwd: path, watch }),
        Err(SkillError::Spawn { program, source }) => Err(match source.kind() {
            std::io::ErrorKind::NotFound => NotStarted { message: format!("spawn {program} ENOENT"), reason: None },
            std::io::ErrorKind::PermissionDenied => NotStarted {
                message: format!("spawn {program} EACCES"),
                reason: commands.programs.reason_for_program(&program, &path),
            },
            _ => NotStarted { message: format!("spawn {program}: {source}"), reason: None },
        }),
        Err(other) => Err(NotStarted { message: other.to_string(), reason: None }),
    }
}

/// The answer where containment fails: nothing is started without it.
fn not_contained(error: &std::io::Error) -> String {
    let is_too_wide = error.get_ref().and_then(|source| source.downcast_ref::<WorkspaceTooWide>()).is_some();
    let remedy = ". The user can choose a workspace below, or start perstack with --sandbox off";
    format!("the command was not started: {error}{}", if is_too_wide { remedy } else { "" })
}

/// The working folder, open, with its path.
fn working_directory(workspace: &Workspace, path: &str) -> Result<(Cwd, PathBuf), FileFailure> {
    let place = workspace.resolve(path, LastLink::Follow)?;
    match place.metadata() {
        None => return Err(FileFailure::NoDirectory(path.to_owned())),
        Some(metadata) if !metadata.is_dir() => return Err(FileFailure::NotDirectory(path.to_owned())),
        Some(_) => {}
    }
    let absolute = place.absolute().to_owned();
    if cfg!(unix) {
        let folder = place.open_folder().map_err(FileFailure::io("open", path))?;
        Ok((Cwd::Handle(folder.into_std_file()), absolute))
    } else {
        Ok((Cwd::Path(absolute.clone()), absolute))
    }
}

/// The original's text, which Node made: the command line, then what it wrote to stderr.
fn failed(args: &Exec, status: ExitStatus, stderr: &str, limit: usize) -> String {
    let line: Vec<&str> = std::iter::once(&args.command).chain(&args.args).map(String::as_str).collect();
    let why = if status.code().is_none() { format!("\n({status})") } else { String::new() };
    let line = bound(line.join(" "), limit, "the command line");
    format!("Command failed: {line}{why}\n{stderr}")
}

/// The streams that were asked for, one after the other.
fn joined(args: &Exec, stdout: String, stderr: &str, output: &CallOutput) -> String {
    let mut text = if args.stdout { stdout } else { String::new() };
    if args.stderr {
        text.push_str(stderr);
    }
    if text.trim().is_empty() {
        return "Command executed successfully, but produced no output.".to_owned();
    }
    output.bound(text, output.limit(), "", HINT)
}

fn report(args: &Exec, message: String, stdout: String, stderr: String) -> Value {
    let mut report = Map::from_iter([("error".to_owned(), Value::String(message))]);
    for (name, is_wanted, text) in [("stdout", args.stdout, stdout), ("stderr", args.stderr, stderr)] {
        if is_wanted && !text.is_empty() {
            report.insert(name.to_owned(), Value::String(text));
        }
    }
    Value::Object(report)
}

/// A stream being read to its end.
struct Drain<R> {
    name: &'static str,
    from: Option<R>,
    bytes: Vec<u8>,
}

impl<R> Drain<R> {
    fn new(name: &'static str, from: Option<R>) -> Self {
        Self { name, from, bytes: Vec::new() }
    }

    /// All that came. Bytes that are no UTF-8 are replaced.
    fn whole(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl<R: AsyncRead + Unpin> Drain<R> {
    /// Reads until the end. More than [`MAX_OUTPUT`] is an error, named by the stream. What has been read stays when
    /// this is dropped.
    async fn run(&mut self) -> Result<(), &'static str> {
        while let Some(from) = &mut self.from {
            self.bytes.reserve(CHUNK);
            match from.read_buf(&mut self.bytes).await {
                Ok(read) if read > 0 && self.bytes.len() <= MAX_OUTPUT => {}
                Ok(read) if read > 0 => {
                    self.bytes.truncate(MAX_OUTPUT);
                    return Err(self.name);
                }
                // A pipe that cannot be read has ended.
                Ok(_) | Err(_) => self.from = None,
            }
        }
        Ok(())
    }
}
