//! Checkpoints of which there is no file: [`of_job`] lists them, [`find`] and [`find_of_job`] resolve names to them too.
//! Resumption and the log call it.
//!
//! The checkpoint of a Run that goes on is not synced, so that a power cut may take the file, and it may be removed to
//! save room. Its log implies it: the entry that is found here has the path that the file would have, and
//! [`read_checkpoint`](super::recorded_run::read_checkpoint) makes it again.

use std::collections::HashSet;

use crate::checkpoint::Status;
use crate::fact::{Fact, FactBody};
use crate::id::{CheckpointId, JobId, RunId};
use crate::job::JobStatus;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{RunEnds, feed, state_behind};
use crate::store::{CheckpointEntry, Found, Store, StoreError, named};

/// Resolves a user's name as [`Store::find`] does; what names no file may be a checkpoint without one.
///
/// # Errors
/// As [`Store::find`].
pub fn find(store: &Store, name: &str) -> Result<Found, RunError> {
    let missing = match store.find(name) {
        Err(missing @ StoreError::NotFound { .. }) => missing,
        found => return Ok(found?),
    };
    if name.parse::<CheckpointId>().is_err() {
        return Err(missing.into());
    }
    let entries: Vec<CheckpointEntry> = store.job_ids()?.iter().flat_map(|job| of_job(store, job)).collect();
    one_of(&entries, name)?.map(Found::Checkpoint).ok_or_else(|| missing.into())
}

/// Resolves a user's name for a checkpoint of `job` as [`Store::find_checkpoint_of`] does, and finds one without a file
/// too.
///
/// # Errors
/// As [`Store::find_checkpoint_of`].
pub fn find_of_job(store: &Store, job: &JobId, name: &str) -> Result<CheckpointEntry, RunError> {
    match store.find_checkpoint_of(job, name) {
        Err(missing @ StoreError::NotFound { .. }) => one_of(&of_job(store, job), name)?.ok_or_else(|| missing.into()),
        found => Ok(found?),
    }
}

fn one_of(entries: &[CheckpointEntry], name: &str) -> Result<Option<CheckpointEntry>, StoreError> {
    Ok(named(name, "checkpoints", entries.iter().map(|entry| (entry, entry.id.as_str())))?.cloned())
}

/// The checkpoints of `job` that its logs imply and of which there is no file, by Run. Runs that cannot be read have
/// none.
pub fn of_job(store: &Store, job: &JobId) -> Vec<CheckpointEntry> {
    let has_stopped = store.job(job).is_ok_and(|job| job.status != JobStatus::Running);
    // From the first on, so that a line of Runs is read once: each begins with the end of the one before.
    let mut ends = RunEnds::new();
    let runs = store.runs(job).unwrap_or_default().into_iter();
    runs.flat_map(|run| of_run(store, job, &run.id, has_stopped, &mut ends).unwrap_or_default()).collect()
}

fn of_run(
    store: &Store,
    job: &JobId,
    run: &RunId,
    has_stopped: bool,
    ends: &mut RunEnds,
) -> Result<Vec<CheckpointEntry>, RunError> {
    let files = store.run_checkpoints(job, run)?;
    let mut log = store.open_log(job, run)?;
    let mut entries = Vec::new();
    let Some(first) = log.next_fact()? else { return Ok(entries) };
    if has_stopped && is_gapless(store, &files, &first) {
        return Ok(entries);
    }
    let known: HashSet<CheckpointId> = files.into_iter().map(|entry| entry.id).collect();
    let mut machine = state_behind(store, job, run, &first, ends)?;
    let mut next = Some(first);
    while let Some(fact) = next {
        let fed = feed(&mut machine, fact, &mut |_, save, _| {
            let heads = save.map(|save| save.head).filter(|head| !known.contains(&head.id));
            entries.extend(heads.map(|head| CheckpointEntry {
                path: store.layout().checkpoint(job, run, head.step_number, &head.id),
                job: job.clone(),
                run: Some(run.clone()),
                step: head.step_number,
                id: head.id,
            }));
            false
        });
        // What is behind a gap cannot be known.
        next = if fed.is_ok() { log.next_fact().unwrap_or_default() } else { None };
    }
    if machine.head().status == Status::StoppedByDelegate {
        ends.insert(machine.head().id.clone(), machine.into_checkpoint());
    }
    Ok(entries)
}

/// Returns whether there is a file for every step of a Run, by their names, its first fact and the last file, so that the
/// log of most Runs need not be read.
fn is_gapless(store: &Store, files: &[CheckpointEntry], first: &Fact) -> bool {
    let (FactBody::Started { spec, .. }, [head, ..], Some(last)) = (&first.body, files, files.last()) else {
        return false;
    };
    head.step == spec.first_step
        && files.windows(2).all(|pair| matches!(pair, [a, b] if b.step <= a.step.saturating_add(1)))
        && store.read_checkpoint(&last.path).is_ok_and(|stored| stored.head.status.is_terminal())
}
