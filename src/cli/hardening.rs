//! Hides the process from others on this machine: it has keys in its environment and memory. Called first by `main`.

/// Keeps environment and memory from other processes of the same user, tools that run here among them (`/proc`,
/// debuggers), and out of core files. Where the system refuses, all is as it is for other programs.
#[cfg(target_os = "linux")]
pub fn hide_memory() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Keeps memory out of core files. Where the system refuses, all is as it is for other programs.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn hide_memory() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
}

/// Windows keeps both from processes without the right to debug.
#[cfg(not(unix))]
pub fn hide_memory() {}
