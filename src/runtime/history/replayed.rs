//! [`JobLog::differs_from`]: the first fact in which a job's record and its replay differ. `perstack job verify --replay` calls
//! it for a replay of the job's cassette.
//!
//! Facts are compared by what happened: the answers of models, the results of tools and people, the stops. Times, the
//! configuration's digests, the servers' reports and snapshots are not in a replay. Results that arrived side by side have no order.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fact::{Fact, FactBody};
use crate::id::RunId;
use crate::replay::LocalPaths;
use crate::runtime::error::RunError;
use crate::runtime::history::JobLog;
use crate::runtime::run::instruction::working_directory;

/// The first fact of a Run that is another one in the replay.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayedFact {
    pub run: RunId,
    /// The line in the stored log, from 1; the one behind the last where the replay goes on.
    pub line: u64,
    /// The kind of fact, as the log spells it, and its contents; none behind the end.
    pub stored: Option<(String, Value)>,
    /// That of the replay.
    pub replayed: Option<(String, Value)>,
}

/// A fact as it is compared.
struct Compared {
    line: u64,
    kind: String,
    /// The id of the call, of a result.
    call: Option<String>,
    value: Value,
}

impl JobLog {
    /// Compares the facts with those of a replay, in which `paths` are placeholders; `None` when all are the same.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn differs_from(&self, replay: &Self, paths: &LocalPaths) -> Result<Option<ReplayedFact>, RunError> {
        for run in &self.runs {
            let stored = self.compared(&run.id, paths)?;
            let replayed = if replay.runs.iter().any(|other| other.id == run.id) {
                replay.compared(&run.id, paths)?
            } else {
                Vec::new()
            };
            let length = stored.len().max(replayed.len());
            let is_same = |at: &usize| match (stored.get(*at), replayed.get(*at)) {
                (Some(one), Some(other)) => one.kind == other.kind && one.value == other.value,
                _ => false,
            };
            if let Some(at) = (0..length).find(|at| !is_same(at)) {
                let behind = || stored.last().map_or(2, |last| last.line.saturating_add(1));
                let part = |fact: &Compared| (fact.kind.clone(), fact.value.clone());
                return Ok(Some(ReplayedFact {
                    run: run.id.clone(),
                    line: stored.get(at).map_or_else(behind, |fact| fact.line),
                    stored: stored.get(at).map(part),
                    replayed: replayed.get(at).map(part),
                }));
            }
        }
        let added = replay.runs.iter().find(|run| self.runs.iter().all(|known| known.id != run.id));
        Ok(match added {
            None => None,
            Some(run) => {
                let first = replay.compared(&run.id, paths)?.into_iter().next();
                let replayed = first.map(|fact| (fact.kind, fact.value));
                Some(ReplayedFact { run: run.id.clone(), line: 2, stored: None, replayed })
            }
        })
    }

    /// The folder that the job's experts work in, by the instruction of its first Run; none where that cannot be read.
    pub fn workspace(&self) -> Option<PathBuf> {
        let first = self.store.first_fact(self.id(), &self.runs.first()?.id)?;
        match first.body {
            FactBody::Started { spec, .. } => working_directory(&spec.instruction).map(Path::to_owned),
            _ => None,
        }
    }

    fn compared(&self, run: &RunId, paths: &LocalPaths) -> Result<Vec<Compared>, RunError> {
        let mut facts: Vec<Compared> = Vec::new();
        if !self.store.layout().log(self.id(), run).exists() {
            return Ok(facts);
        }
        let mut log = self.store.open_log(self.id(), run)?;
        while let Some(fact) = log.next_fact()? {
            facts.extend(compared(fact, log.line(), paths));
        }
        // Results of one turn come in any order.
        for turn in facts.chunk_by_mut(|one, other| one.call.is_some() && other.call.is_some()) {
            turn.sort_by(|one, other| one.call.cmp(&other.call));
        }
        Ok(facts)
    }
}

/// The parts of a fact that a replay has as well; `None` for one that follows from a server or the workspace alone.
fn compared(fact: Fact, line: u64, paths: &LocalPaths) -> Option<Compared> {
    let kind = fact.body.kind().to_owned();
    let call = match &fact.body {
        FactBody::ToolsChanged { .. } | FactBody::SnapshotTaken { .. } => return None,
        FactBody::ToolReturned { result } => Some(result.id.clone()),
        _ => None,
    };
    // Cannot fail: the types have string keys only, and no number that JSON lacks.
    let mut value = serde_json::to_value(fact.body).unwrap_or_default();
    for begun in ["spec", "resumption"] {
        if let Some(Value::Object(fields)) = value.get_mut(begun) {
            // The tools at hand, digests and limits are the configuration's.
            fields.shift_remove("surroundings");
            fields.shift_remove("snapshot");
        }
    }
    Some(Compared { line, kind, call, value: paths.hidden(value) })
}
