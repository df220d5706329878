//! [`Kept`] on systems without forks: the child alone is killed, when dropped.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use super::{Child, ChildInput, ChildSpec, Cwd};

/// A child without a keeper.
#[derive(Debug)]
pub(super) struct Kept(tokio::process::Child);

impl Kept {
    /// Waits until the child has ended.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        self.0.wait().await.map(drop)
    }

    /// There is no way to ask.
    #[expect(clippy::unused_async, reason = "the same shape as on other systems")]
    pub(super) async fn ask_to_end(&mut self) {}

    /// Kills the child if it runs, and returns how it ended.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        // When it has ended already, all is well.
        let _ = self.0.start_kill();
        self.0.wait().await
    }
}

/// Starts the child of `spec`.
pub(super) fn start(spec: ChildSpec) -> io::Result<Child> {
    let Cwd::Path(folder) = spec.cwd else {
        return Err(io::Error::other("starting in an open directory is for unix only"));
    };
    let mut command = Command::new(spec.program);
    command
        .args(spec.args)
        .env_clear()
        .envs(spec.env)
        .current_dir(folder)
        .stdin(match spec.stdin {
            ChildInput::Null => Stdio::null(),
            ChildInput::Piped => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    Ok(Child { stdin, stdout, stderr, kept: Kept(child) })
}
