//! Process groups: started on a thread that lives as long as the process, entered in the watcher's table, killed when
//! dropped.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{Child, Command, Cwd, MAX_CHILDREN, SkillError, io, watcher};

/// A start, made on the one thread that starts children. Linux sends the parent-death signal when the *thread* that
/// forked ends, so children are never started on a runtime's own threads, which may be short-lived.
type Request = Box<dyn FnOnce() + Send>;

/// The one per process: the watcher belongs to the process, not to a Run.
static NURSERY: OnceLock<Nursery> = OnceLock::new();

/// Starts children and registers them with the watcher.
struct Nursery {
    requests: mpsc::Sender<Request>,
    ledger: OwnedFd,
    /// Unused places of the watcher's table.
    free: Mutex<Vec<u32>>,
    /// Held open, so that writing to the ledger of a watcher that was killed raises no SIGPIPE.
    _ledger_reader: OwnedFd,
}

impl Nursery {
    fn get() -> io::Result<&'static Self> {
        if let Some(nursery) = NURSERY.get() {
            return Ok(nursery);
        }
        let opened = Self::open()?;
        // When two threads come here at once, the loser's watcher ends with its pipe.
        Ok(NURSERY.get_or_init(|| opened))
    }

    fn open() -> io::Result<Self> {
        let (reader, ledger) = watcher::pipe()?;
        watcher::fork(&reader)?;
        let (requests, todo) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("nursery".to_owned()).spawn(move || {
            for start in todo {
                start();
            }
        })?;
        let free = Mutex::new((0..MAX_CHILDREN).rev().collect());
        Ok(Self { requests, ledger, free, _ledger_reader: reader })
    }

    fn reserve(&'static self) -> Option<Place> {
        let index = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Place { index, nursery: self })
    }
}

/// A place in the watcher's table, struck out and given back when dropped. The child enters its group there.
struct Place {
    index: u32,
    nursery: &'static Nursery,
}

impl Drop for Place {
    fn drop(&mut self) {
        watcher::strike_out(self.nursery.ledger.as_fd(), self.index);
        self.nursery.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.index)
    }
}

/// A child's process group, registered with the watcher until it is killed.
#[derive(Debug)]
pub(super) struct Group {
    leader: Option<Pid>,
    ended: tokio::signal::unix::Signal,
    place: Option<Place>,
}

impl Group {
    /// Waits for the leader to end without reaping it: its id must not be given to others while the group is in
    /// use.
    pub(super) async fn leader_ended(&mut self, _child: &mut tokio::process::Child) -> io::Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Some(leader) = self.leader {
            if waitid(WaitId::Pid(leader), options)?.is_some() {
                break;
            }
            self.ended.recv().await;
        }
        Ok(())
    }

    pub(super) fn ask_to_end(&self) {
        if let Some(leader) = self.leader {
            // The group may have ended by itself.
            let _ = kill_process_group(leader, Signal::TERM);
        }
    }

    pub(super) fn kill(&mut self) {
        let Some(leader) = self.leader.take() else { return };
        // The group may have ended by itself.
        let _ = kill_process_group(leader, Signal::KILL);
        self.place = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) async fn start(mut command: Command, cwd: Cwd, program: String) -> Result<Child, SkillError> {
    let nursery = Nursery::get().map_err(|source| SkillError::Watcher { source })?;
    let Some(place) = nursery.reserve() else {
        return Err(SkillError::TooManyChildren { program, limit: MAX_CHILDREN });
    };
    command.process_group(0);
    let folder = match cwd {
        Cwd::Path(path) => {
            command.current_dir(path);
            None
        }
        Cwd::Handle(folder) => Some(folder),
    };
    watcher::before_exec(&mut command, nursery.ledger.as_raw_fd(), place.index, folder);
    let runtime = Handle::current();
    let (answer, started) = oneshot::channel();
    let request = move || {
        let _runtime = runtime.enter();
        // An answer that nobody waits for any more is dropped, and the child with it.
        let _ = answer.send(start_here(command, place));
    };
    let sent = nursery.requests.send(Box::new(request));
    let outcome = match (sent, started.await) {
        (Ok(()), Ok(outcome)) => outcome,
        _ => Err(io::Error::other("the thread that starts processes has ended")),
    };
    outcome.map_err(|source| SkillError::Spawn { program, source })
}

/// Runs on the nursery's thread.
fn start_here(mut command: Command, place: Place) -> io::Result<Child> {
    let ended = signal(SignalKind::child())?;
    let mut inner = command.spawn()?;
    let leader = inner.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(Child {
        stdin: inner.stdin.take(),
        stdout: inner.stdout.take(),
        stderr: inner.stderr.take(),
        group: Group { leader, ended, place: Some(place) },
        inner,
    })
}
