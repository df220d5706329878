//! [`JobStore`] and [`RunStore`]: writing of a job that this process holds, and of its Runs. The runtime decides when a
//! fact or checkpoint is written; the durable write of one file is left to `atomic` and `log`.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CheckpointEntry, Layout, LogPosition, LogReader, LogWriter, Store, StoreError, atomic, door, snapshot};
use crate::checkpoint::CheckpointHead;
use crate::fact::Fact;
use crate::id::{JobId, RunId};
use crate::job::Job;
use crate::message::Message;
use crate::setting::RunSetting;

/// A job that this process alone writes to. The lock is released when it and all its [`RunStore`]s are dropped, and by
/// the kernel when the process dies.
pub struct JobStore {
    layout: Layout,
    id: JobId,
    lock: Arc<Lock>,
}

impl JobStore {
    pub(super) fn create(layout: Layout, job: &Job) -> Result<Self, StoreError> {
        create_storage(layout.root())?;
        atomic::create_folder(&layout.job(&job.id))?;
        let store = Self { lock: Lock::take(&layout, &job.id)?, layout, id: job.id.clone() };
        if store.has_begun()? {
            let job_file = store.layout.job_file(&job.id);
            let was_replayed = snapshot::read_versioned::<Job>(&job_file).is_ok_and(|old| old.replayed);
            if !(job.replayed && was_replayed) {
                return Err(StoreError::JobExists { job: job.id.clone() });
            }
            atomic::remove_folder(&store.layout.runs(&job.id))?;
        }
        store.write_job(job)?;
        Ok(store)
    }

    pub(super) fn open(layout: Layout, job: &JobId) -> Result<Self, StoreError> {
        Ok(Self { lock: Lock::take(&layout, job)?, layout, id: job.clone() })
    }

    /// Returns whether the job holds more than a start that was interrupted before its first fact.
    fn has_begun(&self) -> Result<bool, StoreError> {
        let store = self.storage();
        if !store.original_checkpoints(&self.id)?.is_empty() {
            return Ok(true);
        }
        for run in store.run_ids(&self.id)? {
            let first = LogReader::open(&self.layout.log(&self.id, &run)).and_then(|mut log| log.next_fact());
            match first {
                Ok(None) => {}
                Err(error) if error.is_not_found() => {}
                // A log that cannot be read may hold work and must not be overwritten.
                Ok(Some(_)) | Err(_) => return Ok(true),
            }
            // A Run that was imported has a checkpoint and no fact.
            if !store.run_checkpoints(&self.id, &run)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The storage that the job is in, to read from.
    pub fn storage(&self) -> Store {
        Store { layout: self.layout.clone() }
    }

    /// Replaces `job.json`. On return its contents are durable; the name of a new job's folder becomes durable with the
    /// first [`RunStore::sync`].
    ///
    /// # Errors
    /// The system's error.
    pub fn write_job(&self, job: &Job) -> Result<(), StoreError> {
        atomic::write_json(&self.layout.job_file(&self.id), job)
    }

    /// Starts a Run: its folder, `run-setting.json` and an empty log. Leftovers of an earlier attempt that recorded no
    /// fact are reused. Durable with the first [`RunStore::sync`].
    ///
    /// # Errors
    /// [`StoreError::RunExists`] when the Run's log holds a fact, or the system's error.
    pub fn create_run(&self, setting: &RunSetting) -> Result<RunStore, StoreError> {
        let run = &setting.run_id;
        atomic::create_folder(&self.layout.run(&self.id, run))?;
        let log = LogWriter::open(&self.layout.log(&self.id, run))?;
        if log.position().facts > 0 {
            return Err(StoreError::RunExists { job: self.id.clone(), run: run.clone() });
        }
        let store = self.run_store(run, log);
        store.write_setting(setting)?;
        Ok(store)
    }

    /// Opens a Run to continue it; a torn last line of its log is cut off.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn open_run(&self, run: &RunId) -> Result<RunStore, StoreError> {
        let path = self.layout.log(&self.id, run);
        if !path.exists() {
            let what = format!("run {run} of job {} has no log", self.id);
            return Err(StoreError::NotFound { what, suggestion: None });
        }
        Ok(self.run_store(run, LogWriter::open(&path)?))
    }

    fn run_store(&self, run: &RunId, log: LogWriter) -> RunStore {
        RunStore {
            layout: self.layout.clone(),
            job: self.id.clone(),
            run: run.clone(),
            log,
            folders_synced: false,
            _lock: Arc::clone(&self.lock),
        }
    }
}

/// A Run that is being written. All calls block until the disk is done.
pub struct RunStore {
    layout: Layout,
    job: JobId,
    run: RunId,
    log: LogWriter,
    folders_synced: bool,
    /// Held, so that the job stays locked as long as one of its Runs can write.
    _lock: Arc<Lock>,
}

impl RunStore {
    /// The Run's id.
    pub fn id(&self) -> &RunId {
        &self.run
    }

