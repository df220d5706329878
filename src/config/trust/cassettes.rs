//! The cassettes that were recorded on this machine, by the digests of their contents. The command line remembers each when
//! it is complete, and asks about one before it is replayed with effects.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::programs::{MOST_BYTES, digest};
use super::record::{make_private_folder, private_file};
use crate::config::ConfigError;
use crate::config::read_file::read_text;

/// The file of the digests, a line each, in the folder of the records.
const FILE: &str = "cassettes";

/// Most digests that are kept, the latest ones.
const MAX_KEPT: usize = 1000;

/// Returns true if the contents of `cassette` are those of a recording made on this machine.
pub fn is_known(records: &Path, cassette: &Path) -> bool {
    let digest = digest(cassette, MOST_BYTES).ok().flatten();
    // A list that cannot be read knows none: the recording is then not acted on.
    digest.is_some_and(|(digest, _)| kept(&records.join(FILE)).is_ok_and(|kept| kept.contains(&digest)))
}

/// Adds the contents of `cassette`.
///
/// # Errors
/// When it cannot be read, or the list not be read or written; the list stays as it was then.
pub fn remember(records: &Path, cassette: &Path) -> io::Result<()> {
    let Some((digest, _)) = digest(cassette, MOST_BYTES)? else { return Ok(()) };
    make_private_folder(records)?;
    let path = records.join(FILE);
    // Recordings that end at once would lose each other's lines.
    let lock = private_file(&lock_of(&path), OpenOptions::new().create(true).truncate(false).write(true))?;
    lock.lock()?;
    let mut digests = kept(&path).map_err(io::Error::other)?;
    digests.retain(|other| *other != digest);
    digests.push(digest);
    digests.drain(..digests.len().saturating_sub(MAX_KEPT));
    let temporary = path.with_extension("new");
    let mut file = private_file(&temporary, OpenOptions::new().create(true).truncate(true).write(true))?;
    file.write_all((digests.join("\n") + "\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// The digests in the list; none when there is no list yet.
fn kept(path: &Path) -> Result<Vec<String>, ConfigError> {
    let text = read_text(path)?.unwrap_or_default();
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_cannot_be_read_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (records, cassette) = (folder.path(), folder.path().join("own"));
        std::fs::write(&cassette, "{}").unwrap();
        std::fs::write(records.join(FILE), b"\xff damaged").unwrap();
        remember(records, &cassette).unwrap_err();
        assert!(!is_known(records, &cassette));
        assert_eq!(std::fs::read(records.join(FILE)).unwrap(), b"\xff damaged");
    }

    #[test]
    fn a_recording_is_known_by_its_contents_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("config/trust");
        let [own, copy, other] = ["own", "copy", "other"].map(|name| folder.path().join(name));
        std::fs::write(&own, "recorded").unwrap();
        std::fs::write(&copy, "recorded").unwrap();
        std::fs::write(&other, "theirs").unwrap();
        assert!(!is_known(&records, &own));
        remember(&records, &own).unwrap();
        assert!(is_known(&records, &own) && is_known(&records, &copy) && !is_known(&records, &other));
        std::fs::write(&own, "recorded, and changed").unwrap();
        assert!(!is_known(&records, &own) && !is_known(&records, Path::new("/nowhere")));
    }

    #[test]
    fn only_the_latest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().to_owned();
        let cassette = folder.path().join("c");
        std::fs::write(records.join(FILE), "0\n".repeat(MAX_KEPT)).unwrap();
        std::fs::write(&cassette, "recorded").unwrap();
        remember(&records, &cassette).unwrap();
        assert_eq!(kept(&records.join(FILE)).unwrap().len(), MAX_KEPT);
        assert!(is_known(&records, &cassette));
    }
}
