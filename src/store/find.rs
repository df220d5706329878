//! [`Store::find`]: resolves a user's name for a file, a checkpoint, a Run, a job, or `latest`. `resume` and `log` call
//! it; reading the files is left to `list` and `snapshot`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::list::original_entry;
use super::{CheckpointEntry, Layout, RunEntry, Store, StoreError, snapshot};
use crate::checkpoint::CheckpointHead;
use crate::id::{CheckpointId, JobId, RunId};

/// Shortest end of a job's id that is looked for.
const MIN_SUFFIX: usize = 6;

/// Shortest prefix of a checkpoint id that is looked for: shorter ones are more likely a slip than a choice.
const MIN_PREFIX: usize = 4;

/// Most candidates that a message lists.
const MAX_CANDIDATES: usize = 8;

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
    /// the id of a checkpoint, job or Run, or at least four characters that one checkpoint's id begins with.
    ///
    /// A job means its newest Run that is not a delegate's; `latest` means the job with the newest Run.
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

    /// The file of the checkpoint `head` of a Run of `job`, if it is stored.
    pub fn stored_checkpoint(&self, job: &JobId, head: &CheckpointHead) -> Option<PathBuf> {
        Some(self.layout.checkpoint(job, &head.run_id, head.step_number, &head.id)).filter(|path| path.is_file())
    }

    /// The point where a job continues: its newest Run that is not a delegate's.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or the system's error.
    pub fn find_job(&self, job: &JobId) -> Result<Found, StoreError> {
        self.newest(job)?.ok_or_else(|| self.not_found(format!("job {job} holds nothing to continue from")))
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

    /// All jobs, the one that was worked on last first.
    ///
    /// # Errors
    /// The system's error.
    pub fn jobs_by_work(&self) -> Result<Vec<JobId>, StoreError> {
        let mut jobs: Vec<(u64, JobId)> = Vec::new();
        // By the start of its Runs: a damaged `job.json` must not make an older job the latest.
        for job in self.job_ids()? {
            let run = self.runs(&job)?.last().map_or(0, |run| run.started_at);
            let began = self.job(&job).map_or(0, |job| job.started_at);
            jobs.push((run.max(began), job));
        }
        jobs.sort();
        Ok(jobs.into_iter().rev().map(|(_, job)| job).collect())
    }

    /// The job of a user's input: its id, or a beginning or an end of it that no other job's id has.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with a suggestion, [`StoreError::AmbiguousName`], or the system's error.
    pub fn find_job_id(&self, text: &str) -> Result<JobId, StoreError> {
        let ids = self.job_ids()?;
        if let Some(id) = beginning_with(text, "jobs", ids.iter().map(|id| (id, id.as_str())))? {
            return Ok(id.clone());
        }
        if let Some(id) = ending_with(text, &ids) {
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
            let checkpoint = self.run_checkpoints(job, &run.id)?.pop();
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
            let checkpoint = self.run_checkpoints(job, run)?.pop();
            return Ok(Found::Run { job: job.clone(), run: run.clone(), checkpoint });
        }
        if id.len() >= MIN_PREFIX {
            let begin: Vec<&Named> =
                names.checkpoints.iter().filter(|named| named.id.as_str().starts_with(id)).collect();
            if !begin.is_empty() {
                return self.only(id, &begin);
            }
        }
        if let Some(job) = ending_with(id, &names.jobs) {
            return self.find_job(job);
        }
        let root = self.layout.root().display();
        let what = format!("{id:?} names no checkpoint, run or job in {root}");
        Err(match names.nearest(id) {
            Some(near) => StoreError::NotFound { what, suggestion: Some(format!("did you mean {near}?")) },
            None => self.not_found(what),
        })
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

    fn only(&self, prefix: &str, found: &[&Named]) -> Result<Found, StoreError> {
        let [one] = found else {
            let more = found.len().saturating_sub(MAX_CANDIDATES);
            let mut candidates: Vec<String> =
                found.iter().take(MAX_CANDIDATES).map(|named| format!("{} (job {})", named.id, named.job)).collect();
            if more > 0 {
                candidates.push(format!("and {more} more"));
            }
            return Err(StoreError::Ambiguous { prefix: prefix.to_owned(), candidates });
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
        let newest = self.jobs().ok().and_then(|jobs| jobs.into_iter().next());
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

/// The one item whose name equals or begins with `text`; `None` when there is none.
///
/// # Errors
/// [`StoreError::AmbiguousName`] when several begin with it; `kind` is their kind, in the plural.
pub fn beginning_with<'a, T>(
    text: &str,
    kind: &'static str,
    all: impl Iterator<Item = (T, &'a str)>,
) -> Result<Option<T>, StoreError> {
    let mut found: Vec<(T, &str)> = Vec::new();
    for (item, name) in all {
        if name == text {
            return Ok(Some(item));
        }
        if !text.is_empty() && name.starts_with(text) {
            found.push((item, name));
        }
    }
    if found.len() < 2 {
        return Ok(found.pop().map(|(item, _)| item));
    }
    let more = found.len().saturating_sub(MAX_CANDIDATES);
    let mut candidates: Vec<String> = found.iter().take(MAX_CANDIDATES).map(|(_, name)| (*name).to_owned()).collect();
    if more > 0 {
        candidates.push(format!("and {more} more"));
    }
    Err(StoreError::AmbiguousName { what: kind, prefix: text.to_owned(), candidates })
}

/// The only job whose id ends with `text`. Ids begin with the time, so that jobs of one minute differ in their ends.
fn ending_with<'a>(text: &str, jobs: &'a [JobId]) -> Option<&'a JobId> {
    let mut found = jobs.iter().filter(|job| text.len() >= MIN_SUFFIX && job.as_str().ends_with(text));
    found.next().filter(|_| found.next().is_none())
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
