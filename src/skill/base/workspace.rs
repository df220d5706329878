//! Keeps the file tools within the workspace: every path becomes a name in an open directory beneath it.
//!
//! A path is walked component by component from a handle on the workspace; no step follows a link unseen. What a walk
//! returns, a [`WorkspacePath`], holds the last directory open, so that nobody who renames or links meanwhile can lead an
//! operation elsewhere. What is done at a place is left to the tools.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};

use super::failure::FileFailure;
use super::off_limits::{OffLimits, OnDisk, is_same};
use crate::skill::lexical_path::without_dots;

/// The runner's own directory in the workspace, off limits to the tools.
const PROTECTED: &str = "perstack";

/// Most links one path may lead through (Linux's own limit).
const MAX_LINKS: usize = 40;

/// The directory that the tools may work in.
#[derive(Debug)]
pub(super) struct Workspace {
    root: Arc<Dir>,
    /// Its path without links.
    real: PathBuf,
    /// Its path as it was given: absolute paths may begin with this one too.
    given: PathBuf,
    /// The directory that `~` means.
    home: Option<PathBuf>,
    off_limits: OffLimits,
}

/// The treatment of a link that a path ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    /// Go on to where it leads.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// Something in the workspace, or the place where it would be: a name in an open directory.
#[derive(Debug)]
pub(super) struct WorkspacePath {
    folder: Arc<Dir>,
    /// `.` for the workspace itself.
    name: OsString,
    /// From the workspace, without links; empty for the workspace itself.
    relative: PathBuf,
    absolute: PathBuf,
    /// Of what is there, a link that was kept included.
    metadata: Option<Metadata>,
    through_link: bool,
}

impl Workspace {
    /// Opens the directory at `path`. `home` is the user's home directory.
    pub(super) fn open(path: &Path, home: Option<&str>, off_limits: OffLimits) -> io::Result<Self> {
        let given = without_dots(&std::path::absolute(path)?);
        let real = std::fs::canonicalize(path)?;
        let root = Dir::open_ambient_dir(&real, ambient_authority())?;
        Ok(Self { root: Arc::new(root), real, given, home: home.map(PathBuf::from), off_limits })
    }

    /// The workspace's path, without links.
    pub(super) fn path(&self) -> &Path {
        &self.real
    }

    /// Finds the place of `path`: relative to the workspace, absolute within it, or beginning with `~`. The parent
    /// must exist.
    pub(super) fn resolve(&self, path: &str, last: LastLink) -> Result<WorkspacePath, FileFailure> {
        let relative = self.beneath(path)?;
        let mut walk = Walk {
            workspace: self,
            path,
            protected: self.protected(),
            off_limits: self.off_limits.on_disk(),
            inner: Vec::new(),
            remaining: Vec::new(),
            links: 0,
            at_last: false,
            last_is_link: false,
        };
        walk.push_names(&relative);
        walk.run(last)
    }

    /// Finds the place of `path`, as [`Workspace::resolve`] does, to create, change, move or delete what is there.
    pub(super) fn resolve_to_change(&self, path: &str, last: LastLink) -> Result<WorkspacePath, FileFailure> {
        let place = self.resolve(path, last)?;
        let is_read_only = |metadata: &Metadata| self.off_limits.on_disk().is_read_only(metadata);
        let is_read_only = place.metadata.as_ref().is_some_and(is_read_only);
        if is_read_only || self.off_limits.forbids_change(&place.absolute) || decides_for_git(&place.relative) {
            return Err(FileFailure::ReadOnly(path.to_owned()));
        }
        Ok(place)
    }

    /// The metadata of the runner's own directory, where there is one, by whatever link.
    fn protected(&self) -> Option<Metadata> {
        // In one call where it is no link, as it hardly ever is: following one takes three.
        let met = self.root.symlink_metadata(PROTECTED).ok()?;
        if met.is_symlink() { self.root.metadata(PROTECTED).ok() } else { Some(met) }
    }

    /// `path` as a path from the workspace, `.` and `..` taken out of the text as the original did.
    fn beneath(&self, path: &str) -> Result<PathBuf, FileFailure> {
        let expanded = match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.home.as_ref().ok_or_else(|| FileFailure::NoHome(path.to_owned()))?;
                home.join(rest.trim_start_matches('/'))
            }
            _ => PathBuf::from(path),
        };
        let absolute = without_dots(&self.real.join(expanded));
        match self.strip(&absolute) {
            Some(relative) => Ok(relative.to_owned()),
            None => Err(FileFailure::Outside { path: absolute, workspace: self.real.clone() }),
        }
    }

    fn strip<'a>(&self, absolute: &'a Path) -> Option<&'a Path> {
        absolute.strip_prefix(&self.real).or_else(|_| absolute.strip_prefix(&self.given)).ok()
    }
}

