//! [`Protected`]: the files in reach of commands that decide what runs later, kept and put back: the configuration, the
//! lock, environment files, the hooks and the dangerous settings of the workspace's repository.
//!
//! `exec` watches them while a command runs. The kernel's rules cannot take single files out of a folder, so that a
//! change is undone after the call, and reported. What a command wrote stays beside the file, under another name. A new
//! file that later runs would read is reported, and stays: projects make their `.env` by a command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::git::PutBack;
use super::off_limits::OffLimits;
use crate::skill::contain::repositories;

mod git;

/// Largest file that is kept. Larger hooks are programs of their own.
const MAX_KEPT: u64 = 4 << 20;

/// The ending of the name under which a command's version stays.
const CHANGED: &str = ".changed";

/// The ending of the files that a configuration includes.
const INCLUDED: &str = "toml";

/// The permission of a folder's owner to change what is in it.
const OWNERS: u32 = 0o700;

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

/// Gives this user back the folders of `folders` that can be neither listed nor changed, so that what is in them can be
/// put back. Returns them with the modes that they had before.
fn open_folders(folders: &BTreeMap<PathBuf, u32>) -> Vec<(&Path, u32)> {
    let mut closed = Vec::new();
    for (folder, before) in folders {
        let now = folder_mode(folder).filter(|mode| cfg!(unix) && mode & OWNERS != OWNERS);
        if let Some(now) = now
            && set_folder_mode(folder, now | OWNERS).is_ok()
        {
            closed.push((&**folder, *before));
        }
    }
    closed
}

#[cfg(unix)]
fn set_folder_mode(folder: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if folder_mode(folder).is_none() {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_folder_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Moves what is at `path` beside it.
fn set_aside(path: &Path) -> io::Result<()> {
    in_place(path)?;
    move_aside(path)
}

fn move_aside(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(CHANGED);
    // A command may have taken the name, and may not keep its change by that.
    if clear(Path::new(&name)).is_err() { clear(path) } else { fs::rename(path, &name) }
}

/// Removes what has the name, if anything has.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// Writes the file anew, whole.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    in_place(path)?;
    match kept {
        #[cfg(unix)]
        Kept::Link(target) => std::os::unix::fs::symlink(target, path),
        #[cfg(not(unix))]
        Kept::Link(_) => Err(io::Error::other("links are not put back here")),
        Kept::BehindLink => Err(io::Error::other("a link led to it before")),
        Kept::Other { .. } => Err(io::Error::other("it was too large to be kept, or not readable")),
        Kept::File { bytes, mode } => {
            let mut name = path.as_os_str().to_owned();
            name.push(".new");
            let temporary = PathBuf::from(name);
            // Whatever has the name already is not written through.
            clear(&temporary)?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, *mode);
            #[cfg(not(unix))]
            let _ = mode;
            io::Write::write_all(&mut options.open(&temporary)?, bytes)?;
            fs::rename(&temporary, path)
        }
    }
}

