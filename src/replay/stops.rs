//! [`RunStops`]: where the Runs of a recorded job stood when something outside stopped it: a signal, its time, or the death
//! of its process. A replay stops each of them at the same fact, and the continuation that was recorded goes on from there.
//!
//! The runtime reads them from the logs; an `end` record of a cassette has them.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::fact::Fact;
use crate::id::{RunId, ToolCallId};

/// All Runs that had begun. Another one had not, and does not begin in a replay either.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunStops {
    runs: IndexMap<RunId, RunStop>,
}

/// The place of one Run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStop {
    /// The facts before the stop, without those of snapshots, which a replay does not take. A Run that had ended by itself
    /// never asks for another one.
    #[serde(with = "crate::count::Count")]
    pub facts: u64,
    /// The facts up to the latest answer of its model.
    #[serde(with = "crate::count::Count")]
    pub turn: u64,
    /// The calls of that answer that had a result: the others are still under way when the Run stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<ToolCallId>,
    /// The fact that the Run stopped with; none if its process died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<Box<Fact>>,
}

impl RunStops {
    /// Returns true if nothing outside stopped the job.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a Run.
    pub fn insert(&mut self, run: RunId, stop: RunStop) {
        self.runs.insert(run, stop);
    }

    /// The stop of a Run; `None` for one that had not begun.
    pub fn get(&self, run: &RunId) -> Option<&RunStop> {
        self.runs.get(run)
    }
}

impl RunStop {
    /// Returns true if a call that is made behind so many facts was answered before the stop.
    pub fn has_answer(&self, facts: u64, call: &ToolCallId) -> bool {
        facts < self.turn || self.answered.contains(call)
    }
}