/// Returns true when `name`, directly in the workspace, is the runner's own directory.
pub(super) fn is_protected(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    // Windows takes `perstack.` and `perstack::$DATA` for the same name.
    let name =
        if cfg!(windows) { name.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']) } else { &*name };
    name.to_lowercase() == PROTECTED
}

/// Returns true for what git starts programs by, and for a repository's folder itself, which has it.
fn decides_for_git(relative: &Path) -> bool {
    let names = relative.components().map(|part| part.as_os_str().to_string_lossy().to_lowercase());
    let names: Vec<String> = names.skip_while(|name| name != ".git").skip(1).collect();
    match names.last() {
        None => relative.components().next_back().is_some_and(|last| last.as_os_str().eq_ignore_ascii_case(".git")),
        Some(last) => {
            let is_control = ["commondir", "config", "config.worktree"].contains(&last.as_str());
            is_control || names.iter().any(|name| name == "hooks")
        }
    }
}

/// A path being walked.
struct Walk<'a> {
    workspace: &'a Workspace,
    path: &'a str,
    protected: Option<Metadata>,
    off_limits: OnDisk,
    /// The directories gone into, with their names.
    inner: Vec<(OsString, Arc<Dir>)>,
    /// The names still to be walked, the next one last.
    remaining: Vec<OsString>,
    links: usize,
    /// Set once the path's own last name has been met: from there on, all names are a link's.
    at_last: bool,
    /// Set when that name is a link that has been followed.
    last_is_link: bool,
}

impl Walk<'_> {
    fn run(mut self, last: LastLink) -> Result<WorkspacePath, FileFailure> {
        while let Some(name) = self.remaining.pop() {
            let is_last = self.remaining.is_empty();
            let is_own_last = is_last && !self.at_last;
            self.at_last |= is_last;
            if name == ".." {
                if self.inner.pop().is_none() {
                    return Err(self.escape());
                }
                continue;
            }
            if self.inner.is_empty() && is_protected(&name) {
                return Err(FileFailure::Protected);
            }
            let metadata = match self.folder().symlink_metadata(&name) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => {
                    return Ok(self.place(name, None));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.no_parent(&name)),
                Err(error) => return Err(FileFailure::io("look at", self.path)(error)),
            };
            if metadata.is_symlink() {
                if is_own_last && last == LastLink::Keep {
                    return Ok(self.place(name, Some(metadata)));
                }
                self.follow(&name)?;
                continue;
            }
            self.check(&metadata)?;
            if is_last {
                return Ok(self.place(name, Some(metadata)));
            }
            if !metadata.is_dir() {
                return Err(self.no_parent(&name));
            }
            self.enter(name)?;
        }
        self.current_folder()
    }

    /// Refuses what is off limits, under whatever name it was met.
    fn check(&self, met: &Metadata) -> Result<(), FileFailure> {
        let is_protected = self.protected.as_ref().is_some_and(|protected| is_same(protected, met));
        if is_protected || self.off_limits.is_hidden(met) {
            return Err(FileFailure::Protected);
        }
        if self.off_limits.is_closed(met) { Err(FileFailure::Closed(self.path.to_owned())) } else { Ok(()) }
    }

    fn folder(&self) -> &Arc<Dir> {
        self.inner.last().map_or(&self.workspace.root, |(_, folder)| folder)
    }

    fn relative(&self) -> PathBuf {
        self.inner.iter().map(|(name, _)| name).collect()
    }

    fn push_names(&mut self, path: &Path) {
        let names: Vec<OsString> = path
            .components()
            .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
            .map(|component| component.as_os_str().to_owned())
            .collect();
        self.remaining.extend(names.into_iter().rev());
    }

    /// Goes into a directory that is no link; should it have become one since, opening fails.
    fn enter(&mut self, name: OsString) -> Result<(), FileFailure> {
        let folder = open_folder(self.folder(), &name).map_err(FileFailure::io("open", self.path))?;
        let opened = folder.dir_metadata().map_err(FileFailure::io("look at", self.path))?;
        self.check(&opened)?;
        self.inner.push((name, Arc::new(folder)));
        Ok(())
    }

    /// Puts a link's target in its place.
    fn follow(&mut self, name: &OsStr) -> Result<(), FileFailure> {
        self.links += 1;
        self.last_is_link |= self.at_last;
        if self.links > MAX_LINKS {
            return Err(FileFailure::TooManyLinks(self.path.to_owned()));
        }
        let target = self.folder().read_link_contents(name).map_err(FileFailure::io("read the link", self.path))?;
        if target.has_root() {
            let Some(relative) = self.workspace.strip(&target) else { return Err(self.escape()) };
            let relative = relative.to_owned();
            self.inner.clear();
            self.push_names(&relative);
        } else {
            self.push_names(&target);
        }
        Ok(())
    }

    /// The path as it was given had its `..` taken out, so only a link can have led outside, and does so here even when its
    /// target would come back in.
    fn escape(&self) -> FileFailure {
        if self.at_last { FileFailure::LinkOutside } else { FileFailure::ParentOutside }
    }

    fn no_parent(&self, name: &OsStr) -> FileFailure {
        let mut parent = self.workspace.real.join(self.relative());
        parent.push(name);
        // All names but the last: the directory that should hold what the path names.
        parent.extend(self.remaining.iter().skip(1).rev());
        FileFailure::NoParent(parent)
    }

    /// The path ended in `.` or `..` of a link: the place is the directory that the walk has reached.
    fn current_folder(mut self) -> Result<WorkspacePath, FileFailure> {
        let name = self.inner.pop().map_or_else(|| OsString::from("."), |(name, _)| name);
        let metadata = self.folder().symlink_metadata(&name).map_err(FileFailure::io("look at", self.path))?;
        Ok(self.place(name, Some(metadata)))
    }

    fn place(self, name: OsString, metadata: Option<Metadata>) -> WorkspacePath {
        let mut relative = self.relative();
        if name != "." {
            relative.push(&name);
        }
        let folder = Arc::clone(self.folder());
        let absolute = if relative.as_os_str().is_empty() {
            self.workspace.real.clone()
        } else {
            self.workspace.real.join(&relative)
        };
        WorkspacePath { folder, name, relative, absolute, metadata, through_link: self.last_is_link }
    }
}

