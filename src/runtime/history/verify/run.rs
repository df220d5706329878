//! [`verify_run`]: the check of one Run's record. The job's check calls it for each.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{RecordFault, VerifiedRun};
use crate::checkpoint::Checkpoint;
use crate::fact::{Fact, FactBody, RunParameters};
use crate::hex;
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::{Action, RunMachine, Save};
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{feed, state_behind};
use crate::runtime::history::run_ends::RunEnds;
use crate::setting::RunDigests;
use crate::snapshot::SnapshotId;
use crate::store::{
    CheckpointBody, LogPosition, LogReader, Seal, Store, StoreError, StoredCheckpoint, expected_bytes, is_cut_short,
};

/// The things that the check of a Run needs to know of its job.
#[derive(Clone, Copy)]
pub(super) struct RunBasis<'a> {
    /// The digest of its end by `job.json`.
    pub end: Option<&'a str>,
    /// The job has not ended, so that the Run may lack its last checkpoint.
    pub is_open: bool,
    /// Its checkpoints that other Runs continue.
    pub continued: &'a [&'a CheckpointId],
}

/// The outcome of the check of a Run.
pub(super) struct CheckedRun {
    pub verified: VerifiedRun,
    pub notes: Vec<RecordFault>,
    pub fault: Option<RecordFault>,
    pub began: Option<LatestProcess>,
}

/// The latest process that worked on a Run.
#[derive(Debug, Clone, Copy)]
pub(super) struct LatestProcess {
    /// Milliseconds since the epoch.
    pub at: u64,
    /// It was of a version that writes digests, and so seals.
    pub has_digests: bool,
}

/// Checks the record of a Run. `states`: the checkpoints that other Runs go on from.
pub(super) fn verify_run(
    store: &Store,
    job: &JobId,
    run: &RunId,
    basis: RunBasis<'_>,
    states: &mut RunEnds,
) -> CheckedRun {
    let RunBasis { end, is_open, continued } = basis;
    let verified = VerifiedRun {
        run: run.clone(),
        facts: 0,
        unchained: 0,
        checkpoints: 0,
        end: None,
        is_torn: false,
        snapshots: BTreeSet::new(),
    };
    let mut check = RunCheck {
        store,
        job,
        run,
        end,
        is_open,
        continued,
        verified,
        files: HashMap::new(),
        missing: Vec::new(),
        notes: Vec::new(),
        setting: Value::Null,
        seal: None,
        beginnings: Vec::new(),
        began: None,
        has_met_end: false,
        went_on: false,
    };
    let fault = check.all(states).err();
    CheckedRun { verified: check.verified, notes: check.notes, fault, began: check.began }
}

/// The parameters that a Run began, or went on, with; `None` for a fact that begins nothing.
fn beginning_of(fact: &Fact) -> Option<&RunParameters> {
    match &fact.body {
        FactBody::Started { spec, .. } => Some(&spec.parameters),
        FactBody::Resumed { resumption } => Some(&resumption.parameters),
        _ => None,
    }
}

/// The state of the workspace that a fact names.
fn snapshot_of(fact: &Fact) -> Option<&SnapshotId> {
    match &fact.body {
        FactBody::Started { spec, .. } => spec.snapshot.as_ref(),
        FactBody::Resumed { resumption } => resumption.snapshot.as_ref(),
        FactBody::SnapshotTaken { snapshot } => Some(snapshot),
        _ => None,
    }
}

