//! The question that a job was started with, and the state that it came to: what a person knows it by. The command
//! line's `log` and its list of jobs call it.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::content::Content;
use crate::fact::FactBody;
use crate::id::{JobId, RunId};
use crate::message::Message;
use crate::runtime::error::RunError;
use crate::runtime::history::run_ends::RunEnds;
use crate::runtime::history::{recorded_run, unstored};
use crate::store::{CheckpointBody, CheckpointEntry, Found, OriginalEvent, Store, StoreError};

/// The text of the question that a job of this storage was started with; `None` when it cannot be read.
pub fn query(storage: &Path, job: &JobId) -> Option<String> {
    of_job(&Store::new(storage), job)
}

pub(super) fn of_job(store: &Store, job: &JobId) -> Option<String> {
    for run in store.runs(job).ok()? {
        match store.first_fact(job, &run.id).map(|fact| fact.body) {
            Some(FactBody::Started { spec, input }) if spec.delegated_by.is_none() => return text(&input),
            Some(_) => {}
            None => {
                if let Some(query) = of_original(store, job, &run.id) {
                    return Some(query);
                }
            }
        }
    }
    // A job that was imported, or of which the original left no events.
    let first = store.checkpoints(job).ok()?.into_iter().next()?;
    first_question(&recorded_run::read_checkpoint(store, &first).ok()?.messages)
}

fn of_original(store: &Store, job: &JobId, run: &RunId) -> Option<String> {
    let (_, path) = store.original_events(job, run).ok()?.into_iter().next()?;
    let event = OriginalEvent::read(&path).ok()?;
    if event.json.get("initialCheckpoint").is_some_and(|checkpoint| checkpoint.get("delegatedBy").is_some()) {
        return None;
    }
    let messages: Vec<Message> = serde_json::from_value(event.json.get("inputMessages")?.clone()).ok()?;
    first_question(&messages)
}

fn first_question(messages: &[Message]) -> Option<String> {
    messages.iter().find_map(|message| match message {
        Message::UserMessage { contents, .. } => text(contents),
        _ => None,
    })
}

fn text(contents: &[Content]) -> Option<String> {
    let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// The state that a user names: a checkpoint by its file, its id or a part of it, else the one that a Run, a job or the
/// latest job came to.
///
/// # Errors
/// Nothing is found, or it cannot be read.
pub fn read_state(storage: &Path, name: &str) -> Result<Checkpoint, RunError> {
    let store = Store::new(storage);
    match unstored::find(&store, name)? {
        Found::Checkpoint(entry) => recorded_run::read_checkpoint(&store, &entry),
        Found::Run { job, run, checkpoint } => of_run(&store, &job, &run, checkpoint.as_ref()),
        Found::File(path) => {
            let stored = store.read_checkpoint(&path)?;
            match stored.body {
                CheckpointBody::Inline(messages) => Ok(Checkpoint { head: stored.head, messages }),
                CheckpointBody::Log(_) => Err(RunError::NotSelfContained { path }),
            }
        }
    }
}

/// The state that a Run came to: by the checkpoint that it stopped with, by its log, else by its newest checkpoint.
fn of_run(store: &Store, job: &JobId, run: &RunId, newest: Option<&CheckpointEntry>) -> Result<Checkpoint, RunError> {
    if let Some(end) = newest.and_then(|entry| recorded_run::stored_end(store, job, run, entry)) {
        return Ok(end);
    }
    let unread = match recorded_run::read_end(store, job, run, &mut RunEnds::default()) {
        Ok(Some((machine, _))) => {
            let status = recorded_run::status_of(&machine);
            let mut checkpoint = machine.into_checkpoint();
            checkpoint.head.status = status.unwrap_or(checkpoint.head.status);
            return Ok(checkpoint);
        }
        Ok(None) => {
            let what = format!("run {run} of job {job} has recorded nothing");
            StoreError::NotFound { what, suggestion: None }.into()
        }
        Err(error) => error,
    };
    newest.map_or(Err(unread), |entry| recorded_run::read_checkpoint(store, entry))
}

/// The state that a job came to: that of its newest Run which is no delegate's. `None` when it cannot be read.
pub(super) fn latest(store: &Store, job: &JobId) -> Option<Checkpoint> {
    match store.find_job(job).ok()? {
        Found::Run { job, run, checkpoint } => of_run(store, &job, &run, checkpoint.as_ref()).ok(),
        Found::Checkpoint(entry) => recorded_run::read_checkpoint(store, &entry).ok(),
        Found::File(_) => None,
    }
}
