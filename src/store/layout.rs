//! [`Layout`]: the names of files and folders, from typed ids to paths and from names on disk back to ids. Everything
//! that reads or writes the storage asks it for paths.
//!
//! Only validated ids become part of a path, so no path made here leaves the storage folder.

use std::path::{Path, PathBuf};

use crate::count;
use crate::id::{AccountId, BatchId, CheckpointId, JobId, RunId};

/// The end of the name of a job's folder that is being removed.
const REMOVED: &str = ".removed";

/// The paths below one storage folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// The checkpoint that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPlace {
    pub job: JobId,
    /// `None` in the original's layout, whose paths do not contain it.
    pub run: Option<RunId>,
    /// `None` in the original's layout, whose paths do not contain it.
    pub step: Option<u64>,
    pub id: CheckpointId,
}

impl Layout {
    /// The layout below `root`, the folder that holds `jobs/`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The storage folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `jobs/`.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// `job-times.cache`: what is kept of jobs' files, to read fewer of them.
    pub fn times_cache(&self) -> PathBuf {
        self.root.join("job-times.cache")
    }

    /// `jobs/{job}/`.
    pub fn job(&self, job: &JobId) -> PathBuf {
        self.jobs().join(job.as_str())
    }

    /// `jobs/.{job}.removed/`: a job on its way out. The name is no id, so that readers pass it over.
    pub fn removed(&self, job: &JobId) -> PathBuf {
        self.jobs().join(format!(".{job}{REMOVED}"))
    }

    /// `jobs/{job}/job.json`.
    pub fn job_file(&self, job: &JobId) -> PathBuf {
        self.job(job).join("job.json")
    }

    /// `jobs/{job}/lock`.
    pub fn lock(&self, job: &JobId) -> PathBuf {
        self.job(job).join("lock")
    }

    /// `jobs/{job}/runs/`.
    pub fn runs(&self, job: &JobId) -> PathBuf {
        self.job(job).join("runs")
    }

    /// `jobs/{job}/runs/{run}/`.
    pub fn run(&self, job: &JobId, run: &RunId) -> PathBuf {
        self.runs(job).join(run.as_str())
    }

    /// `jobs/{job}/runs/{run}/run-setting.json`.
    pub fn setting(&self, job: &JobId, run: &RunId) -> PathBuf {
        self.run(job, run).join("run-setting.json")
    }

    /// `jobs/{job}/runs/{run}/log.jsonl`.
    pub fn log(&self, job: &JobId, run: &RunId) -> PathBuf {
        self.run(job, run).join("log.jsonl")
    }

    /// `jobs/{job}/runs/{run}/checkpoint-{step}-{id}.json`.
    pub fn checkpoint(&self, job: &JobId, run: &RunId, step: u64, id: &CheckpointId) -> PathBuf {
        self.run(job, run).join(format!("checkpoint-{step}-{id}.json"))
    }

    /// `jobs/{job}/runs/{run}/outputs/`, with the outputs that were too long for the model.
    pub fn outputs(&self, job: &JobId, run: &RunId) -> PathBuf {
        self.run(job, run).join("outputs")
    }

    /// `jobs/{job}/snapshots/`, with the states of the workspace.
    pub fn snapshots(&self, job: &JobId) -> PathBuf {
        self.job(job).join("snapshots")
    }

    /// `jobs/{job}/checkpoints/`, where the original keeps all checkpoints of a job.
    pub fn original_checkpoints(&self, job: &JobId) -> PathBuf {
        self.job(job).join("checkpoints")
    }

    /// `accounts/`.
    pub fn accounts(&self) -> PathBuf {
        self.root.join("accounts")
    }

    /// `accounts/{account}.json`.
    pub fn account(&self, account: &AccountId) -> PathBuf {
        self.accounts().join(format!("{account}.json"))
    }

    /// `accounts/{account}.lock`.
    pub fn account_lock(&self, account: &AccountId) -> PathBuf {
        self.accounts().join(format!("{account}.lock"))
    }

    /// `batches/`.
    pub fn batches(&self) -> PathBuf {
        self.root.join("batches")
    }

    /// `batches/{batch}.json`.
    pub fn batch(&self, batch: &BatchId) -> PathBuf {
        self.batches().join(format!("{batch}.json"))
    }

