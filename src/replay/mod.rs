//! [`Cassette`]s: a job's model exchanges and tool results in one file, from which it can be run again without a
//! network. The runtime's tape calls the recorder and the player; the meaning of requests is left to the providers.
//!
//! A cassette is JSON Lines: a [`CassetteHeader`], then one record a line, written as it happens.
//!
//! ```text
//! {"format":"perstack-cassette","version":5,"provider":"anthropic","model":"…","startedAt":1771000000000,"seed":42}
//! {"record":"start","jobId":"…","runId":"…","expert":"librarian","query":"…","options":{"experts":{…},…}}
//! {"record":"offer","expert":"librarian","tools":[…]}
//! {"record":"exchange","number":1,"request":{"path":"/v1/messages","conversation":1,"body":{…}},"response":{…}}
//! {"record":"tool","call":{…},"result":{…}}
//! {"record":"exchange","number":2,"request":{"path":"/v1/messages","conversation":1,
//!   "changes":{"messages":{"keep":1,"items":[{"now":{…}},{"now":{…}}]}}},"response":{"status":200,"headers":[…],"body":"…"}}
//! {"record":"end","status":"completed"}
//! ```
//!
//! A `start` ([`RecordedStart`]) has all that the job is run with, so that the cassette is enough to run it again. When the
//! job is continued, by a person's answer or another message, the continuation is a further part of the same cassette: a
//! `start` that names its checkpoint, and what follows. Delegates need no records of their own: their Runs follow from
//! the calls. Where a signal, the time or the death of its process ended a part, its `end` has the places of all Runs
//! ([`RunStops`]); the latter is written by the continuation. Without an `end`, a recording was cut short. Older cassettes
//! have neither.
//!
//! The first request of a conversation is whole; a later one has the changes of its body from the one before it, or of a
//! new conversation from another (`from`). A change of a value is the value (`now`), no value (`gone`), the changes of
//! some of its `fields`, or the number of a list's first items that stay (`keep`) and the changes of the `items` behind
//! them; `{}` is none. So a cassette grows with the conversation, and a line is read with those before it alone.
//!
//! An answer that streamed in has its events as JSON (`bodyEvents`), where these give its text again byte for byte; a list
//! `["/delta/text",{…},["An"," owl"]]` is a run of events that differ in this string alone. Other text is a `body`, other
//! bytes are a `bodyBase64`.
//!
//! A line that has the shape of an earlier one may have what differs alone (`abridge`): `like`, the number of that line, and
//! `with`, the other values.
//!
//! A record `change` has the tools of a Run's servers that changed theirs behind so many of its requests.
//!
//! Time and ids are in the header: all stamps follow from its start and the ids of Runs ([`CassetteClock`]); those of a
//! continuation from the time in its `start`. The record `permission` has a person's decision about a call.
//!
//! Request headers and the query of an address, which carry credentials, are never recorded; known secrets are removed
//! from the rest. The paths of the workspace and of the home folder are written as `{workspace}` and `{home}`, and read
//! back as the current ones, so that a cassette plays in any folder. (A path that a model's answer contains in pieces stays as it was recorded.)
//!
//! Vendors' bodies are not interpreted: a request equals a recorded one when its path and its JSON are the same.

mod abridge;
mod cassette;
mod change;
mod clock;
mod conversations;
mod difference;
mod digest;
mod events;
mod index;
mod kept;
mod outline;
mod play;
mod record;
mod scan;
mod stops;
mod workspace;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::hint::ErrorHint;
use crate::id::{CheckpointId, JobId};

pub use cassette::CassetteHeader;
pub use cassette::{RecordedChange, RecordedOffer, RecordedStart};
pub use clock::CassetteClock;
pub use index::Cassette;
pub use play::{ReplayDecisions, ReplayDifference, ReplayTools, ReplayTransport};
pub use record::{CassetteRecorder, RecordingTransport};
pub use stops::{RunStop, RunStops};
pub use workspace::{HOME, LocalPaths, WORKSPACE};

/// The action of [`ReplayError::Io`] when a record cannot be written.
const WRITE: &str = "write to";

/// The reason why a cassette could not be written, read or followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The system refused; the cause is `source()`.
    #[error("cannot {action} cassette {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A record has no JSON form.
    #[error("cannot write to cassette {} as JSON", path.display())]
    Encode { path: PathBuf, source: serde_json::Error },
    /// A file that is no cassette would be overwritten.
    #[error("{} exists and is no cassette", path.display())]
    WouldOverwrite { path: PathBuf },
    /// The file to be replayed is no cassette.
    #[error("{} is no cassette", path.display())]
    NoCassette { path: PathBuf },
    /// The cassette was written by a later version.
    #[error("cassette {} has version {version}, this perstack reads up to {supported}", path.display())]
    Newer { path: PathBuf, version: u64, supported: u32 },
    /// An older cassette, which does not have all that its job was run with.
    #[error("cassette {} does not have the experts, the query and the settings of its job: an earlier perstack recorded it", path.display())]
    NoStart { path: PathBuf },
    /// The recording began when its job was continued.
    #[error("cassette {} begins in the middle of job {job}, at checkpoint {checkpoint}", path.display())]
    Middle { path: PathBuf, job: JobId, checkpoint: CheckpointId },
    /// The options in a `start` are none that this version reads.
    #[error("the options of the job in cassette {} cannot be read", path.display())]
    Options { path: PathBuf, source: serde_json::Error },
    /// A line holds no record.
    #[error("cassette {}, line {line}, is damaged: {what}", path.display())]
    Damaged { path: PathBuf, line: u64, what: String },
    /// The job does something else than when the cassette was recorded.
    #[error("{0}")]
    Mismatch(String),
    /// A record is no longer where it was when the replay began.
    #[error("cassette {} was changed while it was replayed", path.display())]
    Changed { path: PathBuf },
    /// The recording of the job that is to be continued does not have all of it.
    #[error("cassette {} lacks answers of this job: a continuation cannot be added", path.display())]
    Unended { path: PathBuf },
    /// An earlier write failed, so the cassette has a hole already.
    #[error("cassette {} takes no more records after a failed write", path.display())]
    Broken { path: PathBuf },
}

impl ReplayError {
    /// Returns whether the cassette could not be written, as opposed to a wrong file or a difference.
    pub fn is_write_failure(&self) -> bool {
        matches!(self, Self::Io { action: WRITE, .. } | Self::Broken { .. })
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl ErrorHint for ReplayError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::WouldOverwrite { .. } | Self::Unended { .. } => "record to another file, or remove it",
            Self::NoCassette { .. } => "name a file that was made by recording",
            Self::Newer { .. } => "use a newer perstack",
            Self::Changed { .. } => "replay it again",
            Self::NoStart { .. } | Self::Middle { .. } => "record the job again, from its beginning",
            Self::Mismatch(_) => "record the cassette again if this is intended",
            Self::Io { .. }
            | Self::Encode { .. }
            | Self::Options { .. }
            | Self::Damaged { .. }
            | Self::Broken { .. } => return None,
        };
        Some(hint.into())
    }
}

#[cfg(test)]
mod tests;
