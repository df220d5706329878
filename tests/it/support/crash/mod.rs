//! Jobs that are killed, or whose disk fails, and go on: their calls, what must hold of the files that are left, and the
//! comparison with a job that nothing disturbed. The tests that kill at any instant and those that make the store fail
//! both use it.

pub mod calls;
mod chance;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use perstack::runtime::history::{self, JobSelector};
use serde_json::Value;

use super::Test;
use super::log;

pub use chance::Chance;
pub use story::Story;

/// The calls that took effect, in order.
pub fn effects(test: &Test) -> Vec<String> {
    let file = fs::read_to_string(test.workspace().join("lines.txt")).unwrap();
    file.lines().map(str::to_owned).collect()
}

/// The number of times that a call took effect.
pub fn effects_of(test: &Test, id: &str) -> usize {
    effects(test).iter().filter(|line| *line == id).count()
}

/// The facts of every log: its whole lines but for the header. A torn last line is no fact.
#[track_caller]
pub fn facts(test: &Test) -> Vec<Value> {
    test.storage().log_lines().into_iter().flat_map(|lines| lines.into_iter().skip(1)).collect()
}

/// Returns true if a job is on record as completed.
pub fn has_completed(test: &Test) -> bool {
    let files = test.storage().jobs().into_iter().map(|job| job.join("job.json"));
    files.filter(|file| file.exists()).filter_map(|file| whole_json(&file)).any(|job| job["status"] == "completed")
}

/// Fails unless all files are whole, all checkpoints have their facts, the record and the snapshots that it names are as they
/// were written, and each of the calls took effect as often as is on record.
#[track_caller]
pub fn assert_consistent(test: &Test, calls: &[&str]) {
    for file in stored_files(&test.workspace().join("perstack")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => match whole_json(&file) {
                Some(json) => assert_has_its_log(&file, &json),
                None => assert!(may_be_torn(&file), "{} is torn", file.display()),
            },
            Some("tmp") => assert!(name.starts_with('.'), "{name} may be taken for something"),
            Some("pack") => assert!(file.parent().unwrap().ends_with("snapshots"), "{}", file.display()),
            _ => assert!(matches!(name, "log.jsonl" | "lock"), "{}", file.display()),
        }
    }
    assert_verified(test);
    let known = results(test);
    for id in calls {
        let times = effects_of(test, id);
        match known.get(*id) {
            Some(true) => assert_eq!(times, 1, "{id} is on record"),
            Some(false) | None => assert!(times <= 1, "{id} took effect {times} times"),
        }
    }
}

/// Fails if the check of a job's record finds a fault: whatever ended its process, nobody has changed anything.
#[track_caller]
fn assert_verified(test: &Test) {
    let storage = test.workspace().join("perstack");
    for job in test.storage().jobs() {
        let id = job.file_name().unwrap().to_str().unwrap();
        let log = history::open(&storage, JobSelector::Named(id)).unwrap().unwrap();
        let mut faults = log.verify().faults;
        // A power cut may take these two, or leave older ones, until the job goes on: it is reported until then.
        faults.retain(|fault| !fault.path.ends_with("job.json") && !fault.path.ends_with("run-setting.json"));
        assert_eq!(faults, [], "{id}");
    }
}

/// A file as JSON; `None` when a power cut left it torn.
pub fn whole_json(file: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(file).unwrap()).ok()
}

/// Returns whether a power cut may leave a file torn: what follows from a log, and what a job or a run begins with, as
/// long as no result is on record behind it.
fn may_be_torn(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    let logs = stored_files(file.parent().unwrap()).into_iter().filter(|file| file.ends_with("log.jsonl"));
    let has_results = || logs.map(fs::read).any(|log| String::from_utf8_lossy(&log.unwrap()).contains("toolReturned"));
    name.starts_with("checkpoint-") || (matches!(name, "job.json" | "run-setting.json") && !has_results())
}

/// The results on record, by call, and whether the runtime knew each.
#[track_caller]
fn results(test: &Test) -> BTreeMap<String, bool> {
    let mut results = BTreeMap::new();
    for fact in facts(test).iter().filter(|fact| fact["fact"] == "toolReturned") {
        let result = &fact["result"];
        let id = result["id"].as_str().unwrap().to_owned();
        let twice = results.insert(id.clone(), result["isError"] != true);
        assert_eq!(twice, None, "two results of {id}");
    }
    results
}

/// Fails if the file is a checkpoint that refers to its log, and the log does not begin as it did then.
#[track_caller]
fn assert_has_its_log(file: &Path, json: &Value) {
    let Some(bytes) = json["log"]["bytes"].as_u64() else { return };
    let log = fs::read(file.with_file_name("log.jsonl")).unwrap();
    let before = log.get(..usize::try_from(bytes).unwrap());
    let before = before.unwrap_or_else(|| panic!("{} is ahead of its log", file.display()));
    let text = std::str::from_utf8(before).unwrap();
    assert_eq!(json["log"]["chain"], log::digest(text).as_str(), "{}", file.display());
}

/// Every file below a folder; none when there is no such folder.
pub fn stored_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { stored_files(&path) } else { vec![path] }).collect()
}
