//! [`Protected`]: the files in reach of commands that decide what runs later, kept and put back: the configuration, the
//! lock, environment files, the hooks and the dangerous settings of the workspace's repository.
//!
//! `exec` watches them while a command runs. The kernel's rules cannot take single files out of a folder, so that a
//! change is undone after the call, and reported. What a command wrote stays beside the file, under another name. A new
//! file that later runs would read is reported, and stays: projects make their `.env` by a command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::git::PutBack;
use self::write_back::{CHANGED, open_folders, set_aside, set_folder_mode, write};
use super::off_limits::OffLimits;
use crate::skill::contain::repositories;

mod git;
#[cfg(test)]
#[cfg(unix)]
mod tests;
mod write_back;

/// Largest file that is kept. Larger hooks are programs of their own.
const MAX_KEPT: u64 = 4 << 20;

/// The ending of the files that a configuration includes.
const INCLUDED: &str = "toml";

/// The protected files as far as they are there.
#[derive(Debug, Default)]
struct Snapshot {
    files: BTreeMap<PathBuf, Kept>,
    /// The modes of the folders that they are in, those above before those below.
    folders: BTreeMap<PathBuf, u32>,
    /// The files there of which only new ones are reported.
    noticed: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
    /// Reached through a link in its path, which had none.
    BehindLink,
    /// Too large to be kept, or not readable. It can be taken away when it is new, and not be put back.
    Other {
        len: u64,
        changed: Option<SystemTime>,
    },
}

/// The watched lists, each with the number of commands that run there and the state before the first of them. Experts of one
/// job share a workspace: what one's command plants must not be the other's state before.
static WATCHED: Mutex<BTreeMap<Protected, (usize, Snapshot)>> = Mutex::new(BTreeMap::new());

/// The protected files of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Protected {
    /// Without links.
    workspace: PathBuf,
    /// Those that the workspace is or is in: a command may hide one behind a folder of its own.
    repositories: Vec<PathBuf>,
    /// Single files.
    files: Vec<PathBuf>,
    /// Files that are reported once they are there.
    noticed: Vec<PathBuf>,
    /// Folders of which new files with the ending [`INCLUDED`] are.
    include_folders: Vec<PathBuf>,
}

impl Protected {
    /// Those of `off_limits` and of the repository that `workspace`, a path without links, is or is in.
    pub(super) fn new(workspace: &Path, off_limits: &OffLimits) -> Self {
        let named = off_limits.closed.iter().chain(&off_limits.read_only);
        let files: Vec<PathBuf> =
            named.flat_map(|path| own_place(path).into_iter().chain(path.canonicalize().ok())).collect();
        let noticed = off_limits.noticed.iter().filter_map(|path| own_place(path));
        Self {
            workspace: workspace.to_owned(),
            repositories: repositories(workspace),
            noticed: noticed.filter(|path| !files.contains(path)).collect(),
            files,
            include_folders: off_limits.include_folders.iter().filter_map(|path| path.canonicalize().ok()).collect(),
        }
    }

    /// Keeps the files as they are now, unless a command runs already.
    pub(super) fn watch(&self) -> CommandWatch {
        let mut watched = watched();
        match watched.get_mut(self) {
            Some((running, _)) => *running += 1,
            None => {
                watched.insert(self.clone(), (1, self.snapshot()));
            }
        }
        CommandWatch { protected: self.clone(), is_over: false }
    }

