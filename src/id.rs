//! Identifiers. Parsing validates, so an id that is held is safe to use as part of a file name.
//!
//! New ids are UUIDv7 (names sort by time); ids of other makers (the original's cuid2, `--job-id ci-42`) are
//! accepted as long as they keep to [`ALLOWED`]. Copies share their text: every event and every step has some.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The form of an id, in words for error messages.
pub const ALLOWED: &str = "1 to 128 of the characters A-Z a-z 0-9 _ - , the first a letter or digit";

/// Longest id, in bytes: leaves room for the rest of a file name within the usual 255.
const MAX_LEN: usize = 128;

/// A text that cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} id {text:?} is not valid: use {ALLOWED}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

fn is_valid(text: &str) -> bool {
    text.len() <= MAX_LEN
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, text: text.chars().take(80).collect() })
                }
            }
        }

        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                Self((&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names a Job: one invocation's whole work.
    JobId, "job"
);
id!(
    /// Names a Run: one expert's execution within a Job.
    RunId, "run"
);
id!(
    /// Names a Checkpoint: the state at a step's end.
    CheckpointId, "checkpoint"
);
id!(
    /// Names an account that jobs share.
    AccountId, "account"
);
id!(
    /// Names a batch: one expert on many inputs, a Job for each.
    BatchId, "batch"
);

/// Names a tool call within a conversation. Chosen by the model's provider, so it may hold any characters; it is
/// never part of a path. The machine replaces an empty or repeated one.
pub type ToolCallId = String;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_uuids_cuids_and_chosen_names() {
        for text in ["0192f0c4-7f3a-7cc1-8000-5d2f5c3b9a11", "tz4a98xxat96iws9zmbrgj3a", "ci-42", "j7d2k9"] {
            assert_eq!(text.parse::<JobId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_whatever_could_leave_a_folder() {
        for text in ["", ".", "..", "../x", "a/b", "a\\b", "a.json", "-rf", "a b", "ü", &"x".repeat(129)] {
            assert!(text.parse::<CheckpointId>().is_err(), "{text:?}");
        }
    }
}
