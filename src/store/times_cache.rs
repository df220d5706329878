//! [`TimesCache`]: what lists of jobs are ordered by, of each `job.json` that is as it was when it was last read. `order`
//! asks it in place of reading files, and writes the next one where much was not in it.
//!
//! It is never a truth. An entry names a file by what the system alone sets with every change of it ([`FileState`]), so
//! that whoever changes a `job.json`, by whatever program, has made its entry one of no file; a storage that is copied
//! begins without. A file that changed just before it was read is not kept: within one tick of its file system's clock it
//! could change again and look the same. The cache is written without a wait for the disk, as each entry has a checksum of
//! its own: of one that a power cut tore, what is whole is used. It may be removed at any time.
//!
//! ```text
//! header   "perstack times 1"
//! entry    inode  size  changed  modified  started at  last run at or all ones    8 bytes each, little-endian
//!          checksum of these, 4 bytes; 4 of zeros
//! ```

use std::path::{Path, PathBuf};

use super::disk::NewFile;
use super::file_state::FileState;
use super::{StoreError, atomic, door};

/// The first bytes of the file; another version of it has others.
const HEADER: &[u8; 16] = b"perstack times 1";

/// Eight bytes each: four of the file's state, two times.
const FIELDS: usize = 6;

/// Bytes of an entry.
const ENTRY: usize = 8 * FIELDS + 8;

/// Stands for a time that there is none of. (Times are whole numbers that JSON can hold.)
const NONE: u64 = u64::MAX;

/// The tick of the coarsest clock of a file system, FAT's, in nanoseconds.
pub const COARSEST_TICK: i64 = 2_000_000_000;

/// Fewest files not in a cache for which the next one is written: reading them takes a millisecond or less.
const MIN_MISSING: usize = 64;

/// The share of all files that has to be missing, too: of so many, one.
const SHARE_MISSING: usize = 32;

/// The times of a `job.json`, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedTimes {
    pub started_at: u64,
    /// Of a job that has ended, where its file has it.
    pub last_run_at: Option<u64>,
}

/// The times that were kept of a storage's jobs.
pub struct TimesCache(Vec<u8>);

impl TimesCache {
    /// Reads the cache at `path`. One that is missing, cannot be read or is of another version has nothing.
    pub fn read(path: &Path) -> Self {
        let bytes = atomic::read(path).unwrap_or_default();
        Self(if bytes.starts_with(HEADER) { bytes } else { Vec::new() })
    }

    /// Returns true if it has nothing.
    pub fn is_empty(&self) -> bool {
        self.0.len() <= HEADER.len()
    }

    /// The times of the file in this state, if it is the very file that they were read of.
    pub fn times(&self, state: FileState) -> Option<CachedTimes> {
        let (entries, _torn) = self.0.get(HEADER.len()..)?.as_chunks::<ENTRY>();
        let mut at = entries.partition_point(|entry| inode(entry) < state.inode);
        // There is one, but for files that were made in the place of removed ones since.
        while let Some(entry) = entries.get(at).filter(|entry| inode(entry) == state.inode) {
            if let Some(times) = unpack(entry, state) {
                return Some(times);
            }
            at += 1;
        }
        None
    }

    /// Begins the cache that replaces the one at `path`, before the `missing` files of `all` that it does not have are read.
    /// `None` where they are too few, or where this process may not write. `tick` is that of the file system's clock.
    pub fn begin_next(path: &Path, missing: usize, all: usize, tick: i64) -> Option<NextCache> {
        if missing < MIN_MISSING.max(all / SHARE_MISSING) {
            return None;
        }
        NextCache::begin(path, tick).ok()
    }
}

/// A cache on its way. It is given up where it is not written.
pub struct NextCache {
    file: NewFile,
    temporary: PathBuf,
    /// A tick before the file system's time when it was begun. What changed last up to then has another time once it changes
    /// again.
    settled: i64,
    is_done: bool,
}

impl NextCache {
    fn begin(path: &Path, tick: i64) -> Result<Self, StoreError> {
        let (file, temporary) = atomic::create_temporary(path)?;
        let mut next = Self { file, temporary, settled: i64::MIN, is_done: false };
        // By the clock that the other files have their times of, be it another machine's.
        let begun_at = FileState::of(&next.file.file).map_err(StoreError::io("read", path))?.changed;
        next.settled = begun_at.saturating_sub(tick);
        Ok(next)
    }

