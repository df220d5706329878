//! [`StoreError`]: the faults of stored state, each with a way on as its [`ErrorHint`].

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use super::no_links::link_in;
use crate::hint::ErrorHint;
use crate::id::{AccountId, BatchId, JobId, RunId};

/// The reason why state could not be stored, read or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused; the cause is `source()`.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A value has no JSON form.
    #[error("cannot write {} as JSON", path.display())]
    Encode { path: PathBuf, source: serde_json::Error },
    /// A file was written by a later version.
    #[error("{} has format version {version}, this perstack reads up to {supported}", path.display())]
    Newer { path: PathBuf, version: u64, supported: u32 },
    /// A file has other contents than it should have.
    #[error("{}{} is damaged: {what}", path.display(), at_line(*line))]
    Damaged {
        path: PathBuf,
        /// From 1; absent when the file is one value.
        line: Option<u64>,
        what: String,
        /// The newest checkpoint of the same job that can be read.
        newest: Option<PathBuf>,
    },
    /// A log holds a kind of fact that this version does not know: a later one wrote it. Its consequences are unknown
    /// here, so the Run must not go on from it.
    #[error("{}, line {line}, holds a fact {kind:?} that this perstack does not know: a newer one wrote it", path.display())]
    UnknownFact {
        path: PathBuf,
        /// From 1.
        line: u64,
        kind: String,
    },
    /// Another process writes to the job.
    #[error("job {job} is being worked on by {}", owner(*pid))]
    Locked {
        job: JobId,
        /// The owner's process id, when it could be read.
        pid: Option<u32>,
    },
    /// Another process works on the batch.
    #[error("batch {batch} is being worked on by {}", owner(*pid))]
    BatchLocked {
        batch: BatchId,
        /// The owner's process id, when it could be read.
        pid: Option<u32>,
    },
    /// A batch of that id is about something else.
    #[error("batch {batch} was begun with another {what}")]
    OtherBatch { batch: BatchId, what: &'static str },
    /// An account that was never given limits.
    #[error("account {account} has no limits yet")]
    AccountWithoutLimits { account: AccountId },
    /// A job of that id has been started before.
    #[error("job {job} exists already")]
    JobExists { job: JobId },
    /// A Run of that id has been started before.
    #[error("run {run} exists already in job {job}")]
    RunExists { job: JobId, run: RunId },
    /// Nothing has the given name.
    #[error("{what}")]
    NotFound { what: String, suggestion: Option<String> },
    /// A beginning or an end fits several checkpoints.
    #[error("{prefix:?} fits several checkpoints: {}", candidates.join(", "))]
    Ambiguous { prefix: String, candidates: Vec<String> },
    /// A beginning or an end fits several things of another kind, or of several kinds.
    #[error("{prefix:?} fits several {what}: {}", candidates.join(", "))]
    AmbiguousName {
        /// The kind, in the plural.
        what: &'static str,
        prefix: String,
        candidates: Vec<String>,
    },
    /// A file that is being written was moved.
    #[error("{} was moved, replaced or removed while the job was writing to it", path.display())]
    Displaced { path: PathBuf },
    /// A link in the storage, through which a write would change something elsewhere.
    #[error("{} is a link, and nothing in a storage folder may be one, as writes would go where it leads", path.display())]
    Link { path: PathBuf },
    /// A file of the storage with a second name, under which a write would change it too.
    #[error("{} has another name (a hard link), and would be changed there too", path.display())]
    HardLink { path: PathBuf },
    /// The object store did not do what was asked of it; the cause is `source()`.
    #[error("{what}")]
    Remote { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// An object has other contents than it should have.
    #[error("{object} in the object store is damaged: {what}")]
    RemoteDamaged { object: String, what: String },
    /// An object store that would let two processes write to one job.
    #[error("{address} cannot keep jobs: {what}")]
    RemoteUnfit { address: String, what: String },
    /// A process on another machine works on the job.
    #[error("job {job} is being worked on by {worker}")]
    LockedElsewhere { job: JobId, worker: String },
    /// Another process has taken the job, or may have: this one was silent for too long.
    #[error("job {job} is no longer this process's: it was silent for longer than its lease")]
    Fenced { job: JobId },
    /// Something that a storage in an object store cannot do.
    #[error("{what} is not possible in an object store")]
    NotRemote { what: &'static str },
    /// An earlier write to the log failed, so nothing may be written behind the hole.
    #[error("{} takes no more facts after a failed write", path.display())]
    Poisoned { path: PathBuf },
}

impl StoreError {
    /// Returns whether another process holds the job.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::LockedElsewhere { .. })
    }

    /// Returns whether the requested file or id does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Returns whether the given name fits several jobs, Runs or checkpoints.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Ambiguous { .. } | Self::AmbiguousName { .. })
    }

    /// Returns whether a file was read and has other contents than it should have.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match Self::for_link(path, &source) {
            Some(link) => link,
            None => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// The error when the system refused a link: it reports a loop, or that something else than a folder is there.
    fn for_link(path: &Path, source: &io::Error) -> Option<Self> {
        #[cfg(unix)]
        match source.raw_os_error() {
            Some(libc::EMLINK) => return Some(Self::HardLink { path: path.to_owned() }),
            Some(libc::ELOOP | libc::EEXIST | libc::ENOTDIR) => {}
            _ => return None,
        }
        #[cfg(not(unix))]
        let _ = source;
        link_in(path).map(|link| Self::Link { path: link.to_owned() })
    }

    pub(super) fn damaged(path: &Path, line: Option<u64>, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), line, what: what.into(), newest: None }
    }
}

