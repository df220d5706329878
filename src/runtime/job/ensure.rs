//! [`ensure`]: one verb for supervisors and retried CI steps. It starts a job, continues it, or returns the answer that is
//! on record, by the state that the job of the given id is in. [`answer`] is the same with an answer to its question.

use std::path::PathBuf;

use crate::checkpoint::{Checkpoint, Status};
use crate::event::{Event, EventBody};
use crate::expert::ExpertKey;
use crate::id::{CheckpointId, JobId, RunId};
use crate::message::{Message, UserInput};
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run;
use crate::runtime::job::request::check_expert;
use crate::runtime::job::spending::JobSpending;
use crate::runtime::job::{RecordedEnd, resume, run};
use crate::runtime::options::{AnswerInput, Options, Outcome, ResumeFrom, ResumeInput, RunInput};
use crate::setting::DEFAULT_MAX_STEPS;
use crate::store::{Found, Store, StoreError};

/// Brings the job `input.job_id` to its end. Without an id, or without a record of that job, it is started.
pub async fn ensure(input: RunInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let store = options.store();
    match look(&store, input, options)? {
        Ensured::Begins(input) => Box::pin(run(input, options)).await,
        Ensured::GoesOn(input) => Box::pin(resume::resume(input, options)).await,
        Ensured::AtRest(rest) => rest.end(&store, options),
    }
}

/// Gives an answer to the question that a job waits with; where it has gone on from there, brings it to its end without.
pub async fn answer(input: AnswerInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let store = options.store();
    store.fetch_job(&input.job)?;
    let rest = JobRest::of(&store, &input.job)?.filter(|rest| rest.is_over(&store));
    let next = match rest {
        None => going_on(input.job, None),
        Some(rest) if rest.waits_at(&input.checkpoint) => input.into(),
        Some(rest) => return rest.end(&store, options),
    };
    Box::pin(resume::resume(next, options)).await
}

/// The way to the end of a job.
pub enum Ensured {
    /// It is started.
    Begins(RunInput),
    /// It goes on.
    GoesOn(ResumeInput),
    /// It has its answer, or its question.
    AtRest(JobRest),
}

/// The checkpoint that a job has come to.
pub struct JobRest {
    pub job: JobId,
    pub run: RunId,
    pub checkpoint: Box<Checkpoint>,
    pub path: PathBuf,
}

impl JobRest {
    /// That of `job`; `None` where its process died before there was one.
    ///
    /// # Errors
    /// There is no such job, or it cannot be read.
    fn of(store: &Store, job: &JobId) -> Result<Option<Self>, RunError> {
        let Found::Run { run, checkpoint: Some(entry), .. } = store.find_job(job)? else { return Ok(None) };
        let checkpoint = Box::new(recorded_run::read_checkpoint(store, &entry)?);
        Ok(Some(Self { job: job.clone(), run, checkpoint, path: entry.path }))
    }

    /// Returns whether the job has its answer, or its question: nothing is left to do without a person.
    fn is_over(&self, store: &Store) -> bool {
        let status = self.checkpoint.head.status;
        matches!(status, Status::Completed | Status::StoppedByInteractiveTool)
            && store.job(&self.job).is_ok_and(|job| job.status == status.into())
    }

    /// Returns whether the job waits for an answer at this checkpoint.
    fn waits_at(&self, checkpoint: &CheckpointId) -> bool {
        let head = &self.checkpoint.head;
        head.id == *checkpoint && head.status == Status::StoppedByInteractiveTool
    }

    /// The end that is on record, emitted once more.
    fn end(self, store: &Store, options: &Options) -> Result<RecordedEnd, RunError> {
        for event in recorded_run::read_run(store, &self.job, &self.run)?.into_iter().flat_map(|past| past.events) {
            emit_end(&event, &self.checkpoint, options);
        }
        Ok(recorded(store, &self.job, *self.checkpoint, self.path)?.into())
    }
}

/// Finds the way to the end of the job `input.job_id`. Nothing is changed.
///
/// # Errors
/// The job is about another query, or of another expert; or it cannot be read.
pub fn look(store: &Store, input: RunInput, options: &Options) -> Result<Ensured, RunError> {
    let Some(id) = input.job_id.clone() else { return Ok(Ensured::Begins(input)) };
    store.fetch_job(&id)?;
    match JobRest::of(store, &id) {
        Ok(Some(rest)) => {
            check_query(&id, &input, &rest.checkpoint, options)?;
            // A question is asked again by whoever can; to continue without its answer is not possible.
            if rest.is_over(store) {
                check_expert(Some(&input.expert), &rest.checkpoint.head)?;
                return Ok(Ensured::AtRest(rest));
            }
        }
        Ok(None) => {}
        Err(RunError::Store(StoreError::NotFound { .. })) => return Ok(Ensured::Begins(input)),
        Err(error) => return Err(error),
    }
    Ok(Ensured::GoesOn(going_on(id, Some(input.expert))))
}

/// The resumption of a job without a further message.
fn going_on(job: JobId, expert: Option<ExpertKey>) -> ResumeInput {
    ResumeInput { from: ResumeFrom::Job(job), expert, query: None, attached: Vec::new(), is_answer: false }
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
