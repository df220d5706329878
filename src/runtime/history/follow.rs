//! [`JobFollower`]: a job's record read while it grows, over crashes and resumptions. The command line's `log --follow`
//! calls it again and again; waiting between the calls is left to it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::ControlFlow;

use crate::id::{JobId, RunId};
use crate::runtime::error::RunError;
use crate::runtime::history::item::{HistoryItem, ReadProblem};
use crate::runtime::history::job_state::{JobState, state_of};
use crate::runtime::history::run_ends::RunEnds;
use crate::runtime::history::run_reader::RunReader;
use crate::store::Store;

/// A job's record, read so far.
pub struct JobFollower {
    store: Store,
    job: JobId,
    /// Only this Run.
    only: Option<RunId>,
    readers: BTreeMap<RunId, RunReader>,
    ends: RunEnds,
}

impl JobFollower {
    pub(super) fn new(store: Store, job: JobId, only: Option<RunId>) -> Self {
        Self { store, job, only, readers: BTreeMap::new(), ends: RunEnds::default() }
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
        // The time of each Run's next event; before a Run is opened, which is behind the events of that moment, that of its
        // beginning.
        let mut next = BinaryHeap::new();
        for (run, reader) in &mut self.readers {
            reader.read_again(&mut self.ends);
            next.extend(reader.due().map(|due| Reverse((due, false, run.clone()))));
        }
        for run in self.store.run_ids(&self.job)? {
            let is_wanted = self.only.as_ref().is_none_or(|only| run == *only);
            if is_wanted
                && !self.readers.contains_key(&run)
                && let Some(began_at) = self.beginning(&run)?
            {
                next.push(Reverse((began_at, true, run)));
            }
        }
        while let Some(Reverse((_, is_new, run))) = next.pop() {
            if is_new {
                let reader = RunReader::open(&self.store, &self.job, &run, &mut self.ends);
                self.readers.insert(run.clone(), reader);
            }
            let Some(reader) = self.readers.get_mut(&run) else { continue };
            if !is_new && reader.visit(&mut self.ends, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match reader.due() {
                Some(due) => next.push(Reverse((due, false, run))),
                None => reader.hand_over(&mut self.ends),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The problems that kept Runs from being read whole.
    pub fn problems(self) -> Vec<ReadProblem> {
        self.readers.into_values().flat_map(RunReader::problems).collect()
    }

    /// The time at which a Run began; `None` when it has no record yet.
    fn beginning(&self, run: &RunId) -> Result<Option<u64>, RunError> {
        if self.store.layout().log(&self.job, run).is_file() {
            return Ok(Some(self.store.first_fact(&self.job, run).map_or(0, |fact| fact.stamp.at)));
        }
        Ok(self.store.original_events(&self.job, run)?.first().map(|(at, _)| *at))
    }
}
