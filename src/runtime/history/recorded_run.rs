//! [`RecordedRun`]: a Run read back, by sending its facts through the machine again. Resumption and the log call it.
//!
//! There is no second way to know what a half-done step meant: code that guesses would drift from the machine. A
//! mid-run checkpoint is the moment at which the facts before it made the machine ask for it; a killed Run is where its
//! last fact leads.

use std::collections::HashSet;

use crate::checkpoint::{Checkpoint, Status};
use crate::event::Event;
use crate::expert::ExpertRef;
use crate::fact::{Fact, FactBody, ParentCheckpoint};
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::{Action, IllegalInput, Input, RunMachine, Save};
use crate::runtime::error::RunError;
use crate::store::{CheckpointBody, CheckpointEntry, LogReader, Store};

/// Most mid-run checkpoints that may build on each other: each is a fork of a Run that was itself a fork. Far beyond
/// what people do; keeps a cycle in damaged files from going round for ever.
const MAX_FORKS: usize = 1000;

/// A Run read back as far as its log goes.
pub struct RecordedRun {
    pub machine: RunMachine,
    /// The time of the Run's first fact, in milliseconds since the epoch.
    pub began_at: u64,
    /// The time of its last fact.
    pub last_at: u64,
    /// The events since the last stored checkpoint, which the process that died may not have emitted.
    pub events: Vec<Event>,
    /// The last checkpoint that the machine asked for, which may not be stored.
    pub last_save: Option<Save>,
    /// The last checkpoint of the log whose file is there.
    pub last_stored: Option<CheckpointId>,
    /// Facts follow the last checkpoint.
    pub goes_beyond_save: bool,
}

impl RecordedRun {
    /// The Run's status, if it has ended.
    pub fn status(&self) -> Option<Status> {
        match self.machine.outstanding() {
            Action::Stop(status) => Some(status),
            _ => None,
        }
    }
}

/// Reads the Run `run` of `job` back, all of it; `None` when it came to no fact.
///
/// # Errors
/// A failure to read, or facts that do not follow from each other.
pub fn read_run(store: &Store, job: &JobId, run: &RunId) -> Result<Option<RecordedRun>, RunError> {
    let facts = store.read_facts(job, run)?;
    let Some(first) = facts.first() else { return Ok(None) };
    let mut past = RecordedRun {
        machine: first_state(store, job, run, first, 0)?,
        began_at: first.stamp.at,
        last_at: first.stamp.at,
        events: Vec::new(),
        last_save: None,
        last_stored: None,
        goes_beyond_save: false,
    };
    for fact in facts {
        past.goes_beyond_save = true;
        past.last_at = past.last_at.max(fact.stamp.at);
        let (events, last_save, beyond) = (&mut past.events, &mut past.last_save, &mut past.goes_beyond_save);
        let last_stored = &mut past.last_stored;
        let mut follow = |emitted, save: Option<Save>, _: &RunMachine| {
            events.extend(emitted);
            if let Some(save) = save {
                if store.stored_checkpoint(job, &save.head).is_some() {
                    *last_stored = Some(save.head.id.clone());
                    // A step's end is emitted before its checkpoint is stored, a Run's end after.
                    if !save.head.status.is_terminal() {
                        events.clear();
                    }
                }
                *last_save = Some(save);
                *beyond = false;
            }
            false
        };
        feed(&mut past.machine, fact, &mut follow).map_err(|illegal| broken(store, job, run, illegal.to_string()))?;
    }
    Ok(Some(past))
}

/// `run` and the Runs that it continues, the nearest first, as far as their logs go.
pub fn lineage(store: &Store, job: &JobId, run: &RunId) -> Vec<RunId> {
    let parent = |run: &RunId| {
        let first = LogReader::open(&store.layout().log(job, run)).ok()?.next_fact().ok()??;
        match first.body {
            FactBody::Resumed { resumption } => resumption.parent.map(|parent| parent.run_id),
            _ => None,
        }
    };
    std::iter::successors(Some(run.clone()), parent).take(MAX_FORKS).collect()
}

/// The first Runs of the delegates that `job` has started, as far as their logs can be read.
///
/// # Errors
/// The job's folder cannot be read.
pub fn started_delegates(store: &Store, job: &JobId) -> Result<HashSet<RunId>, RunError> {
    let is_delegate = |run: &RunId| {
        let first = LogReader::open(&store.layout().log(job, run)).ok().and_then(|mut log| log.next_fact().ok()?);
        first.is_some_and(|fact| matches!(fact.body, FactBody::Started { spec, .. } if spec.delegated_by.is_some()))
    };
    Ok(store.runs(job)?.into_iter().map(|entry| entry.id).filter(is_delegate).collect())
}

/// A stored checkpoint with its messages.
///
/// # Errors
/// A failure to read, or a log that does not lead to it.
pub fn read_checkpoint(store: &Store, entry: &CheckpointEntry) -> Result<Checkpoint, RunError> {
    whole(store, entry, 0)
}

