//! [`JobMachine`]: the machine of one Job, which knows its Runs, which of them wait for which, and what starts next.
//!
//! The runtime passes in how Runs end, and gets back Runs to start, Runs to continue, or the job's end. Run ids derive from the
//! call, or the checkpoint, that made the Run necessary: a job that is taken up again asks for the same Runs as before,
//! and the driver finds on disk those that have ended already. Nothing else is needed for recovery.

use std::collections::{HashMap, HashSet, VecDeque};

use sha2::{Digest, Sha256};

use crate::budget::Reached;
use crate::checkpoint::{CheckpointHead, DelegateTo, DelegatedBy, Status};
use crate::content::Content;
use crate::cost::Spend;
use crate::fact::ParentCheckpoint;
use crate::id::{CheckpointId, RunId};
use crate::machine::IllegalInput;
use crate::tool::ToolResult;
use crate::usage::Usage;

/// Bounds of a job's tree of Runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLimits {
    /// The depth to which delegation may go; the coordinator is at depth 0.
    pub max_depth: usize,
    /// The number of Runs that may be driven at a time; at least 1.
    pub max_running: usize,
    /// The number of delegates that may be started, over all of the tree.
    pub max_delegates: usize,
}

impl Default for TreeLimits {
    /// Ten levels are more than any sensible division of work has; eight Runs at a time stay within the usual limits
    /// of providers; 256 delegates are many, but experts that call each other do not multiply without end. (The
    /// original bounds none of these.)
    fn default() -> Self {
        Self { max_depth: 10, max_running: 8, max_delegates: 256 }
    }
}

/// One input of the machine.
#[derive(Debug, Clone, PartialEq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum JobInput {
    /// The coordinator's Run is being driven, or is on record.
    Began { run: RunId },
    /// A Run stopped.
    RunEnded(Box<RunEnd>),
    /// A Run could not begin, because a skill did not start for example.
    RunFailed { run: RunId, message: String },
    /// A Run did not begin because the job is to stop; its parent goes on waiting, on disk.
    RunPostponed { run: RunId },
    /// The job is to stop: nothing more is started.
    Interrupted,
}

/// The state of a job as a whole. Each expert at work has a state of its own beside it: it runs, waits for delegates, or
/// waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
pub enum JobPhase {
    /// Nothing has begun.
    Init,
    /// Runs are driven, and others are started as they are called for.
    Working,
    /// The job is to stop: the Runs under way come to their ends, and none is started.
    Stopping,
    /// The job is over.
    Finished,
}

/// The end of a Run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnd {
    pub head: CheckpointHead,
    /// Its answer, when it completed.
    pub text: Option<String>,
    /// It stopped in an earlier process.
    pub on_record: bool,
}

/// One thing that the machine asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum JobAction {
    /// Begin a delegate's Run.
    Start { run: RunId, to: Box<DelegateTo>, by: Box<DelegatedBy>, first_step: u64 },
    /// Continue from a checkpoint, in a new Run.
    Continue {
        run: RunId,
        from: ParentCheckpoint,
        /// Answers to the calls that delegates were started for, in call order.
        answers: Vec<ToolResult>,
        /// The highest step number that its delegates reached.
        reached_step: u64,
        /// The usage of its delegates.
        delegated_usage: Usage,
        /// The cost of its delegates.
        delegated_spend: Spend,
        /// One of its delegates had read text from strangers.
        untrusted: bool,
    },
    /// The job is over: the coordinator's last Run stopped so, or the job was interrupted and nothing is running.
    Finish,
}

/// The tree of a job's Runs. Ids of Runs are derived, so that a recovered job asks for the same Runs again.
#[derive(Debug, Clone, PartialEq)]
pub struct JobMachine {
    limits: TreeLimits,
    /// The first Runs of all delegates that were ever started, in earlier processes too.
    started: HashSet<RunId>,
    nodes: Vec<Node>,
    /// The node that a Run belongs to.
    node_of: HashMap<RunId, usize>,
    ready: VecDeque<JobAction>,
    running: usize,
    is_stopping: bool,
    is_over: bool,
}

