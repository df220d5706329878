//! [`resume`]: continues a job. A Run that was killed is recovered as itself; one that stopped, or any older
//! checkpoint, is continued by a new Run that names it as its parent. What to resume from is [`resume_point`]'s,
//! driving the Runs the tree's.

use tokio::time::Instant;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, FORMAT_VERSION, Status};
use crate::content::Content;
use crate::cost::Spend;
use crate::event::InteractiveAnswer;
use crate::expert::Expert;
use crate::expert_map::{ExpertError, UnknownExpert};
use crate::fact::{IdGenerator, RunParameters};
use crate::id::{JobId, RunId};
use crate::job::{Job, JobBudget, JobStatus};
use crate::message::UserInput;
use crate::replay::RecordedStart;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::{JobBasis, JobContext};
use crate::runtime::job::recorded_options::record_start;
use crate::runtime::job::request::{UserReply, check_expert, reply_to, user_input};
use crate::runtime::job::resume_point::{self, ResumePoint};
use crate::runtime::job::spending;
use crate::runtime::job::tree::Root;
use crate::runtime::job::{
    RecordedEnd, check_and_read, in_time, live_side, shared_account, stop_signal, stop_when_lost, work,
};
use crate::runtime::options::{Options, ResumeInput};
use crate::runtime::run::continuation::parameters_of;
use crate::runtime::run::prepare::prepare;
use crate::runtime::run::stopped::complete;
use crate::runtime::run::task::{ContinueFrom, RunTask, StoppedRun};
use crate::runtime::snapshots::restoring::difference_warning;
use crate::setting::RunSetting;
use crate::store::{Found, Store, StoreError};
use crate::tool::ToolResult;
use crate::usage::Usage;

/// Continues a job.
pub async fn resume(input: ResumeInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let began = Instant::now();
    let store = options.store();
    let sent = user_input(&input)?;
    resume_point::fetch(&store, &input.from)?;
    let found = resume_point::find(&store, &input.from)?;
    let (job_store, found) = resume_point::lock_job(&store, found, &input, options)?;
    stop_when_lost(&job_store, options);
    let (point, stored) = resume_point::load(&store, job_store.id(), &found)?;
    let expert = expert_of(&point, &input, options)?.clone();
    let past = match &point {
        ResumePoint::Interrupted { past, run } => Some((run, &**past)),
        ResumePoint::Checkpoint(_) => None,
    };
    let spending = spending::JobSpending::read_beside(&store, job_store.id(), past)?;
    let backends = JobBackends::open(options, &expert, Some(job_store.id())).await?;
    let mut live = Box::pin(live_side(options, &expert)).await?;
    let mut job = job_to_continue(&store, job_store.id(), &point, &backends)?;
    let recorded = recorded_parameters(&store, &point);
    let options = options_of(&mut job, &recorded, options);
    if let Some(live) = &mut live {
        live.options = options_of(&mut job, &recorded, &live.options);
    }
    let (in_force, behind) = live.as_ref().map_or((&options, &backends), |live| (&live.options, &live.backends));
    job.budget.spent = Some(spending.spent);
    job.budget.active_since = Some(behind.clock.stamp().at);
    (job.usage, job.spend) = (spending.usage, spending.spend);
    let shared = shared_account(&store, &options)?;
    let files = check_and_read(&expert, &options, &backends, shared.as_deref())?;
    record_start(&backends, &options, (&expert, &files), |recorded| RecordedStart {
        from: Some(point.head().id.clone()),
        query: input.query.clone(),
        attached: input.attached.clone(),
        is_answer: input.is_answer,
        recovers: matches!(point, ResumePoint::Interrupted { .. }),
        ..recorded(job.id.clone())
    })?;
    let stop = stop_signal(in_force, behind, spending.spent, began);
    let job_store = Arc::new(job_store);
    let live = live.map(|live| live.into_context(&store, &job_store, &stop)).transpose()?;
    let context = JobContext::new(options, backends, files, (store, job_store), stop)?;
    let context = JobContext { shared, live, ..context };
    let completed = match &point {
        // It had ended, but its process died before the end was stored and reported: both is done now.
        ResumePoint::Interrupted { past, .. } if past.status().is_some() => Some(complete(&context, past, true)?),
        _ => None,
    };
    // A replay has a workspace of its own.
    let compares = !context.backends.tape.is_replay();
    let changed = if compares { difference_warning(&context.store, point.head(), &context.options) } else { None };
    let root = match next_task(point, masked(sent, &context.backends), &context.backends)? {
        NextTask::Run(task) => {
            let expert = context.options.experts.get(task.expert().0)?;
            let mut warnings = warnings_of(stored.as_ref(), expert, context.basis())?;
            warnings.extend(changed);
            let prepared = in_time(&context.stop, prepare(context.basis(), &task, expert, warnings)).await?;
            Root::Task(task, Box::new(prepared))
        }
        NextTask::Stopped { checkpoint, query } => stopped_root(*checkpoint, query, completed, &context)?,
    };
    context.job.write_job(&job)?;
    work(context, job, root, spending, began).await
}

