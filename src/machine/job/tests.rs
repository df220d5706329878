//! A job in any legal world: delegates, failures, kills; and what is asked for then.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;
use crate::cost::Cost;
use crate::expert::ExpertRef;
use crate::id::JobId;
use crate::machine::{Arrow, JOB_ARROWS};

fn expert() -> ExpertRef {
    ExpertRef { key: "e".parse().unwrap(), name: "e".to_owned(), version: "1.0.0".to_owned() }
}

fn head(run: &RunId, step: u64, status: Status) -> CheckpointHead {
    let id = derived(&"c".parse().unwrap(), &[run.as_str(), &step.to_string()]).as_str().parse().unwrap();
    let job: JobId = "job".parse().unwrap();
    let usage = Usage { total_tokens: 1, ..Usage::default() };
    CheckpointHead { status, step_number: step, usage, ..CheckpointHead::fresh(id, job, run.clone(), expert()) }
}

fn delegation(call: &str) -> DelegateTo {
    DelegateTo { expert: expert(), tool_call_id: call.to_owned(), tool_name: "e".to_owned(), query: "q".to_owned() }
}

/// The end of `run` by these calls to delegates.
fn delegating(run: &RunId, step: u64, calls: &[&str]) -> CheckpointHead {
    let mut head = head(run, step, Status::StoppedByDelegate);
    head.delegate_to = calls.iter().map(|call| delegation(call)).collect();
    head
}

fn number(run: &RunId) -> u8 {
    run.as_str().bytes().fold(7_u8, |n, byte| n.wrapping_mul(31).wrapping_add(byte))
}

/// The end of a Run in the world of a test: nothing but its id decides, so that it does the same again.
fn live(run: &RunId, first_step: u64, answers: &[ToolResult], usage: Usage, depth_left: u8) -> RunEnd {
    let n = number(run);
    let mut end = head(run, first_step + u64::from(n % 3), Status::Completed);
    end.usage = end.usage.plus(usage);
    // A picodollar a token.
    end.spend = Spend::known(Cost::from_picodollars(end.usage.total_tokens));
    let children = if depth_left == 0 { 0 } else { n % 4 };
    if children > 0 {
        end.status = Status::StoppedByDelegate;
        end.delegate_to = (0..children).map(|i| delegation(&format!("c{i}"))).collect();
    } else if n.is_multiple_of(7) {
        end.status = Status::StoppedByExceededMaxSteps;
    }
    let answers: Vec<&str> = answers.iter().filter_map(|r| r.result.first()?.as_text()).collect();
    let text = format!("{}({})", n, answers.join(","));
    RunEnd { head: end, text: Some(text), on_record: false }
}

/// The disk: how each Run ended.
type Disk = BTreeMap<RunId, RunEnd>;

struct World {
    disk: Disk,
    /// The number of times that each Run was done to its end.
    done: BTreeMap<RunId, usize>,
    /// The number of times that each lineage may still delegate, by Run.
    depth_left: BTreeMap<RunId, u8>,
    newest_root: RunId,
    /// The coordinator's Runs.
    root_runs: Vec<RunId>,
}

impl World {
    /// Does a Run to its end and records it.
    fn perform(&mut self, run: &RunId, action: &JobAction) -> RunEnd {
        let (first_step, answers, usage) = match action {
            JobAction::Start { first_step, .. } => (*first_step, Vec::new(), Usage::default()),
            JobAction::Continue { answers, reached_step, delegated_usage, delegated_spend, from, .. } => {
                assert_eq!(delegated_spend.cost.picodollars(), delegated_usage.total_tokens);
                let before = self.disk.get(&from.run_id).map_or(Usage::default(), |end| end.head.usage);
                (reached_step + 1, answers.clone(), delegated_usage.plus(before))
            }
            JobAction::Finish => unreachable!("the end is no Run"),
        };
        let depth_left = self.depth_left.get(run).copied().unwrap_or(0);
        let end = live(run, first_step, &answers, usage, depth_left);
        *self.done.entry(run.clone()).or_default() += 1;
        self.disk.insert(run.clone(), end.clone());
        if self.root_runs.contains(run) {
            self.newest_root = run.clone();
        }
        end
    }
}

/// Drives the job from its newest root Run until it ends (true), or until `kill` returns true before a Run is recorded.
fn drive(world: &mut World, pick: &mut dyn FnMut(usize) -> usize, kill: &mut dyn FnMut() -> bool) -> bool {
    let mut machine = JobMachine::new(TreeLimits { max_depth: 3, max_running: 3, ..TreeLimits::default() });
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
            untrusted: false,
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
    let stop = delegating(&root, 4, &["c"]);
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
    let stop = delegating(&root, 4, &["a", "b"]);
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
    let stop = delegating(&root, 1, &["c"]);
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
    let stop = delegating(&root, 1, &["c"]);
    let end = RunEnd { head: stop, text: None, on_record: false };
    assert_eq!(machine.advance(JobInput::RunEnded(Box::new(end))).unwrap(), [JobAction::Finish]);
}