impl ErrorHint for StoreError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::Io { source, .. } => remedy(source)?,
            Self::Newer { .. } => "use a newer perstack",
            Self::Damaged { newest, .. } => {
                let newest = newest.as_deref()?;
                return Some(
                    format!("continue from the newest good checkpoint of this job, {}", newest.display()).into(),
                );
            }
            Self::UnknownFact { .. } => "continue with that newer perstack",
            Self::OtherBatch { .. } => "give this one a name of its own",
            Self::AccountWithoutLimits { .. } => "give it a limit of cost or of tokens (maxCost, maxTokens)",
            Self::BatchLocked { .. } | Self::Locked { .. } | Self::LockedElsewhere { .. } => {
                "wait for it to end, or stop it"
            }
            Self::Remote { .. } => "check the address, the AWS_… variables and the network",
            Self::RemoteDamaged { .. } => "bring the object back, from a version that the store may have kept",
            Self::RemoteUnfit { .. } => "use a store with conditional puts, or a folder",
            Self::Fenced { .. } => {
                "nothing of it is recorded from here on; `perstack log` shows what is, `perstack resume` goes on"
            }
            Self::NotRemote { .. } => "use a folder as storage for it",
            Self::JobExists { .. } => "resume it, or choose another id",
            Self::RunExists { .. } => "open it instead",
            Self::NotFound { suggestion, .. } => return suggestion.as_deref().map(Cow::Borrowed),
            Self::Ambiguous { .. } => "give more of the id, or the file's path",
            Self::AmbiguousName { .. } => "give more of the id",
            Self::Displaced { .. } => "put it back, then resume",
            Self::Link { .. } => "remove it, or choose another storage folder",
            Self::HardLink { .. } => "replace it by a copy of its own, or choose another storage folder",
            Self::Poisoned { .. } => "resume the job to continue from the stored state",
            Self::Encode { .. } => return None,
        };
        Some(hint.into())
    }
}

/// The remedy of a system's error. It is no advice to resume, as the job may not have begun: the command that continues one which
/// has is for the program to show.
fn remedy(source: &io::Error) -> Option<&'static str> {
    Some(match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (ulimit -f)",
        io::ErrorKind::PermissionDenied => "check the permissions of the storage folder",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "a file is in the way: choose another storage folder"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a storage folder that can be written to",
        _ => return None,
    })
}

fn at_line(line: Option<u64>) -> String {
    line.map(|line| format!(", line {line},")).unwrap_or_default()
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
