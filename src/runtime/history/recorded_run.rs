//! [`RecordedRun`]: a Run read back, by sending its facts through the machine again. Resumption and the log call it.
//!
//! There is no second way to know what a half-done step meant: code that guesses would drift from the machine. A
//! mid-run checkpoint is the moment at which the facts before it made the machine ask for it; a killed Run is where its
//! last fact leads.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::checkpoint::{Checkpoint, Status};
use crate::event::Event;
use crate::expert::ExpertRef;
use crate::fact::{Fact, FactBody, ParentCheckpoint};
use crate::id::{CheckpointId, JobId, RunId};
use crate::job::JobStatus;
use crate::machine::{Action, IllegalInput, Input, RunMachine, Save};
use crate::runtime::error::RunError;
use crate::runtime::history::run_ends::RunEnds;
use crate::store::{
    Chain, CheckpointBody, CheckpointEntry, Found, LogPosition, LogReader, Store, StoreError, StoredCheckpoint,
};

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
    /// The last checkpoint of the log whose file is there, and the file.
    pub last_stored: Option<CheckpointId>,
    pub newest_stored: Option<PathBuf>,
    /// The last checkpoint of a Run that has not ended, with its point in the log, if there is no file of it.
    pub unstored: Option<(Save, LogPosition)>,
    /// The log up to its last whole line, for a writer that goes on from there.
    pub log_end: Chain,
}

impl RecordedRun {
    /// The Run's status, if it has ended.
    pub fn status(&self) -> Option<Status> {
        status_of(&self.machine)
    }

    /// Returns whether `id` is the newest checkpoint, or the newest of those whose files are there.
    pub fn is_last(&self, id: &CheckpointId) -> bool {
        self.last_stored.as_ref() == Some(id) || self.last_save.as_ref().is_some_and(|save| save.head.id == *id)
    }

    /// Takes in the fact that `log` has just read. `stored`: the checkpoints of which there are files. Returns whether the
    /// events begin behind one of them.
    fn take(
        &mut self,
        fact: Fact,
        log: &mut LogReader,
        stored: &HashMap<CheckpointId, PathBuf>,
    ) -> Result<bool, IllegalInput> {
        self.last_at = self.last_at.max(fact.stamp.at);
        let Self { machine, events, last_save, last_stored, newest_stored, unstored, .. } = self;
        let mut begin_anew = false;
        let position = log.position();
        feed(machine, fact, log, &mut |emitted, save, _| {
            events.extend(emitted);
            let Some(save) = save else { return false };
            if let Some(path) = stored.get(&save.head.id) {
                *last_stored = Some(save.head.id.clone());
                *newest_stored = Some(path.clone());
                *unstored = None;
                // A step's end is emitted before its checkpoint is stored, a Run's end after.
                if !save.head.status.is_terminal() {
                    events.clear();
                    begin_anew = true;
                }
            } else if !save.head.status.is_terminal() {
                *unstored = Some((save.clone(), position.clone()));
            }
            *last_save = Some(save);
            false
        })?;
        Ok(begin_anew)
    }
}

/// The status of a Run whose facts have led to this machine, if it has ended.
pub fn status_of(machine: &RunMachine) -> Option<Status> {
    match machine.outstanding() {
        Action::Stop(status) => Some(status),
        _ => None,
    }
}

/// Reads the Run `run` of `job` back, all of it; `None` when it came to no fact.
///
/// # Errors
/// A failure to read, or facts that do not follow from each other.
pub fn read_run(store: &Store, job: &JobId, run: &RunId) -> Result<Option<RecordedRun>, RunError> {
    let files = store.run_checkpoints(job, run)?;
    // Events matter behind the newest file, or the one before it where that is of the Run's end.
    let loud_from = files.last().map_or(0, |newest| newest.step.saturating_sub(1));
    let stored = files.into_iter().map(|entry| (entry.id, entry.path)).collect();
    match read_back(store, job, run, &stored, loud_from)? {
        // The files are not those that the log leads to.
        Some((_, false)) => Ok(read_back(store, job, run, &stored, 0)?.map(|(past, _)| past)),
        read => Ok(read.map(|(past, _)| past)),
    }
}