    fn snapshot(&self) -> Snapshot {
        let mut paths = self.files.clone();
        paths.push(self.workspace.join(".git"));
        let now = repositories(&self.workspace);
        for repository in self.repositories.iter().chain(now.iter().filter(|now| !self.repositories.contains(now))) {
            git::control_files(repository, &mut paths);
        }
        let is_ours = |folder: &&Path| {
            folder.starts_with(&self.workspace) || self.repositories.iter().any(|ours| folder.starts_with(ours))
        };
        let folders = paths.iter().flat_map(|path| path.ancestors().skip(1).take_while(is_ours));
        let folders: BTreeSet<&Path> = folders.collect();
        let folders = folders.into_iter().filter_map(|folder| Some((folder.to_owned(), folder_mode(folder)?)));
        // Through no link: what it leads to is reported as put back.
        let folders_now = self.include_folders.iter().filter(|folder| folder_mode(folder).is_some());
        let included = folders_now.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let included =
            included.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == INCLUDED));
        let noticed = self.noticed.iter().cloned().chain(included).filter(|path| path.symlink_metadata().is_ok());
        Snapshot {
            folders: folders.collect(),
            noticed: noticed.collect(),
            files: paths.into_iter().filter_map(|path| Some((path.clone(), kept(&path)?))).collect(),
        }
    }

    /// Puts back what differs from `before`; lines for people if anything did, or if there is a new file to be noticed.
    fn settle(&self, before: &mut Snapshot) -> Option<String> {
        let closed = open_folders(&before.folders);
        let after = self.snapshot();
        let put_back = self.put_back(before, &after);
        for (folder, mode) in closed.into_iter().rev() {
            // A folder that cannot be closed again is one that somebody else has changed meanwhile.
            let _ = set_folder_mode(folder, mode);
        }
        let new = after.noticed.difference(&before.noticed).map(|path| self.shown(path));
        let new = new.reduce(|names, name| names + ", " + &name);
        // Once is enough, also where other commands still run.
        before.noticed = after.noticed;
        let notice = new.map(|names| {
            format!("noticed {names}: a command has made what later runs read; look at it before the next one")
        });
        put_back.into_iter().chain(notice).reduce(|lines, line| lines + "\n" + &line)
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.workspace).unwrap_or(path).display().to_string()
    }

    /// Puts back what differs from `before`; a line for people if anything did.
    fn put_back(&self, before: &Snapshot, after: &Snapshot) -> Option<String> {
        let (before, after) = (&before.files, &after.files);
        let (mut names, mut failures) = (Vec::new(), Vec::new());
        for path in after.keys().chain(before.keys().filter(|path| !after.contains_key(*path))) {
            let (was, is) = (before.get(path), after.get(path));
            // With its repository, a hook is gone too.
            let is_gone = git::is_control_file(path)
                && matches!(is, None | Some(Kept::BehindLink))
                && !git::repository_is_there(path);
            if was == is || is_gone {
                continue;
            }
            let outcome = match git::treatment(path, was, is) {
                PutBack::Nothing => continue,
                PutBack::Text(text) => {
                    let mode = if let Some(Kept::File { mode, .. }) = is { *mode } else { 0o644 };
                    set_aside(path).and_then(|()| write(path, &Kept::File { bytes: text.into_bytes(), mode }))
                }
                PutBack::Whole => set_aside(path).and_then(|()| was.map_or(Ok(()), |kept| write(path, kept))),
            };
            match outcome {
                Ok(()) => names.push(self.shown(path)),
                Err(error) => failures.push(format!("{}: {error}", self.shown(path))),
            }
        }
        let mut line = String::new();
        if !names.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(
                line,
                "put back {}: a command had changed what decides on later runs; what it wrote, if anything, is beside it (*{CHANGED})",
                names.join(", ")
            );
        }
        if !failures.is_empty() {
            let _ = write!(line, "{}cannot put back {}", if line.is_empty() { "" } else { "; " }, failures.join(", "));
        }
        (!line.is_empty()).then_some(line)
    }
}

/// The time that a command runs.
pub(super) struct CommandWatch {
    protected: Protected,
    is_over: bool,
}

impl CommandWatch {
    /// Puts back what has changed since the first command of those that run; a line for people if anything has.
    pub(super) fn end(mut self) -> Option<String> {
        self.finish()
    }

    fn finish(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut watched = watched();
        let (running, before) = watched.get_mut(&self.protected)?;
        let line = self.protected.settle(before);
        *running = running.saturating_sub(1);
        if *running == 0 {
            watched.remove(&self.protected);
        }
        line
    }
}

impl Drop for CommandWatch {
    fn drop(&mut self) {
        // A call that is given up.
        self.finish();
    }
}

fn watched() -> MutexGuard<'static, BTreeMap<Protected, (usize, Snapshot)>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of a file by its own name, in the folder without links: what is there may become a link.
fn own_place(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

/// The state of a path; `None` for folders and what is not there.
fn kept(path: &Path) -> Option<Kept> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if path.parent().is_some_and(|folder| folder.canonicalize().is_ok_and(|real| real != folder)) {
        return Some(Kept::BehindLink);
    }
    if metadata.is_symlink() {
        return fs::read_link(path).ok().map(Kept::Link);
    }
    if metadata.is_dir() {
        return None;
    }
    let other = Kept::Other { len: metadata.len(), changed: metadata.modified().ok() };
    if !metadata.is_file() || metadata.len() > MAX_KEPT {
        return Some(other);
    }
    Some(fs::read(path).map_or(other, |bytes| Kept::File { bytes, mode: mode(&metadata) }))
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o7777
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> u32 {
    0
}

/// The mode of a folder; `None` for anything else.
fn folder_mode(folder: &Path) -> Option<u32> {
    fs::symlink_metadata(folder).ok().filter(fs::Metadata::is_dir).map(|metadata| mode(&metadata))
}