/// One expert at work: its Run, and the Runs that continue it.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    /// The node that waits for it, and for which of its calls.
    parent: Option<(usize, usize)>,
    depth: usize,
    /// While it waits for delegates.
    waits: Option<Waiting>,
}

#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    at: CheckpointHead,
    answers: Vec<Option<ToolResult>>,
    reached_step: u64,
    delegated_usage: Usage,
    delegated_spend: Spend,
    /// One of the delegates had read text from strangers.
    untrusted: bool,
}

impl JobMachine {
    /// A machine that waits for [`JobInput::Began`].
    pub fn new(limits: TreeLimits) -> Self {
        Self {
            limits,
            started: HashSet::new(),
            nodes: Vec::new(),
            node_of: HashMap::new(),
            ready: VecDeque::new(),
            running: 0,
            is_stopping: false,
            is_over: false,
        }
    }

    /// The same, in a job whose delegates' Runs of earlier processes are `started`.
    #[must_use]
    pub fn with_started(self, started: HashSet<RunId>) -> Self {
        Self { started, ..self }
    }

    /// The present state of the job as a whole.
    pub fn phase(&self) -> JobPhase {
        match (self.is_over, self.is_stopping, self.nodes.is_empty()) {
            (true, ..) => JobPhase::Finished,
            (_, true, _) => JobPhase::Stopping,
            (_, _, true) => JobPhase::Init,
            _ => JobPhase::Working,
        }
    }

    /// Takes one input, and returns what is to be done now, in this order.
    ///
    /// # Errors
    /// [`IllegalInput`] for a Run that is not being waited for, or after the end; the machine is unchanged.
    pub fn advance(&mut self, input: JobInput) -> Result<Vec<JobAction>, IllegalInput> {
        let illegal = IllegalInput { state: self.phase().into(), input: (&input).into() };
        if self.is_over {
            return Err(illegal);
        }
        match input {
            JobInput::Began { run } if self.nodes.is_empty() => {
                self.nodes.push(Node { parent: None, depth: 0, waits: None });
                self.node_of.insert(run, 0);
                self.running = 1;
                return Ok(Vec::new());
            }
            JobInput::Began { .. } => return Err(illegal),
            JobInput::Interrupted => self.stop(),
            JobInput::RunPostponed { run } => {
                self.end_run(&run).ok_or(illegal)?;
                self.stop();
            }
            JobInput::RunEnded(end) => {
                let node = self.end_run(&end.head.run_id).ok_or(illegal)?;
                self.ended(node, *end);
            }
            JobInput::RunFailed { run, message } => {
                let node = self.end_run(&run).ok_or(illegal)?;
                match self.nodes.get(node).and_then(|node| node.parent) {
                    Some(parent) => self.answer(parent, Err(message), None),
                    None => self.is_over = true,
                }
            }
        }
        Ok(self.next())
    }

    /// The node of a Run that is no longer driven; `None`, and nothing changed, for one that is not known.
    fn end_run(&mut self, run: &RunId) -> Option<usize> {
        let node = self.node_of.remove(run)?;
        self.running = self.running.saturating_sub(1);
        Some(node)
    }