/// Makes the folders of `path` that are gone. What is in the place of one, a link that leads elsewhere perhaps, is moved
/// aside: the path had none.
fn in_place(path: &Path) -> io::Result<()> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    for folder in folders {
        match fs::symlink_metadata(folder) {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => move_aside(folder)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir(folder)?;
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct World {
        _folder: tempfile::TempDir,
        root: PathBuf,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            for (path, text) in [
                ("perstack.toml", "a = 1\n"),
                (".git/HEAD", "ref: x\n"),
                (".git/objects/x", ""),
                (".git/config", "[core]\n\tbare = false\n"),
                (".git/hooks/pre-push", "mine"),
                (".git/hooks/sample.sample", "x"),
                (".git/modules/m/HEAD", "x"),
                (".git/modules/m/config", "[core]\n"),
            ] {
                fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
                fs::write(root.join(path), text).unwrap();
            }
            fs::set_permissions(root.join(".git/hooks/pre-push"), fs::Permissions::from_mode(0o755)).unwrap();
            Self { _folder: folder, root }
        }

        /// The line after `change`, and the text of a file then.
        fn after(&self, change: impl FnOnce(&Path)) -> Option<String> {
            let read_only = vec![self.root.join("perstack.toml"), self.root.join("perstack.lock")];
            let off_limits = OffLimits { read_only, ..OffLimits::default() };
            let watch = Protected::new(&self.root, &off_limits).watch();
            change(&self.root);
            watch.end()
        }

        fn text(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.root.join(path)).ok()
        }
    }

    #[test]
    fn what_a_command_changes_is_put_back_and_kept_beside() {
        let world = World::new();
        let line = world.after(|root| {
            fs::write(root.join("perstack.toml"), "b = 2\n").unwrap();
            fs::write(root.join("perstack.lock"), "planted").unwrap();
            fs::write(root.join(".git/hooks/pre-commit"), "planted").unwrap();
            fs::remove_file(root.join(".git/hooks/pre-push")).unwrap();
        });
        let line = line.unwrap();
        for name in [".git/hooks/pre-commit", ".git/hooks/pre-push", "perstack.lock", "perstack.toml"] {
            assert!(line.contains(name), "{name}: {line}");
        }
        assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
        assert_eq!(world.text("perstack.toml.changed").as_deref(), Some("b = 2\n"));
        assert_eq!((world.text("perstack.lock"), world.text(".git/hooks/pre-commit")), (None, None));
        let hook = world.root.join(".git/hooks/pre-push");
        assert_eq!(fs::read_to_string(&hook).unwrap(), "mine");
        assert_eq!(hook.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn what_a_repository_needs_may_change() {
        let world = World::new();
        let line = world.after(|root| {
            fs::write(root.join(".git/HEAD"), "ref: y\n").unwrap();
            fs::write(root.join(".git/hooks/new.sample"), "x").unwrap();
            fs::write(root.join(".git/config"), "[core]\n\tbare = false\n[remote \"o\"]\n\turl = https://x\n").unwrap();
            fs::write(root.join("other.toml"), "x").unwrap();
        });
        assert_eq!(line, None);
        assert!(world.text(".git/config").unwrap().contains("remote"));
        assert_eq!(world.after(|root| fs::remove_dir_all(root.join(".git")).unwrap()), None);
        assert!(!world.root.join(".git").exists(), "a repository that was removed stays so");
    }

    #[test]
    fn settings_that_start_programs_are_taken_out_and_the_others_stay() {
        let world = World::new();
        let line = world.after(|root| {
            let text = "[core]\n\tbare = false\n\thooksPath = /tmp/x\n[user]\n\tname = o\n[ALIAS] st = !evil\n";
            fs::write(root.join(".git/config"), text).unwrap();
            fs::write(root.join(".git/modules/m/config"), "[core]\n\tfsmonitor = evil\n").unwrap();
        });
        assert!(line.is_some_and(|line| line.contains(".git/config") && line.contains(".git/modules/m/config")));
        let config = world.text(".git/config").unwrap();
        assert!(config.contains("name = o") && !config.contains("evil") && !config.contains("hooksPath"), "{config}");
        assert_eq!(world.text(".git/modules/m/config").as_deref(), Some("[core]\n"));
    }

    #[test]
    fn nothing_is_put_back_through_a_link() {
        let world = World::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let line = world.after(|root| {
            fs::rename(root.join(".git"), root.join("moved")).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), root.join(".git")).unwrap();
        });
        assert!(line.is_some());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        assert!(!world.root.join(".git").is_symlink());
    }

    #[test]
    fn folders_that_a_command_replaces_or_closes_are_no_way_to_keep_a_change() {
        let world = World::new();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("pre-push"), "evil").unwrap();
        fs::create_dir_all(elsewhere.path().join("m")).unwrap();
        let line = world.after(|root| {
            fs::rename(root.join(".git/hooks"), root.join("hooks")).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), root.join(".git/hooks")).unwrap();
            fs::rename(root.join(".git/modules"), root.join("modules")).unwrap();
            std::os::unix::fs::symlink(root.join("modules"), root.join(".git/modules")).unwrap();
        });
        assert!(line.is_some_and(|line| line.contains("pre-push") && !line.contains("cannot")));
        assert_eq!(world.text(".git/hooks/pre-push").as_deref(), Some("mine"));
        assert_eq!(world.text(".git/modules/m/config").as_deref(), Some("[core]\n"));
        assert!(!world.root.join(".git/hooks").is_symlink() && !world.root.join(".git/modules").is_symlink());
        assert_eq!(fs::read_to_string(elsewhere.path().join("pre-push")).unwrap(), "evil");
        for mode in [0o500, 0o000] {
            let line = world.after(|root| {
                fs::write(root.join(".git/hooks/pre-commit"), "planted").unwrap();
                fs::set_permissions(root.join(".git/hooks"), fs::Permissions::from_mode(mode)).unwrap();
                fs::set_permissions(root.join(".git"), fs::Permissions::from_mode(mode)).unwrap();
            });
            assert!(line.is_some_and(|line| line.contains("pre-commit") && !line.contains("cannot")), "{mode:o}");
            assert_eq!(world.text(".git/hooks/pre-commit"), None, "{mode:o}");
            let hooks = world.root.join(".git/hooks").metadata().unwrap();
            assert_eq!(hooks.permissions().mode() & 0o700, 0o700, "{mode:o}");
        }
    }

    #[test]
    fn a_folder_that_its_user_closed_stays_so() {
        let world = World::new();
        let hooks = world.root.join(".git/hooks");
        let close = |mode| fs::set_permissions(&hooks, fs::Permissions::from_mode(mode)).unwrap();
        close(0o555);
        let line = world.after(|root| {
            close(0o755);
            fs::write(root.join(".git/hooks/pre-commit"), "planted").unwrap();
            close(0o555);
        });
        assert!(line.is_some_and(|line| !line.contains("cannot")));
        assert_eq!(world.text(".git/hooks/pre-commit"), None);
        assert_eq!(hooks.metadata().unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(world.after(|_| ()), None);
        close(0o755);
    }

    #[test]
    fn new_files_that_later_runs_read_are_noticed_and_stay() {
        let world = World::new();
        fs::create_dir(world.root.join("experts")).unwrap();
        fs::write(world.root.join("experts/a.toml"), "a").unwrap();
        let off_limits = OffLimits {
            read_only: vec![world.root.join("experts/a.toml")],
            noticed: vec![world.root.join(".env"), world.root.join("perstack.lock")],
            include_folders: vec![world.root.join("experts")],
            ..OffLimits::default()
        };
        let protected = Protected::new(&world.root, &off_limits);
        let (first, second) = (protected.watch(), protected.watch());
        fs::write(world.root.join(".env"), "PORT=1").unwrap();
        fs::write(world.root.join("experts/b.toml"), "b").unwrap();
        fs::write(world.root.join("experts/notes.md"), "b").unwrap();
        let line = first.end().unwrap();
        assert!(line.starts_with("noticed .env, experts/b.toml:"), "{line}");
        assert_eq!(second.end(), None);
        assert_eq!(world.text(".env").as_deref(), Some("PORT=1"));
        let watch = protected.watch();
        fs::write(world.root.join(".env"), "PORT=2").unwrap();
        assert_eq!(watch.end(), None, "this run does not read it");
    }

    #[test]
    fn lists_of_other_files_have_a_state_of_their_own() {
        let world = World::new();
        let watch = |path: &str| {
            let off_limits = OffLimits { read_only: vec![world.root.join(path)], ..OffLimits::default() };
            Protected::new(&world.root, &off_limits).watch()
        };
        let (first, second) = (watch(".git/HEAD"), watch("perstack.toml"));
        assert_eq!((second.end(), first.end()), (None, None));
        assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
    }

    #[test]
    fn nothing_keeps_a_change_from_being_undone() {
        let world = World::new();
        let line = world.after(|root| {
            // Names that the putting back needs, a hook too large to be kept, and another place for hooks.
            fs::create_dir(root.join("perstack.toml.changed")).unwrap();
            fs::write(root.join("perstack.toml"), "b = 2\n").unwrap();
            fs::create_dir(root.join(".git/config.new")).unwrap();
            fs::write(root.join(".git/config"), "[core]\n\tbare = false\n[alias]\n\tst = !evil\n").unwrap();
            let large = usize::try_from(MAX_KEPT).unwrap() + 1;
            fs::write(root.join(".git/hooks/pre-commit"), vec![b'#'; large]).unwrap();
            fs::write(root.join(".git/commondir"), "../evil\n").unwrap();
        });
        assert!(line.is_some_and(|line| !line.contains("cannot")));
        assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
        assert!(!world.text(".git/config").unwrap().contains("evil"));
        assert_eq!((world.text(".git/hooks/pre-commit"), world.text(".git/commondir")), (None, None));
    }

    #[test]
    fn a_repository_above_is_not_hidden_by_one_that_a_command_makes() {
        let world = World::new();
        let below = world.root.join("docs");
        fs::create_dir(&below).unwrap();
        let watch = Protected::new(&below, &OffLimits::default()).watch();
        fs::create_dir(below.join(".git")).unwrap();
        fs::write(world.root.join(".git/hooks/pre-commit"), "planted").unwrap();
        assert!(watch.end().is_some());
        assert_eq!(world.text(".git/hooks/pre-commit"), None);
    }

    #[test]
    fn a_configuration_behind_a_link_is_put_back() {
        let world = World::new();
        fs::rename(world.root.join("perstack.toml"), world.root.join("real.toml")).unwrap();
        std::os::unix::fs::symlink("real.toml", world.root.join("perstack.toml")).unwrap();
        assert!(world.after(|root| fs::write(root.join("perstack.toml"), "b = 2\n").unwrap()).is_some());
        assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
        assert!(world.root.join("perstack.toml").is_symlink());
    }

    #[test]
    fn settings_keep_their_mode() {
        let world = World::new();
        let config = world.root.join(".git/config");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(world.after(|_| fs::write(&config, "[alias]\n\tst = !evil\n").unwrap()).is_some());
        assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn commands_beside_each_other_share_the_state_before() {
        let world = World::new();
        let protected = Protected::new(&world.root, &OffLimits::default());
        let first = protected.watch();
        fs::write(world.root.join(".git/hooks/pre-commit"), "planted").unwrap();
        let second = protected.watch();
        assert!(first.end().is_some());
        assert_eq!(second.end(), None);
        assert_eq!(world.text(".git/hooks/pre-commit"), None);
    }
}
