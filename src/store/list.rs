//! Listing of jobs, Runs and checkpoints, without a lock. `log`, `find` and the runtime's history call it. It is
//! tolerant: unreadable entries are skipped, and a job without a good `job.json` is described from its Runs and
//! checkpoints.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::layout::{checkpoint_step, parse_checkpoint_name, parse_original_checkpoint_name};
use super::{LogReader, Store, StoreError, disk, snapshot};
use crate::budget::Budgets;
use crate::checkpoint::{CheckpointHead, FORMAT_VERSION};
use crate::cost::Spend;
use crate::expert::ExpertKey;
use crate::fact::{Fact, FactBody};
use crate::id::{CheckpointId, JobId, RunId};
use crate::job::{Job, JobBudget, JobStatus};
use crate::setting::RunSetting;
use crate::usage::Usage;

/// A checkpoint by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    pub job: JobId,
    /// `None` for the original's files until they are read.
    pub run: Option<RunId>,
    pub step: u64,
    pub id: CheckpointId,
    pub path: PathBuf,
}

/// A Run by name.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEntry {
    pub job: JobId,
    pub id: RunId,
    /// Milliseconds since the epoch; 0 when unknown.
    pub started_at: u64,
    /// `None` when `run-setting.json` is missing or cannot be read.
    pub setting: Option<RunSetting>,
}

impl Store {
    /// One job: its `job.json`, or, without a good one, a description from its Runs and checkpoints.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Newer`]; the fault of `job.json` when the job holds nothing else.
    pub fn job(&self, id: &JobId) -> Result<Job, StoreError> {
        self.read_job(id)?
            .ok_or_else(|| self.not_found(format!("there is no job {id} in {}", self.layout.root().display())))
    }

