//! [`Ledger`]: the changes that are not synced, which a simulated power cut undoes. The fault door records each
//! operation in it.
//!
//! The model promises no more than POSIX. The data of a file is safe from its last sync on. A name that was created,
//! changed or removed is safe from the next sync of its folder on; syncing the file alone does not save its name. Names
//! are lost in the order that journals lose them: with one, all that were changed after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The changes that are not safe yet. Everything older than the process is safe.
#[derive(Default)]
pub struct Ledger {
    data: Vec<Data>,
    /// In the order of the changes.
    names: Vec<Name>,
}

/// A file with changes that were not synced.
struct Data {
    path: PathBuf,
    /// Its contents at the last sync.
    safe: Vec<u8>,
}

/// A change of names that was not synced.
enum Name {
    /// A file or folder was created.
    Created {
        path: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<Vec<u8>>,
    },
    Removed {
        path: PathBuf,
        contents: Vec<u8>,
    },
}

impl Name {
    fn path(&self) -> &Path {
        match self {
            Self::Created { path } | Self::Removed { path, .. } | Self::Renamed { to: path, .. } => path,
        }
    }

    fn undo(self) -> io::Result<()> {
        match self {
            Self::Created { path } if path.is_dir() => fs::remove_dir_all(path),
            Self::Created { path } => fs::remove_file(path),
            Self::Removed { path, contents } => fs::write(path, contents),
            Self::Renamed { from, to, replaced } => {
                fs::rename(&to, from)?;
                replaced.map_or(Ok(()), |contents| fs::write(to, contents))
            }
        }
    }
}

/// The share of unsafe changes that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    All,
    /// Pseudo-random, from this seed.
    Some(u64),
}

/// Numbers that look random (`SplitMix64`).
struct Chance(u64);

impl Chance {
    /// A number from 0 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let number = usize::try_from((z ^ (z >> 31)) >> 33).unwrap_or(0);
        number.checked_rem(most.saturating_add(1)).unwrap_or(0)
    }
}

impl Ledger {
    /// A file or folder was created at `path`.
    pub fn created(&mut self, path: &Path) {
        self.names.push(Name::Created { path: path.to_owned() });
        self.data.retain(|data| data.path != path);
    }

    /// `from` was renamed to `to`; `replaced` holds the contents of the file that had that name before.
    pub fn renamed(&mut self, from: &Path, to: &Path, replaced: Option<Vec<u8>>) {
        self.data.retain(|data| data.path != to);
        for data in &mut self.data {
            // Of a folder, all files in it have new paths.
            if let Ok(below) = data.path.strip_prefix(from) {
                data.path = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            }
        }
        self.names.push(Name::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
    }

    /// A file with these contents was removed.
    pub fn removed(&mut self, path: &Path, contents: Option<Vec<u8>>) {
        self.data.retain(|data| data.path != path);
        self.names.push(Name::Removed { path: path.to_owned(), contents: contents.unwrap_or_default() });
    }

    /// The file at `path` is about to change.
    ///
    /// # Errors
    /// When its contents cannot be read.
    pub fn changes(&mut self, path: &Path) -> io::Result<()> {
        if !self.data.iter().any(|data| data.path == path) {
            let safe = contents(path)?.unwrap_or_default();
            self.data.push(Data { path: path.to_owned(), safe });
        }
        Ok(())
    }

    /// The data of the file at `path` is safe.
    pub fn synced(&mut self, path: &Path) {
        self.data.retain(|data| data.path != path);
    }

    /// The names in the folder at `path` are safe.
    pub fn folder_synced(&mut self, path: &Path) {
        self.names.retain(|name| !name.path().parent().is_some_and(|parent| is_same(parent, path)));
    }

    /// Everything below `path` was removed.
    pub fn forget(&mut self, path: &Path) {
        self.data.retain(|data| !data.path.starts_with(path));
        self.names.retain(|name| !name.path().starts_with(path));
    }

    /// Simulates a power cut: undoes changes that are not safe.
    ///
    /// # Errors
    /// When it cannot be undone.
    pub fn cut(&mut self, loss: Loss) -> io::Result<()> {
        let mut chance = match loss {
            Loss::All => None,
            Loss::Some(seed) => Some(Chance(seed)),
        };
        for data in std::mem::take(&mut self.data) {
            // A file that was removed while it was open has no name to lose.
            let Some(written) = contents(&data.path)? else { continue };
            let left = match &mut chance {
                None => data.safe,
                Some(chance) => left_of(data.safe, written, chance),
            };
            fs::write(&data.path, left)?;
        }
        let kept = chance.map_or(0, |mut chance| chance.up_to(self.names.len()));
        self.names.drain(kept..).rev().try_for_each(Name::undo)
    }
}

/// Possible contents after a power cut of a file that held `safe` at its last sync and `written` since.
fn left_of(safe: Vec<u8>, written: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    let Some(new) = written.strip_prefix(safe.as_slice()) else {
        return if chance.up_to(1) == 0 { safe } else { written };
    };
    let come = chance.up_to(new.len());
    match chance.up_to(3) {
        0 => safe,
        1 => written,
        // The length reached the disk, the data only in part: file systems journal the one before the other.
        2 => {
            let zeros = std::iter::repeat_n(0, new.len() - come);
            written.iter().take(safe.len() + come).copied().chain(zeros).collect()
        }
        _ => written.iter().take(safe.len() + come).copied().collect(),
    }
}

/// The contents of the file at `path`; `None` when there is none.
pub fn contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether both paths are the same folder; the empty path is the current one.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || (one.as_os_str().is_empty() && other == Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(ledger: &mut Ledger) {
        ledger.cut(Loss::All).unwrap();
    }

    #[test]
    fn data_goes_back_to_its_last_sync() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut ledger = Ledger::default();
        fs::write(&path, "a").unwrap();
        for text in ["ab", "abc"] {
            ledger.changes(&path).unwrap();
            fs::write(&path, text).unwrap();
            if text == "ab" {
                ledger.synced(&path);
            }
        }
        cut(&mut ledger);
        assert_eq!(fs::read_to_string(&path).unwrap(), "ab");
    }

