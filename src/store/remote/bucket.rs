//! [`BucketThread`]: a thread of its own that asks the object store, so that the storage's writers wait for it as they do for a
//! disk, on whatever thread they are. [`put_once`] is the way to put something under a name that must not be taken: an answer
//! that was lost is decided by reading back.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore as Bucket, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::RemoteAddress;
use crate::store::StoreError;

/// The longest wait for one answer of the object store; that for what is put or read comes on top.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// The slowest line that is waited for, in bytes a millisecond.
const SLOWEST: u64 = 250;
/// The longest wait for a list: it has a page for each thousand names.
const LIST_TIME: Duration = Duration::from_mins(2);
/// The wait between tries, at first; twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between tries.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The requests that are sent at once, at most.
pub const MOST_AT_ONCE: usize = 32;
/// The tries of a request that may simply be made again.
const TRIES: u32 = 4;

/// The object store, and the thread that asks it.
pub struct BucketThread {
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
    pub bucket: Arc<dyn Bucket>,
    pub address: RemoteAddress,
}

impl BucketThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's.
    pub fn start(bucket: Arc<dyn Bucket>, address: RemoteAddress) -> Result<Self, StoreError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("object store").enable_all().build().map_err(
                |source| StoreError::Remote {
                    what: format!("no thread can be started to ask {address}"),
                    source: source.into(),
                },
            )?;
        Ok(Self { runtime: Some(runtime), bucket, address })
    }

    /// Has the thread perform `work` and waits for its end.
    ///
    /// # Errors
    /// Those of `work`; the thread has ended.
    pub fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, done) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Nobody is left to hear of it when this fails.
            let _ = sender.send(work.await);
        });
        done.recv().unwrap_or_else(|_| {
            let what = format!("the thread that asks {} has ended", self.address);
            Err(StoreError::Remote { what, source: "it panicked".into() })
        })
    }

    /// Has the thread perform `work` beside others.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }
}

impl Drop for BucketThread {
    fn drop(&mut self) {
        // It may be dropped by a task, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The waits between tries.
pub struct Backoff {
    next: Duration,
    left: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_WAIT, left: TRIES.saturating_sub(1) }
    }
}

impl Backoff {
    /// As often as the caller likes.
    pub fn endless() -> Self {
        Self { left: u32::MAX, ..Self::default() }
    }

    /// Waits before the next try; returns false when there is none.
    pub async fn wait(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(LONGEST_WAIT);
        true
    }
}

/// The contents of an object and its version; `None` where there is none. Asks again after faults that may pass.
///
/// # Errors
/// The last fault.
pub async fn get(bucket: &dyn Bucket, path: &ObjectPath) -> Result<Option<(Bytes, UpdateVersion)>, StoreError> {
    let mut backoff = Backoff::default();
    loop {
        let asked = async {
            let found = within(ANSWER_TIME, bucket.get(path)).await?;
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            let time = time_for(found.meta.size);
            Ok((within(time, found.bytes()).await?, version))
        };
        let error = match asked.await {
            Ok(found) => return Ok(Some(found)),
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => error,
        };
        if !may_pass(&error) || !backoff.wait().await {
            return Err(failed("read", path, error));
        }
    }
}

/// One try to put `bytes` at `path`.
///
/// # Errors
/// The store's.
pub async fn put(bucket: &dyn Bucket, path: &ObjectPath, bytes: Bytes, mode: PutMode) -> Result<UpdateVersion, Error> {
    let options = PutOptions { mode, ..PutOptions::default() };
    let time = time_for(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    within(time, bucket.put_opts(path, bytes.into(), options)).await.map(UpdateVersion::from)
}

/// An object that is a record of its own, with its version in the store; `None` where there is none. `version` has that of its
/// form, of which this program reads up to `newest`.
///
/// # Errors
/// The store cannot be asked, or what it has is no such record.
pub async fn read_record<T: DeserializeOwned>(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    version: impl Fn(&T) -> u32,
    newest: u32,
) -> Result<Option<(T, UpdateVersion)>, StoreError> {
    let Some((bytes, stored)) = get(bucket, path).await? else { return Ok(None) };
    let damaged = |what: String| StoreError::RemoteDamaged { object: path.to_string(), what };
    let record: T = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let found = version(&record);
    if found > newest {
        return Err(damaged(format!(
            "it has format version {found}, this perstack reads up to {newest}: use a newer one"
        )));
    }
    Ok(Some((record, stored)))
}

/// The folders below a prefix.
///
/// # Errors
/// The last fault.
pub async fn list_folders(bucket: &dyn Bucket, path: &ObjectPath) -> Result<Vec<ObjectPath>, StoreError> {
    let mut backoff = Backoff::default();
    loop {
        match within(LIST_TIME, bucket.list_with_delimiter(Some(path))).await {
            Ok(listed) => return Ok(listed.common_prefixes),
            Err(error) if may_pass(&error) && backoff.wait().await => {}
            Err(error) => return Err(failed("list", path, error)),
        }
    }
}

/// The answer to a request, or the error that there was none in time.
async fn within<T>(time: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let no_answer = || Error::Generic { store: "object store", source: "it did not answer in time".into() };
    tokio::time::timeout(time, request).await.unwrap_or_else(|_| Err(no_answer()))
}

/// The end of a put under a name that must not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutEnd {
    Done,
    /// Something else is there.
    Taken(Bytes),
}

/// Puts `bytes` at `path` unless something is there. A put that was refused or not answered is decided by what is there
/// then: these very bytes, which nobody else can have, are this one's. `goes_on` is asked before every further try.
///
/// # Errors
/// The store's last one; whether the put was done is not known then.
pub async fn put_once(
    bucket: &dyn Bucket,
    path: &ObjectPath,
    bytes: Bytes,
    goes_on: impl Fn() -> bool,
) -> Result<PutEnd, StoreError> {
    let mut backoff = Backoff::endless();
    loop {
        let Err(error) = put(bucket, path, bytes.clone(), PutMode::Create).await else { return Ok(PutEnd::Done) };
        let is_refused = matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. });
        if !is_refused && !may_pass(&error) {
            return Err(failed("write", path, error));
        }
        let found = match get(bucket, path).await {
            Ok(Some((found, _))) if found == bytes => return Ok(PutEnd::Done),
            Ok(Some((found, _))) => return Ok(PutEnd::Taken(found)),
            Ok(None) => failed("write", path, error),
            Err(error) => error,
        };
        if !goes_on() || !backoff.wait().await || !goes_on() {
            return Err(found);
        }
    }
}

/// Returns whether a fault may be gone with the next try.
pub fn may_pass(error: &Error) -> bool {
    !matches!(
        error,
        Error::NotFound { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

/// The longest wait for an answer with, or to, so many bytes.
fn time_for(bytes: u64) -> Duration {
    ANSWER_TIME.saturating_add(Duration::from_millis(bytes / SLOWEST))
}

/// The error of an object that could not be read or written.
pub fn failed(action: &'static str, path: &ObjectPath, error: Error) -> StoreError {
    StoreError::Remote { what: format!("cannot {action} {path} in the object store"), source: error.into() }
}
