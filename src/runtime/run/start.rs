//! One Run from its beginning, or from where its log ends, to its stop ([`run_task`]): its tools are opened, its record
//! is opened, it is driven, and all is closed again; the tools of a Run that ends its job, by the job. The tree of Runs calls it, in a task for each Run.

use std::sync::Arc;

use crate::checkpoint::{DelegatedBy, Status};
use crate::content::Content;
use crate::cost::Spend;
use crate::event::{Event, EventBody};
use crate::expert::Expert;
use crate::fact::{FactBody, ParentCheckpoint, Resumption, RunParameters, RunSpec};
use crate::id::RunId;
use crate::machine::{Input, RunMachine};
use crate::message::UserInput;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{self, RecordedRun};
use crate::runtime::job::context::JobContext;
use crate::runtime::run::calls::check_doubts;
use crate::runtime::run::check::AnswerSchema;
use crate::runtime::run::closing::OpenSkills;
use crate::runtime::run::context::RunContext;
use crate::runtime::run::continuation::{Composer, Continuation, parameters_of};
use crate::runtime::run::drive;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::run::prepare::{JobBasis, PreparedRun, prepare};
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::stopped::on_record;
use crate::runtime::run::task::{ContinueFrom, RunTask, StoppedRun};
use crate::runtime::tools::Toolset;
use crate::usage::Usage;

/// Performs a task, prepared already or not. A Run that is on disk already is not begun
/// again: it is recovered, or has stopped.
///
/// # Errors
/// A failure that keeps the Run from beginning, or a failure to store.
pub async fn run_task(
    job: Arc<JobContext>,
    task: RunTask,
    prepared: Option<PreparedRun>,
) -> Result<StoppedRun, RunError> {
    if let RunTask::Start { expert, by: Some(by), .. } = &task
        && !job.options.experts.get(&by.expert.key)?.delegates.contains(expert)
    {
        return Err(RunError::NoDelegate { expert: by.expert.key.clone(), delegate: expert.clone() });
    }
    if job.backends.stops.as_ref().is_some_and(|stops| stops.get(task.run()).is_none()) {
        // In the recording the job was stopped before this Run began.
        return Err(RunError::StoppedAtStart);
    }
    let task = match task {
        RunTask::Recover { .. } => task,
        other => match read_back(&job, other.run())? {
            Some(past) if past.machine.head().expert.key != *other.expert().0 => {
                let what = format!("it is not of expert {}, whose run it continues or is", other.expert().0);
                return Err(RunError::History { place: job.store.layout().log(job.job_id(), other.run()), what });
            }
            Some(past) => match past.status() {
                Some(_) => return on_record(&job, past, false),
                None => RunTask::Recover { run: other.run().clone(), past: Box::new(past), query: None },
            },
            None => other,
        },
    };
    let expert = job.options.experts.get(task.expert().0)?.clone();
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => prepare(JobBasis::from_context(&job), &task, &expert, Vec::new()).await?,
    };
    let mut with_outputs = keep_outputs(&job, &prepared.toolset, &task);
    let PreparedRun { emitter, toolset } = prepared;
    let run = task.run().clone();
    let stopped = RunStart::new(&job, task, expert, emitter, &toolset)?.drive(toolset).await?;
    if has_outputs(&job, &run) {
        with_outputs.insert(0, run);
    }
    Ok(StoppedRun { with_outputs: Some(with_outputs), ..stopped })
}

/// The Run as its log has it; `None` when it never began.
fn read_back(job: &JobContext, run: &RunId) -> Result<Option<RecordedRun>, RunError> {
    if !job.store.layout().log(job.job_id(), run).exists() {
        return Ok(None);
    }
    recorded_run::read_run(&job.store, job.job_id(), run)
}