/// The check of a Run, up to some record.
struct RunCheck<'a> {
    store: &'a Store,
    job: &'a JobId,
    run: &'a RunId,
    end: Option<&'a str>,
    is_open: bool,
    continued: &'a [&'a CheckpointId],
    verified: VerifiedRun,
    /// The files of checkpoints that the log did not lead to so far.
    files: HashMap<CheckpointId, PathBuf>,
    /// Checkpoints without a file, and whether they were stored: the Run came to rest with them, and they are not owed.
    missing: Vec<(PathBuf, bool)>,
    notes: Vec<RecordFault>,
    /// `run-setting.json`, without its seal.
    setting: Value,
    /// The seal of that file, once it is read.
    seal: Option<Seal>,
    /// The digests of the last fact that the Run began or went on with, if its version wrote any; where nothing follows a
    /// `resumed`, those before it too: the setting is replaced behind it.
    beginnings: Vec<Option<RunDigests>>,
    /// That of the latest process.
    began: Option<LatestProcess>,
    /// The last fact that was read is the one that `job.json` has.
    has_met_end: bool,
    /// It was, and the Run was resumed there.
    went_on: bool,
}

impl RunCheck<'_> {
    fn all(&mut self, states: &mut RunEnds) -> Result<(), RecordFault> {
        let layout = self.store.layout();
        let (path, folder) = (layout.log(self.job, self.run), layout.run(self.job, self.run));
        let files = self.store.run_checkpoints(self.job, self.run);
        let files = files.map_err(|error| RecordFault::unread(&folder, error))?;
        self.files = files.into_iter().map(|entry| (entry.id, entry.path)).collect();
        let mut log = match LogReader::open(&path) {
            Ok(log) => log,
            // The original has none.
            Err(error) if error.is_not_found() && self.is_original() => return self.original_fits(&folder),
            Err(error) => return Err(RecordFault::unread(&path, error)),
        };
        if !log.is_at_header() && log.text().ends_with(b"\n") {
            return Err(RecordFault::file(&path, "it is not the header of a log as it is written").at(1));
        }
        self.read_setting()?;
        let machine = self.facts(&path, &mut log, states)?;
        self.rest(&path, &log, machine.as_ref())?;
        Ok(())
    }

    fn is_original(&self) -> bool {
        self.store.original_events(self.job, self.run).is_ok_and(|events| !events.is_empty())
    }

    fn original_fits(&self, folder: &Path) -> Result<(), RecordFault> {
        let found = self.store.end_of(self.job, self.run).map_err(|error| RecordFault::unread(folder, error))?;
        if self.end.is_none() || self.end == found.as_deref() {
            return Ok(());
        }
        Err(RecordFault::file(folder, "its files are not those that job.json has the digest of"))
    }

    fn read_setting(&mut self) -> Result<(), RecordFault> {
        let path = self.store.layout().setting(self.job, self.run);
        let first = self.store.first_fact(self.job, self.run);
        let bytes = match self.store.bytes(&path) {
            // A power cut may take the file, or its bytes, of a Run that has not come to a fact.
            Ok(bytes) if bytes.is_empty() && first.is_none() => return Ok(()),
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() && first.is_none() => return Ok(()),
            Err(error) => return Err(RecordFault::unread(&path, error)),
        };
        self.setting = serde_json::from_slice(&bytes)
            .map_err(|error| RecordFault::file(&path, format!("it is no JSON ({error})")))?;
        match self.setting.get("runId").and_then(Value::as_str) {
            Some(run) if run == self.run.as_str() => {}
            run => {
                let what = format!("it is of run {}: the file is another run's", run.unwrap_or("none"));
                return Err(RecordFault::file(&path, what));
            }
        }
        let seal = Seal::of(&bytes);
        if seal == Seal::Broken {
            return Err(RecordFault::file(&path, "its seal does not fit: it was changed"));
        }
        self.seal = Some(seal);
        if let Value::Object(fields) = &mut self.setting {
            fields.shift_remove("seal");
        }
        Ok(())
    }

    /// Reads the facts, and checks the checkpoints that they lead to.
    fn facts(
        &mut self,
        path: &Path,
        log: &mut LogReader,
        states: &mut RunEnds,
    ) -> Result<Option<RunMachine>, RecordFault> {
        let mut machine: Option<RunMachine> = None;
        loop {
            let step = machine.as_ref().map(|machine| machine.head().step_number);
            let fact = match log.next_fact() {
                Ok(Some(fact)) => fact,
                Ok(None) => return Ok(machine),
                Err(error) => return Err(unread_line(path, log, error, step)),
            };
            if self.has_met_end {
                self.went_on = matches!(fact.body, FactBody::Resumed { .. });
                if !self.went_on {
                    return Err(wrong_end(path, log.line()));
                }
            }
            let kind = fact.body.kind();
            let at = |log: &LogReader, what: String| {
                RecordFault { record: record(log.text(), step), ..RecordFault::file(path, what) }.at(log.line())
            };
            if let Some(other) = run_of(&fact).filter(|run| *run != self.run) {
                return Err(at(log, format!("it is of run {other}: the log is another run's")));
            }
            self.verified.snapshots.extend(snapshot_of(&fact).cloned());
            match beginning_of(&fact) {
                Some(RunParameters { digests, .. }) => {
                    self.beginnings.push(digests.clone());
                    self.began = Some(LatestProcess { at: fact.stamp.at, has_digests: digests.is_some() });
                }
                None => drop(self.beginnings.drain(..self.beginnings.len().saturating_sub(1))),
            }
            let mut state = match machine.take() {
                Some(machine) => machine,
                None => state_behind(self.store, self.job, self.run, &fact, states).map_err(|error| {
                    let is_unread =
                        matches!(&error, RunError::Store(error) if !error.is_damaged() && !error.is_not_found());
                    let fault = at(log, format!("the checkpoint that it continues cannot be read: {error}"));
                    RecordFault { is_unread, ..fault }
                })?,
            };
            state.set_quiet(true);
            let position = log.position();
            let mut checked = Ok(());
            let is_old = log.is_old();
            let fed = feed(&mut state, fact, log, &mut |_, save, machine| {
                if let Some(save) = save {
                    checked = self.checkpoint(&save, machine, &position, is_old);
                    if states.wants(&save.head.id) {
                        let messages = save.messages_of(machine.messages()).to_vec();
                        states.insert(Checkpoint { head: *save.head, messages });
                    }
                }
                checked.is_err()
            });
            fed.map_err(|illegal| at(log, format!("a {kind} does not follow from what is before it ({illegal})")))?;
            if let Err(fault) = checked {
                // Whether a state of the workspace was stored for it is in the next line: if that was changed, that is the fault.
                return Err(match log.next_fact() {
                    Err(error) => unread_line(path, log, error, step),
                    Ok(None) if is_torn(path, log) => {
                        let what = "its last line is not whole, and a checkpoint was made behind it";
                        RecordFault::file(path, what).at(log.line())
                    }
                    Ok(_) => fault,
                });
            }
            self.verified.facts = position.facts;
            let is_chained = log.is_at_chained_line();
            self.verified.unchained += u64::from(!is_chained);
            self.has_met_end = self.end == Some(position.chain.as_str());
            self.verified.end = is_chained.then_some(position.chain);
            machine = Some(state);
        }
    }

    /// Checks the file of a checkpoint that the log leads to.
    fn checkpoint(
        &mut self,
        save: &Save,
        machine: &RunMachine,
        position: &LogPosition,
        is_old: bool,
    ) -> Result<(), RecordFault> {
        let head = &*save.head;
        let Some(path) = self.files.remove(&head.id) else {
            let path = self.store.layout().checkpoint(self.job, self.run, head.step_number, &head.id);
            self.missing.push((path, head.status.is_at_rest() && !self.may_be_owed(&head.id)));
            return Ok(());
        };
        self.note_missing()?;
        let bytes = self.store.bytes(&path).map_err(|error| RecordFault::unread(&path, error))?;
        if !head.status.is_at_rest() && is_cut_short(&path, &bytes, head, position.clone()) {
            self.notes
                .push(RecordFault::file(&path, "it is cut short, as a power cut leaves it: it follows from the log"));
            return Ok(());
        }
        let stored = self.store.read_checkpoint(&path).map_err(|error| RecordFault::unread(&path, error))?;
        let messages = save.messages_of(machine.messages());
        if stored.setting.is_some() {
            self.setting_fits()?;
        }
        let is_same = if is_old && stored.log_end.is_none() {
            is_alike(&stored, save, messages, position)
        } else {
            let expected = expected_bytes(&path, &stored, head, messages, position.clone(), &self.setting)
                .map_err(|error| RecordFault::unread(&path, error))?;
            if expected != bytes {
                return Err(RecordFault::file(&path, difference(&expected, &bytes)));
            }
            // Without the end of the log it was written by a version without digests of what a Run works with.
            !head.status.is_at_rest() || stored.log_end.is_some() || self.beginnings.iter().any(Option::is_none)
        };
        if !is_same {
            return Err(RecordFault::file(&path, "it is not what follows from the log"));
        }
        self.verified.checkpoints += 1;
        Ok(())
    }

    /// Returns true if a process may have died between the last fact and its checkpoint, which nobody made since: others
    /// went on from earlier ones.
    fn may_be_owed(&self, end: &CheckpointId) -> bool {
        !self.continued.is_empty() && !self.continued.contains(&end)
    }

    /// Notes the checkpoints that are missing so far, though the Run went on behind them or has ended.
    fn note_missing(&mut self) -> Result<(), RecordFault> {
        for (path, is_at_rest) in self.missing.drain(..) {
            // That one is synced before the Run ends.
            if is_at_rest {
                return Err(RecordFault::file(
                    &path,
                    "it is missing (nothing is lost by that: it follows from the log)",
                ));
            }
            self.notes.push(RecordFault::file(&path, "it is missing, as after a power cut: it follows from the log"));
        }
        Ok(())
    }

    /// Checks what is left when the log is read.
    fn rest(&mut self, path: &Path, log: &LogReader, machine: Option<&RunMachine>) -> Result<(), RecordFault> {
        self.verified.is_torn = is_torn(path, log);
        if log.chain().facts() == 0 {
            return self.without_facts(path);
        }
        // A log that was cut, at whole lines or within one.
        for file in self.files.values() {
            let stored = self.store.read_checkpoint(file).map_err(|error| RecordFault::unread(file, error))?;
            if let Some(position) = stored.position().filter(|position| position.facts > log.chain().facts()) {
                let what = format!("a checkpoint was made behind {} facts, and this one is missing", position.facts);
                return Err(RecordFault::file(path, what).at(log.line()));
            }
        }
        if self.end.is_some() && !self.has_met_end && !(self.went_on && self.is_open) {
            return Err(wrong_end(path, log.line()));
        }
        if let Some(file) = self.files.values().min() {
            return Err(RecordFault::file(
                file,
                "the log does not lead to it: it is another run's, or its log was cut",
            ));
        }
        let has_ended = machine.is_some_and(|machine| matches!(machine.outstanding(), Action::Stop(_)));
        if has_ended && !self.is_open {
            self.note_missing()?;
        }
        self.setting_fits()
    }

    /// Checks a Run that came to no fact: it holds nothing, or a checkpoint that was imported.
    fn without_facts(&self, path: &Path) -> Result<(), RecordFault> {
        let newest = self.store.newest_checkpoint(self.job, self.run);
        let Some(newest) = newest.map_err(|error| RecordFault::unread(path, error))? else {
            let is_missing = self.end.is_some();
            return if is_missing { Err(RecordFault::file(path, "its facts are missing").at(2)) } else { Ok(()) };
        };
        let stored = self.store.read_checkpoint(&newest.path);
        let stored = stored.map_err(|error| RecordFault::unread(&newest.path, error))?;
        if stored.position().is_some_and(|position| position.facts > 0) {
            return Err(RecordFault::file(path, "its facts are missing").at(2));
        }
        let Some(end) = self.end else { return Ok(()) };
        let bytes = self.store.bytes(&newest.path).map_err(|error| RecordFault::unread(&newest.path, error))?;
        if hex::digits(&Sha256::digest(&bytes)) == end {
            return Ok(());
        }
        Err(RecordFault::file(&newest.path, "it is not the checkpoint that job.json has the digest of"))
    }

    fn setting_fits(&self) -> Result<(), RecordFault> {
        let Some(Some(digests)) = self.beginnings.last() else { return Ok(()) };
        let path = self.store.layout().setting(self.job, self.run);
        // The process of an older version wrote none of both, and its file may still be there.
        let may_be_old = self.beginnings.iter().any(Option::is_none);
        let is_unsealed = self.seal == Some(Seal::Absent);
        if is_unsealed && !may_be_old {
            return Err(RecordFault::file(&path, "its seal is missing: it was changed"));
        }
        let found = RunDigests::of_setting(&self.setting, None);
        let is_same = |of: &RunDigests| (&of.expert, &of.configuration) == (&found.expert, &found.configuration);
        if is_unsealed || self.beginnings.iter().flatten().any(is_same) {
            return Ok(());
        }
        let part = if found.expert == digests.expert { "configuration" } else { "expert" };
        Err(RecordFault::file(&path, format!("its {part} is not the one that the run's log has the digest of")))
    }
}

