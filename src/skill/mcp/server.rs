//! A local server's process: started, its stderr passed on, ended in steps.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::health::Health;
use super::launch::Launch;
use super::lines::LineReader;
use super::notice::{MAX_LINE, Reporter};
use crate::skill::SkillError;
use crate::skill::process::{Child, ChildInput, ChildSpec, Cwd, spawn};

/// How long a server has to end by itself once its input has been closed, as the protocol asks. Servers that notice need
/// milliseconds, unless they still have work to save.
const QUIET_END: Duration = Duration::from_secs(2);

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for the last lines on stderr: a stray grandchild may hold it open.
const LAST_LINES: Duration = Duration::from_millis(200);

/// A running server process. Dropping it kills its whole group at once.
pub(super) struct Server {
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

/// A started process and its streams.
pub(super) struct Started {
    pub server: Server,
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
}

impl Server {
    /// Starts the process that `launch` describes. Its end is recorded in `health`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(super) async fn start(
        launch: &Launch,
        reporter: Arc<Reporter>,
        health: Arc<Health>,
    ) -> Result<Started, SkillError> {
        let not_contained = |source| SkillError::NotContained { program: launch.command.clone(), source };
        let confinement = launch.programs.confinement().map_err(not_contained)?;
        let mut env = launch.env.clone();
        launch.programs.set_network(&mut env).map_err(not_contained)?;
        #[cfg(target_os = "linux")]
        let held_calls = launch.programs.held_calls(&launch.command, &launch.workspace, &env).map_err(not_contained)?;
        let mut child = spawn(ChildSpec {
            program: launch.command.clone(),
            args: launch.args.clone(),
            env,
            cwd: Cwd::Path(launch.workspace.clone()),
            stdin: ChildInput::Piped,
            confinement,
            #[cfg(target_os = "linux")]
            held_calls,
        })
        .await?;
        let missing = || SkillError::Spawn {
            program: launch.command.clone(),
            source: std::io::Error::other("its standard streams are not connected"),
        };
        debug!("server {}: started", launch.command);
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take();
        let stop = CancellationToken::new();
        let streams = Streams { stdout: second_reader(&stdout), stderr };
        let keeper = tokio::spawn(keep(child, launch.command.clone(), streams, reporter, health, stop.clone()));
        Ok(Started { server: Self { stop, keeper }, stdin, stdout })
    }

    /// Ends the process, whose input must have been closed before: first it may end by itself, then it is asked to,
    /// then it is killed with its whole group.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        // The keeper ends within its own limits; it fails only when it was aborted.
        let _ = (&mut self.keeper).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The child is dropped with its keeper, and its group killed.
        self.keeper.abort();
    }
}

/// The output of a server, as far as its keeper reads it.
struct Streams {
    /// Read only once the server is to end: before, its messages are the transport's.
    stdout: Option<std::fs::File>,
    stderr: Option<ChildStderr>,
}

/// Another handle on a server's standard output. A server that still prints while it ends would otherwise be killed by
/// SIGPIPE, with its work unsaved, once the transport is gone.
#[cfg(unix)]
fn second_reader(stdout: &ChildStdout) -> Option<std::fs::File> {
    use std::os::fd::AsFd;
    stdout.as_fd().try_clone_to_owned().ok().map(std::fs::File::from)
}

#[cfg(not(unix))]
fn second_reader(_: &ChildStdout) -> Option<std::fs::File> {
    None
}

/// Reads a server's output to its end and drops it.
#[cfg(unix)]
async fn drain(stdout: Option<std::fs::File>) {
    use tokio::io::AsyncReadExt;
    let Some(stdout) = stdout else { return };
    let stdout = std::process::ChildStdout::from(std::os::fd::OwnedFd::from(stdout));
    let Ok(mut stdout) = ChildStdout::from_std(stdout) else { return };
    let mut buffer = [0; 8 << 10];
    // A stream that cannot be read has ended.
    while stdout.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

#[cfg(not(unix))]
async fn drain(_: Option<std::fs::File>) {}

async fn keep(
    mut child: Child,
    command: String,
    streams: Streams,
    reporter: Arc<Reporter>,
    health: Arc<Health>,
    stop: CancellationToken,
) {
    let Streams { mut stdout, stderr } = streams;
    let mut listening = std::pin::pin!(listen(stderr, &reporter));
    let mut is_silent = false;
    loop {
        tokio::select! {
            () = &mut listening, if !is_silent => is_silent = true,
            _ = child.ended() => break,
            () = stop.cancelled() => {
                let ending = async {
                    if timeout(QUIET_END, child.ended()).await.is_err() {
                        // Killed at the latest; nothing is left to do when that fails.
                        let _ = child.terminate(GRACE).await;
                    }
                };
                tokio::pin!(ending);
                let mut draining = std::pin::pin!(drain(stdout.take()));
                let mut is_drained = false;
                loop {
                    tokio::select! {
                        () = &mut draining, if !is_drained => is_drained = true,
                        () = &mut listening, if !is_silent => is_silent = true,
                        () = &mut ending => break,
                    }
                }
                break;
            }
        }
    }
    let status = child.wait().await;
    if !is_silent {
        // Those that come later belong to nobody.
        let _ = timeout(LAST_LINES, listening).await;
    }
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    debug!("server {command}: its process ended ({status})");
    health.ended(format!("its process ended ({status})"));
}

/// Passes on what the server writes to stderr, line by line.
async fn listen(stderr: Option<ChildStderr>, reporter: &Reporter) {
    let Some(stderr) = stderr else { return };
    let mut lines = LineReader::new(stderr, MAX_LINE);
    // A stream that cannot be read has ended.
    while let Ok(Some(line)) = lines.next().await {
        reporter.line(&String::from_utf8_lossy(&line.bytes));
    }
}
