//! [`WorkspaceScan`]: reads the state of a folder into objects. Files that were read before and have not changed since are not read
//! again.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};

use super::ignored::Ignored;
use super::list::{EntryKind, FolderEntry, FolderList, LeftOutEntry, TOO_MANY};
use super::open::{self, Stat};
use super::rules::{Exclusion, SnapshotRules, is_cache};
use crate::snapshot::SnapshotId;

/// The largest file that is stored, in bytes: sources and documents are far below it, and one is held in memory at a time.
const MAX_FILE: u64 = 32 << 20;
/// The most bytes of all files of one state. A workspace with more is data, for which a job's folder is not the place.
const MAX_ALL: u64 = 4 << 30;
/// The most entries of one state.
const MAX_ENTRIES: usize = 250_000;
/// The deepest folder, which keeps the walk's stack small. Paths of more than 4096 bytes cannot be opened in any case.
const MAX_DEPTH: usize = 200;
/// The number of times that a file is read which changes meanwhile.
const READS: usize = 3;

/// A receiver of objects.
pub trait ObjectSink {
    /// The error of storing.
    type Error;

    /// Takes an object, unless it is there.
    ///
    /// # Errors
    /// It cannot be stored.
    fn put(&mut self, id: &SnapshotId, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Returns whether it is there.
    fn has(&self, id: &SnapshotId) -> bool;
}

/// The files that were found before: they are read again only when something about them has changed.
#[derive(Debug, Default)]
pub struct FoundFiles {
    files: HashMap<PathBuf, (Stat, SnapshotId)>,
}

/// The state of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The name of the root's list.
    pub id: SnapshotId,
    /// The entries that are not stored, with the reason, by their paths.
    pub left_out: Vec<LeftOutEntry>,
    /// The number of files.
    pub files: usize,
}

/// A failure of a scan: the folder cannot be read at all, or an object cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum ScanError<E> {
    #[error("cannot read the workspace {path}", path = path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Sink(E),
}

/// One look at a folder.
pub struct WorkspaceScan<'a, S: ObjectSink> {
    rules: &'a SnapshotRules<'a>,
    sink: &'a mut S,
    before: FoundFiles,
    now: FoundFiles,
    ignored: Ignored,
    left_out: Vec<LeftOutEntry>,
    /// Seconds since the epoch when it began.
    began: i128,
    entries: usize,
    bytes: u64,
    files: usize,
}

/// The lists of a state that is to be restored: what they name is looked at even if it is ignored.
pub type Wanted<'a> = &'a dyn Fn(&SnapshotId) -> Option<FolderList>;

impl<'a, S: ObjectSink> WorkspaceScan<'a, S> {
    /// Reads the folder of `rules` into `sink`. `now`: seconds since the epoch. `found` is what an earlier scan found, and becomes what this one does.
    /// `wanted`: a state whose entries are looked at even if they are ignored, by its root's list and a reader of lists.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn read(
        rules: &'a SnapshotRules<'a>,
        sink: &'a mut S,
        now: u64,
        found: &mut FoundFiles,
        wanted: Option<(&FolderList, Wanted<'_>)>,
    ) -> Result<Scanned, ScanError<S::Error>> {
        let path = rules.root;
        let unread = |source| ScanError::Root { path: path.to_owned(), source };
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(unread)?;
        let mut scan = Self {
            rules,
            sink,
            before: std::mem::take(found),
            now: FoundFiles::default(),
            ignored: Ignored::above(path),
            left_out: Vec::new(),
            began: now.into(),
            entries: 0,
            bytes: 0,
            files: 0,
        };
        let names = names_of(&root).map_err(unread)?;
        let id = scan.folder(&root, names, Path::new(""), 0, wanted)?;
        *found = scan.now;
        Ok(Scanned { id, left_out: scan.left_out, files: scan.files })
    }

