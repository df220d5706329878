//! The folder on this machine that a storage in an object store is read from and written in. What the object store has counts:
//! [`bring_up`] applies the segments that the folder does not have, and begins anew where it may have more than they.
//!
//! ```text
//! {folder}/jobs/…             as in any storage
//! {folder}/remote/{job}.json  the segment that the job's files have come to
//! {folder}/remote/{job}.elsewhere  there while a process of another machine has the job, as far as was seen
//! {folder}/remote/lock        held while files are brought up
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::bucket::{MOST_AT_ONCE, get, list_folders};
use super::owner::{self, OwnerRecord};
use super::segment::{ChangedContents, FileChange, Segment};
use crate::checkpoint::FORMAT_VERSION;
use crate::hex;
use crate::id::JobId;
use crate::job::JobStatus;
use crate::store::atomic::FileLock;
use crate::store::list::names;
use crate::store::{Layout, Store, StoreError, atomic, disk, door, snapshot};

/// The end of the segments that a working copy has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyEnd {
    /// The number of the segment behind it.
    #[serde(with = "crate::count::Count")]
    pub next: u64,
    /// The digest of the last one; empty before the first.
    pub digest: String,
    /// The epoch of the last one; 0 before the first.
    #[serde(with = "crate::count::Count")]
    pub epoch: u64,
}

impl CopyEnd {
    /// Takes in the segment behind it.
    pub fn advance(&mut self, digest: String, epoch: u64) {
        *self = Self { next: self.next.saturating_add(1), digest, epoch };
    }
}

/// `remote/{job}.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CopyState {
    format_version: u32,
    end: CopyEnd,
    /// A process writes to the files, or died while it did.
    is_open: bool,
}

/// Brings all jobs up.
///
/// # Errors
/// The store cannot be asked, what it has is damaged, or the folder cannot be written.
pub fn fetch_all(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let jobs = shared.bucket.wait({
        let shared = Arc::clone(shared);
        async move { list_jobs(&shared).await }
    })?;
    let _lock = lock(shared)?;
    let mut behind = Vec::new();
    let mut to_ask = Vec::new();
    for job in jobs.into_iter().filter(|job| !is_held(shared, job)) {
        match state_of(shared, &job)? {
            Some(state) if !state.is_open => to_ask.push((job, state.end.next)),
            _ => behind.push(job),
        }
    }
    behind.extend(shared.bucket.wait({
        let shared = Arc::clone(shared);
        async move { with_more(&shared, to_ask).await }
    })?);
    behind.iter().try_for_each(|job| bring_up_locked(shared, job).map(drop))?;
    note_owners(shared, Store::new(shared.layout.root()).job_ids()?)
}

/// Brings one job up, unless a process of this machine works on it: its files are the newest then.
///
/// # Errors
/// As [`fetch_all`].
pub fn fetch_job(shared: &Arc<Shared>, job: &JobId) -> Result<(), StoreError> {
    let _lock = lock(shared)?;
    if is_held(shared, job) {
        return Ok(());
    }
    bring_up_locked(shared, job)?;
    note_owners(shared, vec![job.clone()])
}

/// Notes which of the jobs that have not ended another process works on, for those who read the copy. One that has ended is
/// nobody's, whoever had it when the copy was brought up before.
fn note_owners(shared: &Arc<Shared>, jobs: Vec<JobId>) -> Result<(), StoreError> {
    let store = Store::new(shared.layout.root());
    let is_open = |job: &JobId| store.job(job).is_ok_and(|job| job.status == JobStatus::Running);
    let (open, ended): (Vec<JobId>, Vec<JobId>) = jobs.into_iter().partition(is_open);
    ended.iter().try_for_each(|job| note_elsewhere(shared, job, false))?;
    let jobs: Vec<JobId> = open.into_iter().filter(|job| !is_held(shared, job)).collect();
    let owned = shared.bucket.wait({
        let shared = Arc::clone(shared);
        async move { owner::read_all(&*shared.bucket.bucket, &shared.address, jobs).await }
    })?;
    let is_owned = |owner: &Option<OwnerRecord>| owner.as_ref().is_some_and(|owner| !owner.released);
    owned.iter().try_for_each(|(job, owner)| note_elsewhere(shared, job, is_owned(owner)))
}

fn elsewhere_file(layout: &Layout, job: &JobId) -> PathBuf {
    folder(layout).join(format!("{job}.elsewhere"))
}