/// Gives the toolset the folder for the Run's long outputs, and those of the Runs that its conversation comes from, which
/// are returned, the nearest first. A line of Runs is as long as the number of delegations in turn: its logs are read once.
fn keep_outputs(job: &JobContext, toolset: &Toolset, task: &RunTask) -> Vec<RunId> {
    let run = task.run();
    let lineage = |run: &RunId| recorded_run::lineage(&job.store, job.job_id(), run);
    let with_outputs = |mut runs: Vec<RunId>| {
        runs.retain(|run| has_outputs(job, run));
        runs
    };
    let earlier = match task {
        RunTask::Start { .. } => Vec::new(),
        RunTask::Continue(start) => match &start.with_outputs {
            Some(known) => known.clone(),
            None => with_outputs(lineage(&start.from.head.run_id)),
        },
        RunTask::Recover { .. } => with_outputs(lineage(run).split_off(1)),
    };
    let folder = |run: &RunId| job.store.layout().outputs(job.job_id(), run);
    toolset.outputs.keep_in(folder(run), earlier.iter().map(folder).collect(), job.backends.redactor.clone());
    earlier
}

fn has_outputs(job: &JobContext, run: &RunId) -> bool {
    job.store.layout().outputs(job.job_id(), run).is_dir()
}

/// A Run ready to be driven.
struct RunStart {
    context: RunContext,
    machine: RunMachine,
    first: FactBody,
    recorder: Recorder,
    /// Events of the Run's past that a process which died may not have shown.
    overdue: Vec<Event>,
}

impl RunStart {
    fn new(
        job: &Arc<JobContext>,
        task: RunTask,
        expert: Expert,
        emitter: EventEmitter,
        toolset: &Toolset,
    ) -> Result<Self, RunError> {
        let mut setting = job.setting(&expert, task.run())?;
        if let RunTask::Recover { past, .. } = &task {
            setting.started_at = past.began_at;
        }
        let models = job.backends.models_for(&expert, &job.options.settings)?;
        let context = RunContext {
            job: Arc::clone(job),
            expert,
            models,
            setting: Arc::new(setting),
            emitter,
            notices: toolset.notices.clone(),
            verifier: toolset.verifier.clone(),
        };
        match task {
            RunTask::Start { query, attached, by, first_step, .. } => {
                let input = std::iter::once(Content::text(query)).chain(attached).collect();
                Self::begin(context, toolset, input, by, first_step)
            }
            RunTask::Continue(start) => Self::continue_from(context, toolset, *start),
            RunTask::Recover { past, query, .. } => Self::recover(context, toolset, *past, query),
        }
    }

    fn begin(
        context: RunContext,
        toolset: &Toolset,
        input: Vec<Content>,
        by: Option<Box<DelegatedBy>>,
        first_step: u64,
    ) -> Result<Self, RunError> {
        let answer = AnswerSchema::choose(&context.job.options, &context.expert, by.is_some(), None)?;
        let recorder = create_record(&context)?;
        let run = context.emitter.run_id.clone();
        let expert = context.expert.reference();
        let machine = recorded_run::fresh(context.job.job_id(), &run, expert.clone());
        let spec = RunSpec {
            job_id: context.job.job_id().clone(),
            run_id: run,
            expert,
            instruction: composer(&context, by.is_some()).compose(answer.schema.as_ref()),
            first_step,
            untrusted: by.is_none() && context.job.options.untrusted_input,
            delegated_by: by.map(|by| *by),
            parameters: context.job.parameters(
                &context.expert,
                &context.models,
                toolset,
                &context.setting,
                answer.schema,
            ),
            budgets: context.setting.budgets,
        };
        let first = FactBody::Started { spec: Box::new(spec), input };
        Ok(Self { context, machine, first, recorder, overdue: Vec::new() })
    }

    fn continue_from(context: RunContext, toolset: &Toolset, from: ContinueFrom) -> Result<Self, RunError> {
        let untrusted =
            from.untrusted || (context.job.options.untrusted_input && (from.query.is_some() || from.answer.is_some()));
        let ContinueFrom { run, from, query, answers, reached_step, delegated_usage, delegated_spend, .. } = from;
        let before = parameters_of(&context.job.store, context.job.job_id(), &from.head.run_id, &from.messages);
        let is_delegate = from.head.delegated_by.is_some();
        let Continuation { schema, instruction, query, .. } =
            go_on(&context, is_delegate, &before, from.head.from_elsewhere, query)?;
        let recorder = create_record(&context)?;
        let resumption = Resumption {
            run_id: run,
            parent: Some(ParentCheckpoint { run_id: from.head.run_id.clone(), checkpoint_id: from.head.id.clone() }),
            query,
            answers,
            reached_step,
            delegated_usage,
            delegated_spend,
            untrusted,
            instruction,
            parameters: context.job.parameters(&context.expert, &context.models, toolset, &context.setting, schema),
        };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        let machine = RunMachine::restore(from);
        Ok(Self { context, machine, first, recorder, overdue: Vec::new() })
    }

