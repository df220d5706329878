//! [`RemoteAddress`]: the address of a storage in an object store, as people write it.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path as ObjectPath;

use crate::id::{AccountId, BatchId, JobId};

/// The beginning of an address.
const SCHEME: &str = "s3://";

/// `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAddress {
    bucket: String,
    prefix: ObjectPath,
}

/// The reason why a text is no address of a storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteAddressError {
    #[error("{text} is no address of an object store that is known: they begin with s3://")]
    Scheme { text: String },
    #[error("{text} names no bucket: s3://BUCKET/PREFIX")]
    Bucket { text: String },
    #[error("{text} has a query or a fragment, which addresses of storages do not have")]
    Extra { text: String },
    #[error("{text}: {what}")]
    Prefix { text: String, what: String },
}

impl RemoteAddress {
    /// Returns true if `text` is meant as an address rather than as a folder.
    pub fn is_meant(text: &str) -> bool {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// `jobs/`.
    pub(super) fn jobs(&self) -> ObjectPath {
        self.prefix.clone().join("jobs")
    }

    /// `jobs/{job}/owner.json`.
    pub(super) fn owner(&self, job: &JobId) -> ObjectPath {
        self.job(job).join("owner.json")
    }

    /// `jobs/{job}/segments/{n}`, with as many digits for each, so that they are listed in their order.
    pub(super) fn segment(&self, job: &JobId, n: u64) -> ObjectPath {
        self.job(job).join("segments").join(format!("{n:012}"))
    }

    /// `jobs/{job}/objects/{digest}`.
    pub(super) fn object(&self, job: &JobId, digest: &str) -> ObjectPath {
        self.job(job).join("objects").join(digest)
    }

    /// `accounts/{account}.json`.
    pub(super) fn account(&self, account: &AccountId) -> ObjectPath {
        self.prefix.clone().join("accounts").join(format!("{account}.json"))
    }

    /// `batches/{batch}.json`.
    pub(super) fn batch(&self, batch: &BatchId) -> ObjectPath {
        self.prefix.clone().join("batches").join(format!("{batch}.json"))
    }

    /// `probe`.
    pub(super) fn probe(&self) -> ObjectPath {
        self.prefix.clone().join("probe")
    }

    fn job(&self, job: &JobId) -> ObjectPath {
        self.jobs().join(job.as_str())
    }
}

impl FromStr for RemoteAddress {
    type Err = RemoteAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.to_owned();
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| RemoteAddressError::Scheme { text: shown() })?;
        if rest.contains(['?', '#']) {
            return Err(RemoteAddressError::Extra { text: shown() });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_name) {
            return Err(RemoteAddressError::Bucket { text: shown() });
        }
        let prefix = ObjectPath::parse(prefix)
            .map_err(|error| RemoteAddressError::Prefix { text: shown(), what: error.to_string() })?;
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if self.prefix.as_ref().is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written_back() {
        for text in ["s3://owls", "s3://owls/nightly", "s3://owls.example-1/a/b_c"] {
            assert_eq!(text.parse::<RemoteAddress>().unwrap().to_string(), text);
        }
        assert_eq!("s3://owls/a/".parse::<RemoteAddress>().unwrap().to_string(), "s3://owls/a");
        let address: RemoteAddress = "s3://owls/a".parse().unwrap();
        assert_eq!(address.segment(&"j1".parse().unwrap(), 7).as_ref(), "a/jobs/j1/segments/000000000007");
    }

    #[test]
    fn other_texts_are_none_and_the_reason_is_given() {
        for (text, reason) in [
            ("gs://owls", "begin with s3://"),
            ("http://owls/a", "begin with s3://"),
            ("s3:///a", "names no bucket"),
            ("s3://", "names no bucket"),
            ("s3://user:secret@owls/a", "names no bucket"),
            ("s3://owls/a?x=1", "a query"),
            ("s3://owls/a//b", "a//b"),
            ("s3://owls/../b", ".."),
        ] {
            let error = text.parse::<RemoteAddress>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn folders_are_not_meant_as_addresses() {
        assert!(RemoteAddress::is_meant("s3://owls") && RemoteAddress::is_meant("gs://owls"));
        for folder in ["perstack", "/var/jobs", "s3:/owls", "./s3://owls", "://", "C:\\jobs"] {
            assert!(!RemoteAddress::is_meant(folder), "{folder}");
        }
    }
}
