//! [`Segment`]: what was written to a job's files since the segment before, as one object.
//!
//! A segment begins with a line of JSON ([`Head`]); behind it each change has a line ([`ChangeHead`]) and its bytes. The head
//! has the digest of all that follows it, and that of the segment before, so that a segment that was changed, removed or put
//! in another's place is seen.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::hex;

const FORMAT: &str = "perstack-segment";
const VERSION: u32 = 1;
/// The parts of a path below a job's folder; the deepest is `runs/{run}/outputs/{file}`.
const MAX_DEPTH: usize = 4;

/// Changes of a job's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The owner that put it.
    pub epoch: u64,
    pub nonce: String,
    /// The digest of the segment before; empty for the first.
    pub after: String,
    /// It ends what owners before this one may put.
    pub is_seal: bool,
    pub changes: Vec<FileChange>,
}

/// A change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Below the job's folder.
    pub path: PathBuf,
    pub contents: ChangedContents,
}

/// The new contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedContents {
    /// These bytes follow the first `at` ones.
    Appended {
        at: u64,
        bytes: Bytes,
    },
    Whole(Bytes),
    /// Those of an object.
    Object {
        digest: String,
        len: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    epoch: u64,
    nonce: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    after: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    seal: bool,
    /// SHA-256 of all bytes behind the head's line.
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct ChangeHead {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// The number of bytes that follow, or that the object has.
    bytes: u64,
}

/// The reason why bytes are no segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("it has format version {version}, this perstack reads up to {VERSION}: use a newer one")]
    Newer { version: u32 },
    #[error("{0}")]
    Damaged(String),
}

fn damaged(what: impl Into<String>) -> SegmentError {
    SegmentError::Damaged(what.into())
}

impl Segment {
    /// The bytes of the segment, and the digest that the next one follows.
    ///
    /// # Errors
    /// A path that is none of a job's, or a value without a JSON form.
    pub fn encode(&self) -> Result<(Bytes, String), SegmentError> {
        let mut body = Vec::new();
        for change in &self.changes {
            check_path(&change.path)?;
            let path = change.path.to_str().ok_or_else(|| damaged("a path is no UTF-8"))?.to_owned();
            let (at, object, len, bytes) = match &change.contents {
                ChangedContents::Appended { at, bytes } => (Some(*at), None, len(bytes), Some(bytes)),
                ChangedContents::Whole(bytes) => (None, None, len(bytes), Some(bytes)),
                ChangedContents::Object { digest, len } => (None, Some(digest.clone()), *len, None),
            };
            push_line(&mut body, &ChangeHead { path, at, object, bytes: len })?;
            body.extend_from_slice(bytes.map_or(&[][..], |bytes| bytes));
        }
        let head = Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            epoch: self.epoch,
            nonce: self.nonce.clone(),
            after: self.after.clone(),
            seal: self.is_seal,
            digest: hex::digits(&Sha256::digest(&body)),
        };
        let mut bytes = Vec::with_capacity(body.len().saturating_add(400));
        push_line(&mut bytes, &head)?;
        bytes.extend_from_slice(&body);
        let digest = digest_of(&bytes);
        Ok((bytes.into(), digest))
    }

    /// Reads a segment, and returns the digest that the next one follows.
    ///
    /// # Errors
    /// It is damaged, or of a later version.
    pub fn decode(bytes: &Bytes) -> Result<(Self, String), SegmentError> {
        let (line, mut rest) = split_line(bytes)?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| damaged("it does not begin as a segment does"))?;
        if head.format != FORMAT {
            return Err(damaged("it does not begin as a segment does"));
        }
        if head.version > VERSION {
            return Err(SegmentError::Newer { version: head.version });
        }
        if hex::digits(&Sha256::digest(&rest)) != head.digest {
            return Err(damaged("its contents do not fit its digest"));
        }
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let (line, behind) = split_line(&rest)?;
            let change: ChangeHead =
                serde_json::from_slice(&line).map_err(|_| damaged("it has something else where a change begins"))?;
            let path = PathBuf::from(change.path);
            check_path(&path)?;
            rest = behind;
            let contents = if let Some(digest) = change.object {
                if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(damaged("it names an object by something else than a digest"));
                }
                ChangedContents::Object { digest, len: change.bytes }
            } else {
                let len = usize::try_from(change.bytes).ok().filter(|len| *len <= rest.len());
                let bytes = rest.split_to(len.ok_or_else(|| damaged("it is cut short"))?);
                change.at.map_or(ChangedContents::Whole(bytes.clone()), |at| ChangedContents::Appended { at, bytes })
            };
            changes.push(FileChange { path, contents });
        }
        let Head { epoch, nonce, after, seal: is_seal, .. } = head;
        Ok((Self { epoch, nonce, after, is_seal, changes }, digest_of(bytes)))
    }
}

/// The digest of all bytes of a segment.
fn digest_of(bytes: &[u8]) -> String {
    hex::digits(&Sha256::digest(bytes))
}

