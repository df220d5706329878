//! [`StoreLock`]: the lock by which one process alone writes to a job, or to a batch.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::debug;

use super::atomic::FileIdentity;
use super::holder::is_alive;
use super::{Layout, StoreError, door};
use crate::id::JobId;

/// Looks at a lock whose owner is dead, and the pause between them: two seconds, where a child needs milliseconds.
const LOOKS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// The kernel's exclusive lock on a job's `lock` file, or a batch's, which holds the owner's process id for people and messages. The
/// file stays when the lock is released: removing it would let two processes lock two files of one name.
pub(super) struct StoreLock {
    file: File,
    path: PathBuf,
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // No process id is left behind, so that two replays leave the same bytes.
        let _ = door::truncate(&self.file, &self.path, 0);
        // Unlocked explicitly: a child between fork and exec has a copy of the descriptor, so closing ours alone would
        // keep the lock. When this fails, closing the last copy still releases it.
        let _ = self.file.unlock();
        debug!("{} is unlocked", self.path.display());
    }
}

impl StoreLock {
    /// Takes the lock of a job.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process holds it, [`StoreError::NotFound`] for a job that was removed just now, or
    /// the system's error.
    pub(super) fn take(layout: &Layout, job: &JobId) -> Result<Self, StoreError> {
        let path = layout.lock(job);
        let lock = Self::take_at(path, |pid| StoreError::Locked { job: job.clone(), pid });
        // The job may have been removed in between: a lock in a folder that is gone keeps nobody out.
        lock.map_err(|error| match error {
            StoreError::Displaced { .. } => {
                StoreError::NotFound { what: format!("job {job} was removed just now"), suggestion: None }
            }
            other => other,
        })
    }

    /// Takes the lock at `path`, and writes this process's id into it. `taken` makes the error for one that another
    /// process holds.
    pub(super) fn take_at(path: PathBuf, taken: impl FnOnce(Option<u32>) -> StoreError) -> Result<Self, StoreError> {
        Self::take_behind(path, taken, || std::thread::sleep(PAUSE))
    }

    /// The same; `pause` is called while the owner is dead and the lock is still held.
    fn take_behind(
        path: PathBuf,
        taken: impl FnOnce(Option<u32>) -> StoreError,
        mut pause: impl FnMut(),
    ) -> Result<Self, StoreError> {
        let mut file = door::open_to_lock(&path).map_err(StoreError::io("open", &path))?;
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            let pid = read_pid(&mut file);
            // A child of a killed owner has a copy of the descriptor until it executes its program.
            if looks == LOOKS || pid.is_none_or(is_alive) {
                return Err(taken(pid));
            }
            looks += 1;
            pause();
        }
        FileIdentity::of(&file, &path)?.check_place(&path)?;
        write_pid(&mut file, &path)?;
        debug!("{} is locked", path.display());
        Ok(Self { file, path })
    }
}

fn write_pid(file: &mut File, path: &Path) -> Result<(), StoreError> {
    door::truncate(file, path, 0)
        .and_then(|()| file.rewind())
        .and_then(|()| door::write(file, path, format!("{}\n", std::process::id()).as_bytes()))
        .map_err(StoreError::io("write to", path))
}

/// `None` when the owner has not written it yet, or when the system does not let a locked file be read.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    // A process id has at most ten digits.
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn taken(pid: Option<u32>) -> StoreError {
        StoreError::Locked { job: "j1".parse().unwrap(), pid }
    }

    /// The id of a process that has ended.
    fn dead() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    /// A lock of the process `pid`, held by somebody.
    fn held(path: &Path, pid: u32) -> File {
        std::fs::write(path, format!("{pid}\n")).unwrap();
        let file = File::open(path).unwrap();
        file.lock().unwrap();
        file
    }

    #[test]
    fn a_lock_that_outlives_its_owner_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let copy = RefCell::new(Some(held(&path, dead())));
        let pauses = Cell::new(0);
        let lock = StoreLock::take_behind(path, taken, || {
            pauses.set(pauses.get() + 1);
            if pauses.get() == 3 {
                copy.take();
            }
        });
        assert!(lock.is_ok());
        assert_eq!(pauses.get(), 3);
    }

    #[test]
    fn a_lock_that_stays_is_an_error_and_one_of_a_living_owner_is_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let pauses = Cell::new(0);
        let take = |pid| {
            let _copy = held(&path, pid);
            pauses.set(0);
            let refused = StoreLock::take_behind(path.clone(), taken, || pauses.set(pauses.get() + 1)).err();
            assert!(matches!(refused, Some(StoreError::Locked { pid: Some(found), .. }) if found == pid));
            pauses.get()
        };
        assert_eq!((take(dead()), take(std::process::id())), (LOOKS, 0));
    }
}
