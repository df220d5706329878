//! The storage's system calls. Nothing in `store/` changes a file or folder in any other way, so that a build for tests
//! can count, trace and fail each of these (`fault/`).
//!
//! Every function's path is that of the file or folder it changes. Errors are the system's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Creates a file, which must not exist, for writing.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Opens a file for reading and appending; creates it when it does not exist.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// Opens a file for reading and writing with its contents; creates it when it does not exist.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Writes all of `bytes` at the position of `file`.
pub fn write(file: &mut File, _path: &Path, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)
}

/// Cuts `file` to its first `len` bytes.
pub fn truncate(file: &File, _path: &Path, len: u64) -> io::Result<()> {
    file.set_len(len)
}

/// Waits until what was written to `file`, and its length, is durable.
pub fn sync(file: &File, _path: &Path) -> io::Result<()> {
    file.sync_data()
}

/// Renames a file within its folder, replacing a file of that name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Creates one folder.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Waits until the names in a folder are durable.
#[cfg(unix)]
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Does nothing: only Unix lets a program open a folder to sync it. Elsewhere the file system's journal must suffice.
#[cfg(not(unix))]
pub fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Removes a folder with its contents.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}
