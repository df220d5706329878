//! A new job ([`run`]): what it needs is checked and opened, its Runs are driven, its end is stored. The library's door
//! calls it; [`resume`] does the same for a job that is continued, and [`tree`] drives the Runs.

pub mod backends;
pub mod connector;
pub mod context;
pub mod ensure;
pub mod import;
pub mod instruction_files;
pub mod job_plan;
pub mod models;
pub mod recorded_addresses;
pub mod recorded_options;
pub mod plan;
pub mod request;
pub mod resume;
pub mod resume_point;
pub mod spending;
pub mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::budget::Spent;
use crate::checkpoint::{FORMAT_VERSION, Status};
use crate::content::Content;
use crate::cost::Spend;
use crate::expert::Expert;
use crate::fact::IdGenerator;
use crate::id::{JobId, RunId};
use crate::job::{Job, JobBudget, JobStatus};
use crate::replay::{RecordedStart, RunStops};
use crate::runtime::budget::{self, BudgetServer, SharedAccount};
use crate::runtime::error::RunError;
use crate::runtime::history::stops::read_stops;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::{JobBasis, JobContext, LiveSide, without_secrets};
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::job::recorded_options::record_start;
use crate::runtime::job::spending::JobSpending;
use crate::runtime::job::tree::{Root, TreeEnd};
use crate::runtime::options::{Options, Outcome, RunInput};
use crate::runtime::run::closing::OpenSkills;
use crate::runtime::run::prepare::prepare;
use crate::runtime::run::task::{RunTask, StoppedRun};
use crate::runtime::run::verify::check_read_only;
use crate::runtime::stop::{StopReason, StopSignal};
use crate::store::{JobStore, Store, StoreError};
use crate::usage::Usage;

/// Runs a job: a fresh Run of `input.expert`.
pub async fn run(input: RunInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let began = Instant::now();
    let expert = expert_asked(&input, options)?;
    let backends = JobBackends::open(options, expert, None).await?;
    let live = Box::pin(live_side(options, expert)).await?;
    let store = options.store();
    let shared = shared_account(&store, options)?;
    let new = NewJob::new(input, expert, (options, &backends), &store, shared.as_deref())?;
    let (in_force, behind) = live.as_ref().map_or((options, &backends), |live| (&live.options, &live.backends));
    let stop = stop_signal(in_force, behind, Spent::default(), began);
    let NewJob { mut job, run, query, attached, files, warnings } = new;
    if let Some(live) = &live {
        // Its own time and limits, not those of the recording.
        job.started_at = live.backends.clock.stamp().at;
        job.max_steps = Some(live.options.settings.limits.max_steps);
        job.budget.limits = live.options.settings.budgets;
        job.budget.active_since = Some(job.started_at);
    }
    record_start(&backends, options, (expert, &files), |recorded| RecordedStart {
        run_id: Some(run.clone()),
        query: Some(query.clone()),
        attached: attached.clone(),
        ..recorded(job.id.clone())
    })?;
    let task = RunTask::Start { run, expert: expert.key.clone(), query, attached, by: None, first_step: 1 };
    // Before the job's folder: a job whose tools cannot be opened is not begun.
    let basis = JobBasis { options, backends: &backends, files: &files, store: &store, stop: &stop, job_id: &job.id };
    let prepared = in_time(&stop, prepare(basis, &task, expert, warnings)).await?;
    let job_store = Arc::new(store.create_job(&job)?);
    stop_when_lost(&job_store, options);
    let live = live.map(|live| live.into_context(&store, &job_store, &stop)).transpose()?;
    let context = JobContext::new(options.clone(), backends, files, (store, job_store), stop)?;
    let context = JobContext { shared, live, ..context };
    work(context, job, Root::Task(Box::new(task), Box::new(prepared)), JobSpending::default(), began).await
}

/// Stops a job as soon as another process may take it: what it has started must not go on beside that one's work.
pub fn stop_when_lost(job: &JobStore, options: &Options) {
    let cancel = options.cancel.clone();
    job.when_lost(move || cancel.cancel());
}

/// The expert of a new job, which has something to work on.
///
/// # Errors
/// The query is empty, or the expert is not defined or unusable.
pub fn expert_asked<'a>(input: &RunInput, options: &'a Options) -> Result<&'a Expert, RunError> {
    if input.query.trim().is_empty() {
        return Err(RunError::EmptyQuery);
    }
    Ok(options.experts.get(&input.expert)?)
}

/// A new job, checked, before anything of it is stored.
pub struct NewJob {
    pub job: Job,
    /// The coordinator's Run.
    pub run: RunId,
    /// The query without secrets.
    pub query: String,
    pub attached: Vec<Content>,
    pub files: InstructionFiles,
    pub warnings: Vec<String>,
}

