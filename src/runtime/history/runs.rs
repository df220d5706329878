//! [`Run`]: one Run of a job by its beginning, and the tree that a job's Runs make. The job's log reads them when it is
//! opened.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::{CheckpointHead, DelegatedBy};
use crate::expert::ExpertKey;
use crate::fact::{Fact, FactBody, ParentCheckpoint};
use crate::id::{JobId, RunId};
use crate::runtime::error::RunError;
use crate::store::{RunEntry, Store};

/// The levels of the tree that are kept apart: beyond what delegation allows, so that only damaged files come near.
const MAX_DEPTH: usize = 32;

/// A Run by its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    /// `None` when it can be read from nothing.
    pub expert: Option<ExpertKey>,
    pub descent: Descent,
    /// Milliseconds since the epoch; 0 when it is not known.
    pub began_at: u64,
}

/// The origin of a Run.
#[derive(Debug, Clone, PartialEq)]
pub enum Descent {
    /// The job began with it, or its origin is not known.
    Root,
    /// It answers a call of another Run.
    Delegate(Box<DelegatedBy>),
    /// It goes on where another stopped.
    Continues(ParentCheckpoint),
}

impl Run {
    /// The checkpoint that it continues.
    pub fn parent(&self) -> Option<&ParentCheckpoint> {
        match &self.descent {
            Descent::Continues(parent) => Some(parent),
            Descent::Root | Descent::Delegate(_) => None,
        }
    }
}

/// The Runs of a job, the first begun first.
pub(super) fn of_job(store: &Store, job: &JobId) -> Result<Vec<Run>, RunError> {
    let mut runs: Vec<Run> = store.runs(job)?.into_iter().map(|entry| read(store, job, entry)).collect();
    // The original's Runs may have left nothing but checkpoints.
    for entry in store.checkpoints(job)? {
        let Some(id) = entry.run else { continue };
        let known = runs.iter().position(|run| run.id == id);
        if known.and_then(|at| runs.get(at)).is_some_and(|run| run.expert.is_some()) {
            continue;
        }
        let head = store.read_checkpoint(&entry.path).ok().map(|read| read.head);
        let run = from_head(id, head);
        match known.and_then(|at| runs.get_mut(at)) {
            Some(slot) => *slot = Run { began_at: slot.began_at, ..run },
            None => runs.push(run),
        }
    }
    inherit_experts(&mut runs);
    runs.sort_by(|a, b| (a.began_at, &a.id).cmp(&(b.began_at, &b.id)));
    Ok(runs)
}

fn read(store: &Store, job: &JobId, entry: RunEntry) -> Run {
    let expert = entry.setting.map(|setting| setting.expert_key);
    let mut run = Run { id: entry.id, expert, descent: Descent::Root, began_at: entry.started_at };
    match store.first_fact(job, &run.id) {
        Some(Fact { stamp, body: FactBody::Started { spec, .. }, .. }) => {
            run.expert = Some(spec.expert.key);
            run.began_at = stamp.at;
            if let Some(by) = spec.delegated_by {
                run.descent = Descent::Delegate(Box::new(by));
            }
        }
        Some(Fact { stamp, body: FactBody::Resumed { resumption }, .. }) => {
            run.began_at = stamp.at;
            if let Some(parent) = resumption.parent {
                run.descent = Descent::Continues(parent);
            }
        }
        _ => {
            if let Some((at, _)) = store.original_events(job, &run.id).ok().and_then(|all| all.into_iter().next()) {
                run.began_at = at;
            }
        }
    }
    run
}

fn from_head(id: RunId, head: Option<CheckpointHead>) -> Run {
    let (expert, by) = head.map_or((None, None), |head| (Some(head.expert.key), head.delegated_by));
    let descent = by.map_or(Descent::Root, |by| Descent::Delegate(Box::new(by)));
    Run { id, expert, descent, began_at: 0 }
}

/// A Run that continues another is of the same expert.
fn inherit_experts(runs: &mut [Run]) {
    let mut known: HashMap<RunId, ExpertKey> =
        runs.iter().filter_map(|run| Some((run.id.clone(), run.expert.clone()?))).collect();
    // A chain may be listed in any order; each round settles at least one more.
    loop {
        let mut settled = false;
        for run in runs.iter_mut().filter(|run| run.expert.is_none()) {
            if let Descent::Continues(parent) = &run.descent
                && let Some(expert) = known.get(&parent.run_id)
            {
                run.expert = Some(expert.clone());
                known.insert(run.id.clone(), expert.clone());
                settled = true;
            }
        }
        if !settled {
            return;
        }
    }
}

