//! [`RunReader`]: one Run's record, read event by event, from its facts through the machine or from the original's
//! event files. [`JobLog`](super::JobLog) reads all Runs of a job with it, side by side.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access_count::AccessCount;
use crate::checkpoint::{Checkpoint, CheckpointHead, Status};
use crate::event::{Event, EventBody, SCHEMA_VERSION};
use crate::fact::{Fact, FactBody, IdGenerator, Stamp};
use crate::id::{JobId, RunId, ToolCallId};
use crate::machine::{Action, RunMachine, RunTotals, State};
use crate::runtime::error::RunError;
use crate::runtime::history::item::{HistoryItem, ReadProblem, ReadProblemKind, RunProgress};
use crate::runtime::history::logged_event::{Durations, EventOrigin, LoggedEvent};
use crate::runtime::history::recorded_run;
use crate::runtime::history::run_ends::RunEnds;
use crate::store::{LogEntry, LogReader, OriginalEvent, Store, StoreError};
use crate::tool::ToolCall;

/// A Run's record, read up to some place.
pub(super) struct RunReader {
    run: RunId,
    record: Record,
    /// Read, not visited yet.
    ready: VecDeque<Ready>,
    progress: RunProgress,
    broken: Option<RunError>,
    /// Its end was taken: nothing follows it.
    is_over: bool,
}

enum Record {
    Facts(Box<Replay>),
    Files(std::vec::IntoIter<(u64, PathBuf)>),
    /// Read to its end, or nothing to be read.
    None,
}

enum Ready {
    Derived(Arc<Event>),
    Stored(Arc<OriginalEvent>),
}

/// A log on its way through the machine.
struct Replay {
    store: Store,
    job: JobId,
    log: LogReader,
    /// From the first fact on.
    machine: Option<RunMachine>,
    watch: Stopwatch,
    unknown: Option<(u64, StoreError)>,
    /// The step up to which events behind those of the first fact are only counted.
    counted_to: u64,
    passed: PassedEvents,
}

/// Events that are only counted, and the tool calls in them.
#[derive(Default)]
struct PassedEvents {
    events: u64,
    tool_calls: u64,
}

impl RunReader {
    /// Opens the record of a Run. The end of the Run that it continues is taken from `ends`, if it is there.
    pub(super) fn open(store: &Store, job: &JobId, run: &RunId, ends: &mut RunEnds) -> Self {
        Self::open_near_end(store, job, run, ends, 0)
    }

    /// The same; events before the step `counted_to` are only counted, but for the first.
    pub(super) fn open_near_end(store: &Store, job: &JobId, run: &RunId, ends: &mut RunEnds, counted_to: u64) -> Self {
        let (record, broken) = match Record::open(store, job, run, counted_to) {
            Ok(record) => (record, None),
            Err(error) => (Record::None, Some(error)),
        };
        let (ready, progress) = (VecDeque::new(), RunProgress::Unknown);
        let mut reader = Self { run: run.clone(), record, ready, progress, broken, is_over: false };
        reader.read_on(ends);
        reader
    }

    /// The time of the next event, in milliseconds since the epoch; `None` when there is none.
    pub(super) fn due(&self) -> Option<u64> {
        self.ready.front().map(|ready| match ready {
            Ready::Derived(event) => event.timestamp,
            Ready::Stored(event) => event.timestamp,
        })
    }

