//! [`SnapshotError`]: the reasons for which a state of the workspace is not restored.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::hint::ErrorHint;
use crate::id::JobId;
use crate::snapshot::SnapshotId;
use crate::store::StoreError;
use crate::workspace::RestoreError;

/// A state that cannot be restored, or not wholly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The checkpoint that was named has no state of the workspace.
    #[error("{what} has no snapshot of the workspace")]
    None { what: String },
    /// The job has no such state.
    #[error("job {job} has no snapshot {name:?}, or several that begin so")]
    Unknown { job: JobId, name: String },
    /// A folder that is to be filled holds something.
    #[error("{path} is not empty", path = path.display())]
    NotEmpty { path: PathBuf },
    /// The folder cannot be read.
    #[error("cannot {action} {path}", path = path.display())]
    Folder { action: &'static str, path: PathBuf, source: io::Error },
    /// Something could not be read or stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder could not be changed. `kept`: the state that it was in.
    #[error("the workspace was not restored, or not wholly")]
    Restore { kept: Option<SnapshotId>, source: RestoreError<StoreError> },
}

impl ErrorHint for SnapshotError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::None { .. } => {
                "name one that has: they are taken by runs with snapshot = \"stop\" or \"every\", where those came to it".into()
            }
            Self::Unknown { .. } => "give more of its digest".into(),
            Self::NotEmpty { .. } => "name a folder that is empty, or not there yet".into(),
            Self::Store(error) | Self::Restore { source: RestoreError::Object(error), .. } => return error.hint(),
            Self::Restore { kept: Some(kept), .. } => {
                format!("the workspace as it was is kept as snapshot {}", kept.short()).into()
            }
            Self::Folder { .. } | Self::Restore { .. } => return None,
        })
    }
}
