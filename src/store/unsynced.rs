//! [`Unsynced`]: the files and folders of a job whose data or names are not durable yet. `job` notes them as it writes;
//! the first flush that follows syncs them. Runs that are at work at the same time share one ([`SharedUnsynced`]).
//!
//! A job and its Runs begin with files on which nothing depends until something is stored behind them: as long as no
//! answer is on disk, a power cut may take them, and the job has not begun. So they share the flush of the first answer
//! in place of one each before the first request.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{StoreError, atomic};

/// The files and folders of a job that all its Runs share. One sync serves all that wait for it, and a Run that begins
/// meanwhile does not wait.
#[derive(Clone)]
pub struct SharedUnsynced(Arc<Shared>);

struct Shared {
    /// Since the sync that is under way began, or that was last.
    noted: Mutex<Unsynced>,
    /// Of the sync that is under way, which holds it.
    syncing: Mutex<Unsynced>,
}

impl SharedUnsynced {
    /// These are not durable.
    pub fn new(unsynced: Unsynced) -> Self {
        Self(Arc::new(Shared { noted: Mutex::new(unsynced), syncing: Mutex::default() }))
    }

    /// Notes what is not durable either.
    pub fn note(&self, note: impl FnOnce(&mut Unsynced)) {
        note(&mut lock(&self.0.noted));
    }

    /// Waits until all that was noted before is durable.
    ///
    /// # Errors
    /// As [`Unsynced::sync`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let mut syncing = lock(&self.0.syncing);
        let noted = std::mem::take(&mut *lock(&self.0.noted));
        syncing.take_in(noted);
        syncing.sync()
    }
}

fn lock(unsynced: &Mutex<Unsynced>) -> MutexGuard<'_, Unsynced> {
    // Behind a panic it is as it was: each entry leaves it once it is synced.
    unsynced.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files and folders that are not durable.
#[derive(Default)]
pub struct Unsynced {
    files: Vec<(File, PathBuf)>,
    folders: BTreeSet<PathBuf>,
    /// A folder that need not be synced by a process that may not read it, and so has made nothing in it.
    around: Option<PathBuf>,
    /// A sync failed, so that the state of the disk is unknown: of what, and the system's error.
    failed: Option<(PathBuf, io::Error)>,
}

impl Unsynced {
    /// The data of `file` at `path`, and its name.
    pub fn add_file(&mut self, file: File, path: &Path) {
        self.files.push((file, path.to_owned()));
        self.folders.extend(path.parent().map(Path::to_owned));
    }

    /// The names in `folder`.
    pub fn add_folder(&mut self, folder: &Path) {
        self.folders.insert(folder.to_owned());
    }

    /// The names in `folder`, if this process may read it.
    pub fn add_folder_around(&mut self, folder: &Path) {
        self.around = Some(folder.to_owned());
    }

    fn take_in(&mut self, other: Self) {
        self.files.extend(other.files);
        self.folders.extend(other.folders);
        self.around = other.around.or(self.around.take());
    }

    /// Waits until all of it is durable.
    ///
    /// # Errors
    /// The system's error; after one, every further call returns it too: the kernel may report success on the next sync
    /// without having written the data, and the Run that meets the failure second may be the first to report it.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if let Some((path, error)) = &self.failed {
            return Err(StoreError::Io { action: "sync", path: path.clone(), source: copy_of(error) });
        }
        while let Some((file, path)) = self.files.pop() {
            self.note(&path, atomic::sync(&file, &path))?;
        }
        // From within to without, as the names further out are longer there.
        while let Some(folder) = self.folders.pop_last() {
            self.note(&folder, atomic::sync_folder(&folder))?;
            self.around.take_if(|around| *around == folder);
        }
        match self.around.take().map(|folder| (atomic::sync_folder(&folder), folder)) {
            Some((Err(StoreError::Io { source, .. }), _)) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Some((synced, folder)) => self.note(&folder, synced),
            None => Ok(()),
        }
    }

    fn note(&mut self, path: &Path, synced: Result<(), StoreError>) -> Result<(), StoreError> {
        if let Err(StoreError::Io { source, .. }) = &synced {
            self.failed = Some((path.to_owned(), copy_of(source)));
        }
        synced
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_sync_that_is_under_way_serves_all_and_keeps_nobody_from_noting() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let shared = SharedUnsynced::new(Unsynced::default());
        // As one that is under way holds it.
        let syncing = shared.0.syncing.lock().unwrap();
        shared.note(|unsynced| unsynced.add_folder(&gone));
        let (sender, synced) = channel();
        thread::scope(|scope| {
            for _ in 0..2 {
                let (shared, sender) = (&shared, sender.clone());
                scope.spawn(move || sender.send(shared.sync().map_err(|error| error.is_not_found())).unwrap());
            }
            assert!(synced.try_recv().is_err(), "what was noted is not durable yet");
            drop(syncing);
        });
        assert_eq!(synced.try_iter().collect::<Vec<_>>(), [Err(true), Err(true)], "each knows of the failure");
    }

    #[test]
    fn after_a_failed_sync_nothing_counts_as_durable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.json");
        fs::write(&path, "{}").unwrap();
        let mut unsynced = Unsynced::default();
        unsynced.add_file(File::open(&path).unwrap(), &path);
        unsynced.sync().unwrap();
        unsynced.add_folder(&folder.path().join("gone"));
        for _ in 0..2 {
            let error = unsynced.sync().unwrap_err();
            assert!(error.is_not_found() && error.to_string().starts_with("cannot sync "), "{error}");
        }
    }
}