    /// Appends a fact to the log: it survives this process from here on, and a power cut after [`RunStore::sync`].
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused.
    pub fn append(&mut self, fact: &Fact) -> Result<(), StoreError> {
        self.log.append(fact)
    }

    /// Waits until all appended facts are durable, and the Run's folder with them.
    ///
    /// # Errors
    /// The system's error; after one of the log, further facts are refused.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.log.sync()?;
        if !self.folders_synced {
            // Any of these folders may be new, and a name is durable only when all names above it are. Once is enough:
            // a Run's folder is not renamed, and files within it sync the folder themselves.
            let run = self.layout.run(&self.job, &self.run);
            for folder in run.ancestors().take_while(|folder| folder.starts_with(self.layout.root())) {
                atomic::sync_folder(folder)?;
            }
            self.folders_synced = true;
        }
        Ok(())
    }

    /// The end of the log.
    pub fn position(&self) -> LogPosition {
        self.log.position()
    }

    /// Writes the checkpoint of a Run that goes on, which refers to the log as it is now. Syncs the log first: after a
    /// power cut a checkpoint must not refer to facts that were lost.
    ///
    /// # Errors
    /// The system's error.
    pub fn write_checkpoint_mid(&mut self, head: &CheckpointHead) -> Result<CheckpointEntry, StoreError> {
        self.sync()?;
        let entry = self.entry(head);
        snapshot::write_mid_run(&entry.path, head, self.log.position())?;
        Ok(entry)
    }

    /// Writes the checkpoint that the Run stops with: messages and setting included, so that the file can be moved
    /// elsewhere. Syncs the log first.
    ///
    /// # Errors
    /// The system's error.
    pub fn write_checkpoint_final(
        &mut self,
        head: &CheckpointHead,
        messages: &[Message],
        setting: &RunSetting,
    ) -> Result<CheckpointEntry, StoreError> {
        self.sync()?;
        let entry = self.entry(head);
        snapshot::write_final(&entry.path, head, messages, setting)?;
        Ok(entry)
    }

    fn entry(&self, head: &CheckpointHead) -> CheckpointEntry {
        CheckpointEntry {
            job: self.job.clone(),
            run: Some(self.run.clone()),
            step: head.step_number,
            id: head.id.clone(),
            path: self.layout.checkpoint(&self.job, &self.run, head.step_number, &head.id),
        }
    }

    /// All facts of the log, from the first.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn read_facts(&self) -> Result<Vec<Fact>, StoreError> {
        LogReader::open(&self.layout.log(&self.job, &self.run))?.read_all()
    }

    /// The setting that the Run was started with.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn setting(&self) -> Result<RunSetting, StoreError> {
        snapshot::read_versioned(&self.layout.setting(&self.job, &self.run))
    }

    /// Replaces `run-setting.json`; durable on return.
    ///
    /// # Errors
    /// The system's error.
    pub fn write_setting(&self, setting: &RunSetting) -> Result<(), StoreError> {
        atomic::write_json(&self.layout.setting(&self.job, &self.run), setting)
    }
}

/// Creates the storage folder if it is missing, and makes its name durable.
fn create_storage(root: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = root.ancestors().take_while(|folder| !folder.exists()).collect();
    atomic::create_folder(root)?;
    if missing.is_empty() {
        // A process that died may have created it without syncing its name.
        return root.parent().map_or(Ok(()), |parent| match atomic::sync_folder(parent) {
            // This process could not have created the folder in a parent that it may not read.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        });
    }
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(atomic::sync_folder)
}

/// The kernel's exclusive lock on a job's `lock` file, which holds the owner's process id for people and messages. The
/// file stays when the lock is released: removing it would let two processes lock two files of one name.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // No process id is left behind, so that two replays leave the same bytes.
        let _ = door::truncate(&self.file, &self.path, 0);
        // Unlocked explicitly: a child between fork and exec has a copy of the descriptor, so closing ours alone would
        // keep the lock. When this fails, closing the last copy still releases it.
        let _ = self.file.unlock();
    }
}

impl Lock {
    fn take(layout: &Layout, job: &JobId) -> Result<Arc<Self>, StoreError> {
        let path = layout.lock(job);
        let mut file = door::open_to_lock(&path).map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { job: job.clone(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
        // The job may have been removed in between: a lock in a folder that is gone keeps nobody out.
        atomic::check_place(&file, &path).map_err(|error| match error {
            StoreError::Displaced { .. } => {
                StoreError::NotFound { what: format!("job {job} was removed just now"), suggestion: None }
            }
            other => other,
        })?;
        write_pid(&mut file, &path)?;
        Ok(Arc::new(Self { file, path }))
    }
}

fn write_pid(file: &mut File, path: &Path) -> Result<(), StoreError> {
    door::truncate(file, path, 0)
        .and_then(|()| file.rewind())
        .and_then(|()| door::write(file, path, format!("{}\n", std::process::id()).as_bytes()))
        .map_err(StoreError::io("write to", path))
}

/// `None` when the owner has not written it yet, or when the system does not let a locked file be read.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // A process id has at most ten digits.
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
