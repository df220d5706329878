//! [`FolderList`]: the entries of one folder, as its object has them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::snapshot::SnapshotId;

/// The reason that stands for all other entries of a folder, too.
pub(super) const TOO_MANY: &str = "the workspace has more than 250,000 entries";

/// The entries of one folder, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderList {
    pub entries: Vec<FolderEntry>,
    /// The entries that are not stored, or not for certain as they were, but for those that are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutEntry>,
}

impl FolderList {
    /// The entry of this name.
    pub fn get(&self, name: &OsStr) -> Option<&FolderEntry> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_os_str().cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// Returns whether an entry of this name may have been there without being stored.
    pub(super) fn leaves_out(&self, name: &OsStr) -> bool {
        self.left_out.iter().any(|left| left.name.as_os_str() == name || left.reason == TOO_MANY)
    }

    /// The list that `bytes` are.
    ///
    /// # Errors
    /// They are none, or one with names that no folder has.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let list: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let is_sorted = list.entries.is_sorted_by(|a, b| a.name < b.name);
        let is_name = |name: &OsStr| !name.is_empty() && name != "." && name != ".." && !has_separator(name);
        if is_sorted && list.entries.iter().all(|entry| is_name(&entry.name)) {
            Ok(list)
        } else {
            Err("its names are none".to_owned())
        }
    }
}

fn has_separator(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().any(|byte| matches!(byte, b'/' | 0))
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderEntry {
    #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
    pub name: OsString,
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// The kinds of entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum EntryKind {
    File {
        id: SnapshotId,
        bytes: u64,
        /// The permissions: nine bits.
        mode: u32,
    },
    Folder {
        id: SnapshotId,
    },
    Link {
        #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
        target: OsString,
    },
}

/// An entry that is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutEntry {
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub name: PathBuf,
    pub reason: String,
}

/// Stands before the digits of a name that is no text.
const HEX: &str = "hex:";

fn write_path<S: Serializer>(name: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
    write_name(name.as_os_str(), to)
}

fn read_path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    read_name(from).map(PathBuf::from)
}

#[cfg(unix)]
fn write_name<S: Serializer>(name: &OsStr, to: S) -> Result<S::Ok, S::Error> {
    use std::os::unix::ffi::OsStrExt as _;
    match name.to_str() {
        Some(text) if !text.starts_with(HEX) => to.serialize_str(text),
        _ => to.serialize_str(&format!("{HEX}{}", crate::hex::digits(name.as_bytes()))),
    }
}

#[cfg(not(unix))]
fn write_name<S: Serializer>(name: &OsStr, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&name.to_string_lossy())
}

#[cfg(unix)]
fn read_name<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
    use std::os::unix::ffi::OsStringExt as _;
    let text = String::deserialize(from)?;
    let Some(digits) = text.strip_prefix(HEX) else { return Ok(text.into()) };
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.map(OsString::from_vec).ok_or_else(|| serde::de::Error::custom("a name is no hexadecimal digits"))
}

#[cfg(not(unix))]
fn read_name<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
    String::deserialize(from).map(OsString::from)
}
