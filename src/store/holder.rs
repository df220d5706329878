//! [`Holder`]: the process that works on a job, found without touching the job's lock. `log` and `resume` show it.
//!
//! Trying the lock, even shared and for an instant, could turn away a process that is about to take it. So the kernel's
//! own list of locks is read where there is one (Linux); elsewhere the process named in the lock file is looked up.

use std::fs;
use std::path::Path;

use super::remote::is_elsewhere;
use super::{Store, atomic, disk};
use crate::id::JobId;

/// Most looks at a list of locks that changes all the time; each takes some 50 µs.
#[cfg(unix)]
const MOST_LOOKS: usize = 100;

/// The process that works on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its id, when it could be read.
    pub pid: Option<u32>,
}

impl Store {
    /// The process that works on a job now; `None` when none does. Takes no lock and does not wait.
    ///
    /// If the system does not list its locks, a dead process whose id was given to another one counts as working on
    /// the job.
    pub fn holder(&self, job: &JobId) -> Option<Holder> {
        let elsewhere = || is_elsewhere(&self.layout, job).then_some(Holder { pid: None });
        self.holder_here(job).or_else(elsewhere)
    }

    /// The process of this machine that works on a job.
    pub(super) fn holder_here(&self, job: &JobId) -> Option<Holder> {
        let path = self.layout.lock(job);
        let text = match atomic::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return unreadable(error.is_not_found()),
        };
        // A process that releases the lock empties the file; one that was killed leaves its id.
        let pid: u32 = text.trim().parse().ok()?;
        is_held(&path, pid).then_some(Holder { pid: Some(pid) })
    }
}

#[cfg(unix)]
fn unreadable(_is_missing: bool) -> Option<Holder> {
    None
}

/// Elsewhere a lock keeps others from reading.
#[cfg(not(unix))]
fn unreadable(is_missing: bool) -> Option<Holder> {
    (!is_missing).then_some(Holder { pid: None })
}

#[cfg(unix)]
fn is_held(path: &Path, pid: u32) -> bool {
    use cap_std::fs::MetadataExt as _;
    let Ok(inode) = disk::metadata(path).map(|metadata| metadata.ino()) else { return false };
    is_listed(pid, inode, || fs::read_to_string("/proc/locks").ok()).unwrap_or_else(|| is_alive(pid))
}

/// Returns whether the lock is in the list that `read` gives; `None` if there is no list, or none that stays as it is for two
/// looks. A long one comes in pieces, between which locks are let go of: then lines of others are missing that were there all
/// the time.
#[cfg(unix)]
fn is_listed(pid: u32, inode: u64, mut read: impl FnMut() -> Option<String>) -> Option<bool> {
    let mut before = None;
    for _ in 0..MOST_LOOKS {
        let locks = read()?;
        if locks.lines().any(|line| is_lock(line, pid, inode)) {
            return Some(true);
        }
        if before.as_ref() == Some(&locks) {
            return Some(false);
        }
        before = Some(locks);
    }
    None
}

#[cfg(not(unix))]
fn is_held(_path: &Path, _pid: u32) -> bool {
    // The file could be read, so no process holds its lock.
    false
}

/// Returns whether a line of `/proc/locks` is an exclusive lock that the process holds on the file:
/// `1: FLOCK  ADVISORY  WRITE 5269 fe:00:6242852 0 EOF`. The device is not compared: it is not that of `stat` on every
/// file system.
#[cfg(unix)]
fn is_lock(line: &str, pid: u32, inode: u64) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    // A lock that is waited for has an arrow in its second field.
    fields.next() == Some("FLOCK")
        && fields.nth(1) == Some("WRITE")
        && fields.next() == Some(pid.to_string().as_str())
        && fields.next().and_then(|file| file.rsplit(':').next()) == Some(inode.to_string().as_str())
}

/// Returns whether there is such a process.
#[cfg(unix)]
pub(super) fn is_alive(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process of another user is alive, too.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// Assumed: elsewhere no child has a copy of a lock.
#[cfg(not(unix))]
pub(super) fn is_alive(_pid: u32) -> bool {
    true
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::tests::World;
    use super::*;

    #[test]
    fn a_lock_is_known_by_process_and_file() {
        let held = "1: FLOCK  ADVISORY  WRITE 5269 fe:00:6242852 0 EOF";
        assert!(is_lock(held, 5269, 6_242_852));
        assert!(!is_lock(held, 5269, 42) && !is_lock(held, 526, 6_242_852));
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 5269 fe:00:6242852 0 EOF",
            "2: FLOCK  ADVISORY  READ 5269 fe:00:6242852 0 EOF",
            "3: POSIX  ADVISORY  WRITE 5269 fe:00:6242852 0 EOF",
            "",
        ] {
            assert!(!is_lock(other, 5269, 6_242_852), "{other}");
        }
    }

    #[test]
    fn a_lock_is_missing_only_in_a_list_that_stays() {
        let held = "1: FLOCK  ADVISORY  WRITE 5269 fe:00:42 0 EOF\n";
        let other = |number: usize| format!("{number}: FLOCK  ADVISORY  WRITE 7 fe:00:{number} 0 EOF\n");
        let listed = |looks: &[String]| {
            let mut looks = looks.iter().cloned().cycle();
            is_listed(5269, 42, || looks.next())
        };
        assert_eq!(listed(&[other(1)]), Some(false));
        assert_eq!(listed(&[other(1), other(2), other(2)]), Some(false));
        assert_eq!(listed(&[other(1), other(2) + held]), Some(true));
        assert_eq!(listed(&[other(1), other(2)]), None);
        assert_eq!(listed(&[]), None);
    }

    #[test]
    fn a_job_has_a_holder_for_as_long_as_it_is_open() {
        let world = World::new();
        let job_store = world.store.create_job(&super::super::tests::job("j1", 1)).unwrap();
        let id = job_store.id().clone();
        assert_eq!(world.store.holder(&id), Some(Holder { pid: Some(std::process::id()) }));
        drop(job_store);
        assert_eq!(world.store.holder(&id), None);
    }

    #[test]
    fn a_dead_process_holds_no_lock() {
        let world = World::new();
        drop(world.store.create_job(&super::super::tests::job("j1", 1)).unwrap());
        let id = "j1".parse().unwrap();
        // Above the highest process id of any Linux (2^22).
        fs::write(world.store.layout().lock(&id), "2000000000\n").unwrap();
        assert_eq!(world.store.holder(&id), None);
        assert!(!is_alive(2_000_000_000) && is_alive(std::process::id()));
    }
}
