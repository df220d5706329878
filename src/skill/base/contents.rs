//! Files' contents: read whole within a limit, replaced as a whole, or added to.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use cap_std::fs::{OpenOptions, Permissions};

use super::failure::FileFailure;
use super::workspace::{WorkspacePath, is_writable};

/// Most names tried for a temporary file; more would mean that a thousand crashed writers left theirs here.
const MAX_NAMES: u32 = 1_000;

/// Room behind a file's contents: with less, the standard library tries a small buffer of its own first.
const ROOM: u64 = 32;

/// Opens the regular file at `place`, called `path` by the model, for [`read`].
pub(super) fn open(place: &WorkspacePath, path: &str) -> Result<File, FileFailure> {
    let metadata = place.metadata().ok_or_else(|| FileFailure::NoFile(path.to_owned()))?;
    if metadata.is_dir() {
        return Err(FileFailure::ReadsDirectory(path.to_owned()));
    }
    if !metadata.is_file() {
        return Err(FileFailure::NotRegular(path.to_owned()));
    }
    place.open(OpenOptions::new().read(true)).map_err(FileFailure::io("open", path))
}

/// Reads `file`, which must be a regular one, to its end, or returns its size (so far as known) when that is more than
/// `limit` bytes.
pub(super) fn read(file: &File, path: &str, limit: u64) -> Result<Result<Vec<u8>, u64>, FileFailure> {
    let size = confirm_regular(file, path)?.len();
    if size > limit {
        return Ok(Err(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size.saturating_add(ROOM)).unwrap_or_default());
    // The file may grow meanwhile.
    let read = file.take(limit + 1).read_to_end(&mut bytes).map_err(FileFailure::io("read", path))?;
    let read = u64::try_from(read).unwrap_or(u64::MAX);
    Ok(if read > limit { Err(read) } else { Ok(bytes) })
}

/// Checks that a regular file, or nothing, is at `place`, that it was not reached by a link, and that its owner may
/// write to it.
pub(super) fn check_writable(place: &WorkspacePath, path: &str) -> Result<(), FileFailure> {
    if place.is_through_link() {
        return Err(FileFailure::IsLink);
    }
    match place.metadata() {
        Some(metadata) if metadata.is_dir() => Err(FileFailure::WritesDirectory(path.to_owned())),
        Some(metadata) if !metadata.is_file() => Err(FileFailure::NotRegular(path.to_owned())),
        Some(metadata) if !is_writable(metadata) => Err(FileFailure::FileNotWritable(path.to_owned())),
        None | Some(_) => Ok(()),
    }
}

/// Makes `bytes` the content of the file at `place`, which keeps its permissions; a new file gets mode 0644.
///
/// The content is written beside the file and takes its name when complete and on disk, so that no crash leaves half
/// of it. Other hard links therefore keep the old content. Where the directory takes no new files, or the file cannot be
/// replaced (a mount point), it is overwritten in place.
pub(super) fn replace(place: &WorkspacePath, path: &str, bytes: &[u8]) -> Result<(), FileFailure> {
    match write_beside(place, bytes) {
        Err(error) if place.metadata().is_some() && needs_overwriting(&error) => overwrite(place, path, bytes),
        outcome => outcome.map_err(FileFailure::io("write", path)),
    }
}

/// Adds `bytes` to the end of the file at `place`.
pub(super) fn append(place: &WorkspacePath, path: &str, bytes: &[u8]) -> Result<(), FileFailure> {
    let mut file = place.open(OpenOptions::new().append(true)).map_err(FileFailure::io("open", path))?;
    confirm_regular(&file, path)?;
    file.write_all(bytes).map_err(FileFailure::io("write", path))
}

/// Checks the open file itself: the one that was looked at before opening may have been exchanged since.
fn confirm_regular(file: &File, path: &str) -> Result<Metadata, FileFailure> {
    let metadata = file.metadata().map_err(FileFailure::io("look at", path))?;
    if metadata.is_file() { Ok(metadata) } else { Err(FileFailure::NotRegular(path.to_owned())) }
}

fn needs_overwriting(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy)
}

fn overwrite(place: &WorkspacePath, path: &str, bytes: &[u8]) -> Result<(), FileFailure> {
    let mut file = place.open(OpenOptions::new().write(true)).map_err(FileFailure::io("open", path))?;
    confirm_regular(&file, path)?;
    file.set_len(0).and_then(|()| file.write_all(bytes)).map_err(FileFailure::io("write", path))
}

fn write_beside(place: &WorkspacePath, bytes: &[u8]) -> io::Result<()> {
    let permissions = place.metadata().map(cap_std::fs::Metadata::permissions);
    let (name, file) = create_beside(place, permissions.is_none())?;
    let written =
        fill(file, permissions, bytes).and_then(|()| place.folder().rename(&name, place.folder(), place.name()));
    if written.is_err() {
        // The first failure is the one to report.
        let _ = place.folder().remove_file(&name);
    }
    written
}

fn fill(mut file: cap_std::fs::File, permissions: Option<Permissions>, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.sync_all()
}

/// Creates a file of an unused name. `is_public` gives it a new file's mode; otherwise only its owner may see it.
fn create_beside(place: &WorkspacePath, is_public: bool) -> io::Result<(OsString, cap_std::fs::File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::mode(&mut options, if is_public { 0o644 } else { 0o600 });
    #[cfg(not(unix))]
    let _ = is_public;
    for _ in 0..MAX_NAMES {
        let name = format!(".perstack-{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match place.folder().open_with(&name, &options) {
            Ok(file) => return Ok((name.into(), file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no unused name for a temporary file; remove .perstack-*.tmp"))
}
