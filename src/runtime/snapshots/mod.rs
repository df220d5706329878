//! [`SnapshotTaker`]: stores the state of the workspace for the checkpoints of a job's Runs. The Runs' loops call it; what
//! is in a state is decided by [`crate::workspace`], where it is kept by [`crate::store`].
//!
//! One state is read at a time, for all Runs of the job. Between two looks only calls that may change something can have
//! changed it: where none was made, the state before is named, and nothing is looked at.

pub mod bisect;
pub mod failure;
pub mod restoring;
pub mod stored;
pub mod timeline;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::EventBody;
use crate::fact::{Clock as _, Fact, FactBody, Stamp};
use crate::machine::{Input, RunMachine};
use crate::redact::Redactor;
use crate::runtime::clock::SystemClock;
use crate::runtime::options::{CassetteMode, Options};
use crate::runtime::run::events::EventEmitter;
use crate::snapshot::{SnapshotId, SnapshotMode};
use crate::store::{JobStore, ObjectStore, PackWriter, StoreError};
use crate::workspace::{ClosedFiles, FoundFiles, LeftOutEntry, ObjectSink, ScanError, SnapshotRules, WorkspaceScan};

/// The most entries that one warning names.
const MOST_NAMED: usize = 5;

/// Stores states of the workspace.
pub struct SnapshotTaker {
    mode: SnapshotMode,
    work: Arc<Work>,
    /// The number of beginnings and ends of calls that may change something.
    writes: Arc<AtomicU64>,
}

struct Work {
    workspace: PathBuf,
    closed: ClosedFiles,
    redactor: Redactor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: ObjectStore,
    found: FoundFiles,
    /// The latest state, and the number of writes before it.
    last: Option<(u64, SnapshotId)>,
    /// The entries that were reported as left out.
    reported: Vec<LeftOutEntry>,
}

/// A state, and the entries that it does not have and that were not reported so far.
struct Taken {
    id: SnapshotId,
    left_out: Vec<LeftOutEntry>,
}

/// The moments at which states are stored in a job with these options.
pub fn mode(options: &Options) -> SnapshotMode {
    match options.cassette {
        CassetteMode::Replay { .. } => SnapshotMode::Off,
        _ => options.settings.snapshot,
    }
}

impl SnapshotTaker {
    /// A taker for `job`, as `options` want it. A replay stores nothing: it leaves the workspace alone.
    ///
    /// # Errors
    /// The states that the job has already cannot be read.
    pub fn open(options: &Options, job: &JobStore, redactor: &Redactor) -> Result<Self, StoreError> {
        let mode = mode(options);
        let objects = if mode.is_off() { ObjectStore::default() } else { job.objects()? };
        let workspace = options.workspace.canonicalize().unwrap_or_else(|_| options.workspace.clone());
        let state = Mutex::new(State { objects, ..State::default() });
        let work = Work { workspace, closed: closed_files(options), redactor: redactor.clone(), state };
        Ok(Self { mode, work: Arc::new(work), writes: Arc::default() })
    }

    /// Notes that a call begins or has ended which may change something.
    pub fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// The state that a Run begins or goes on with, if it is wanted.
    ///
    /// # Errors
    /// It cannot be stored.
    pub async fn at_start(&self, emitter: &EventEmitter) -> Result<Option<SnapshotId>, StoreError> {
        match self.mode {
            SnapshotMode::Every => self.take(true, emitter).await,
            SnapshotMode::Off | SnapshotMode::Stop => Ok(None),
        }
    }

    /// The state for the checkpoint that `machine` holds, as its next input.
    ///
    /// # Errors
    /// It cannot be stored.
    pub async fn for_checkpoint(&self, machine: &RunMachine, emitter: &EventEmitter) -> Result<Input, StoreError> {
        // What a server does behind its calls shows where the Run stops, at the latest.
        let looks = machine.head().status.is_terminal();
        Ok(match self.take(looks, emitter).await? {
            Some(snapshot) => {
                // No stamp of the Run's clock: a replay, which stores nothing, has to come to the same ids.
                let stamp = Stamp { seed: 0, ..SystemClock.stamp() };
                Input::Fact(Fact::new(stamp, FactBody::SnapshotTaken { snapshot }))
            }
            None => Input::Proceed,
        })
    }

