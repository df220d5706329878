//! [`Mounts`]: places of the file system that a contained child finds held fast or read-only. Made in a mount namespace of
//! the child's own before its rules are in force, which let nobody change them again.
//!
//! Called by `confinement`, which is given the places, and by `restrict`, in the child. A process that may not mount makes a
//! namespace of users around it, in which it is the same user still. Root never does: it would lose the rights to other
//! users' files, which installing needs.
#![expect(unsafe_code, reason = "namespaces and mounts are reached by system calls")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::{getegid, geteuid};

/// `mount_setattr`, alike on all architectures (Linux 5.12), and its attribute for read-only mounts.
const MOUNT_SETATTR: libc::c_long = 442;
const MOUNT_ATTR_RDONLY: u64 = 1;

/// Longest path that the kernel hands out.
const PATH_MAX: usize = 4096;

/// The mounts of a child, ready to be made. Empty where there is nothing to mount, or no way to.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    places: Vec<(CString, bool)>,
    /// The maps of users and groups, where a namespace of users is needed.
    maps: Option<[String; 2]>,
}

/// The namespaces that a process needs for mounts of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MountAbility {
    None,
    Mounts,
    UsersAndMounts,
}

/// Returns true if this system lets a child have mounts of its own.
pub fn can_mount() -> bool {
    ability() != MountAbility::None
}

impl Mounts {
    /// The mounts of those folders that are there, each with whether it is read-only.
    pub(super) fn new<'a>(folders: impl IntoIterator<Item = (&'a Path, bool)>) -> Self {
        let folders = folders.into_iter().filter(|(path, _)| is_folder(path));
        let found = folders.filter_map(|(path, is_read_only)| {
            CString::new(path.as_os_str().as_bytes()).ok().map(|path| (path, is_read_only))
        });
        let places: Vec<_> = found.collect();
        if places.is_empty() {
            return Self::default();
        }
        match ability() {
            MountAbility::None => Self::default(),
            MountAbility::Mounts => Self { places, maps: None },
            MountAbility::UsersAndMounts => Self { places, maps: Some(own_maps()) },
        }
    }

    /// Makes them for this process. Allocates nothing.
    ///
    /// # Errors
    /// The system refuses what it allowed before.
    pub(super) fn apply(&self) -> io::Result<()> {
        if self.places.is_empty() {
            return Ok(());
        }
        enter(self.maps.as_ref())?;
        for (path, is_read_only) in &self.places {
            match bind(path, *is_read_only) {
                // What has gone meanwhile needs no mount.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
                done => done?,
            }
        }
        walk_to_folder()
    }
}

/// Returns true for a folder itself, not for a link to one.
fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// The maps that make this user and group the only ones, by their own numbers.
fn own_maps() -> [String; 2] {
    let map = |id: u32| format!("{id} {id} 1\n");
    [map(geteuid().as_raw()), map(getegid().as_raw())]
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the namespaces of this process, in which mounts do not reach the others. Allocates nothing.
fn enter(maps: Option<&[String; 2]>) -> io::Result<()> {
    let users = if maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
    // SAFETY: system calls with plain arguments.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS | users))?;
        if let Some([users, groups]) = maps {
            // The files belong to root while nobody may look at this process.
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))?;
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", users.as_bytes())?;
            write(c"/proc/self/gid_map", groups.as_bytes())?;
            check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        }
        let flags = libc::MS_REC | libc::MS_SLAVE;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()))
    }
}

fn write(file: &CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: the text is read as far as it goes; the descriptor is closed before anything else.
    unsafe {
        let descriptor = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(descriptor)?;
        let written = libc::write(descriptor, text.as_ptr().cast(), text.len());
        let outcome = if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        libc::close(descriptor);
        outcome
    }
}

/// Mounts the folder onto itself, with what is mounted beneath it.
fn bind(path: &CStr, is_read_only: bool) -> io::Result<()> {
    let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    let size = size_of_val(&attributes);
    // SAFETY: system calls with arguments on this stack.
    unsafe {
        let flags = libc::MS_BIND | libc::MS_REC;
        check(libc::mount(path.as_ptr(), path.as_ptr(), std::ptr::null(), flags, std::ptr::null()))?;
        if is_read_only
            && libc::syscall(
                MOUNT_SETATTR,
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::AT_RECURSIVE,
                attributes.as_ptr(),
                size,
            ) < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Goes to the working folder by its path: the open folder may lie below a mount, and lead around it.
fn walk_to_folder() -> io::Result<()> {
    let mut path = [0_u8; PATH_MAX];
    // SAFETY: the buffers are on this stack.
    unsafe {
        let mut before: libc::stat = std::mem::zeroed();
        let mut after: libc::stat = std::mem::zeroed();
        // A folder that was deleted has no path, and no mount above it.
        if libc::getcwd(path.as_mut_ptr().cast(), path.len()).is_null() {
            return Ok(());
        }
        check(libc::stat(c".".as_ptr(), &raw mut before))?;
        check(libc::chdir(path.as_ptr().cast()))?;
        check(libc::stat(c".".as_ptr(), &raw mut after))?;
        let is_same = before.st_dev == after.st_dev && before.st_ino == after.st_ino;
        if is_same { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESTALE)) }
    }
}

/// Tries once what children are to do, in a process that ends at once.
fn ability() -> MountAbility {
    static ABILITY: OnceLock<MountAbility> = OnceLock::new();
    *ABILITY.get_or_init(|| {
        let has_mounted = |maps: Option<&[String; 2]>| has_worked(|| enter(maps).and_then(|()| bind(c"/proc", true)));
        if has_mounted(None) {
            MountAbility::Mounts
        } else if !geteuid().is_root() && has_mounted(Some(&own_maps())) {
            MountAbility::UsersAndMounts
        } else {
            MountAbility::None
        }
    })
}

/// Does `work` in a fork, which allocates nothing, and returns whether it succeeded.
fn has_worked(work: impl FnOnce() -> io::Result<()>) -> bool {
    // SAFETY: the fork makes async-signal-safe calls only and ends without running anything of this process.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(libc::c_int::from(work().is_err())),
            child if child > 0 => {
                let mut status = 0;
                while libc::waitpid(child, &raw mut status, 0) < 0 {
                    if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                        return false;
                    }
                }
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_folder_is_not_mounted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        let places = ["file", "link", "none"].map(|name| folder.path().join(name));
        assert!(Mounts::new(places.iter().map(|place| (&**place, true))).places.is_empty());
        assert_eq!(Mounts::new([(folder.path(), false)]).places.len(), usize::from(can_mount()));
    }

    #[test]
    fn a_fork_that_fails_or_ends_is_reported() {
        assert!(has_worked(|| Ok(())));
        assert!(!has_worked(|| Err(io::Error::from_raw_os_error(libc::EPERM))));
    }
}