impl WorkspacePath {
    /// The open directory that holds it.
    pub(super) fn folder(&self) -> &Dir {
        &self.folder
    }

    /// Its name there.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Its path, without links.
    pub(super) fn absolute(&self) -> &Path {
        &self.absolute
    }

    /// The path of the directory that holds it.
    pub(super) fn parent(&self) -> PathBuf {
        self.absolute.parent().map_or_else(|| self.absolute.clone(), Path::to_owned)
    }

    /// The metadata of the entry that was there when the path was walked.
    pub(super) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Returns true when the path's last name is a link that was followed.
    pub(super) fn is_through_link(&self) -> bool {
        self.through_link
    }

    /// Returns true for the workspace itself.
    pub(super) fn is_workspace(&self) -> bool {
        self.relative.as_os_str().is_empty()
    }

    /// Opens the file here. Never waits for a pipe's other end, and never follows a link that came here since.
    pub(super) fn open(&self, options: &OpenOptions) -> io::Result<File> {
        let mut options = options.clone();
        do_not_follow_or_wait(&mut options);
        Ok(self.folder.open_with(&self.name, &options)?.into_std())
    }

    /// Opens the directory here.
    pub(super) fn open_folder(&self) -> io::Result<Dir> {
        open_folder(&self.folder, &self.name)
    }
}

/// Returns true when the file's owner may write to it.
pub(super) fn is_writable(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use cap_std::fs::PermissionsExt;
        metadata.permissions().mode() & 0o200 != 0
    }
    #[cfg(not(unix))]
    !metadata.permissions().readonly()
}

#[cfg(unix)]
fn open_folder(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    use cap_std::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    Ok(Dir::from_std_file(parent.open_with(name, &options)?.into_std()))
}

#[cfg(not(unix))]
fn open_folder(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    parent.open_dir(name)
}

#[cfg(unix)]
fn do_not_follow_or_wait(options: &mut OpenOptions) {
    use cap_std::fs::OpenOptionsExt;
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
}

#[cfg(not(unix))]
fn do_not_follow_or_wait(_: &mut OpenOptions) {}
