//! Records read back ([`JobLog`]): a storage's jobs, a job's Runs, and the events that follow from their facts. The
//! command line's `log` and embedding programs call it; `recorded_run` reads Runs for the drivers as well.
//!
//! Nothing of a record is written or locked, so that it can be read beside a process that works on the job; a line that is
//! not whole yet is not read yet. A part that cannot be read is named, and hides no other. A Run is read line by line:
//! in memory are only the conversations of Runs that were at work at the same time.

mod conversation;
mod follow;
mod replayed;
mod run_reader;
mod item;
mod logged_event;
pub(in crate::runtime) mod recorded_run;
pub(in crate::runtime) mod run_ends;
mod runs;
mod job_state;
pub(in crate::runtime) mod stops;
pub(in crate::runtime) mod unstored;
mod verify;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::expert::Expert;
use crate::id::{JobId, RunId};
use crate::job::Job;
use crate::runtime::error::RunError;
use crate::store::{CheckpointEntry, Store, StoreError, named, short_id};

pub use conversation::{query, read_state};
pub use follow::JobFollower;
pub use item::{HistoryItem, ReadProblem, ReadProblemKind, RunProgress};
pub use job_state::{JobEntry, JobIndex, JobState};
pub use logged_event::{Durations, KeptEvent, LoggedEvent};
pub use replayed::ReplayedFact;
pub use runs::{Descent, Run};
pub use verify::{RecordFault, Verification, VerifiedRun};

use run_ends::RunEnds;
use run_reader::RunReader;

/// A choice of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSelector<'a> {
    /// The one that was worked on last.
    Latest,
    /// By its id, or by a beginning or an end of it that no other job's has.
    Named(&'a str),
}

/// One job's record, opened for reading.
pub struct JobLog {
    store: Store,
    entry: JobEntry,
    short_id: String,
    runs: Vec<Run>,
}

/// Opens the record of a job; `None` when the storage holds no jobs and the latest was asked for.
///
/// # Errors
/// [`StoreError::NotFound`] or [`StoreError::AmbiguousName`] when no such job is there, or the system's error.
pub fn open(storage: &Path, which: JobSelector<'_>) -> Result<Option<JobLog>, RunError> {
    let name = match which {
        JobSelector::Named(name) => name,
        JobSelector::Latest => return JobIndex::read(storage)?.open_latest(),
    };
    let store = Store::new(storage);
    let id = store.find_job_id(name)?;
    let ids = store.job_ids()?;
    let short_id = short_id(id.as_str(), ids.iter().map(JobId::as_str)).to_owned();
    JobLog::open(store, id, short_id).map(Some)
}

impl JobLog {
    fn open(store: Store, id: JobId, short_id: String) -> Result<Self, RunError> {
        let runs = runs::of_job(&store, &id)?;
        Ok(Self { entry: JobEntry::read(&store, id), short_id, store, runs })
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.entry.id
    }

    /// The short form of the job's id in its storage.
    pub fn short_id(&self) -> &str {
        &self.short_id
    }

    /// The folder that it is stored in, which holds `jobs/`.
    pub fn storage(&self) -> &Path {
        self.store.layout().root()
    }

    /// The job's file, `job.json`.
    pub fn job_file(&self) -> std::path::PathBuf {
        self.store.layout().job_file(self.id())
    }

    /// The job and its state.
    pub fn entry(&self) -> &JobEntry {
        &self.entry
    }

    /// The job; `None` when neither its file nor its Runs can be read.
    pub fn job(&self) -> Option<&Job> {
        self.entry.job.as_ref().ok()
    }

    /// Its Runs, the first begun first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Its Runs as a tree, with their depths: a Run is below the one that it answers, and beside the one that it
    /// continues, after all that came between.
    pub fn tree(&self) -> Vec<(usize, &Run)> {
        runs::in_tree_order(&self.runs)
    }

    /// The Run that a user named by its id, or by a beginning or an end of it that no other Run of the job has.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::AmbiguousName`].
    pub fn find_run(&self, text: &str) -> Result<&Run, RunError> {
        let found = named(text, "runs", self.runs.iter().map(|run| (run, run.id.as_str())))?;
        Ok(found.ok_or_else(|| self.not_found(format!("run not found: {text}"), "run"))?)
    }

    /// The checkpoint that a user named by its id, or by a beginning or an end of it that no other of the job has.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AmbiguousName`] or the system's error.
    pub fn find_checkpoint(&self, text: &str) -> Result<CheckpointEntry, RunError> {
        match unstored::find_of_job(&self.store, self.id(), text) {
            Err(RunError::Store(StoreError::NotFound { .. })) => {
                Err(self.not_found(format!("checkpoint not found: {text}"), "checkpoint").into())
            }
            found => found,
        }
    }

    fn not_found(&self, what: String, kind: &str) -> StoreError {
        let suggestion = Some(format!("job {} has no such {kind}", self.id()));
        StoreError::NotFound { what, suggestion }
    }

