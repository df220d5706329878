//! The processes that a killed keeper leaves to the runner: found, and killed.
//!
//! The runner is their reaper, next after the keeper. It distinguishes them from children of its own making by the session: no
//! process comes back into the runner's session that has left it, and every child is started in another.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use tokio::process::Command;

use super::tree::{self, ProcessStat};

/// The keepers that run. Locked while one is forked, or it would be taken for an orphan before it is listed.
static KEEPERS: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// How often to look for orphans; each look finds a generation of them.
const MAX_LOOKS: u32 = 1_000;

fn keepers() -> MutexGuard<'static, Option<HashSet<u32>>> {
    KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forks a keeper, and lists it.
pub(super) fn spawn(command: &mut Command) -> io::Result<tokio::process::Child> {
    let mut keepers = keepers();
    if keepers.is_none() {
        set_child_subreaper(Some(getpid()))?;
    }
    let list = keepers.get_or_insert_default();
    let keeper = command.spawn()?;
    list.extend(keeper.id());
    Ok(keeper)
}

/// Takes a keeper off the list; with `was_killed`, kills what it left behind.
pub(super) fn keeper_ended(id: u32, was_killed: bool) {
    let mut keepers = keepers();
    let Some(list) = keepers.as_mut() else { return };
    if was_killed {
        end_orphans(list);
    }
    // Last: a keeper that is still ending must not be taken for an orphan.
    list.remove(&id);
}

fn end_orphans(keepers: &HashSet<u32>) {
    let runner = getpid();
    // 0 where the session was begun outside this namespace of processes, which rustix takes for impossible.
    let session = nix::unistd::getsid(None).ok().map(nix::unistd::Pid::as_raw);
    let is_orphan = |stat: &ProcessStat| {
        stat.parent == runner.as_raw_nonzero().get()
            && Some(stat.session) != session
            && !u32::try_from(stat.id).is_ok_and(|id| keepers.contains(&id))
    };
    for _ in 0..MAX_LOOKS {
        let mut found = Vec::new();
        tree::each(|stat| found.extend(is_orphan(&stat).then_some(stat)));
        if found.is_empty() {
            return;
        }
        for orphan in found {
            tree::kill(orphan.id);
            // Nobody else takes its end in.
            let _ = waitpid(Pid::from_raw(orphan.id), WaitOptions::NOHANG);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
