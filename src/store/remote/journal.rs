//! [`RemoteJob`]: a job that this process owns in an object store. The folder's writers note what they wrote ([`RemoteJob::note`],
//! [`RemoteJob::note_log`]) and hand all of it over at once ([`RemoteJob::commit`]) where they would wait for the disk. Those
//! of Runs that wait at the same time go into one segment.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::PutMode;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::bucket::{Backoff, PutEnd, failed, may_pass, put, put_once};
use super::lease::{Lease, LeaseWatch};
use super::segment::{ChangedContents, FileChange, Segment};
use super::working_copy::{self, CopyEnd};
use crate::hex;
use crate::id::JobId;
use crate::store::list::names;
use crate::store::{StoreError, atomic, disk};

/// The bytes from which a file's contents are an object of their own.
const MAX_INLINE: u64 = 1 << 20;

/// A job that this process owns.
pub struct RemoteJob {
    shared: Arc<Shared>,
    id: JobId,
    lease: Lease,
    epoch: u64,
    nonce: String,
    end: Mutex<JournalEnd>,
    noted: Mutex<Noted>,
}

/// The end of what the object store has.
#[derive(Debug)]
struct JournalEnd {
    copy: CopyEnd,
    /// The bytes of each log that are there.
    logs: HashMap<PathBuf, u64>,
    /// The length of each long output that is there.
    outputs: HashMap<PathBuf, u64>,
    /// A put failed: the end is not known.
    is_lost: bool,
}

/// Writes that are not there yet, by paths in the working copy.
#[derive(Debug, Default)]
struct Noted {
    logs: BTreeMap<PathBuf, u64>,
    files: BTreeMap<PathBuf, NewContents>,
}

#[derive(Debug)]
enum NewContents {
    Bytes(Bytes),
    /// As they are in the working copy.
    OnDisk,
}

impl RemoteJob {
    /// Takes the job, seals what an owner before may still send, and brings the working copy up to the end.
    ///
    /// # Errors
    /// Another process works on it, the store is unfit or cannot be asked, or what it has is damaged.
    pub(super) fn own(shared: Arc<Shared>, id: &JobId) -> Result<Arc<Self>, StoreError> {
        let (lease, before) = Lease::take(&shared, id)?;
        let (epoch, nonce) = lease.mark()?;
        let mut copy = bring_up(&shared, id, epoch)?;
        if before.is_some_and(|before| !before.released) {
            seal(&shared, id, &lease, (epoch, &nonce), &mut copy)?;
        }
        working_copy::begin_to_write(&shared, id, &copy)?;
        let logs = working_copy::log_lengths(&shared, id)?;
        let end = Mutex::new(JournalEnd { copy, logs, outputs: HashMap::new(), is_lost: false });
        Ok(Arc::new(Self { shared, id: id.clone(), lease, epoch, nonce, end, noted: Mutex::default() }))
    }

    /// One more with every process that takes the job.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Checks that the job is this process's, for long enough to do something.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not, or the object store cannot be asked.
    pub fn check(&self) -> Result<(), StoreError> {
        self.lease.check()
    }

    /// A look at whether it still is, without asking.
    pub fn watch(&self) -> LeaseWatch {
        self.lease.watch()
    }

    /// Has `callback` called when the job is about to be another process's.
    pub fn when_lost(&self, callback: impl FnOnce() + Send + 'static) {
        self.lease.when_lost(callback);
    }

    /// Returns whether it was, so that all work on it had to end.
    pub fn is_given_up(&self) -> bool {
        self.lease.is_given_up()
    }

    /// Notes the new contents of a file in the job's folder.
    pub fn note(&self, path: &Path, bytes: Vec<u8>) {
        lock(&self.noted).files.insert(path.to_owned(), NewContents::Bytes(bytes.into()));
    }

    /// Notes a new file in the job's folder, which is not changed any more.
    pub fn note_file(&self, path: &Path) {
        lock(&self.noted).files.insert(path.to_owned(), NewContents::OnDisk);
    }

    /// Notes that a Run's log has come to `bytes`.
    pub fn note_log(&self, path: &Path, bytes: u64) {
        let mut noted = lock(&self.noted);
        let end = noted.logs.entry(path.to_owned()).or_default();
        *end = bytes.max(*end);
    }

    /// Hands over all that is noted. On return it is in the object store, and the job is still this process's.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is not; the store's fault, after which nothing more is taken.
    pub fn commit(&self) -> Result<(), StoreError> {
        let mut end = lock(&self.end);
        if end.is_lost {
            return Err(StoreError::Fenced { job: self.id.clone() });
        }
        let done = self.lease.check().and_then(|()| self.put_noted(&mut end));
        end.is_lost = done.is_err();
        done
    }