fn len(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn push_line<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), SegmentError> {
    serde_json::to_writer(&mut *bytes, value).map_err(|error| damaged(error.to_string()))?;
    bytes.push(b'\n');
    Ok(())
}

fn split_line(bytes: &Bytes) -> Result<(Bytes, Bytes), SegmentError> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it is cut short"))?;
    Ok((bytes.slice(..end), bytes.slice(end.saturating_add(1)..)))
}

/// Checks that a path leads to a place below the job's folder: who may write to the object store may not write anywhere else.
fn check_path(path: &Path) -> Result<(), SegmentError> {
    let parts: Vec<&str> = path.components().map(part).collect::<Option<_>>().unwrap_or_default();
    let is_place = match parts.as_slice() {
        ["job.json"] => true,
        ["runs" | "snapshots", .., file] => parts.len() <= MAX_DEPTH && !file.starts_with('.') && *file != "lock",
        _ => false,
    };
    let is_plain = parts.iter().all(|part| !part.starts_with('.') && !part.contains(['\\', '\0', ':']));
    if is_place && is_plain && parts.join("/").as_str() == path.to_str().unwrap_or_default() {
        Ok(())
    } else {
        Err(damaged(format!("it names {}, which is no file of a job", path.display())))
    }
}

fn part(component: Component<'_>) -> Option<&str> {
    match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(changes: Vec<FileChange>) -> Segment {
        Segment { epoch: 3, nonce: "n".to_owned(), after: "ab".repeat(32), is_seal: false, changes }
    }

    fn whole(path: &str) -> FileChange {
        FileChange { path: path.into(), contents: ChangedContents::Whole(Bytes::from_static(b"{\n}\n")) }
    }

    fn all_kinds() -> Segment {
        let appended = ChangedContents::Appended { at: 38, bytes: Bytes::from_static(b"{\"at\":1}\n") };
        segment(vec![
            whole("job.json"),
            FileChange { path: "runs/r1/log.jsonl".into(), contents: appended },
            FileChange {
                path: "snapshots/x.pack".into(),
                contents: ChangedContents::Object { digest: "0a".repeat(32), len: 9 << 20 },
            },
        ])
    }

    #[test]
    fn a_segment_is_read_back_with_its_digest() {
        let (bytes, digest) = all_kinds().encode().unwrap();
        assert_eq!(Segment::decode(&bytes).unwrap(), (all_kinds(), digest));
        let seal = Segment { is_seal: true, ..segment(Vec::new()) };
        assert_eq!(Segment::decode(&seal.encode().unwrap().0).unwrap().0, seal);
    }

    #[test]
    fn paths_that_lead_out_of_the_job_are_refused() {
        for path in [
            "../job.json",
            "/etc/passwd",
            "runs/../../x",
            "runs/./r1/x",
            "runs//x",
            "lock",
            "runs/r1/lock",
            "runs",
            "runs/r1/.hidden",
            ".ssh/config",
            "runs/r1/outputs/a/b",
            "runs\\r1",
            "job.json/x",
            "checkpoints/x.json",
            "",
        ] {
            let mut bytes = Vec::new();
            push_line(&mut bytes, &ChangeHead { path: path.to_owned(), at: None, object: None, bytes: 0 }).unwrap();
            let digest = hex::digits(&Sha256::digest(&bytes));
            let head = serde_json::json!({"format": FORMAT, "version": 1, "epoch": 1, "nonce": "n", "digest": digest});
            let bytes = Bytes::from([format!("{head}\n").as_bytes(), &bytes].concat());
            let error = Segment::decode(&bytes).unwrap_err();
            assert!(error.to_string().contains("which is no file of a job"), "{path}: {error}");
            assert!(segment(vec![whole(path)]).encode().is_err(), "{path}");
        }
        for path in ["job.json", "runs/r1/log.jsonl", "runs/r1/outputs/call-1.txt", "snapshots/a.pack"] {
            assert!(segment(vec![whole(path)]).encode().is_ok(), "{path}");
        }
    }

    #[test]
    fn a_later_version_is_named_as_one() {
        let head = serde_json::json!({"format": FORMAT, "version": 2, "epoch": 1, "nonce": "n", "digest": ""});
        let error = Segment::decode(&Bytes::from(format!("{head}\n"))).unwrap_err();
        assert_eq!(error, SegmentError::Newer { version: 2 });
    }

    proptest! {
        #[test]
        fn whatever_byte_is_changed_or_missing_is_seen(at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<bool>()) {
            let (bytes, digest) = all_kinds().encode().unwrap();
            let at = at.index(bytes.len());
            let mut changed = bytes.to_vec();
            if cut {
                changed.truncate(at);
            } else {
                changed[at] ^= 1 << bit;
            }
            // In the head's own fields, by the digest that the next segment has.
            let read = Segment::decode(&Bytes::from(changed));
            prop_assert!(read.is_err() || read.unwrap().1 != digest);
        }
    }
}
