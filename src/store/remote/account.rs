//! [`RemoteAccountRecord`]: an account that jobs on all machines share; a [`RemoteAccount`] changes it.
//!
//! A job draws in blocks: all of its block is set aside for it, and it asks nobody until that is used up. The account is
//! changed only under the condition that it is as it was read, and is never the same bytes twice, so that no put counts
//! late. A change states how the job's part is to be, not what is to be added to it: one that was refused or not answered
//! is made again on what is there then, which is nothing where it had been done.
//!
//! A block belongs to an owner of its job ([`super::owner`]). The next owner inherits what is left of it; from then on the
//! one before draws nothing more.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore as Bucket, PutMode, UpdateVersion};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::bucket::{self, Backoff, failed, may_pass};
use crate::budget::{Budgets, Charge};
use crate::id::{AccountId, JobId};
use crate::store::{StoreError, atomic};

const FORMAT_VERSION: u32 = 1;

/// `accounts/{account}.json`. Readers tolerate unknown keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteAccountRecord {
    format_version: u32,
    /// One more with every change.
    #[serde(with = "crate::count::Count")]
    changes: u64,
    /// Cost and tokens alone: the others are a job's own.
    pub limits: Budgets,
    /// By all jobs, as far as they have reported it.
    pub spent: Charge,
    /// Of the jobs that draw on the account now, or whose process died while they did.
    #[serde(default)]
    pub blocks: BTreeMap<JobId, AccountBlock>,
}

/// The part of an account that one job has for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountBlock {
    /// The owner of the job that draws.
    #[serde(with = "crate::count::Count")]
    pub epoch: u64,
    /// The job's own spending, as far as the account has it or does not count it.
    pub counted: Charge,
    /// Set aside for what it spends beyond that.
    pub drawn: Charge,
    /// It needs what others have set aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

impl Default for RemoteAccountRecord {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            changes: 0,
            limits: Budgets::default(),
            spent: Charge::default(),
            blocks: BTreeMap::new(),
        }
    }
}

impl RemoteAccountRecord {
    /// The block of `job` for its owner of `epoch`, who has found that the job has spent so much in all. It has what is left
    /// of an earlier owner's. `None` when a later owner draws.
    pub fn enter(&mut self, job: &JobId, epoch: u64, spent: Charge) -> Option<AccountBlock> {
        let before = self.blocks.get(job).copied();
        let block = match before {
            Some(block) if block.epoch > epoch => return None,
            // The same change, made again.
            Some(block) if block.epoch == epoch => block,
            Some(block) => {
                let (added, block) = block.with_spent(spent);
                self.spent = self.spent.plus(added);
                AccountBlock { epoch, counted: spent, waits: false, ..block }
            }
            None => AccountBlock { epoch, counted: spent, ..AccountBlock::default() },
        };
        self.blocks.insert(job.clone(), block);
        Some(block)
    }

    /// Takes in what the job has spent in all, and sets so much aside for it. Returns false, and changes nothing, when the block
    /// is not this owner's any more.
    pub fn report(&mut self, job: &JobId, epoch: u64, spent: Charge, held: Charge) -> bool {
        let Some(block) = self.blocks.get_mut(job).filter(|block| block.epoch == epoch) else { return false };
        let (added, reported) = block.with_spent(spent);
        self.spent = self.spent.plus(added);
        *block = AccountBlock { drawn: held, ..reported };
        true
    }

    /// Takes in what the job has spent in all, and gives back the rest of its block. Returns false where there is none of
    /// this owner or one before.
    pub fn leave(&mut self, job: &JobId, epoch: u64, spent: Charge) -> bool {
        let Some(block) = self.blocks.get(job).copied().filter(|block| block.epoch <= epoch) else { return false };
        self.spent = self.spent.plus(block.with_spent(spent).0);
        self.blocks.remove(job);
        true
    }

    /// Takes all of the block of a job that is gone for spent.
    pub fn write_off(&mut self, job: &JobId) {
        if let Some(block) = self.blocks.remove(job) {
            self.spent = self.spent.plus(block.drawn);
        }
    }

