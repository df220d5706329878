//! The cassettes that were recorded on this machine, by the digests of their contents. The command line remembers each when
//! it is complete, and asks about one before it is replayed with effects.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::programs::digest;
use super::record::{make_private_folder, private_file};
use crate::config::read_file::read_text;

/// The file of the digests, a line each, in the folder of the records.
const FILE: &str = "cassettes";

/// Most digests that are kept, the latest ones.
const MAX_KEPT: usize = 1000;

/// Returns true if the contents of `cassette` are those of a recording made on this machine.
pub fn is_known(records: &Path, cassette: &Path) -> bool {
    let digest = digest(cassette).ok().flatten();
    digest.is_some_and(|digest| kept(&records.join(FILE)).contains(&digest))
}

/// Adds the contents of `cassette`.
///
/// # Errors
/// When it cannot be read, or the list not be written.
pub fn remember(records: &Path, cassette: &Path) -> io::Result<()> {
    let Some(digest) = digest(cassette)? else { return Ok(()) };
    make_private_folder(records)?;
    let path = records.join(FILE);
    // Recordings that end at once would lose each other's lines.
    let lock = private_file(&lock_of(&path), OpenOptions::new().create(true).truncate(false).write(true))?;
    lock.lock()?;
    let mut digests = kept(&path);
    digests.retain(|other| *other != digest);
    digests.push(digest);
    digests.drain(..digests.len().saturating_sub(MAX_KEPT));
    let temporary = path.with_extension("new");
    let mut file = private_file(&temporary, OpenOptions::new().create(true).truncate(true).write(true))?;
    file.write_all((digests.join("\n") + "\n").as_bytes())?;
    std::fs::rename(&temporary, &path)
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// The digests in the list; none when it cannot be read.
fn kept(path: &Path) -> Vec<String> {
    let text = read_text(path).ok().flatten().unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(kept(&records.join(FILE)).len(), MAX_KEPT);
        assert!(is_known(&records, &cassette));
    }
}