impl NewJob {
    /// The job of `input`, with ids of now.
    ///
    /// # Errors
    /// It cannot begin: a price beside a budget is unknown, a file of its instruction cannot be read, or its id is taken.
    pub fn new(
        input: RunInput,
        expert: &Expert,
        (options, backends): (&Options, &JobBackends),
        store: &Store,
        shared: Option<&SharedAccount>,
    ) -> Result<Self, RunError> {
        let query = backends.redactor.text(&input.query);
        let doubts = backends.doubtful_models(expert, options)?;
        let files = check_and_read(expert, options, backends, shared)?;
        let warnings = doubts.into_iter().chain(files.notes()).collect();
        let stamp = backends.clock.stamp();
        let mut ids = IdGenerator::new(stamp);
        let job = Job {
            format_version: FORMAT_VERSION,
            id: input.job_id.unwrap_or_else(|| JobId::from(ids.uuid())),
            status: JobStatus::Running,
            coordinator_expert_key: expert.key.clone(),
            total_steps: 0,
            max_steps: Some(options.settings.limits.max_steps),
            usage: Usage::default(),
            spend: Spend::default(),
            started_at: stamp.at,
            finished_at: None,
            last_run_at: None,
            ends: BTreeMap::new(),
            replayed: backends.tape.is_replay() && !options.is_recording_free(),
            workspace_from: options.workspace_from.clone(),
            budget: JobBudget {
                limits: options.settings.budgets,
                spent: Some(Spent::default()),
                active_since: Some(stamp.at),
            },
        };
        let run = match input.run_id {
            // Resumption finds Runs by their ids alone, so that each has to be the only one of its name.
            Some(run) if store.is_taken_outside(&job.id, run.as_str())? => return Err(RunError::RunIdTaken { run }),
            Some(run) => run,
            None => RunId::from(ids.uuid()),
        };
        Ok(Self { job, run, query, attached: input.attached, files, warnings })
    }
}

/// Checks what a job of `expert` needs of its options, and reads the files of its instructions.
///
/// # Errors
/// An unknown price beside a budget, a command that `readOnly` excludes, a setting that is nothing without its secrets, or
/// a file that must not or cannot be read.
pub fn check_and_read(
    expert: &Expert,
    options: &Options,
    backends: &JobBackends,
    shared: Option<&SharedAccount>,
) -> Result<InstructionFiles, RunError> {
    backends.check_prices(expert, options, shared)?;
    check_read_only(expert, options)?;
    without_secrets(options, backends, expert)?;
    InstructionFiles::read(expert, options)
}

/// The needs of Runs that leave the recording of a job of `expert`, where they may.
///
/// # Errors
/// As [`JobBackends::open`] and [`check_and_read`].
pub async fn live_side(options: &Options, expert: &Expert) -> Result<Option<LiveSide>, RunError> {
    let Some(options) = options.live() else { return Ok(None) };
    let options = options.joining_deltas();
    let backends = JobBackends::open(&options, expert, None).await?;
    let files = check_and_read(expert, &options, &backends, None)?;
    Ok(Some(LiveSide { options, backends, files }))
}

/// The account that the job is to share.
///
/// # Errors
/// It has no limits, or a failure of the storage.
pub fn shared_account(store: &Store, options: &Options) -> Result<Option<Arc<SharedAccount>>, RunError> {
    let opened = options.account.as_ref().map(|account| SharedAccount::open(store, account)).transpose()?;
    Ok(opened.map(Arc::new))
}

/// The same account as it is: neither made nor changed.
///
/// # Errors
/// As [`shared_account`].
pub fn seen_account(store: &Store, options: &Options) -> Result<Option<SharedAccount>, RunError> {
    Ok(options.account.as_ref().map(|account| SharedAccount::seen(store, account)).transpose()?)
}

/// The signal that stops a job which has spent this much.
pub fn stop_signal(options: &Options, backends: &JobBackends, spent: Spent, began: Instant) -> StopSignal {
    // A replay takes none of the time that its record accounts for.
    let limit_ms = options.settings.budgets.max_duration_ms.filter(|_| !backends.tape.is_replay());
    StopSignal::new(&options.cancel, limit_ms, spent.active_ms, began)
}

/// Performs what comes before the first Run within the job's time.
///
/// # Errors
/// Those of `start`, or [`RunError::TimeUpAtStart`].
pub async fn in_time<T>(stop: &StopSignal, start: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let mut start = std::pin::pin!(start);
    tokio::select! {
        biased;
        started = &mut start => return started,
        () = stop.time_is_up() => stop.fire(),
    }
    // The start sees the signal, closes what it has opened, and returns.
    match (start.await, stop.reason()) {
        (Err(RunError::StoppedAtStart), StopReason::Budget(reached)) => Err(RunError::TimeUpAtStart { reached }),
        (started, _) => started,
    }
}

