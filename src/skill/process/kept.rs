//! [`Kept`]: the runner's side of a child, through the child's keeper.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;

#[cfg(target_os = "linux")]
use super::held;
use super::keeper::{self, Program, STATUS};
use super::{Child, ChildInput, ChildSpec, Cwd};

/// How long to wait for a keeper to kill all that the child left. Beyond it a process cannot be killed at present (it
/// waits for a broken disk); its keeper goes on trying.
const KILLING: Duration = Duration::from_secs(5);

/// A child as its keeper reports it.
#[derive(Debug)]
pub(super) struct Kept {
    /// The keeper. Its end means that nothing of the child is left.
    keeper: tokio::process::Child,
    id: Option<u32>,
    /// Tells the keeper to end the child; its end ends all.
    link: UnixStream,
    /// Answers the calls of the child that are held, for as long as there are any.
    #[cfg(target_os = "linux")]
    judging: Option<held::Judging>,
    /// The bytes of the child's status that came so far.
    status: Vec<u8>,
    is_over: bool,
}

impl Kept {
    /// Waits until the child has ended, or its keeper.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        while !self.is_over {
            self.link.readable().await?;
            let mut buffer = [0; STATUS];
            match self.link.try_read(&mut buffer) {
                Ok(0) => self.is_over = true,
                Ok(read) => {
                    self.status.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    self.is_over = self.status.len() >= STATUS;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The keeper was killed.
                Err(_) => self.is_over = true,
            }
        }
        Ok(())
    }

    /// Has a keeper go on that somebody has stopped: it would neither report the child's end nor kill what is left.
    fn wake_keeper(&self) {
        let keeper = self.id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(keeper) = keeper {
            // Fails when the keeper is gone already.
            let _ = kill_process(keeper, Signal::CONT);
        }
    }

    /// Has the keeper send SIGTERM to the child's group.
    pub(super) async fn ask_to_end(&mut self) {
        self.wake_keeper();
        // Fails only when the keeper is gone, and the child with it.
        let _ = self.link.write_all(&[keeper::TERMINATE]).await;
    }

    /// Kills all that is left, and returns how the child ended.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.wake_keeper();
        // Fails when the keeper is gone already.
        let _ = self.link.shutdown().await;
        // At the latest the kill makes the child's status known.
        let _ = timeout(KILLING, self.ended()).await;
        let kept = timeout(KILLING, self.keeper.wait()).await;
        self.forget(matches!(kept, Ok(Ok(status)) if !status.success()));
        match self.status.as_slice().first_chunk() {
            Some(status) => Ok(ExitStatus::from_raw(i32::from_ne_bytes(*status))),
            None => Ok(ExitStatus::from_raw(libc::SIGKILL)),
        }
    }

    /// Takes the keeper off the list of those that run. One that did not end by itself has left processes behind.
    fn forget(&mut self, was_killed: bool) {
        let Some(id) = self.id.take() else { return };
        #[cfg(target_os = "linux")]
        super::orphans::keeper_ended(id, was_killed);
        #[cfg(not(target_os = "linux"))]
        let _ = (id, was_killed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.wake_keeper();
        // The link ends with this, and the child by that. A keeper that was killed shows by its link's end.
        let was_killed = self.status.len() < STATUS && self.is_over;
        self.forget(was_killed);
    }
}

/// Starts the child of `spec` under a keeper of its own.
pub(super) fn start(spec: ChildSpec) -> io::Result<Child> {
    let (link, keepers_end) = StdStream::pair()?;
    link.set_nonblocking(true)?;
    // The program is executed by the hook; this command only forks and connects the streams.
    let mut command = Command::new(&spec.program);
    command
        .stdin(match spec.stdin {
            ChildInput::Null => Stdio::null(),
            ChildInput::Piped => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let program = Program {
        file: text(spec.program)?,
        args: spec.args.into_iter().map(text).collect::<io::Result<_>>()?,
        env: spec.env.into_iter().map(|(name, value)| text(format!("{name}={value}"))).collect::<io::Result<_>>()?,
        folder: match spec.cwd {
            Cwd::Path(path) => {
                command.current_dir(path);
                None
            }
            Cwd::Handle(folder) => Some(folder),
        },
    };
    let link_of_keeper = OwnedFd::from(keepers_end);
    #[cfg(target_os = "linux")]
    let awaited = {
        let (holding, awaited) = spec.held_calls.as_ref().map(held::prepare).transpose()?.unzip();
        keeper::install(&mut command, program, link_of_keeper, spec.confinement, holding)?;
        awaited
    };
    #[cfg(not(target_os = "linux"))]
    keeper::install(&mut command, program, link_of_keeper, spec.confinement)?;
    let mut keeper = spawn(&mut command)?;
    // The runner's copy of the keeper's end goes with the command: from here on the end of either is seen by the other.
    drop(command);
    let (stdin, stdout, stderr) = (keeper.stdin.take(), keeper.stdout.take(), keeper.stderr.take());
    let id = keeper.id();
    let link = UnixStream::from_std(link)?;
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "no calls are held there"))]
    let mut kept = Kept {
        keeper,
        id,
        link,
        #[cfg(target_os = "linux")]
        judging: None,
        status: Vec::new(),
        is_over: false,
    };
    // From here on the child ends with an error.
    #[cfg(target_os = "linux")]
    {
        kept.judging = awaited.map(held::ListenerSeat::start).transpose()?;
    }
    Ok(Child { stdin, stdout, stderr, kept })
}

#[cfg(target_os = "linux")]
fn spawn(command: &mut Command) -> io::Result<tokio::process::Child> {
    super::orphans::spawn(command)
}

#[cfg(not(target_os = "linux"))]
fn spawn(command: &mut Command) -> io::Result<tokio::process::Child> {
    command.spawn()
}

fn text(text: String) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL character in its command line"))
}
