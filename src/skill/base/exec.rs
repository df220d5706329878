//! `exec`: runs one program without a shell, within limits of time and output.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::order::Turn;
use super::workspace::{LastLink, Workspace};
use crate::environment::Environment;
use crate::skill::SkillError;
use crate::skill::output::{DEFAULT_LIMIT, bound};
use crate::skill::process::{Child, ChildSpec, Cwd, Input, child_environment, spawn};

/// How long a program may run when the call does not say, in milliseconds (the original's).
pub(super) const DEFAULT_TIMEOUT_MS: u64 = 60_000;

/// The longest time a call may ask for, in milliseconds: a day, so that nothing hangs for ever.
pub(super) const MAX_TIMEOUT_MS: u64 = 86_400_000;

/// Most bytes of each stream (the original's `maxBuffer`).
const MAX_OUTPUT: usize = 10 << 20;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the pipes once the program has ended: a background process may hold them open.
const PIPE_GRACE: Duration = Duration::from_secs(1);

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// How to see what was left out of the output.
const HINT: &str = "write the output to a file and read parts of it to see more";

/// `exec`.
#[derive(Debug, Deserialize)]
pub(super) struct Exec {
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: String,
    stdout: bool,
    stderr: bool,
    /// Milliseconds.
    timeout: Option<u64>,
}

