//! Runs that stopped in an earlier process: [`complete`] puts on disk what that process may not have written, and
//! emits what it may not have shown. Called where a job goes on from such a Run.

use std::path::PathBuf;
use std::sync::Arc;

use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::RecordedRun;
use crate::runtime::job::context::JobContext;
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::task::StoppedRun;
use crate::setting::RunSetting;

/// The Run as stopped: as [`complete`], with what it came to.
///
/// # Errors
/// A failure to store.
pub fn on_record(job: &JobContext, past: RecordedRun) -> Result<StoppedRun, RunError> {
    let path = complete(job, &past, false)?;
    Ok(StoppedRun::on_record(past.machine.into_checkpoint(), path))
}

/// Writes the last checkpoint of a Run that stopped if it is missing, and emits its ending if it was, or if wanted. The
/// checkpoint's file.
///
/// # Errors
/// A failure to store.
pub fn complete(job: &JobContext, past: &RecordedRun, emit_again: bool) -> Result<PathBuf, RunError> {
    let stored = job.store.stored_checkpoint(job.job_id(), past.machine.head());
    if emit_again || stored.is_none() {
        for event in &past.events {
            job.options.sink.emit(event, past.machine.messages());
        }
    }
    match stored {
        Some(path) => Ok(path),
        None => store_end(job, past),
    }
}

/// Writes the checkpoint that a Run stopped with, from its log; returns its file.
fn store_end(job: &JobContext, past: &RecordedRun) -> Result<PathBuf, RunError> {
    let head = past.machine.head();
    let setting = if let Ok(setting) = job.store.setting(job.job_id(), &head.run_id) {
        setting
    } else {
        // It can be made again from what is at hand.
        let expert = job.options.experts.get(&head.expert.key)?;
        RunSetting { started_at: past.began_at, ..job.basis().setting(expert, &head.run_id)? }
    };
    let run_store = job.job.open_run_at(&head.run_id, past.log_end.clone())?;
    let mut recorder = Recorder::new(run_store, Arc::new(setting), Arc::clone(&job.options.sink));
    if let Some(flush) = recorder.keep(past.last_save.as_ref(), &past.machine)? {
        flush.perform()?;
        recorder.settle_all()?;
    }
    Ok(recorder.newest().cloned().unwrap_or_default())
}
