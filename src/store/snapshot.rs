//! [`StoredCheckpoint`]: checkpoint files, in the two forms that are written and the one that the original wrote. `job`
//! writes them, `find` and `list` read them.
//!
//! The checkpoint of a Run that goes on, by itself or behind its delegates, refers to its log for the messages, so that a
//! step costs no more than what is new in it. The checkpoint that a Run stops with holds them itself, and the Run's
//! setting too: that one file resumes anywhere. Both are one JSON object, the fields of [`CheckpointHead`] first.

use std::path::Path;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{LogPosition, StoreError, atomic};
use crate::checkpoint::{CheckpointHead, FORMAT_VERSION};
use crate::message::Message;
use crate::setting::RunSetting;
use crate::written_json::{self, WrittenJson};

/// A checkpoint as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCheckpoint {
    pub head: CheckpointHead,
    pub body: CheckpointBody,
    /// The end of the log of a Run that stopped, beside its messages. Absent in older files.
    pub log_end: Option<LogPosition>,
    /// The setting that the Run was started with. Absent in mid-run checkpoints, which lie beside it, and in the
    /// original's files.
    pub setting: Option<RunSetting>,
}

impl StoredCheckpoint {
    /// Returns whether it holds its messages.
    pub fn is_whole(&self) -> bool {
        matches!(self.body, CheckpointBody::Inline(_))
    }

    /// The point in its Run's log that it was made at, if it names one.
    pub fn position(&self) -> Option<&LogPosition> {
        match &self.body {
            CheckpointBody::Log(at) => Some(at),
            CheckpointBody::Inline(_) => self.log_end.as_ref(),
        }
    }
}

/// The place of a checkpoint's messages.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckpointBody {
    /// In the checkpoint: the complete history.
    Inline(Vec<Message>),
    /// They follow from the facts of the Run's log before this point.
    Log(LogPosition),
}

/// The written form: with `log`, the point in the Run's log that it was made at, and, when the Run has stopped, with
/// `messages` too.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WrittenCheckpoint<'a> {
    #[serde(flatten)]
    head: &'a CheckpointHead,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Message]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogPosition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The setting that the Run was started with, for perstack itself.
    #[cfg_attr(test, schemars(with = "Option<Map<String, Value>>"))]
    setting: Option<&'a RunSetting>,
}

/// The contents of a checkpoint that refers to its Run's log, to be written at `path`.
pub(super) fn by_log(path: &Path, head: &CheckpointHead, log: LogPosition) -> Result<Vec<u8>, StoreError> {
    atomic::on_one_line(path, &WrittenCheckpoint { head, messages: None, log: Some(log), setting: None })
}

/// The contents of a checkpoint that holds everything, to be written at `path`.
pub(super) fn whole(
    path: &Path,
    head: &CheckpointHead,
    messages: &[Message],
    log: Option<LogPosition>,
    setting: Option<&RunSetting>,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = atomic::on_one_line(path, &WrittenCheckpoint { head, messages: Some(&[]), log, setting })?;
    // Messages are nearly all of it, and take serde some times as long. They belong into the list behind the head.
    let head_end = atomic::on_one_line(path, head)?.len().saturating_sub("}\n".len());
    let place = head_end.saturating_add(r#","messages":["#.len());
    let behind = bytes.split_off(place.min(bytes.len()));
    written_json::write::messages(&mut bytes, messages);
    bytes.extend(behind);
    Ok(bytes)
}

/// The bytes that the file of a checkpoint at `path` has when it is in the form of `stored`. `setting`: the object that
/// its Run's setting is, for a file that has one.
///
/// # Errors
/// A value without a JSON form.
pub fn expected_bytes(
    path: &Path,
    stored: &StoredCheckpoint,
    head: &CheckpointHead,
    messages: &[Message],
    position: LogPosition,
    setting: &Value,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = match stored.body {
        CheckpointBody::Log(_) => by_log(path, head, position)?,
        CheckpointBody::Inline(_) => whole(path, head, messages, stored.log_end.is_some().then_some(position), None)?,
    };
    if stored.setting.is_some() {
        bytes.truncate(bytes.len().saturating_sub(2));
        bytes.extend_from_slice(b",\"setting\":");
        bytes.extend(atomic::on_one_line(path, setting)?);
        bytes.pop();
        bytes.extend_from_slice(b"}\n");
    }
    Ok(bytes)
}

/// Returns whether `bytes` are what a power cut left of a checkpoint that refers to the log: its beginning, and zeros.
pub fn is_cut_short(path: &Path, bytes: &[u8], head: &CheckpointHead, position: LogPosition) -> bool {
    let Ok(expected) = by_log(path, head, position) else { return false };
    let same = bytes.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
    let is_whole = same == expected.len();
    !is_whole && bytes.len() <= expected.len() && bytes.iter().skip(same).all(|byte| *byte == 0)
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
    let mut at = None;
    let parts = written_parts(bytes).map_or_else(
        || {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            Reading(&mut at).deserialize(&mut json).and_then(|parts| json.end().map(|()| parts))
        },
        Ok,
    );
    let Parts { rest, messages, log, setting } = match parts {
        Ok(parts) => parts,
        // Of a file that is whole, the part that cannot be read is named; of a newer one its version.
        Err(error) => {
            object(bytes, path)?;
            let part = at.map_or_else(|| "it".to_owned(), |key| format!("its {key:?}"));
            return Err(StoreError::damaged(path, None, format!("{part} cannot be read ({error})")));
        }
    };
    check_version(&rest, path)?;
    let (body, log_end) = match (messages, log) {
        (Some(messages), log) => (CheckpointBody::Inline(messages), log),
        (None, Some(log)) => (CheckpointBody::Log(log), None),
        (None, None) => return Err(StoreError::damaged(path, None, "it has neither messages nor a log")),
    };
    Ok(StoredCheckpoint { head: decode(Value::Object(rest), path)?, body, log_end, setting })
}

/// The keys of a checkpoint's object. Only those of its head go by way of a tree: a history is long.
#[derive(Default)]
struct Parts {
    rest: Map<String, Value>,
    messages: Option<Vec<Message>>,
    log: Option<LogPosition>,
    setting: Option<RunSetting>,
}

/// The parts of a file in the form in which this program writes it; `None` for any other.
fn written_parts(bytes: &[u8]) -> Option<Parts> {
    let mut json = WrittenJson::new(std::str::from_utf8(bytes).ok()?);
    let mut parts = Parts::default();
    let mut is_first = true;
    while json.is(if is_first { "{" } else { "," }) {
        is_first = false;
        let key: String = json.value()?;
        if !json.is(":") {
            return None;
        }
        match key.as_str() {
            "messages" => parts.messages = Some(written_json::messages(&mut json)?),
            "log" => parts.log = json.value()?,
            "setting" => parts.setting = json.value()?,
            _ => drop(parts.rest.insert(key, json.value()?)),
        }
    }
    (json.is("}") && json.rest().trim_ascii().is_empty()).then_some(parts)
}

/// Reads [`Parts`], and notes the key of the part that is being read.
struct Reading<'a>(&'a mut Option<&'static str>);

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Parts;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Parts, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Parts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut parts = Parts::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "messages" => {
                    *self.0 = Some("messages");
                    parts.messages = map.next_value()?;
                }
                "log" => {
                    *self.0 = Some("log");
                    parts.log = map.next_value()?;
                }
                "setting" => {
                    *self.0 = Some("setting");
                    parts.setting = map.next_value()?;
                }
                _ => drop(parts.rest.insert(key, map.next_value()?)),
            }
            *self.0 = None;
        }
        Ok(parts)
    }
}