/// Returns whether another machine's process had the job when the copy was brought up.
pub fn is_elsewhere(layout: &Layout, job: &JobId) -> bool {
    disk::metadata(&elsewhere_file(layout, job)).is_ok()
}

fn note_elsewhere(shared: &Shared, job: &JobId, is_elsewhere: bool) -> Result<(), StoreError> {
    let path = elsewhere_file(&shared.layout, job);
    if is_elsewhere {
        return atomic::write_unsynced(&path, b"").map(drop);
    }
    match door::remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// Brings a job up whose lock this process holds.
///
/// # Errors
/// As [`fetch_all`].
pub fn bring_up(shared: &Arc<Shared>, job: &JobId) -> Result<CopyEnd, StoreError> {
    let _lock = lock(shared)?;
    bring_up_locked(shared, job)
}

/// Notes that this process writes to a job's files from now on.
///
/// # Errors
/// The system's.
pub fn begin_to_write(shared: &Shared, job: &JobId, end: &CopyEnd) -> Result<(), StoreError> {
    note_elsewhere(shared, job, false)?;
    write_state(shared, job, end, true)
}

/// Notes that a job's files are as the segments up to `end` make them.
///
/// # Errors
/// The system's.
pub fn end_writing(shared: &Shared, job: &JobId, end: &CopyEnd) -> Result<(), StoreError> {
    write_state(shared, job, end, false)
}

/// The bytes of each log of a job.
///
/// # Errors
/// The system's.
pub fn log_lengths(shared: &Shared, job: &JobId) -> Result<HashMap<PathBuf, u64>, StoreError> {
    let mut lengths = HashMap::new();
    for run in Store::new(shared.layout.root()).run_ids(job)? {
        let path = shared.layout.log(job, &run);
        match disk::metadata(&path) {
            Ok(metadata) => drop(lengths.insert(path, metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        }
    }
    Ok(lengths)
}

fn lock(shared: &Shared) -> Result<FileLock, StoreError> {
    let folder = folder(&shared.layout);
    atomic::create_folder(&folder)?;
    FileLock::wait(&folder.join("lock"))
}

fn folder(layout: &Layout) -> PathBuf {
    layout.root().join("remote")
}

fn state_file(shared: &Shared, job: &JobId) -> PathBuf {
    folder(&shared.layout).join(format!("{job}.json"))
}

/// Returns whether a process of this machine works on the job.
fn is_held(shared: &Shared, job: &JobId) -> bool {
    Store::new(shared.layout.root()).holder_here(job).is_some()
}

/// `None` where nothing is known of the files, which then are as nothing, or there are none.
fn state_of(shared: &Shared, job: &JobId) -> Result<Option<CopyState>, StoreError> {
    if !disk::is_folder(&shared.layout.job(job)) {
        return Ok(None);
    }
    match snapshot::read_versioned::<CopyState>(&state_file(shared, job)) {
        Ok(state) => Ok(Some(state)),
        Err(error) if error.is_not_found() || error.is_damaged() => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_state(shared: &Shared, job: &JobId, end: &CopyEnd, is_open: bool) -> Result<(), StoreError> {
    let path = state_file(shared, job);
    let state = CopyState { format_version: FORMAT_VERSION, end: end.clone(), is_open };
    atomic::write_unsynced(&path, &atomic::on_one_line(&path, &state)?).map(drop)
}

fn bring_up_locked(shared: &Arc<Shared>, job: &JobId) -> Result<CopyEnd, StoreError> {
    let known = state_of(shared, job)?.filter(|state| !state.is_open);
    if let Some(CopyState { end, .. }) = known {
        match catch_up(shared, job, end) {
            // The files are not those that the segments are about.
            Err(StoreError::Damaged { .. } | StoreError::RemoteDamaged { .. }) => {}
            done => return done,
        }
    }
    wipe(&shared.layout, job)?;
    catch_up(shared, job, CopyEnd::default())
}

/// Applies the segments behind `end`.
fn catch_up(shared: &Arc<Shared>, job: &JobId, mut end: CopyEnd) -> Result<CopyEnd, StoreError> {
    let mut at_once = 1;
    let mut has_new = false;
    loop {
        let segments = shared.bucket.wait({
            let (shared, job, from) = (Arc::clone(shared), job.clone(), end.next);
            async move { segments_from(&shared, &job, from, at_once).await }
        })?;
        let is_last = segments.len() < at_once;
        for bytes in segments {
            let damaged = |what: String| StoreError::RemoteDamaged {
                object: shared.address.segment(job, end.next).to_string(),
                what,
            };
            let (segment, digest) = Segment::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
            if segment.after != end.digest {
                return Err(damaged("it does not follow the segment before it".to_owned()));
            }
            if segment.epoch < end.epoch {
                return Err(damaged("an owner that had lost the job put it".to_owned()));
            }
            if !std::mem::replace(&mut has_new, true) {
                write_state(shared, job, &end, true)?;
            }
            for change in segment.changes {
                apply(shared, job, change)?;
            }
            end.advance(digest, segment.epoch);
        }
        if is_last {
            if has_new {
                write_state(shared, job, &end, false)?;
            }
            return Ok(end);
        }
        at_once = at_once.saturating_mul(2).min(MOST_AT_ONCE);
    }
}

/// Makes a change in the working copy.
fn apply(shared: &Arc<Shared>, job: &JobId, change: FileChange) -> Result<(), StoreError> {
    let path = shared.layout.job(job).join(&change.path);
    atomic::create_folder(path.parent().unwrap_or(Path::new("")))?;
    match change.contents {
        ChangedContents::Whole(bytes) => atomic::write_unsynced(&path, &bytes).map(drop),
        ChangedContents::Object { digest, len } => {
            let bytes = object(shared, &shared.address.object(job, &digest), &digest, len)?;
            atomic::write_unsynced(&path, &bytes).map(drop)
        }
        ChangedContents::Appended { at, bytes } => {
            let file = door::open_to_append(&path).map_err(StoreError::io("open", &path))?;
            if file.metadata().map_err(StoreError::io("read", &path))?.len() != at {
                return Err(StoreError::damaged(&path, None, "it is not as the object store has it"));
            }
            atomic::append(&file, &path, &bytes)
        }
    }
}

/// The contents of an object, which its name is the digest of.
fn object(shared: &Arc<Shared>, path: &ObjectPath, digest: &str, len: u64) -> Result<Bytes, StoreError> {
    let damaged = |what: &str| StoreError::RemoteDamaged { object: path.to_string(), what: what.to_owned() };
    let found = shared.bucket.wait({
        let (shared, path) = (Arc::clone(shared), path.clone());
        async move { get(&*shared.bucket.bucket, &path).await }
    })?;
    let (bytes, _) = found.ok_or_else(|| damaged("it is missing"))?;
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|read| read == len);
    if is_whole && hex::digits(&Sha256::digest(&bytes)) == digest {
        Ok(bytes)
    } else {
        Err(damaged("its contents do not fit its name"))
    }
}

/// Removes a job's files, but for the lock that may be held.
fn wipe(layout: &Layout, job: &JobId) -> Result<(), StoreError> {
    let folder = layout.job(job);
    if !atomic::is_folder(&folder)? {
        return Ok(());
    }
    for name in names(&folder)?.iter().filter(|name| *name != "lock") {
        let path = folder.join(name);
        if disk::is_folder(&path) {
            atomic::remove_folder(&path)?;
        } else {
            door::remove(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The segments from a number on that follow each other, up to `most` of them.
async fn segments_from(shared: &Shared, job: &JobId, from: u64, most: usize) -> Result<Vec<Bytes>, StoreError> {
    let bucket = &*shared.bucket.bucket;
    let numbers = (0_u64..).map(|n| from.saturating_add(n)).take(most);
    let asked = stream::iter(numbers.map(|n| {
        let path = shared.address.segment(job, n);
        async move { get(bucket, &path).await }
    }));
    let found: Vec<_> = asked.buffered(most).try_collect().await?;
    Ok(found.into_iter().map_while(|segment| segment.map(|(bytes, _)| bytes)).collect())
}

/// The ids of all jobs.
async fn list_jobs(shared: &Shared) -> Result<Vec<JobId>, StoreError> {
    let folders = list_folders(&*shared.bucket.bucket, &shared.address.jobs()).await?;
    Ok(folders.iter().filter_map(|folder| folder.filename()?.parse().ok()).collect())
}

/// The jobs that have a segment of this number.
async fn with_more(shared: &Shared, jobs: Vec<(JobId, u64)>) -> Result<Vec<JobId>, StoreError> {
    let bucket = &*shared.bucket.bucket;
    let asked = stream::iter(jobs.into_iter().map(|(job, next)| {
        let path = shared.address.segment(&job, next);
        async move { Ok(get(bucket, &path).await?.map(|_| job)) }
    }));
    let found: Vec<Option<JobId>> = asked.buffered(MOST_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