    /// Returns true if another job needs what this one has set aside and does not use.
    pub fn is_waited_for(&self, job: &JobId) -> bool {
        self.blocks.iter().any(|(other, block)| other != job && block.waits)
    }

    /// The blocks of all jobs but this one, as far as there is anything in them.
    pub fn drawn_by_others(&self, job: &JobId) -> Vec<Charge> {
        let others = self.blocks.iter().filter(|(other, _)| *other != job).map(|(_, block)| block.drawn);
        others.filter(|drawn| *drawn != Charge::default()).collect()
    }
}

impl AccountBlock {
    /// The spending that was not counted yet, and the block once it is: that much less is set aside.
    fn with_spent(self, spent: Charge) -> (Charge, Self) {
        let added = spent.minus(self.counted);
        (added, Self { counted: self.counted.plus(added), drawn: self.drawn.minus(added), ..self })
    }
}

/// An account in an object store.
#[derive(Clone)]
pub struct RemoteAccount {
    shared: Arc<Shared>,
    path: ObjectPath,
}

impl RemoteAccount {
    pub(super) fn new(shared: &Arc<Shared>, id: &AccountId) -> Self {
        Self { shared: Arc::clone(shared), path: shared.address.account(id) }
    }

    /// The account as it is; `None` before its first use.
    ///
    /// # Errors
    /// The store cannot be asked, or what it has is no account.
    pub fn read(&self) -> Result<Option<RemoteAccountRecord>, StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        let found = self.shared.bucket.wait(async move { read(&*shared.bucket.bucket, &path).await })?;
        Ok(found.map(|(record, _)| record))
    }

    /// Changes the account. `edit` brings a part of it to a state, whatever it finds: it may be called more than once, also
    /// on its own result.
    ///
    /// # Errors
    /// That of `edit`, which then changed nothing. The store's: whether the change was made is not known then.
    pub fn change<T: Send + 'static>(
        &self,
        edit: impl FnMut(&mut RemoteAccountRecord) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        self.shared.bucket.wait(async move { change(&*shared.bucket.bucket, &path, edit).await })
    }
}

async fn read(
    bucket: &dyn Bucket,
    path: &ObjectPath,
) -> Result<Option<(RemoteAccountRecord, UpdateVersion)>, StoreError> {
    bucket::read_record(bucket, path, |record: &RemoteAccountRecord| record.format_version, FORMAT_VERSION).await
}

/// As [`RemoteAccount::change`].
pub async fn change<T>(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    mut edit: impl FnMut(&mut RemoteAccountRecord) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut backoff = Backoff::default();
    // The fault of the last put, and the version that it was to replace.
    let mut failure: Option<(Error, Option<UpdateVersion>)> = None;
    loop {
        let found = read(bucket, path).await?;
        let (before, version) = found.map_or((None, None), |(record, version)| (Some(record), Some(version)));
        if let Some((error, replaced)) = failure.take()
            && tag_of(version.as_ref()) == tag_of(replaced.as_ref())
            && !backoff.wait().await
        {
            // Nobody was faster, and it was not done either.
            return Err(failed("write", path, error));
        }
        let mut record = before.clone().unwrap_or_default();
        let done = edit(&mut record)?;
        if before.unwrap_or_default() == record {
            return Ok(done);
        }
        record.changes = record.changes.saturating_add(1);
        let bytes = Bytes::from(atomic::indented(Path::new(path.as_ref()), &record)?);
        let mode = version.clone().map_or(PutMode::Create, PutMode::Update);
        match bucket::put(bucket, path, bytes, mode).await {
            Ok(_) => return Ok(done),
            Err(error) if is_refused(&error) || may_pass(&error) => failure = Some((error, version)),
            Err(error) => return Err(failed("write", path, error)),
        }
    }
}

fn tag_of(version: Option<&UpdateVersion>) -> Option<&str> {
    version?.e_tag.as_deref()
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. })
}