    /// Stores the present state. `None`, with a warning, where the workspace cannot be read.
    async fn take(&self, looks: bool, emitter: &EventEmitter) -> Result<Option<SnapshotId>, StoreError> {
        let (work, writes) = (Arc::clone(&self.work), Arc::clone(&self.writes));
        let taken = tokio::task::spawn_blocking(move || work.take(looks, &writes)).await;
        let warn = |message: String| {
            // Not by the Run's clock, which replays go by.
            let emitter = EventEmitter { clock: Arc::new(SystemClock), ..emitter.clone() };
            emitter.emit(EventBody::RuntimeWarning { message });
        };
        match taken {
            Ok(Ok(taken)) => {
                if let Some(message) = left_out_text(&taken.left_out) {
                    warn(message);
                }
                Ok(Some(taken.id))
            }
            Ok(Err(ScanError::Sink(error))) => Err(error),
            Ok(Err(error @ ScanError::Root { .. })) => {
                warn(format!("no snapshot of the workspace: {}", with_cause(&error)));
                Ok(None)
            }
            Err(lost) => {
                warn(format!("no snapshot of the workspace: {lost}"));
                Ok(None)
            }
        }
    }
}

impl Work {
    fn take(&self, looks: bool, writes: &AtomicU64) -> Result<Taken, ScanError<StoreError>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the look: what is written meanwhile is looked for again.
        let writes = writes.load(Ordering::SeqCst);
        if let Some((before, id)) = &state.last
            && *before == writes
            && !looks
        {
            return Ok(Taken { id: id.clone(), left_out: Vec::new() });
        }
        let State { objects, found, last, reported } = &mut *state;
        let is_secret = |bytes: &[u8]| has_secret(&self.redactor, bytes);
        let rules = SnapshotRules::new(&self.workspace, &self.closed, &is_secret);
        let mut sink = PackSink(PackWriter::new(objects));
        let scanned = WorkspaceScan::read(&rules, &mut sink, seconds(), found, None)?;
        sink.0.finish(&scanned.id).map_err(ScanError::Sink)?;
        *last = Some((writes, scanned.id.clone()));
        let left_out = if scanned.left_out == *reported {
            Vec::new()
        } else {
            reported.clone_from(&scanned.left_out);
            scanned.left_out
        };
        Ok(Taken { id: scanned.id, left_out })
    }
}

/// Objects that go into a pack.
pub struct PackSink<'a>(pub PackWriter<'a>);

impl ObjectSink for PackSink<'_> {
    type Error = StoreError;

    fn put(&mut self, id: &SnapshotId, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.put(id, bytes)
    }

    fn has(&self, id: &SnapshotId) -> bool {
        self.0.has(id)
    }
}

/// The files that are never part of a state: those that the file tools do not change either.
pub fn closed_files(options: &Options) -> ClosedFiles {
    let all = options.all_off_limits();
    ClosedFiles { paths: [all.hidden, all.closed, all.in_use, all.read_only].concat() }
}

/// Returns whether a known secret is in the text of a file.
pub fn has_secret(redactor: &Redactor, bytes: &[u8]) -> bool {
    !redactor.is_empty() && std::str::from_utf8(bytes).is_ok_and(|text| redactor.text(text) != text)
}

/// Seconds since the epoch.
pub fn seconds() -> u64 {
    SystemClock.stamp().at / 1000
}

/// A line on entries that a state does not have. Files of keys are left out without a word.
fn left_out_text(left_out: &[LeftOutEntry]) -> Option<String> {
    let shown: Vec<&LeftOutEntry> =
        left_out.iter().filter(|left| left.reason != crate::workspace::MAY_HOLD_SECRETS).collect();
    if shown.is_empty() {
        return None;
    }
    let mut names: Vec<String> =
        shown.iter().take(MOST_NAMED).map(|left| format!("{} ({})", left.name.display(), left.reason)).collect();
    if shown.len() > MOST_NAMED {
        names.push(format!("{} more", shown.len() - MOST_NAMED));
    }
    Some(format!("snapshots of the workspace leave out {}", names.join(", ")))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{cause}")
}
