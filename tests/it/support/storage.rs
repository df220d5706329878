//! What the binary leaves on disk, read the way a person would: by file names and as JSON.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder that holds `jobs/`.
pub struct Storage {
    folder: PathBuf,
}

impl Storage {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folders of all jobs, oldest first.
    pub fn jobs(&self) -> Vec<PathBuf> {
        children(&self.folder.join("jobs"))
    }

    /// The id of the only job.
    #[track_caller]
    pub fn job_id(&self) -> String {
        let jobs = self.jobs();
        assert_eq!(jobs.len(), 1, "jobs: {jobs:?}");
        name(&jobs[0]).to_owned()
    }

    /// The folders of all runs of all jobs, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        self.jobs().iter().flat_map(|job| children(&job.join("runs"))).collect()
    }

    /// All checkpoints, by step.
    pub fn checkpoints(&self) -> Vec<PathBuf> {
        let files = self.runs().into_iter().flat_map(|run| children(&run));
        let mut checkpoints: Vec<_> = files.filter(|file| name(file).starts_with("checkpoint-")).collect();
        checkpoints.sort_by_key(|file| (step(file), name(file).to_owned()));
        checkpoints
    }

    /// Every log's whole lines, oldest run first; a torn last line is left out.
    #[track_caller]
    pub fn log_lines(&self) -> Vec<Vec<Value>> {
        let read = |run: PathBuf| {
            // A torn line may end within a character.
            let bytes = fs::read(run.join("log.jsonl")).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().map(|line| serde_json::from_str(line).expect("JSON in a whole line")).collect()
        };
        self.runs().into_iter().map(read).collect()
    }

    /// The bytes of all logs.
    pub fn log_bytes(&self) -> u64 {
        let logs = self.runs().into_iter().map(|run| run.join("log.jsonl"));
        logs.map(|log| fs::metadata(log).map_or(0, |metadata| metadata.len())).sum()
    }

    /// The checkpoint of the highest step.
    #[track_caller]
    pub fn last_checkpoint(&self) -> PathBuf {
        self.checkpoints().pop().expect("a checkpoint")
    }

    /// Every fact of every run's log, oldest run first.
    #[track_caller]
    pub fn facts(&self) -> Vec<Value> {
        let logs = self.runs().into_iter().map(|run| fs::read_to_string(run.join("log.jsonl")).expect("a log"));
        let parse = |log: String| log.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect::<Vec<_>>();
        logs.flat_map(parse).collect()
    }
}

/// A file as JSON.
#[track_caller]
pub fn read_json(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}: {}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {}", file.display()))
}

/// Every file below a folder that contains this text.
pub fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for child in children(folder) {
        let kind = child.symlink_metadata().expect("a file's kind");
        if kind.is_dir() {
            found.extend(files_with(&child, text));
        } else if kind.is_file() {
            let bytes = fs::read(&child).expect("a readable file");
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(child);
            }
        }
    }
    found
}

/// The id in a checkpoint's file name.
pub fn checkpoint_id(file: &Path) -> &str {
    let stem = name(file).trim_start_matches("checkpoint-").trim_end_matches(".json");
    stem.split_once('-').expect("checkpoint-{step}-{id}.json").1
}

fn step(file: &Path) -> u64 {
    let number = name(file).trim_start_matches("checkpoint-").split('-').next();
    number.and_then(|number| number.parse().ok()).expect("checkpoint-{step}-{id}.json")
}

fn name(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

/// What is in a folder, by name; nothing when there is no such folder.
fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut children: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    children.sort();
    children
}
