//! Durable writes: files that appear whole or not at all, folders, appended lines. Everything in `store/` that writes
//! calls it; the system calls themselves are left to [`door`].
//!
//! A file is created under a temporary name in its own folder, written, synced, renamed, and its folder synced. The
//! order matters: a rename before the sync could leave, after a power cut, the new name on an empty file in place of
//! the good old one, and without the folder's sync the rename itself may be lost. A crash in between leaves
//! `.{file}.{n}.tmp`, which readers ignore.
//!
//! A file on which nothing depends yet, or of which all can be made again, is renamed unsynced ([`write_unsynced`]): a
//! process that dies leaves it whole or not at all, a power cut may also leave it torn.
//!
//! Files and folders are for their owner alone (0600, 0700): conversations hold what tools read.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::disk::NewFile;
use super::{StoreError, disk, door, no_links};

/// Most temporary names tried for one file, so that leftovers of crashes are not in the way.
const MAX_TEMPORARY: u32 = 1000;

/// Largest JSON file that is read, in bytes. (A conversation that fills the largest context windows, with every image
/// inline, stays below 100 MiB.)
const MAX_FILE: u64 = 512 << 20;

/// Writes `value` to `path` as indented JSON with a newline at the end, replacing what was there. On return it is
/// durable; on failure the file is as it was.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    write(path, &indented(path, value)?)
}

/// `value` as indented JSON with a newline at the end, for a file that people read.
pub fn indented<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StoreError> {
    end_line(path, serde_json::to_vec_pretty(value))
}

/// `value` as JSON on one line.
pub fn on_one_line<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StoreError> {
    end_line(path, serde_json::to_vec(value))
}

fn end_line(path: &Path, json: serde_json::Result<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let mut bytes = json.map_err(|source| StoreError::Encode { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes `bytes` to `path`, replacing what was there. On return it is durable; on failure the file is as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes, sync)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Writes `bytes` to `path`, replacing what was there, and returns the file, to be synced later. Neither its data nor
/// its name is durable before.
pub fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<File, StoreError> {
    replace(path, bytes, |_, _| Ok(()))
}

fn replace(
    path: &Path,
    bytes: &[u8],
    before_rename: impl FnOnce(&File, &Path) -> Result<(), StoreError>,
) -> Result<File, StoreError> {
    let (new, temporary) = create_temporary(path)?;
    let written = append(&new.file, &temporary, bytes)
        .and_then(|()| before_rename(&new.file, &temporary))
        .and_then(|()| door::name(&new, &temporary, path).map_err(StoreError::io("rename a temporary file to", path)));
    match written {
        Ok(()) => Ok(new.file),
        Err(error) => {
            // Best effort: readers ignore the leftover.
            let _ = door::remove(&temporary);
            Err(error)
        }
    }
}

/// Creates the file that is to be renamed to `path`, or to another name in its folder.
pub fn create_temporary(path: &Path) -> Result<(NewFile, PathBuf), StoreError> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for n in 0..MAX_TEMPORARY {
        let temporary = path.with_file_name(format!(".{name}.{n}.tmp"));
        match door::create(&temporary) {
            Ok(new) => return Ok((new, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            Err(error) => return Err(StoreError::io("create", &temporary)(error)),
        }
    }
    Err(StoreError::io("create a temporary file for", path)(taken))
}

/// Writes all of `bytes` to `file` at its position.
pub fn append(file: &File, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    door::write(file, path, bytes).map_err(StoreError::io("write to", path))
}

/// Waits until what was written to `file` is durable.
pub fn sync(file: &File, path: &Path) -> Result<(), StoreError> {
    door::sync(file, path).map_err(StoreError::io("sync", path))
}

/// An open file among all files of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity(#[cfg(unix)] u64, #[cfg(unix)] u64);

impl FileIdentity {
    /// The identity of `file`, which was opened at `path`.
    pub fn of(file: &File, path: &Path) -> Result<Self, StoreError> {
        let metadata = file.metadata().map_err(StoreError::io("read", path))?;
        Ok(Self::from_metadata(&metadata))
    }

    #[cfg(unix)]
    fn from_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(metadata.dev(), metadata.ino())
    }

    #[cfg(not(unix))]
    fn from_metadata(_metadata: &Metadata) -> Self {
        Self()
    }

    /// Checks that `path` still leads to the file: data in a file that was moved, replaced or removed is not found
    /// again, however durable it is. Elsewhere than on Unix a file that is open can be neither moved nor removed.
    pub fn check_place(self, path: &Path) -> Result<(), StoreError> {
        // By its path alone, in one call: whatever links lead there now, it is the same file or it is not.
        match std::fs::symlink_metadata(path) {
            Ok(found) if Self::from_metadata(&found) == self => Ok(()),
            Ok(_) => Err(StoreError::Displaced { path: path.to_owned() }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(StoreError::Displaced { path: path.to_owned() })
            }
            Err(error) => Err(StoreError::io("find", path)(error)),
        }
    }
}

/// A lock on a file that is waited for. It is released explicitly: a child between fork and exec has a copy of the
/// descriptor.
pub struct FileLock(File);

impl FileLock {
    /// Waits for the lock on the file at `path`, which is created when it does not exist.
    pub fn wait(path: &Path) -> Result<Self, StoreError> {
        let file = door::open_to_lock(path).map_err(StoreError::io("open", path))?;
        file.lock().map_err(StoreError::io("lock", path))?;
        Ok(Self(file))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // When this fails, closing the last copy releases it.
        let _ = self.0.unlock();
    }
}

/// Cuts `file` to its first `len` bytes.
pub fn truncate(file: &File, path: &Path, len: u64) -> Result<(), StoreError> {
    door::truncate(file, path, len).map_err(StoreError::io("truncate", path))
}

/// Waits until the names in `folder` are durable.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    door::sync_folder(folder).map_err(StoreError::io("sync", folder))
}

/// Creates `folder` and those above it that are missing. Not durable until the folders above are synced.
pub fn create_folder(folder: &Path) -> Result<(), StoreError> {
    // One by one, from the top down: each is an operation of its own, at which a test may make the process fail.
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !disk::is_folder(folder)).collect();
    missing.into_iter().rev().try_for_each(|folder| match door::create_folder(folder) {
        // Another process was faster.
        Err(_) if disk::is_folder(folder) => Ok(()),
        made => made.map_err(StoreError::io("create", folder)),
    })
}

