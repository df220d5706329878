//! [`Protected`]: the files in reach of commands that decide what runs later, kept and put back: the configuration, the
//! lock, environment files, the hooks and the dangerous settings of the workspace's repository.
//!
//! `exec` watches them while a command runs. The kernel's rules cannot take single files out of a folder, so that a
//! change is undone after the call, and reported. What a command wrote stays beside the file, under another name.

use std::collections::BTreeMap;
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

/// Files by their state, as far as they are there.
type Snapshot = BTreeMap<PathBuf, Kept>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
    /// Too large to be kept, or not readable. It can be taken away when it is new, and not be put back.
    Other {
        len: u64,
        changed: Option<SystemTime>,
    },
}

/// The watched workspaces, each with the number of commands that run in it and the state before the first of them. Experts
/// of one job share a workspace: what one's command plants must not be the other's state before.
static WATCHED: Mutex<BTreeMap<PathBuf, (usize, Snapshot)>> = Mutex::new(BTreeMap::new());

/// The protected files of a workspace.
#[derive(Debug, Clone)]
pub(super) struct Protected {
    /// Without links.
    workspace: PathBuf,
    /// Those that the workspace is or is in: a command may hide one behind a folder of its own.
    repositories: Vec<PathBuf>,
    /// Single files.
    files: Vec<PathBuf>,
}

impl Protected {
    /// Those of `off_limits` and of the repository that `workspace`, a path without links, is or is in.
    pub(super) fn new(workspace: &Path, off_limits: &OffLimits) -> Self {
        let named = off_limits.closed.iter().chain(&off_limits.read_only);
        let files = named.flat_map(|path| {
            // Its own name, in the folder without links, as what is there may become a link; and where a link leads now.
            let own = std::path::absolute(path)
                .ok()
                .and_then(|path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?)));
            own.into_iter().chain(path.canonicalize().ok())
        });
        Self { workspace: workspace.to_owned(), repositories: repositories(workspace), files: files.collect() }
    }

    /// Keeps the files as they are now, unless a command runs already.
    pub(super) fn watch(&self) -> CommandWatch {
        let mut watched = watched();
        match watched.get_mut(&self.workspace) {
            Some((running, _)) => *running += 1,
            None => {
                watched.insert(self.workspace.clone(), (1, self.snapshot()));
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
        paths.into_iter().filter_map(|path| Some((path.clone(), kept(&path)?))).collect()
    }

    /// Puts back what differs from `before`; a line for people if anything did.
    fn put_back(&self, before: &Snapshot) -> Option<String> {
        let after = self.snapshot();
        let (mut names, mut failures) = (Vec::new(), Vec::new());
        let shown = |path: &Path| path.strip_prefix(&self.workspace).unwrap_or(path).display().to_string();
        for path in after.keys().chain(before.keys().filter(|path| !after.contains_key(*path))) {
            let (was, is) = (before.get(path), after.get(path));
            // With its repository, a hook is gone too.
            let is_gone = git::is_control_file(path) && is.is_none() && !git::repository_is_there(path);
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
                Ok(()) => names.push(shown(path)),
                Err(error) => failures.push(format!("{}: {error}", shown(path))),
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
        let (running, before) = watched.get_mut(&self.protected.workspace)?;
        let line = self.protected.put_back(before);
        *running = running.saturating_sub(1);
        if *running == 0 {
            watched.remove(&self.protected.workspace);
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

fn watched() -> MutexGuard<'static, BTreeMap<PathBuf, (usize, Snapshot)>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of a path; `None` for folders and what is not there.
fn kept(path: &Path) -> Option<Kept> {
    let metadata = fs::symlink_metadata(path).ok()?;
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

/// Moves what is at `path` beside it.
fn set_aside(path: &Path) -> io::Result<()> {
    in_place(path)?;
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

/// Makes the folder of `path` if it is gone, and checks that no link leads elsewhere: its path had none.
fn in_place(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    if folder.canonicalize()? == folder { Ok(()) } else { Err(io::Error::other("a link leads elsewhere")) }
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
