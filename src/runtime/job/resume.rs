//! [`resume`]: continues a job. A Run that was killed is recovered as itself; one that stopped, or any older
//! checkpoint, is continued by a new Run that names it as its parent. What to resume from is [`resume_point`]'s,
//! driving the Runs the tree's.

use tokio::time::Instant;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::checkpoint::{FORMAT_VERSION, Status};
use crate::content::Content;
use crate::cost::Spend;
use crate::event::InteractiveAnswer;
use crate::expert::{Expert, ExpertKey};
use crate::expert_map::{ExpertError, UnknownExpert};
use crate::fact::{IdGenerator, RunParameters};
use crate::id::{JobId, RunId};
use crate::job::{Job, JobBudget, JobStatus};
use crate::machine::RunTotals;
use crate::message::UserInput;
use crate::replay::RecordedStart;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::{JobContext, without_secrets};
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::job::recorded_options::record_start;
use crate::runtime::job::request::{UserReply, check_expert, reply_to, user_input};
use crate::runtime::job::resume_point::{self, ResumePoint};
use crate::runtime::job::spending;
use crate::runtime::job::tree::Root;
use crate::runtime::job::{RecordedEnd, in_time, shared_account, stop_signal, work};
use crate::runtime::options::{Options, ResumeInput};
use crate::runtime::run::continuation::parameters_of;
use crate::runtime::run::prepare::{JobBasis, prepare};
use crate::runtime::run::stopped::on_record;
use crate::runtime::run::task::{ContinueFrom, RunTask, StoppedRun};
use crate::runtime::run::verify::check_read_only;
use crate::store::{Found, Store, StoreError};
use crate::tool::ToolResult;
use crate::usage::Usage;