/// The parameters with which the Run that is resumed got its instruction.
pub fn recorded_parameters(store: &Store, point: &ResumePoint) -> RunParameters {
    match point {
        ResumePoint::Interrupted { past, .. } => past.machine.parameters().clone(),
        ResumePoint::Checkpoint(checkpoint) => {
            let head = &checkpoint.head;
            parameters_of(store, &head.job_id, &head.run_id, &checkpoint.messages)
        }
    }
}

/// The expert that goes on from `point`, by the configuration at hand, once the request is found to fit. A storage may have
/// come with a folder: what it has on record starts nothing.
///
/// # Errors
/// A request that does not fit, or an expert that is not defined.
pub fn expert_of<'a>(point: &ResumePoint, input: &ResumeInput, options: &'a Options) -> Result<&'a Expert, RunError> {
    let head = point.head();
    check_expert(input.expert.as_ref(), head)?;
    if input.is_answer && point.status() != Some(Status::StoppedByInteractiveTool) {
        return Err(RunError::NothingAsked { job: head.job_id.clone() });
    }
    options.experts.get(&head.expert.key).map_err(|error| match error {
        ExpertError::Unknown(UnknownExpert { key, known }) => {
            RunError::ExpertOfJob { job: head.job_id.clone(), key, known }
        }
        error => error.into(),
    })
}

/// The options of a job that goes on: its own budgets and steps count, and the folders whose files were in its
/// instruction. The job gets the limits that hold from now on.
pub fn options_of(job: &mut Job, recorded: &RunParameters, options: &Options) -> Options {
    let mut options = options.clone();
    options.settings.budgets = spending::budgets_on_resume(&options.settings, &job.budget.limits);
    options.settings.limits.max_steps = spending::max_steps_on_resume(&options.settings, job.max_steps);
    options.context_folders.extend(recorded.context_folders.iter().map(PathBuf::from));
    job.max_steps = Some(options.settings.limits.max_steps);
    job.budget.limits = options.settings.budgets;
    options
}

/// The user's input without secrets.
pub fn masked(sent: Option<UserInput>, backends: &JobBackends) -> Option<UserInput> {
    sent.map(|sent| UserInput { text: backends.redactor.text(&sent.text), ..sent })
}

/// The warnings of a Run of `expert` that goes on, whose Run before was set up so: a doubt about a model that it had is no
/// news.
///
/// # Errors
/// An expert that is unusable.
pub fn warnings_of(before: Option<&RunSetting>, expert: &Expert, job: JobBasis<'_>) -> Result<Vec<String>, RunError> {
    let doubts = job.backends.doubtful_models(expert, job.options)?;
    let is_as_before =
        before.map(|setting| &setting.model) == job.backends.model_for(expert, &job.options.settings).ok().as_ref();
    let doubts = if is_as_before { Vec::new() } else { doubts };
    Ok(doubts.into_iter().chain(job.files.notes()).collect())
}

/// The first thing to do.
pub enum NextTask {
    /// A Run to be driven, once its tools are open.
    Run(Box<RunTask>),
    /// A Run that stopped: it waits for delegates, or was the job's end.
    Stopped { checkpoint: Box<Checkpoint>, query: Option<UserInput> },
}

