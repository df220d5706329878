//! [`Store::find`]: resolves a user's name for a file, a checkpoint, a Run, a job, or `latest`. `resume` and `log` call
//! it; reading the files is left to `list` and `snapshot`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::list::original_entry;
use super::name::{candidates, is_part, named};
use super::{CheckpointEntry, Layout, RunEntry, Store, StoreError, snapshot};
use crate::checkpoint::CheckpointHead;
use crate::id::{CheckpointId, JobId, RunId};

/// Most edits between a name that was given and one that is offered instead.
const MAX_EDITS: usize = 2;

/// The result of resolving a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A checkpoint file outside the storage; only a self-contained one can be resumed.
    File(PathBuf),
    /// A stored checkpoint that was named itself, so later steps of its Run are not wanted.
    Checkpoint(CheckpointEntry),
    /// A Run that was named itself, or by its job, or as the latest. Its log reaches at least as far as its newest
    /// checkpoint, which is absent when the Run was killed in its first step.
    Run { job: JobId, run: RunId, checkpoint: Option<CheckpointEntry> },
}

impl Store {
    /// Resolves a user's input: a file's path (anything that has a separator, ends in `.json` or is a file), `latest`,
    /// the id of a checkpoint, job or Run, or a beginning or an end that one of them alone has.
    ///
    /// A job means its newest Run that is not a delegate's; `latest` means the job with the newest Run. A text that fits
    /// a job and only what is in it means the job, and a Run likewise: they begin in the same moment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with a suggestion, [`StoreError::Ambiguous`] with the candidates, or the
    /// system's error.
    pub fn find(&self, target: &str) -> Result<Found, StoreError> {
        if target == "latest" {
            return self.find_latest();
        }
        let path = Path::new(target);
        if target.contains(['/', '\\'])
            || path.extension().is_some_and(|extension| extension == "json")
            || path.is_file()
        {
            return self.find_file(path);
        }
        let id: CheckpointId = target
            .parse()
            .map_err(|error| self.not_found(format!("{target:?} names no checkpoint, run or job ({error})")))?;
        self.find_id(id.as_str())
    }

    /// The checkpoint `id` of `job`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or the system's error.
    pub fn find_checkpoint(&self, job: &JobId, id: &CheckpointId) -> Result<CheckpointEntry, StoreError> {
        self.checkpoints(job)?
            .into_iter()
            .find(|entry| entry.id == *id)
            .ok_or_else(|| self.not_found(format!("there is no checkpoint {id} in job {job}")))
    }

    /// The checkpoint `id` of the Run `run` of `job`, or, where the Run's folder has none of that id, of the whole job.
    ///
    /// # Errors
    /// As [`Store::find_checkpoint`].
    pub fn find_checkpoint_in(
        &self,
        job: &JobId,
        run: &RunId,
        id: &CheckpointId,
    ) -> Result<CheckpointEntry, StoreError> {
        let own = self.run_checkpoints(job, run)?.into_iter().find(|entry| entry.id == *id);
        own.map_or_else(|| self.find_checkpoint(job, id), Ok)
    }

    /// The file of the checkpoint `head` of a Run of `job`, if it is stored.
    pub fn stored_checkpoint(&self, job: &JobId, head: &CheckpointHead) -> Option<PathBuf> {
        Some(self.layout.checkpoint(job, &head.run_id, head.step_number, &head.id)).filter(|path| path.is_file())
    }

    /// The checkpoint of `job` that a user named by its id, or by a beginning or an end that no other has.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AmbiguousName`] or the system's error.
    pub fn find_checkpoint_of(&self, job: &JobId, text: &str) -> Result<CheckpointEntry, StoreError> {
        let all = self.checkpoints(job)?;
        let found = named(text, "checkpoints", all.iter().map(|entry| (entry, entry.id.as_str())))?;
        found.cloned().ok_or_else(|| self.not_found(format!("there is no checkpoint {text} in job {job}")))
    }

    /// The point where a job continues: its newest Run that is not a delegate's.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or the system's error.
    pub fn find_job(&self, job: &JobId) -> Result<Found, StoreError> {
        let nothing = || StoreError::NotFound {
            what: format!("job {job} holds nothing to continue from"),
            suggestion: Some("run it again, under the same id if you like: it ended before it had begun".to_owned()),
        };
        self.newest(job)?.ok_or_else(nothing)
    }

    fn find_latest(&self) -> Result<Found, StoreError> {
        for job in self.jobs_by_work()? {
            if let Some(found) = self.newest(&job)? {
                return Ok(found);
            }
        }
        let what = format!("there is no job in {}", self.layout.root().display());
        Err(StoreError::NotFound { what, suggestion: Some("start one, or name a checkpoint file".to_owned()) })
    }

