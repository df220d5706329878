//! [`OriginalEvent`]: events as the original stored them, a JSON file each beside our logs. `log` reads them; nothing
//! writes them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::list::names;
use super::{Store, StoreError, atomic};
use crate::count;
use crate::id::{JobId, RunId};

/// One event of the original, with all its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginalEvent {
    /// The `type`.
    pub kind: String,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
    /// From 1.
    pub step_number: u64,
    pub json: Map<String, Value>,
}

impl Store {
    /// The files of the original's events of a Run with their times in milliseconds since the epoch, in the order that
    /// their names give.
    ///
    /// # Errors
    /// The system's error when the folder cannot be read.
    pub fn original_events(&self, job: &JobId, run: &RunId) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let folder = self.layout.run(job, run);
        let mut found: Vec<(u64, u64, PathBuf)> = names(&folder)?
            .iter()
            .filter_map(|name| {
                let (at, step) = parse_event_name(name)?;
                Some((at, step, folder.join(name)))
            })
            .collect();
        found.sort();
        Ok(found.into_iter().map(|(at, _, path)| (at, path)).collect())
    }
}

impl OriginalEvent {
    /// Reads one event's file.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it holds no event, or the system's error.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = atomic::read(path)?;
        let json: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::damaged(path, None, format!("it is no event ({error})")))?;
        let number = |key: &str| json.get(key).and_then(Value::as_u64).filter(|number| *number <= count::MAX);
        match (json.get("type").and_then(Value::as_str), number("timestamp"), number("stepNumber")) {
            (Some(kind), Some(timestamp), Some(step_number)) => {
                Ok(Self { kind: kind.to_owned(), timestamp, step_number, json })
            }
            _ => Err(StoreError::damaged(path, None, "it has no type, timestamp or stepNumber, as events have")),
        }
    }
}

/// Time and step of a file named `event-{timestamp}-{step}-{type}.json`.
fn parse_event_name(file: &str) -> Option<(u64, u64)> {
    let (at, rest) = file.strip_prefix("event-")?.strip_suffix(".json")?.split_once('-')?;
    let (step, _) = rest.split_once('-')?;
    Some((at.parse().ok()?, step.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::World;
    use super::*;

    #[test]
    fn events_are_found_by_their_names_and_read_with_all_their_fields() {
        let world = World::new();
        let (job, run) = ("j1".parse().unwrap(), "r1".parse().unwrap());
        let folder = world.store.layout().run(&job, &run);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [
            ("event-20-1-callTools.json", r#"{"type":"callTools","timestamp":20,"stepNumber":1,"x":[1]}"#),
            ("event-3-1-startRun.json", r#"{"type":"startRun","timestamp":3,"stepNumber":1}"#),
            ("event-30-2-torn.json", r#"{"type":"#),
            ("event-x-1-startRun.json", "{}"),
            ("event-4-1.json", "{}"),
            ("run-setting.json", "{}"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let found = world.store.original_events(&job, &run).unwrap();
        assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 20, 30]);
        let event = OriginalEvent::read(&found[1].1).unwrap();
        assert_eq!((event.kind.as_str(), event.timestamp, event.step_number), ("callTools", 20, 1));
        assert_eq!(event.json["x"], serde_json::json!([1]));
        assert!(OriginalEvent::read(&found[2].1).unwrap_err().is_damaged());
    }
}
