//! [`FileState`]: a file by what the system alone sets. `disk` reads it; `times_cache` keeps it beside what it has read.

use std::fs::File;
use std::io;
use std::path::Path;

use cap_std::fs::Dir;

/// A regular file by what the system sets with every change of it. Nobody else can set the time of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// The last change of the file or of what the system knows of it, in nanoseconds since the epoch.
    pub changed: i64,
    /// The last write, in the same way.
    pub modified: i64,
}

impl FileState {
    /// The state of an open file.
    ///
    /// # Errors
    /// The system's, also where it keeps no time of changes; anything that is not a regular file.
    pub fn of(file: &File) -> io::Result<Self> {
        imp::of(file)
    }

    /// The state of the file at `path` below `folder`, by one call. A link there is no file; one on the way is followed.
    ///
    /// # Errors
    /// As [`FileState::of`].
    pub fn beneath(folder: &Dir, path: &Path) -> io::Result<Self> {
        imp::beneath(folder, path)
    }
}

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use cap_std::fs::Dir;
    use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};

    use super::FileState;

    pub fn of(file: &File) -> io::Result<FileState> {
        state(&fstat(file)?).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    pub fn beneath(folder: &Dir, path: &Path) -> io::Result<FileState> {
        state(&statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)?).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// `None` for what is no file, and for times that no clock shows.
    fn state(found: &Stat) -> Option<FileState> {
        let nanoseconds = |seconds: i64, rest: i64| seconds.checked_mul(1_000_000_000)?.checked_add(rest);
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        is_file.then_some(FileState {
            inode: found.st_ino,
            size: u64::try_from(found.st_size).ok()?,
            changed: nanoseconds(found.st_ctime, i64::try_from(found.st_ctime_nsec).ok()?)?,
            modified: nanoseconds(found.st_mtime, i64::try_from(found.st_mtime_nsec).ok()?)?,
        })
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use cap_std::fs::Dir;

    use super::FileState;

    pub fn of(_file: &File) -> io::Result<FileState> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn beneath(_folder: &Dir, _path: &Path) -> io::Result<FileState> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