    #[test]
    fn a_name_is_lost_without_a_sync_of_its_folder_however_its_data_was_synced() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, path) = (folder.path().join("t"), folder.path().join("job.json"));
        fs::write(&path, "old").unwrap();
        for is_synced in [false, true] {
            let mut ledger = Ledger::default();
            ledger.created(&temporary);
            ledger.changes(&temporary).unwrap();
            fs::write(&temporary, "new").unwrap();
            ledger.synced(&temporary);
            ledger.renamed(&temporary, &path, contents(&path).unwrap());
            fs::rename(&temporary, &path).unwrap();
            if is_synced {
                ledger.folder_synced(folder.path());
            }
            cut(&mut ledger);
            assert_eq!(fs::read_to_string(&path).unwrap(), if is_synced { "new" } else { "old" });
            assert!(!temporary.exists());
        }
    }

    #[test]
    fn a_name_that_was_synced_without_its_data_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (temporary, path) = (folder.path().join("t"), folder.path().join("job.json"));
        let mut ledger = Ledger::default();
        ledger.created(&temporary);
        ledger.changes(&temporary).unwrap();
        fs::write(&temporary, "new").unwrap();
        ledger.renamed(&temporary, &path, None);
        fs::rename(&temporary, &path).unwrap();
        ledger.folder_synced(folder.path());
        cut(&mut ledger);
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn with_a_folder_goes_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (run, log) = (folder.path().join("run"), folder.path().join("run/log"));
        let mut ledger = Ledger::default();
        ledger.created(&run);
        fs::create_dir(&run).unwrap();
        ledger.created(&log);
        fs::write(&log, "").unwrap();
        ledger.folder_synced(&run);
        cut(&mut ledger);
        assert!(!run.exists());
    }

    #[test]
    fn a_folder_that_was_renamed_comes_back_with_its_files_as_they_were_synced() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("nest"), folder.path().join("gone"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("lock"), "a").unwrap();
        let mut ledger = Ledger::default();
        ledger.changes(&from.join("lock")).unwrap();
        fs::write(from.join("lock"), "ab").unwrap();
        fs::rename(&from, &to).unwrap();
        ledger.renamed(&from, &to, None);
        cut(&mut ledger);
        assert_eq!(fs::read_to_string(from.join("lock")).unwrap(), "a");
        assert!(!to.exists());
    }

    #[test]
    fn chance_leaves_the_beginning_of_what_was_appended() {
        for seed in 0..200 {
            let left = left_of(b"safe".to_vec(), b"safe and new".to_vec(), &mut Chance(seed));
            let real = left.iter().position(|byte| *byte == 0).unwrap_or(left.len());
            assert!(b"safe and new".starts_with(&left[..real]) && real >= 4, "{left:?}");
            assert!(left[real..].iter().all(|byte| *byte == 0));
        }
    }
}