    /// Has the Run that was asked for as `asked` be known as `run`: a user may want a new Run where the derived one
    /// exists already.
    pub fn rename(&mut self, asked: &RunId, run: RunId) {
        if let Some(node) = self.node_of.remove(asked) {
            self.node_of.insert(run, node);
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.ready.clear();
    }

    /// The actions that may be started now.
    fn next(&mut self) -> Vec<JobAction> {
        let mut actions = Vec::new();
        while !self.is_over && !self.is_stopping && self.running < self.limits.max_running.max(1) {
            let Some(action) = self.ready.pop_front() else { break };
            self.running += 1;
            actions.push(action);
        }
        if self.is_over || (self.is_stopping && self.running == 0) {
            self.is_over = true;
            actions.push(JobAction::Finish);
        }
        actions
    }

    fn ended(&mut self, index: usize, end: RunEnd) {
        let Some(node) = self.nodes.get(index) else { return };
        let (parent, depth) = (node.parent, node.depth);
        let job_ended =
            end.head.status == Status::StoppedByCancellation || end.head.budget.as_ref().is_some_and(Reached::ends_job);
        match (end.head.status, parent) {
            (Status::StoppedByDelegate, _) => self.wait(index, depth, end.head),
            // Stopped in an earlier process, together with the job: goes on.
            (_, Some(_)) if job_ended && end.on_record => self.go_on(index, &end.head),
            // Stopped together with the job: its parent goes on waiting, on disk.
            (Status::StoppedByCancellation, Some(_)) => {}
            (_, Some(_)) if job_ended => self.stop(),
            (_, Some(parent)) => self.answer(parent, outcome_of(&end), Some(&end.head)),
            (_, None) => self.is_over = true,
        }
    }

    /// The Run of a node stopped for delegates: they are started, and the node waits.
    fn wait(&mut self, index: usize, depth: usize, at: CheckpointHead) {
        let delegate_to = at.delegate_to.clone();
        let waiting = Waiting {
            answers: vec![None; delegate_to.len()],
            reached_step: at.step_number,
            delegated_usage: Usage::default(),
            delegated_spend: Spend::default(),
            untrusted: false,
            at,
        };
        let (by_run, by_checkpoint, step) = (waiting.at.run_id.clone(), waiting.at.id.clone(), waiting.at.step_number);
        let (by_expert, is_marked) = (waiting.at.expert.clone(), waiting.at.untrusted);
        if let Some(node) = self.nodes.get_mut(index) {
            node.waits = Some(waiting);
        }
        for (slot, to) in delegate_to.into_iter().enumerate() {
            if depth >= self.limits.max_depth {
                let message = format!(
                    "delegation is {} levels deep, which is the limit: do this task without delegating it",
                    self.limits.max_depth
                );
                self.answer((index, slot), Err(message), None);
                continue;
            }
            let run = derived(&by_checkpoint, &[by_run.as_str(), by_checkpoint.as_str(), &to.tool_call_id]);
            // One that was started in an earlier process is not started again.
            if !self.started.contains(&run) && self.started.len() >= self.limits.max_delegates {
                let message = format!(
                    "the job has started {} delegates, and may start {} (maxDelegates): do this task without delegating it",
                    self.started.len(),
                    self.limits.max_delegates
                );
                self.answer((index, slot), Err(message), None);
                continue;
            }
            self.started.insert(run.clone());
            self.node_of.insert(run.clone(), self.nodes.len());
            self.nodes.push(Node { parent: Some((index, slot)), depth: depth + 1, waits: None });
            let by = DelegatedBy {
                expert: by_expert.clone(),
                tool_call_id: to.tool_call_id.clone(),
                tool_name: to.tool_name.clone(),
                checkpoint_id: by_checkpoint.clone(),
                run_id: by_run.clone(),
                untrusted: is_marked,
            };
            let (to, by) = (Box::new(to), Box::new(by));
            self.ready.push_back(JobAction::Start { run, to, by, first_step: step.saturating_add(1) });
        }
    }

    /// A delegate's outcome reaches the call that it was started for.
    fn answer(&mut self, (index, slot): (usize, usize), outcome: Result<String, String>, end: Option<&CheckpointHead>) {
        let Some(waiting) = self.nodes.get_mut(index).and_then(|node| node.waits.as_mut()) else { return };
        let Some(to) = waiting.at.delegate_to.get(slot) else { return };
        let (text, is_error) = match outcome {
            Ok(text) => (text, false),
            Err(message) => (format!("Delegation to {} failed: {message}", to.expert.key), true),
        };
        let result = ToolResult {
            id: to.tool_call_id.clone(),
            skill_name: format!("delegate/{}", to.expert.key),
            tool_name: to.tool_name.clone(),
            result: vec![Content::text(text)],
            is_error,
            found_tools: Box::default(),
        };
        if let Some(answer) = waiting.answers.get_mut(slot) {
            *answer = Some(result);
        }
        if let Some(end) = end {
            waiting.reached_step = waiting.reached_step.max(end.step_number);
            waiting.delegated_usage = waiting.delegated_usage.plus(end.usage);
            waiting.delegated_spend = waiting.delegated_spend.plus(end.spend);
            // An answer without free text brings nothing along of what its Run has read.
            let is_closed = end.checked_answer.as_ref().is_some_and(|answer| answer.is_closed);
            waiting.untrusted |= end.untrusted && !(end.status == Status::Completed && is_closed);
        }
        if waiting.answers.iter().all(Option::is_some)
            && let Some(waiting) = self.nodes.get_mut(index).and_then(|node| node.waits.take())
        {
            let run = self.continuing(index, &waiting.at);
            self.ready.push_back(JobAction::Continue {
                run,
                from: ParentCheckpoint { run_id: waiting.at.run_id, checkpoint_id: waiting.at.id },
                answers: waiting.answers.into_iter().flatten().collect(),
                reached_step: waiting.reached_step,
                delegated_usage: waiting.delegated_usage,
                delegated_spend: waiting.delegated_spend,
                untrusted: waiting.untrusted,
            });
        }
    }

    /// A Run that was cancelled in an earlier process goes on.
    fn go_on(&mut self, index: usize, at: &CheckpointHead) {
        let run = self.continuing(index, at);
        self.ready.push_back(JobAction::Continue {
            run,
            from: ParentCheckpoint { run_id: at.run_id.clone(), checkpoint_id: at.id.clone() },
            answers: Vec::new(),
            reached_step: at.step_number,
            delegated_usage: Usage::default(),
            delegated_spend: Spend::default(),
            untrusted: false,
        });
    }

    /// The Run that continues a node from its checkpoint `at`.
    fn continuing(&mut self, index: usize, at: &CheckpointHead) -> RunId {
        let run = derived(&at.id, &[at.run_id.as_str(), at.id.as_str()]);
        self.node_of.insert(run.clone(), index);
        run
    }
}

/// The outcome of a Run as the expert gets it that called it.
fn outcome_of(end: &RunEnd) -> Result<String, String> {
    match end.head.status {
        // An expert may complete without any text.
        Status::Completed => Ok(end.text.clone().unwrap_or_default()),
        Status::StoppedByError => Err(end
            .head
            .error
            .as_ref()
            .map_or_else(|| "it stopped by an error that was not recorded".to_owned(), |error| error.message.clone())),
        Status::StoppedByExceededMaxSteps => {
            Err(format!("it reached the limit of steps at step {}", end.head.step_number))
        }
        Status::StoppedByInteractiveTool => Err("it asked a person, whom a delegate cannot reach".to_owned()),
        Status::StoppedByVerification => Err(end
            .head
            .error
            .as_ref()
            .map_or_else(|| "its answer was not verified".to_owned(), |error| error.message.clone())),
        Status::StoppedByBudget => {
            Err(end.head.budget.as_ref().map_or_else(|| "it reached a budget".to_owned(), ToString::to_string))
        }
        Status::StoppedByCancellation | Status::StoppedByDelegate | Status::Init | Status::Proceeding => {
            Err("it did not come to an end".to_owned())
        }
    }
}

/// A Run id made of `parts`: a UUIDv7 with the time of `checkpoint` (when that has one), so that names still sort.
fn derived(checkpoint: &CheckpointId, parts: &[&str]) -> RunId {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut random = [0_u8; 10];
    for (to, from) in random.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    let time = uuid::Uuid::parse_str(checkpoint.as_str()).ok().filter(|id| id.get_version_num() == 7).map_or(0, |id| {
        let (high, low, ..) = id.as_fields();
        u64::from(high) << 16 | u64::from(low)
    });
    RunId::from(uuid::Builder::from_unix_timestamp_millis(time, &random).into_uuid())
}

#[cfg(test)]
mod tests;