/// Reads a Run back, quietly before the step `loud_from`, and returns whether its events are all there are.
fn read_back(
    store: &Store,
    job: &JobId,
    run: &RunId,
    stored: &HashMap<CheckpointId, PathBuf>,
    loud_from: u64,
) -> Result<Option<(RecordedRun, bool)>, RunError> {
    let mut log = store.open_log(job, run)?;
    let Some(first) = log.next_fact()? else { return Ok(None) };
    let mut past = RecordedRun {
        machine: first_state(store, job, run, &first)?,
        began_at: first.stamp.at,
        last_at: first.stamp.at,
        events: Vec::new(),
        last_save: None,
        last_stored: None,
        newest_stored: None,
        unstored: None,
        log_end: Chain::default(),
    };
    let mut has_all_events = loud_from <= past.machine.head().step_number;
    past.machine.set_quiet(!has_all_events);
    let mut next = Some(first);
    while let Some(fact) = next {
        let was_quiet = past.machine.is_quiet();
        let began_anew =
            past.take(fact, &mut log, stored).map_err(|illegal| broken(store, job, run, illegal.to_string()))?;
        has_all_events |= began_anew && !was_quiet;
        past.machine.set_quiet(was_quiet && past.machine.head().step_number < loud_from);
        next = log.next_fact()?;
    }
    past.machine.set_quiet(false);
    past.log_end = log.chain().clone();
    Ok(Some((past, has_all_events)))
}

/// The machine of a Run behind its last fact, read without its events, and the time of that fact; `None` when the Run
/// came to no fact. For a caller that reads one Run after the other, the end of one that this Run continues is taken from
/// `ends`.
///
/// # Errors
/// As [`read_run`].
pub fn read_end(
    store: &Store,
    job: &JobId,
    run: &RunId,
    ends: &mut RunEnds,
) -> Result<Option<(RunMachine, u64)>, RunError> {
    let mut log = store.open_log(job, run)?;
    let Some(first) = log.next_fact()? else { return Ok(None) };
    let mut machine = state_behind(store, job, run, &first, ends)?;
    machine.set_quiet(true);
    let mut last_at = 0;
    let mut next = Some(first);
    while let Some(fact) = next {
        last_at = fact.stamp.at.max(last_at);
        let fed = feed(&mut machine, fact, &mut log, &mut |_, _, _| false);
        fed.map_err(|illegal| broken(store, job, run, illegal.to_string()))?;
        next = log.next_fact()?;
    }
    machine.set_quiet(false);
    Ok(Some((machine, last_at)))
}

/// The end of a Run by its newest checkpoint alone, if that holds all of it and it was stored as the job's: nothing
/// follows a Run's end, so the log need not be read, however long it is.
pub fn stored_end(store: &Store, job: &JobId, run: &RunId, newest: &CheckpointEntry) -> Option<Checkpoint> {
    if !is_reported(store, job, run) {
        return None;
    }
    let stored = store.read_checkpoint(&newest.path).ok()?;
    match stored.body {
        CheckpointBody::Inline(messages) if stored.head.status.is_terminal() => {
            Some(Checkpoint { head: stored.head, messages })
        }
        _ => None,
    }
}

/// Returns whether the end of `run`, which has ended, was stored as the job's, after which a process reports it to its
/// user. That of an older Run was: otherwise the newer one could not have begun.
pub fn is_reported(store: &Store, job: &JobId, run: &RunId) -> bool {
    store.job(job).is_ok_and(|job| job.status != JobStatus::Running)
        || !matches!(store.find_job(job), Ok(Found::Run { run: newest, .. }) if newest == *run)
}

/// `run` and the Runs that it continues, the nearest first, as far as their logs go.
pub fn lineage(store: &Store, job: &JobId, run: &RunId) -> Vec<RunId> {
    let mut runs = vec![run.clone()];
    let mut seen = HashSet::from([run.clone()]);
    let parent = |run: &RunId| Some(parent_of(&store.first_fact(job, run)?)?.run_id.clone());
    // A circle can only be of damaged files.
    while let Some(parent) = runs.last().and_then(parent).filter(|parent| seen.insert(parent.clone())) {
        runs.push(parent);
    }
    runs
}

/// The checkpoint that a Run with this first fact continues from.
fn parent_of(first: &Fact) -> Option<&ParentCheckpoint> {
    match &first.body {
        FactBody::Resumed { resumption } => resumption.parent.as_ref(),
        _ => None,
    }
}

/// The first Runs of the delegates that `job` has started, as far as their logs can be read.
///
/// # Errors
/// The job's folder cannot be read.
pub fn started_delegates(store: &Store, job: &JobId) -> Result<HashSet<RunId>, RunError> {
    let is_delegate = |run: &RunId| {
        store
            .first_fact(job, run)
            .is_some_and(|fact| matches!(fact.body, FactBody::Started { spec, .. } if spec.delegated_by.is_some()))
    };
    Ok(store.runs(job)?.into_iter().map(|entry| entry.id).filter(is_delegate).collect())
}

