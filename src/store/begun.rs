//! [`Store::check_new`] and [`Store::check_unheld`]: whether a job may begin, or go on, by what is in its folder and by who
//! works on it. Writing looks with the job's lock in hand; a plan, without.

use super::{LogReader, Store, StoreError, snapshot};
use crate::id::JobId;
use crate::job::Job;

impl Store {
    /// Checks that no process works on a job. Takes no lock, and leaves none behind.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub fn check_unheld(&self, job: &JobId) -> Result<(), StoreError> {
        match self.holder(job) {
            Some(holder) => Err(StoreError::Locked { job: job.clone(), pid: holder.pid }),
            None => Ok(()),
        }
    }

    /// Checks that [`Store::create_job`] could create `job`, and creates nothing.
    ///
    /// # Errors
    /// [`StoreError::JobExists`], [`StoreError::Locked`] or the system's error.
    pub fn check_new(&self, job: &Job) -> Result<(), StoreError> {
        self.fetch_job(&job.id)?;
        self.check_unheld(&job.id)?;
        self.is_replaced(job).map(|_| ())
    }

    /// Returns whether `job` takes the place of a job that came from a replay, as it does itself.
    ///
    /// # Errors
    /// [`StoreError::JobExists`] for any other that has begun, or the system's error.
    pub(super) fn is_replaced(&self, job: &Job) -> Result<bool, StoreError> {
        if !self.has_begun(&job.id)? {
            return Ok(false);
        }
        let was_replayed =
            || snapshot::read_versioned::<Job>(&self.layout.job_file(&job.id)).is_ok_and(|old| old.replayed);
        if job.replayed && was_replayed() { Ok(true) } else { Err(StoreError::JobExists { job: job.id.clone() }) }
    }

    /// Returns whether a job holds more than a start that was interrupted before its first fact.
    fn has_begun(&self, job: &JobId) -> Result<bool, StoreError> {
        if !self.original_checkpoints(job)?.is_empty() {
            return Ok(true);
        }
        for run in self.run_ids(job)? {
            let first = LogReader::open(&self.layout.log(job, &run)).and_then(|mut log| log.next_fact());
            match first {
                Ok(None) => {}
                Err(error) if error.is_not_found() => {}
                // A log that cannot be read may hold work and must not be overwritten.
                Ok(Some(_)) | Err(_) => return Ok(true),
            }
            // A Run that was imported has a checkpoint and no fact.
            if !self.run_checkpoints(job, &run)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
