//! The machine of one Job: which Runs there are, who waits for whom, and what is to be started next.
//!
//! It hears how Runs end and answers with Runs to start, Runs to continue, or the job's end. Run ids derive from the
//! call, or the checkpoint, that made the Run necessary: a job that is taken up again asks for the same Runs as before,
//! and the driver finds on disk those that have ended already. Nothing else is needed for recovery.

use std::collections::{HashMap, VecDeque};

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
    /// How deep delegation may go; the coordinator is at depth 0.
    pub max_depth: usize,
    /// How many Runs may be driven at a time; at least 1.
    pub max_running: usize,
}

impl Default for TreeLimits {
    /// Ten levels are more than any sensible division of work has; eight Runs at a time stay within the usual limits
    /// of providers. (The original bounds neither.)
    fn default() -> Self {
        Self { max_depth: 10, max_running: 8 }
    }
}

/// One thing told to the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum JobInput {
    /// The coordinator's Run is being driven, or is on record.
    Began { run: RunId },
    /// A Run stopped.
    RunEnded(Box<RunEnd>),
    /// A Run could not begin: a skill did not start, say.
    RunFailed { run: RunId, message: String },
    /// A Run did not begin because the job is to stop; its parent goes on waiting, on disk.
    RunPostponed { run: RunId },
    /// The job is to stop: nothing more is started.
    Interrupted,
}

/// How a Run stopped.
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
        /// What its delegates used.
        delegated_usage: Usage,
        /// What its delegates cost.
        delegated_spend: Spend,
    },
    /// The job is over: the coordinator's last Run stopped so, or the job was interrupted and nothing is running.
    Finish,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct JobMachine {
    limits: TreeLimits,
    nodes: Vec<Node>,
    /// The node that a Run belongs to.
    node_of: HashMap<RunId, usize>,
    ready: VecDeque<JobAction>,
    running: usize,
    is_stopping: bool,
    is_over: bool,
}

/// One expert at work: its Run, and the Runs that continue it.
#[derive(Debug, Clone)]
struct Node {
    /// The node that waits for it, and for which of its calls.
    parent: Option<(usize, usize)>,
    depth: usize,
    /// While it waits for delegates.
    waits: Option<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    at: CheckpointHead,
    answers: Vec<Option<ToolResult>>,
    reached_step: u64,
    delegated_usage: Usage,
    delegated_spend: Spend,
}

impl JobMachine {
    /// A machine that waits for [`JobInput::Began`].
    pub fn new(limits: TreeLimits) -> Self {
        Self {
            limits,
            nodes: Vec::new(),
            node_of: HashMap::new(),
            ready: VecDeque::new(),
            running: 0,
            is_stopping: false,
            is_over: false,
        }
    }