/// The end of a job whose record is whole, while its servers may still be ending.
///
/// They are ended at once when this is dropped; [`RecordedEnd::closed`] lets them end by themselves.
pub struct RecordedEnd {
    pub outcome: Outcome,
    pub servers: EndingServers,
}

/// The servers of a job that has ended. The job stays locked until they are gone.
#[must_use = "dropped servers are ended at once, without the time to end by themselves"]
pub struct EndingServers {
    skills: Option<OpenSkills>,
    _context: Option<Arc<JobContext>>,
}

impl RecordedEnd {
    /// Waits for the servers, for some seconds at most, and returns the outcome.
    pub async fn closed(self) -> Outcome {
        self.servers.closed().await;
        self.outcome
    }
}

impl EndingServers {
    /// Waits for them, for some seconds at most; those that do not end in time are left behind, with a warning.
    pub async fn closed(self) {
        if let Some(skills) = self.skills {
            skills.close().await;
        }
    }
}

impl From<Outcome> for RecordedEnd {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, servers: EndingServers { skills: None, _context: None } }
    }
}

/// Drives a job from `root` and stores its end. `before`: what was spent on it before.
///
/// # Errors
/// As [`tree::drive`].
pub async fn work(
    mut context: JobContext,
    job: Job,
    root: Root,
    before: JobSpending,
    began: Instant,
) -> Result<RecordedEnd, RunError> {
    let (budget, requests) = budget::open(&job.budget.limits);
    // What is recorded takes nothing of a budget.
    match context.live.as_mut().map(Arc::get_mut) {
        Some(Some(live)) => live.budget = budget,
        Some(None) => return Err(RunError::Internal("a job began before its budget".to_owned())),
        None => context.budget = budget,
    }
    if let Some(shared) = &context.shared {
        shared.enter(&context.job, before.charge())?;
    }
    let context = Arc::new(context);
    let budget_server = BudgetServer::new(job.budget.limits, before.spent);
    let mut end = tree::drive(Arc::clone(&context), root, budget_server, requests).await?;
    let servers = EndingServers { skills: end.root.skills.take(), _context: Some(Arc::clone(&context)) };
    match conclude(&context, job, end, before, began) {
        Ok(outcome) => Ok(RecordedEnd { outcome, servers }),
        Err(error) => {
            servers.closed().await;
            Err(error)
        }
    }
}

/// Stores the end of a job.
fn conclude(
    context: &JobContext,
    mut job: Job,
    end: TreeEnd,
    before: JobSpending,
    began: Instant,
) -> Result<Outcome, RunError> {
    let TreeEnd { root, status, budget, steps, used } = end;
    let is_cut = status == Status::Proceeding;
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let is_replay = context.backends.tape.is_replay() && context.live.is_none();
    let active_ms = if is_replay { 0 } else { duration_ms };
    let spending = before.plus(used, active_ms);
    let account = context.shared.as_ref().map(|shared| shared.leave(&job.id, spending.charge())).transpose()?;
    let JobSpending { spent, usage, spend } = spending;
    job.status = status.into();
    job.total_steps = spent.steps;
    (job.usage, job.spend) = (usage, spend);
    (job.budget.spent, job.budget.active_since) = (Some(spent), None);
    let is_open = matches!(job.status, JobStatus::Running | JobStatus::StoppedByInteractiveTool);
    let clock = &context.live.as_deref().unwrap_or(context).backends.clock;
    job.finished_at = (!is_open).then(|| clock.stamp().at);
    job.last_run_at = context.store.last_run_start(&job.id).ok();
    // The process that was recorded had died: nothing of the job's end was stored.
    if !is_cut {
        context.store.add_ends(&job.id, &mut job.ends)?;
        context.job.write_job(&job)?;
    }
    // Last: the job is whole on disk, also when its cassette is not.
    if context.backends.tape.is_recording() {
        let is_stopped = matches!(status, Status::StoppedByCancellation | Status::StoppedByBudget);
        let stops = if is_stopped { read_stops(&context.store, &job.id)?.0 } else { RunStops::default() };
        context.backends.tape.record_end(status, stops);
    }
    context.backends.tape.finish()?;
    // Nobody asked for the stop.
    if status == Status::StoppedByCancellation && context.job.is_given_up() {
        return Err(StoreError::Fenced { job: job.id }.into());
    }
    let StoppedRun { checkpoint, path, .. } = root;
    let (budgets, max_steps) = (job.budget.limits, context.options.settings.limits.max_steps);
    Ok(Outcome {
        checkpoint,
        status,
        path,
        duration_ms,
        steps,
        usage,
        spend,
        max_steps,
        budgets,
        spent,
        budget,
        account,
    })
}
