//! One Run from its beginning, or from where its log ends, to its stop ([`run_task`]): its tools are opened, its record
//! is opened, it is driven, and all is closed again; the tools of a Run that ends its job, by the job. The tree of Runs calls it, in a task for each Run.

use std::sync::Arc;

use crate::checkpoint::Status;
use crate::event::{Event, EventBody};
use crate::expert::Expert;
use crate::fact::{Fact, FactBody};
use crate::id::RunId;
use crate::machine::Input;
use crate::message::UserInput;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{self, RecordedRun};
use crate::runtime::job::context::JobContext;
use crate::runtime::run::beginning::{Beginning, RunScene};
use crate::runtime::run::calls::check_doubts;
use crate::runtime::run::closing::OpenSkills;
use crate::runtime::run::context::RunContext;
use crate::runtime::run::drive;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::run::prepare::{PreparedRun, prepare};
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::stopped::on_record;
use crate::runtime::run::task::{RunTask, StoppedRun};
use crate::runtime::tools::Toolset;
use crate::snapshot::SnapshotId;

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
                Some(_) => return on_record(&job, past),
                None => RunTask::Recover { run: other.run().clone(), past: Box::new(past), query: None },
            },
            None => other,
        },
    };
    let expert = job.options.experts.get(task.expert().0)?.clone();
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => prepare(job.basis(), &task, &expert, Vec::new()).await?,
    };
    if let Some(live) = job.live.as_ref().filter(|_| prepared.toolset.is_unrecorded) {
        return Box::pin(run_task(Arc::clone(live), task, None)).await;
    }
    let mut with_outputs = keep_outputs(&job, &prepared.toolset, &task);
    let PreparedRun { emitter, toolset } = prepared;
    let run = task.run().clone();
    let snapshot = job.snapshots.at_start(&emitter).await?;
    let stopped = match RunStart::new(&job, task, expert, emitter, &toolset, snapshot)?.drive(toolset).await? {
        RunDriven::Stopped(stopped) => *stopped,
        RunDriven::LeftRecording { first_step } => return go_on_live(&job, run, first_step).await,
    };
    if has_outputs(&job, &run) {
        with_outputs.insert(0, run);
    }
    Ok(StoppedRun { with_outputs: Some(with_outputs), ..stopped })
}

