//! The ports of this machine that a child's own processes listen on, found in `/proc`. The judges of held calls ask, off
//! the runtime's threads.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::process::getpid;

use super::tree;

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Most parents that are followed from a process upwards.
const MAX_DEPTH: usize = 10_000;

/// Returns true if sockets listen on `port`, and all of them belong to processes of the child that `thread` is of.
pub fn listens_itself(thread: i32, port: u16) -> bool {
    let sockets = listening(thread, port);
    !sockets.is_empty() && {
        let own = own_sockets(thread, &sockets);
        sockets.iter().all(|socket| own.contains(socket))
    }
}

/// The numbers of the sockets that listen on `port`, of either family, in the network of the thread.
fn listening(thread: i32, port: u16) -> HashSet<String> {
    let tables =
        ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/{thread}/net/{name}")).unwrap_or_default());
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, state, number) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (_, own) = address.rsplit_once(':')?;
        let is_it = *state == LISTENING && u16::from_str_radix(own, 16) == Ok(port);
        is_it.then(|| (*number).to_owned())
    };
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(socket).collect()
}

/// Returns true if `process` is of the same child as `thread`.
pub fn is_of_same_child(thread: i32, process: i32) -> bool {
    members(thread).contains(&process)
}

/// Those of `sockets` that processes of the same child hold.
fn own_sockets(thread: i32, sockets: &HashSet<String>) -> HashSet<String> {
    members(thread).into_iter().flat_map(|process| open_sockets(process, sockets)).collect()
}

/// The processes of the child that `thread` is of.
fn members(thread: i32) -> HashSet<i32> {
    let mut parents = HashMap::new();
    tree::each(|stat| {
        parents.insert(stat.id, stat.parent);
    });
    let runner = getpid().as_raw_nonzero().get();
    // The keeper: of a process's parents the last before the runner.
    let keeper = |process: i32| {
        let mut process = process;
        for _ in 0..MAX_DEPTH {
            match parents.get(&process) {
                Some(parent) if *parent == runner => return Some(process),
                Some(parent) => process = *parent,
                None => return None,
            }
        }
        None
    };
    let Some(own) = process_of(thread).and_then(keeper) else { return HashSet::new() };
    parents.keys().copied().filter(|process| keeper(*process) == Some(own)).collect()
}

/// The process of a thread.
fn process_of(thread: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

fn open_sockets(process: i32, sockets: &HashSet<String>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let socket = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let number = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        sockets.contains(&number).then_some(number)
    };
    entries.flatten().filter_map(socket).collect()
}
