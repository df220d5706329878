//! [`Store`]: jobs, their Runs, logs and checkpoints below one storage folder.
//!
//! ```text
//! jobs/{job}/job.json                      a Job
//! jobs/.{job}.removed/                     a job whose removal was cut short
//! jobs/{job}/lock                          held by the process that works on the job
//! jobs/{job}/runs/{run}/run-setting.json   the setting that the Run was started with
//! jobs/{job}/runs/{run}/log.jsonl          a Fact a line, from which everything else can be rebuilt
//! jobs/{job}/runs/{run}/checkpoint-{step}-{id}.json
//! jobs/{job}/snapshots/{id}.pack           states of the workspace, by content
//! jobs/{job}/runs/{run}/outputs/           tools' outputs that were too long for the model; written by the skills
//! jobs/{job}/checkpoints/{id}.json         the original's checkpoints, read only
//! jobs/{job}/runs/{run}/event-{at}-{step}-{type}.json   the original's events, read only
//! accounts/{account}.json, .lock           an account that jobs share
//! batches/{batch}.json, .lock              many inputs, a job for each
//! job-times.cache                          what lists are ordered by, once more; may be removed at any time
//! ```
//!
//! A storage in an object store has such a folder on each machine, as a copy of it to work in ([`remote`]).
//!
//! Writing takes the job's lock ([`JobStore`]); reading ([`Store`]) takes none and may happen beside a writer. Facts
//! are stored and read, never interpreted: their meaning is left to the machine, the time of writing to the runtime.

mod account;
mod atomic;
mod batch;
mod begun;
mod chain;
mod disk;
mod ends;
mod error;
#[cfg(feature = "fault-injection")]
mod fault;
mod file_state;
mod find;
mod holder;
mod job;
mod layout;
mod list;
mod lock;
mod log;
mod log_reader;
mod name;
mod no_links;
mod objects;
mod order;
mod original;
pub mod remote;
mod remove;
mod seal;
mod snapshot;
mod times_cache;
mod unsynced;

/// The functions through which `store/` changes the disk.
#[cfg(not(feature = "fault-injection"))]
use disk as door;
#[cfg(feature = "fault-injection")]
use fault as door;

pub use account::{AccountRecord, OpenJob};
pub use batch::{BatchRecord, BatchStore};
pub use chain::{Chain, LogPosition};
pub use error::StoreError;
#[cfg(feature = "fault-injection")]
pub use fault::mark;
pub use find::Found;
pub use holder::Holder;
pub use job::{Flush, JobStore, RunStore};
pub use layout::Layout;
pub use list::{CheckpointEntry, RunEntry};
pub use log::LogWriter;
pub use log_reader::{LogEntry, LogReader};
pub use name::{ShortIds, named, short_id};
pub use objects::{ObjectStore, PackWriter};
pub use order::JobTimes;
pub use original::OriginalEvent;
pub use seal::Seal;
#[cfg(test)]
pub(crate) use snapshot::WrittenCheckpoint;
pub use snapshot::{CheckpointBody, StoredCheckpoint, expected_bytes, is_cut_short};

use std::path::Path;

#[cfg(test)]
use crate::fact::Fact;
use crate::id::{AccountId, JobId, RunId};
use crate::job::Job;
use crate::setting::RunSetting;
use remote::{OwnerRecord, RemoteAccount, RemoteStorage};

/// One storage folder; of a storage in an object store, its working copy.
#[derive(Debug, Clone)]
pub struct Store {
    layout: Layout,
    /// The object store that counts in the folder's place. Reading is the folder's, which is brought up before.
    remote: Option<RemoteStorage>,
}

impl Store {
    /// The storage in `root`, the folder that holds `jobs/`. It is created with the first job. `root` itself may be
    /// reached through links; nothing below it may be one.
    pub fn new(root: &Path) -> Self {
        Self { layout: Layout::new(&no_links::real_root(root)), remote: None }
    }

