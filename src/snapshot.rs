//! [`SnapshotMode`] and [`SnapshotId`]: when the state of the workspace is stored, and the name of a stored one. Facts and
//! checkpoints carry the name; what it stands for is in the job's folder.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::hex;

/// The moments at which the state of the workspace is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    /// No moment.
    #[default]
    Off,
    /// The stop of each Run.
    Stop,
    /// Every beginning and going on of a Run, and every checkpoint.
    Every,
}

impl SnapshotMode {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 3] = [("off", Self::Off), ("stop", Self::Stop), ("every", Self::Every)];

    /// Its word in configuration and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Stop => "stop",
            Self::Every => "every",
        }
    }

    /// Returns true for the value that a Run's parameters leave out.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

impl fmt::Display for SnapshotMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SnapshotMode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SnapshotMode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A text that is no word of [`SnapshotMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no moment for snapshots: use off, stop or every")]
pub struct UnknownSnapshotMode(String);

impl FromStr for SnapshotMode {
    type Err = UnknownSnapshotMode;

    fn from_str(text: &str) -> Result<Self, UnknownSnapshotMode> {
        let known = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        known.map(|(_, mode)| mode).ok_or_else(|| UnknownSnapshotMode(text.to_owned()))
    }
}

/// The SHA-256 of something that is stored by content, in 64 hexadecimal digits: of a file's bytes, or of a folder's list. A
/// snapshot is named by that of the workspace's list.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SnapshotId(Arc<str>);

impl SnapshotId {
    /// The name of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hex::digits(&Sha256::digest(bytes)).into())
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl FromStr for SnapshotId {
    type Err = InvalidSnapshotId;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshotId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_digit) { Ok(Self(text.into())) } else { Err(InvalidSnapshotId) }
    }
}

/// A text that is no name of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no SHA-256 in 64 lower-case hexadecimal digits")]
pub struct InvalidSnapshotId;

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_come_back_and_others_are_refused() {
        for (word, mode) in SnapshotMode::WORDS {
            assert_eq!((word.parse(), mode.as_str()), (Ok(mode), word));
        }
        assert!("always".parse::<SnapshotMode>().is_err());
        let id = SnapshotId::of_bytes(b"owl");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for text in ["", "../../../etc", &id.as_str().to_uppercase(), &id.as_str()[1..]] {
            assert_eq!(text.parse::<SnapshotId>(), Err(InvalidSnapshotId), "{text}");
        }
    }
}