/// Goes on with a Run that has left its recording, as another process would from its log.
async fn go_on_live(job: &JobContext, run: RunId, first_step: u64) -> Result<StoppedRun, RunError> {
    let nothing = || RunError::Internal(format!("run {run} left a recording and has no record, or nowhere to go on"));
    let live = job.live.as_ref().ok_or_else(nothing)?;
    let past = read_back(live, &run)?.ok_or_else(nothing)?;
    let before = past.machine.head().step_number.saturating_sub(first_step);
    // Its events are those that were emitted here a moment ago.
    let past = Box::new(RecordedRun { events: Vec::new(), ..past });
    let task = RunTask::Recover { run, past, query: None };
    let stopped = Box::pin(run_task(Arc::clone(live), task, None)).await?;
    Ok(StoppedRun { steps: stopped.steps.saturating_add(before), ..stopped })
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

/// The end of a Run's loop.
enum RunDriven {
    Stopped(Box<StoppedRun>),
    /// The Run does what its recording does not have. It began with this step.
    LeftRecording {
        first_step: u64,
    },
}

/// A Run ready to be driven.
struct RunStart {
    context: RunContext,
    beginning: Beginning,
    recorder: Recorder,
    /// Events of the Run's past that a process which died may not have shown.
    overdue: Vec<Event>,
    /// It leaves a recording: what it had under way there is not charged for.
    leaves_recording: bool,
}

impl RunStart {
    fn new(
        job: &Arc<JobContext>,
        task: RunTask,
        expert: Expert,
        emitter: EventEmitter,
        toolset: &Toolset,
        snapshot: Option<SnapshotId>,
    ) -> Result<Self, RunError> {
        let mut setting = job.basis().setting(&expert, task.run())?;
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
        let mut start = match task {
            RunTask::Recover { past, query, .. } => Self::recover(context, toolset, *past, query),
            new => {
                let beginning = Beginning::new(scene(&context, toolset), new)?;
                let run_store = context.job.job.create_run(&context.setting)?;
                let job = &context.job;
                let recorder = Recorder::new(run_store, Arc::clone(&context.setting), Arc::clone(&job.options.sink))
                    .without_effects(job.has_no_effects());
                Ok(Self { context, beginning, recorder, overdue: Vec::new(), leaves_recording: false })
            }
        }?;
        match &mut start.beginning.first {
            FactBody::Started { spec, .. } => spec.snapshot = snapshot,
            FactBody::Resumed { resumption } => resumption.snapshot = snapshot,
            _ => {}
        }
        Ok(start)
    }

    fn recover(
        context: RunContext,
        toolset: &Toolset,
        past: RecordedRun,
        query: Option<UserInput>,
    ) -> Result<Self, RunError> {
        let job = &context.job;
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
        let beginning = Beginning::recovered(scene(&context, toolset), run, past.machine, query)?;
        let leaves_recording = context.job.is_beyond;
        Ok(Self { context, beginning, recorder, overdue: past.events, leaves_recording })
    }

    async fn drive(self, toolset: Toolset) -> Result<RunDriven, RunError> {
        let Self { context, beginning, mut recorder, overdue, leaves_recording: was_recorded } = self;
        let Beginning { mut machine, first, change } = beginning;
        if let Some(message) = change {
            context.emitter.emit(EventBody::RuntimeWarning { message });
        }
        for event in &overdue {
            context.emitter.sink.emit(event, machine.messages());
        }
        let mut skills = toolset.skills;
        let first = context.fact(first);
        let input = Input::Fact(Fact { recorded: first.recorded || was_recorded, ..first });
        let in_doubt = context.job.options.in_doubt;
        let doubts = if context.job.is_beyond { Ok(()) } else { check_doubts(&machine, &input, in_doubt, &skills) };
        let driven = match doubts {
            Ok(()) => drive(&mut machine, input, &mut recorder, &context, &mut skills).await,
            Err(doubts) => Err(doubts),
        };
        let mut skills = Some(OpenSkills::new(skills, context.emitter.clone(), toolset.notices));
        // The servers of a Run that ends its job can end while the answer is shown. All others have to be gone before the
        // next Run, which may need what they hold; after a failure too: they must not outlive their Run.
        let head = machine.head();
        let ends_job = head.delegated_by.is_none() && head.status != Status::StoppedByDelegate;
        let leaves_recording = driven.as_ref().is_ok_and(|driven| driven.leaves_recording);
        if (driven.is_err() || leaves_recording || !ends_job)
            && let Some(skills) = skills.take()
        {
            skills.close().await;
        }
        let first_step = driven?.first_step;
        if leaves_recording {
            return Ok(RunDriven::LeftRecording { first_step });
        }
        let steps = machine.head().step_number.saturating_sub(first_step).saturating_add(1);
        let path = recorder.newest().cloned().unwrap_or_default();
        let totals = machine.totals();
        let checkpoint = machine.into_checkpoint();
        let (on_record, with_outputs, is_live) = (false, None, context.job.is_beyond);
        let stopped = StoppedRun { checkpoint, path, steps, on_record, totals, skills, with_outputs, is_live };
        Ok(RunDriven::Stopped(Box::new(stopped)))
    }
}

/// The Run's scene.
fn scene<'a>(context: &'a RunContext, toolset: &'a Toolset) -> RunScene<'a> {
    let RunContext { job, expert, models, setting, .. } = context;
    RunScene { job: job.basis(), expert, models, toolset, setting }
}
