//! The table at the end.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::{Case, Kind, Outcome};
use crate::job::Job;

/// Counts by job and kind of the first fault.
#[derive(Default)]
pub struct Tally {
    rows: BTreeMap<(Job, Kind), Row>,
}

#[derive(Default)]
struct Row {
    cases: usize,
    faults: usize,
    resumes: usize,
    effects: [usize; 3],
    mismatches: usize,
}

impl Tally {
    /// Counts one case; without an outcome, it did not end as it must.
    pub fn add(&mut self, case: &Case, outcome: Option<Outcome>) {
        let row = self.rows.entry((case.job, case.fault.kind)).or_default();
        row.cases += 1;
        match outcome {
            Some(outcome) => row.add(outcome.faults, outcome.resumes, outcome.effects),
            None => row.mismatches += 1,
        }
    }
}

impl Row {
    fn add(&mut self, faults: usize, resumes: usize, effects: [usize; 3]) {
        self.faults += faults;
        self.resumes += resumes;
        for (sum, more) in self.effects.iter_mut().zip(effects) {
            *sum += more;
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, job: &str, kind: &str) -> fmt::Result {
        let Self { cases, faults, resumes, effects: [never, once, more], mismatches } = self;
        writeln!(
            f,
            "{job:<6} {kind:<12} {cases:>6} {faults:>7} {resumes:>8} {never:>6} {once:>6} {more:>6} {mismatches:>11}"
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<6} {:<12} {:>6} {:>7} {:>8} {:>6} {:>6} {:>6} {:>11}",
            "job", "first fault", "cases", "faults", "resumes", "0 x", "1 x", "2+ x", "mismatches"
        )?;
        let mut all = Row::default();
        for ((job, kind), row) in &self.rows {
            row.write(f, &format!("{job:?}"), &format!("{kind:?}"))?;
            all.add(row.faults, row.resumes, row.effects);
            all.cases += row.cases;
            all.mismatches += row.mismatches;
        }
        all.write(f, "all", "")
    }
}
