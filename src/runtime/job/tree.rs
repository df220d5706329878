//! Drives the tree of a job's Runs ([`drive`]): a task each, started and continued as the job's machine decides. Serves
//! the job's account meanwhile, and fires the stop signal when the time is up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use crate::budget::Reached;
use crate::checkpoint::{Checkpoint, Status};
use crate::fact::{IdGenerator, ParentCheckpoint};
use crate::hint::ErrorHint as _;
use crate::id::RunId;
use crate::machine::{JobAction, JobInput, JobMachine, RunEnd, RunTotals, TreeLimits};
use crate::message::UserInput;
use crate::runtime::budget::{BudgetRequests, BudgetServer};
use crate::runtime::error::{ErrorClass, RunError};
use crate::runtime::history::recorded_run;
use crate::runtime::job::context::JobContext;
use crate::runtime::run::prepare::PreparedRun;
use crate::runtime::run::start::run_task;
use crate::runtime::run::task::{ContinueFrom, RunTask, StoppedRun};
use crate::runtime::stop::StopReason;

/// The beginning of the coordinator.
pub enum Root {
    /// Its Run is to be driven.
    Task(Box<RunTask>, Box<PreparedRun>),
    /// Its Run stopped in an earlier process: for delegates, or at the job's end.
    Stopped {
        stopped: Box<StoppedRun>,
        /// The user's further message, given to the Run once the delegates have answered.
        query: Option<UserInput>,
        /// Continue in a new Run even if one has continued from there before.
        is_fork: bool,
    },
}

/// The end of a job's tree.
pub struct TreeEnd {
    /// The coordinator's last Run.
    pub root: StoppedRun,
    /// The job's status, which is not the coordinator's when it was stopped while delegates were at work.
    pub status: Status,
    /// The budget that stopped it.
    pub budget: Option<Reached>,
    /// Steps taken in this process, by all Runs.
    pub steps: u64,
    /// The totals of all Runs in this process.
    pub used: RunTotals,
}

type Returned = (RunId, Result<StoppedRun, RunError>);

struct Tree {
    context: Arc<JobContext>,
    machine: JobMachine,
    tasks: JoinSet<Returned>,
    /// Runs of a replay that are to be driven, one by one.
    offered: VecDeque<(RunTask, Option<PreparedRun>)>,
    /// In the recording the process died: nothing of the job's end is stored.
    is_cut: bool,
    /// The coordinator's Runs.
    root_runs: HashSet<RunId>,
    /// The coordinator's last Run that stopped, unless it waits for delegates.
    root: Option<StoppedRun>,
    /// Runs that wait for delegates.
    waiting: HashMap<RunId, StoppedRun>,
    /// The checkpoints before Runs that were about to continue, until these are back.
    continuing: HashMap<RunId, ParentCheckpoint>,
    /// Runs that have left the recording which the job replays, or began beyond it.
    live: HashSet<RunId>,
    /// Runs that such ones answer.
    behind_live: HashSet<RunId>,
    /// The coordinator's Run that waited last.
    waiting_root: Option<RunId>,
    query: Option<UserInput>,
    is_fork: bool,
    steps: u64,
    used: RunTotals,
    /// The job's account.
    budget_server: BudgetServer,
    requests: BudgetRequests,
    /// The reason for which it stops early.
    stop: Option<StopReason>,
}

/// Drives a job to its end.
///
/// # Errors
/// A failure that keeps the coordinator from beginning, or a failure to store. What was recorded stays.
pub async fn drive(
    context: Arc<JobContext>,
    root: Root,
    budget_server: BudgetServer,
    requests: BudgetRequests,
) -> Result<TreeEnd, RunError> {
    let tape = &context.backends.tape;
    let settings = &context.options.settings;
    let number = |most: u64| usize::try_from(most).unwrap_or(usize::MAX);
    let limits = TreeLimits { max_running: number(settings.max_parallel_delegates), ..TreeLimits::default() };
    let most = settings.budgets.max_delegates.map(number);
    let limits = TreeLimits { max_delegates: most.unwrap_or(limits.max_delegates), ..limits };
    // Where something outside stopped the job, the Runs that had begun are as many as they were: the machine offers all of
    // them, and they are driven one by one.
    let has_stops = context.backends.stops.is_some();
    // Runs that leave a recording are live, and what others are answered by a recording does not depend on them.
    let is_repeatable = tape.is_replay() && !has_stops && context.live.is_none();
    let limits = if is_repeatable || (tape.is_recording() && context.budget.is_some()) {
        // One at a time, so that two replays emit the same events in the same order. The rest of a budget, and with it
        // the limits that are sent, depends on the order too, so that a recording with a budget needs the same.
        TreeLimits { max_running: 1, ..limits }
    } else {
        limits
    };
    let started = recorded_run::started_delegates(&context.store, context.job_id())?;
    let (run, query, is_fork) = match &root {
        Root::Task(task, _) => (task.run().clone(), None, false),
        Root::Stopped { stopped, query, is_fork } => (stopped.checkpoint.head.run_id.clone(), query.clone(), *is_fork),
    };
    let is_cut = context.backends.had_died;
    let mut tree = Tree {
        context,
        machine: JobMachine::new(limits).with_started(started),
        tasks: JoinSet::new(),
        offered: VecDeque::new(),
        is_cut,
        root_runs: HashSet::from([run.clone()]),
        root: None,
        waiting: HashMap::new(),
        continuing: HashMap::new(),
        live: HashSet::new(),
        behind_live: HashSet::new(),
        waiting_root: None,
        query,
        is_fork,
        steps: 0,
        used: RunTotals::default(),
        budget_server,
        requests,
        stop: None,
    };
    let mut actions = tree.machine.advance(JobInput::Began { run: run.clone() })?;
    match root {
        Root::Task(task, prepared) => tree.spawn(*task, Some(*prepared)),
        Root::Stopped { stopped, .. } => actions = tree.returned(run, Ok(*stopped))?,
    }
    tree.run(actions).await
}

