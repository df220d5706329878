//! The storage's system calls. Nothing in `store/` changes a file or folder in any other way, so that a build for tests
//! can count, trace and fail each of these (`fault/`).
//!
//! Every call is made beneath a handle on the parent folder, which `no_links` opens, and none follows a link: a folder
//! that was downloaded may bring a storage along whose links lead elsewhere. New files are for their owner alone,
//! whatever the umask. Every function's path is that of the file or folder it changes. Errors are the system's.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use cap_std::fs::{Dir, DirBuilder, Metadata, OpenOptions};

use super::file_state::FileState;
use super::no_links::{open_beneath, open_folder, parent, search_folder};

/// A file that was created, and the folder that holds it, for its next name there.
pub struct NewFile {
    pub file: File,
    folder: Dir,
}

/// Creates a file, which must not exist, for writing.
pub fn create(path: &Path) -> io::Result<NewFile> {
    let (folder, name) = parent(path)?;
    let file = open_in(&folder, name, OpenOptions::new().write(true).create_new(true))?;
    keep_for_owner(&file)?;
    Ok(NewFile { file, folder })
}

/// Opens a file for reading and appending; creates it when it does not exist.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    open_to_change(path, OpenOptions::new().read(true).append(true).create(true))
}

/// Opens a file for reading and writing with its contents; creates it when it does not exist.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    open_to_change(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

/// Opens a file for reading. Does not wait for the other end of a pipe.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true))
}

/// Writes all of `bytes` at the position of `file`.
pub fn write(mut file: &File, _path: &Path, bytes: &[u8]) -> io::Result<()> {
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

/// Renames a file or folder within its folder, replacing a file of that name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (folder, name) = parent(to)?;
    folder.rename(from.file_name().unwrap_or_default(), &folder, name)
}

/// Gives the new file at `from` the last name of `to`, in the folder that it was created in. Replaces a file of that name.
pub fn name(new: &NewFile, from: &Path, to: &Path) -> io::Result<()> {
    let name = |path: &Path| path.file_name().map(OsStr::to_owned).ok_or(io::ErrorKind::InvalidInput);
    new.folder.rename(name(from)?, &new.folder, name(to)?)
}

/// Creates one folder.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let (folder, name) = parent(path)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700);
    folder.create_dir_with(name, &builder)?;
    open_to_owner(&folder, name)
}

/// Waits until the names in a folder are durable.
#[cfg(unix)]
pub fn sync_folder(path: &Path) -> io::Result<()> {
    open_folder(path)?.into_std_file().sync_all()
}

/// Does nothing: only Unix lets a program open a folder to sync it. Elsewhere the file system's journal must suffice.
#[cfg(not(unix))]
pub fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    let (folder, name) = parent(path)?;
    folder.remove_file(name)
}

/// Removes a folder with its contents.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let (folder, name) = parent(path)?;
    folder.remove_dir_all(name)
}

/// Returns whether a folder is at `path`. A link is none.
pub fn is_folder(path: &Path) -> bool {
    search_folder(path).is_ok()
}

/// The metadata of the entry at `path`, of a link itself.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let (folder, name) = parent(path)?;
    folder.symlink_metadata(name)
}

/// The names in a folder, in no order, and whether each is a link.
pub fn names(path: &Path) -> io::Result<Vec<(OsString, bool)>> {
    let entries = open_folder(path)?.entries()?;
    entries.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?.is_symlink())))).collect()
}

/// A folder, opened to read many small files below it.
pub struct ReadFolder(Dir);

impl ReadFolder {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        search_folder(path).map(Self)
    }

    /// Opens the file at `path` below the folder, to be read by [`read_small`].
    ///
    /// # Errors
    /// The system's, also where it has no single call for a path without links.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        open_beneath(&self.0, path)
    }

    /// The state of the file at `path` below the folder, by one call that follows no link at its end.
    ///
    /// # Errors
    /// As [`FileState::of`].
    pub fn state(&self, path: &Path) -> io::Result<FileState> {
        FileState::beneath(&self.0, path)
    }
}

/// Reads a file into `buffer`, by one call: a device or a pipe, which none of ours is, gives what it has at once, or nothing.
///
/// # Errors
/// The system's; a file that the buffer cannot hold.
pub fn read_small<'a>(mut file: &File, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let len = file.read(buffer)?;
    // What fills the buffer may go on.
    buffer.get(..len).filter(|_| len < buffer.len()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let (folder, name) = parent(path)?;
    open_in(&folder, name, options)
}

fn open_in(folder: &Dir, name: &OsStr, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    Ok(folder.open_with(name, options)?.into_std())
}

/// Opens a file that is changed in place. One with another name (a hard link) is refused: its owner may not know that
/// the file of the other name is part of a storage.
fn open_to_change(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open(path, options)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 1 {
        return Err(io::Error::from_raw_os_error(libc::EMLINK));
    }
    keep_for_owner(&file)?;
    Ok(file)
}

/// Gives a file to its owner where the umask took even that. Wider permissions of an older file stay its owner's choice.
#[cfg(unix)]
fn keep_for_owner(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if file.metadata()?.permissions().mode() & 0o600 == 0o600 {
        return Ok(());
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn keep_for_owner(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Opens a new folder to its owner where the umask took even that.
#[cfg(unix)]
fn open_to_owner(folder: &Dir, name: &OsStr) -> io::Result<()> {
    use cap_std::fs::{Permissions, PermissionsExt as _};
    if folder.symlink_metadata(name)?.permissions().mode() & 0o700 == 0o700 {
        return Ok(());
    }
    folder.set_permissions(name, Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn open_to_owner(_folder: &Dir, _name: &OsStr) -> io::Result<()> {
    Ok(())
}