/// A stored checkpoint with its messages. One whose file is missing or torn is made again from its Run's log.
///
/// # Errors
/// A failure to read, or a log that does not lead to it. The file that a Run stopped with was durable: if it cannot be
/// read, it is damaged.
pub fn read_checkpoint(store: &Store, entry: &CheckpointEntry) -> Result<Checkpoint, RunError> {
    let stored = match store.read_checkpoint(&entry.path) {
        Ok(stored) => stored,
        Err(unread) if unread.is_damaged() || unread.is_not_found() => {
            return match made_again(store, entry) {
                Ok(Some(made)) if unread.is_not_found() || !made.head.status.is_at_rest() => Ok(made),
                // A file that is missing is no fault by itself: that of the log is.
                Err(fault) if unread.is_not_found() && !is_not_found(&fault) => Err(fault),
                Ok(_) | Err(_) => Err(unread.into()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    let at = match stored.body {
        CheckpointBody::Inline(messages) => return Ok(Checkpoint { head: stored.head, messages }),
        CheckpointBody::Log(at) => at,
    };
    // The log beside the file, also where a job's folder was copied under another name.
    let run = entry.run.clone().unwrap_or(stored.head.run_id);
    let leg = Leg { run, id: stored.head.id, at: Some(at), place: entry.path.clone(), unread: None };
    follow(store, &entry.job, leg)
}

fn is_not_found(error: &RunError) -> bool {
    matches!(error, RunError::Store(error) if error.is_not_found())
}

/// The checkpoint as the log of its Run has it; `None` for one that names no Run.
fn made_again(store: &Store, entry: &CheckpointEntry) -> Result<Option<Checkpoint>, RunError> {
    let Some(run) = entry.run.clone() else { return Ok(None) };
    let leg = Leg { run, id: entry.id.clone(), at: None, place: entry.path.clone(), unread: None };
    follow(store, &entry.job, leg).map(Some)
}

/// The checkpoint that a Run continues from.
///
/// # Errors
/// A failure to read, or a log that does not lead to it.
pub fn read_parent(store: &Store, job: &JobId, parent: &ParentCheckpoint) -> Result<Checkpoint, RunError> {
    match find_parent(store, job, parent.clone())? {
        Ok(checkpoint) => Ok(*checkpoint),
        Err(leg) => follow(store, job, leg),
    }
}

/// The machine before `first`, the first fact of `run`.
///
/// # Errors
/// A failure to read the Run that it continues, or a fact that begins no Run.
pub fn first_state(store: &Store, job: &JobId, run: &RunId, first: &Fact) -> Result<RunMachine, RunError> {
    Ok(match origin(store, job, run, first)? {
        Origin::Fresh(machine) => *machine,
        Origin::Parent(parent) => RunMachine::restore(read_parent(store, job, &parent)?),
    })
}

/// The machine before `first`, the first fact of `run`, from the ends of Runs read before where its own is among them.
///
/// # Errors
/// As [`first_state`].
pub fn state_behind(
    store: &Store,
    job: &JobId,
    run: &RunId,
    first: &Fact,
    ends: &mut RunEnds,
) -> Result<RunMachine, RunError> {
    match parent_of(first).and_then(|parent| ends.take(&parent.checkpoint_id)) {
        Some(end) => Ok(RunMachine::restore(end)),
        None => first_state(store, job, run, first),
    }
}

/// A checkpoint that follows from the facts of its Run.
struct Leg {
    run: RunId,
    id: CheckpointId,
    /// The point in the log that its file names, if there is a file.
    at: Option<LogPosition>,
    /// The file, for messages.
    place: PathBuf,
    /// The reason why there is nothing to be read from the file.
    unread: Option<StoreError>,
}

/// The beginning of a Run.
enum Origin {
    Fresh(Box<RunMachine>),
    Parent(ParentCheckpoint),
}

fn origin(store: &Store, job: &JobId, run: &RunId, first: &Fact) -> Result<Origin, RunError> {
    match &first.body {
        FactBody::Started { spec, .. } => Ok(Origin::Fresh(Box::new(fresh(job, run, spec.expert.clone())))),
        FactBody::Resumed { resumption } => {
            resumption.parent.clone().map(Origin::Parent).ok_or_else(|| {
                broken(store, job, run, "its first fact names no checkpoint to continue from".to_owned())
            })
        }
        _ => Err(broken(store, job, run, "its first fact begins no run".to_owned())),
    }
}

/// The checkpoint that a Run continues from: whole, or as a leg. One whose file is gone or damaged follows from its own
/// Run's log.
fn find_parent(store: &Store, job: &JobId, parent: ParentCheckpoint) -> Result<Result<Box<Checkpoint>, Leg>, RunError> {
    let ParentCheckpoint { run_id, checkpoint_id: id } = parent;
    let unread = match store.find_checkpoint_in(job, &run_id, &id) {
        Ok(entry) => match store.read_checkpoint(&entry.path) {
            Ok(StoredCheckpoint { head, body: CheckpointBody::Inline(messages), .. }) => {
                return Ok(Ok(Box::new(Checkpoint { head, messages })));
            }
            Ok(StoredCheckpoint { body: CheckpointBody::Log(at), .. }) => {
                let run = entry.run.unwrap_or(run_id);
                return Ok(Err(Leg { run, id, at: Some(at), place: entry.path, unread: None }));
            }
            Err(damaged) if damaged.is_damaged() => damaged,
            Err(error) => return Err(error.into()),
        },
        Err(missing) => missing,
    };
    let place = store.layout().log(job, &run_id);
    Ok(Err(Leg { run: run_id, id, at: None, place, unread: Some(unread) }))
}

/// The checkpoint at the end of `last`. Its Run may continue from a checkpoint that refers to a log too, and so on: the
/// way back is walked first, then all facts are followed from its beginning.
fn follow(store: &Store, job: &JobId, last: Leg) -> Result<Checkpoint, RunError> {
    let mut legs = vec![last];
    let mut seen = HashSet::new();
    let mut machine = loop {
        let Some(leg) = legs.last_mut() else { return Err(RunError::Internal("no way to a checkpoint".to_owned())) };
        let first = match store.open_log(job, &leg.run).and_then(|mut log| log.next_fact()) {
            Ok(first) => first,
            Err(error) => return Err(leg.unread.take().unwrap_or(error).into()),
        };
        let Some(first) = first else { return Err(leg.unreached()) };
        if !seen.insert(leg.id.clone()) {
            return Err(broken(store, job, &leg.run, "the runs continue from each other".to_owned()));
        }
        let parent = match origin(store, job, &leg.run, &first)? {
            Origin::Fresh(machine) => break *machine,
            Origin::Parent(parent) => parent,
        };
        match find_parent(store, job, parent)? {
            Ok(checkpoint) => break RunMachine::restore(*checkpoint),
            Err(leg) => legs.push(leg),
        }
    };
    loop {
        let Some(leg) = legs.pop() else { return Ok(machine.into_checkpoint()) };
        let checkpoint = leg.walk(store, job, machine)?;
        if legs.is_empty() {
            return Ok(checkpoint);
        }
        machine = RunMachine::restore(checkpoint);
    }
}

impl Leg {
    /// The checkpoint, from the machine before the Run's first fact.
    fn walk(mut self, store: &Store, job: &JobId, mut machine: RunMachine) -> Result<Checkpoint, RunError> {
        let mut log = store.open_log(job, &self.run)?;
        machine.set_quiet(true);
        let mut found = None;
        // All facts before the point are read, so that they are known to be those that it was taken of.
        while let Some(fact) = match &self.at {
            Some(at) => log.next_before(at)?,
            None if found.is_some() => None,
            None => log.next_fact()?,
        } {
            if found.is_some() {
                continue;
            }
            let fed = feed(&mut machine, fact, &mut log, &mut |_, save, _| {
                found = found.take().or(save.filter(|save| save.head.id == self.id));
                found.is_some()
            });
            fed.map_err(|illegal| broken(store, job, &self.run, illegal.to_string()))?;
        }
        let Some(save) = found else { return Err(self.unreached()) };
        let mut messages = machine.into_checkpoint().messages;
        messages.truncate(save.messages);
        Ok(Checkpoint { head: *save.head, messages })
    }

    fn unreached(&mut self) -> RunError {
        self.unread.take().map_or_else(
            || {
                let what = "the facts of its run do not lead to this checkpoint".to_owned();
                RunError::History { place: self.place.clone(), what }
            },
            RunError::from,
        )
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

/// The kind of fact by which an arrow goes on that was held for it.
const SNAPSHOT_TAKEN: &str = "snapshotTaken";

/// A function that is given each transition's events and checkpoint, with the machine behind it; returns whether to
/// stop.
pub type FollowTransition<'a> = dyn FnMut(Vec<Event>, Option<Save>, &RunMachine) -> bool + 'a;

/// Gives `fact`, which `log` has just read, to the machine and proceeds as far as the machine goes by itself, until `follow`
/// returns true.
///
/// # Errors
/// The machine cannot accept the fact; it is unchanged then.
pub fn feed(
    machine: &mut RunMachine,
    fact: Fact,
    log: &mut LogReader,
    follow: &mut FollowTransition<'_>,
) -> Result<(), IllegalInput> {
    // It came to a log after that was read to its end, and the machine went on without.
    if matches!(fact.body, FactBody::SnapshotTaken { .. }) && machine.outstanding() != Action::TakeSnapshot {
        return Ok(());
    }
    let mut input = Input::Fact(fact);
    loop {
        let transition = machine.advance(&input)?;
        let proceeds = match transition.action {
            Action::Proceed => true,
            // Where the process died that was to store it, its successor went on without. What cannot be read is reported
            // by whoever reads the next line.
            Action::TakeSnapshot => !log.is_next(SNAPSHOT_TAKEN).unwrap_or(false),
            _ => false,
        };
        if follow(transition.events, transition.save, machine) || !proceeds {
            return Ok(());
        }
        input = Input::Proceed;
    }
}
