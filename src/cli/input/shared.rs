//! [`is_anothers`]: whether what is on stdin was meant for this command. Called by `input` before it reads a stdin that
//! nothing asks for.
//!
//! The loop `ls | while read -r f; do perstack run r "Look at $f"; done` hands the list to every command within. One that
//! reads it would end the loop after one turn, as `ssh` without `-n` does. The shell that starts such a command has the
//! same stdin; in `git diff | perstack …` it has not.

use std::io;

/// The names of shells, as the system shows them.
const SHELLS: [&str; 12] =
    ["sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "ksh93", "mksh", "oksh", "yash", "zsh"];

/// Returns true if somebody else reads the same stdin: a file of which a part was read already, or any that the shell
/// which started this process has as its own.
#[cfg(unix)]
pub fn is_anothers() -> bool {
    is_begun() || is_the_shells()
}

/// Returns false: this system does not show it.
#[cfg(not(unix))]
pub fn is_anothers() -> bool {
    false
}

/// Returns true for a file that was read from.
#[cfg(unix)]
fn is_begun() -> bool {
    rustix::fs::seek(io::stdin(), rustix::fs::SeekFrom::Current(0)).is_ok_and(|at| at > 0)
}

#[cfg(unix)]
fn is_the_shells() -> bool {
    let Some(parent) = rustix::process::getppid() else { return false };
    let parent = format!("/proc/{}", parent.as_raw_nonzero());
    let name = std::fs::read_to_string(format!("{parent}/comm")).unwrap_or_default();
    if !SHELLS.contains(&name.trim_end()) {
        return false;
    }
    let ours = rustix::fs::fstat(io::stdin());
    // Opening a path is not enough to know what it is; a pipe would even be waited for.
    let theirs = rustix::fs::stat(format!("{parent}/fd/0"));
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let is_device = rustix::fs::FileType::from_raw_mode(ours.st_mode) == rustix::fs::FileType::CharacterDevice;
            // The null device is everybody's, and empty.
            !is_device && (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
        }
        _ => false,
    }
}