/// Returns whether `folder` exists.
///
/// # Errors
/// [`StoreError::Link`] when it is a link, or below one.
pub fn is_folder(folder: &Path) -> Result<bool, StoreError> {
    match no_links::link_in(folder) {
        Some(link) => Err(StoreError::Link { path: link.to_owned() }),
        None => Ok(disk::is_folder(folder)),
    }
}

/// Removes `folder` with its contents; does nothing when it does not exist.
pub fn remove_folder(folder: &Path) -> Result<(), StoreError> {
    match door::remove_folder(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Opens a stored file to read it. Devices and pipes, which could block for ever, are refused.
pub fn open(path: &Path) -> Result<File, StoreError> {
    regular(disk::open_to_read(path), path)
}

fn regular(opened: io::Result<File>, path: &Path) -> Result<File, StoreError> {
    let file = opened.map_err(StoreError::io("read", path))?;
    if !file.metadata().map_err(StoreError::io("read", path))?.is_file() {
        return Err(StoreError::damaged(path, None, "it is not a file"));
    }
    Ok(file)
}

/// Reads a whole stored file of at most 512 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    read_all(open(path)?, path)
}

/// Reads a whole file of at most 512 MiB outside the storage, where links are the user's own.
pub fn read_elsewhere(path: &Path) -> Result<Vec<u8>, StoreError> {
    let real = std::path::absolute(path).and_then(std::fs::canonicalize).map_err(StoreError::io("read", path))?;
    read_all(regular(disk::open_to_read(&real), path)?, path)
}

fn read_all(file: File, path: &Path) -> Result<Vec<u8>, StoreError> {
    // Room for all of it, and for the look whether more follows.
    let length = file.metadata().map_or(0, |metadata| metadata.len().min(MAX_FILE));
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_FILE) {
        Ok(bytes)
    } else {
        Err(StoreError::damaged(path, None, format!("it is larger than {} MiB", MAX_FILE >> 20)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.json");
        write_json(&path, &[1, 2]).unwrap();
        write_json(&path, &[3]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[\n  3\n]\n");
        assert_eq!(names(folder.path()), ["job.json"]);
    }

    #[test]
    fn a_leftover_of_a_crash_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.json");
        fs::write(folder.path().join(".job.json.0.tmp"), "[1").unwrap();
        write_json(&path, &[2]).unwrap();
        assert_eq!(names(folder.path()), [".job.json.0.tmp", "job.json"]);
    }

    #[test]
    fn a_failure_names_the_file_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write_json(&path, &[1]).unwrap_err();
        assert!(matches!(&error, StoreError::Io { path: named, .. } if *named == path), "{error}");
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(write_json(&folder.path().join("missing/job.json"), &[1]).unwrap_err().is_not_found());
    }

    #[test]
    fn a_file_that_is_not_synced_is_whole_too_once_it_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint-1-a.json");
        let bytes = on_one_line(&path, &[1, 2]).unwrap();
        write_unsynced(&path, &bytes).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(folder.path()).len()), ("[1,2]\n", 1));
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_read() {
        assert!(open(Path::new("/dev/zero")).unwrap_err().is_damaged());
    }
}
