//! What must hold of the files that a fault leaves, whichever it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::job::Job;
use crate::support::Test;
use crate::support::storage::read_json;

/// The facts of every log: its whole lines but for the header. A torn last line is no fact.
#[track_caller]
pub fn facts(test: &Test) -> Vec<Value> {
    let logs = test.storage().runs().into_iter().map(|run| fs::read(run.join("log.jsonl")).unwrap_or_default());
    let facts = |log: Vec<u8>| {
        let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = log[..whole].split_inclusive(|byte| *byte == b'\n').skip(1);
        lines.map(|line| serde_json::from_slice(line).expect("JSON in a whole line")).collect::<Vec<Value>>()
    };
    logs.flat_map(facts).collect()
}

/// How often a call took effect.
pub fn effects_of(test: &Test, id: &str) -> usize {
    let file = fs::read_to_string(test.workspace().join("lines.txt")).unwrap();
    file.lines().filter(|line| *line == id).count()
}

/// Fails unless all files are whole, all checkpoints have their facts, and every call took effect as often as is on
/// record.
#[track_caller]
pub fn check(test: &Test, job: Job) {
    for file in files(&test.workspace().join("perstack")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => check_checkpoint(&file, &read_json(&file)),
            Some("tmp") => assert!(name.starts_with('.'), "{name} may be taken for something"),
            _ => assert!(matches!(name, "log.jsonl" | "lock"), "{}", file.display()),
        }
    }
    let known = results(test);
    for id in job.effects() {
        let times = effects_of(test, id);
        match known.get(*id) {
            Some(true) => assert_eq!(times, 1, "{id} is on record"),
            Some(false) | None => assert!(times <= 1, "{id} took effect {times} times"),
        }
    }
}

/// The results on record: each call's, and whether the runner knew it.
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

/// A checkpoint that refers to its log is of that log.
#[track_caller]
fn check_checkpoint(file: &Path, json: &Value) {
    let Some(bytes) = json["log"]["bytes"].as_u64() else { return };
    let log = fs::read(file.with_file_name("log.jsonl")).unwrap();
    let before = log.get(..usize::try_from(bytes).unwrap());
    let before = before.unwrap_or_else(|| panic!("{} is ahead of its log", file.display()));
    let sha256: Vec<String> = Sha256::digest(before).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(json["log"]["sha256"], sha256.concat().as_str(), "{}", file.display());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
