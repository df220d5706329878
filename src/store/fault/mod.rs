//! The door to the disk in a build for tests (feature `fault-injection`): calls [`disk`], counts and traces the
//! operations, and at those that a plan names fails or dies in the middle.
//!
//! The plan comes from the environment (`plan.rs`), the trace goes to a file (`trace.rs`), and `ledger.rs` records what
//! a power cut would undo. One lock is held throughout each operation, so that they have an order, and so that the
//! storage does not change any more once the process has begun to die.

mod ledger;
mod plan;
mod trace;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use self::ledger::{Ledger, Loss};
use self::plan::{Fault, FaultPlan};
use self::trace::{Trace, TraceEntry};
use super::disk::{self, NewFile};

/// This process's door: operations are counted from the process's start.
static DOOR: LazyLock<Mutex<Door>> = LazyLock::new(|| Mutex::new(Door::new(FaultPlan::from_environment())));

struct Door {
    plan: Result<FaultPlan, String>,
    /// Operations so far.
    count: u64,
    trace: Trace,
    ledger: Ledger,
}

/// One operation on the disk.
#[derive(Clone, Copy)]
struct Operation<'a> {
    name: &'static str,
    path: &'a Path,
    /// The bytes to be written.
    bytes: &'a [u8],
}

impl<'a> Operation<'a> {
    fn new(name: &'static str, path: &'a Path) -> Self {
        Self { name, path, bytes: &[] }
    }
}

impl Door {
    fn new(plan: Result<FaultPlan, String>) -> Self {
        let trace = Trace::open(plan.as_ref().ok().and_then(|plan| plan.trace.as_deref()));
        Self { plan, count: 0, trace, ledger: Ledger::default() }
    }

    fn enter() -> MutexGuard<'static, Self> {
        DOOR.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and traces an operation, and performs the fault that is planned for it. `write` writes a part of the
    /// operation's bytes.
    fn begin(&mut self, operation: Operation<'_>, write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Fate> {
        let plan = self.plan.as_ref().map_err(|wrong| io::Error::new(io::ErrorKind::InvalidInput, wrong.clone()))?;
        self.count += 1;
        let fault = plan.fault_at(self.count);
        let Operation { name, path, bytes } = operation;
        self.trace.add(&TraceEntry::Operation { number: self.count, name, path, bytes: bytes.len(), fault })?;
        let part = |kept: Option<usize>| bytes.get(..kept.unwrap_or(bytes.len() / 2)).unwrap_or(bytes);
        match fault {
            None => Ok(Fate::Live),
            Some(Fault::Error(error)) => Err(error.into()),
            Some(Fault::Short(error, kept)) => {
                write(part(kept))?;
                Err(error.into())
            }
            Some(Fault::CrashBefore) => die(),
            Some(Fault::CrashAfter) => Ok(Fate::Doomed),
            Some(Fault::CrashTorn(kept)) => {
                write(part(kept))?;
                die()
            }
            Some(Fault::PowerCut(seed)) => {
                self.ledger.cut(seed.map_or(Loss::All, Loss::Some))?;
                die()
            }
        }
    }

    /// An operation without data.
    fn simple<T>(&mut self, operation: Operation<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let fate = self.begin(operation, |_| Ok(()))?;
        fate.meet(act())
    }
}

/// The fate of the process after an operation.
#[derive(Clone, Copy)]
enum Fate {
    Live,
    Doomed,
}

impl Fate {
    fn meet<T>(self, done: io::Result<T>) -> io::Result<T> {
        match self {
            Self::Live => done,
            Self::Doomed => die(),
        }
    }
}

/// Ends the process as `kill -9` does: nothing is unwound, closed or cleaned up.
fn die() -> ! {
    // Cannot fail: a process may always signal itself. If it did, what follows ends it too.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Writes a mark into the trace: something other than an operation begins here.
pub fn mark(what: &'static str, of: &str) {
    // A trace that cannot be written fails the next operation.
    let _ = Door::enter().trace.add(&TraceEntry::Mark { what, of });
}

/// As [`disk::create`].
pub fn create(path: &Path) -> io::Result<NewFile> {
    let mut door = Door::enter();
    let file = door.simple(Operation::new("create", path), || disk::create(path))?;
    door.ledger.created(path);
    Ok(file)
}

/// As [`disk::open_to_append`].
pub fn open_to_append(path: &Path) -> io::Result<File> {
    open(path, disk::open_to_append)
}

/// As [`disk::open_to_lock`].
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    open(path, disk::open_to_lock)
}

/// Opening changes the disk when it creates the file.
fn open(path: &Path, open: impl FnOnce(&Path) -> io::Result<File>) -> io::Result<File> {
    let mut door = Door::enter();
    let is_new = !path.exists();
    let file = door.simple(Operation::new(if is_new { "create" } else { "open" }, path), || open(path))?;
    if is_new {
        door.ledger.created(path);
    }
    Ok(file)
}

/// As [`disk::write`].
pub fn write(file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut door = Door::enter();
    door.ledger.changes(path)?;
    let fate =
        door.begin(Operation { bytes, ..Operation::new("write", path) }, |part| disk::write(file, path, part))?;
    fate.meet(disk::write(file, path, bytes))
}

/// As [`disk::truncate`].
pub fn truncate(file: &File, path: &Path, len: u64) -> io::Result<()> {
    let mut door = Door::enter();
    door.ledger.changes(path)?;
    door.simple(Operation::new("truncate", path), || disk::truncate(file, path, len))
}

/// As [`disk::sync`].
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    door.simple(Operation::new("sync", path), || disk::sync(file, path))?;
    door.ledger.synced(path);
    Ok(())
}

/// As [`disk::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    let replaced = ledger::contents(to)?;
    door.simple(Operation::new("rename", to), || disk::rename(from, to))?;
    door.ledger.renamed(from, to, replaced);
    Ok(())
}

/// As [`disk::name`].
pub fn name(new: &NewFile, from: &Path, to: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    let replaced = ledger::contents(to)?;
    door.simple(Operation::new("rename", to), || disk::name(new, from, to))?;
    door.ledger.renamed(from, to, replaced);
    Ok(())
}

/// As [`disk::create_folder`].
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    door.simple(Operation::new("create-folder", path), || disk::create_folder(path))?;
    door.ledger.created(path);
    Ok(())
}

/// As [`disk::sync_folder`].
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    door.simple(Operation::new("sync-folder", path), || disk::sync_folder(path))?;
    door.ledger.folder_synced(path);
    Ok(())
}

/// As [`disk::remove`].
pub fn remove(path: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    let removed = ledger::contents(path)?;
    door.simple(Operation::new("remove", path), || disk::remove(path))?;
    door.ledger.removed(path, removed);
    Ok(())
}

/// As [`disk::remove_folder`]. A power cut does not bring the folder back.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let mut door = Door::enter();
    door.simple(Operation::new("remove-folder", path), || disk::remove_folder(path))?;
    door.ledger.forget(path);
    Ok(())
}
