//! [`ResumePoint`]: the state that a job is resumed from. It is found by what the caller named, its job is locked, and
//! it is read back from disk; what is done with it is [`resume`](super::resume)'s.

use crate::checkpoint::{Checkpoint, CheckpointHead, Status};
use crate::fact::{Clock as _, IdGenerator};
use crate::id::{CheckpointId, JobId, RunId};
use crate::job::Job;
use crate::runtime::clock::SystemClock;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{self, RecordedRun};
use crate::runtime::history::unstored;
use crate::runtime::job::import::{ImportedFile, import, job_of, read_file};
use crate::runtime::options::{Options, ResumeFrom, ResumeInput};
use crate::setting::RunSetting;
use crate::store::{CheckpointEntry, Found, JobStore, Store, StoreError};

/// The state that a job is resumed from.
pub enum ResumePoint {
    /// A Run whose process died before the job's end was stored: its log leads on.
    Interrupted { past: Box<RecordedRun>, run: RunId },
    /// A checkpoint to continue from.
    Checkpoint(Box<Checkpoint>),
}

impl ResumePoint {
    /// The Run's status, if it has ended.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Interrupted { past, .. } => past.status(),
            Self::Checkpoint(checkpoint) => Some(checkpoint.head.status),
        }
    }

    /// The state of the Run, without its messages.
    pub fn head(&self) -> &CheckpointHead {
        match self {
            Self::Interrupted { past, .. } => past.machine.head(),
            Self::Checkpoint(checkpoint) => &checkpoint.head,
        }
    }
}

/// Brings the working copy up for [`find`]; does nothing for a storage that is a folder.
///
/// # Errors
/// The object store cannot be asked, or what it has is damaged.
pub fn fetch(store: &Store, from: &ResumeFrom) -> Result<(), RunError> {
    let name = match from {
        ResumeFrom::Job(job) | ResumeFrom::Checkpoint(job, _) => Some(job.as_str()),
        ResumeFrom::Named(name) => Some(name.as_str()),
        ResumeFrom::Latest | ResumeFrom::LatestAt(_) => None,
    };
    Ok(store.fetch(name)?)
}

/// Finds what the caller named.
///
/// # Errors
/// Nothing is found, or it cannot be read.
pub fn find(store: &Store, from: &ResumeFrom) -> Result<Found, RunError> {
    let of_job = |job: &JobId, id: &CheckpointId| unstored::find_of_job(store, job, id.as_str()).map(Found::Checkpoint);
    match from {
        ResumeFrom::Latest => Ok(store.find("latest")?),
        ResumeFrom::LatestAt(id) => of_job(&latest_job(store)?, id),
        ResumeFrom::Job(job) => Ok(store.find_job(&store.find_job_id(job.as_str())?)?),
        ResumeFrom::Checkpoint(job, id) => of_job(&store.find_job_id(job.as_str())?, id),
        ResumeFrom::Named(name) => unstored::find(store, name),
    }
}

/// Locks the job of what was found. A file from elsewhere is imported first, so that the job can be resumed from here
/// on like any other.
///
/// # Errors
/// The job is held by another process; a file that cannot be imported; what cannot be read or stored.
pub fn lock_job(
    store: &Store,
    found: Found,
    input: &ResumeInput,
    options: &Options,
) -> Result<(JobStore, Found), RunError> {
    match found {
        Found::File(path) => import(store, &path, input, options),
        Found::Checkpoint(entry) => Ok((store.open_job(&entry.job)?, Found::Checkpoint(entry))),
        Found::Run { job, run, checkpoint } => {
            let held = store.open_job(&job)?;
            // The owner before it may have gone on while it was waited for.
            if store.is_remote()
                && let Found::Run { job: same, run, checkpoint } = find(store, &input.from)?
                && same == job
            {
                return Ok((held, Found::Run { job, run, checkpoint }));
            }
            Ok((held, Found::Run { job, run, checkpoint }))
        }
    }
}

/// The state that a resumption goes on from, and its job, without a lock and without an import.
pub struct SeenPoint {
    pub job: JobId,
    pub point: ResumePoint,
    pub setting: Option<RunSetting>,
    /// The job that a file from elsewhere would become; none for one that is stored.
    pub imported: Option<Job>,
}

/// Reads what was found as [`lock_job`] and [`load`] do, and changes nothing.
///
/// # Errors
/// As theirs.
pub fn look(store: &Store, found: Found, input: &ResumeInput, options: &Options) -> Result<SeenPoint, RunError> {
    let found = match found {
        Found::File(path) => match read_file(store, &path, input, options)? {
            ImportedFile::Copy(entry) => Found::Checkpoint(entry),
            ImportedFile::New(mut checkpoint) => {
                // Nothing of it is stored, whatever its ids name here.
                let job = JobId::from(IdGenerator::new(SystemClock.stamp()).uuid());
                checkpoint.head.job_id = job.clone();
                let imported = Some(job_of(&checkpoint.head, 0));
                return Ok(SeenPoint { job, point: ResumePoint::Checkpoint(checkpoint), setting: None, imported });
            }
        },
        stored => stored,
    };
    let job = match &found {
        Found::Checkpoint(entry) => entry.job.clone(),
        Found::Run { job, .. } => job.clone(),
        Found::File(path) => return Err(RunError::NotSelfContained { path: path.clone() }),
    };
    store.check_unheld(&job)?;
    let (point, setting) = load(store, &job, &found)?;
    Ok(SeenPoint { job, point, setting, imported: None })
}