fn whole(store: &Store, entry: &CheckpointEntry, depth: usize) -> Result<Checkpoint, RunError> {
    let stored = store.read_checkpoint(&entry.path)?;
    let position = match stored.body {
        CheckpointBody::Inline(messages) => return Ok(Checkpoint { head: stored.head, messages }),
        CheckpointBody::Log(position) => position,
    };
    // The log beside the file, also where a job's folder was copied under another name.
    let run = entry.run.as_ref().unwrap_or(&stored.head.run_id);
    let facts = store.read_facts_to(&entry.job, run, &position)?;
    follow(store, &entry.job, run, facts, &stored.head.id, depth)?.ok_or_else(|| RunError::History {
        place: entry.path.clone(),
        what: "the facts of its run do not lead to this checkpoint".to_owned(),
    })
}

/// The checkpoint `id` that the facts of `run` lead to, if they do.
fn follow(
    store: &Store,
    job: &JobId,
    run: &RunId,
    facts: Vec<Fact>,
    id: &CheckpointId,
    depth: usize,
) -> Result<Option<Checkpoint>, RunError> {
    let Some(first) = facts.first() else { return Ok(None) };
    let mut machine = first_state(store, job, run, first, depth)?;
    let mut found = None;
    for fact in facts {
        let mut stop = |_, save: Option<Save>, machine: &RunMachine| {
            if let Some(save) = save.filter(|save| save.head.id == *id) {
                let messages = save.messages_of(machine.messages()).to_vec();
                found = Some(Checkpoint { head: *save.head, messages });
            }
            found.is_some()
        };
        feed(&mut machine, fact, &mut stop).map_err(|illegal| broken(store, job, run, illegal.to_string()))?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

/// The machine before `first`, the first fact of `run`, which `depth` Runs so far continue from.
///
/// # Errors
/// A failure to read the Run that it continues, or a fact that begins no Run.
pub fn first_state(
    store: &Store,
    job: &JobId,
    run: &RunId,
    first: &Fact,
    depth: usize,
) -> Result<RunMachine, RunError> {
    let broken = |what: &str| broken(store, job, run, what.to_owned());
    match &first.body {
        FactBody::Started { spec, .. } => Ok(fresh(job, run, spec.expert.clone())),
        FactBody::Resumed { resumption } => {
            let parent = resumption
                .parent
                .as_ref()
                .ok_or_else(|| broken("its first fact names no checkpoint to continue from"))?;
            if depth >= MAX_FORKS {
                return Err(broken("too many runs continue from each other"));
            }
            Ok(RunMachine::restore(whole_parent(store, job, parent, depth + 1)?))
        }
        _ => Err(broken("its first fact begins no run")),
    }
}

/// The checkpoint that a Run continues from. One whose file is gone or damaged follows from its own Run's log.
fn whole_parent(store: &Store, job: &JobId, parent: &ParentCheckpoint, depth: usize) -> Result<Checkpoint, RunError> {
    let unread = match store.find_checkpoint(job, &parent.checkpoint_id) {
        Ok(entry) => match whole(store, &entry, depth) {
            Err(RunError::Store(damaged)) if damaged.is_damaged() => damaged,
            read => return read,
        },
        Err(missing) => missing,
    };
    match store.read_facts(job, &parent.run_id) {
        Ok(facts) => follow(store, job, &parent.run_id, facts, &parent.checkpoint_id, depth)?
            .ok_or_else(|| RunError::from(unread)),
        Err(_) => Err(unread.into()),
    }
}

fn broken(store: &Store, job: &JobId, run: &RunId, what: String) -> RunError {
    RunError::History { place: store.layout().log(job, run), what }
}

/// A machine for a Run that begins.
pub fn fresh(job: &JobId, run: &RunId, expert: ExpertRef) -> RunMachine {
    // The id of the state before the first step, which is never stored.
    let unused = CheckpointId::from(uuid::Uuid::nil());
    RunMachine::new(job.clone(), run.clone(), expert, unused)
}

/// A function that is given each transition's events and checkpoint, with the machine behind it; returns whether to
/// stop.
pub type FollowTransition<'a> = dyn FnMut(Vec<Event>, Option<Save>, &RunMachine) -> bool + 'a;

/// Gives `fact` to the machine and proceeds as far as the machine goes by itself, until `follow` returns true.
///
/// # Errors
/// The machine cannot accept the fact; it is unchanged then.
pub fn feed(machine: &mut RunMachine, fact: Fact, follow: &mut FollowTransition<'_>) -> Result<(), IllegalInput> {
    let mut input = Input::Fact(fact);
    loop {
        let transition = machine.advance(&input)?;
        let proceeds = transition.action == Action::Proceed;
        if follow(transition.events, transition.save, machine) || !proceeds {
            return Ok(());
        }
        input = Input::Proceed;
    }
}
