//! Opening of folders and files by handles: no call follows a link, and none waits for the other end of a pipe.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use cap_std::fs::{Dir, Metadata, OpenOptions};

/// Opens the folder `name` in `parent`.
pub(super) fn folder(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_DIRECTORY | libc::O_NOFOLLOW);
    Ok(Dir::from_std_file(parent.open_with(name, &options)?.into_std()))
}

/// Opens the file `name` in `parent` for reading.
pub(super) fn file(parent: &Dir, name: &OsStr) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    Ok(parent.open_with(name, &options)?.into_std())
}

/// The permissions of a file: nine bits.
#[cfg(unix)]
pub(super) fn mode(metadata: &Metadata) -> u32 {
    use cap_std::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o777
}

#[cfg(not(unix))]
pub(super) fn mode(_: &Metadata) -> u32 {
    0o644
}

/// All by which a change of a file is seen without reading it: its device, number, length, and the times of its content and
/// of its state, in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    #[cfg(unix)]
    fields: [i128; 7],
    #[cfg(not(unix))]
    len: u64,
}

impl Stat {
    #[cfg(unix)]
    pub(super) fn new(metadata: &Metadata) -> Self {
        use cap_std::fs::MetadataExt as _;
        Self {
            fields: [
                metadata.dev().into(),
                metadata.ino().into(),
                metadata.size().into(),
                metadata.mtime().into(),
                metadata.mtime_nsec().into(),
                metadata.ctime().into(),
                metadata.ctime_nsec().into(),
            ],
        }
    }

    #[cfg(not(unix))]
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self { len: metadata.len() }
    }

    /// Returns whether a change right behind this look would show: the file's times are older than the newest that the file
    /// system gave by some ticks of its clock. `now`: seconds and nanoseconds of a file that was just made.
    #[cfg(unix)]
    pub(super) fn is_older_than(&self, seconds: i128) -> bool {
        let [.., changed, _, state, _] = self.fields;
        changed.max(state) + 2 < seconds
    }

    #[cfg(not(unix))]
    pub(super) fn is_older_than(&self, _: i128) -> bool {
        false
    }
}