    /// The job of a user's input: its id, or a beginning or an end of it that no other job's id has.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with a suggestion, [`StoreError::AmbiguousName`], or the system's error.
    pub fn find_job_id(&self, text: &str) -> Result<JobId, StoreError> {
        let ids = self.job_ids()?;
        if let Some(id) = named(text, "jobs", ids.iter().map(|id| (id, id.as_str())))? {
            return Ok(id.clone());
        }
        let what = format!("there is no job {text:?} in {}", self.layout.root().display());
        let near = Names { jobs: ids, ..Names::default() }.nearest(text).map(str::to_owned);
        Err(match near {
            Some(near) => StoreError::NotFound { what, suggestion: Some(format!("did you mean {near}?")) },
            None => self.not_found(what),
        })
    }

    fn newest(&self, job: &JobId) -> Result<Option<Found>, StoreError> {
        if let Some((run, checkpoint)) = self.newest_run(job)? {
            return Ok(Some(Found::Run { job: job.clone(), run: run.id, checkpoint }));
        }
        let original = self.newest_original(job)?;
        Ok(original.map(|(head, path)| Found::Checkpoint(original_entry(job, &head, path))))
    }

    /// The last started Run that is not a delegate's and came to a fact or a checkpoint, with its newest checkpoint.
    pub(super) fn newest_run(&self, job: &JobId) -> Result<Option<(RunEntry, Option<CheckpointEntry>)>, StoreError> {
        for run in self.runs(job)?.into_iter().rev() {
            if self.is_delegated(job, &run.id) {
                continue;
            }
            let checkpoint = self.newest_checkpoint(job, &run.id)?;
            if checkpoint.is_some() || self.has_facts(job, &run.id) {
                return Ok(Some((run, checkpoint)));
            }
        }
        Ok(None)
    }

