//! The spending of a job so far, from its records: `job.json` where an invocation came to its end, else the logs of
//! all Runs. What killed Runs had under way is among it.

use std::collections::HashSet;

use crate::budget::{Budgets, Charge, Spent};
use crate::checkpoint::{CheckpointHead, Status};
use crate::config::{Origin, Settings};
use crate::cost::Spend;
use crate::id::{JobId, RunId};
use crate::job::{JobBudget, JobStatus};
use crate::machine::RunTotals;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{self, RecordedRun};
use crate::runtime::history::run_ends::RunEnds;
use crate::setting::DEFAULT_MAX_STEPS;
use crate::store::Store;
use crate::usage::Usage;

/// The spending of a job.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobSpending {
    /// As its budgets count it.
    pub spent: Spent,
    /// As providers reported it.
    pub usage: Usage,
    pub spend: Spend,
}

impl JobSpending {
    /// Adds up the records of `job`. A Run whose log cannot be read counts by its newest checkpoint.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn read(store: &Store, job: &JobId) -> Result<Self, RunError> {
        Self::read_beside(store, job, None)
    }

    /// The same beside a Run that was read back since the job was locked.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn read_beside(store: &Store, job: &JobId, past: Option<(&RunId, &RecordedRun)>) -> Result<Self, RunError> {
        let stored = store.job(job).ok();
        let account = stored.as_ref().map_or_else(JobBudget::default, |stored| stored.budget);
        if let (Some(stored), Some(spent), None) = (&stored, account.spent, account.active_since)
            && stored.status != JobStatus::Running
        {
            return Ok(Self { spent, usage: stored.usage, spend: stored.spend });
        }
        let mut total = RunTotals::default();
        let mut known: HashSet<RunId> = HashSet::new();
        let mut last_at = 0;
        let mut waiting = RunEnds::default();
        for run in store.runs(job)? {
            if let Some((_, past)) = past.filter(|(id, _)| **id == run.id) {
                total = total.plus(past.machine.totals_at_rest());
                last_at = last_at.max(past.last_at);
                known.insert(run.id);
            } else if let Ok(Some((machine, at))) = recorded_run::read_end(store, job, &run.id, &mut waiting) {
                total = total.plus(machine.totals_at_rest());
                last_at = last_at.max(at);
                known.insert(run.id);
                if machine.head().status == Status::StoppedByDelegate {
                    waiting.insert(machine.into_checkpoint());
                }
            }
        }
        if let Some(head) = newest_of_others(store, job, &known)? {
            let charged = Charge { tokens: head.usage.total_tokens, cost: head.spend.cost };
            total = total.plus(RunTotals { usage: head.usage, spend: head.spend, charged, steps: head.step_number });
        }
        let active_ms = account.active_since.map_or(0, |since| last_at.saturating_sub(since));
        let before = account.spent.map_or(0, |spent| spent.active_ms);
        Ok(Self::default().plus(total, before.saturating_add(active_ms)))
    }

    /// The part that accounts which jobs share count.
    pub fn charge(&self) -> Charge {
        Charge { tokens: self.spent.tokens, cost: self.spent.cost }
    }

    /// The sum with what further Runs spent, and the time that they took.
    #[must_use]
    pub fn plus(self, totals: RunTotals, active_ms: u64) -> Self {
        Self {
            spent: Spent {
                tokens: self.spent.tokens.saturating_add(totals.charged.tokens),
                cost: self.spent.cost.plus(totals.charged.cost),
                steps: self.spent.steps.saturating_add(totals.steps),
                active_ms: self.spent.active_ms.saturating_add(active_ms),
            },
            usage: self.usage.plus(totals.usage),
            spend: self.spend.plus(totals.spend),
        }
    }
}

/// The last checkpoint of Runs that came without a log: from another machine, or from the original. Its counters
/// include all that led to it.
fn newest_of_others(store: &Store, job: &JobId, known: &HashSet<RunId>) -> Result<Option<CheckpointHead>, RunError> {
    let entries = store.checkpoints(job)?;
    let others = entries.into_iter().rev().filter(|entry| entry.run.as_ref().is_none_or(|run| !known.contains(run)));
    Ok(others.filter_map(|entry| store.read_checkpoint(&entry.path).ok()).map(|stored| stored.head).next())
}

/// The budgets of a job that is continued: its own, except those that a flag sets now, or that it did not have. They stay
/// below the settings' ceilings: the record may have come with a folder that is not trusted.
pub fn budgets_on_resume(settings: &Settings, own: &Budgets) -> Budgets {
    let (now, origins, most) = (&settings.budgets, &settings.origins, &settings.ceilings.budgets);
    Budgets {
        max_cost: choose(own.max_cost, now.max_cost, origins.max_cost, most.max_cost),
        max_tokens: choose(own.max_tokens, now.max_tokens, origins.max_tokens, most.max_tokens),
        max_duration_ms: choose(own.max_duration_ms, now.max_duration_ms, origins.max_duration, most.max_duration_ms),
        max_steps: choose(own.max_steps, now.max_steps, origins.max_total_steps, most.max_steps),
        max_tool_repetitions: choose(
            own.max_tool_repetitions,
            now.max_tool_repetitions,
            origins.max_tool_repetitions,
            most.max_tool_repetitions,
        ),
        max_delegates: choose(own.max_delegates, now.max_delegates, origins.max_delegates, most.max_delegates),
    }
}

/// The most steps of each line of Runs in a job that is continued. `own`: the job's, of which the default does not count
/// as chosen.
pub fn max_steps_on_resume(settings: &Settings, own: Option<u64>) -> u64 {
    let (now, origin) = (settings.limits.max_steps, settings.origins.max_steps);
    let own = own.filter(|steps| *steps != DEFAULT_MAX_STEPS);
    choose(own, (origin != Origin::BuiltIn).then_some(now), origin, settings.ceilings.max_steps).unwrap_or(now)
}

/// One of the budgets. A ceiling gives way to a variable that the user sets above it.
fn choose<T: Ord + Copy>(own: Option<T>, now: Option<T>, origin: Origin, ceiling: Option<T>) -> Option<T> {
    if origin == Origin::Flag {
        return now.or(own);
    }
    let of_variable = now.filter(|_| origin == Origin::Environment);
    let most = ceiling.map(|most| of_variable.map_or(most, |variable| variable.max(most)));
    let chosen = own.or(now)?;
    Some(most.map_or(chosen, |most| chosen.min(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_own_budget_counts_below_the_ceiling_and_what_the_user_sets_now() {
        let choose = |own, now, origin, ceiling| choose::<u64>(own, now, origin, ceiling);
        assert_eq!(choose(Some(5), Some(1), Origin::User, None), Some(5));
        assert_eq!(choose(Some(5), Some(1), Origin::User, Some(1)), Some(1));
        assert_eq!(choose(Some(5), Some(9), Origin::Flag, Some(1)), Some(9));
        assert_eq!(choose(Some(5), Some(9), Origin::Environment, Some(1)), Some(5));
        assert_eq!(choose(Some(99), Some(9), Origin::Environment, Some(1)), Some(9));
        // A folder's own variable is below the user's limit, and lifts nothing.
        assert_eq!(choose(Some(99), Some(1), Origin::Environment, Some(3)), Some(3));
        assert_eq!(choose(None, Some(2), Origin::File, None), Some(2));
        assert_eq!(choose(None, None, Origin::BuiltIn, None), None);
    }
}
