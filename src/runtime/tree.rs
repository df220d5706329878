//! Drives the tree of a job's Runs: a task each, started and continued as the job's machine says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use crate::checkpoint::{Checkpoint, Status};
use crate::fact::{Mint, ParentCheckpoint};
use crate::id::RunId;
use crate::machine::{JobAction, JobInput, JobMachine, RunEnd, TreeLimits};
use crate::runtime::inventory::Inventory;
use crate::runtime::launch::{Continuation, Errand, Shared, Stopped};
use crate::runtime::{ErrorClass, RunError, history};

/// What the coordinator begins with.
pub enum Root {
    /// Its Run is to be driven, with these tools.
    Errand(Box<Errand>, Box<Inventory>),
    /// Its Run stopped in an earlier process: for delegates, or at the job's end.
    Stopped {
        stopped: Box<Stopped>,
        /// What the user says in addition, once the delegates have answered.
        query: Option<String>,
        /// Continue in a new Run even if one has continued from there before.
        is_fork: bool,
    },
}

/// How a job's tree ended.
pub struct TreeEnd {
    /// The coordinator's last Run.
    pub root: Stopped,
    /// The job's status, which is not the coordinator's when it was stopped while delegates were at work.
    pub status: Status,
    /// Steps taken in this process, by all Runs.
    pub steps: u64,
    /// The highest step number reached.
    pub reached_step: u64,
}

type Returned = (RunId, Result<Stopped, RunError>);

struct Tree {
    shared: Arc<Shared>,
    machine: JobMachine,
    tasks: JoinSet<Returned>,
    /// The coordinator's Runs.
    root_runs: HashSet<RunId>,
    root: Option<Stopped>,
    /// Checkpoints of Runs that wait for delegates.
    waiting: HashMap<RunId, Checkpoint>,
    query: Option<String>,
    is_fork: bool,
    steps: u64,
    reached_step: u64,
}

/// Drives a job to its end.
///
/// # Errors
/// What keeps the coordinator from beginning, or anything from being stored. What was recorded stays.
pub async fn drive(shared: Arc<Shared>, root: Root) -> Result<TreeEnd, RunError> {
    let limits = if shared.session.tape.is_replay() {
        // One at a time, so that two replays tell the same in the same order.
        TreeLimits { max_running: 1, ..TreeLimits::default() }
    } else {
        TreeLimits::default()
    };
    let (run, query, is_fork) = match &root {
        Root::Errand(errand, _) => (errand.run().clone(), None, false),
        Root::Stopped { stopped, query, is_fork } => (stopped.checkpoint.head.run_id.clone(), query.clone(), *is_fork),
    };
    let mut tree = Tree {
        shared,
        machine: JobMachine::new(limits),
        tasks: JoinSet::new(),
        root_runs: HashSet::from([run.clone()]),
        root: None,
        waiting: HashMap::new(),
        query,
        is_fork,
        steps: 0,
        reached_step: 0,
    };
    let mut actions = tree.machine.advance(JobInput::Began { run: run.clone() })?;
    match root {
        Root::Errand(errand, tools) => tree.spawn(*errand, Some(*tools)),
        Root::Stopped { stopped, .. } => actions = tree.returned(run, Ok(*stopped))?,
    }
    tree.run(actions).await
}

impl Tree {
    async fn run(mut self, mut actions: Vec<JobAction>) -> Result<TreeEnd, RunError> {
        let cancel = self.shared.options.cancel.clone();
        let mut is_stopping = false;
        loop {
            for action in actions {
                match action {
                    JobAction::Finish => return self.finish(is_stopping),
                    JobAction::Start { run, to, by, first_step } => {
                        let (expert, query) = (to.expert.key, to.query);
                        self.spawn(Errand::Begin { run, expert, query, by: Some(by), first_step }, None);
                    }
                    JobAction::Continue { run, from, answers, reached_step, delegated_usage, delegated_spend } => {
                        let run = self.lineage(run, &from.run_id);
                        let from = self.checkpoint_of(&from)?;
                        let query = if self.root_runs.contains(&run) { self.query.take() } else { None };
                        let continuation = Continuation {
                            run,
                            from,
                            query,
                            answer: None,
                            answers,
                            reached_step,
                            delegated_usage,
                            delegated_spend,
                        };
                        self.spawn(Errand::Continue(Box::new(continuation)), None);
                    }
                }
            }
            actions = tokio::select! {
                // The stop first: Runs that it ended may be back already, and then nothing else would be left to hear of.
                biased;
                () = cancel.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.machine.advance(JobInput::Interrupted)?
                }
                joined = self.tasks.join_next() => match joined {
                    Some(Ok((run, outcome))) => self.returned(run, outcome)?,
                    Some(Err(panic)) => return Err(internal(&panic)),
                    None => return Err(RunError::Internal("a job that has not ended has nothing to do".to_owned())),
                },
            };
        }
    }

    /// What a Run that waited for delegates stopped with.
    fn checkpoint_of(&mut self, from: &ParentCheckpoint) -> Result<Checkpoint, RunError> {
        if let Some(checkpoint) = self.waiting.remove(&from.run_id) {
            return Ok(checkpoint);
        }
        let store = &self.shared.store;
        history::read_checkpoint(store, &store.find_checkpoint(self.shared.job_id(), &from.checkpoint_id)?)
    }

    fn spawn(&mut self, errand: Errand, tools: Option<Inventory>) {
        let shared = Arc::clone(&self.shared);
        let run = errand.run().clone();
        self.tasks.spawn(async move { (run, shared.carry_out(errand, tools).await) });
    }

    /// Which Run is to continue from `from`: the derived one, or a new one when the user forks there.
    fn lineage(&mut self, run: RunId, from: &RunId) -> RunId {
        if !self.root_runs.contains(from) {
            return run;
        }
        let run = if std::mem::take(&mut self.is_fork) {
            let new = RunId::from(Mint::new(self.shared.session.clock.stamp()).uuid());
            self.machine.rename(&run, new.clone());
            new
        } else {
            run
        };
        self.root_runs.insert(run.clone());
        run
    }

    fn returned(&mut self, run: RunId, outcome: Result<Stopped, RunError>) -> Result<Vec<JobAction>, RunError> {
        let is_root = self.root_runs.contains(&run);
        let stopped = match outcome {
            Ok(stopped) => stopped,
            Err(error) if !is_root && error.class() == ErrorClass::Usage => {
                return Ok(self.machine.advance(JobInput::RunFailed { run, message: error.to_string() })?);
            }
            Err(error) => return Err(error),
        };
        let head = &stopped.checkpoint.head;
        self.steps += stopped.steps;
        self.reached_step = self.reached_step.max(head.step_number);
        let end = RunEnd { head: head.clone(), text: stopped.checkpoint.text(), on_record: stopped.on_record };
        if head.status == Status::StoppedByDelegate {
            self.waiting.insert(run, stopped.checkpoint.clone());
        }
        if is_root {
            self.root = Some(stopped);
        }
        Ok(self.machine.advance(JobInput::RunEnded(Box::new(end)))?)
    }

    fn finish(self, is_stopping: bool) -> Result<TreeEnd, RunError> {
        let root = self.root.ok_or_else(|| RunError::Internal("a job has ended without its coordinator".to_owned()))?;
        let status = match root.checkpoint.head.status {
            Status::StoppedByDelegate if is_stopping => Status::StoppedByCancellation,
            status => status,
        };
        Ok(TreeEnd { root, status, steps: self.steps, reached_step: self.reached_step })
    }
}

fn internal(panic: &JoinError) -> RunError {
    RunError::Internal(panic.to_string())
}