#[test]
fn a_job_starts_only_so_many_delegates_and_the_next_call_is_answered_with_the_limit() {
    let mut machine = JobMachine::new(TreeLimits { max_delegates: 2, ..TreeLimits::default() });
    let root: RunId = "root".parse().unwrap();
    machine.advance(JobInput::Began { run: root.clone() }).unwrap();
    let stop = delegating(&root, 1, &["c0", "c1", "c2"]);
    let end = |head| JobInput::RunEnded(Box::new(RunEnd { head, text: Some("done".to_owned()), on_record: false }));
    let started: Vec<RunId> = machine
        .advance(end(stop))
        .unwrap()
        .into_iter()
        .map(|action| match action {
            JobAction::Start { run, .. } => run,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(started.len(), 2);
    let mut actions = Vec::new();
    for run in &started {
        actions = machine.advance(end(head(run, 2, Status::Completed))).unwrap();
    }
    let [JobAction::Continue { answers, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(answers.iter().map(|answer| answer.is_error).collect::<Vec<_>>(), [false, false, true]);
    let refused = answers[2].result[0].as_text().unwrap();
    assert!(refused.contains("has started 2 delegates, and may start 2 (maxDelegates)"), "{refused}");
}

#[test]
fn delegates_of_earlier_processes_count_and_are_asked_for_again() {
    let root: RunId = "root".parse().unwrap();
    let mut stop = head(&root, 1, Status::StoppedByDelegate);
    let call = |n| DelegateTo {
        expert: expert(),
        tool_call_id: format!("c{n}"),
        tool_name: "e".to_owned(),
        query: "q".to_owned(),
    };
    stop.delegate_to = (0..3).map(call).collect();
    let start = |max_delegates, started: HashSet<RunId>| -> Vec<RunId> {
        let limits = TreeLimits { max_delegates, ..TreeLimits::default() };
        let mut machine = JobMachine::new(limits).with_started(started);
        machine.advance(JobInput::Began { run: root.clone() }).unwrap();
        let end = RunEnd { head: stop.clone(), text: None, on_record: true };
        let actions = machine.advance(JobInput::RunEnded(Box::new(end))).unwrap();
        let run = |action| if let JobAction::Start { run, .. } = action { Some(run) } else { None };
        actions.into_iter().filter_map(run).collect()
    };
    let first = start(2, HashSet::new());
    assert_eq!(first.len(), 2);
    assert_eq!(start(2, first.iter().cloned().collect()), first, "those on record, and no further one");
    let others = ["a", "b"].map(|id| id.parse().unwrap());
    assert_eq!(start(2, others.clone().into()), [], "those of another branch count too");
    assert_eq!(start(3, others.into()).len(), 1);
}

#[test]
fn too_deep_a_delegation_is_an_answer_not_a_run() {
    let mut machine = JobMachine::new(TreeLimits { max_depth: 0, max_running: 1, ..TreeLimits::default() });
    let root: RunId = "root".parse().unwrap();
    machine.advance(JobInput::Began { run: root.clone() }).unwrap();
    let stop = delegating(&root, 1, &["c"]);
    let end = RunEnd { head: stop, text: None, on_record: false };
    let actions = machine.advance(JobInput::RunEnded(Box::new(end))).unwrap();
    let [JobAction::Continue { answers, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(answers[0].is_error);
    assert!(machine.advance(JobInput::Began { run: root }).is_err());
}

/// Decisions of a world, reproducible from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = crate::fact::split_mix(self.0);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

/// Ends a Run in one of the ways there are.
fn any_end(run: &RunId, dice: &mut Dice) -> RunEnd {
    let status = match dice.below(6) {
        0 | 1 => Status::StoppedByDelegate,
        2 => Status::StoppedByBudget,
        3 => Status::StoppedByError,
        _ => Status::Completed,
    };
    let mut end = head(run, 1, status);
    if status == Status::StoppedByBudget {
        end.budget = Some(Reached::Tokens { limit: 1, spent: 1, next: 1 });
    }
    if status == Status::StoppedByDelegate {
        end.delegate_to = (0..=dice.below(2)).map(|n| delegation(&format!("c{n}"))).collect();
    }
    RunEnd { head: end, text: None, on_record: false }
}

#[test]
fn every_arrow_of_the_jobs_diagram_is_taken_and_an_illegal_input_changes_nothing() {
    let mut taken = BTreeSet::new();
    for seed in 0..3000 {
        let mut dice = Dice(seed);
        let mut machine =
            JobMachine::new(TreeLimits { max_depth: 3, max_running: 1 + dice.below(3), ..TreeLimits::default() });
        let root: RunId = "root".parse().unwrap();
        let mut running: Vec<RunId> = Vec::new();
        for _ in 0..20 {
            let run = running.get(dice.below(running.len().max(1))).cloned();
            let stranger = || "stranger".parse().unwrap();
            let (input, is_own) = match (dice.below(12), run) {
                (0, _) => (JobInput::Interrupted, None),
                (1, run) => (JobInput::RunPostponed { run: run.clone().unwrap_or_else(stranger) }, run),
                (2, run) => {
                    let input = JobInput::RunFailed { run: run.clone().unwrap_or_else(stranger), message: "m".into() };
                    (input, run)
                }
                (3, _) => (JobInput::RunEnded(Box::new(any_end(&stranger(), &mut dice))), None),
                (4, _) | (_, None) => (JobInput::Began { run: root.clone() }, Some(root.clone())),
                (_, Some(run)) => (JobInput::RunEnded(Box::new(any_end(&run, &mut dice))), Some(run)),
            };
            let before = machine.clone();
            let name: &'static str = (&input).into();
            let has_begun = matches!(input, JobInput::Began { .. });
            match machine.advance(input) {
                Ok(actions) => {
                    let (from, to) = (before.phase().into(), machine.phase().into());
                    taken.insert(Arrow { from, input: name, to, event: "" });
                    if has_begun {
                        running.push(root.clone());
                    } else {
                        running.retain(|run| Some(run) != is_own.as_ref());
                    }
                    running.extend(actions.into_iter().filter_map(|action| match action {
                        JobAction::Start { run, .. } | JobAction::Continue { run, .. } => Some(run),
                        JobAction::Finish => None,
                    }));
                }
                Err(illegal) => {
                    assert_eq!((illegal.state, illegal.input), (before.phase().into(), name));
                    assert_eq!(machine, before);
                }
            }
        }
    }
    assert_eq!(taken, BTreeSet::from(JOB_ARROWS));
}