/// Reads a file that is one versioned JSON object: `job.json`, `run-setting.json`.
pub(super) fn read_versioned<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, StoreError> {
    let bytes = atomic::read(path)?;
    // At once, where the file is as it should be: a tree of it, as what is wrong is reported by, costs some times as much.
    if is_known_version(&bytes)
        && let Ok(read) = serde_json::from_slice(&bytes)
    {
        return Ok(read);
    }
    decode(Value::Object(object(&bytes, path)?), path)
}

/// Returns whether a JSON object is of a version that is read here.
fn is_known_version(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        format_version: Option<u64>,
    }
    serde_json::from_slice::<Version>(bytes)
        .is_ok_and(|version| version.format_version.unwrap_or_default() <= u64::from(FORMAT_VERSION))
}

fn object(bytes: &[u8], path: &Path) -> Result<Map<String, Value>, StoreError> {
    let object: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        let what = if bytes.is_empty() { "it is empty".to_owned() } else { format!("it is no JSON object ({error})") };
        StoreError::damaged(path, None, what)
    })?;
    check_version(&object, path)?;
    Ok(object)
}

fn check_version(object: &Map<String, Value>, path: &Path) -> Result<(), StoreError> {
    match object.get("formatVersion").and_then(Value::as_u64) {
        Some(version) if version > u64::from(FORMAT_VERSION) => {
            Err(StoreError::Newer { path: path.to_owned(), version, supported: FORMAT_VERSION })
        }
        _ => Ok(()),
    }
}

fn decode<T: for<'de> Deserialize<'de>>(value: Value, path: &Path) -> Result<T, StoreError> {
    serde_json::from_value(value)
        .map_err(|error| StoreError::damaged(path, None, format!("it cannot be read ({error})")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{head, messages, setting};
    use super::*;

    #[test]
    fn a_whole_checkpoint_is_the_json_of_its_parts() {
        let head = CheckpointHead { found_tools: vec!["},\"messages\":[]".into()], ..head("r1", "c1", 1) };
        let log = LogPosition { facts: 2, bytes: 3, chain: "c".into() };
        let setting = setting("j1", "r1", 1);
        let path = Path::new("c.json");
        for messages in [messages(), Vec::new()] {
            for (log, setting) in [(Some(log.clone()), Some(&setting)), (None, Some(&setting)), (None, None)] {
                let expected = WrittenCheckpoint { head: &head, messages: Some(&messages), log: log.clone(), setting };
                let expected = atomic::on_one_line(path, &expected).unwrap();
                let written = whole(path, &head, &messages, log, setting).unwrap();
                assert_eq!(String::from_utf8(written), String::from_utf8(expected));
            }
        }
    }
}
