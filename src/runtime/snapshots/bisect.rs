//! [`bisect`]: the first step of a job after which a command fails, found by halves. Each state is restored into a folder of
//! its own, in which the command runs as `exec`'s commands do; the workspace is left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::expert::{Expert, SkillSpec, VerifyCommand};
use crate::fact::{VerifyEnd, VerifyOutcome};
use crate::id::JobId;
use crate::runtime::error::RunError;
use crate::runtime::options::Options;
use crate::runtime::snapshots::failure::SnapshotError;
use crate::runtime::snapshots::restoring::restore_elsewhere;
use crate::runtime::snapshots::stored::StoredSnapshots;
use crate::runtime::snapshots::timeline::{SnapshotPoint, timeline};
use crate::runtime::tools::open::command_verifier;
use crate::skill::base::Verifier;
use crate::store::Store;
use crate::workspace::{WorkspaceChange, remove};

/// The exit code by which a command has a state skipped; git's.
const SKIP: i32 = 125;

/// The verdict of the command on one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BisectVerdict {
    /// It exited with code 0.
    Passes,
    /// It exited with another code, was killed, or took too long.
    Fails,
    /// It exited with code 125: the state cannot be judged.
    Skipped,
}

/// The end of a search.
#[derive(Debug)]
pub enum BisectEnd {
    /// The command fails after this step, and passes before.
    Found(Box<FirstFailure>),
    /// It fails after one of these steps: the states between cannot be judged.
    OneOf(Vec<SnapshotPoint>),
    /// It fails on the first state.
    FailsAtBeginning(SnapshotPoint),
    /// It passes on the last state too.
    PassesAtEnd(SnapshotPoint),
    /// The first or the last state cannot be judged.
    EndSkipped(SnapshotPoint),
    /// The job has fewer than two states.
    TooFew(usize),
    /// The command cannot be run.
    NotRun(VerifyOutcome),
    /// It was cancelled.
    Cancelled,
}

/// The first step after which the command fails.
#[derive(Debug)]
pub struct FirstFailure {
    pub point: SnapshotPoint,
    /// The end of the command there.
    pub outcome: VerifyOutcome,
    /// The changes since the state before.
    pub changes: Vec<WorkspaceChange>,
    /// The states that were tested.
    pub tested: usize,
}

/// A receiver of verdicts as they come.
pub type ReportVerdict<'a> = &'a (dyn Fn(&SnapshotPoint, BisectVerdict, &VerifyOutcome) + Sync);

/// Finds the first step of `job` after which `command` fails. States are restored into the folder `copy`, which is made and
/// emptied. The command has the access of the usual base skill, and ends when `options.cancel` fires.
///
/// # Errors
/// The job's record or a state cannot be read.
pub async fn bisect(
    store: &Store,
    job: &JobId,
    command: &VerifyCommand,
    copy: &Path,
    options: &Options,
    report: ReportVerdict<'_>,
) -> Result<BisectEnd, RunError> {
    let mut points = timeline(store, job)?;
    points.dedup_by(|next, before| next.snapshot == before.snapshot);
    if points.len() < 2 {
        return Ok(BisectEnd::TooFew(points.len()));
    }
    let stored = StoredSnapshots::open(store, job)?;
    let search = Search { stored: &stored, command, copy, options, report };
    search.run(points).await
}

struct Search<'a> {
    stored: &'a StoredSnapshots,
    command: &'a VerifyCommand,
    copy: &'a Path,
    options: &'a Options,
    report: ReportVerdict<'a>,
}

/// The end of one test.
enum Tested {
    Judged(BisectVerdict, VerifyOutcome),
    NotRun(VerifyOutcome),
    Cancelled,
}

