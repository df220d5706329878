//! [`JobStore`] and [`RunStore`]: writing of a job that this process holds, and of its Runs. The runtime decides when a
//! fact or checkpoint is written; the durable write of one file is left to `atomic` and `log`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::lock::StoreLock;
use super::log::LogFlush;
use super::remote::{LeaseWatch, RemoteJob, RemoteStorage};
use super::unsynced::{SharedUnsynced, Unsynced};
use super::{
    Chain, CheckpointEntry, Layout, LogPosition, LogWriter, Store, StoreError, StoredCheckpoint, atomic, seal, snapshot,
};
use crate::checkpoint::{Checkpoint, CheckpointHead};
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
    held: Arc<HeldJob>,
    unsynced: SharedUnsynced,
}

/// The hold on a job that keeps others from it.
struct HeldJob {
    /// In an object store, from other machines. Let go of before the lock.
    remote: Option<Arc<RemoteJob>>,
    _lock: StoreLock,
}

impl JobStore {
    pub(super) fn create(layout: Layout, job: &Job, remote: Option<&RemoteStorage>) -> Result<Self, StoreError> {
        let mut unsynced = Unsynced::default();
        create_storage(layout.root(), &mut unsynced)?;
        atomic::create_folder(&layout.job(&job.id))?;
        let store = Self::new(layout, &job.id, unsynced, remote)?;
        if store.storage().is_replaced(job)? {
            if store.remote().is_some() {
                // Nothing is ever removed there.
                return Err(StoreError::JobExists { job: job.id.clone() });
            }
            atomic::remove_folder(&store.layout.runs(&job.id))?;
        }
        store.begin_file(&store.layout.job_file(&job.id), job)?;
        Ok(store)
    }

    pub(super) fn open(layout: Layout, job: &JobId, remote: Option<&RemoteStorage>) -> Result<Self, StoreError> {
        Self::new(layout, job, Unsynced::default(), remote)
    }

    /// Takes the job's lock. Any of the folders may be new, also of a process that died before it synced their names.
    fn new(
        layout: Layout,
        job: &JobId,
        mut unsynced: Unsynced,
        remote: Option<&RemoteStorage>,
    ) -> Result<Self, StoreError> {
        let lock = StoreLock::take(&layout, job)?;
        let remote = remote.map(|remote| remote.own(job)).transpose()?;
        for folder in [layout.job(job), layout.jobs(), layout.root().to_owned()] {
            unsynced.add_folder(&folder);
        }
        // It could not have created the storage in a folder that it may not read.
        if let Some(parent) = layout.root().parent() {
            unsynced.add_folder_around(parent);
        }
        let held = Arc::new(HeldJob { remote, _lock: lock });
        Ok(Self { layout, id: job.clone(), held, unsynced: SharedUnsynced::new(unsynced) })
    }

    /// The job in the object store, if it is in one.
    pub(super) fn remote(&self) -> Option<&Arc<RemoteJob>> {
        self.held.remote.as_ref()
    }

    /// Has `callback` called when the job is about to be another process's, as only one in an object store can be: what was
    /// started must end then.
    pub fn when_lost(&self, callback: impl FnOnce() + Send + 'static) {
        if let Some(remote) = self.remote() {
            remote.when_lost(callback);
        }
    }

    /// Returns whether it was about to be another process's, so that all work on it had to end.
    pub fn is_given_up(&self) -> bool {
        self.remote().is_some_and(|remote| remote.is_given_up())
    }

    /// One more with every process that takes the job in an object store; 0 in a folder.
    pub fn epoch(&self) -> u64 {
        self.remote().map_or(0, |remote| remote.epoch())
    }

    /// Checks that the job is this process's, and returns a look at whether it still is. In a folder it is for as long as it
    /// is held, and there is nothing to look at.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], or the object store cannot be asked.
    pub fn check_owned(&self) -> Result<Option<LeaseWatch>, StoreError> {
        let check = |remote: &Arc<RemoteJob>| remote.check().map(|()| remote.watch());
        self.remote().map(check).transpose()
    }

