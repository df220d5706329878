//! The children of a process, found in `/proc` and killed. Used by keepers, which may not allocate, and by the runner.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, open, openat};
use rustix::process::{Pid, Signal, kill_process};

/// A running process, as `/proc/PID/stat` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    pub id: i32,
    pub parent: i32,
    pub session: i32,
    /// Ended, and not yet taken in by its parent.
    pub is_zombie: bool,
}

/// Kills the children of the process `parent`, and returns how many there were. Allocates nothing.
pub(super) fn kill_children(parent: i32) -> usize {
    let mut killed = 0;
    each(|stat| {
        if stat.parent == parent && !stat.is_zombie {
            kill(stat.id);
            killed += 1;
        }
    });
    killed
}

/// Kills a process that may have ended already.
pub(super) fn kill(id: i32) {
    if let Some(id) = Pid::from_raw(id) {
        let _ = kill_process(id, Signal::KILL);
    }
}

/// Looks at every process there is; at none where `/proc` is not there. Allocates nothing.
pub(super) fn each(mut look: impl FnMut(ProcessStat)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = open(c"/proc", flags, Mode::empty()) else { return };
    let mut space = [MaybeUninit::<u8>::uninit(); 8 << 10];
    let mut entries = RawDir::new(&folder, &mut space);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(stat) = stat(&folder, entry.file_name()) {
            look(stat);
        }
    }
}

fn stat(folder: &OwnedFd, name: &CStr) -> Option<ProcessStat> {
    let name = name.to_bytes();
    let id = number(name)?;
    let mut path = [0_u8; 32];
    path.get_mut(..name.len())?.copy_from_slice(name);
    path.get_mut(name.len()..name.len() + 5)?.copy_from_slice(b"/stat");
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let file = openat(folder, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0_u8; 512];
    let read = rustix::io::read(&file, &mut text).ok()?;
    fields(id, text.get(..read)?)
}

/// `PID (name) state parent group session …`; a name may hold anything, brackets too.
fn fields(id: i32, text: &[u8]) -> Option<ProcessStat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = text.get(end + 1..)?.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let state = fields.next()?;
    let parent = number(fields.next()?)?;
    let session = number(fields.nth(1)?)?;
    Some(ProcessStat { id, parent, session, is_zombie: matches!(state, b"Z" | b"X") })
}

fn number(text: &[u8]) -> Option<i32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_i32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| i32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_behind_any_name() {
        let stat = ProcessStat { id: 7, parent: 3, session: 5, is_zombie: false };
        assert_eq!(fields(7, b"7 (a) Z 9) S 3 4 5 0 -1"), Some(stat));
        assert_eq!(fields(7, b"7 (a) Z 3 4 5 0"), Some(ProcessStat { is_zombie: true, ..stat }));
        for broken in [&b""[..], b"7 (a) S", b"7 (a) S x 4 5", b"7 (a) S 99999999999 4 5"] {
            assert_eq!(fields(7, broken), None);
        }
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut found = None;
        each(|stat| found = found.or((stat.id == own).then_some(stat)));
        assert_eq!(found.map(|stat| stat.is_zombie), Some(false));
    }
}
