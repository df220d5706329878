//! The file itself: finds it, reads it strictly, and writes it whole or not at all. `install` writes, everything that
//! opens tools reads; whether an entry may be used is left to `fresh`.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use sha2::{Digest as _, Sha256};
use toml::de::{DeTable, Deserializer};

use super::definitions::{self, SplitLock};
use super::{FILE_NAME, Lock, VERSION};
use crate::config::error::{ConfigError, position};
use crate::config::read_file::read_text_within;
use crate::hex;

/// Most bytes of a lock that is read or written; room for some ten thousand tools.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Most temporary names tried, so that leftovers of crashes are not in the way.
const MAX_TEMPORARY: u32 = 1000;

/// The outcome of [`write()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file was created or replaced.
    Replaced,
    /// The file is equivalent already and was left as it is.
    UpToDate,
}

/// The path of the lock of the configuration file `config`: beside it, whether it exists or not.
pub fn find(config: &Path) -> PathBuf {
    config.with_file_name(FILE_NAME)
}

/// Reads the lock at `path`; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is damaged, or of another version.
pub fn read(path: &Path) -> Result<Option<Lock>, ConfigError> {
    match read_text_within(path, MAX_BYTES)? {
        Some(text) => parse(&text, path).map(Some),
        None => Ok(None),
    }
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Lock, ConfigError> {
    // Git may convert line ends on checkout, also within long texts. CR LF that belongs to a text is written as
    // escapes.
    let text = if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) };
    let lock = match parse_written(&text) {
        Some(lock) => lock,
        None => parse_toml(&text, path)?,
    };
    Ok(Lock { path: path.to_owned(), text_digest: hex::digits(&Sha256::digest(&*text)), ..lock })
}

/// The lock in any text of TOML, which `path` names in errors.
pub(super) fn parse_toml(text: &str, path: &Path) -> Result<Lock, ConfigError> {
    let damaged = |error: &toml::de::Error| {
        let (line, column) = position(text, error.span().map_or(text.len(), |span| span.start));
        let reason = error.message().to_owned();
        ConfigError::LockDamaged { path: path.to_owned(), line, column, reason }
    };
    let document = DeTable::parse(text).map_err(|error| damaged(&error))?;
    // Checked first: another version's fields may differ, and would be reported as damage.
    let version = document.get_ref().get("version").map(toml::Spanned::get_ref);
    if let Some(version) = version.and_then(|version| version.as_str())
        && version != VERSION
    {
        return Err(ConfigError::LockVersion { path: path.to_owned(), version: version.to_owned() });
    }
    let lock = Lock::deserialize(Deserializer::from(document)).map_err(|error| damaged(&error))?;
    if lock.version != VERSION {
        return Err(ConfigError::LockVersion { path: path.to_owned(), version: lock.version });
    }
    Ok(lock)
}

/// The lock in a text that is in the form that [`write()`] gives it; `None` for any other, and for one with a mistake.
pub(super) fn parse_written(text: &str) -> Option<Lock> {
    let SplitLock { rest, lists } = definitions::split(text)?;
    let mut lock = toml::from_str::<Lock>(&rest).ok().filter(|lock| lock.version == VERSION)?;
    let mut lists: Vec<_> = lists.into_iter().map(Some).collect();
    for entry in lock.experts.values_mut() {
        for mark in std::mem::take(&mut entry.tools) {
            entry.tools.extend(lists.get_mut(definitions::marked(&mark)?)?.take()?);
        }
    }
    lists.iter().all(Option::is_none).then_some(lock)
}

/// Writes `lock` to `path`, unless the file there is equivalent already; then it is left as it is, with its time. On
/// return the file is durable; on failure it is as it was. A damaged file is replaced, a link never followed.
///
/// # Errors
/// When the file there is of another version, or the lock cannot be written.
pub fn write(path: &Path, lock: &Lock) -> Result<Written, ConfigError> {
    match read(path) {
        Ok(Some(known)) if known.is_equivalent_to(lock) => return Ok(Written::UpToDate),
        Ok(_) | Err(ConfigError::LockDamaged { .. } | ConfigError::NotUtf8 { .. }) => {}
        Err(error) => return Err(error),
    }
    // A link is neither followed, as a downloaded folder may lead it to any file of the user's, nor replaced by a file,
    // as the folder that shares its lock so would silently go on with the old one.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(ConfigError::LockIsLink { path: path.to_owned() });
    }
    let unwritable = |reason: String| ConfigError::LockUnwritable { path: path.to_owned(), reason };
    let text = toml::to_string_pretty(lock).map_err(|error| unwritable(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(unwritable(format!("it would be larger than {MAX_BYTES} bytes")));
    }
    // Read back first: a file that cannot be read must not replace one that can, and TOML limits how deep schemas nest.
    let back = parse_toml(&text, path).map_err(|error| unwritable(error.to_string()))?;
    if !back.is_equivalent_to(lock) {
        return Err(unwritable("it would be another lock when read back".to_owned()));
    }
    replace(path, text.as_bytes()).map_err(|source| ConfigError::LockNotWritten { path: path.to_owned(), source })?;
    Ok(Written::Replaced)
}

/// Puts a file with these bytes in the place of another, durably.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, temporary) = create_temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: nothing reads the leftover.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(path)
}

fn create_temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for n in 0..MAX_TEMPORARY {
        let temporary = path.with_file_name(format!(".{name}.{n}.tmp"));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Waits until the names in the folder of `path` are durable.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    // A relative path of one name has the empty path as its parent.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Only Unix lets a program open a folder to sync it.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
