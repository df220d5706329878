//! [`Entry`]: an operation on the disk, or a mark between two, as the binary traces them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An operation on the disk, or what happened between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Operation { number: u64, name: String, path: PathBuf, bytes: u64 },
    Mark { what: String, of: String },
}

impl Entry {
    /// The number of an operation.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Operation { number, .. } => Some(*number),
            Self::Mark { .. } => None,
        }
    }

    /// The folder of the Run whose log it is about.
    pub fn run(&self) -> Option<&Path> {
        match self {
            Self::Operation { path, .. } if path.ends_with("log.jsonl") => path.parent(),
            _ => None,
        }
    }
}

/// Reads a trace; an empty one when the process never came to one.
pub fn read(file: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        match line["number"].as_u64() {
            Some(number) => Entry::Operation {
                number,
                name: text("operation"),
                path: text("path").into(),
                bytes: line["bytes"].as_u64().unwrap(),
            },
            None => Entry::Mark { what: text("mark"), of: text("of") },
        }
    };
    text.lines().map(entry).collect()
}
