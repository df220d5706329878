//! [`read_stops`]: where the Runs of a job stand, by their logs. A recording of a job that something outside stopped has it.

use crate::budget::Reached;
use crate::fact::{Fact, FactBody};
use crate::id::JobId;
use crate::replay::{RunStop, RunStops};
use crate::runtime::error::RunError;
use crate::store::Store;

/// The places of all Runs of `job` that have come to a fact, and the number of answers of models in their logs.
///
/// # Errors
/// A log cannot be read.
pub fn read_stops(store: &Store, job: &JobId) -> Result<(RunStops, u64), RunError> {
    let (mut stops, mut answers) = (RunStops::default(), 0_u64);
    for run in store.runs(job)? {
        if !store.layout().log(job, &run.id).exists() {
            continue;
        }
        let mut log = store.open_log(job, &run.id)?;
        let mut stop = RunStop { facts: 0, turn: 0, answered: Vec::new(), fact: None };
        let mut facts = 0_u64;
        while let Some(fact) = log.next_fact()? {
            if matches!(fact.body, FactBody::SnapshotTaken { .. }) {
                // A replay takes none, and one behind the stop does not undo it.
                continue;
            }
            facts = facts.saturating_add(1);
            match &fact.body {
                FactBody::Generated { .. } => {
                    answers = answers.saturating_add(1);
                    (stop.turn, stop.answered) = (facts, Vec::new());
                }
                FactBody::Summarized { .. } => answers = answers.saturating_add(1),
                FactBody::ToolReturned { result } => stop.answered.push(result.id.clone()),
                _ => {}
            }
            let is_stop = comes_from_outside(&fact);
            stop.facts = if is_stop { facts.saturating_sub(1) } else { facts };
            stop.fact = is_stop.then(|| Box::new(fact));
        }
        if facts > 0 {
            stops.insert(run.id, stop);
        }
    }
    Ok((stops, answers))
}

/// Returns true for a stop that nothing in a recording leads to: what a replay takes no time for, or nobody asks it for.
fn comes_from_outside(fact: &Fact) -> bool {
    matches!(fact.body, FactBody::Interrupted | FactBody::BudgetReached { reached: Reached::Duration { .. } })
}
