//! [`restore`]: makes a folder what a state has. Only what both states name is touched: what is ignored, secret or left out
//! stays where it is.
//!
//! Everything is looked at before anything is changed, so that a state which cannot be restored leaves the folder as it is.
//! Each file is written beside its place and renamed, and what is removed or replaced has to be what the present state names:
//! whoever changes a file meanwhile keeps it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::list::{EntryKind, FolderEntry, FolderList};
use super::open;
use crate::snapshot::SnapshotId;

/// A folder that cannot be restored, or not wholly. `E`: the error of reading an object.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError<E> {
    /// Nothing was changed.
    #[error("{path} is in the way, and its content is not kept: {reason}", path = path.display())]
    InTheWay { path: PathBuf, reason: &'static str },
    /// It was changed since the present state was read.
    #[error("{path} was changed just now by another program; it was left as it is", path = path.display())]
    ChangedMeanwhile { path: PathBuf },
    #[error("cannot {action} {path}", path = path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Object(E),
}

/// A reader of objects.
pub type LoadObject<'a, E> = &'a dyn Fn(&SnapshotId) -> Result<Vec<u8>, E>;
/// A reader of lists.
pub type LoadList<'a, E> = &'a dyn Fn(&SnapshotId) -> Result<FolderList, E>;

/// Makes the folder at `root`, a path without links, which is as `present` has it, what `wanted` has; returns the paths that
/// were changed. Both are names of a root's list.
///
/// # Errors
/// [`RestoreError`].
pub fn restore<E>(
    root: &Path,
    present: &SnapshotId,
    wanted: &SnapshotId,
    lists: LoadList<'_, E>,
    objects: LoadObject<'_, E>,
) -> Result<Vec<PathBuf>, RestoreError<E>> {
    let folder = Dir::open_ambient_dir(root, ambient_authority()).map_err(|source| RestoreError::Io {
        action: "open",
        path: root.to_owned(),
        source,
    })?;
    let mut work = Restoring { lists, objects, changed: Vec::new(), is_trial: true };
    for is_trial in [true, false] {
        work.is_trial = is_trial;
        work.folder(&folder, Path::new(""), Some(present), wanted)?;
    }
    Ok(work.changed)
}

struct Restoring<'a, E> {
    lists: LoadList<'a, E>,
    objects: LoadObject<'a, E>,
    changed: Vec<PathBuf>,
    /// Nothing is changed: all objects are read, and what is in the way is found.
    is_trial: bool,
}