    /// All checkpoints of the job, by step: those of which there are files, and those that follow from its logs alone.
    ///
    /// # Errors
    /// The system's error.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointEntry>, RunError> {
        let mut entries = self.store.checkpoints(self.id())?;
        entries.extend(unstored::of_job(&self.store, self.id()));
        entries.sort_by(|a, b| (a.step, &a.id).cmp(&(b.step, &b.id)));
        Ok(entries)
    }

    /// A checkpoint with its messages.
    ///
    /// # Errors
    /// A failure to read, or a log that does not lead to it.
    pub fn checkpoint(&self, entry: &CheckpointEntry) -> Result<Checkpoint, RunError> {
        recorded_run::read_checkpoint(&self.store, entry)
    }

    /// The text of the question that the job was started with; `None` when it cannot be read.
    pub fn query(&self) -> Option<String> {
        conversation::of_job(&self.store, self.id())
    }

    /// The expert that the job was started with, as it is on record; `None` when it cannot be read.
    pub fn expert(&self) -> Option<Expert> {
        let key = &self.job()?.coordinator_expert_key;
        let run = self.runs.iter().find(|run| run.expert.as_ref() == Some(key))?;
        self.store.setting(self.id(), &run.id).ok()?.experts.swap_remove(key.as_str())
    }

    /// The state that the job came to: that of its newest Run which is no delegate's. `None` when it cannot be read.
    pub fn latest(&self) -> Option<Checkpoint> {
        conversation::latest(&self.store, self.id())
    }

    /// A reader of the job's record, or of one Run's, that reads on as it grows.
    pub fn follow(&self, only: Option<RunId>) -> JobFollower {
        JobFollower::new(self.store.clone(), self.id().clone(), only)
    }

    /// Visits the events of all Runs, or of one, by their times, until there are no more or `visit` breaks off. Returns
    /// the problems that kept Runs from being read whole.
    pub fn visit(
        &self,
        only: Option<&RunId>,
        visit: &mut dyn FnMut(HistoryItem<'_>) -> ControlFlow<()>,
    ) -> Vec<ReadProblem> {
        self.visit_from(only, |_| 0, visit)
    }

    /// The same for a reader of the last `last` events: of each Run's events before those, all but the first few are only
    /// counted ([`HistoryItem::Passed`]), as far as the names of its checkpoints show where they are. Of a Run behind whose
    /// count fewer events are visited, others are among those that were counted.
    pub fn visit_last(
        &self,
        only: Option<&RunId>,
        last: u64,
        visit: &mut dyn FnMut(HistoryItem<'_>) -> ControlFlow<()>,
    ) -> Vec<ReadProblem> {
        // Every step has an event at least; that from which on events are made lacks some.
        let steps = last.saturating_add(2);
        let counted_to = |run: &RunId| {
            let newest = self.store.newest_checkpoint(self.id(), run).ok().flatten();
            newest.map_or(0, |newest| newest.step.saturating_sub(steps))
        };
        self.visit_from(only, counted_to, visit)
    }

    fn visit_from(
        &self,
        only: Option<&RunId>,
        counted_to: impl Fn(&RunId) -> u64,
        visit: &mut dyn FnMut(HistoryItem<'_>) -> ControlFlow<()>,
    ) -> Vec<ReadProblem> {
        let mut problems = Vec::new();
        let runs: Vec<&Run> = self.runs.iter().filter(|run| only.is_none_or(|only| run.id == *only)).collect();
        let mut ends = RunEnds::wanted_by(runs.iter().filter_map(|run| run.parent()));
        let mut open: Vec<Option<RunReader>> = Vec::with_capacity(runs.len());
        open.resize_with(runs.len(), || None);
        // The time of each Run's next event; before a Run is opened, that of its beginning.
        let mut next: BinaryHeap<Reverse<(u64, usize)>> =
            runs.iter().enumerate().map(|(at, run)| Reverse((run.began_at, at))).collect();
        while let Some(Reverse((_, at))) = next.pop() {
            let (Some(run), Some(slot)) = (runs.get(at), open.get_mut(at)) else { continue };
            if let Some(reader) = slot {
                if reader.visit(&mut ends, visit).is_break() {
                    break;
                }
            } else {
                let counted_to = counted_to(&run.id);
                *slot = Some(RunReader::open_near_end(&self.store, self.id(), &run.id, &mut ends, counted_to));
            }
            let Some(reader) = slot else { continue };
            if let Some(due) = reader.due() {
                next.push(Reverse((due, at)));
                continue;
            }
            let mut flow = reader.visit_passed(visit);
            if flow.is_continue() {
                let totals = reader.totals();
                flow = visit(HistoryItem::End { run: &run.id, progress: reader.progress(), totals });
            }
            reader.hand_over(&mut ends);
            // Dropped here: its conversation is not needed any more, but for the Run that continues it.
            problems.extend(slot.take().into_iter().flat_map(RunReader::problems));
            if flow.is_break() {
                break;
            }
        }
        problems.extend(open.into_iter().flatten().flat_map(RunReader::problems));
        problems
    }
}
