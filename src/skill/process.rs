//! Child processes that end with the runner: each in a process group of its own, with an allow-listed environment.
//!
//! Three things see to the end of a group:
//! 1. [`Child`] kills it when dropped, and whatever is left of it when its leader has ended;
//! 2. on Linux the leader gets a parent-death signal;
//! 3. a *watcher*, a bare fork of the runner that does nothing but read a pipe whose write end only the runner (and a
//!    child until it execs) holds, kills every registered group when the pipe ends, `kill -9` of the runner included.
//!
//! A process that leaves its group by `setsid` is beyond all three. What to run, and what is made of its output, is
//! left to the callers. This is the only file with unsafe code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{fs, io};

use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use self::group::Group;
use crate::environment::{Environment, PROTECTED_VARIABLES, SAFE_VARIABLES};
use crate::skill::SkillError;

#[cfg(unix)]
mod group;
#[cfg(not(unix))]
#[path = "process/plain.rs"]
mod group;

/// Most children at a time: the size of the watcher's table.
const MAX_CHILDREN: u32 = 1024;

/// The environment of a child: the safe variables of `environment`, and `added` without the protected names.
///
/// Names that are empty or contain `=` are dropped too: `LD_PRELOAD=x` would smuggle in a protected one.
pub fn child_environment(
    environment: &Environment,
    added: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let safe = SAFE_VARIABLES
        .iter()
        .filter_map(|name| environment.get(name).map(|value| ((*name).to_owned(), value.to_owned())));
    let added = added.into_iter().filter(|(name, _)| {
        !name.is_empty() && !name.contains('=') && !PROTECTED_VARIABLES.contains(&name.to_uppercase().as_str())
    });
    safe.chain(added).collect()
}

/// The directory that a child starts in.
#[derive(Debug)]
pub enum Cwd {
    /// By path.
    Path(PathBuf),
    /// In an open directory, whatever its path has become meanwhile. Unix only.
    Handle(fs::File),
}

/// The standard input of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildInput {
    /// Nothing.
    Null,
    /// The bytes written to [`Child::stdin`].
    Piped,
}

/// A child to be started.
#[derive(Debug)]
pub struct ChildSpec {
    /// A path, or a name to be looked up in the `PATH` of `env`.
    pub program: String,
    pub args: Vec<String>,
    /// The whole environment, as [`child_environment`] makes it.
    pub env: BTreeMap<String, String>,
    pub cwd: Cwd,
    pub stdin: ChildInput,
}

/// A running child. Dropping it kills its whole group at once.
#[derive(Debug)]
pub struct Child {
    /// Present when piped and not taken.
    pub stdin: Option<ChildStdin>,
    /// Present until taken.
    pub stdout: Option<ChildStdout>,
    /// Present until taken.
    pub stderr: Option<ChildStderr>,
    /// Before `inner`, so that the group is killed while its leader is not yet reaped and its id still its own.
    group: Group,
    inner: tokio::process::Child,
}

impl Child {
    /// Waits for the leader to end, kills what is left of its group, and returns how the leader ended. May be dropped
    /// and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.ended().await?;
        self.reap().await
    }

    /// Waits for the leader to end, and leaves the rest of its group alone. May be dropped and called again.
    pub async fn ended(&mut self) -> io::Result<()> {
        self.group.leader_ended(&mut self.inner).await
    }

    /// Asks the group to end (SIGTERM), and kills it when its leader has not ended within `grace`.
    pub async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.group.ask_to_end();
        // A leader that is still there after the grace period is no error: it is killed now.
        let _ = tokio::time::timeout(grace, self.ended()).await;
        self.reap().await
    }

    async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.group.kill();
        // Where there are no groups, the leader is killed here; when it has ended already, all is well.
        let _ = self.inner.start_kill();
        self.inner.wait().await
    }
}