    /// Returns whether a file in this state, which was read since, is kept: not one that could have been changed again
    /// behind that without another time.
    pub fn keeps(&self, state: FileState) -> bool {
        state.changed <= self.settled
    }

    /// Puts it at `path` with what an earlier one had of files that are as they were, and with what was read since it was
    /// begun of files that it keeps. Does nothing where that is little.
    ///
    /// # Errors
    /// The system's error; the cache at `path` is then as it was.
    pub fn write(
        mut self,
        path: &Path,
        known: impl Iterator<Item = (FileState, CachedTimes)>,
        new: Vec<(FileState, CachedTimes)>,
    ) -> Result<(), StoreError> {
        if new.len() < MIN_MISSING {
            return Ok(());
        }
        let mut entries: Vec<[u8; ENTRY]> = known.chain(new).map(|(state, times)| pack(state, times)).collect();
        entries.sort_unstable_by_key(inode);
        let bytes = [HEADER.as_slice(), entries.as_flattened()].concat();
        atomic::append(&self.file.file, &self.temporary, &bytes)?;
        door::name(&self.file, &self.temporary, path).map_err(StoreError::io("rename a temporary file to", path))?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for NextCache {
    fn drop(&mut self) {
        if !self.is_done {
            // Best effort: readers ignore the leftover.
            let _ = door::remove(&self.temporary);
        }
    }
}

fn fields(state: FileState, times: CachedTimes) -> [u64; FIELDS] {
    let FileState { inode, size, changed, modified } = state;
    let last_run_at = times.last_run_at.unwrap_or(NONE);
    [inode, size, changed.cast_unsigned(), modified.cast_unsigned(), times.started_at, last_run_at]
}

fn pack(state: FileState, times: CachedTimes) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let bytes = fields(state, times).map(u64::to_le_bytes);
    let checksum = crc32fast::hash(bytes.as_flattened()).to_le_bytes();
    let packed = bytes.as_flattened().iter().chain(&checksum);
    entry.iter_mut().zip(packed).for_each(|(to, from)| *to = *from);
    entry
}

/// The times of an entry, if it is whole and of the file in this state.
fn unpack(entry: &[u8; ENTRY], state: FileState) -> Option<CachedTimes> {
    let (numbers, _) = entry.as_chunks::<8>();
    let [.., started_at, last_run_at, _checksum] = numbers else { return None };
    let [started_at, last_run_at] = [started_at, last_run_at].map(|bytes| u64::from_le_bytes(*bytes));
    let times = CachedTimes { started_at, last_run_at: Some(last_run_at).filter(|at| *at != NONE) };
    // Packed alike, it is alike in all, the checksum included.
    (pack(state, times) == *entry).then_some(times)
}

fn inode(entry: &[u8; ENTRY]) -> u64 {
    entry.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const STATE: FileState = FileState { inode: 7, size: 700, changed: 5_000_000_000, modified: -3 };
    const TIMES: CachedTimes = CachedTimes { started_at: 1, last_run_at: Some(2) };
    /// Keeps files of any time.
    const ANY: i64 = i64::MIN / 2;

    /// Files by their inodes, from 0 on.
    fn files(count: u64) -> Vec<(FileState, CachedTimes)> {
        let last_run_at = |inode: u64| inode.is_multiple_of(2).then_some(inode);
        let file =
            |inode| (FileState { inode, ..STATE }, CachedTimes { started_at: inode, last_run_at: last_run_at(inode) });
        (0..count).rev().map(file).collect()
    }

    fn written(path: &Path, files: &[(FileState, CachedTimes)]) -> TimesCache {
        let next = TimesCache::begin_next(path, files.len(), files.len(), ANY).unwrap();
        next.write(path, std::iter::empty(), files.to_vec()).unwrap();
        TimesCache::read(path)
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_known_as_long_as_nothing_about_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let files = files(100);
        let cache = written(&path, &files);
        assert!(files.iter().all(|(state, times)| cache.times(*state) == Some(*times)));
        assert_eq!(cache.times(FileState { inode: 100, ..STATE }), None);
        for other in [
            FileState { size: 701, ..STATE },
            FileState { changed: STATE.changed + 1, ..STATE },
            FileState { modified: 3, ..STATE },
        ] {
            assert_eq!((cache.times(STATE).is_some(), cache.times(other)), (true, None));
        }
        assert_eq!(names(folder.path()), 1, "nothing temporary is left");
    }

    #[test]
    fn of_files_with_one_inode_each_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = |at: u64| (FileState { size: at, ..STATE }, CachedTimes { started_at: at, last_run_at: None });
        let files: Vec<_> = (0..64).map(file).collect();
        let cache = written(&folder.path().join("cache"), &files);
        assert!(files.iter().all(|(state, times)| cache.times(*state) == Some(*times)));
    }