    /// The job, if anything of it can be read.
    ///
    /// # Errors
    /// As [`Store::job`], apart from a job that is not there.
    pub(super) fn read_job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        match snapshot::read_versioned::<Job>(&self.layout.job_file(id)) {
            Ok(job) => Ok(Some(job)),
            Err(error @ StoreError::Newer { .. }) => Err(error),
            Err(error) => match self.rebuild_job(id)? {
                None if !error.is_not_found() => Err(error),
                rebuilt => Ok(rebuilt),
            },
        }
    }

    /// The Runs of a job, the first started first.
    ///
    /// # Errors
    /// The system's error when the folder cannot be read.
    pub fn runs(&self, job: &JobId) -> Result<Vec<RunEntry>, StoreError> {
        let mut runs: Vec<RunEntry> = self.run_ids(job)?.into_iter().map(|id| self.run_entry(job, id)).collect();
        runs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        Ok(runs)
    }

    /// The checkpoints of a job, by step, then id. The original's are among them as far as they can be read.
    ///
    /// # Errors
    /// The system's error when a folder cannot be read.
    pub fn checkpoints(&self, job: &JobId) -> Result<Vec<CheckpointEntry>, StoreError> {
        let mut entries = Vec::new();
        for run in self.run_ids(job)? {
            entries.extend(self.run_checkpoints(job, &run)?);
        }
        for (_, path) in self.original_checkpoints(job)? {
            entries.extend(original_head(&path).map(|head| original_entry(job, &head, path)));
        }
        sort(&mut entries);
        Ok(entries)
    }

    /// The checkpoints of one Run, by step, then id.
    ///
    /// # Errors
    /// The system's error when the folder cannot be read.
    pub fn run_checkpoints(&self, job: &JobId, run: &RunId) -> Result<Vec<CheckpointEntry>, StoreError> {
        let folder = self.layout.run(job, run);
        let mut entries: Vec<CheckpointEntry> = names(&folder)?
            .iter()
            .filter_map(|name| {
                let (step, id) = parse_checkpoint_name(name)?;
                let (job, run) = (job.clone(), Some(run.clone()));
                Some(CheckpointEntry { job, run, step, id, path: folder.join(name) })
            })
            .collect();
        sort(&mut entries);
        Ok(entries)
    }

    /// The last of [`Store::run_checkpoints`].
    ///
    /// # Errors
    /// The system's error when the folder cannot be read.
    pub fn newest_checkpoint(&self, job: &JobId, run: &RunId) -> Result<Option<CheckpointEntry>, StoreError> {
        let folder = self.layout.run(job, run);
        let mut newest: Option<(u64, CheckpointId, PathBuf)> = None;
        for (name, is_link) in found_in(&folder)? {
            // A Run may have many: ids are only looked at where the step decides nothing.
            let Some(name) = name.to_str().filter(|_| !is_link) else { continue };
            if newest.as_ref().is_some_and(|(step, ..)| checkpoint_step(name).is_none_or(|other| other < *step)) {
                continue;
            }
            let Some((step, id)) = parse_checkpoint_name(name) else { continue };
            if newest.as_ref().is_none_or(|(other, other_id, _)| (*other, other_id) < (step, &id)) {
                newest = Some((step, id, folder.join(name)));
            }
        }
        Ok(newest.map(|(step, id, path)| CheckpointEntry { job: job.clone(), run: Some(run.clone()), step, id, path }))
    }

    /// Returns whether a Run answers a delegating expert's call, by the first fact of its log or of the Run it
    /// continues. `false` for a Run that cannot be read, so that it is not hidden from its user.
    pub(super) fn is_delegated(&self, job: &JobId, run: &RunId) -> bool {
        let mut run = run.clone();
        let mut seen = HashSet::new();
        while seen.insert(run.clone()) {
            match self.first_fact(job, &run).map(|fact| fact.body) {
                Some(FactBody::Started { spec, .. }) => return spec.delegated_by.is_some(),
                Some(FactBody::Resumed { resumption }) => match resumption.parent {
                    Some(parent) => run = parent.run_id,
                    None => return false,
                },
                _ => return false,
            }
        }
        false
    }

    /// Returns whether a Run recorded a fact. `true` for a log that cannot be read, as it may hold work.
    pub(super) fn has_facts(&self, job: &JobId, run: &RunId) -> bool {
        match LogReader::open(&self.layout.log(job, run)).and_then(|mut log| log.next_entry()) {
            Ok(first) => first.is_some(),
            Err(error) => !error.is_not_found(),
        }
    }

    /// The fact that a Run began with; `None` if it cannot be read.
    pub fn first_fact(&self, job: &JobId, run: &RunId) -> Option<Fact> {
        LogReader::open(&self.layout.log(job, run)).ok()?.next_fact().ok()?
    }

    /// The ids of all jobs, by name.
    ///
    /// # Errors
    /// The system's error when the storage folder cannot be read.
    pub fn job_ids(&self) -> Result<Vec<JobId>, StoreError> {
        Ok(names(&self.layout.jobs())?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The ids of a job's Runs, by name.
    ///
    /// # Errors
    /// A link among them, or the system's error.
    pub fn run_ids(&self, job: &JobId) -> Result<Vec<RunId>, StoreError> {
        let folder = self.layout.runs(job);
        let found = entries(&folder)?;
        // A Run that was passed over would be taken for one that never was, and its job be begun anew.
        if let Some((name, _)) = found.iter().find(|(name, is_link)| *is_link && name.parse::<RunId>().is_ok()) {
            return Err(StoreError::Link { path: folder.join(name) });
        }
        Ok(found.iter().filter_map(|(name, _)| name.parse().ok()).collect())
    }

    /// Ids and files of the original's checkpoints, not yet read.
    pub(super) fn original_checkpoints(&self, job: &JobId) -> Result<Vec<(CheckpointId, PathBuf)>, StoreError> {
        let folder = self.layout.original_checkpoints(job);
        let found = names(&folder)?;
        Ok(found.iter().filter_map(|name| Some((parse_original_checkpoint_name(name)?, folder.join(name)))).collect())
    }

    /// The last of the original's checkpoints that no delegate wrote.
    pub(super) fn newest_original(&self, job: &JobId) -> Result<Option<(CheckpointHead, PathBuf)>, StoreError> {
        let heads =
            self.original_checkpoints(job)?.into_iter().filter_map(|(_, path)| Some((original_head(&path)?, path)));
        Ok(heads
            .filter(|(head, _)| head.delegated_by.is_none())
            .max_by(|(a, _), (b, _)| (a.step_number, &a.id).cmp(&(b.step_number, &b.id))))
    }

    fn run_entry(&self, job: &JobId, id: RunId) -> RunEntry {
        let setting = self.setting(job, &id).ok();
        let started_at = match &setting {
            Some(setting) => setting.started_at,
            None => match self.first_fact(job, &id) {
                Some(fact) => fact.stamp.at,
                // The original's Runs have no facts, but a file for each event, with its time in the name.
                None => self
                    .original_events(job, &id)
                    .ok()
                    .and_then(|events| events.first().map(|(at, _)| *at))
                    .unwrap_or(0),
            },
        };
        RunEntry { job: job.clone(), id, started_at, setting }
    }

    /// The expert that a Run's first fact names.
    fn first_expert(&self, job: &JobId, run: &RunId) -> Option<ExpertKey> {
        match self.first_fact(job, run)?.body {
            FactBody::Started { spec, .. } => Some(spec.expert.key),
            _ => None,
        }
    }

    /// The budgets and the most steps of a job as the first fact of one of its Runs has them.
    fn first_limits(&self, job: &JobId, run: &RunId) -> Option<(Budgets, u64)> {
        match self.first_fact(job, run)?.body {
            FactBody::Started { spec, .. } => Some((spec.budgets, spec.parameters.limits.max_steps)),
            _ => None,
        }
    }

    /// The state of the coordinator's newest checkpoint that can be read.
    ///
    /// # Errors
    /// The system's error when a folder cannot be read.
    pub fn newest_head(&self, job: &JobId) -> Result<Option<CheckpointHead>, StoreError> {
        Ok(self.newest_readable(job)?.map(|(head, _)| head))
    }

    fn newest_readable(&self, job: &JobId) -> Result<Option<(CheckpointHead, PathBuf)>, StoreError> {
        match self.newest_run(job)? {
            Some((run, Some(_))) => Ok(self.run_checkpoints(job, &run.id)?.into_iter().rev().find_map(|entry| {
                let head = snapshot::read_checkpoint(&entry.path).ok()?.head;
                Some((head, entry.path))
            })),
            Some((_, None)) => Ok(None),
            None => self.newest_original(job),
        }
    }

    fn rebuild_job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        let runs = self.runs(id)?;
        let setting = runs.iter().find_map(|run| run.setting.as_ref());
        let newest = self.newest_readable(id)?;
        let head = newest.as_ref().map(|(head, _)| head);
        let expert = setting.map(|setting| &setting.expert_key).or_else(|| head.map(|head| &head.expert.key)).cloned();
        let Some(expert) = expert.or_else(|| runs.iter().find_map(|run| self.first_expert(id, &run.id))) else {
            return Ok(None);
        };
        // A power cut may take the files that a job begins with, and leave its first facts.
        let first_limits = match setting {
            Some(_) => None,
            None => runs.iter().find_map(|run| self.first_limits(id, &run.id)),
        };
        let started_at = match runs.first() {
            Some(run) if run.started_at > 0 => run.started_at,
            _ => newest.as_ref().map_or(0, |(_, path)| modified_at(path)),
        };
        Ok(Some(Job {
            format_version: FORMAT_VERSION,
            id: id.clone(),
            status: head.map_or(JobStatus::Running, |head| head.status.into()),
            coordinator_expert_key: expert,
            total_steps: head.map_or(0, |head| head.step_number),
            max_steps: setting.map(|setting| setting.max_steps).or(first_limits.map(|(_, max_steps)| max_steps)),
            usage: head.map_or_else(Usage::default, |head| head.usage),
            spend: head.map_or_else(Spend::default, |head| head.spend),
            started_at,
            finished_at: None,
            last_run_at: None,
            ends: BTreeMap::new(),
            replayed: false,
            workspace_from: None,
            budget: JobBudget {
                limits: runs
                    .iter()
                    .rev()
                    .find_map(|run| run.setting.as_ref())
                    .map(|setting| setting.budgets)
                    .or(first_limits.map(|(budgets, _)| budgets))
                    .unwrap_or_default(),
                ..JobBudget::default()
            },
        }))
    }
}

