//! [`check`]: whether an object store refuses a second conditional put, of both kinds. Without that there is no fence between
//! two processes, and such a store is not used.

use bytes::Bytes;
use object_store::{Error, ObjectStore as Bucket, PutMode, UpdateVersion};

use super::RemoteAddress;
use super::bucket::{Backoff, failed, may_pass, put};
use crate::store::StoreError;

/// The object that is tried with.
const TEXT: &[u8] = b"perstack tries here whether a second conditional put is refused\n";
/// A version that nothing has.
const NO_VERSION: &str = "\"00000000000000000000000000000000\"";

/// Tries both kinds of conditional puts.
///
/// # Errors
/// [`StoreError::RemoteUnfit`], or the store cannot be asked.
pub async fn check(bucket: &dyn Bucket, address: &RemoteAddress) -> Result<(), StoreError> {
    let unfit = |what: &str| StoreError::RemoteUnfit { address: address.to_string(), what: what.to_owned() };
    let create = || PutMode::Create;
    // The first one makes it, unless it is there.
    if is_refused(bucket, address, create).await? || is_refused(bucket, address, create).await? {
        let other = || PutMode::Update(UpdateVersion { e_tag: Some(NO_VERSION.to_owned()), version: None });
        if is_refused(bucket, address, other).await? {
            return Ok(());
        }
        return Err(unfit("it replaces an object under a condition that does not hold (If-Match)"));
    }
    Err(unfit("it creates an object a second time under the condition that there is none (If-None-Match)"))
}

async fn is_refused(
    bucket: &dyn Bucket,
    address: &RemoteAddress,
    mode: impl Fn() -> PutMode,
) -> Result<bool, StoreError> {
    let path = address.probe();
    let mut backoff = Backoff::default();
    loop {
        match put(bucket, &path, Bytes::from_static(TEXT), mode()).await {
            Ok(_) => return Ok(false),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => {
                return Ok(true);
            }
            Err(error) if may_pass(&error) && backoff.wait().await => {}
            Err(error) => return Err(failed("write", &path, error)),
        }
    }
}
