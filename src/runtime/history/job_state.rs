//! [`JobIndex`]: the jobs of a storage in the order of lists, and [`JobEntry`]: a job as a list shows it, with its
//! [`JobState`]: the state by its files, and by whether a process works on it.

use std::path::Path;

use crate::id::JobId;
use crate::job::{Job, JobStatus};
use crate::runtime::error::RunError;
use crate::runtime::history::JobLog;
use crate::runtime::job::spending::JobSpending;
use crate::store::{Holder, JobTimes, Store, StoreError, short_id};

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// A process works on it.
    Running(Holder),
    /// The process that worked on it is gone; it can be resumed.
    Interrupted,
    /// It has stopped.
    Stopped(JobStatus),
    /// Its files cannot be read.
    Unknown,
}

/// A job as a list shows it.
#[derive(Debug)]
pub struct JobEntry {
    pub id: JobId,
    /// As its file has it, or, without a good one, as follows from its Runs. Steps, usage and cost are those of all its
    /// Runs, delegates included, as its budgets count them; while it is not over, so far.
    pub job: Result<Job, StoreError>,
    pub state: JobState,
}

/// The jobs of a storage, the last started first; those of which nothing can be read are at the end. Each is read when
/// it is asked for.
pub struct JobIndex {
    store: Store,
    times: Vec<JobTimes>,
}

impl JobIndex {
    /// Reads the order of the jobs.
    ///
    /// # Errors
    /// The system's error when the storage folder cannot be read; one that does not exist holds no jobs.
    pub fn read(storage: &Path) -> Result<Self, RunError> {
        let store = Store::new(storage);
        Ok(Self { times: store.job_times()?, store })
    }

    /// The jobs, in this order.
    pub fn jobs(&self) -> &[JobTimes] {
        &self.times
    }

    /// One of the jobs, as it is now.
    pub fn entry(&self, id: &JobId) -> JobEntry {
        JobEntry::read(&self.store, id.clone())
    }

    /// Opens the record of one of the jobs, without a look at the others: its short id is the whole one.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(&self, id: &JobId) -> Result<JobLog, RunError> {
        JobLog::open(self.store.clone(), id.clone(), id.as_str().to_owned())
    }

    /// The record of the job that was worked on last; `None` when there are no jobs.
    ///
    /// # Errors
    /// The system's error.
    pub fn open_latest(&self) -> Result<Option<JobLog>, RunError> {
        let Some(id) = self.store.by_work(&self.times)?.into_iter().next() else { return Ok(None) };
        let short_id = short_id(id.as_str(), self.times.iter().map(|times| times.id.as_str())).to_owned();
        JobLog::open(self.store.clone(), id, short_id).map(Some)
    }
}

impl JobEntry {
    pub(super) fn read(store: &Store, id: JobId) -> Self {
        let (mut job, state) = state_of(store, &id);
        if let Ok(job) = &mut job {
            count_whole(store, job);
        }
        Self { id, job, state }
    }
}

/// A job as its file has it, and its state.
pub(super) fn state_of(store: &Store, id: &JobId) -> (Result<Job, StoreError>, JobState) {
    let mut holder = store.holder(id);
    let mut job = store.job(id);
    if holder.is_none() && is_running(&job) {
        // A process may have begun, or ended, between the two reads.
        holder = store.holder(id);
        job = store.job(id);
    }
    let state = match (&job, holder) {
        (_, Some(holder)) => JobState::Running(holder),
        (Ok(job), None) if job.status == JobStatus::Running => JobState::Interrupted,
        (Ok(job), None) => JobState::Stopped(job.status),
        (Err(_), None) => JobState::Unknown,
    };
    (job, state)
}

fn is_running(job: &Result<Job, StoreError>) -> bool {
    job.as_ref().is_ok_and(|job| job.status == JobStatus::Running)
}

/// Sets the counters of a job to those of all its Runs: its file is written only when it begins and when it ends, and
/// counts the coordinator's steps. Of the original's jobs, which keep no account, the file has all there is.
fn count_whole(store: &Store, job: &mut Job) {
    if job.format_version == 0 && job.status != JobStatus::Running {
        return;
    }
    if let Ok(JobSpending { spent, usage, spend }) = JobSpending::read(store, &job.id)
        && spent.steps > 0
    {
        (job.total_steps, job.usage, job.spend) = (spent.steps, usage, spend);
    }
}
