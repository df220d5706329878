//! Snapshots: every stored one belongs to a test.

use std::fs;
use std::path::Path;

use super::source::{Source, assert_none};

#[test]
fn every_snapshot_is_of_a_test() {
    let sources = Source::all("tests/it");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let mut forgotten = Vec::new();
    for subject in fs::read_dir(root).unwrap() {
        let subject = subject.unwrap();
        let opening = format!("\"{}/", subject.file_name().to_str().unwrap());
        let is_used = |case: &str| {
            sources.iter().flat_map(|source| source.text.split(&opening).skip(1)).any(|rest| {
                let name = rest.split('"').next().unwrap_or_default();
                // What stands before a part that the test fills in is enough.
                name.split_once('{').map_or(name == case, |(start, _)| case.starts_with(start))
            })
        };
        for file in fs::read_dir(subject.path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if !name.strip_suffix(".snap").is_some_and(is_used) {
                forgotten.push(format!("{}/{name}", subject.path().display()));
            }
        }
    }
    assert_none(&forgotten, "snapshots that no test has");
}
