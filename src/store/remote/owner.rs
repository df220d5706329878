//! [`OwnerRecord`]: the process that works on a job, for all machines to see; [`claim`], [`renew`] and [`release`] change it.
//!
//! It is changed only under the condition that it is as it was read, never removed, and never the same bytes twice. No clock
//! is compared between machines: who wants to take a job over has to see the record unchanged for the whole lease by its own
//! clock; the owner counts from before it sent its last renewal that was accepted.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore as Bucket, PutMode, UpdateVersion};
use serde::{Deserialize, Serialize};

use super::RemoteAddress;
use super::bucket::{self, Backoff, MOST_AT_ONCE, failed, may_pass};
use super::clock::since_boot;
use crate::id::JobId;
use crate::store::{StoreError, atomic};

const FORMAT_VERSION: u32 = 1;

/// `owner.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRecord {
    pub format_version: u32,
    /// One more with every process that takes the job.
    pub epoch: u64,
    /// For people.
    pub worker: String,
    /// The process's own text, which no other has.
    pub nonce: String,
    /// The time for which it may be silent.
    pub lease_ms: u64,
    /// One more with every change by the same owner.
    pub renewals: u64,
    /// It has let go of the job: all that it sent is there.
    #[serde(default)]
    pub released: bool,
}

impl OwnerRecord {
    /// The time for which the owner may be silent.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// A claim to a job.
#[derive(Debug, Clone)]
pub struct Ownership {
    pub record: OwnerRecord,
    /// The version of the object that has it.
    version: UpdateVersion,
    /// By this machine's clock, before the last accepted change was sent.
    pub confirmed: Duration,
}

/// The claimant.
pub struct Claimant<'a> {
    pub job: &'a JobId,
    pub worker: &'a str,
    pub nonce: &'a str,
    pub lease: Duration,
    /// It waits for nobody.
    pub takes_over: bool,
    /// Called once if there is a silent owner to be waited for, with the longest wait.
    pub waits: &'a (dyn Fn(&OwnerRecord, Duration) + Sync),
}

/// The end of a change.
enum Change {
    Done(UpdateVersion),
    Refused,
}

/// Reads the owner of a job; `None` for a job that never had one.
///
/// # Errors
/// The store cannot be asked, or what it has is no such record.
pub async fn read(bucket: &dyn Bucket, path: &ObjectPath) -> Result<Option<(OwnerRecord, UpdateVersion)>, StoreError> {
    bucket::read_record(bucket, path, |record: &OwnerRecord| record.format_version, FORMAT_VERSION).await
}

/// The owners of several jobs.
///
/// # Errors
/// As [`read`].
pub async fn read_all(
    bucket: &dyn Bucket,
    address: &RemoteAddress,
    jobs: Vec<JobId>,
) -> Result<Vec<(JobId, Option<OwnerRecord>)>, StoreError> {
    let asked = jobs.into_iter().map(|job| async move {
        let owner = read(bucket, &address.owner(&job)).await?;
        Ok((job, owner.map(|(owner, _)| owner)))
    });
    stream::iter(asked).buffered(MOST_AT_ONCE).try_collect().await
}

/// Takes a job: at once when nobody has it or the claimant takes it over, else when its owner is silent for the whole lease.
/// Returns the owner before, if there was one.
///
/// # Errors
/// [`StoreError::LockedElsewhere`] when the owner is not silent, or the store cannot be asked.
pub async fn claim(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    claimant: &Claimant<'_>,
) -> Result<(Ownership, Option<OwnerRecord>), StoreError> {
    loop {
        let before = read(bucket, path).await?;
        if let Some((record, version)) = &before
            && !record.released
            && !claimant.takes_over
            && !stays_unchanged(bucket, path, record, version, claimant).await?
        {
            // It is released, or was heard of.
            match read(bucket, path).await? {
                Some((now, _)) if !now.released => {
                    return Err(StoreError::LockedElsewhere { job: claimant.job.clone(), worker: now.worker });
                }
                _ => continue,
            }
        }
        let record = OwnerRecord {
            format_version: FORMAT_VERSION,
            epoch: before.as_ref().map_or(1, |(record, _)| record.epoch.saturating_add(1)),
            worker: claimant.worker.to_owned(),
            nonce: claimant.nonce.to_owned(),
            lease_ms: u64::try_from(claimant.lease.as_millis()).unwrap_or(u64::MAX),
            renewals: 0,
            released: false,
        };
        let mode = match &before {
            Some((_, version)) => PutMode::Update(version.clone()),
            None => PutMode::Create,
        };
        let confirmed = since_boot();
        match change(bucket, path, &record, mode, &mut Backoff::default()).await? {
            Change::Done(version) => {
                return Ok((Ownership { record, version, confirmed }, before.map(|(record, _)| record)));
            }
            // Another process was faster; it is an owner like any other.
            Change::Refused => {}
        }
    }
}