    /// Visits the next event and reads on to the one after it. Checkpoints that `ends` wants are put there.
    pub(super) fn visit(
        &mut self,
        ends: &mut RunEnds,
        visit: &mut dyn FnMut(HistoryItem<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.visit_passed(visit)?;
        let none = Arc::default();
        let (history, durations) = match &self.record {
            Record::Facts(replay) => {
                (replay.machine.as_ref().map_or(&[][..], RunMachine::messages), &replay.watch.durations)
            }
            _ => (&[][..], &none),
        };
        let flow = match self.ready.pop_front() {
            Some(Ready::Derived(event)) => {
                let source = EventOrigin::Derived(&event, history);
                visit(HistoryItem::Event(LoggedEvent { source, run: &self.run, durations }))
            }
            Some(Ready::Stored(event)) => {
                let source = EventOrigin::Stored(&event);
                visit(HistoryItem::Event(LoggedEvent { source, run: &self.run, durations }))
            }
            None => ControlFlow::Continue(()),
        };
        self.read_on(ends);
        flow
    }

    /// Visits the number of events that were passed since the last one, if there are any.
    pub(super) fn visit_passed(
        &mut self,
        visit: &mut dyn FnMut(HistoryItem<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Record::Facts(replay) = &mut self.record else { return ControlFlow::Continue(()) };
        match std::mem::take(&mut replay.passed) {
            PassedEvents { events: 0, .. } => ControlFlow::Continue(()),
            PassedEvents { events, tool_calls } => visit(HistoryItem::Passed { run: &self.run, events, tool_calls }),
        }
    }

    /// Reads what was appended since the end was reached. A record that is broken stays so.
    pub(super) fn read_again(&mut self, ends: &mut RunEnds) {
        if self.broken.is_none()
            && !self.is_over
            && let Record::Facts(replay) = &mut self.record
        {
            match replay.log.read_again() {
                Ok(()) => self.read_on(ends),
                Err(error) => self.broken = Some(error.into()),
            }
        }
    }

    /// Takes the conversation of a Run that has ended, and whose events are all visited, into `ends`, if it waits for its
    /// delegates or another Run goes on with it.
    pub(super) fn hand_over(&mut self, ends: &mut RunEnds) {
        if self.ready.is_empty()
            && let RunProgress::Ended(status) = self.progress
            && let Record::Facts(replay) = &mut self.record
            && let Some(machine) =
                replay.machine.take_if(|machine| status == Status::StoppedByDelegate || ends.wants(&machine.head().id))
        {
            self.is_over = true;
            ends.insert(machine.into_checkpoint());
        }
    }

    /// The point at which the record ends, once all events are visited.
    pub(super) fn progress(&self) -> &RunProgress {
        &self.progress
    }

    /// The Run's own sums so far; `None` for the original's.
    pub(super) fn totals(&self) -> Option<RunTotals> {
        match &self.record {
            Record::Facts(replay) => replay.machine.as_ref().map(RunMachine::totals_at_rest),
            Record::Files(_) | Record::None => None,
        }
    }

    /// The problems that kept it from being read whole.
    pub(super) fn problems(self) -> Vec<ReadProblem> {
        let unknown = match self.record {
            Record::Facts(replay) => replay.unknown,
            _ => None,
        };
        let unknown = unknown.map(|(facts, first)| ReadProblemKind::Unknown { facts, first });
        let broken = self.broken.map(ReadProblemKind::Broken);
        unknown.into_iter().chain(broken).map(|kind| ReadProblem { run: self.run.clone(), kind }).collect()
    }

    /// Reads until there is an event, or nothing left. The rest of a record that is broken is not read: facts behind a
    /// gap would mislead.
    fn read_on(&mut self, ends: &mut RunEnds) {
        while self.ready.is_empty() && self.broken.is_none() {
            match self.record.read(&self.run, ends) {
                Ok(Some(found)) => self.ready.extend(found),
                Ok(None) => {
                    if let Record::Facts(replay) = &self.record {
                        self.progress = replay.progress();
                    }
                    return;
                }
                Err(error) => self.broken = Some(error),
            }
        }
    }
}

impl Record {
    fn open(store: &Store, job: &JobId, run: &RunId, counted_to: u64) -> Result<Self, RunError> {
        match LogReader::open(&store.layout().log(job, run)) {
            Ok(log) => Ok(Self::Facts(Box::new(Replay {
                store: store.clone(),
                job: job.clone(),
                log,
                machine: None,
                watch: Stopwatch::default(),
                unknown: None,
                counted_to,
                passed: PassedEvents::default(),
            }))),
            Err(error) if error.is_not_found() => Ok(Self::Files(store.original_events(job, run)?.into_iter())),
            Err(error) => Err(error.into()),
        }
    }

    /// The next events, of which there may be none; `None` at the end.
    fn read(&mut self, run: &RunId, ends: &mut RunEnds) -> Result<Option<Vec<Ready>>, RunError> {
        match self {
            Self::Facts(replay) => replay.read(run, ends),
            Self::Files(files) => match files.next() {
                Some((_, path)) => Ok(Some(vec![Ready::Stored(Arc::new(OriginalEvent::read(&path)?))])),
                None => Ok(None),
            },
            Self::None => Ok(None),
        }
    }
}

impl Replay {
    fn read(&mut self, run: &RunId, ends: &mut RunEnds) -> Result<Option<Vec<Ready>>, RunError> {
        let mut fact = match self.log.next_entry()? {
            None => return Ok(None),
            Some(LogEntry::Unknown { kind, line }) => {
                let path = self.store.layout().log(&self.job, run);
                let (facts, _) = self.unknown.get_or_insert((0, StoreError::UnknownFact { path, line, kind }));
                *facts += 1;
                return Ok(Some(Vec::new()));
            }
            Some(LogEntry::Fact(fact)) => fact,
        };
        let mut machine = match self.machine.take() {
            Some(machine) => machine,
            None => recorded_run::state_behind(&self.store, &self.job, run, &fact, ends)?,
        };
        let stamp = fact.stamp;
        let at = stamp.at;
        let accesses = std::mem::take(&mut fact.accesses);
        let is_first = matches!(machine.state(), State::Init);
        let (events, calls) = (machine.event_count(), machine.call_count());
        let is_counted = machine.is_quiet();
        // They were made in the step that the fact ends, or, by skills that were started, before the first.
        let mut ready =
            if is_first || is_counted { Vec::new() } else { access_events(&accesses, stamp, machine.head()) };
        let is_resumed = matches!(fact.body, FactBody::Resumed { .. });
        self.watch.read(&fact);
        let fed = recorded_run::feed(&mut machine, fact, &mut self.log, &mut |events, save, machine| {
            ready.extend(events.into_iter().map(|event| Ready::Derived(Arc::new(event))));
            // The checkpoint of a Run's end is taken when its events are visited.
            if let Some(save) = save.filter(|save| !save.head.status.is_terminal() && ends.wants(&save.head.id)) {
                let messages = machine.messages().get(..save.messages).unwrap_or_default().to_vec();
                ends.insert(Checkpoint { head: *save.head, messages });
            }
            false
        });
        if let Err(illegal) = fed {
            self.machine = Some(machine);
            let place = self.store.layout().log(&self.job, run);
            let what = format!("line {} does not follow from what is before it ({illegal})", self.log.line());
            return Err(RunError::History { place, what });
        }
        if is_first {
            ready.extend(access_events(&accesses, stamp, machine.head()));
        }
        if is_counted {
            let accesses = u64::try_from(accesses.len()).unwrap_or(u64::MAX);
            let events = machine.event_count().saturating_sub(events).saturating_add(accesses);
            self.passed.events = self.passed.events.saturating_add(events);
            self.passed.tool_calls += machine.call_count().saturating_sub(calls);
        }
        machine.set_quiet((is_first || is_counted) && machine.head().step_number < self.counted_to);
        self.watch.start_called(&ready, at);
        if is_resumed && let Action::CallTools { calls, .. } = machine.outstanding() {
            self.watch.start(&calls, at);
        }
        self.machine = Some(machine);
        Ok(Some(ready))
    }

    fn progress(&self) -> RunProgress {
        match self.machine.as_ref().map(RunMachine::outstanding) {
            Some(Action::Stop(status)) => RunProgress::Ended(status),
            Some(Action::Generate { .. }) => RunProgress::AskingModel,
            Some(Action::VerifyAnswer) => RunProgress::Verifying,
            Some(Action::DecideCalls { calls }) => RunProgress::Deciding(calls),
            Some(Action::CallTools { calls, .. }) => RunProgress::Calling(calls),
            _ => RunProgress::Unknown,
        }
    }
}

/// Keeps the ids of these events apart from those that the machine makes of the same stamp.
const ACCESS_IDS: u64 = 0x5851_F42D_4C95_7F2D;

/// The events of connections that a fact carries, in the state `head`.
fn access_events(accesses: &[AccessCount], stamp: Stamp, head: &CheckpointHead) -> Vec<Ready> {
    let mut ids = IdGenerator::new(Stamp { seed: stamp.seed ^ ACCESS_IDS, ..stamp });
    let event = |access: &AccessCount| Event {
        body: EventBody::of_access(access),
        id: ids.id(),
        timestamp: access.at,
        job_id: head.job_id.clone(),
        run_id: head.run_id.clone(),
        expert_key: Some(head.expert.key.clone()),
        step_number: Some(head.step_number),
        sequence: None,
        schema_version: SCHEMA_VERSION,
    };
    accesses.iter().map(event).map(|event| Ready::Derived(Arc::new(event))).collect()
}

/// Times the calls of one turn.
#[derive(Default)]
struct Stopwatch {
    asked_at: HashMap<ToolCallId, u64>,
    /// Shared with the events that are kept.
    durations: Arc<Durations>,
}

impl Stopwatch {
    fn read(&mut self, fact: &Fact) {
        match &fact.body {
            // Another turn begins.
            FactBody::Generated { .. } => {
                self.asked_at.clear();
                self.durations = Arc::default();
            }
            FactBody::ToolReturned { result } => {
                if let Some(asked_at) = self.asked_at.get(&result.id) {
                    let took = fact.stamp.at.saturating_sub(*asked_at);
                    Arc::make_mut(&mut self.durations).insert(result.id.clone(), took);
                }
            }
            _ => {}
        }
    }

    fn start_called(&mut self, events: &[Ready], at: u64) {
        for ready in events {
            if let Ready::Derived(event) = ready
                && let EventBody::CallTools { tool_calls, .. } = &event.body
            {
                self.start(tool_calls, at);
            }
        }
    }

    fn start(&mut self, calls: &[ToolCall], at: u64) {
        self.asked_at.extend(calls.iter().map(|call| (call.id.clone(), at)));
    }
}

#[cfg(test)]
mod tests;