    /// Reads an open folder, whose entries have these names.
    fn folder(
        &mut self,
        folder: &Dir,
        names: Vec<OsString>,
        path: &Path,
        depth: usize,
        wanted: Option<(&FolderList, Wanted<'_>)>,
    ) -> Result<SnapshotId, ScanError<S::Error>> {
        let levels = self.ignored.enter(folder, &self.rules.root.join(path));
        let mut list = FolderList::default();
        for name in names {
            let at = path.join(&name);
            let wanted_entry = wanted.and_then(|(list, _)| list.get(&name));
            let Ok(metadata) = folder.symlink_metadata(&name) else { continue };
            if self.is_out(&mut list, &name, &at, &metadata, wanted_entry.is_some()) {
                continue;
            }
            let kind = if metadata.is_symlink() {
                folder.read_link_contents(&name).map(|target| EntryKind::Link { target: target.into_os_string() })
            } else if metadata.is_dir() {
                let below = wanted.and_then(|(_, load)| match wanted_entry.map(|entry| &entry.kind) {
                    Some(EntryKind::Folder { id }) => Some((load(id)?, load)),
                    _ => None,
                });
                match self.open(folder, &name, depth) {
                    Ok(None) => continue,
                    Ok(Some((opened, names))) => {
                        let below = below.as_ref().map(|(list, load)| (list, *load));
                        Ok(EntryKind::Folder { id: self.folder(&opened, names, &at, depth + 1, below)? })
                    }
                    Err(error) => Err(error),
                }
            } else {
                match self.file(folder, &name, &at, &metadata) {
                    Ok(kind) => Ok(kind),
                    Err(FileError::Unread(error)) => Err(error),
                    Err(FileError::Sink(error)) => return Err(ScanError::Sink(error)),
                }
            };
            match kind {
                Ok(kind) => list.entries.push(FolderEntry { name, kind }),
                // It is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.leave_out(&mut list, &name, &at, reason(&error)),
            }
        }
        self.ignored.leave(levels);
        // A list has no floats and no maps: it has a JSON form.
        let bytes = serde_json::to_vec(&list).unwrap_or_default();
        let id = SnapshotId::of_bytes(&bytes);
        self.sink.put(&id, &bytes).map_err(ScanError::Sink)?;
        Ok(id)
    }

    /// Returns whether an entry is not stored; notes the reason where people are to know it.
    fn is_out(
        &mut self,
        list: &mut FolderList,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
        is_wanted: bool,
    ) -> bool {
        match self.rules.exclusion(name, metadata, path.components().count() == 1) {
            Some(Exclusion::Never) => return true,
            Some(Exclusion::Own) => {
                list.left_out.push(LeftOutEntry { name: name.into(), reason: IN_USE.to_owned() });
                return true;
            }
            Some(Exclusion::Secret) => {
                self.leave_out(list, name, path, MAY_HOLD_SECRETS);
                return true;
            }
            None => {}
        }
        if !is_wanted && self.ignored.is_ignored(&self.rules.root.join(path), metadata.is_dir()) {
            return true;
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            // Once for each folder.
            if !list.left_out.iter().any(|left| left.reason == TOO_MANY) {
                self.leave_out(list, name, path, TOO_MANY);
            }
            return true;
        }
        if !metadata.is_symlink() && !metadata.is_dir() && !metadata.is_file() {
            self.leave_out(list, name, path, "it is a socket, a pipe or a device");
            return true;
        }
        false
    }

    /// Opens a folder for the walk; `None` for a cache.
    fn open(&self, parent: &Dir, name: &OsStr, depth: usize) -> io::Result<Option<(Dir, Vec<OsString>)>> {
        if depth >= MAX_DEPTH {
            return Err(io::Error::other("it is too deep"));
        }
        let folder = open::folder(parent, name)?;
        // The same folder may have come here under this name since: the storage, moved.
        if self.rules.exclusion(name, &folder.dir_metadata()?, depth == 0).is_some() || is_cache(&folder) {
            return Ok(None);
        }
        let names = names_of(&folder)?;
        Ok(Some((folder, names)))
    }

    fn file(
        &mut self,
        folder: &Dir,
        name: &OsStr,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<EntryKind, FileError<S::Error>> {
        let (stat, bytes) = (Stat::new(metadata), metadata.len());
        self.bytes = self.bytes.saturating_add(bytes);
        if bytes > MAX_FILE || self.bytes > MAX_ALL {
            self.bytes = self.bytes.saturating_sub(bytes);
            let what = if bytes > MAX_FILE { "it is larger than 32 MiB" } else { "the workspace has more than 4 GiB" };
            return Err(FileError::Unread(io::Error::other(what)));
        }
        self.files += 1;
        let known = self.before.files.get(path).filter(|(known, id)| *known == stat && self.sink.has(id));
        if let Some((_, id)) = known {
            let kind = EntryKind::File { id: id.clone(), bytes, mode: open::mode(metadata) };
            self.now.files.insert(path.to_owned(), (stat, id.clone()));
            return Ok(kind);
        }
        let (content, stat, mode) = stable(folder, name).map_err(FileError::Unread)?;
        if (self.rules.is_secret)(&content) {
            return Err(FileError::Unread(io::Error::other("it holds a secret of this session")));
        }
        let id = SnapshotId::of_bytes(&content);
        self.sink.put(&id, &content).map_err(FileError::Sink)?;
        // A file that was written just now may be written again within the same tick of the clock.
        if stat.is_older_than(self.began) {
            self.now.files.insert(path.to_owned(), (stat, id.clone()));
        }
        Ok(EntryKind::File { id, bytes: content.len().try_into().unwrap_or(u64::MAX), mode })
    }

    fn leave_out(&mut self, list: &mut FolderList, name: &OsStr, path: &Path, reason: impl Into<String>) {
        let reason = reason.into();
        list.left_out.push(LeftOutEntry { name: name.into(), reason: reason.clone() });
        self.left_out.push(LeftOutEntry { name: path.to_owned(), reason });
    }
}

/// The reason for which files are left out that may hold secrets.
pub const MAY_HOLD_SECRETS: &str = "it may hold secrets";
const IN_USE: &str = "it belongs to perstack";

enum FileError<E> {
    Unread(io::Error),
    Sink(E),
}

/// The names in a folder, sorted.
fn names_of(folder: &Dir) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> =
        folder.entries()?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// The bytes of a file that stayed as it was while it was read.
fn stable(folder: &Dir, name: &OsStr) -> io::Result<(Vec<u8>, Stat, u32)> {
    for _ in 0..READS {
        let file = open::file(folder, name)?;
        let before = metadata(&file)?;
        if !before.is_file() {
            return Err(io::Error::other("it has become something else than a file"));
        }
        let mut content = Vec::new();
        (&file).take(MAX_FILE + 1).read_to_end(&mut content)?;
        let after = metadata(&file)?;
        let is_whole = u64::try_from(content.len()).is_ok_and(|read| read == after.len());
        if is_whole && Stat::new(&before) == Stat::new(&after) {
            return Ok((content, Stat::new(&after), open::mode(&after)));
        }
    }
    Err(io::Error::other("it changed whenever it was read"))
}

fn metadata(file: &File) -> io::Result<Metadata> {
    Metadata::from_file(file)
}

/// The reason of an error, in words for people.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        io::ErrorKind::Other => error.to_string(),
        _ => format!("it cannot be read: {error}"),
    }
}