/// Waits until the record was the same for its whole lease. Returns false as soon as it is not.
async fn stays_unchanged(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    record: &OwnerRecord,
    version: &UpdateVersion,
    claimant: &Claimant<'_>,
) -> Result<bool, StoreError> {
    let lease = record.lease();
    let began = since_boot();
    (claimant.waits)(record, lease);
    loop {
        let waited = since_boot().saturating_sub(began);
        let Some(left) = lease.checked_sub(waited).filter(|left| !left.is_zero()) else { return Ok(true) };
        // An owner renews three times in a lease: one that lives is seen after a third of it.
        tokio::time::sleep(left.min(lease / 6).max(Duration::from_millis(1))).await;
        match read(bucket, path).await? {
            Some((now, now_version)) if now == *record && now_version.e_tag == version.e_tag => {}
            _ => return Ok(false),
        }
    }
}

/// Says that the owner lives.
///
/// # Errors
/// [`StoreError::Fenced`] when it is the owner no more; the store's fault, after which nothing is known.
pub async fn renew(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    job: &JobId,
    owned: &mut Ownership,
    backoff: &mut Backoff,
) -> Result<(), StoreError> {
    update(bucket, path, job, owned, backoff, |_| {}).await
}

/// Lets go of the job.
///
/// # Errors
/// As [`renew`].
pub async fn release(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    job: &JobId,
    owned: &mut Ownership,
) -> Result<(), StoreError> {
    update(bucket, path, job, owned, &mut Backoff::default(), |record| record.released = true).await
}

async fn update(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    job: &JobId,
    owned: &mut Ownership,
    backoff: &mut Backoff,
    edit: impl FnOnce(&mut OwnerRecord),
) -> Result<(), StoreError> {
    let mut record = owned.record.clone();
    record.renewals = record.renewals.saturating_add(1);
    edit(&mut record);
    let confirmed = since_boot();
    match change(bucket, path, &record, PutMode::Update(owned.version.clone()), backoff).await? {
        Change::Done(version) => {
            *owned = Ownership { record, version, confirmed };
            Ok(())
        }
        Change::Refused => Err(StoreError::Fenced { job: job.clone() }),
    }
}

/// Puts a record. A put that was refused or not answered is decided by what is there then.
async fn change(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    record: &OwnerRecord,
    mode: PutMode,
    backoff: &mut Backoff,
) -> Result<Change, StoreError> {
    let bytes = Bytes::from(atomic::indented(Path::new(path.as_ref()), record)?);
    loop {
        let error = match bucket::put(bucket, path, bytes.clone(), mode.clone()).await {
            Ok(version) => return Ok(Change::Done(version)),
            Err(error) => error,
        };
        let is_refused = matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. });
        if !is_refused && !may_pass(&error) {
            return Err(failed("write", path, error));
        }
        match bucket::get(bucket, path).await {
            // Nobody else writes these bytes, and nobody writes them twice.
            Ok(Some((found, version))) if found == bytes => return Ok(Change::Done(version)),
            Ok(Some((_, version))) => {
                let is_as_before = matches!(&mode, PutMode::Update(before) if before.e_tag == version.e_tag);
                if !is_as_before {
                    return Ok(Change::Refused);
                }
            }
            // Refused although there is nothing: it will be seen by the next try.
            Ok(None) | Err(_) => {}
        }
        if !backoff.wait().await {
            return Err(failed("write", path, error));
        }
    }
}
