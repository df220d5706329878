//! Reading a Run back: its facts sent through the machine again.
//!
//! There is no second way to know what a half-done step meant. A mid-run checkpoint is the moment at which the facts
//! before it made the machine ask for it; a killed Run is where its last fact leads.

use crate::checkpoint::{Checkpoint, Status};
use crate::event::Event;
use crate::expert::ExpertRef;
use crate::fact::{Fact, FactBody, ParentCheckpoint};
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::{Action, Input, RunMachine, Save};
use crate::runtime::RunError;
use crate::store::{CheckpointBody, CheckpointEntry, Store};

/// Most mid-run checkpoints that may build on each other: each is a fork of a Run that was itself a fork. Far beyond
/// what people do; keeps a cycle in damaged files from going round for ever.
const MAX_FORKS: usize = 1000;

/// A Run read back as far as its log goes.
pub struct Past {
    pub machine: RunMachine,
    /// Told since the last step's end: possibly never heard.
    pub events: Vec<Event>,
    /// The last checkpoint that was asked for: possibly not stored.
    pub last_save: Option<Save>,
    /// Whether facts follow the last checkpoint.
    pub goes_beyond_save: bool,
}

impl Past {
    /// How the Run ended, if it did.
    pub fn status(&self) -> Option<Status> {
        match self.machine.outstanding() {
            Action::Stop(status) => Some(status),
            _ => None,
        }
    }
}

/// Reads the Run `run` of `job` back, all of it.
///
/// # Errors
/// What cannot be read, or facts that do not follow from each other.
pub fn read_run(store: &Store, job: &JobId, run: &RunId) -> Result<Past, RunError> {
    let facts = store.read_facts(job, run)?;
    let mut machine = first_state(store, job, run, &facts, 0)?;
    let mut events = Vec::new();
    let mut last_save = None;
    let mut goes_beyond_save = false;
    for fact in facts {
        goes_beyond_save = true;
        feed(&mut machine, fact, &mut |told, save, _| {
            events.extend(told);
            if let Some(save) = save {
                if !save.head.status.is_terminal() {
                    events.clear();
                }
                last_save = Some(save);
                goes_beyond_save = false;
            }
            false
        })?;
    }
    Ok(Past { machine, events, last_save, goes_beyond_save })
}

/// Makes a stored checkpoint whole.
///
/// # Errors
/// What cannot be read, or a log that does not lead to it.
pub fn read_checkpoint(store: &Store, entry: &CheckpointEntry) -> Result<Checkpoint, RunError> {
    whole(store, entry, 0)
}

fn whole(store: &Store, entry: &CheckpointEntry, depth: usize) -> Result<Checkpoint, RunError> {
    let stored = store.read_checkpoint(&entry.path)?;
    let position = match stored.body {
        CheckpointBody::Inline(messages) => return Ok(Checkpoint { head: stored.head, messages }),
        CheckpointBody::Log(position) => position,
    };
    let (job, run) = (&stored.head.job_id, &stored.head.run_id);
    let facts = store.read_facts_to(job, run, &position)?;
    let mut machine = first_state(store, job, run, &facts, depth)?;
    let mut found = None;
    for fact in facts {
        feed(&mut machine, fact, &mut |_, save, machine| {
            if let Some(save) = save.filter(|save| save.head.id == stored.head.id) {
                let messages = machine.messages().get(..save.messages).unwrap_or_default().to_vec();
                found = Some(Checkpoint { head: *save.head, messages });
            }
            found.is_some()
        })?;
    }
    found.ok_or_else(|| RunError::History {
        place: entry.path.clone(),
        what: "the facts of its run do not lead to this checkpoint".to_owned(),
    })
}

/// The machine before the first of `facts`.
fn first_state(store: &Store, job: &JobId, run: &RunId, facts: &[Fact], depth: usize) -> Result<RunMachine, RunError> {
    let broken = |what: &str| RunError::History { place: store.layout().log(job, run), what: what.to_owned() };
    match facts.first().map(|fact| &fact.body) {
        Some(FactBody::Started { spec, .. }) => Ok(fresh(job, run, spec.expert.clone())),
        Some(FactBody::Resumed { resumption }) => {
            let Some(ParentCheckpoint { checkpoint_id, .. }) = &resumption.parent else {
                return Err(broken("its first fact names no checkpoint to continue from"));
            };
            if depth >= MAX_FORKS {
                return Err(broken("too many runs continue from each other"));
            }
            let parent = store.find_checkpoint(job, checkpoint_id)?;
            Ok(RunMachine::restore(whole(store, &parent, depth + 1)?))
        }
        Some(_) => Err(broken("its first fact begins no run")),
        None => Err(broken("it holds no fact: the run never began")),
    }
}

/// A machine for a Run that begins.
pub fn fresh(job: &JobId, run: &RunId, expert: ExpertRef) -> RunMachine {
    // The name of the state before the first step, which is never stored.
    let nowhere = CheckpointId::from(uuid::Uuid::nil());
    RunMachine::new(job.clone(), run.clone(), expert, nowhere)
}

/// Gets what follows from an input; answers whether it has seen enough.
type Seen<'a> = dyn FnMut(Vec<Event>, Option<Save>, &RunMachine) -> bool + 'a;

/// Tells `fact` and proceeds as far as the machine goes by itself; `seen` gets every transition's events and
/// checkpoint, and ends it early by answering true.
fn feed(machine: &mut RunMachine, fact: Fact, seen: &mut Seen<'_>) -> Result<(), RunError> {
    let mut input = Input::Fact(fact);
    loop {
        let transition = machine.advance(&input)?;
        let proceeds = transition.action == Action::Proceed;
        if seen(transition.events, transition.save, machine) || !proceeds {
            return Ok(());
        }
        input = Input::Proceed;
    }
}