    /// Takes one input in, and answers with what is to be done now, in this order.
    ///
    /// # Errors
    /// [`IllegalInput`] for a Run that is not being waited for, or after the end; the machine is unchanged.
    pub fn advance(&mut self, input: JobInput) -> Result<Vec<JobAction>, IllegalInput> {
        let illegal = |input| Err(IllegalInput { state: "job", input });
        if self.is_over {
            return illegal("anything after its end");
        }
        match input {
            JobInput::Began { run } if self.nodes.is_empty() => {
                self.nodes.push(Node { parent: None, depth: 0, waits: None });
                self.node_of.insert(run, 0);
                self.running = 1;
                return Ok(Vec::new());
            }
            JobInput::Began { .. } => return illegal("Began twice"),
            JobInput::Interrupted => self.stop(),
            JobInput::RunPostponed { run } => {
                if self.node_of.remove(&run).is_none() {
                    return illegal("RunPostponed");
                }
                self.running -= 1;
                self.stop();
            }
            JobInput::RunEnded(end) => {
                let Some(node) = self.node_of.remove(&end.head.run_id) else { return illegal("RunEnded") };
                self.running -= 1;
                self.ended(node, *end);
            }
            JobInput::RunFailed { run, message } => {
                let Some(node) = self.node_of.remove(&run) else { return illegal("RunFailed") };
                self.running -= 1;
                match self.nodes.get(node).and_then(|node| node.parent) {
                    Some(parent) => self.answer(parent, Err(message), None),
                    None => self.is_over = true,
                }
            }
        }
        Ok(self.next())
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

    /// What may be started now.
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
            at,
        };
        let (by_run, by_checkpoint, step) = (waiting.at.run_id.clone(), waiting.at.id.clone(), waiting.at.step_number);
        let by_expert = waiting.at.expert.clone();
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
            self.node_of.insert(run.clone(), self.nodes.len());
            self.nodes.push(Node { parent: Some((index, slot)), depth: depth + 1, waits: None });
            let by = DelegatedBy {
                expert: by_expert.clone(),
                tool_call_id: to.tool_call_id.clone(),
                tool_name: to.tool_name.clone(),
                checkpoint_id: by_checkpoint.clone(),
                run_id: by_run.clone(),
            };
            let (to, by) = (Box::new(to), Box::new(by));
            self.ready.push_back(JobAction::Start { run, to, by, first_step: step + 1 });
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
        };
        if let Some(answer) = waiting.answers.get_mut(slot) {
            *answer = Some(result);
        }
        if let Some(end) = end {
            waiting.reached_step = waiting.reached_step.max(end.step_number);
            waiting.delegated_usage = waiting.delegated_usage.plus(end.usage);
            waiting.delegated_spend = waiting.delegated_spend.plus(end.spend);
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
        });
    }

    /// The Run that continues a node from its checkpoint `at`.
    fn continuing(&mut self, index: usize, at: &CheckpointHead) -> RunId {
        let run = derived(&at.id, &[at.run_id.as_str(), at.id.as_str()]);
        self.node_of.insert(run.clone(), index);
        run
    }
}

