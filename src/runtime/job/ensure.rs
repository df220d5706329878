//! [`ensure`]: one verb for supervisors and retried CI steps. It starts a job, continues it, or returns the answer that is
//! on record, by the state that the job of the given id is in.

use std::path::PathBuf;

use crate::checkpoint::{Checkpoint, Status};
use crate::event::{Event, EventBody};
use crate::id::{JobId, RunId};
use crate::message::{Message, UserInput};
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run;
use crate::runtime::job::request::check_expert;
use crate::runtime::job::spending::JobSpending;
use crate::runtime::job::{RecordedEnd, resume, run};
use crate::runtime::options::{Options, Outcome, ResumeFrom, ResumeInput, RunInput};
use crate::setting::DEFAULT_MAX_STEPS;
use crate::store::{Found, Store, StoreError};

/// Brings the job `input.job_id` to its end. Without an id, or without a record of that job, it is started.
pub async fn ensure(input: RunInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let store = options.store();
    match look(&store, input, options)? {
        Ensured::Begins(input) => Box::pin(run(input, options)).await,
        Ensured::GoesOn(input) => Box::pin(resume::resume(input, options)).await,
        Ensured::AtRest { job: id, run, checkpoint, path } => {
            for event in recorded_run::read_run(&store, &id, &run)?.into_iter().flat_map(|past| past.events) {
                emit_end(&event, &checkpoint, options);
            }
            Ok(recorded(&store, &id, *checkpoint, path)?.into())
        }
    }
}

/// The way to the end of a job.
pub enum Ensured {
    /// It is started.
    Begins(RunInput),
    /// It goes on.
    GoesOn(ResumeInput),
    /// It has its answer, or its question.
    AtRest { job: JobId, run: RunId, checkpoint: Box<Checkpoint>, path: PathBuf },
}

/// Finds the way to the end of the job `input.job_id`. Nothing is changed.
///
/// # Errors
/// The job is about another query, or of another expert; or it cannot be read.
pub fn look(store: &Store, input: RunInput, options: &Options) -> Result<Ensured, RunError> {
    let Some(id) = input.job_id.clone() else { return Ok(Ensured::Begins(input)) };
    store.fetch_job(&id)?;
    match store.find_job(&id) {
        Ok(Found::Run { run, checkpoint: Some(entry), .. }) => {
            let checkpoint = recorded_run::read_checkpoint(store, &entry)?;
            check_query(&id, &input, &checkpoint, options)?;
            let status = checkpoint.head.status;
            // A question is asked again by whoever can; to continue without its answer is not possible.
            let is_at_rest = matches!(status, Status::Completed | Status::StoppedByInteractiveTool)
                && store.job(&id).is_ok_and(|job| job.status == status.into());
            if is_at_rest {
                check_expert(Some(&input.expert), &checkpoint.head)?;
                return Ok(Ensured::AtRest { job: id, run, checkpoint: Box::new(checkpoint), path: entry.path });
            }
        }
        Ok(_) => {}
        Err(StoreError::NotFound { .. }) => return Ok(Ensured::Begins(input)),
        Err(error) => return Err(error.into()),
    }
    let (from, expert) = (ResumeFrom::Job(id), Some(input.expert));
    Ok(Ensured::GoesOn(ResumeInput { from, expert, query: None, attached: Vec::new(), is_answer: false }))
}

/// Checks that the job is about the same query and files: others would be dropped without a trace.
fn check_query(id: &JobId, input: &RunInput, checkpoint: &Checkpoint, options: &Options) -> Result<(), RunError> {
    let asked = checkpoint.messages.iter().find_map(|message| match message {
        Message::UserMessage { contents, .. } if contents.first()?.as_text().is_some() => Some(contents.clone()),
        _ => None,
    });
    let Some(mut asked) = asked else { return Ok(()) };
    for part in &mut asked {
        part.id_mut().clear();
    }
    // As it is recorded.
    let text = options.redactor().text(&input.query);
    let given = UserInput { text, attached: input.attached.clone() }.into_contents();
    if asked == given { Ok(()) } else { Err(RunError::OtherQuery { job: id.clone() }) }
}

/// Emits the end of the Run again, so that a reader of events sees what a reader of the answer sees.
fn emit_end(event: &Event, checkpoint: &Checkpoint, options: &Options) {
    if matches!(event.body, EventBody::CompleteRun { .. } | EventBody::StopRunByInteractiveTool { .. }) {
        options.sink.emit(event, &checkpoint.messages);
    }
}

/// The end of a job that came to rest in an earlier process.
fn recorded(store: &Store, id: &JobId, checkpoint: Checkpoint, path: PathBuf) -> Result<Outcome, RunError> {
    let job = store.job(id)?;
    let JobSpending { spent, usage, spend } = JobSpending::read(store, id)?;
    Ok(Outcome {
        status: checkpoint.head.status,
        checkpoint,
        path,
        duration_ms: 0,
        steps: 0,
        usage,
        spend,
        max_steps: job.max_steps.unwrap_or(DEFAULT_MAX_STEPS),
        budgets: job.budget.limits,
        spent,
        budget: None,
        account: None,
    })
}