/// Starts a child, with its stdout and stderr piped.
///
/// To be called within a tokio runtime with I/O enabled.
///
/// # Errors
/// The program cannot be started, or too many children are running.
pub async fn spawn(spec: ChildSpec) -> Result<Child, SkillError> {
    let program = spec.program;
    let mut command = Command::new(&program);
    command
        .args(spec.args)
        .env_clear()
        .envs(spec.env)
        .stdin(match spec.stdin {
            ChildInput::Null => Stdio::null(),
            ChildInput::Piped => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    group::start(command, spec.cwd, program).await
}

/// Everything unsafe: the fork that watches, and what a child does between fork and exec.
#[cfg(unix)]
#[expect(unsafe_code, reason = "fork, and hooks between fork and exec, have no safe form")]
mod watcher {
    use std::fs::File;
    use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

    use super::{Command, MAX_CHILDREN, io};

    /// Bytes of a ledger's record, a native `u64`: a place of the watcher's table in the upper half, in the lower the
    /// group to enter there, 0 for none.
    const RECORD: usize = size_of::<u64>();

    fn record(place: u32, group: i32) -> [u8; RECORD] {
        (u64::from(place) << 32 | u64::from(group.cast_unsigned())).to_ne_bytes()
    }

    /// The ledger. Writes of a record are atomic, being short, and never wait: a full pipe (8,192 unread records)
    /// would lose one.
    pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
        #[cfg(target_os = "linux")]
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        #[cfg(not(target_os = "linux"))]
        let (reader, writer) = {
            let (reader, writer) = rustix::pipe::pipe()?;
            rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::CLOEXEC)?;
            (reader, writer)
        };
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK)?;
        Ok((reader, writer))
    }

    /// Empties a place, from the runner.
    pub(super) fn strike_out(ledger: BorrowedFd<'_>, place: u32) {
        // Refused only by a full pipe, which a watcher that does nothing but read it does not let happen.
        let _ = rustix::io::write(ledger, &record(place, 0));
    }

    /// Has the child, between fork and exec, go to `folder`, tie its life to its parent's and enter itself in the
    /// ledger. A child that enters itself is never missed, at whatever instant the runner is killed: until it execs it
    /// holds the ledger open.
    pub(super) fn before_exec(command: &mut Command, ledger: RawFd, place: u32, folder: Option<File>) {
        let runner = std::process::id();
        let hook = move || {
            // SAFETY: async-signal-safe calls with plain arguments, on descriptors that stay open: `folder` is owned
            // by this closure, the ledger by a static.
            unsafe {
                if let Some(folder) = &folder
                    && libc::fchdir(folder.as_raw_fd()) != 0
                {
                    return Err(io::Error::last_os_error());
                }
                let entry = record(place, libc::getpid());
                libc::write(ledger, entry.as_ptr().cast(), entry.len());
                #[cfg(target_os = "linux")]
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The runner may have ended before the signal was asked for.
                if u32::try_from(libc::getppid()) != Ok(runner) {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
            }
            Ok(())
        };
        // SAFETY: the hook makes async-signal-safe calls only and allocates nothing.
        unsafe { command.pre_exec(hook) };
    }

    /// Forks the watcher. It ends when no write end of `reader`'s pipe is left.
    pub(super) fn fork(reader: &OwnedFd) -> io::Result<()> {
        let reader = reader.as_raw_fd();
        // SAFETY: signals are blocked across the fork, so that none of the runner's handlers runs in the watcher; the
        // child of this process, which may have many threads, calls async-signal-safe functions only and never
        // returns from `watch`.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            let child = libc::fork();
            if child == 0 {
                watch(reader);
            }
            let failure = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
            if child < 0 { Err(failure) } else { Ok(()) }
        }
    }

    /// The watcher's whole life, with all signals blocked: only `kill -9` ends it early.
    ///
    /// # Safety
    /// To be called in a freshly forked child. Allocates nothing, locks nothing, uses async-signal-safe calls only.
    unsafe fn watch(reader: RawFd) -> ! {
        // SAFETY: see above; `buffer` and `groups` are on this stack.
        unsafe {
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            libc::dup2(reader, 0);
            close_all_but_first();
            let mut groups = [0_i32; MAX_CHILDREN as usize];
            loop {
                let mut buffer = [0_u8; RECORD];
                let got = libc::read(0, buffer.as_mut_ptr().cast(), buffer.len());
                if got == RECORD.cast_signed() {
                    enter(&mut groups, buffer);
                } else if got >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                    break;
                }
            }
            for group in groups {
                if group > 1 {
                    libc::kill(-group, libc::SIGKILL);
                }
            }
            libc::_exit(0)
        }
    }

    /// Puts a record into the table.
    fn enter(groups: &mut [i32], record: [u8; RECORD]) {
        let record = u64::from_ne_bytes(record);
        let place = usize::try_from(record >> 32).ok();
        let group = u32::try_from(record & u64::from(u32::MAX)).map(u32::cast_signed);
        if let (Some(place), Ok(group)) = (place.and_then(|place| groups.get_mut(place)), group) {
            *place = group;
        }
    }

    /// Closes every descriptor but 0, so that the watcher keeps no pipe, lock or terminal of the runner's open.
    ///
    /// # Safety
    /// Nothing of this process may use another descriptor afterwards.
    unsafe fn close_all_but_first() {
        // SAFETY: system calls with plain arguments.
        unsafe {
            #[cfg(target_os = "linux")]
            if libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) == 0 {
                return;
            }
            // Before Linux 5.9, and elsewhere. The bound keeps an unlimited table from taking minutes.
            let limit = libc::sysconf(libc::_SC_OPEN_MAX).clamp(256, 65_536);
            for descriptor in 1..i32::try_from(limit).unwrap_or(65_536) {
                libc::close(descriptor);
            }
        }
    }

    #[cfg(test)]
    #[cfg(target_os = "linux")]
    mod tests {
        use std::os::unix::process::CommandExt;
        use std::time::{Duration, Instant};

        use super::*;

        /// Returns true when the process is gone or a zombie.
        fn has_ended(pid: i32) -> bool {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
                Err(_) => true,
            }
        }

        #[test]
        fn watcher_kills_what_is_registered_when_the_ledger_closes_and_nothing_else() {
            let (reader, ledger) = pipe().unwrap();
            fork(&reader).unwrap();
            drop(reader);
            let start = || std::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
            let (mut doomed, mut removed) = (start(), start());
            let id = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
            for entry in [record(0, id(&doomed)), record(9, id(&removed)), record(9, 0), record(u32::MAX, id(&removed))]
            {
                rustix::io::write(&ledger, &entry).unwrap();
            }
            drop(ledger);
            let limit = Instant::now() + Duration::from_secs(20);
            while !has_ended(id(&doomed)) {
                assert!(Instant::now() < limit, "the watcher left the registered group alive");
                std::thread::yield_now();
            }
            assert!(!has_ended(id(&removed)));
            removed.kill().unwrap();
            removed.wait().unwrap();
            doomed.wait().unwrap();
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
