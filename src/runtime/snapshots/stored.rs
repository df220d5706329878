//! [`StoredSnapshots`]: the states of the workspace that a job has, read back.

use std::collections::HashSet;

use crate::id::JobId;
use crate::snapshot::SnapshotId;
use crate::store::{ObjectStore, Store, StoreError};
use crate::workspace::{EntryKind, FolderList, WorkspaceChange, compare};

/// The states of one job.
pub struct StoredSnapshots {
    objects: ObjectStore,
}

impl StoredSnapshots {
    /// Those of `job`, as they are now.
    ///
    /// # Errors
    /// A file of theirs cannot be read.
    pub fn open(store: &Store, job: &JobId) -> Result<Self, StoreError> {
        Ok(Self { objects: store.objects(job)? })
    }

    /// Returns whether the state is there.
    pub fn has(&self, id: &SnapshotId) -> bool {
        self.objects.has(id)
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub fn object(&self, id: &SnapshotId) -> Result<Vec<u8>, StoreError> {
        self.objects.get(id)
    }

    /// A folder's list.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn list(&self, id: &SnapshotId) -> Result<FolderList, StoreError> {
        let bytes = self.objects.get(id)?;
        FolderList::read(&bytes).map_err(|what| {
            let what = format!("the object {id} is no list of a folder: {what}");
            StoreError::NotFound { what, suggestion: None }
        })
    }

    /// The differences between two states.
    ///
    /// # Errors
    /// A list of theirs is missing or damaged.
    pub fn compare(&self, before: &SnapshotId, after: &SnapshotId) -> Result<Vec<WorkspaceChange>, StoreError> {
        compare(before, after, &mut |id| self.list(id))
    }

    /// Checks that every object is as it was, those too that no fact names: states that were kept before others were restored.
    ///
    /// # Errors
    /// An object is damaged.
    pub fn check_objects(&self) -> Result<(), StoreError> {
        self.objects.ids().try_for_each(|id| self.object(id).map(drop))
    }

    /// Checks that all of a state is there. `checked` has the folders that were checked before.
    ///
    /// # Errors
    /// An object is missing, or a folder's is none.
    pub fn check(&self, id: &SnapshotId, checked: &mut HashSet<SnapshotId>) -> Result<(), StoreError> {
        let mut folders = vec![id.clone()];
        while let Some(folder) = folders.pop() {
            if !checked.insert(folder.clone()) {
                continue;
            }
            for entry in self.list(&folder)?.entries {
                match entry.kind {
                    EntryKind::Folder { id } => folders.push(id),
                    EntryKind::File { id, .. } if !self.has(&id) => drop(self.object(&id)?),
                    EntryKind::File { .. } | EntryKind::Link { .. } => {}
                }
            }
        }
        Ok(())
    }
}