impl Search<'_> {
    async fn run(&self, points: Vec<SnapshotPoint>) -> Result<BisectEnd, RunError> {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(BisectEnd::TooFew(0)) };
        let mut tested = 2;
        match self.test(first).await? {
            Tested::Judged(BisectVerdict::Passes, _) => {}
            Tested::Judged(BisectVerdict::Fails, _) => return Ok(BisectEnd::FailsAtBeginning(first.clone())),
            Tested::Judged(BisectVerdict::Skipped, _) => return Ok(BisectEnd::EndSkipped(first.clone())),
            Tested::NotRun(outcome) => return Ok(BisectEnd::NotRun(outcome)),
            Tested::Cancelled => return Ok(BisectEnd::Cancelled),
        }
        let mut failure = match self.test(last).await? {
            Tested::Judged(BisectVerdict::Fails, outcome) => outcome,
            Tested::Judged(BisectVerdict::Passes, _) => return Ok(BisectEnd::PassesAtEnd(last.clone())),
            Tested::Judged(BisectVerdict::Skipped, _) => return Ok(BisectEnd::EndSkipped(last.clone())),
            Tested::NotRun(outcome) => return Ok(BisectEnd::NotRun(outcome)),
            Tested::Cancelled => return Ok(BisectEnd::Cancelled),
        };
        // It passes at `passes` and fails at `fails`; those between that are skipped are asked about no more.
        let (mut passes, mut fails) = (0, points.len().saturating_sub(1));
        let mut skipped = BTreeSet::new();
        while let Some((at, point)) =
            nearest_to_middle(passes, fails, &skipped).and_then(|at| Some((at, points.get(at)?)))
        {
            tested += 1;
            match self.test(point).await? {
                Tested::Judged(BisectVerdict::Passes, _) => passes = at,
                Tested::Judged(BisectVerdict::Fails, outcome) => (fails, failure) = (at, outcome),
                Tested::Judged(BisectVerdict::Skipped, _) => {
                    skipped.insert(at);
                }
                Tested::NotRun(outcome) => return Ok(BisectEnd::NotRun(outcome)),
                Tested::Cancelled => return Ok(BisectEnd::Cancelled),
            }
        }
        let between = points.get(passes + 1..=fails).unwrap_or_default();
        match (between, points.get(passes)) {
            ([point], Some(before)) => {
                let changes = self.stored.compare(&before.snapshot, &point.snapshot)?;
                let found = FirstFailure { point: point.clone(), outcome: failure, changes, tested };
                Ok(BisectEnd::Found(Box::new(found)))
            }
            _ => Ok(BisectEnd::OneOf(between.to_vec())),
        }
    }

    async fn test(&self, point: &SnapshotPoint) -> Result<Tested, RunError> {
        if self.options.cancel.is_cancelled() {
            return Ok(Tested::Cancelled);
        }
        let folder = self.copy.to_owned();
        empty(&folder)?;
        restore_elsewhere(self.stored, &point.snapshot, &folder)?;
        let verifier = self.verifier(&folder)?;
        let output = verifier.next_output();
        let Some(outcome) = verifier.run(output, &self.options.cancel).await else { return Ok(Tested::Cancelled) };
        let verdict = match &outcome.end {
            VerifyEnd::Exited { code: 0 } => BisectVerdict::Passes,
            VerifyEnd::Exited { code: SKIP } => BisectVerdict::Skipped,
            // A shell's codes for a program that is not there or cannot be run: no state is at fault for that.
            VerifyEnd::Exited { code: 126 | 127 } | VerifyEnd::NotRun { .. } => return Ok(Tested::NotRun(outcome)),
            _ => BisectVerdict::Fails,
        };
        (self.report)(point, verdict, &outcome);
        Ok(Tested::Judged(verdict, outcome))
    }

    /// Runs the command in `folder`, with nothing that the configuration's experts are given besides.
    fn verifier(&self, folder: &Path) -> Result<Arc<Verifier>, RunError> {
        let key = "bisect".parse().map_err(|_| RunError::Internal("a name is no name of an expert".to_owned()))?;
        let base = SkillSpec::base();
        let mut expert = Expert::new(key, "");
        expert.skills.clear();
        expert.skills.insert(base.common().name.clone(), base);
        let folder: PathBuf = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let options = Options { workspace: folder.clone(), root: folder, ..self.options.clone() };
        command_verifier(&expert, self.command, &options, &options.redactor())
    }
}

/// The place between the two that is nearest to their middle and not skipped.
fn nearest_to_middle(passes: usize, fails: usize, skipped: &BTreeSet<usize>) -> Option<usize> {
    let middle = passes.midpoint(fails);
    let open = (passes + 1..fails).filter(|at| !skipped.contains(at));
    open.min_by_key(|at| at.abs_diff(middle))
}

/// Makes the folder one with nothing in it.
fn empty(folder: &Path) -> Result<(), RunError> {
    let failed =
        |action| move |source| RunError::from(SnapshotError::Folder { action, path: folder.to_owned(), source });
    if folder.exists() {
        remove(folder).map_err(failed("empty"))?;
    }
    fs::create_dir_all(folder).map_err(failed("create"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_leave_out_what_is_skipped_and_end() {
        let mut skipped = BTreeSet::new();
        assert_eq!(nearest_to_middle(0, 8, &skipped), Some(4));
        skipped.insert(4);
        assert_eq!(nearest_to_middle(0, 8, &skipped), Some(3));
        assert_eq!(nearest_to_middle(3, 5, &skipped), None);
        assert_eq!(nearest_to_middle(7, 8, &skipped), None);
    }
}
