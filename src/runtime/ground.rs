//! Where to go on: what the caller named is found, its job is locked, and what is on disk is read back.

use std::path::Path;

use indexmap::IndexMap;

use crate::budget::Budgets;
use crate::checkpoint::{Checkpoint, CheckpointHead, FORMAT_VERSION, Status};
use crate::id::{JobId, RunId};
use crate::job::{Job, JobBudget, JobStatus};
use crate::runtime::history::{self, Past};
use crate::runtime::{Options, ResumeFrom, RunError};
use crate::setting::{ProviderConfig, ProviderName, ProviderSetting, RunSetting};
use crate::store::{CheckpointBody, CheckpointEntry, Found, JobStore, Store, StoreError};

/// Where to go on.
pub enum Ground {
    /// A Run whose process died before the job's end was written down: its log leads on.
    Killed { past: Box<Past>, run: RunId },
    /// A checkpoint to continue from.
    Checkpoint(Box<Checkpoint>),
}

impl Ground {
    /// How the Run ended, if it did.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Killed { past, .. } => past.status(),
            Self::Checkpoint(checkpoint) => Some(checkpoint.head.status),
        }
    }

    /// The state of the Run, without its messages.
    pub fn head(&self) -> &CheckpointHead {
        match self {
            Self::Killed { past, .. } => past.machine.head(),
            Self::Checkpoint(checkpoint) => &checkpoint.head,
        }
    }
}

/// Finds what the caller named.
///
/// # Errors
/// What is not found or cannot be read.
pub fn find(store: &Store, from: &ResumeFrom) -> Result<Found, RunError> {
    Ok(match from {
        ResumeFrom::Latest => store.find("latest")?,
        ResumeFrom::Job(job) => store.find_job(job)?,
        ResumeFrom::Checkpoint(job, id) => Found::Checkpoint(store.find_checkpoint(job, id)?),
        ResumeFrom::Named(name) => store.find(name)?,
    })
}

/// Locks the job of what was found. A file from elsewhere is taken in first, so that the job can be resumed from here
/// on like any other.
///
/// # Errors
/// The job is held by another process; a file that holds no history; what cannot be read or stored.
pub fn take_job(store: &Store, found: Found, options: &Options) -> Result<(JobStore, Found), RunError> {
    match found {
        Found::File(path) => take_in(store, &path, options),
        Found::Checkpoint(entry) => Ok((store.open_job(&entry.job)?, Found::Checkpoint(entry))),
        Found::Run { job, run, checkpoint } => Ok((store.open_job(&job)?, Found::Run { job, run, checkpoint })),
    }
}

fn take_in(store: &Store, path: &Path, options: &Options) -> Result<(JobStore, Found), RunError> {
    let stored = store.read_checkpoint(path)?;
    let head = &stored.head;
    let CheckpointBody::Inline(messages) = &stored.body else {
        return Err(RunError::NotSelfContained { path: path.to_owned() });
    };
    let job = Job {
        format_version: FORMAT_VERSION,
        id: head.job_id.clone(),
        status: JobStatus::from(head.status),
        coordinator_expert_key: head.expert.key.clone(),
        total_steps: head.step_number,
        max_steps: None,
        usage: head.usage,
        spend: head.spend,
        started_at: stored.setting.as_ref().map_or(0, |setting| setting.started_at),
        finished_at: None,
        replayed: false,
        budget: JobBudget {
            limits: stored.setting.as_ref().map_or_else(Budgets::default, |setting| setting.budgets),
            ..JobBudget::default()
        },
    };
    let job_store = match store.create_job(&job) {
        Ok(job_store) => job_store,
        Err(StoreError::JobExists { .. }) => store.open_job(&job.id)?,
        Err(other) => return Err(other.into()),
    };
    if let Ok(entry) = store.find_checkpoint(&job.id, &head.id) {
        return Ok((job_store, Found::Checkpoint(entry)));
    }
    let setting = stored.setting.clone().unwrap_or_else(|| setting_of_a_stranger(&stored.head, options));
    let mut parent = match job_store.create_run(&setting) {
        Ok(run) => run,
        // Here the Run did not come as far as where the file is from: the file lies beside what is here.
        Err(StoreError::RunExists { .. }) => job_store.open_run(&setting.run_id)?,
        Err(other) => return Err(other.into()),
    };
    let entry = parent.write_checkpoint_final(head, messages, &setting)?;
    Ok((job_store, Found::Checkpoint(entry)))
}