/// Reads back the state of the job, and what its Run was set up with.
///
/// # Errors
/// A failure to read. A damaged log is an error as long as it may hold more than its newest checkpoint.
pub fn load(store: &Store, job: &JobId, found: &Found) -> Result<(ResumePoint, Option<RunSetting>), RunError> {
    match found {
        Found::Run { run, checkpoint, .. } => {
            let setting = setting_of(store, job, run, checkpoint.as_ref())?;
            Ok((resume_point_of_run(store, job, run, checkpoint.as_ref())?, setting))
        }
        Found::Checkpoint(entry) => {
            let setting = match &entry.run {
                Some(run) => setting_of(store, job, run, Some(entry))?,
                None => None,
            };
            if let Some(end) = entry.run.as_ref().and_then(|run| recorded_run::stored_end(store, job, run, entry)) {
                return Ok((ResumePoint::Checkpoint(Box::new(end)), setting));
            }
            if let Some(run) = &entry.run
                && may_be_last(store, entry, run)?
                && let Ok(Some(past)) = recorded_run::read_run(store, job, run)
                && past.is_last(&entry.id)
                && !is_over(store, job, run, &past)
            {
                // The newest checkpoint of a killed Run: what came after it is on record and is not done twice.
                return Ok((ResumePoint::Interrupted { past: Box::new(past), run: run.clone() }, setting));
            }
            Ok((ResumePoint::Checkpoint(Box::new(recorded_run::read_checkpoint(store, entry)?)), setting))
        }
        Found::File(path) => Err(RunError::NotSelfContained { path: path.clone() }),
    }
}

fn resume_point_of_run(
    store: &Store,
    job: &JobId,
    run: &RunId,
    checkpoint: Option<&CheckpointEntry>,
) -> Result<ResumePoint, RunError> {
    if let Some(end) = checkpoint.and_then(|entry| recorded_run::stored_end(store, job, run, entry)) {
        return Ok(ResumePoint::Checkpoint(Box::new(end)));
    }
    let past = match (recorded_run::read_run(store, job, run), checkpoint) {
        (Ok(Some(past)), _) => past,
        // A Run without facts was imported as a file.
        (Ok(None), Some(entry)) => {
            return Ok(ResumePoint::Checkpoint(Box::new(recorded_run::read_checkpoint(store, entry)?)));
        }
        (Ok(None), None) => {
            let what = "it holds no fact: the run never began".to_owned();
            return Err(RunError::History { place: store.layout().log(job, run), what });
        }
        (Err(error), Some(entry)) => match recorded_run::read_checkpoint(store, entry) {
            // Nothing follows a Run's end, so the log is not needed.
            Ok(end) if end.head.status.is_terminal() => return Ok(ResumePoint::Checkpoint(Box::new(end))),
            _ => return Err(with_newest_good_checkpoint(store, job, run, error)),
        },
        (Err(error), None) => return Err(error),
    };
    Ok(if is_over(store, job, run, &past) {
        ResumePoint::Checkpoint(Box::new(past.machine.into_checkpoint()))
    } else {
        ResumePoint::Interrupted { past: Box::new(past), run: run.clone() }
    })
}

/// Returns whether a checkpoint may be the last of its Run: nothing is known to be behind it without reading the log.
fn may_be_last(store: &Store, entry: &CheckpointEntry, run: &RunId) -> Result<bool, RunError> {
    let newest = store.newest_checkpoint(&entry.job, run)?;
    Ok(newest.is_none_or(|newest| newest.id == entry.id || newest.step < entry.step))
}

/// Returns whether `run` has ended, and all of its end is stored.
fn is_over(store: &Store, job: &JobId, run: &RunId, past: &RecordedRun) -> bool {
    let is_stored = past.last_save.as_ref().is_some_and(|save| store.stored_checkpoint(job, &save.head).is_some());
    past.status().is_some() && is_stored && recorded_run::is_reported(store, job, run)
}

/// Names the newest checkpoint that can be continued from although the log is damaged behind it.
fn with_newest_good_checkpoint(store: &Store, job: &JobId, run: &RunId, error: RunError) -> RunError {
    match error {
        RunError::Store(StoreError::Damaged { path, line, what, newest: None }) => {
            let entries = store.run_checkpoints(job, run).unwrap_or_default();
            let good = entries.into_iter().rev().find(|entry| recorded_run::read_checkpoint(store, entry).is_ok());
            StoreError::Damaged { path, line, what, newest: good.map(|entry| entry.path) }.into()
        }
        other => other,
    }
}

/// The setting of a Run, from beside its log, else from the checkpoint. `None` when neither can be read; what only a
/// newer version can read is an error.
fn setting_of(
    store: &Store,
    job: &JobId,
    run: &RunId,
    checkpoint: Option<&CheckpointEntry>,
) -> Result<Option<RunSetting>, RunError> {
    match store.setting(job, run) {
        Ok(setting) => Ok(Some(setting)),
        Err(newer @ StoreError::Newer { .. }) => Err(newer.into()),
        Err(_) => Ok(checkpoint.and_then(|entry| store.read_checkpoint(&entry.path).ok()?.setting)),
    }
}

/// The job with the newest Run.
fn latest_job(store: &Store) -> Result<JobId, RunError> {
    match store.find("latest")? {
        Found::Run { job, .. } => Ok(job),
        Found::Checkpoint(entry) => Ok(entry.job),
        Found::File(path) => Err(RunError::NotSelfContained { path }),
    }
}