    fn put_noted(&self, end: &mut JournalEnd) -> Result<(), StoreError> {
        // What others note meanwhile is theirs to commit.
        let noted = std::mem::take(&mut *lock(&self.noted));
        let mut changes = Vec::new();
        for (path, new) in noted.files {
            changes.push(self.change_of(&path, new)?);
        }
        for (path, bytes) in noted.logs {
            self.add_outputs(&path, end, &mut changes)?;
            let known = end.logs.get(&path).copied().unwrap_or_default();
            if known < bytes {
                let contents = ChangedContents::Appended { at: known, bytes: read_range(&path, known, bytes)?.into() };
                changes.push(FileChange { path: self.below(&path).to_owned(), contents });
                end.logs.insert(path, bytes);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let (bytes, digest) = encode(&self.segment(end.copy.digest.clone(), changes), &self.id)?;
        let put = put_segment(&self.shared, &self.id, end.copy.next, bytes, &self.lease)?;
        match put {
            PutEnd::Done => {
                end.copy.advance(digest, self.epoch);
                Ok(())
            }
            PutEnd::Taken(_) => Err(StoreError::Fenced { job: self.id.clone() }),
        }
    }

    fn segment(&self, after: String, changes: Vec<FileChange>) -> Segment {
        Segment { epoch: self.epoch, nonce: self.nonce.clone(), after, is_seal: false, changes }
    }

    fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(self.shared.layout.job(&self.id)).unwrap_or(path)
    }

    /// A file's change; of one that is large, behind the object that has its contents.
    fn change_of(&self, path: &Path, new: NewContents) -> Result<FileChange, StoreError> {
        let bytes = match new {
            NewContents::Bytes(bytes) => bytes,
            NewContents::OnDisk => atomic::read(path)?.into(),
        };
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let contents = if len <= MAX_INLINE {
            ChangedContents::Whole(bytes)
        } else {
            let digest = hex::digits(&Sha256::digest(&bytes));
            self.put_object(&digest, bytes)?;
            ChangedContents::Object { digest, len }
        };
        Ok(FileChange { path: self.below(path).to_owned(), contents })
    }

    /// Puts an object. Whoever puts it under this name, and however often, it is the same.
    fn put_object(&self, digest: &str, bytes: Bytes) -> Result<(), StoreError> {
        let (shared, path) = (Arc::clone(&self.shared), self.shared.address.object(&self.id, digest));
        self.shared.bucket.wait(async move {
            let mut backoff = Backoff::default();
            loop {
                match put(&*shared.bucket.bucket, &path, bytes.clone(), PutMode::Overwrite).await {
                    Ok(_) => return Ok(()),
                    Err(error) if may_pass(&error) && backoff.wait().await => {}
                    Err(error) => return Err(failed("write", &path, error)),
                }
            }
        })
    }

    /// Adds the long outputs of tools beside a log that are new or have grown: results in the log name them.
    fn add_outputs(&self, log: &Path, end: &mut JournalEnd, changes: &mut Vec<FileChange>) -> Result<(), StoreError> {
        let folder = log.with_file_name("outputs");
        if !disk::is_folder(&folder) {
            return Ok(());
        }
        for name in names(&folder)?.iter().filter(|name| !name.starts_with('.')) {
            let path = folder.join(name);
            let len = disk::metadata(&path).map_err(StoreError::io("read", &path))?.len();
            if end.outputs.get(&path) != Some(&len) {
                changes.push(self.change_of(&path, NewContents::OnDisk)?);
                end.outputs.insert(path, len);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJob").field("id", &self.id).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Drop for RemoteJob {
    fn drop(&mut self) {
        let end = lock(&self.end);
        // Facts that were written and not handed over are nobody's: the next process here reads the job anew.
        let is_whole = || working_copy::log_lengths(&self.shared, &self.id).is_ok_and(|logs| logs == end.logs);
        if !end.is_lost && lock(&self.noted).files.is_empty() && is_whole() {
            // It does so too where this fails.
            let _ = working_copy::end_writing(&self.shared, &self.id, &end.copy);
        }
    }
}

/// Brings the working copy up for the owner of `epoch`. Who finds a later owner's segment has lost the job before it read: it must
/// not go on behind that one's seal.
fn bring_up(shared: &Arc<Shared>, id: &JobId, epoch: u64) -> Result<CopyEnd, StoreError> {
    let copy = working_copy::bring_up(shared, id)?;
    if copy.epoch > epoch { Err(StoreError::Fenced { job: id.clone() }) } else { Ok(copy) }
}

/// Puts the seal behind which nothing of an owner before can come.
fn seal(
    shared: &Arc<Shared>,
    id: &JobId,
    lease: &Lease,
    (epoch, nonce): (u64, &str),
    copy: &mut CopyEnd,
) -> Result<(), StoreError> {
    loop {
        let after = copy.digest.clone();
        let seal = Segment { epoch, nonce: nonce.to_owned(), after, is_seal: true, changes: Vec::new() };
        let (bytes, digest) = encode(&seal, id)?;
        let put = put_segment(shared, id, copy.next, bytes, lease)?;
        match put {
            PutEnd::Done => {
                copy.advance(digest, epoch);
                return Ok(());
            }
            // The owner before was faster: that counts, and what comes behind it does not.
            PutEnd::Taken(_) => *copy = bring_up(shared, id, epoch)?,
        }
    }
}

/// Puts a segment under its number, for as long as the lease holds.
fn put_segment(
    shared: &Arc<Shared>,
    id: &JobId,
    number: u64,
    bytes: Bytes,
    lease: &Lease,
) -> Result<PutEnd, StoreError> {
    let (bucket, path, lease) = (Arc::clone(&shared.bucket.bucket), shared.address.segment(id, number), lease.watch());
    shared.bucket.wait(async move { put_once(&*bucket, &path, bytes, || lease.holds()).await })
}

fn encode(segment: &Segment, id: &JobId) -> Result<(Bytes, String), StoreError> {
    segment.encode().map_err(|error| StoreError::Remote {
        what: format!("the record of job {id} has no form for an object store"),
        source: error.into(),
    })
}

fn read_range(path: &Path, from: u64, to: u64) -> Result<Vec<u8>, StoreError> {
    let mut file = atomic::open(path)?;
    file.seek(SeekFrom::Start(from)).map_err(StoreError::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(to.saturating_sub(from)).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if u64::try_from(bytes.len()).is_ok_and(|read| from.saturating_add(read) == to) {
        Ok(bytes)
    } else {
        Err(StoreError::damaged(path, None, "it has become shorter since it was written"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Behind a panic it is as it was: each change is made at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
