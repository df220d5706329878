//! [`JobLog::verify`]: the check that a job's record is as it was written. `perstack job verify` calls it.
//!
//! The lines of a log are tied to each other by their digests. Everything else follows from them: each checkpoint is made
//! again from the log and compared with its file, the digests that a Run began with are compared with its
//! `run-setting.json`, and `job.json`, which has a seal of its own, names the ends of all logs. [`verify_run`] checks one
//! Run, and leaves what is beyond it to [`JobLog::verify`].

mod run;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::fact::ParentCheckpoint;
use crate::id::{CheckpointId, RunId};
use crate::job::Job;
use crate::runtime::history::JobLog;
use crate::runtime::history::job_state::JobState;
use crate::runtime::history::run_ends::RunEnds;
use crate::runtime::history::runs::Run;
use crate::runtime::snapshots::stored::StoredSnapshots;
use crate::snapshot::SnapshotId;
use crate::store::{Seal, StoreError};

use run::{CheckedRun, LatestProcess, RunBasis, verify_run};

/// The outcome of the check of a job's record.
#[derive(Debug)]
pub struct Verification {
    /// The first record of each Run that does not fit, in the order in which they were written; before them, of the job.
    pub faults: Vec<RecordFault>,
    /// Checkpoints of steps that a power cut can have taken: missing, or cut short. They follow from the log.
    pub notes: Vec<RecordFault>,
    /// Its Runs, the first begun first.
    pub runs: Vec<VerifiedRun>,
    /// The seal of `job.json`, which all of the record is tied to; `None` where it has none.
    pub digest: Option<String>,
    /// A process works on the job, or it was interrupted: the record is whole as far as it goes.
    pub is_open: bool,
}

/// A Run as far as its record fits.
#[derive(Debug)]
pub struct VerifiedRun {
    pub run: RunId,
    /// Facts that were read.
    pub facts: u64,
    /// Facts among them without a digest: an older version wrote them.
    pub unchained: u64,
    /// Checkpoints that are as they follow from the facts.
    pub checkpoints: u64,
    /// The digest at the last fact; `None` without digests.
    pub end: Option<String>,
    /// The last line is not whole, as a crash leaves it.
    pub is_torn: bool,
    /// The states of the workspace that its facts name.
    pub snapshots: BTreeSet<SnapshotId>,
}

/// A record that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFault {
    pub path: PathBuf,
    /// The line, from 1, in a log.
    pub line: Option<u64>,
    /// The kind of record, in words: `toolReturned of step 3`.
    pub record: Option<String>,
    /// The fault, in words.
    pub what: String,
    /// It could not be read, or not by this version: what is in it is not known.
    pub is_unread: bool,
}

impl RecordFault {
    fn file(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, record: None, what: what.into(), is_unread: false }
    }

    /// The fault that reading `path` came to.
    fn unread(path: &Path, error: StoreError) -> Self {
        match error {
            StoreError::Damaged { path, line, what, .. } => Self { line, ..Self::file(&path, what) },
            error if error.is_not_found() => Self::file(path, "it is missing"),
            error => {
                let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
                Self { is_unread: true, ..Self::file(path, format!("{error}{cause}")) }
            }
        }
    }
}

impl Verification {
    /// Returns whether something could not be read, and all that could be fits.
    pub fn is_partly_unread(&self) -> bool {
        !self.faults.is_empty() && self.faults.iter().all(|fault| fault.is_unread)
    }

    /// Returns whether every record has a digest.
    pub fn is_chained(&self) -> bool {
        self.digest.is_some() && self.runs.iter().all(|run| run.unchained == 0)
    }
}

