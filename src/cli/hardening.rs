//! What others on this machine may see of the process, which has keys in its environment and memory.

/// Keeps environment and memory from other processes of the same user, tools that run here among them (`/proc`,
/// debuggers), and out of core files. Where the system refuses, all is as it is for other programs.
#[cfg(target_os = "linux")]
pub fn shut() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Keeps memory out of core files. Where the system refuses, all is as it is for other programs.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn shut() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
}

/// Windows keeps both from processes without the right to debug.
#[cfg(not(unix))]
pub fn shut() {}
