//! [`LogWriter`] of `log.jsonl`: a header line, then one [`Fact`] a line, appended and never changed. `job` opens it;
//! reading is `log_reader`'s, the digests at the lines' ends are `chain`'s.
//!
//! A torn last line is no damage: its write was never acknowledged, so nothing that follows from it has left the
//! process. Readers skip it, and the next writer cuts it off before it appends, as a fact behind half a line could not
//! be read. Damage anywhere else is an error that names the line.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

use super::atomic::FileIdentity;
use super::chain::{Chain, LogPosition};
use super::log_reader::{FORMAT, LOG_VERSION, LogReader};
use super::{StoreError, atomic, door};
use crate::fact::Fact;

/// The first line.
#[derive(Serialize)]
struct Header {
    format: &'static str,
    version: u32,
}

/// Appends facts to one log. There must be one writer at a time; the job's lock ensures it.
///
/// A log is written by three calls alone, whatever it lies in: [`LogWriter::append`] hands over a fact;
/// [`LogWriter::flush_point`] is a point at which all of them have to be durable before anything else happens, and what
/// was appended since the last one may be stored together there; [`LogWriter::position`] is the point that a checkpoint
/// refers to.
pub struct LogWriter {
    path: PathBuf,
    file: Arc<File>,
    identity: FileIdentity,
    chain: Chain,
    state: Arc<LogState>,
}

/// The state of a log that its writer and its flushes share.
#[derive(Debug, Default)]
struct LogState {
    /// The bytes from the beginning that are durable.
    durable: AtomicU64,
    /// A write or sync failed, so the file's end is unknown.
    poisoned: AtomicBool,
}

impl LogWriter {
    /// Opens the log at `path`, creating it when it does not exist and cutting off a torn last line.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (file, len) = open_file(path)?;
        let chain = if len == 0 { Chain::default() } else { LogReader::open(path)?.read_to_end()? };
        Self::at(path, file, len, chain)
    }

    /// Opens the log at `path`, which was read up to `chain`, its last whole line, since the job was locked.
    ///
    /// # Errors
    /// As [`LogWriter::open`].
    pub fn open_at(path: &Path, chain: Chain) -> Result<Self, StoreError> {
        let (file, len) = open_file(path)?;
        if len < chain.bytes() {
            return Err(StoreError::damaged(path, None, "it has become shorter since it was read"));
        }
        Self::at(path, file, len, chain)
    }

    fn at(path: &Path, file: File, len: u64, chain: Chain) -> Result<Self, StoreError> {
        let identity = FileIdentity::of(&file, path)?;
        // Nothing is durable at first: facts that an earlier process appended may not have reached the disk yet.
        let state = Arc::default();
        let mut writer = Self { path: path.to_owned(), file: Arc::new(file), identity, chain, state };
        if len > writer.chain.bytes() {
            atomic::truncate(&writer.file, path, writer.chain.bytes())?;
        }
        if writer.chain.bytes() == 0 {
            let mut header = writer.encode(&Header { format: FORMAT, version: LOG_VERSION })?;
            header.push(b'\n');
            writer.write_line(&header)?;
            writer.chain.add_unchained(&header);
        }
        Ok(writer)
    }

    /// Hands one fact to the system; it survives this process, and once its [`LogWriter::flush_point`] is flushed, a power cut.
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused ([`StoreError::Poisoned`]).
    pub fn append(&mut self, fact: &Fact) -> Result<(), StoreError> {
        let mut line = self.encode(fact)?;
        self.chain.seal(&mut line);
        self.write_line(&line)?;
        self.chain.add_sealed(&line);
        Ok(())
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(value).map_err(|source| StoreError::Encode { path: self.path.clone(), source })
    }

    /// One write for the whole line: a crash can tear this line, but not mix it with another.
    fn write_line(&mut self, line: &[u8]) -> Result<(), StoreError> {
        self.state.check(&self.path)?;
        let written = atomic::append(&self.file, &self.path, line);
        self.state.note(&written);
        written
    }

    /// Waits until all facts are durable, and checks that the log is still where it was.
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused: the disk's state after a failed sync is unknown, and
    /// the kernel may report success on the next sync without having written the data.
    #[cfg(test)]
    pub fn flush(&self) -> Result<(), StoreError> {
        self.flush_point().flush()
    }

    /// The point that the log has come to, to be flushed by any thread.
    pub fn flush_point(&self) -> LogFlush {
        LogFlush {
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            identity: self.identity,
            bytes: self.chain.bytes(),
            state: Arc::clone(&self.state),
        }
    }

    /// Returns whether a power cut may take facts before `position`.
    pub fn may_lose(&self, position: &LogPosition) -> bool {
        self.state.durable.load(Ordering::Acquire) < position.bytes
    }

    /// The end of the log.
    pub fn position(&self) -> LogPosition {
        self.chain.position()
    }
}

fn open_file(path: &Path) -> Result<(File, u64), StoreError> {
    let file = door::open_to_append(path).map_err(StoreError::io("open", path))?;
    let len = file.metadata().map_err(StoreError::io("read", path))?.len();
    Ok((file, len))
}

/// A point of a log that is to be durable.
pub struct LogFlush {
    path: PathBuf,
    file: Arc<File>,
    identity: FileIdentity,
    /// The bytes before it.
    bytes: u64,
    state: Arc<LogState>,
}

impl LogFlush {
    /// The log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes before the point.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits until all before the point is durable, and checks that the log is still where it was.
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused: the disk's state after a failed sync is unknown, and
    /// the kernel may report success on the next sync without having written the data.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.state.check(&self.path)?;
        if self.state.durable.load(Ordering::Acquire) < self.bytes {
            let synced = atomic::sync(&self.file, &self.path);
            self.state.note(&synced);
            synced?;
            self.state.durable.fetch_max(self.bytes, Ordering::AcqRel);
        }
        let found = self.identity.check_place(&self.path);
        self.state.note(&found);
        found
    }
}

impl LogState {
    fn check(&self, path: &Path) -> Result<(), StoreError> {
        if self.poisoned.load(Ordering::Acquire) { Err(StoreError::Poisoned { path: path.to_owned() }) } else { Ok(()) }
    }

    fn note(&self, done: &Result<(), StoreError>) {
        if done.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;
