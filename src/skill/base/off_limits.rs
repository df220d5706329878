//! [`OffLimits`]: the files and folders that the file tools refuse, so that an expert changes neither what is on record
//! nor what it may do in the next run. The runtime collects them; `workspace` asks for each path that it walks.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Metadata;

/// Files and folders that the file tools refuse. Paths are absolute, or relative to the current folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffLimits {
    /// Folders that are neither shown, read nor changed, with everything below: the storage.
    pub hidden: Vec<PathBuf>,
    /// Files that are neither read nor changed: environment files with keys.
    pub closed: Vec<PathBuf>,
    /// Files of that kind that the job itself writes: the cassette in use.
    pub in_use: Vec<PathBuf>,
    /// Files that may be read and not changed: the configuration with its includes, the lock.
    pub read_only: Vec<PathBuf>,
    /// Files that are not there and that later runs would read: environment files, a configuration nearer than the one in
    /// use. They are not refused; one that a command makes is reported.
    pub noticed: Vec<PathBuf>,
    /// Folders of included files. A file with the same ending that a command makes there may be included later, and is
    /// reported.
    pub include_folders: Vec<PathBuf>,
}

/// The entries of [`OffLimits`] as they are on the disk now. A file is the same under any of its names: a link's, a
/// second name (a hard link), another spelling on a file system that folds case.
#[derive(Debug)]
pub(super) struct OnDisk {
    hidden: Vec<Metadata>,
    closed: Vec<Metadata>,
    read_only: Vec<Metadata>,
}

impl OffLimits {
    /// Looks the entries up.
    pub(super) fn on_disk(&self) -> OnDisk {
        let found = |paths: &[PathBuf]| paths.iter().filter_map(|path| metadata(path).ok()).collect();
        OnDisk {
            hidden: found(&self.hidden),
            closed: [found(&self.closed), found(&self.in_use)].concat(),
            read_only: found(&self.read_only),
        }
    }

    /// Returns whether the place `absolute`, without links, is an entry that may not be changed, or a folder with one
    /// in it, which may not be moved or deleted.
    pub(super) fn forbids_change(&self, absolute: &Path) -> bool {
        let all = || self.hidden.iter().chain(&self.closed).chain(&self.in_use).chain(&self.read_only);
        // By its own name as well as by the file that a link of this name leads to: replacing either changes it.
        all().any(|path| named(path).starts_with(absolute) || real(path).starts_with(absolute))
    }
}

impl OnDisk {
    pub(super) fn is_hidden(&self, metadata: &Metadata) -> bool {
        self.hidden.iter().any(|hidden| is_same(hidden, metadata))
    }

    pub(super) fn is_closed(&self, metadata: &Metadata) -> bool {
        self.closed.iter().any(|closed| is_same(closed, metadata))
    }

    pub(super) fn is_read_only(&self, metadata: &Metadata) -> bool {
        self.read_only.iter().any(|file| is_same(file, metadata))
    }
}

fn metadata(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path).map(Metadata::from_just_metadata)
}

/// The path with its folder's links resolved, but not its own.
fn named(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (folder, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or(OsStr::new("")));
    real(folder).join(name)
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(unix)]
pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use cap_std::fs::MetadataExt;
    a.dev() == b.dev() && a.ino() == b.ino()
}

#[cfg(not(unix))]
pub(super) fn is_same(_: &Metadata, _: &Metadata) -> bool {
    false
}