    /// `batches/{batch}.lock`.
    pub fn batch_lock(&self, batch: &BatchId) -> PathBuf {
        self.batches().join(format!("{batch}.lock"))
    }

    /// The checkpoint that the file at `path` is, if it lies where this storage keeps checkpoints. Compares names only,
    /// so both paths must be spelled alike (both canonical, for example).
    pub fn checkpoint_place(&self, path: &Path) -> Option<CheckpointPlace> {
        let below = path.strip_prefix(self.jobs()).ok()?;
        let names: Vec<&str> = below.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
        match names.as_slice() {
            [job, "runs", run, file] => {
                let (step, id) = parse_checkpoint_name(file)?;
                Some(CheckpointPlace { job: job.parse().ok()?, run: Some(run.parse().ok()?), step: Some(step), id })
            }
            [job, "checkpoints", file] => Some(CheckpointPlace {
                job: job.parse().ok()?,
                run: None,
                step: None,
                id: parse_original_checkpoint_name(file)?,
            }),
            _ => None,
        }
    }
}

/// The job that was being removed when its process ended, of the name of its folder in `jobs/`.
pub fn removed_job(name: &str) -> Option<JobId> {
    name.strip_prefix('.')?.strip_suffix(REMOVED)?.parse().ok()
}

/// Step and id of a file named `checkpoint-{step}-{id}.json`.
pub fn parse_checkpoint_name(file: &str) -> Option<(u64, CheckpointId)> {
    let (step, id) = file.strip_prefix("checkpoint-")?.strip_suffix(".json")?.split_once('-')?;
    // `+1` and `01` parse too, but are not names that this program writes.
    let is_plain = step.starts_with(|first: char| first.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    let number = step.parse().ok().filter(|number| is_plain && *number <= count::MAX)?;
    Some((number, id.parse().ok()?))
}

/// The step of such a file, of a name that need not be one.
pub fn checkpoint_step(file: &str) -> Option<u64> {
    file.strip_prefix("checkpoint-")?.split_once('-')?.0.parse().ok()
}

/// The id of a file named `{id}.json`, as the original names checkpoints.
pub fn parse_original_checkpoint_name(file: &str) -> Option<CheckpointId> {
    file.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_paths_lead_back_to_their_ids() {
        let layout = Layout::new(Path::new("/w/perstack"));
        let (job, run, id) =
            ("job-1".parse::<JobId>().unwrap(), "run-1".parse::<RunId>().unwrap(), "0192-ab".parse().unwrap());
        let path = layout.checkpoint(&job, &run, 12, &id);
        assert_eq!(path, Path::new("/w/perstack/jobs/job-1/runs/run-1/checkpoint-12-0192-ab.json"));
        let place = CheckpointPlace { job: job.clone(), run: Some(run), step: Some(12), id: id.clone() };
        assert_eq!(layout.checkpoint_place(&path), Some(place));
        let removed = layout.removed(&job);
        let name = removed.file_name().and_then(|name| name.to_str()).unwrap();
        assert!(removed_job(name).as_ref() == Some(&job) && name.parse::<JobId>().is_err(), "{name}");
        let original = layout.original_checkpoints(&job).join("0192-ab.json");
        let place = CheckpointPlace { job, run: None, step: None, id };
        assert_eq!(layout.checkpoint_place(&original), Some(place));
    }

    #[test]
    fn other_names_are_no_checkpoints() {
        for name in [
            "checkpoint-1-a.json.tmp",
            ".checkpoint-1-a.json.0.tmp",
            "checkpoint-+1-a.json",
            "checkpoint-01-a.json",
            "checkpoint-18446744073709551615-a.json",
            "checkpoint--1-a.json",
            "checkpoint-1-.json",
            "checkpoint-1.json",
            "checkpoint-1-../x.json",
            "run-setting.json",
        ] {
            assert_eq!(parse_checkpoint_name(name), None, "{name}");
        }
        assert_eq!(parse_original_checkpoint_name(".c1.json.0.tmp"), None);
        assert_eq!(Layout::new(Path::new("/w")).checkpoint_place(Path::new("/w/jobs/j/../../c1.json")), None);
    }
}