/// What a Run that ended means to the expert that called it.
fn outcome_of(end: &RunEnd) -> Result<String, String> {
    match end.head.status {
        // An expert may finish without a word.
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cost::Cost;
    use crate::expert::ExpertRef;
    use crate::id::JobId;

    fn expert() -> ExpertRef {
        ExpertRef { key: "e".parse().unwrap(), name: "e".to_owned(), version: "1.0.0".to_owned() }
    }

    fn head(run: &RunId, step: u64, status: Status) -> CheckpointHead {
        let id = derived(&"c".parse().unwrap(), &[run.as_str(), &step.to_string()]).as_str().parse().unwrap();
        let job: JobId = "job".parse().unwrap();
        let usage = Usage { total_tokens: 1, ..Usage::default() };
        CheckpointHead { status, step_number: step, usage, ..CheckpointHead::fresh(id, job, run.clone(), expert()) }
    }

    fn number(run: &RunId) -> u8 {
        run.as_str().bytes().fold(7_u8, |n, byte| n.wrapping_mul(31).wrapping_add(byte))
    }

    /// What a Run does in the world of a test: nothing but its id decides, so that it does the same again.
    fn live(run: &RunId, first_step: u64, heard: &[ToolResult], usage: Usage, depth_left: u8) -> RunEnd {
        let n = number(run);
        let mut end = head(run, first_step + u64::from(n % 3), Status::Completed);
        end.usage = end.usage.plus(usage);
        // A picodollar a token.
        end.spend = Spend::known(Cost::from_picodollars(end.usage.total_tokens));
        let children = if depth_left == 0 { 0 } else { n % 4 };
        if children > 0 {
            end.status = Status::StoppedByDelegate;
            end.delegate_to = (0..children)
                .map(|i| DelegateTo {
                    expert: expert(),
                    tool_call_id: format!("c{i}"),
                    tool_name: "e".to_owned(),
                    query: "q".to_owned(),
                })
                .collect();
        } else if n.is_multiple_of(7) {
            end.status = Status::StoppedByExceededMaxSteps;
        }
        let heard: Vec<&str> = heard.iter().filter_map(|r| r.result.first()?.as_text()).collect();
        let text = format!("{}({})", n, heard.join(","));
        RunEnd { head: end, text: Some(text), on_record: false }
    }

    /// The disk: how each Run ended.
    type Disk = BTreeMap<RunId, RunEnd>;

    struct World {
        disk: Disk,
        /// How often each Run was done to its end.
        done: BTreeMap<RunId, usize>,
        /// How many more times each lineage may delegate, by Run.
        depth_left: BTreeMap<RunId, u8>,
        newest_root: RunId,
        /// The coordinator's Runs.
        root_runs: Vec<RunId>,
    }

    impl World {
        /// Does a Run to its end and records it.
        fn perform(&mut self, run: &RunId, action: &JobAction) -> RunEnd {
            let (first_step, heard, usage) = match action {
                JobAction::Start { first_step, .. } => (*first_step, Vec::new(), Usage::default()),
                JobAction::Continue { answers, reached_step, delegated_usage, delegated_spend, from, .. } => {
                    assert_eq!(delegated_spend.cost.picodollars(), delegated_usage.total_tokens);
                    let before = self.disk.get(&from.run_id).map_or(Usage::default(), |end| end.head.usage);
                    (reached_step + 1, answers.clone(), delegated_usage.plus(before))
                }
                JobAction::Finish => unreachable!("the end is no Run"),
            };
            let depth_left = self.depth_left.get(run).copied().unwrap_or(0);
            let end = live(run, first_step, &heard, usage, depth_left);
            *self.done.entry(run.clone()).or_default() += 1;
            self.disk.insert(run.clone(), end.clone());
            if self.root_runs.contains(run) {
                self.newest_root = run.clone();
            }
            end
        }
    }

    /// Drives the job from its newest root Run until it ends (true), or until `kill` says so before a Run is recorded.
    fn drive(world: &mut World, pick: &mut dyn FnMut(usize) -> usize, kill: &mut dyn FnMut() -> bool) -> bool {
        let mut machine = JobMachine::new(TreeLimits { max_depth: 3, max_running: 3 });
        let root = world.newest_root.clone();
        machine.advance(JobInput::Began { run: root.clone() }).unwrap();
        let mut running: Vec<(RunId, JobAction)> = vec![(
            root.clone(),
            JobAction::Continue {
                run: root,
                from: ParentCheckpoint { run_id: "none".parse().unwrap(), checkpoint_id: "none".parse().unwrap() },
                answers: Vec::new(),
                reached_step: 0,
                delegated_usage: Usage::default(),
                delegated_spend: Spend::default(),
            },
        )];
        while !running.is_empty() {
            assert!(running.len() <= 3);
            let (run, action) = running.swap_remove(pick(running.len()));
            let recorded = world.disk.get(&run).cloned();
            if recorded.is_none() && kill() {
                return false;
            }
            let end = recorded.map_or_else(|| world.perform(&run, &action), |end| RunEnd { on_record: true, ..end });
            for action in machine.advance(JobInput::RunEnded(Box::new(end))).unwrap() {
                match &action {
                    JobAction::Start { run, by, .. } => {
                        let left = world.depth_left.get(&by.run_id).copied().unwrap_or(0);
                        world.depth_left.insert(run.clone(), left.saturating_sub(1));
                        running.push((run.clone(), action));
                    }
                    JobAction::Continue { run, from, .. } => {
                        let left = world.depth_left.get(&from.run_id).copied().unwrap_or(0);
                        // Each continuation delegates less, so that worlds end.
                        world.depth_left.insert(run.clone(), left.saturating_sub(1));
                        if world.root_runs.contains(&from.run_id) {
                            world.root_runs.push(run.clone());
                        }
                        running.push((run.clone(), action));
                    }
                    JobAction::Finish => {
                        assert!(running.is_empty());
                        return true;
                    }
                }
            }
        }
        panic!("nothing runs, and the job has not finished");
    }

    fn world(seed: u32) -> World {
        let root: RunId = format!("root-{seed}").parse().unwrap();
        World {
            disk: Disk::new(),
            done: BTreeMap::new(),
            depth_left: BTreeMap::from([(root.clone(), 3)]),
            root_runs: vec![root.clone()],
            newest_root: root,
        }
    }

    fn last(world: &World) -> (Option<String>, Usage, u64) {
        let end = &world.disk[&world.newest_root];
        (end.text.clone(), end.head.usage, end.head.step_number)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_job_that_is_killed_at_will_ends_like_an_undisturbed_one(
            seed in any::<u32>(),
            picks in proptest::collection::vec(any::<u8>(), 1..200),
            kills in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut calm = world(seed);
            prop_assert!(drive(&mut calm, &mut |_| 0, &mut || false));

            let mut wild = world(seed);
            let mut pick = picks.iter().cycle().map(|n| usize::from(*n));
            let mut kills = kills.into_iter();
            let mut rounds = 0;
            while !drive(&mut wild, &mut |n| pick.next().unwrap_or(0) % n, &mut || kills.next().unwrap_or(false)) {
                rounds += 1;
                prop_assert!(rounds < 100);
            }
            prop_assert_eq!(last(&wild), last(&calm));
            prop_assert!(wild.done.values().all(|times| *times == 1), "{:?}", wild.done);
            prop_assert_eq!(&wild.done, &calm.done);
        }
    }

    #[test]
    fn a_job_that_is_stopped_lets_its_runs_end_and_goes_on_from_there() {
        let mut machine = JobMachine::new(TreeLimits::default());
        let root: RunId = "root".parse().unwrap();
        machine.advance(JobInput::Began { run: root.clone() }).unwrap();
        let mut stop = head(&root, 4, Status::StoppedByDelegate);
        stop.delegate_to = vec![DelegateTo {
            expert: expert(),
            tool_call_id: "c".to_owned(),
            tool_name: "e".to_owned(),
            query: "q".to_owned(),
        }];
        let end = |head: CheckpointHead, on_record| {
            JobInput::RunEnded(Box::new(RunEnd { head, text: Some("t".to_owned()), on_record }))
        };
        let actions = machine.advance(end(stop.clone(), false)).unwrap();
        let [JobAction::Start { run: child, first_step: 5, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(machine.advance(JobInput::Interrupted).unwrap(), []);
        let cancelled = head(child, 6, Status::StoppedByCancellation);
        assert_eq!(machine.advance(end(cancelled.clone(), false)).unwrap(), [JobAction::Finish]);

        let mut again = JobMachine::new(TreeLimits::default());
        again.advance(JobInput::Began { run: root }).unwrap();
        assert_eq!(again.advance(end(stop, true)).unwrap(), actions);
        let actions = again.advance(end(cancelled.clone(), true)).unwrap();
        let [JobAction::Continue { run, from, reached_step: 6, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((&from.run_id, &from.checkpoint_id), (child, &cancelled.id));
        let done = head(run, 7, Status::Completed);
        let actions = again.advance(end(done, false)).unwrap();
        let [JobAction::Continue { answers, reached_step: 7, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((answers[0].skill_name.as_str(), answers[0].is_error), ("delegate/e", false));
    }

    #[test]
    fn a_delegate_that_ends_the_job_by_its_budget_goes_on_later_and_one_that_repeats_itself_has_failed() {
        let root: RunId = "root".parse().unwrap();
        let mut stop = head(&root, 4, Status::StoppedByDelegate);
        let call = |id: &str| DelegateTo {
            expert: expert(),
            tool_call_id: id.to_owned(),
            tool_name: "e".to_owned(),
            query: "q".to_owned(),
        };
        stop.delegate_to = vec![call("a"), call("b")];
        let end = |head: CheckpointHead, on_record| {
            JobInput::RunEnded(Box::new(RunEnd { head, text: Some("t".to_owned()), on_record }))
        };
        let begin = |on_record| {
            let mut machine = JobMachine::new(TreeLimits { max_running: 1, ..TreeLimits::default() });
            machine.advance(JobInput::Began { run: root.clone() }).unwrap();
            let actions = machine.advance(end(stop.clone(), on_record)).unwrap();
            let [JobAction::Start { run, .. }] = &actions[..] else { panic!("{actions:?}") };
            (machine, run.clone())
        };
        let (mut machine, child) = begin(false);
        let reached = Reached::Tokens { limit: 9, spent: 9, next: 1 };
        let broke = CheckpointHead { budget: Some(reached), ..head(&child, 6, Status::StoppedByBudget) };
        assert_eq!(machine.advance(end(broke.clone(), false)).unwrap(), [JobAction::Finish], "nothing more is started");

        let (mut again, child) = begin(true);
        let actions = again.advance(end(broke, true)).unwrap();
        let [JobAction::Start { run: second, .. }] = &actions[..] else { panic!("{actions:?}") };
        let reached = Reached::ToolRepetitions { limit: 3, tool_name: "read".to_owned() };
        let stuck = CheckpointHead { budget: Some(reached), ..head(second, 9, Status::StoppedByBudget) };
        let actions = again.advance(end(stuck, false)).unwrap();
        let [JobAction::Continue { run, from, reached_step: 6, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(from.run_id, child);
        let actions = again.advance(end(head(run, 8, Status::Completed), false)).unwrap();
        let [JobAction::Continue { answers, reached_step: 9, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(answers.iter().map(|answer| answer.is_error).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_run_that_did_not_begin_leaves_its_parent_waiting() {
        let mut machine = JobMachine::new(TreeLimits::default());
        let root: RunId = "root".parse().unwrap();
        machine.advance(JobInput::Began { run: root.clone() }).unwrap();
        let mut stop = head(&root, 1, Status::StoppedByDelegate);
        stop.delegate_to = vec![DelegateTo {
            expert: expert(),
            tool_call_id: "c".to_owned(),
            tool_name: "e".to_owned(),
            query: "q".to_owned(),
        }];
        let end = RunEnd { head: stop, text: None, on_record: false };
        let actions = machine.advance(JobInput::RunEnded(Box::new(end))).unwrap();
        let [JobAction::Start { run, .. }] = &actions[..] else { panic!("{actions:?}") };
        let postponed = JobInput::RunPostponed { run: run.clone() };
        assert_eq!(machine.advance(postponed).unwrap(), [JobAction::Finish]);
    }

    #[test]
    fn nothing_is_started_once_a_job_is_to_stop() {
        let mut machine = JobMachine::new(TreeLimits::default());
        let root: RunId = "root".parse().unwrap();
        machine.advance(JobInput::Began { run: root.clone() }).unwrap();
        assert_eq!(machine.advance(JobInput::Interrupted).unwrap(), []);
        let mut stop = head(&root, 1, Status::StoppedByDelegate);
        stop.delegate_to = vec![DelegateTo {
            expert: expert(),
            tool_call_id: "c".to_owned(),
            tool_name: "e".to_owned(),
            query: "q".to_owned(),
        }];
        let end = RunEnd { head: stop, text: None, on_record: false };
        assert_eq!(machine.advance(JobInput::RunEnded(Box::new(end))).unwrap(), [JobAction::Finish]);
    }

    #[test]
    fn too_deep_a_delegation_is_an_answer_not_a_run() {
        let mut machine = JobMachine::new(TreeLimits { max_depth: 0, max_running: 1 });
        let root: RunId = "root".parse().unwrap();
        machine.advance(JobInput::Began { run: root.clone() }).unwrap();
        let mut stop = head(&root, 1, Status::StoppedByDelegate);
        stop.delegate_to = vec![DelegateTo {
            expert: expert(),
            tool_call_id: "c".to_owned(),
            tool_name: "e".to_owned(),
            query: "q".to_owned(),
        }];
        let end = RunEnd { head: stop, text: None, on_record: false };
        let actions = machine.advance(JobInput::RunEnded(Box::new(end))).unwrap();
        let [JobAction::Continue { answers, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert!(answers[0].is_error);
        assert!(machine.advance(JobInput::Began { run: root }).is_err());
    }
}