impl<E> Restoring<'_, E> {
    fn folder(
        &mut self,
        folder: &Dir,
        path: &Path,
        present: Option<&SnapshotId>,
        wanted: &SnapshotId,
    ) -> Result<(), RestoreError<E>> {
        if present == Some(wanted) {
            return Ok(());
        }
        let load = |id| (self.lists)(id).map_err(RestoreError::Object);
        let (present, wanted) = (present.map(load).transpose()?.unwrap_or_default(), load(wanted)?);
        // What was there and left out, such as a cassette while it was recorded, is not known to be gone.
        let is_new = |entry: &&FolderEntry| wanted.get(&entry.name).is_none() && !wanted.leaves_out(&entry.name);
        for entry in present.entries.iter().filter(is_new) {
            let is_gone = self.remove(folder, &path.join(&entry.name), entry)?;
            if is_gone {
                self.note(path.join(&entry.name));
            }
        }
        for entry in &wanted.entries {
            self.entry(folder, &path.join(&entry.name), present.get(&entry.name), entry)?;
        }
        Ok(())
    }

    fn note(&mut self, path: PathBuf) {
        if !self.is_trial {
            self.changed.push(path);
        }
    }

    fn entry(
        &mut self,
        folder: &Dir,
        path: &Path,
        present: Option<&FolderEntry>,
        wanted: &FolderEntry,
    ) -> Result<(), RestoreError<E>> {
        let name = wanted.name.as_os_str();
        if present.is_some_and(|present| present.kind == wanted.kind) {
            return Ok(());
        }
        let found = folder.symlink_metadata(name).ok();
        if let (Some(EntryKind::Folder { id: present }), EntryKind::Folder { id }) =
            (present.map(|entry| &entry.kind), &wanted.kind)
        {
            let below = Self::open(folder, name, path)?;
            return self.folder(&below, path, Some(present), id);
        }
        let is_folder = matches!(wanted.kind, EntryKind::Folder { .. });
        match present {
            None => match &found {
                // Of what is ignored in it, nothing is touched.
                Some(metadata) if metadata.is_dir() && is_folder => {}
                Some(_) => {
                    let reason = "it is left out of snapshots";
                    return Err(RestoreError::InTheWay { path: path.to_owned(), reason });
                }
                None => {}
            },
            Some(present) => {
                let becomes_file = matches!(
                    (&present.kind, &wanted.kind),
                    (EntryKind::File { .. } | EntryKind::Link { .. }, EntryKind::File { .. } | EntryKind::Link { .. })
                );
                if becomes_file {
                    // Replaced in one step below.
                    Self::check(folder, path, present)?;
                } else if !self.remove(folder, path, present)? {
                    let reason = "files in it are left out of snapshots";
                    return Err(RestoreError::InTheWay { path: path.to_owned(), reason });
                }
            }
        }
        self.make(folder, path, present, wanted)
    }

    /// Makes an entry of which there is none, or replaces a file or a link.
    fn make(
        &mut self,
        folder: &Dir,
        path: &Path,
        present: Option<&FolderEntry>,
        wanted: &FolderEntry,
    ) -> Result<(), RestoreError<E>> {
        let name = wanted.name.as_os_str();
        match &wanted.kind {
            EntryKind::Folder { id } => {
                if self.is_trial {
                    return self.read_all(id);
                }
                if folder.symlink_metadata(name).is_err() {
                    folder.create_dir(name).map_err(failed("create", path))?;
                    self.note(path.to_owned());
                }
                let below = Self::open(folder, name, path)?;
                self.folder(&below, path, None, id)
            }
            EntryKind::Link { target } => {
                if self.is_trial {
                    return Ok(());
                }
                let temporary = temporary_name(folder);
                link(folder, target, &temporary).map_err(failed("create", path))?;
                self.put(folder, &temporary, path, name)
            }
            EntryKind::File { id, mode, .. } => {
                let is_same_content =
                    matches!(present.map(|entry| &entry.kind), Some(EntryKind::File { id: now, .. }) if now == id);
                let content = (self.objects)(id).map_err(RestoreError::Object)?;
                if self.is_trial {
                    return Ok(());
                }
                if is_same_content {
                    let file = open::file(folder, name).map_err(failed("open", path))?;
                    set_mode(&file, *mode).map_err(failed("change the permissions of", path))?;
                    self.note(path.to_owned());
                    return Ok(());
                }
                let temporary = temporary_name(folder);
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                let mut file = folder.open_with(&temporary, &options).map_err(failed("create", path))?.into_std();
                let written = file.write_all(&content).and_then(|()| set_mode(&file, *mode));
                if let Err(error) = written {
                    let _ = folder.remove_file(&temporary);
                    return Err(failed("write", path)(error));
                }
                self.put(folder, &temporary, path, name)
            }
        }
    }

    fn put(&mut self, folder: &Dir, temporary: &OsStr, path: &Path, name: &OsStr) -> Result<(), RestoreError<E>> {
        if let Err(error) = folder.rename(temporary, folder, name) {
            let _ = folder.remove_file(temporary);
            return Err(failed("write", path)(error));
        }
        self.note(path.to_owned());
        Ok(())
    }

    /// Reads all objects of a folder that is to be made, so that one which is missing is found before anything is changed.
    fn read_all(&self, id: &SnapshotId) -> Result<(), RestoreError<E>> {
        for entry in (self.lists)(id).map_err(RestoreError::Object)?.entries {
            match &entry.kind {
                EntryKind::File { id, .. } => drop((self.objects)(id).map_err(RestoreError::Object)?),
                EntryKind::Folder { id } => self.read_all(id)?,
                EntryKind::Link { .. } => {}
            }
        }
        Ok(())
    }

    /// Removes an entry that the present state names. Returns whether nothing is left of it: a folder stays that holds what is
    /// not in the state.
    fn remove(&mut self, folder: &Dir, path: &Path, entry: &FolderEntry) -> Result<bool, RestoreError<E>> {
        let name = entry.name.as_os_str();
        let EntryKind::Folder { id } = &entry.kind else {
            Self::check(folder, path, entry)?;
            if !self.is_trial {
                folder.remove_file(name).map_err(failed("remove", path))?;
            }
            return Ok(true);
        };
        let below = Self::open(folder, name, path)?;
        let mut names: Vec<OsString> = below
            .entries()
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
            .map_err(failed("read", path))?;
        let mut is_empty = true;
        for entry in (self.lists)(id).map_err(RestoreError::Object)?.entries {
            is_empty &= self.remove(&below, &path.join(&entry.name), &entry)?;
            names.retain(|name| *name != entry.name);
        }
        drop(below);
        if !is_empty || !names.is_empty() {
            return Ok(false);
        }
        if !self.is_trial {
            folder.remove_dir(name).map_err(failed("remove", path))?;
        }
        Ok(true)
    }

    /// Checks that a file or a link is what the present state has.
    fn check(folder: &Dir, path: &Path, entry: &FolderEntry) -> Result<(), RestoreError<E>> {
        let name = entry.name.as_os_str();
        let is_same = match &entry.kind {
            EntryKind::Link { target } => {
                folder.read_link_contents(name).is_ok_and(|found| found.as_os_str() == target)
            }
            EntryKind::File { id, bytes, .. } => {
                let mut content = Vec::new();
                let read = open::file(folder, name)
                    .and_then(|file| file.take(bytes.saturating_add(1)).read_to_end(&mut content));
                read.is_ok() && SnapshotId::of_bytes(&content) == *id
            }
            EntryKind::Folder { .. } => true,
        };
        if is_same { Ok(()) } else { Err(RestoreError::ChangedMeanwhile { path: path.to_owned() }) }
    }

    fn open(folder: &Dir, name: &OsStr, path: &Path) -> Result<Dir, RestoreError<E>> {
        open::folder(folder, name).map_err(failed("open", path))
    }
}

fn failed<E>(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError<E> {
    move |source| RestoreError::Io { action, path: path.to_owned(), source }
}

/// A name that nothing in the folder has.
fn temporary_name(folder: &Dir) -> OsString {
    let names = (0_u32..).map(|n| OsString::from(format!(".perstack-restore-{n}.tmp")));
    let mut free = names.filter(|name| folder.symlink_metadata(name).is_err());
    free.next().unwrap_or_default()
}

#[cfg(unix)]
fn link(folder: &Dir, target: &OsStr, name: &OsStr) -> io::Result<()> {
    // Of any content: a link is kept as it was, wherever it leads.
    folder.symlink_contents(target, name)
}

#[cfg(not(unix))]
fn link(_: &Dir, _: &OsStr, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn set_mode(file: &std::fs::File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777))
}

#[cfg(not(unix))]
fn set_mode(_: &std::fs::File, _: u32) -> io::Result<()> {
    Ok(())
}