/// Continues a job.
pub async fn resume(input: ResumeInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let began = Instant::now();
    let store = Store::new(&options.storage);
    let sent = user_input(&input)?;
    let found = resume_point::find(&store, &input.from)?;
    let (job_store, found) = resume_point::lock_job(&store, found, &input, options)?;
    let (point, stored) = resume_point::load(&store, job_store.id(), &found)?;
    check_expert(input.expert.as_ref(), point.head())?;
    if input.is_answer && point.status() != Some(Status::StoppedByInteractiveTool) {
        return Err(RunError::NothingAsked { job: job_store.id().clone() });
    }
    let before = stored.as_ref().map(|setting| setting.model.clone());
    let mut options = options.clone();
    let expert = expert_here(&point.head().expert.key, job_store.id(), &options)?.clone();
    let past = match &point {
        ResumePoint::Interrupted { past, run } => Some((run, &**past)),
        ResumePoint::Checkpoint(_) => None,
    };
    let spending = spending::JobSpending::read_beside(&store, job_store.id(), past)?;
    let backends = JobBackends::open(&options, &expert, Some(job_store.id())).await?;
    let mut job = job_to_continue(&store, job_store.id(), &point, &backends)?;
    let budgets = spending::budgets_on_resume(&options.settings, &job.budget.limits);
    options.settings.budgets = budgets;
    options.settings.limits.max_steps = spending::max_steps_on_resume(&options.settings, job.max_steps);
    job.max_steps = Some(options.settings.limits.max_steps);
    job.budget =
        JobBudget { limits: budgets, spent: Some(spending.spent), active_since: Some(backends.clock.stamp().at) };
    (job.usage, job.spend) = (spending.usage, spending.spend);
    let shared = shared_account(&store, &options)?;
    backends.check_prices(&expert, &options, shared.as_deref())?;
    check_read_only(&expert, &options)?;
    without_secrets(&options, &backends, &expert)?;
    options.context_folders.extend(recorded_parameters(&store, &point).context_folders.into_iter().map(PathBuf::from));
    let files = InstructionFiles::read(&expert, &options)?;
    record_start(&backends, &options, (&expert, &files), |recorded| RecordedStart {
        from: Some(point.head().id.clone()),
        query: input.query.clone(),
        attached: input.attached.clone(),
        is_answer: input.is_answer,
        recovers: matches!(point, ResumePoint::Interrupted { .. }),
        ..recorded(job.id.clone())
    })?;
    let stop = stop_signal(&options, &backends, spending.spent, began);
    let context = JobContext { options, backends, files, store, job: job_store, stop, budget: None, shared };
    let options = &context.options;
    let sent = sent.map(|sent| UserInput { text: context.backends.redactor.text(&sent.text), ..sent });
    let root = match root_of(point, sent, &context)? {
        Start::RunTask(task) => {
            let expert = options.experts.get(task.expert().0)?;
            let doubts = context.backends.doubtful_models(expert, options)?;
            let is_as_before = before == context.backends.model_for(expert, &options.settings).ok();
            let doubts = if is_as_before { Vec::new() } else { doubts };
            let warnings = doubts.into_iter().chain(context.files.notes()).collect();
            let prepared =
                in_time(&context.stop, prepare(JobBasis::from_context(&context), &task, expert, warnings)).await?;
            Root::Task(Box::new(task), Box::new(prepared))
        }
        Start::Root(root) => root,
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

/// The first thing to do.
enum Start {
    /// A Run to be driven, once its tools are open.
    RunTask(RunTask),
    Root(Root),
}

/// The coordinator's beginning, from its state and the user's query.
fn root_of(point: ResumePoint, query: Option<UserInput>, context: &JobContext) -> Result<Start, RunError> {
    let checkpoint = match point {
        ResumePoint::Interrupted { past, run } if past.status().is_none() => {
            return Ok(Start::RunTask(RunTask::Recover { run, past, query }));
        }
        ResumePoint::Interrupted { past, .. } => {
            // It had ended, but its process died before the end was stored and reported: both is done now.
            let stopped = on_record(context, *past, true)?;
            let is_answer =
                matches!(stopped.checkpoint.head.status, Status::Completed | Status::StoppedByInteractiveTool);
            if query.is_none() && is_answer {
                return Ok(Start::Root(Root::Stopped { stopped: Box::new(stopped), query, is_fork: false }));
            }
            stopped.checkpoint
        }
        ResumePoint::Checkpoint(checkpoint) => *checkpoint,
    };
    let head = &checkpoint.head;
    let (query, answer, answers) = match head.status {
        Status::StoppedByDelegate if !head.from_elsewhere => {
            let newest = context.store.find_job(&head.job_id)?;
            let is_fork = !matches!(newest, Found::Run { run, .. } if run == head.run_id);
            let path = context.store.layout().checkpoint(&head.job_id, &head.run_id, head.step_number, &head.id);
            let totals = RunTotals::default();
            let (skills, with_outputs) = (None, None);
            let stopped = StoppedRun { checkpoint, path, steps: 0, on_record: true, totals, skills, with_outputs };
            return Ok(Start::Root(Root::Stopped { stopped: Box::new(stopped), query, is_fork }));
        }
        _ => match reply_to(&checkpoint, query)? {
            UserReply::Message(query) => (query, None, Vec::new()),
            UserReply::Answer(answer, attached) => {
                let result = result_of(&answer, attached);
                (None, Some(answer), vec![result])
            }
        },
    };
    Ok(Start::RunTask(RunTask::Continue(Box::new(ContinueFrom {
        run: RunId::from(IdGenerator::new(context.backends.clock.stamp()).uuid()),
        from: checkpoint,
        query,
        answer,
        answers,
        reached_step: 0,
        delegated_usage: Usage::default(),
        delegated_spend: Spend::default(),
        untrusted: false,
        with_outputs: None,
    }))))
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

/// The expert by the configuration at hand. A storage may have come with a folder: what it has on record starts nothing.
fn expert_here<'a>(key: &ExpertKey, job: &JobId, options: &'a Options) -> Result<&'a Expert, RunError> {
    options.experts.get(key).map_err(|error| match error {
        ExpertError::Unknown(UnknownExpert { key, known }) => RunError::ExpertOfJob { job: job.clone(), key, known },
        error => error.into(),
    })
}

/// The job's record as this invocation continues it; a new one where none can be read.
fn job_to_continue(store: &Store, id: &JobId, point: &ResumePoint, backends: &JobBackends) -> Result<Job, StoreError> {
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