    /// Writes a file that a job or a Run begins with. Durable with the next flush of one of the job's Runs.
    fn begin_file<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), StoreError> {
        let bytes = seal::sealed(path, value)?;
        let file = atomic::write_unsynced(path, &bytes)?;
        self.unsynced.note(|unsynced| unsynced.add_file(file, path));
        if let Some(remote) = self.remote() {
            remote.note(path, bytes);
        }
        Ok(())
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The storage that the job is in, to read from.
    pub fn storage(&self) -> Store {
        Store { layout: self.layout.clone(), remote: None }
    }

    /// Replaces `job.json`; durable on return.
    ///
    /// # Errors
    /// The system's error.
    pub fn write_job(&self, job: &Job) -> Result<(), StoreError> {
        let path = self.layout.job_file(&self.id);
        replace(self.remote(), &path, seal::sealed(&path, job)?)
    }

    /// Makes the checkpoint of a Run that stopped, and is to be continued from elsewhere too, hold everything; does
    /// nothing when it does. Durable on return.
    ///
    /// # Errors
    /// The system's error.
    pub fn complete_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let Checkpoint { head, messages } = checkpoint;
        let path = self.layout.checkpoint(&self.id, &head.run_id, head.step_number, &head.id);
        let stored = snapshot::read_checkpoint(&path).ok();
        if stored.as_ref().is_some_and(StoredCheckpoint::is_whole) {
            return Ok(());
        }
        let setting = self.storage().setting(&self.id, &head.run_id).ok();
        let log = stored.and_then(|stored| stored.position().cloned());
        replace(self.remote(), &path, snapshot::whole(&path, head, messages, log, setting.as_ref())?)
    }

    /// Starts a Run: its folder, `run-setting.json` and an empty log. Leftovers of an earlier attempt that recorded no
    /// fact are reused. Durable with the first flush.
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
        self.begin_file(&self.layout.setting(&self.id, run), setting)?;
        Ok(self.run_store(run, log))
    }

    /// Opens a Run to continue it.
    #[cfg(test)]
    pub(super) fn open_run(&self, run: &RunId) -> Result<RunStore, StoreError> {
        Ok(self.run_store(run, LogWriter::open(&self.existing_log(run)?)?))
    }

    /// Opens a Run to continue it. This process has read its log up to `end`, its last whole line, since it holds the job;
    /// a torn line behind it is cut off.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`] or the system's error.
    pub fn open_run_at(&self, run: &RunId, end: Chain) -> Result<RunStore, StoreError> {
        Ok(self.run_store(run, LogWriter::open_at(&self.existing_log(run)?, end)?))
    }

    fn existing_log(&self, run: &RunId) -> Result<PathBuf, StoreError> {
        let path = self.layout.log(&self.id, run);
        if path.exists() {
            return Ok(path);
        }
        let what = format!("run {run} of job {} has no log", self.id);
        Err(StoreError::NotFound { what, suggestion: None })
    }

    fn run_store(&self, run: &RunId, log: LogWriter) -> RunStore {
        self.unsynced.note(|unsynced| {
            unsynced.add_folder(&self.layout.run(&self.id, run));
            unsynced.add_folder(&self.layout.runs(&self.id));
        });
        RunStore {
            layout: self.layout.clone(),
            job: self.id.clone(),
            run: run.clone(),
            log,
            unsynced: self.unsynced.clone(),
            held: Arc::clone(&self.held),
        }
    }
}

/// Replaces a file of a job, also in the object store if the job is in one; durable on return.
fn replace(remote: Option<&Arc<RemoteJob>>, path: &Path, bytes: Vec<u8>) -> Result<(), StoreError> {
    atomic::write(path, &bytes)?;
    let Some(remote) = remote else { return Ok(()) };
    remote.note(path, bytes);
    remote.commit()
}

/// A Run that is being written.
pub struct RunStore {
    layout: Layout,
    job: JobId,
    run: RunId,
    log: LogWriter,
    unsynced: SharedUnsynced,
    /// Held, so that the job stays locked as long as one of its Runs can write.
    held: Arc<HeldJob>,
}

/// A wait for the disk, made ready by a Run and performed by any thread.
pub struct Flush {
    log: LogFlush,
    unsynced: SharedUnsynced,
    /// A checkpoint to be written behind it.
    checkpoint: Option<(PathBuf, Vec<u8>)>,
    /// The job in the object store, which all of it is handed over to then.
    remote: Option<Arc<RemoteJob>>,
}