/// The coordinator's beginning, from its state and the user's query.
///
/// # Errors
/// As [`reply_to`].
pub fn next_task(point: ResumePoint, query: Option<UserInput>, backends: &JobBackends) -> Result<NextTask, RunError> {
    let checkpoint = match point {
        ResumePoint::Interrupted { past, run } if past.status().is_none() => {
            return Ok(NextTask::Run(Box::new(RunTask::Recover { run, past, query })));
        }
        ResumePoint::Interrupted { past, .. } => {
            let checkpoint = Box::new(past.machine.into_checkpoint());
            let is_answer = matches!(checkpoint.head.status, Status::Completed | Status::StoppedByInteractiveTool);
            if query.is_none() && is_answer {
                return Ok(NextTask::Stopped { checkpoint, query });
            }
            checkpoint
        }
        ResumePoint::Checkpoint(checkpoint) => checkpoint,
    };
    let head = &checkpoint.head;
    if head.status == Status::StoppedByDelegate && !head.from_elsewhere {
        return Ok(NextTask::Stopped { checkpoint, query });
    }
    let (query, answer, answers) = match reply_to(&checkpoint, query)? {
        UserReply::Message(query) => (query, None, Vec::new()),
        UserReply::Answer(answer, attached) => {
            let result = result_of(&answer, attached);
            (None, Some(answer), vec![result])
        }
    };
    Ok(NextTask::Run(Box::new(RunTask::Continue(Box::new(ContinueFrom {
        run: RunId::from(IdGenerator::new(backends.clock.stamp()).uuid()),
        from: *checkpoint,
        query,
        answer,
        answers,
        reached_step: 0,
        delegated_usage: Usage::default(),
        delegated_spend: Spend::default(),
        untrusted: false,
        with_outputs: None,
    })))))
}

/// The root of a job whose coordinator stopped so. `completed`: its file, where it is the end that was not reported.
fn stopped_root(
    checkpoint: Checkpoint,
    query: Option<UserInput>,
    completed: Option<PathBuf>,
    context: &JobContext,
) -> Result<Root, RunError> {
    let head = &checkpoint.head;
    let is_fork = head.status == Status::StoppedByDelegate
        && !matches!(context.store.find_job(&head.job_id)?, Found::Run { run, .. } if run == head.run_id);
    let layout = context.store.layout();
    let path = completed.unwrap_or_else(|| layout.checkpoint(&head.job_id, &head.run_id, head.step_number, &head.id));
    Ok(Root::Stopped { stopped: Box::new(StoppedRun::on_record(checkpoint, path)), query, is_fork })
}

/// An answer of the user as the result of the call that it answers.
fn result_of(answer: &InteractiveAnswer, attached: Vec<Content>) -> ToolResult {
    ToolResult {
        id: answer.tool_call_id.clone(),
        skill_name: answer.skill_name.clone(),
        tool_name: answer.tool_name.clone(),
        result: std::iter::once(Content::text(answer.text.clone())).chain(attached).collect(),
        is_error: false,
        found_tools: Box::default(),
    }
}

/// The job's record as this invocation continues it; a new one where none can be read.
///
/// # Errors
/// One that only a newer version can read.
pub fn job_to_continue(
    store: &Store,
    id: &JobId,
    point: &ResumePoint,
    backends: &JobBackends,
) -> Result<Job, StoreError> {
    let mut job = match store.job(id) {
        Ok(job) => job,
        Err(newer @ StoreError::Newer { .. }) => return Err(newer),
        Err(_) => Job {
            format_version: FORMAT_VERSION,
            id: id.clone(),
            status: JobStatus::Running,
            coordinator_expert_key: point.head().expert.key.clone(),
            total_steps: 0,
            max_steps: None,
            usage: Usage::default(),
            spend: Spend::default(),
            started_at: backends.clock.stamp().at,
            finished_at: None,
            last_run_at: None,
            ends: BTreeMap::new(),
            replayed: false,
            workspace_from: None,
            budget: JobBudget::default(),
        },
    };
    job.format_version = FORMAT_VERSION;
    job.status = JobStatus::Running;
    job.finished_at = None;
    job.last_run_at = None;
    job.replayed &= backends.tape.is_replay();
    Ok(job)
}
