//! [`compare`]: the differences between two states.

use std::path::{Path, PathBuf};

use super::list::{EntryKind, FolderList};
use crate::snapshot::SnapshotId;

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceChange {
    /// From the workspace.
    pub path: PathBuf,
    pub kind: ChangeKind,
    /// Absent where there was none, or a folder.
    pub before: Option<EntryKind>,
    /// Absent where there is none, or a folder.
    pub after: Option<EntryKind>,
}

/// The kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum ChangeKind {
    Added,
    Changed,
    Removed,
}

/// The differences between the states with these lists at their roots, by path. Folders are named where nothing else is: an
/// empty one that comes or goes. `load` reads lists.
///
/// # Errors
/// Those of `load`.
pub fn compare<E>(
    before: &SnapshotId,
    after: &SnapshotId,
    load: &mut dyn FnMut(&SnapshotId) -> Result<FolderList, E>,
) -> Result<Vec<WorkspaceChange>, E> {
    let mut changes = Vec::new();
    folders(Path::new(""), Some(before), Some(after), load, &mut changes)?;
    Ok(changes)
}

fn folders<E>(
    path: &Path,
    before: Option<&SnapshotId>,
    after: Option<&SnapshotId>,
    load: &mut dyn FnMut(&SnapshotId) -> Result<FolderList, E>,
    changes: &mut Vec<WorkspaceChange>,
) -> Result<(), E> {
    if before == after {
        return Ok(());
    }
    let mut list = |id: Option<&SnapshotId>| id.map_or_else(|| Ok(FolderList::default()), &mut *load);
    let (old, new) = (list(before)?, list(after)?);
    // One of two that is empty has nothing below to be named by.
    let is_alone = before.is_none() != after.is_none() && old.entries.is_empty() && new.entries.is_empty();
    if is_alone {
        let kind = if before.is_none() { ChangeKind::Added } else { ChangeKind::Removed };
        changes.push(WorkspaceChange { path: path.to_owned(), kind, before: None, after: None });
    }
    let mut names: Vec<_> = old.entries.iter().chain(&new.entries).map(|entry| &entry.name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (was, is) = (old.get(name).map(|entry| &entry.kind), new.get(name).map(|entry| &entry.kind));
        // Of an entry that one of the states leaves out nothing is known.
        if was == is || old.leaves_out(name) || new.leaves_out(name) {
            continue;
        }
        let path = path.join(name);
        let (old_folder, new_folder) = (folder_of(was), folder_of(is));
        if old_folder.is_some() || new_folder.is_some() {
            folders(&path, old_folder, new_folder, load, changes)?;
        }
        let (was, is) = (was.filter(|_| old_folder.is_none()), is.filter(|_| new_folder.is_none()));
        let kind = match (was, is) {
            (None, None) => continue,
            (None, Some(_)) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
            (Some(_), Some(_)) => ChangeKind::Changed,
        };
        changes.push(WorkspaceChange { path, kind, before: was.cloned(), after: is.cloned() });
    }
    Ok(())
}

fn folder_of(kind: Option<&EntryKind>) -> Option<&SnapshotId> {
    match kind {
        Some(EntryKind::Folder { id }) => Some(id),
        _ => None,
    }
}