    #[test]
    fn of_a_torn_cache_what_is_whole_is_used_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let files = files(64);
        written(&path, &files);
        let whole = fs::read(&path).unwrap();
        let wrong = |cache: &TimesCache| {
            files.iter().filter(|(state, times)| cache.times(*state).is_some_and(|found| found != *times)).count()
        };
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            assert_eq!(wrong(&TimesCache::read(&path)), 0, "byte {at}");
        }
        for len in (0..whole.len()).step_by(13) {
            fs::write(&path, &whole[..len]).unwrap();
            let cache = TimesCache::read(&path);
            let found = files.iter().filter(|(state, _)| cache.times(*state).is_some()).count();
            assert_eq!((wrong(&cache), found), (0, len.saturating_sub(HEADER.len()) / ENTRY), "{len} bytes");
        }
        // A block that was never written.
        let mut zeros = whole.clone();
        zeros[HEADER.len() + ENTRY..HEADER.len() + 33 * ENTRY].fill(0);
        fs::write(&path, zeros).unwrap();
        assert_eq!(wrong(&TimesCache::read(&path)), 0);
    }

    #[test]
    fn another_version_and_what_is_no_file_have_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        assert!(TimesCache::read(&path).is_empty() && TimesCache::read(folder.path()).is_empty());
        written(&path, &files(64));
        let other = [b"perstack times 2".as_slice(), &fs::read(&path).unwrap()[HEADER.len()..]].concat();
        fs::write(&path, other).unwrap();
        assert!(TimesCache::read(&path).is_empty());
        assert_eq!(TimesCache::read(&path).times(STATE), None);
        assert!(!written(&path, &files(64)).is_empty(), "it is replaced");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_read_and_replaced_as_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("cache"), folder.path().join("elsewhere"));
        written(&elsewhere, &files(64));
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(TimesCache::read(&path).is_empty());
        assert!(!written(&path, &files(70)).is_empty());
        assert!(TimesCache::read(&elsewhere).times(FileState { inode: 69, ..STATE }).is_none());
    }

    #[test]
    fn a_file_that_changed_just_before_it_was_read_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let next = TimesCache::begin_next(&path, MIN_MISSING, MIN_MISSING, COARSEST_TICK).unwrap();
        let begun_at = FileState::of(&next.file.file).unwrap().changed;
        let changed = |before: i64| FileState { changed: begun_at - before, ..STATE };
        assert!(!next.keeps(changed(COARSEST_TICK - 1)) && !next.keeps(changed(-COARSEST_TICK)));
        assert!(next.keeps(changed(COARSEST_TICK)));
        drop(next);
        assert_eq!(names(folder.path()), 0, "one that is given up leaves nothing");
    }

    #[test]
    fn it_is_written_where_much_is_new_and_where_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let is_begun = |path: &Path, missing, all| TimesCache::begin_next(path, missing, all, COARSEST_TICK).is_some();
        assert!(!is_begun(&path, MIN_MISSING - 1, MIN_MISSING) && is_begun(&path, MIN_MISSING, MIN_MISSING));
        assert!(!is_begun(&path, 300, 10_000) && is_begun(&path, 320, 10_000));
        assert!(!is_begun(&folder.path().join("missing/cache"), 100, 100));
        let next = TimesCache::begin_next(&path, 100, 100, COARSEST_TICK).unwrap();
        next.write(&path, files(100).into_iter(), vec![(STATE, TIMES)]).unwrap();
        assert_eq!(
            names(folder.path()),
            0,
            "files that cannot be kept are read again and again, and no reason to write"
        );
    }
}
