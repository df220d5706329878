//! [`JobFollower`]: a job's record read while it grows, over crashes and resumptions. The command line's `log --follow`
//! calls it again and again; waiting between the calls is left to it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::id::{JobId, RunId};
use crate::runtime::error::RunError;
use crate::runtime::history::item::{HistoryItem, ReadProblem};
use crate::runtime::history::job_state::{JobState, state_of};
use crate::runtime::history::run_reader::RunReader;
use crate::store::Store;

/// A job's record, read so far.
pub struct JobFollower {
    store: Store,
    job: JobId,
    /// Only this Run.
    only: Option<RunId>,
    readers: BTreeMap<RunId, RunReader>,
}

impl JobFollower {
    pub(super) fn new(store: Store, job: JobId, only: Option<RunId>) -> Self {
        Self { store, job, only, readers: BTreeMap::new() }
    }

    /// The job's state now. Read it before [`JobFollower::poll`]: what a stopped job has recorded is then read whole.
    pub fn state(&self) -> JobState {
        state_of(&self.store, &self.job).1
    }

    /// Visits the events that are new, by their times, until there are no more or `visit` breaks off.
    ///
    /// # Errors
    /// The system's error when the job's folder cannot be read.
    pub fn poll(
        &mut self,
        visit: &mut dyn FnMut(HistoryItem<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, RunError> {
        for reader in self.readers.values_mut() {
            reader.read_again();
        }
        for run in self.store.run_ids(&self.job)? {
            let is_wanted = self.only.as_ref().is_none_or(|only| run == *only);
            if is_wanted && !self.readers.contains_key(&run) && self.has_record(&run)? {
                self.readers.insert(run.clone(), RunReader::open(&self.store, &self.job, &run));
            }
        }
        loop {
            let due = self.readers.values_mut().filter_map(|reader| Some((reader.due()?, reader)));
            let Some((_, next)) = due.min_by_key(|(at, _)| *at) else { return Ok(ControlFlow::Continue(())) };
            if next.visit(visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// The problems that kept Runs from being read whole.
    pub fn problems(self) -> Vec<ReadProblem> {
        self.readers.into_values().flat_map(RunReader::problems).collect()
    }

    fn has_record(&self, run: &RunId) -> Result<bool, RunError> {
        Ok(self.store.layout().log(&self.job, run).is_file() || !self.store.original_events(&self.job, run)?.is_empty())
    }
}