/// The setting of a Run of which only a checkpoint is known.
fn setting_of_a_stranger(head: &CheckpointHead, options: &Options) -> RunSetting {
    let settings = &options.settings;
    RunSetting {
        format_version: FORMAT_VERSION,
        model: settings.model.clone().unwrap_or_default(),
        provider_config: ProviderConfig {
            provider_name: settings.provider.unwrap_or(ProviderName::Anthropic),
            setting: ProviderSetting::default(),
        },
        job_id: head.job_id.clone(),
        run_id: head.run_id.clone(),
        expert_key: head.expert.key.clone(),
        experts: IndexMap::new(),
        reasoning_budget: settings.reasoning_budget,
        max_steps: settings.limits.max_steps,
        max_retries: settings.limits.max_retries,
        timeout: settings.timeout_ms,
        budgets: settings.budgets,
        started_at: 0,
        updated_at: 0,
    }
}

/// Reads back where the job stands, and what it was set up with.
///
/// # Errors
/// What cannot be read. A log that cannot is never passed over when more than its newest checkpoint may be in it.
pub fn survey(store: &Store, job: &JobId, found: &Found) -> Result<(Ground, Option<RunSetting>), RunError> {
    match found {
        Found::Run { run, checkpoint, .. } => {
            let setting = setting_of(store, job, run, checkpoint.as_ref())?;
            Ok((ground_of_run(store, job, run, checkpoint.as_ref())?, setting))
        }
        Found::Checkpoint(entry) => {
            let setting = match &entry.run {
                Some(run) => setting_of(store, job, run, Some(entry))?,
                None => None,
            };
            if let Some(run) = &entry.run
                && let Ok(Some(past)) = history::read_run(store, job, run)
                && past.last_stored.as_ref() == Some(&entry.id)
                && !is_over(store, job, run, &past)
            {
                // The newest checkpoint of a killed Run: what came after it is on record and is not done twice.
                return Ok((Ground::Killed { past: Box::new(past), run: run.clone() }, setting));
            }
            Ok((Ground::Checkpoint(Box::new(history::read_checkpoint(store, entry)?)), setting))
        }
        Found::File(path) => Err(RunError::NotSelfContained { path: path.clone() }),
    }
}

fn ground_of_run(
    store: &Store,
    job: &JobId,
    run: &RunId,
    checkpoint: Option<&CheckpointEntry>,
) -> Result<Ground, RunError> {
    let past = match (history::read_run(store, job, run), checkpoint) {
        (Ok(Some(past)), _) => past,
        // A Run without facts was taken in as a file.
        (Ok(None), Some(entry)) => return Ok(Ground::Checkpoint(Box::new(history::read_checkpoint(store, entry)?))),
        (Ok(None), None) => {
            let what = "it holds no fact: the run never began".to_owned();
            return Err(RunError::History { place: store.layout().log(job, run), what });
        }
        (Err(error), Some(entry)) => match history::read_checkpoint(store, entry) {
            // Nothing follows a Run's end, so the log is not needed.
            Ok(end) if end.head.status.is_terminal() => return Ok(Ground::Checkpoint(Box::new(end))),
            _ => return Err(pointing_to_a_good_checkpoint(store, job, run, error)),
        },
        (Err(error), None) => return Err(error),
    };
    Ok(if is_over(store, job, run, &past) {
        Ground::Checkpoint(Box::new(past.machine.into_checkpoint()))
    } else {
        Ground::Killed { past: Box::new(past), run: run.clone() }
    })
}

/// Whether `run` has ended, and all of its end is written down.
fn is_over(store: &Store, job: &JobId, run: &RunId, past: &Past) -> bool {
    let is_stored = past.last_save.as_ref().is_some_and(|save| store.stored_checkpoint(job, &save.head).is_some());
    past.status().is_some() && is_stored && is_told(store, job, run)
}

/// Whether the end of `run`, which has ended, was written down as the job's and so could be told to the user. That of
/// an older Run was.
fn is_told(store: &Store, job: &JobId, run: &RunId) -> bool {
    let is_newest = matches!(store.find_job(job), Ok(Found::Run { run: newest, .. }) if newest == *run);
    !is_newest || store.job(job).is_ok_and(|job| job.status != JobStatus::Running)
}

/// Names the newest checkpoint that can be continued from although the log is damaged behind it.
fn pointing_to_a_good_checkpoint(store: &Store, job: &JobId, run: &RunId, error: RunError) -> RunError {
    match error {
        RunError::Store(StoreError::Damaged { path, line, what, newest: None }) => {
            let entries = store.run_checkpoints(job, run).unwrap_or_default();
            let good = entries.into_iter().rev().find(|entry| history::read_checkpoint(store, entry).is_ok());
            StoreError::Damaged { path, line, what, newest: good.map(|entry| entry.path) }.into()
        }
        other => other,
    }
}

/// What a Run was set up with: as it lies beside the log, else as the checkpoint carries it. `None` when neither can be
/// read; what only a newer version can read is an error.
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