    fn recover(
        context: RunContext,
        toolset: &Toolset,
        past: RecordedRun,
        query: Option<UserInput>,
    ) -> Result<Self, RunError> {
        let job = &context.job;
        let is_delegate = past.machine.head().delegated_by.is_some();
        let run = context.emitter.run_id.clone();
        let run_store = job.job.open_run_at(&run, past.log_end)?;
        let mut recorder = Recorder::new(run_store, Arc::clone(&context.setting), Arc::clone(&job.options.sink));
        recorder.owe_setting();
        // The checkpoint that the process which died owed, or of which a power cut took the file. Those before it are made
        // again by whoever names them.
        if let Some(path) = past.newest_stored {
            recorder.found(path);
        }
        if let Some((save, position)) = past.unstored {
            recorder.restore(&save, position)?;
        }
        let untrusted = job.options.untrusted_input && query.is_some();
        let before = past.machine.parameters();
        let Continuation { schema, instruction, query, .. } = go_on(&context, is_delegate, before, false, query)?;
        let resumption = Resumption {
            run_id: run,
            parent: None,
            query,
            answers: Vec::new(),
            reached_step: 0,
            delegated_usage: Usage::default(),
            delegated_spend: Spend::default(),
            untrusted,
            instruction,
            parameters: job.parameters(&context.expert, &context.models, toolset, &context.setting, schema),
        };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        let mut machine = past.machine;
        // What was spent before this process is the job's account's already.
        machine.restart_totals();
        Ok(Self { context, machine, first, recorder, overdue: past.events })
    }

    async fn drive(self, toolset: Toolset) -> Result<StoppedRun, RunError> {
        let Self { context, mut machine, first, mut recorder, overdue } = self;
        for event in &overdue {
            context.emitter.sink.emit(event, machine.messages());
        }
        let mut skills = toolset.skills;
        let input = Input::Fact(context.fact(first));
        let driven = match check_doubts(&machine, &input, &context, &skills) {
            Ok(()) => drive(&mut machine, input, &mut recorder, &context, &mut skills).await,
            Err(doubts) => Err(doubts),
        };
        let mut skills = Some(OpenSkills::new(skills, context.emitter.clone(), toolset.notices));
        // The servers of a Run that ends its job can end while the answer is shown. All others have to be gone before the
        // next Run, which may need what they hold; after a failure too: they must not outlive their Run.
        let head = machine.head();
        let ends_job = head.delegated_by.is_none() && head.status != Status::StoppedByDelegate;
        if (driven.is_err() || !ends_job)
            && let Some(skills) = skills.take()
        {
            skills.close().await;
        }
        let first_step = driven?;
        let steps = machine.head().step_number.saturating_sub(first_step).saturating_add(1);
        let path = recorder.newest().cloned().unwrap_or_default();
        let totals = machine.totals();
        let checkpoint = machine.into_checkpoint();
        Ok(StoppedRun { checkpoint, path, steps, on_record: false, totals, skills, with_outputs: None })
    }
}

/// The composer of the Run's instruction.
fn composer(context: &RunContext, is_delegate: bool) -> Composer<'_> {
    let JobContext { options, files, backends, .. } = &*context.job;
    let started_at = context.setting.started_at;
    Composer { options, expert: &context.expert, files, redactor: &backends.redactor, started_at, is_delegate }
}

/// The things that the Run goes on with; a change of its files is shown.
fn go_on(
    context: &RunContext,
    is_delegate: bool,
    before: &RunParameters,
    from_elsewhere: bool,
    query: Option<UserInput>,
) -> Result<Continuation, RunError> {
    let continuation = composer(context, is_delegate).go_on(before, from_elsewhere, query)?;
    if let Some(message) = continuation.change.clone() {
        context.emitter.emit(EventBody::RuntimeWarning { message });
    }
    Ok(continuation)
}

/// The record of a Run that is new.
fn create_record(context: &RunContext) -> Result<Recorder, RunError> {
    let run_store = context.job.job.create_run(&context.setting)?;
    Ok(Recorder::new(run_store, Arc::clone(&context.setting), Arc::clone(&context.job.options.sink)))
}