impl Flush {
    /// Waits until all is durable. What Runs of the job have in common, the files and folders that it and they began with,
    /// is synced once for all that wait for it.
    ///
    /// # Errors
    /// The system's error; after one of the log, further facts are refused.
    pub fn perform(self) -> Result<(), StoreError> {
        self.unsynced.sync()?;
        self.log.flush()?;
        if let Some((path, bytes)) = &self.checkpoint {
            atomic::write(path, bytes)?;
        }
        let Some(remote) = self.remote else { return Ok(()) };
        remote.note_log(self.log.path(), self.log.bytes());
        if let Some((path, bytes)) = self.checkpoint {
            remote.note(&path, bytes);
        }
        remote.commit()
    }
}

impl RunStore {
    /// The Run's id.
    pub fn id(&self) -> &RunId {
        &self.run
    }

    /// Returns whether a flush keeps nobody waiting for long: no other Run of the job is being written by this process, and
    /// there is only a disk to wait for.
    pub fn is_alone(&self) -> bool {
        // One is the job's.
        self.held.remote.is_none() && Arc::strong_count(&self.held) <= 2
    }

    /// Appends a fact to the log: it survives this process from here on, and a power cut after the next flush.
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused.
    pub fn append(&mut self, fact: &Fact) -> Result<(), StoreError> {
        self.log.append(fact)
    }

    /// The flush after which all facts appended so far are durable, and the Run's folder and the job's files with them.
    pub fn flush(&self) -> Flush {
        Flush {
            log: self.log.flush_point(),
            unsynced: self.unsynced.clone(),
            checkpoint: None,
            remote: self.held.remote.clone(),
        }
    }

    /// The error of a flush whose thread ended without a result.
    pub fn lost_flush(&self, cause: std::io::Error) -> StoreError {
        StoreError::io("sync", &self.layout.log(&self.job, &self.run))(cause)
    }

    /// The end of the log.
    pub fn position(&self) -> LogPosition {
        self.log.position()
    }

    /// Writes a checkpoint that refers to the log up to `position`. It holds nothing that the log does not imply, and is
    /// not synced: readers make one that is missing or torn again from the log. The log is flushed first where a power
    /// cut could leave the checkpoint and take facts that it refers to.
    ///
    /// # Errors
    /// The system's error.
    pub fn write_checkpoint_by_log(
        &self,
        head: &CheckpointHead,
        position: LogPosition,
    ) -> Result<CheckpointEntry, StoreError> {
        if self.log.may_lose(&position) {
            self.flush().perform()?;
        }
        let entry = self.entry(head);
        atomic::write_unsynced(&entry.path, &snapshot::by_log(&entry.path, head, position)?)?;
        Ok(entry)
    }

    /// The flush that also writes the checkpoint that the Run stops with: messages and setting included, so that the
    /// file can be moved elsewhere, and the end of the log, so that a log which was cut is seen.
    ///
    /// # Errors
    /// A value without a JSON form.
    pub fn final_checkpoint(
        &self,
        head: &CheckpointHead,
        messages: &[Message],
        setting: &RunSetting,
    ) -> Result<(Flush, CheckpointEntry), StoreError> {
        let entry = self.entry(head);
        let bytes = snapshot::whole(&entry.path, head, messages, Some(self.position()), Some(setting))?;
        let checkpoint = Some((entry.path.clone(), bytes));
        Ok((Flush { checkpoint, ..self.flush() }, entry))
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
        let path = self.layout.setting(&self.job, &self.run);
        replace(self.held.remote.as_ref(), &path, seal::sealed(&path, setting)?)
    }
}

/// Creates the storage folder if it is missing.
fn create_storage(root: &Path, unsynced: &mut Unsynced) -> Result<(), StoreError> {
    let missing: Vec<&Path> = root.ancestors().take_while(|folder| !folder.exists()).collect();
    atomic::create_folder(root)?;
    missing.iter().filter_map(|folder| folder.parent()).for_each(|parent| unsynced.add_folder(parent));
    Ok(())
}