impl Tree {
    async fn run(mut self, mut actions: Vec<JobAction>) -> Result<TreeEnd, RunError> {
        let stop = self.context.stop.clone();
        let mut is_cancelled = false;
        let mut time_is_up = std::pin::pin!(stop.time_is_up());
        loop {
            for action in actions {
                match action {
                    JobAction::Finish => return self.finish(),
                    JobAction::Start { run, to, by, first_step } => {
                        let (expert, query) = (to.expert.key, to.query);
                        self.spawn(
                            RunTask::Start { run, expert, query, attached: Vec::new(), by: Some(by), first_step },
                            None,
                        );
                    }
                    JobAction::Continue {
                        run,
                        from,
                        answers,
                        reached_step,
                        delegated_usage,
                        delegated_spend,
                        untrusted,
                    } => {
                        let run = self.lineage(run, &from.run_id);
                        self.continuing.insert(run.clone(), from.clone());
                        let (from, with_outputs) = self.waited_at(&from)?;
                        let query = if self.root_runs.contains(&run) { self.query.take() } else { None };
                        let start = ContinueFrom {
                            run,
                            from,
                            query,
                            answer: None,
                            answers,
                            reached_step,
                            delegated_usage,
                            delegated_spend,
                            untrusted,
                            with_outputs,
                        };
                        self.spawn(RunTask::Continue(Box::new(start)), None);
                    }
                }
            }
            self.drive_next();
            actions = tokio::select! {
                // The stop first: Runs that it ended may be back already, and the job would end without its reason.
                biased;
                () = stop.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    self.stop.get_or_insert(StopReason::Cancelled);
                    self.machine.advance(JobInput::Interrupted)?
                }
                () = &mut time_is_up, if !stop.is_fired() => {
                    stop.fire();
                    self.stop.get_or_insert(stop.reason());
                    self.machine.advance(JobInput::Interrupted)?
                }
                Some(request) = self.requests.recv() => {
                    self.budget_server.serve(request);
                    Vec::new()
                }
                joined = self.tasks.join_next() => match joined {
                    Some(Ok((run, outcome))) => self.returned(run, outcome)?,
                    Some(Err(lost)) => return Err(internal(&lost)),
                    None if self.context.backends.stops.is_some() => {
                        // All that had begun has come to where it was stopped.
                        self.stop.get_or_insert(StopReason::Cancelled);
                        self.machine.advance(JobInput::Interrupted)?
                    }
                    None => return Err(RunError::Internal("a job that has not ended has nothing to do".to_owned())),
                },
            };
        }
    }

    /// The checkpoint of a Run that waited for delegates, and the Runs of its line that have kept outputs.
    fn waited_at(&mut self, from: &ParentCheckpoint) -> Result<(Checkpoint, Option<Vec<RunId>>), RunError> {
        match self.waiting.remove(&from.run_id) {
            Some(stopped) => Ok((stopped.checkpoint, stopped.with_outputs)),
            None => Ok((recorded_run::read_parent(&self.context.store, self.context.job_id(), from)?, None)),
        }
    }

    fn spawn(&mut self, task: RunTask, prepared: Option<PreparedRun>) {
        if self.context.backends.stops.is_some() {
            self.offered.push_back((task, prepared));
        } else {
            self.begin(task, prepared);
        }
    }

    /// Begins the next Run of a replay, once the one before it is back: those that did not begin in the recording last.
    fn drive_next(&mut self) {
        if self.tasks.is_empty() {
            let stops = self.context.backends.stops.as_ref();
            let has_begun = |(task, _): &(RunTask, _)| stops.is_some_and(|stops| stops.get(task.run()).is_some());
            let next = self.offered.iter().position(has_begun).unwrap_or_default();
            if let Some((task, prepared)) = self.offered.remove(next) {
                self.begin(task, prepared);
            }
        }
    }

    fn begin(&mut self, task: RunTask, prepared: Option<PreparedRun>) {
        let live = self.context.live.as_ref().filter(|_| self.builds_on_live(&task));
        let context = Arc::clone(live.unwrap_or(&self.context));
        let run = task.run().clone();
        self.tasks.spawn(async move { (run, Box::pin(run_task(context, task, prepared)).await) });
    }

    /// Returns true if the Run of `task` was called by one that has left the recording, goes on with one, or was answered by
    /// one: what is recorded of it was done in another state of the world.
    fn builds_on_live(&self, task: &RunTask) -> bool {
        match task {
            RunTask::Start { by, .. } => by.as_ref().is_some_and(|by| self.live.contains(&by.run_id)),
            RunTask::Continue(start) => {
                let from = &start.from.head.run_id;
                self.live.contains(from) || self.behind_live.contains(from)
            }
            RunTask::Recover { .. } => false,
        }
    }

    /// The Run that continues from `from`: the derived one, or a new one when the user forks there.
    fn lineage(&mut self, run: RunId, from: &RunId) -> RunId {
        if !self.root_runs.contains(from) {
            return run;
        }
        let run = if std::mem::take(&mut self.is_fork) {
            let new = RunId::from(IdGenerator::new(self.context.backends.clock.stamp()).uuid());
            self.machine.rename(&run, new.clone());
            new
        } else {
            run
        };
        self.root_runs.insert(run.clone());
        run
    }

    fn returned(&mut self, run: RunId, outcome: Result<StoppedRun, RunError>) -> Result<Vec<JobAction>, RunError> {
        self.budget_server.run_ended(&run);
        let is_root = self.root_runs.contains(&run);
        let from = self.continuing.remove(&run);
        if let (Err(RunError::StoppedAtStart), Some(from)) = (&outcome, from) {
            // Nothing goes on behind what it comes from, after all.
            let from = recorded_run::read_parent(&self.context.store, self.context.job_id(), &from)?;
            self.context.job.complete_checkpoint(&from)?;
            self.complete_waiting()?;
        }
        let stopped = match outcome {
            Ok(stopped) => stopped,
            Err(error) if !is_root && error.class() == ErrorClass::Usage => {
                return Ok(self.machine.advance(JobInput::RunFailed { run, message: error.with_hint() })?);
            }
            // It was about to begin when the job was stopped. A resumption starts it.
            Err(RunError::StoppedAtStart)
                if !is_root && (self.context.stop.is_fired() || self.context.backends.stops.is_some()) =>
            {
                // Of a replay, the recorded job was.
                self.stop.get_or_insert(StopReason::Cancelled);
                return Ok(self.machine.advance(JobInput::RunPostponed { run })?);
            }
            Err(error) => return Err(error),
        };
        if stopped.is_live {
            self.behind_live.extend(stopped.checkpoint.head.delegated_by.as_ref().map(|by| by.run_id.clone()));
            self.live.insert(run.clone());
        }
        self.used = self.used.plus(stopped.totals);
        if let Some(reached) = stopped.checkpoint.head.budget.clone().filter(|_| !stopped.on_record)
            && reached.ends_job()
        {
            self.budget_server.close(reached.clone());
            self.stop.get_or_insert(StopReason::Budget(reached));
        }
        self.steps = self.steps.saturating_add(stopped.steps);
        let mut head = stopped.checkpoint.head.clone();
        if !head.status.is_terminal() {
            // For the machine it is like a Run that was stopped together with its job.
            head.status = Status::StoppedByCancellation;
        }
        let head = &head;
        let end = RunEnd { head: head.clone(), text: stopped.checkpoint.text(), on_record: stopped.on_record };
        if head.status == Status::StoppedByDelegate {
            // Kept once: a history that is copied at each delegation costs the square of their number.
            self.waiting_root = if is_root { Some(run.clone()) } else { self.waiting_root.take() };
            self.waiting.insert(run, stopped);
        } else if is_root {
            self.root = Some(stopped);
        }
        Ok(self.machine.advance(JobInput::RunEnded(Box::new(end)))?)
    }

    /// Completes the checkpoints of Runs that wait, which refer to their logs: now that nothing goes on behind them, they
    /// are to resume anywhere.
    fn complete_waiting(&self) -> Result<(), RunError> {
        for stopped in self.waiting.values() {
            self.context.job.complete_checkpoint(&stopped.checkpoint)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<TreeEnd, RunError> {
        if !self.is_cut {
            self.complete_waiting()?;
        }
        let waiting_root = self.waiting_root.and_then(|run| self.waiting.remove(&run));
        let root = waiting_root
            .or(self.root)
            .ok_or_else(|| RunError::Internal("a job has ended without its coordinator".to_owned()))?;
        let head = &root.checkpoint.head;
        let (status, budget) = match (head.status, self.stop) {
            (Status::StoppedByDelegate, Some(StopReason::Cancelled)) => (Status::StoppedByCancellation, None),
            (Status::StoppedByDelegate, Some(StopReason::Budget(reached))) => {
                (Status::for_budget(&reached), Some(reached))
            }
            (status, _) => (status, head.budget.clone()),
        };
        let status = if self.is_cut { Status::Proceeding } else { status };
        let (steps, used) = (self.steps, self.used);
        Ok(TreeEnd { root, status, budget, steps, used })
    }
}

fn internal(lost: &JoinError) -> RunError {
    RunError::Internal(lost.to_string())
}
