//! [`timeline`]: the states that the workspace of a job went through, in the order of time, over all of its Runs. They share
//! the workspace, whichever of them is at work.

use crate::checkpoint::CheckpointHead;
use crate::expert::ExpertKey;
use crate::fact::FactBody;
use crate::id::{CheckpointId, JobId, RunId};
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{feed, state_behind};
use crate::runtime::history::run_ends::RunEnds;
use crate::snapshot::SnapshotId;
use crate::store::Store;
use crate::tool::ToolCall;

/// A moment at which the state of the workspace was stored, or known to be that of the moment before.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotPoint {
    /// Milliseconds since the epoch.
    pub at: u64,
    pub run: RunId,
    pub expert: ExpertKey,
    /// The step that has ended; absent where a Run begins or goes on.
    pub step: Option<u64>,
    /// The step's checkpoint.
    pub checkpoint: Option<CheckpointId>,
    pub snapshot: SnapshotId,
    /// The calls of the step.
    pub calls: Vec<ToolCall>,
}

/// All such moments of `job`.
///
/// # Errors
/// A log that cannot be read.
pub fn timeline(store: &Store, job: &JobId) -> Result<Vec<SnapshotPoint>, RunError> {
    let mut points = Vec::new();
    let mut ends = RunEnds::default();
    for run in store.runs(job)? {
        of_run(store, job, &run.id, &mut ends, &mut points)?;
    }
    // Steps of one moment stay in the order of their Run.
    points.sort_by_key(|point| point.at);
    Ok(points)
}

fn of_run(
    store: &Store,
    job: &JobId,
    run: &RunId,
    ends: &mut RunEnds,
    points: &mut Vec<SnapshotPoint>,
) -> Result<(), RunError> {
    let mut log = match store.open_log(job, run) {
        // It was imported, or a power cut left its folder alone: there are no facts that could name a state.
        Err(error) if error.is_not_found() => return Ok(()),
        opened => opened?,
    };
    let mut machine = None;
    while let Some(fact) = log.next_fact()? {
        let mut state = match machine.take() {
            Some(machine) => machine,
            None => state_behind(store, job, run, &fact, ends)?,
        };
        let (at, begins) = (fact.stamp.at, begin_of(&fact.body).cloned());
        let mut ended = Vec::new();
        let fed = feed(&mut state, fact, &mut log, &mut |events, save, _| {
            let calls = events
                .iter()
                .find_map(|event| event.body.step())
                .map(|step| step.tool_calls.clone())
                .unwrap_or_default();
            ended.extend(save.and_then(|save| end_of(at, &save.head, calls)));
            false
        });
        let place = || store.layout().log(job, run);
        fed.map_err(|illegal| RunError::History { place: place(), what: illegal.to_string() })?;
        points.extend(begins.map(|snapshot| SnapshotPoint {
            at,
            run: run.clone(),
            expert: state.head().expert.key.clone(),
            step: None,
            checkpoint: None,
            snapshot,
            calls: Vec::new(),
        }));
        points.append(&mut ended);
        machine = Some(state);
    }
    if let Some(machine) = machine.filter(|machine| machine.head().status.is_terminal()) {
        ends.insert(machine.into_checkpoint());
    }
    Ok(())
}

fn begin_of(fact: &FactBody) -> Option<&SnapshotId> {
    match fact {
        FactBody::Started { spec, .. } => spec.snapshot.as_ref(),
        FactBody::Resumed { resumption } => resumption.snapshot.as_ref(),
        _ => None,
    }
}

fn end_of(at: u64, head: &CheckpointHead, calls: Vec<ToolCall>) -> Option<SnapshotPoint> {
    Some(SnapshotPoint {
        at,
        run: head.run_id.clone(),
        expert: head.expert.key.clone(),
        step: Some(head.step_number),
        checkpoint: Some(head.id.clone()),
        snapshot: head.snapshot.clone()?,
        calls,
    })
}