/// Why the program is no longer waited for.
enum End {
    Exited,
    TimedOut,
    Cancelled,
    TooMuch(&'static str),
    Unwaitable(std::io::Error),
}

/// Runs the program, giving up `turn` once it has started. `Err` holds the whole answer too; the call then counts as
/// failed.
pub(super) async fn run(
    workspace: &Arc<Workspace>,
    environment: &Environment,
    args: Exec,
    turn: Turn,
    cancel: &CancellationToken,
) -> Result<Value, Value> {
    let started = start(workspace, environment, &args).await;
    // Calls made later go on while the program runs.
    drop(turn);
    let mut child = started.map_err(|message| json!({ "error": message }))?;
    let mut stdout = Drain::of("stdout", child.stdout.take());
    let mut stderr = Drain::of("stderr", child.stderr.take());
    let limit = args.timeout.unwrap_or(DEFAULT_TIMEOUT_MS);
    let (end, status) = {
        let mut drained = pin!(async { tokio::try_join!(stdout.run(), stderr.run()).map(drop) });
        let mut is_drained = false;
        let end = tokio::select! {
            end = ended(&mut child, drained.as_mut(), &mut is_drained) => end,
            () = sleep(Duration::from_millis(limit)) => End::TimedOut,
            () = cancel.cancelled() => End::Cancelled,
        };
        let status = match end {
            End::Exited => child.wait().await,
            // Reading goes on meanwhile: a program that tidies up may have something to say.
            _ if is_drained || matches!(end, End::TooMuch(_)) => child.terminate(GRACE).await,
            _ => {
                let (status, _) = tokio::join!(child.terminate(GRACE), timeout(GRACE + PIPE_GRACE, drained.as_mut()));
                status
            }
        };
        (end, status)
    };
    let message = match (end, status) {
        (End::Exited, Ok(status)) if status.success() => None,
        (End::Exited, Ok(status)) => Some(failed(&args, status, &stderr)),
        (End::TimedOut, _) => Some(format!("Command timed out after {limit}ms.")),
        (End::Cancelled, _) => Some("Command was cancelled.".to_owned()),
        (End::TooMuch(stream), _) => Some(format!("Command stopped: {stream} exceeded {} MiB.", MAX_OUTPUT >> 20)),
        (End::Unwaitable(error), _) | (End::Exited, Err(error)) => Some(format!("Cannot wait for command: {error}")),
    };
    match message {
        None => Ok(json!({ "output": joined(&args, &stdout, &stderr) })),
        Some(message) => Err(report(&args, message, &stdout, &stderr)),
    }
}

/// Waits for the program's end, then a little for its pipes'; or for too much output.
async fn ended(
    child: &mut Child,
    mut drained: std::pin::Pin<&mut impl Future<Output = Result<(), &'static str>>>,
    is_drained: &mut bool,
) -> End {
    loop {
        tokio::select! {
            outcome = drained.as_mut(), if !*is_drained => {
                *is_drained = true;
                if let Err(stream) = outcome {
                    return End::TooMuch(stream);
                }
            }
            outcome = child.ended() => {
                if let Err(error) = outcome {
                    return End::Unwaitable(error);
                }
                if !*is_drained && let Ok(Err(stream)) = timeout(PIPE_GRACE, drained.as_mut()).await {
                    *is_drained = true;
                    return End::TooMuch(stream);
                }
                return End::Exited;
            }
        }
    }
}

async fn start(workspace: &Arc<Workspace>, environment: &Environment, args: &Exec) -> Result<Child, String> {
    let (workspace, path) = (Arc::clone(workspace), args.cwd.clone());
    let cwd = tokio::task::spawn_blocking(move || working_directory(&workspace, &path))
        .await
        .unwrap_or_else(|source| Err(Failure::Ended { source }))
        .map_err(|failure| failure.message())?;
    let spec = ChildSpec {
        program: args.command.clone(),
        args: args.args.clone(),
        env: child_environment(environment, args.env.clone()),
        cwd,
        stdin: Input::Null,
    };
    spawn(spec).await.map_err(|error| match error {
        SkillError::Spawn { program, source } => match source.kind() {
            std::io::ErrorKind::NotFound => format!("spawn {program} ENOENT"),
            std::io::ErrorKind::PermissionDenied => format!("spawn {program} EACCES"),
            _ => format!("spawn {program}: {source}"),
        },
        other => other.to_string(),
    })
}

fn working_directory(workspace: &Workspace, path: &str) -> Result<Cwd, Failure> {
    let place = workspace.resolve(path, LastLink::Follow)?;
    match place.metadata() {
        None => return Err(Failure::NoDirectory(path.to_owned())),
        Some(metadata) if !metadata.is_dir() => return Err(Failure::NotDirectory(path.to_owned())),
        Some(_) => {}
    }
    if cfg!(unix) {
        let folder = place.open_folder().map_err(Failure::io("open", path))?;
        Ok(Cwd::Handle(folder.into_std_file()))
    } else {
        Ok(Cwd::Path(place.absolute().to_owned()))
    }
}

/// The original's text, which Node made: the command line, then what it wrote to stderr.
fn failed(args: &Exec, status: ExitStatus, stderr: &Drain<impl Sized>) -> String {
    let line: Vec<&str> = std::iter::once(&args.command).chain(&args.args).map(String::as_str).collect();
    let why = if status.code().is_none() { format!("\n({status})") } else { String::new() };
    let line = bound(line.join(" "), DEFAULT_LIMIT / 4, "the command line");
    format!("Command failed: {line}{why}\n{}", stderr.text(DEFAULT_LIMIT / 4))
}

fn joined(args: &Exec, stdout: &Drain<impl Sized>, stderr: &Drain<impl Sized>) -> String {
    let mut output = String::new();
    if args.stdout {
        output.push_str(&stdout.text(MAX_OUTPUT));
    }
    if args.stderr {
        output.push_str(&stderr.text(MAX_OUTPUT));
    }
    if output.trim().is_empty() {
        return "Command executed successfully, but produced no output.".to_owned();
    }
    bound(output, DEFAULT_LIMIT, HINT)
}

fn report(args: &Exec, message: String, stdout: &Drain<impl Sized>, stderr: &Drain<impl Sized>) -> Value {
    let mut report = Map::from_iter([("error".to_owned(), Value::String(message))]);
    let streams = [
        ("stdout", args.stdout, stdout.text(DEFAULT_LIMIT / 4)),
        ("stderr", args.stderr, stderr.text(DEFAULT_LIMIT / 4)),
    ];
    for (name, is_wanted, text) in streams {
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
    fn of(name: &'static str, from: Option<R>) -> Self {
        Self { name, from, bytes: Vec::new() }
    }

    /// What came, at most about `limit` bytes of it. Bytes that are no UTF-8 are replaced.
    fn text(&self, limit: usize) -> String {
        bound(String::from_utf8_lossy(&self.bytes).into_owned(), limit, HINT)
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