    fn find_file(&self, path: &Path) -> Result<Found, StoreError> {
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(self.not_found(format!("there is no file {}", path.display())));
            }
            Err(error) => return Err(StoreError::io("read", path)(error)),
        };
        if real.is_dir() {
            return Err(self.not_found(format!("{} is a folder, no checkpoint's file", path.display())));
        }
        let place =
            fs::canonicalize(self.layout.root()).ok().and_then(|root| Layout::new(&root).checkpoint_place(&real));
        let Some(place) = place else {
            // A link in the storage that leads out of it was named by the user: the file it leads to is meant.
            let is_link_here = std::path::absolute(path).is_ok_and(|path| path.starts_with(self.layout.root()));
            return Ok(Found::File(if is_link_here { real } else { path.to_owned() }));
        };
        match place.step {
            Some(step) => {
                let (job, run, id) = (place.job, place.run, place.id);
                Ok(Found::Checkpoint(CheckpointEntry { job, run, step, id, path: real }))
            }
            None => self.original(&place.job, real),
        }
    }

    fn original(&self, job: &JobId, path: PathBuf) -> Result<Found, StoreError> {
        let read = self.read_checkpoint(&path)?;
        Ok(Found::Checkpoint(original_entry(job, &read.head, path)))
    }

    fn find_id(&self, id: &str) -> Result<Found, StoreError> {
        let names = self.all_names()?;
        let exact: Vec<&Named> = names.checkpoints.iter().filter(|named| named.id.as_str() == id).collect();
        if !exact.is_empty() {
            return self.only(id, &exact);
        }
        if let Some(job) = names.jobs.iter().find(|job| job.as_str() == id) {
            return self.find_job(job);
        }
        if let Some((job, run)) = names.runs.iter().find(|(_, run)| run.as_str() == id) {
            return self.find_run(job, run);
        }
        if let Some(found) = self.find_part(id, &names)? {
            return Ok(found);
        }
        let root = self.layout.root().display();
        let what = format!("{id:?} names no checkpoint, run or job in {root}");
        Err(match names.nearest(id) {
            Some(near) => StoreError::NotFound { what, suggestion: Some(format!("did you mean {near}?")) },
            None => self.not_found(what),
        })
    }

    /// Returns whether `text`, which names nothing, is a few edits away from the name of something.
    ///
    /// # Errors
    /// The system's error when a folder cannot be read.
    pub fn has_near_name(&self, text: &str) -> Result<bool, StoreError> {
        Ok(self.all_names()?.nearest(text).is_some())
    }

    /// Returns whether `id` names another job than `job`, or a Run or a checkpoint of another.
    ///
    /// # Errors
    /// The system's error when a folder cannot be read.
    pub fn is_taken_outside(&self, job: &JobId, id: &str) -> Result<bool, StoreError> {
        let names = self.all_names()?;
        Ok(names.jobs.iter().any(|other| other != job && other.as_str() == id)
            || names.runs.iter().any(|(other, run)| other != job && run.as_str() == id)
            || names.checkpoints.iter().any(|named| named.job != *job && named.id.as_str() == id))
    }

    /// The job, Run or checkpoint that alone has this beginning or end.
    fn find_part(&self, text: &str, names: &Names) -> Result<Option<Found>, StoreError> {
        let jobs: Vec<&JobId> = names.jobs.iter().filter(|job| is_part(text, job.as_str())).collect();
        let runs: Vec<&(JobId, RunId)> = names.runs.iter().filter(|(_, run)| is_part(text, run.as_str())).collect();
        let checkpoints: Vec<&Named> =
            names.checkpoints.iter().filter(|named| is_part(text, named.id.as_str())).collect();
        if let [job] = jobs[..]
            && runs.iter().all(|(other, _)| other == job)
            && checkpoints.iter().all(|named| named.job == *job)
        {
            return self.find_job(job).map(Some);
        }
        if let ([], [(job, run)]) = (&jobs[..], &runs[..])
            && checkpoints.iter().all(|named| named.run() == Some(run))
        {
            return self.find_run(job, run).map(Some);
        }
        match (jobs.len() + runs.len(), checkpoints.len()) {
            (0, 0) => Ok(None),
            (0, _) => self.only(text, &checkpoints).map(Some),
            (..) => {
                let jobs = jobs.iter().map(|job| format!("job {job}"));
                let runs = runs.iter().map(|(job, run)| format!("run {run} (job {job})"));
                let checkpoints =
                    checkpoints.iter().map(|named| format!("checkpoint {} (job {})", named.id, named.job));
                let all: Vec<String> = jobs.chain(runs).chain(checkpoints).collect();
                let what = "jobs, runs and checkpoints";
                Err(StoreError::AmbiguousName {
                    what,
                    prefix: text.to_owned(),
                    candidates: candidates(all.into_iter()),
                })
            }
        }
    }

    fn find_run(&self, job: &JobId, run: &RunId) -> Result<Found, StoreError> {
        let checkpoint = self.newest_checkpoint(job, run)?;
        Ok(Found::Run { job: job.clone(), run: run.clone(), checkpoint })
    }

    fn only(&self, text: &str, found: &[&Named]) -> Result<Found, StoreError> {
        let [one] = found else {
            let candidates = candidates(found.iter().map(|named| format!("{} (job {})", named.id, named.job)));
            return Err(StoreError::Ambiguous { prefix: text.to_owned(), candidates });
        };
        match &one.entry {
            Some(entry) => Ok(Found::Checkpoint(entry.clone())),
            None => self.original(&one.job, one.path.clone()),
        }
    }

    fn all_names(&self) -> Result<Names, StoreError> {
        let mut names = Names { jobs: self.job_ids()?, ..Names::default() };
        for job in &names.jobs {
            for run in self.run_ids(job)? {
                let entries = self.run_checkpoints(job, &run)?;
                names.checkpoints.extend(entries.into_iter().map(Named::stored));
                names.runs.push((job.clone(), run));
            }
            for (id, path) in self.original_checkpoints(job)? {
                names.checkpoints.push(Named { job: job.clone(), id, path, entry: None });
            }
        }
        Ok(names)
    }

    /// A [`StoreError::NotFound`] that suggests the newest job.
    pub(super) fn not_found(&self, what: String) -> StoreError {
        let newest = self.job_times().ok().and_then(|jobs| jobs.into_iter().find(|job| job.started_at.is_some()));
        let suggestion = newest.map(|job| format!("the newest job is {}", job.id));
        StoreError::NotFound { what, suggestion }
    }

    /// The newest readable checkpoint of the job that the checkpoint at `path` belongs to.
    pub(super) fn newest_good_beside(&self, path: &Path) -> Option<PathBuf> {
        let root = fs::canonicalize(self.layout.root()).ok()?;
        let place = Layout::new(&root).checkpoint_place(&fs::canonicalize(path).ok()?)?;
        let entries = self.checkpoints(&place.job).ok()?;
        entries.into_iter().rev().map(|entry| entry.path).find(|path| snapshot::read_checkpoint(path).is_ok())
    }
}

/// All names in a storage.
#[derive(Default)]
struct Names {
    jobs: Vec<JobId>,
    runs: Vec<(JobId, RunId)>,
    checkpoints: Vec<Named>,
}

/// A checkpoint file; without an entry when it is one of the original's, whose names do not contain the step.
struct Named {
    job: JobId,
    id: CheckpointId,
    path: PathBuf,
    entry: Option<CheckpointEntry>,
}

impl Named {
    fn stored(entry: CheckpointEntry) -> Self {
        Self { job: entry.job.clone(), id: entry.id.clone(), path: entry.path.clone(), entry: Some(entry) }
    }

    fn run(&self) -> Option<&RunId> {
        self.entry.as_ref()?.run.as_ref()
    }
}

impl Names {
    /// The name that is most likely meant by a mistyped `text`.
    fn nearest(&self, text: &str) -> Option<&str> {
        let jobs = self.jobs.iter().map(JobId::as_str);
        let runs = self.runs.iter().map(|(_, run)| run.as_str());
        let checkpoints = self.checkpoints.iter().map(|named| named.id.as_str());
        jobs.chain(runs)
            .chain(checkpoints)
            .map(|name| (strsim::osa_distance(text, name), name))
            .filter(|(edits, name)| *edits <= MAX_EDITS && *edits < name.len() / 2)
            .min()
            .map(|(_, name)| name)
    }
}