/// The Runs in the order of a tree, with their depths.
pub(super) fn in_tree_order(runs: &[Run]) -> Vec<(usize, &Run)> {
    let by_id: HashMap<&RunId, &Run> = runs.iter().map(|run| (&run.id, run)).collect();
    let mut below: HashMap<Option<&RunId>, Vec<&Run>> = HashMap::new();
    for run in runs {
        below.entry(caller(run, &by_id)).or_default().push(run);
    }
    let mut order = Vec::with_capacity(runs.len());
    let mut placed: HashSet<&RunId> = HashSet::new();
    place(None, 0, &below, &mut placed, &mut order);
    // Runs that damaged files make each other's callers.
    for run in runs {
        if placed.insert(&run.id) {
            order.push((0, run));
        }
    }
    order
}

fn place<'a>(
    caller: Option<&'a RunId>,
    depth: usize,
    below: &HashMap<Option<&'a RunId>, Vec<&'a Run>>,
    placed: &mut HashSet<&'a RunId>,
    order: &mut Vec<(usize, &'a Run)>,
) {
    for run in below.get(&caller).into_iter().flatten() {
        if placed.insert(&run.id) {
            order.push((depth, run));
            if depth < MAX_DEPTH {
                place(Some(&run.id), depth + 1, below, placed, order);
            }
        }
    }
}

/// The Run whose call `run` answers, by itself or in continuation of one that does. `None` for the coordinator's, and
/// where it is not known.
fn caller<'a>(run: &'a Run, by_id: &HashMap<&'a RunId, &'a Run>) -> Option<&'a RunId> {
    let mut run = run;
    let mut seen = HashSet::new();
    while seen.insert(&run.id) {
        match &run.descent {
            Descent::Root => return None,
            Descent::Delegate(by) => return by_id.get_key_value(&by.run_id).map(|(id, _)| *id),
            Descent::Continues(parent) => run = by_id.get(&parent.run_id)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, began_at: u64, descent: Descent) -> Run {
        Run { id: id.parse().unwrap(), expert: None, descent, began_at }
    }

    fn continues(parent: &str) -> Descent {
        let (run_id, checkpoint_id) = (parent.parse().unwrap(), "c".parse().unwrap());
        Descent::Continues(ParentCheckpoint { run_id, checkpoint_id })
    }

    fn called_by(parent: &str) -> Descent {
        let by = serde_json::json!({"expert": {"key": "boss", "name": "boss", "version": "1.0.0"},
            "toolCallId": "t", "toolName": "worker", "checkpointId": "c", "runId": parent});
        Descent::Delegate(serde_json::from_value(by).unwrap())
    }

    fn order(runs: &[Run]) -> Vec<(usize, &str)> {
        in_tree_order(runs).into_iter().map(|(depth, run)| (depth, run.id.as_str())).collect()
    }

    #[test]
    fn delegates_are_below_their_caller_and_continuations_beside_what_they_continue() {
        let runs = [
            run("a", 1, Descent::Root),
            run("a1", 2, called_by("a")),
            run("a2", 3, called_by("a")),
            run("a1b", 4, called_by("a1")),
            run("a1-on", 5, continues("a1")),
            run("b", 6, continues("a")),
            run("b1", 7, called_by("b")),
        ];
        let expected = [(0, "a"), (1, "a1"), (2, "a1b"), (1, "a2"), (1, "a1-on"), (0, "b"), (1, "b1")];
        assert_eq!(order(&runs), expected);
    }

    #[test]
    fn every_run_has_a_place_whatever_the_files_hold() {
        let runs = [run("a", 1, continues("b")), run("b", 2, continues("a")), run("c", 3, called_by("gone"))];
        assert_eq!(order(&runs), [(0, "a"), (0, "b"), (0, "c")]);
        let runs = [run("a", 1, called_by("b")), run("b", 2, called_by("a"))];
        assert_eq!(order(&runs), [(0, "a"), (0, "b")]);
    }

    #[test]
    fn a_continuation_is_of_the_expert_that_it_continues() {
        let mut runs = [run("c", 3, continues("b")), run("b", 2, continues("a")), run("a", 1, Descent::Root)];
        runs[2].expert = Some("librarian".parse().unwrap());
        inherit_experts(&mut runs);
        assert!(runs.iter().all(|run| run.expert.as_ref().is_some_and(|expert| expert.as_str() == "librarian")));
    }
}
