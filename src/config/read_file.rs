//! Reading of small text files, safe against pipes, devices and files of gigabytes in their place. Everything in this
//! folder that reads a file does so through [`read_text`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use super::error::{ConfigError, position};

/// Most bytes of a configuration or environment file; generous, as hand-written files have a few thousand.
pub(super) const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The text of a file, with the user that the file belonged to when it was read.
pub(super) struct OwnedText {
    pub(super) text: String,
    /// `None` where files have no owner.
    pub(super) owner: Option<u32>,
}

/// The text of the regular file at `path`; `None` when there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, ConfigError> {
    read_text_within(path, MAX_FILE_BYTES)
}

/// The text of the regular file at `path`, which may have `limit` bytes; `None` when there is none.
pub(super) fn read_text_within(path: &Path, limit: u64) -> Result<Option<String>, ConfigError> {
    Ok(read_owned_within(path, limit)?.map(|read| read.text))
}

/// As [`read_text`], with the file's owner. It is asked of the open file: the path may lead to another by now.
pub(super) fn read_owned(path: &Path) -> Result<Option<OwnedText>, ConfigError> {
    read_owned_within(path, MAX_FILE_BYTES)
}

fn read_owned_within(path: &Path, limit: u64) -> Result<Option<OwnedText>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => {
            return Err(if path.is_dir() {
                ConfigError::NotAFile { path: path.to_owned() }
            } else {
                unreadable(error)
            });
        }
    };
    read_opened(file, path, limit).map(Some)
}

/// The text of a file that is open, which may have `limit` bytes.
pub(super) fn read_opened(file: File, path: &Path, limit: u64) -> Result<OwnedText, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ConfigError::NotAFile { path: path.to_owned() });
    }
    // Room for all of it, and for the look whether more follows.
    let length = usize::try_from(metadata.len().min(limit)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length.saturating_add(1));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit });
    }
    let owner = owner(&metadata);
    String::from_utf8(bytes).map(|text| OwnedText { text, owner }).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..sound).unwrap_or_default());
        let (line, column) = position(&before, sound);
        ConfigError::NotUtf8 { path: path.to_owned(), line, column }
    })
}

/// Returns whether an error of the file system means that nothing is there.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such number")]
fn owner(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(metadata.uid())
}

#[cfg(not(unix))]
fn owner(_metadata: &std::fs::Metadata) -> Option<u32> {
    None
}

/// Opens without waiting: a pipe would otherwise block until another process writes to it, and a terminal would become
/// this process's own.
#[cfg(unix)]
pub(super) fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

#[cfg(not(unix))]
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::ErrorHint as _;

    #[test]
    fn absence_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_text(&folder.path().join("none")).unwrap(), None);
        std::fs::write(folder.path().join("file"), "x").unwrap();
        assert_eq!(read_text(&folder.path().join("file/below")).unwrap(), None);
    }

    #[test]
    fn folders_and_pipes_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder_error = read_text(folder.path()).unwrap_err().with_hint();
        assert!(folder_error.ends_with("it is no regular file; name a file"), "{folder_error}");
        #[cfg(target_os = "linux")]
        {
            let pipe = folder.path().join("pipe");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &pipe,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )
            .unwrap();
            assert!(matches!(read_text(&pipe), Err(ConfigError::NotAFile { .. })));
        }
    }

    #[test]
    fn a_broken_character_is_located() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin1");
        std::fs::write(&path, b"one\nt\xc3\xbco \xe9\n").unwrap();
        let Err(ConfigError::NotUtf8 { line, column, .. }) = read_text(&path) else { panic!("read as text") };
        assert_eq!((line, column), (2, 5));
    }

    #[test]
    fn size_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(MAX_FILE_BYTES).unwrap();
        assert!(read_text(&path).is_ok());
        File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(matches!(read_text(&path), Err(ConfigError::TooLarge { .. })));
    }
}
