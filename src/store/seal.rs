//! [`sealed`]: files of indented JSON that end in a digest of themselves, so that any change of a byte is seen. `job`
//! writes `job.json` and `run-setting.json` so; the check of a job's record reads the [`Seal`]. Other readers pass it
//! over as they do any key that they do not know.
//!
//! The last key of the object is `seal`: SHA-256, in 64 hexadecimal digits, of all bytes before the comma in front of it.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{StoreError, atomic};
use crate::hex;

/// Between the other keys and the digest.
const KEY: &str = ",\n  \"seal\": \"";
/// Behind the digest.
const END: &str = "\"\n}\n";
/// The end of an object without a seal.
const OPEN_END: &str = "\n}\n";

/// The seal of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// It fits: these are its digits.
    Whole(String),
    /// There is none: an older version wrote the file, or something else changed it.
    Absent,
    /// It is not that of the bytes before it.
    Broken,
}

impl Seal {
    /// Reads the seal of a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let Some((before, digits)) = split(bytes) else { return Self::Absent };
        let digest = hex::digits(&Sha256::digest(before));
        if digest.as_bytes() == digits { Self::Whole(digest) } else { Self::Broken }
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_suffix(END.as_bytes())?;
    let (rest, digits) = bytes.split_at_checked(bytes.len().checked_sub(64)?)?;
    Some((rest.strip_suffix(KEY.as_bytes())?, digits))
}

/// `value`, a JSON object, as an indented file that ends in its seal.
pub(super) fn sealed<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = atomic::indented(path, value)?;
    if bytes.ends_with(OPEN_END.as_bytes()) {
        bytes.truncate(bytes.len() - OPEN_END.len());
        let digest = hex::digits(&Sha256::digest(&bytes));
        bytes.extend_from_slice(format!("{KEY}{digest}{END}").as_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_changed_byte_is_seen() {
        let bytes = sealed(Path::new("job.json"), &json!({"id": "j", "of": {"a": [1, 2]}})).unwrap();
        assert!(matches!(Seal::of(&bytes), Seal::Whole(_)), "{}", String::from_utf8_lossy(&bytes));
        let read: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read["of"]["a"], json!([1, 2]));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(!matches!(Seal::of(&changed), Seal::Whole(_)), "at {at}");
        }
        assert_eq!(Seal::of(b"{\n  \"id\": \"j\"\n}\n"), Seal::Absent);
        assert_eq!(Seal::of(b""), Seal::Absent);
    }
}
