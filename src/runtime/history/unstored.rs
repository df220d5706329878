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
use crate::runtime::history::recorded_run::{feed, state_behind};
use crate::runtime::history::run_ends::RunEnds;
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
    // A name that is a slip of the pen away from one that is there is a mistyped one: no log is read for it.
    if name.parse::<CheckpointId>().is_err() || store.has_near_name(name)? {
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
    let mut ends = RunEnds::default();
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
    if has_stopped && is_gapless(store, job, &files, &first) {
        return Ok(entries);
    }
    let known: HashSet<CheckpointId> = files.into_iter().map(|entry| entry.id).collect();
    let mut machine = state_behind(store, job, run, &first, ends)?;
    machine.set_quiet(true);
    let mut next = Some(first);
    while let Some(fact) = next {
        let fed = feed(&mut machine, fact, &mut log, &mut |_, save, _| {
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
        ends.insert(machine.into_checkpoint());
    }
    Ok(entries)
}

/// Returns whether there is a file for every step of a Run, by their names, its first fact and the last file, so that the
/// log of most Runs need not be read.
fn is_gapless(store: &Store, job: &JobId, files: &[CheckpointEntry], first: &Fact) -> bool {
    let ([head, ..], Some(last)) = (files, files.last()) else { return false };
    first_step(store, job, first) == Some(head.step)
        && files.windows(2).all(|pair| matches!(pair, [a, b] if b.step <= a.step.saturating_add(1)))
        && store.read_checkpoint(&last.path).is_ok_and(|stored| stored.head.status.is_terminal())
}

/// The first step of a Run with this first fact; `None` where it continues a checkpoint of which there is no file.
fn first_step(store: &Store, job: &JobId, first: &Fact) -> Option<u64> {
    match &first.body {
        FactBody::Started { spec, .. } => Some(spec.first_step),
        FactBody::Resumed { resumption } => {
            let parent = resumption.parent.as_ref()?;
            let files = store.run_checkpoints(job, &parent.run_id).ok()?;
            let step = files.iter().find(|entry| entry.id == parent.checkpoint_id)?.step;
            step.max(resumption.reached_step).checked_add(1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first fact of a Run that continues the checkpoint `c` of the Run `r`, whose delegates reached `reached_step`.
    fn resumed(reached_step: u64) -> Fact {
        let fact = json!({"at": 1, "seed": 1, "fact": "resumed", "resumption": {
            "runId": "s", "parent": {"runId": "r", "checkpointId": "c"}, "reachedStep": reached_step,
            "surroundings": {"tools": [], "limits": {"maxSteps": 3, "maxRetries": 1}}}});
        serde_json::from_value(fact).unwrap()
    }

    #[test]
    fn a_run_goes_on_behind_the_step_that_it_continues_and_those_of_its_delegates() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let job: JobId = "j".parse().unwrap();
        assert_eq!(first_step(&store, &job, &resumed(0)), None, "nothing is known of a file that is not there");
        let path = store.layout().checkpoint(&job, &"r".parse().unwrap(), 4, &"c".parse().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        assert_eq!(first_step(&store, &job, &resumed(0)), Some(5));
        assert_eq!(first_step(&store, &job, &resumed(7)), Some(8));
    }
}