impl RecordFault {
    fn at(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }
}

/// Returns whether something that is no line is behind the lines of a log.
fn is_torn(path: &Path, log: &LogReader) -> bool {
    std::fs::metadata(path).map_or(0, |file| file.len()) > log.chain().bytes()
}

/// The line of a log that has just failed to be read.
fn unread_line(path: &Path, log: &LogReader, error: StoreError, step: Option<u64>) -> RecordFault {
    if matches!(error, StoreError::Damaged { line: Some(2), .. }) && log.had_other_header() {
        return RecordFault::file(path, "its header was changed").at(1);
    }
    let fault = RecordFault::unread(path, error);
    RecordFault { record: record(log.text(), step), ..fault }.at(log.line())
}

fn wrong_end(path: &Path, line: u64) -> RecordFault {
    RecordFault::file(path, "the log does not end with the record that job.json has for its end").at(line)
}

/// The Run that a log's first fact names.
fn run_of(fact: &Fact) -> Option<&RunId> {
    match &fact.body {
        FactBody::Started { spec, .. } => Some(&spec.run_id),
        FactBody::Resumed { resumption } => Some(&resumption.run_id),
        _ => None,
    }
}

/// A line of a log in words, by the kind that it names and the step it was written in.
fn record(line: &[u8], step: Option<u64>) -> Option<String> {
    const KEY: &str = "\"fact\":\"";
    let text = String::from_utf8_lossy(line.get(..line.len().min(200))?);
    let (_, behind) = text.split_once(KEY)?;
    let kind: String = behind.chars().take_while(char::is_ascii_alphanumeric).collect();
    Some(match step {
        Some(step) => format!("{kind} of step {step}"),
        None => kind,
    })
}

/// Returns whether a checkpoint of an older version means what follows from the log.
fn is_alike(
    stored: &StoredCheckpoint,
    save: &Save,
    messages: &[crate::message::Message],
    position: &LogPosition,
) -> bool {
    stored.head == *save.head
        && match &stored.body {
            CheckpointBody::Inline(inline) => inline == messages,
            CheckpointBody::Log(at) => at == position,
        }
}

/// The first difference of two checkpoints, in words.
fn difference(expected: &[u8], found: &[u8]) -> String {
    let read = |bytes: &[u8]| serde_json::from_slice::<Map<String, Value>>(bytes).unwrap_or_default();
    let (expected, found) = (read(expected), read(found));
    let key = expected.iter().find(|(key, value)| found.get(*key) != Some(*value)).map(|(key, _)| key);
    match key.or_else(|| found.keys().find(|key| !expected.contains_key(*key))) {
        Some(key) => format!("its {key:?} is not what follows from the log"),
        None => "it is not written as what follows from the log is: it was changed".to_owned(),
    }
}
