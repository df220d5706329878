//! [`RemoteStorage`]: a storage in an object store. Each machine has a folder with the layout of any storage as its working
//! copy; what counts is in the object store.
//!
//! ```text
//! {prefix}/jobs/{job}/owner.json           who works on the job: epoch, lease (`owner`)
//! {prefix}/jobs/{job}/segments/{n}         what was written, in order: one chain for the whole job (`segment`)
//! {prefix}/jobs/{job}/objects/{digest}     contents too large for a segment, by their SHA-256
//! {prefix}/accounts/{account}.json         an account that jobs share (`account`)
//! {prefix}/batches/{batch}.json            many inputs, a job for each
//! {prefix}/probe                           shows whether the store refuses a second conditional put
//! ```
//!
//! A process that works on a job owns it (`owner`), and hands over what the folder's writers wrote at every point at which
//! they would wait for the disk (`journal`). All of it is one segment, put under a name that must not be taken. Who takes a
//! job over puts a seal under the next name first: whatever the process before still sends is refused from then on, for
//! all Runs of the job, those included that do not exist yet. Readers and the next owner bring their folder up to the last
//! segment (`working_copy`).

mod account;
mod address;
mod bucket;
mod clock;
mod journal;
mod lease;
mod owner;
mod probe;
mod segment;
mod working_copy;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore as Bucket;

pub use account::{AccountBlock, RemoteAccount, RemoteAccountRecord};
pub use address::RemoteAddress;
pub use journal::RemoteJob;
pub use lease::LeaseWatch;
pub use owner::OwnerRecord;

use super::{Layout, StoreError, atomic};
use crate::id::{AccountId, BatchId, JobId};
use bucket::{BucketThread, PutEnd};
pub(super) use working_copy::is_elsewhere;

/// The time for which an owner that is not heard of keeps its job.
pub const LEASE: Duration = Duration::from_secs(30);

/// The time in which a put that is not answered is made again, where no lease bounds it.
const BATCH_TIME: Duration = Duration::from_secs(30);

/// A storage in an object store. Clones share it.
#[derive(Clone)]
pub struct RemoteStorage {
    shared: Arc<Shared>,
}

struct Shared {
    address: RemoteAddress,
    bucket: BucketThread,
    layout: Layout,
    lease: Duration,
    worker: String,
    nonce: String,
    takes_over: bool,
    notice: Notice,
}

/// Gets what a person who waits should know.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// The way that a process works with an object store.
pub struct RemoteOptions {
    /// The folder that becomes the working copy.
    pub folder: PathBuf,
    /// The time for which a silent owner keeps its job.
    pub lease: Duration,
    /// The process, in words for people: host and process id.
    pub worker: String,
    /// A text that no other process has.
    pub nonce: String,
    /// A job is taken at once, also from an owner that may live: whoever starts this process knows that it is done with.
    pub takes_over: bool,
    pub notice: Notice,
}

impl RemoteStorage {
    /// The storage at `address` in `bucket`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn new(address: RemoteAddress, bucket: Arc<dyn Bucket>, options: RemoteOptions) -> Result<Self, StoreError> {
        let RemoteOptions { folder, lease, worker, nonce, takes_over, notice } = options;
        let bucket = BucketThread::start(bucket, address.clone())?;
        let layout = Layout::new(&super::no_links::real_root(&folder));
        Ok(Self { shared: Arc::new(Shared { address, bucket, layout, lease, worker, nonce, takes_over, notice }) })
    }

    /// The folder on this machine.
    pub fn folder(&self) -> &Path {
        self.shared.layout.root()
    }

    /// The address, as people write it.
    pub fn address(&self) -> &RemoteAddress {
        &self.shared.address
    }

    /// Brings the working copy up to the object store for reading what `name` names: the job of this id, else all jobs, of
    /// which one may have an id, a Run or a checkpoint that begins or ends so.
    ///
    /// # Errors
    /// The store cannot be asked, what it has is damaged, or the folder cannot be written.
    pub fn fetch(&self, name: Option<&str>) -> Result<(), StoreError> {
        if let Some(job) = name.and_then(|name| name.parse().ok()) {
            self.fetch_job(&job)?;
            if atomic::is_folder(&self.shared.layout.job(&job))? {
                return Ok(());
            }
        }
        working_copy::fetch_all(&self.shared)
    }

    /// Brings the working copy of one job up to the object store; does nothing where there is no such job.
    ///
    /// # Errors
    /// As [`RemoteStorage::fetch`].
    pub fn fetch_job(&self, job: &JobId) -> Result<(), StoreError> {
        working_copy::fetch_job(&self.shared, job)
    }

    /// An account that jobs share.
    pub fn account(&self, id: &AccountId) -> RemoteAccount {
        RemoteAccount::new(&self.shared, id)
    }

    /// Records a batch as `bytes`, unless it is there: the record that is there then.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(super) fn begin_batch(&self, id: &BatchId, bytes: Vec<u8>) -> Result<Bytes, StoreError> {
        let (shared, path, bytes) = (Arc::clone(&self.shared), self.shared.address.batch(id), Bytes::from(bytes));
        let until = clock::since_boot().saturating_add(BATCH_TIME);
        let goes_on = move || clock::since_boot() < until;
        self.shared.bucket.wait(async move {
            Ok(match bucket::put_once(&*shared.bucket.bucket, &path, bytes.clone(), goes_on).await? {
                PutEnd::Done => bytes,
                PutEnd::Taken(there) => there,
            })
        })
    }

    /// The owners of these jobs as they are; `None` for a job that has none.
    ///
    /// # Errors
    /// The store cannot be asked, or what it has is damaged.
    pub fn owners(&self, jobs: Vec<JobId>) -> Result<Vec<(JobId, Option<OwnerRecord>)>, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.shared.bucket.wait(async move { owner::read_all(&*shared.bucket.bucket, &shared.address, jobs).await })
    }

    /// Makes this process the owner of a job whose lock in the working copy it holds.
    ///
    /// # Errors
    /// Another process works on the job, the object store is unfit or cannot be asked, or what it has is damaged.
    pub(super) fn own(&self, job: &JobId) -> Result<Arc<RemoteJob>, StoreError> {
        RemoteJob::own(Arc::clone(&self.shared), job)
    }
}

impl fmt::Debug for RemoteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteStorage").field(&self.shared.address.to_string()).finish()
    }
}
