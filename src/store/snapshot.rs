//! [`StoredCheckpoint`]: checkpoint files, in the two forms that are written and the one that the original wrote. `job`
//! writes them, `find` and `list` read them.
//!
//! A mid-run checkpoint refers to its Run's log for the messages, so that a step costs no more than what is new in it.
//! The checkpoint that a Run stops with holds them itself, and the Run's setting too: that one file resumes anywhere.
//! Both are one JSON object, the fields of [`CheckpointHead`] first.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{LogPosition, StoreError, atomic};
use crate::checkpoint::{CheckpointHead, FORMAT_VERSION};
use crate::message::Message;
use crate::setting::RunSetting;

/// A checkpoint as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCheckpoint {
    pub head: CheckpointHead,
    pub body: CheckpointBody,
    /// The setting that the Run was started with. Absent in mid-run checkpoints, which lie beside it, and in the
    /// original's files.
    pub setting: Option<RunSetting>,
}

/// The place of a checkpoint's messages.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckpointBody {
    /// In the checkpoint: the complete history.
    Inline(Vec<Message>),
    /// They follow from the facts of the Run's log before this point.
    Log(LogPosition),
}

/// The written form, with either `messages` or `log`.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    head: &'a CheckpointHead,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Message]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogPosition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<&'a RunSetting>,
}

/// Writes the checkpoint of a Run that goes on.
pub(super) fn write_mid_run(path: &Path, head: &CheckpointHead, log: LogPosition) -> Result<(), StoreError> {
    atomic::write_json(path, &Written { head, messages: None, log: Some(log), setting: None })
}

/// Writes the checkpoint of a Run that stops.
pub(super) fn write_final(
    path: &Path,
    head: &CheckpointHead,
    messages: &[Message],
    setting: &RunSetting,
) -> Result<(), StoreError> {
    atomic::write_json(path, &Written { head, messages: Some(messages), log: None, setting: Some(setting) })
}

/// Reads a checkpoint of any form. Unknown keys are ignored.
pub(super) fn read_checkpoint(path: &Path) -> Result<StoredCheckpoint, StoreError> {
    checkpoint(&atomic::read(path)?, path)
}

/// Reads a checkpoint outside the storage, where links are the user's own.
pub(super) fn read_checkpoint_elsewhere(path: &Path) -> Result<StoredCheckpoint, StoreError> {
    checkpoint(&atomic::read_elsewhere(path)?, path)
}

fn checkpoint(bytes: &[u8], path: &Path) -> Result<StoredCheckpoint, StoreError> {
    let mut object = object(bytes, path)?;
    let messages = take::<Vec<Message>>(&mut object, "messages", path)?;
    let log = take::<LogPosition>(&mut object, "log", path)?;
    let setting = take::<RunSetting>(&mut object, "setting", path)?;
    let body = match (messages, log) {
        (Some(messages), _) => CheckpointBody::Inline(messages),
        (None, Some(log)) => CheckpointBody::Log(log),
        (None, None) => return Err(StoreError::damaged(path, None, "it has neither messages nor a log")),
    };
    Ok(StoredCheckpoint { head: decode(Value::Object(object), path)?, body, setting })
}

/// Reads a file that is one versioned JSON object: `job.json`, `run-setting.json`.
pub(super) fn read_versioned<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, StoreError> {
    decode(Value::Object(object(&atomic::read(path)?, path)?), path)
}

fn object(bytes: &[u8], path: &Path) -> Result<Map<String, Value>, StoreError> {
    let object: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        let what = if bytes.is_empty() { "it is empty".to_owned() } else { format!("it is no JSON object ({error})") };
        StoreError::damaged(path, None, what)
    })?;
    match object.get("formatVersion").and_then(Value::as_u64) {
        Some(version) if version > u64::from(FORMAT_VERSION) => {
            Err(StoreError::Newer { path: path.to_owned(), version, supported: FORMAT_VERSION })
        }
        _ => Ok(object),
    }
}

fn take<T: for<'de> Deserialize<'de>>(
    object: &mut Map<String, Value>,
    key: &str,
    path: &Path,
) -> Result<Option<T>, StoreError> {
    match object.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| StoreError::damaged(path, None, format!("its {key:?} cannot be read ({error})"))),
    }
}

fn decode<T: for<'de> Deserialize<'de>>(value: Value, path: &Path) -> Result<T, StoreError> {
    serde_json::from_value(value)
        .map_err(|error| StoreError::damaged(path, None, format!("it cannot be read ({error})")))
}