impl JobLog {
    /// Checks the job's record from its beginning: it is read once.
    pub fn verify(&self) -> Verification {
        let mut checked = Verification {
            faults: Vec::new(),
            notes: Vec::new(),
            runs: Vec::new(),
            digest: None,
            is_open: self.is_being_written(),
        };
        let mut is_unsealed = false;
        let ends = match self.verify_job_file() {
            Ok((digest, job)) => {
                is_unsealed = digest.is_none();
                checked.digest = digest;
                job.ends
            }
            Err(fault) => {
                checked.faults.push(fault);
                BTreeMap::new()
            }
        };
        let parents: Vec<&ParentCheckpoint> = self.runs.iter().filter_map(Run::parent).collect();
        let mut states = RunEnds::wanted_by(parents.iter().copied());
        // The latest beginning of a Run, or of its recovery: that process wrote `job.json`.
        let mut began: Option<LatestProcess> = None;
        for run in &self.runs {
            let end = ends.get(&run.id).map(String::as_str);
            if end.is_none() && self.store.is_blank(self.id(), &run.id) {
                continue;
            }
            let of_run = parents.iter().filter(|parent| parent.run_id == run.id);
            let continued: Vec<&CheckpointId> = of_run.map(|parent| &parent.checkpoint_id).collect();
            let basis = RunBasis { end, is_open: checked.is_open, continued: &continued };
            let CheckedRun { verified, notes, fault, began: last } =
                verify_run(&self.store, self.id(), &run.id, basis, &mut states);
            checked.notes.extend(notes);
            began = began.into_iter().chain(last).max_by_key(|beginning| beginning.at);
            // All that a job has when it ends is in its file. (The original's checkpoints lie beside its runs.)
            let is_unknown = end.is_none()
                && checked.digest.is_some()
                && !checked.is_open
                && self.store.end_of(self.id(), &run.id).is_ok_and(|end| end.is_some());
            checked.faults.extend(fault.or_else(|| {
                let path = self.store.layout().job_file(self.id());
                is_unknown.then(|| RecordFault::file(&path, format!("it does not have run {}", run.id)))
            }));
            checked.runs.push(verified);
        }
        if is_unsealed && began.is_some_and(|beginning| beginning.has_digests) {
            let path = self.store.layout().job_file(self.id());
            checked.faults.insert(0, RecordFault::file(&path, "its seal is missing: it was changed"));
        }
        checked.faults.extend(self.verify_snapshots(&checked.runs).err());
        let is_gone = |run: &&RunId| self.runs.iter().all(|known| known.id != **run);
        for run in ends.keys().filter(is_gone) {
            let path = self.store.layout().run(self.id(), run);
            checked.faults.push(RecordFault::file(&path, "the run is missing, which job.json has"));
        }
        checked
    }

    /// Checks that all states of the workspace that Runs name are there as they were, and that nothing else was changed
    /// which is stored by content.
    fn verify_snapshots(&self, runs: &[VerifiedRun]) -> Result<(), RecordFault> {
        let folder = self.store.layout().snapshots(self.id());
        let fault = |error| match error {
            StoreError::NotFound { what, .. } => RecordFault::file(&folder, what),
            error => RecordFault::unread(&folder, error),
        };
        let stored = StoredSnapshots::open(&self.store, self.id()).map_err(fault)?;
        // First of all what is there: an object whose name was changed is missing under its own.
        stored.check_objects().map_err(fault)?;
        let mut checked = HashSet::new();
        runs.iter()
            .flat_map(|run| &run.snapshots)
            .try_for_each(|state| stored.check(state, &mut checked).map_err(fault))
    }

    fn is_being_written(&self) -> bool {
        matches!(self.entry.state, JobState::Running(_) | JobState::Interrupted)
    }

    fn verify_job_file(&self) -> Result<(Option<String>, Job), RecordFault> {
        let path = self.store.layout().job_file(self.id());
        let bytes = self.store.bytes(&path).map_err(|error| RecordFault::unread(&path, error))?;
        let job: Job = serde_json::from_slice(&bytes)
            .map_err(|error| RecordFault::file(&path, format!("it is no job file ({error})")))?;
        match Seal::of(&bytes) {
            Seal::Whole(digest) => Ok((Some(digest), job)),
            Seal::Broken => Err(RecordFault::file(&path, "its seal does not fit: it was changed")),
            Seal::Absent => Ok((None, job)),
        }
    }
}