fn sort(entries: &mut [CheckpointEntry]) {
    entries.sort_by(|a, b| (a.step, &a.id).cmp(&(b.step, &b.id)));
}

fn original_head(path: &Path) -> Option<CheckpointHead> {
    snapshot::read_checkpoint(path).ok().map(|read| read.head)
}

pub(super) fn original_entry(job: &JobId, head: &CheckpointHead, path: PathBuf) -> CheckpointEntry {
    CheckpointEntry {
        job: job.clone(),
        run: Some(head.run_id.clone()),
        step: head.step_number,
        id: head.id.clone(),
        path,
    }
}

/// The time of a file's last write in milliseconds since the epoch; 0 when the system does not provide it.
fn modified_at(path: &Path) -> u64 {
    disk::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.into_std().duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// The names in `folder`, sorted; none when it does not exist. Links and names that are not Unicode cannot be stored
/// and are skipped.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = entries(folder)?;
    names.retain(|(_, is_link)| !is_link);
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

/// The names in `folder`, sorted, and whether each is a link.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>, StoreError> {
    let found = found_in(folder)?.into_iter();
    let mut names: Vec<(String, bool)> =
        found.filter_map(|(name, is_link)| Some((name.into_string().ok()?, is_link))).collect();
    names.sort();
    Ok(names)
}

/// The names in `folder`, in no order, and whether each is a link; none when it does not exist.
fn found_in(folder: &Path) -> Result<Vec<(OsString, bool)>, StoreError> {
    match disk::names(folder) {
        Ok(found) => Ok(found),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("read", folder)(error)),
    }
}
