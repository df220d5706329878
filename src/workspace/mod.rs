//! [`WorkspaceScan`]: the state of the workspace as objects that are named by their content, and ways back from them. The runtime
//! stores the objects; what is in a state, how two differ and how a folder becomes one of them is decided here.
//!
//! A folder's object is its list (`list`), which names the objects of its files and folders; the state of the workspace is
//! named by the list of its root. Folders are walked by handles, and no link is followed, so that what is stored lies in the
//! workspace and what is restored stays there.

mod compare;
mod ignored;
mod list;
mod open;
mod remove;
mod restore;
mod rules;
mod scan;
#[cfg(test)]
#[cfg(unix)]
mod tests;

pub use compare::{ChangeKind, WorkspaceChange, compare};
pub use list::{EntryKind, FolderEntry, FolderList, LeftOutEntry};
pub use remove::remove;
pub use restore::{RestoreError, restore};
pub use rules::{ClosedFiles, SnapshotRules};
pub use scan::{FoundFiles, MAY_HOLD_SECRETS, ObjectSink, ScanError, Scanned, WorkspaceScan};