    /// The storage in `root`, which may be the working copy of `remote`. Jobs in any other folder stay in that alone.
    pub fn at(root: &Path, remote: Option<&RemoteStorage>) -> Self {
        let store = Self::new(root);
        let remote = remote.filter(|remote| remote.folder() == store.layout.root()).cloned();
        Self { remote, ..store }
    }

    /// Brings the working copy of an object store up to read what `name` names, or all; does nothing for a storage that is a
    /// folder.
    ///
    /// # Errors
    /// As [`RemoteStorage::fetch`].
    pub fn fetch(&self, name: Option<&str>) -> Result<(), StoreError> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.fetch(name))
    }

    /// The same for one job, which need not be there.
    ///
    /// # Errors
    /// As [`RemoteStorage::fetch`].
    pub fn fetch_job(&self, job: &JobId) -> Result<(), StoreError> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.fetch_job(job))
    }

    /// An account that jobs share, if the storage is in an object store.
    pub fn remote_account(&self, account: &AccountId) -> Option<RemoteAccount> {
        self.remote.as_ref().map(|remote| remote.account(account))
    }

    /// The owners of these jobs as an object store has them; none for a storage that is a folder.
    ///
    /// # Errors
    /// As [`RemoteStorage::owners`].
    pub fn owners(&self, jobs: Vec<JobId>) -> Result<Vec<(JobId, Option<OwnerRecord>)>, StoreError> {
        self.remote.as_ref().map_or(Ok(Vec::new()), |remote| remote.owners(jobs))
    }

    /// Returns true if the folder is the working copy of an object store.
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// The names of files and folders.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Creates a job and takes its lock. A job that came from a replay may be replaced by another replay.
    ///
    /// # Errors
    /// [`StoreError::JobExists`], [`StoreError::Locked`] or the system's error.
    pub fn create_job(&self, job: &Job) -> Result<JobStore, StoreError> {
        if self.is_remote() {
            // Before its owner is waited for: it is not taken from that one.
            self.fetch_job(&job.id)?;
            if self.is_replaced(job)? {
                return Err(StoreError::JobExists { job: job.id.clone() });
            }
        }
        JobStore::create(self.layout.clone(), job, self.remote.as_ref())
    }

    /// Takes the lock of a job, to continue it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Locked`] or the system's error.
    pub fn open_job(&self, job: &JobId) -> Result<JobStore, StoreError> {
        if !self.layout.job(job).exists() {
            self.fetch_job(job)?;
        }
        if !atomic::is_folder(&self.layout.job(job))? {
            return Err(self.not_found(format!("there is no job {job} in {}", self.layout.root().display())));
        }
        JobStore::open(self.layout.clone(), job, self.remote.as_ref())
    }

    /// All facts of a Run's log.
    #[cfg(test)]
    fn read_facts(&self, job: &JobId, run: &RunId) -> Result<Vec<Fact>, StoreError> {
        LogReader::open(&self.layout.log(job, run))?.read_all()
    }

    /// A Run's log, opened for reading.
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn open_log(&self, job: &JobId, run: &RunId) -> Result<LogReader, StoreError> {
        LogReader::open(&self.layout.log(job, run))
    }

    /// The setting that a Run was started with.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn setting(&self, job: &JobId, run: &RunId) -> Result<RunSetting, StoreError> {
        snapshot::read_versioned(&self.layout.setting(job, run))
    }

    /// The bytes of a file in this storage.
    ///
    /// # Errors
    /// The system's error.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        atomic::read(path)
    }

    /// Reads a checkpoint file, in this storage or anywhere else.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], which names the newest good checkpoint of the same job; [`StoreError::Newer`]; the
    /// system's error.
    pub fn read_checkpoint(&self, path: &Path) -> Result<StoredCheckpoint, StoreError> {
        let read = if path.starts_with(self.layout.root()) {
            snapshot::read_checkpoint(path)
        } else {
            snapshot::read_checkpoint_elsewhere(path)
        };
        read.map_err(|error| match error {
            StoreError::Damaged { path, line, what, newest: None } => {
                let newest = self.newest_good_beside(&path);
                StoreError::Damaged { path, line, what, newest }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests;
