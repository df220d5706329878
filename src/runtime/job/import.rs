//! Checkpoint files from outside the storage: [`read_file`] reads one, [`import`] makes it a job of this storage. Called by
//! [`resume_point`] before anything is started; the imported checkpoint is then resumed from like any other.
//!
//! A file gives its conversation, its counters and its names. Experts, commands, addresses, budgets and the instruction
//! are those of the caller's configuration, and calls that are open in it are never made: the imported checkpoint is
//! marked for that (`from_elsewhere`), so that it also holds for whoever resumes it later.
//!
//! [`resume_point`]: super::resume_point

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use crate::checkpoint::{Checkpoint, CheckpointHead, FORMAT_VERSION};
use crate::expert::ExpertKey;
use crate::expert_map::{ExpertError, UnknownExpert};
use crate::fact::{Clock, IdGenerator};
use crate::id::{CheckpointId, JobId, RunId};
use crate::job::{Job, JobBudget, JobStatus};
use crate::runtime::clock::SystemClock;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run;
use crate::runtime::job::request::check_request;
use crate::runtime::options::{Options, ResumeInput};
use crate::setting::{ProviderConfig, ProviderName, ProviderSetting, RunSetting};
use crate::store::{CheckpointBody, CheckpointEntry, Found, JobStore, Store, StoreError};

/// The highest step that a file is imported with. Our own choice: far above any that is reached, and so far below
/// [`crate::count::MAX`] that the steps that follow can be stored.
const MAX_STEP: u64 = 1 << 32;

/// A checkpoint file as this storage takes it.
pub enum ImportedFile {
    /// A copy of a checkpoint stored here.
    Copy(CheckpointEntry),
    /// The beginning of a job of this storage, under its own ids.
    New(Box<Checkpoint>),
}

/// Reads the checkpoint file at `path` for `input`. A file that is a copy of a checkpoint stored here is taken for that
/// one. Nothing is written.
///
/// # Errors
/// A file that holds no history, or of an expert that is not defined here; a request that the checkpoint cannot meet;
/// what cannot be read.
pub fn read_file(store: &Store, path: &Path, input: &ResumeInput, options: &Options) -> Result<ImportedFile, RunError> {
    let stored = store.read_checkpoint(path)?;
    let CheckpointBody::Inline(messages) = stored.body else {
        return Err(RunError::NotSelfContained { path: path.to_owned() });
    };
    if stored.head.step_number > MAX_STEP {
        let what = format!("its step number {} is out of range: {MAX_STEP} is the most", stored.head.step_number);
        return Err(StoreError::Damaged { path: path.to_owned(), line: None, what, newest: None }.into());
    }
    let checkpoint = as_imported(Checkpoint { head: stored.head, messages });
    if let Some(entry) = stored_copy(store, &checkpoint) {
        return Ok(ImportedFile::Copy(entry));
    }
    check_experts(&checkpoint.head.expert.key, path, options)?;
    check_request(input, &checkpoint)?;
    Ok(ImportedFile::New(Box::new(checkpoint)))
}

/// Imports the checkpoint file at `path` and locks its job. Nothing is written before `input` has been checked.
///
/// # Errors
/// As [`read_file`], or what cannot be stored.
pub fn import(
    store: &Store,
    path: &Path,
    input: &ResumeInput,
    options: &Options,
) -> Result<(JobStore, Found), RunError> {
    let mut checkpoint = match read_file(store, path, input, options)? {
        ImportedFile::Copy(entry) => return Ok((store.open_job(&entry.job)?, Found::Checkpoint(entry))),
        ImportedFile::New(checkpoint) => checkpoint,
    };
    let job_store = create_job(store, &mut checkpoint.head)?;
    let setting = setting_here(&checkpoint.head, options);
    let run_store = job_store.create_run(&setting)?;
    let (flush, entry) = run_store.final_checkpoint(&checkpoint.head, &checkpoint.messages, &setting)?;
    flush.perform()?;
    Ok((job_store, Found::Checkpoint(entry)))
}

/// The checkpoint as this storage keeps it: marked, and without measurements of another machine, on which budgets and
/// the context window would build.
fn as_imported(mut checkpoint: Checkpoint) -> Checkpoint {
    let head = &mut checkpoint.head;
    head.from_elsewhere = true;
    head.context = None;
    head.context_window_usage = None;
    // It is not here, whatever has its name.
    head.snapshot = None;
    checkpoint
}

/// The checkpoint stored here that `imported` is a copy of: one of the same job and id with the same contents.
fn stored_copy(store: &Store, imported: &Checkpoint) -> Option<CheckpointEntry> {
    let entry = store.find_checkpoint(&imported.head.job_id, &imported.head.id).ok()?;
    let own = recorded_run::read_checkpoint(store, &entry).ok()?;
    (as_imported(own) == *imported).then_some(entry)
}

/// Checks that the expert, and all that it can reach, are defined by the configuration at hand.
fn check_experts(key: &ExpertKey, path: &Path, options: &Options) -> Result<(), RunError> {
    let reachable = options.experts.reachable(key).map_err(|error| match error {
        ExpertError::Unknown(UnknownExpert { key, known }) => {
            RunError::ExpertOfFile { path: path.to_owned(), key, known }
        }
        error => error.into(),
    })?;
    for expert in reachable {
        options.experts.delegates(expert)?;
    }
    Ok(())
}

/// Creates the job of the imported checkpoint. Ids that name anything here are replaced: what is on record stays as it
/// is, and keeps its names. A job that came to nothing is not on record, be it of an import that was interrupted.
fn create_job(store: &Store, head: &mut CheckpointHead) -> Result<JobStore, StoreError> {
    let started = SystemClock.stamp();
    let mut ids = IdGenerator::new(started);
    if store.is_taken_outside(&head.job_id, head.job_id.as_str())? {
        head.job_id = JobId::from(ids.uuid());
    }
    let job_store = match store.create_job(&job_of(head, started.at)) {
        Err(StoreError::JobExists { .. } | StoreError::Locked { .. }) => {
            head.job_id = JobId::from(ids.uuid());
            store.create_job(&job_of(head, started.at))?
        }
        created => created?,
    };
    if store.is_taken_outside(&head.job_id, head.run_id.as_str())? {
        head.run_id = RunId::from(ids.uuid());
    }
    if store.is_taken_outside(&head.job_id, head.id.as_str())? {
        head.id = CheckpointId::from(ids.uuid());
    }
    Ok(job_store)
}

/// The job that an imported checkpoint begins.
pub fn job_of(head: &CheckpointHead, started_at: u64) -> Job {
    Job {
        format_version: FORMAT_VERSION,
        id: head.job_id.clone(),
        status: JobStatus::from(head.status),
        coordinator_expert_key: head.expert.key.clone(),
        total_steps: head.step_number,
        max_steps: None,
        usage: head.usage,
        spend: head.spend,
        started_at,
        finished_at: None,
        last_run_at: None,
        ends: BTreeMap::new(),
        replayed: false,
        workspace_from: None,
        budget: JobBudget::default(),
    }
}

/// The setting of the imported run: nothing of the file's but names.
fn setting_here(head: &CheckpointHead, options: &Options) -> RunSetting {
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
        // None: a run that continues this one takes them from the configuration of its time.
        experts: IndexMap::new(),
        reasoning_budget: settings.reasoning_budget,
        max_steps: settings.limits.max_steps,
        max_retries: settings.limits.max_retries,
        timeout: settings.timeout_ms,
        budgets: settings.budgets,
        // Before every Run that continues it, also by the clock of a replay, which starts in the past.
        started_at: 0,
        updated_at: 0,
    }
}
