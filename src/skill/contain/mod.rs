//! [`Containment`]: the files that the contained commands or the server of one skill may reach, and the reason for a
//! refusal in words.
//!
//! The base skill makes one for its commands, the MCP client one for a local server. Which programs are contained is
//! settled by the runtime; applying the rules to a process is left to [`super::process`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use self::home::Home;
use self::rule::RuleMarks;
use crate::domain_list::DomainList;
use crate::environment::Environment;
use crate::expert::{AccessGrant, SkillAccess};
use crate::proxy::{InvalidProxy, ProxySettings};
use crate::skill::egress::{AccessReport, Egress};
use crate::skill::process::{Confinement, FileLists, FileRules, PlaceMount};

mod caches;
mod denial;
mod git_folders;
mod grants;
mod home;
mod needs;
mod own_files;
mod programs;
mod risk;
mod rule;
mod system;
#[cfg(target_os = "linux")]
mod watch;

pub(in crate::skill) use git_folders::repositories;
pub(in crate::skill) use grants::granted_variables;
pub use needs::{LearnScope, Learning, Proposal, RiskyNeed, SkillNeeds};
pub use programs::{NetworkMark, Programs};
pub use rule::{FileAccess, PathDecision, PathRule};

/// The reach of contained programs.
#[derive(Debug)]
pub struct Containment {
    home: Option<Home>,
    /// The name of the skill, for words on what to declare.
    skill: String,
    /// But for the system's folders.
    lists: FileLists,
    /// The programs and settings of the system, which is asked for them when a program is started: some hundred calls that
    /// most jobs do without.
    system_reads: OnceLock<Vec<PathBuf>>,
    /// The rules that the lists come from.
    marks: RuleMarks,
    /// The search path, by which caches are made before the first child.
    path: String,
    /// The way to the network, where it is bound to a list.
    egress: Option<Egress>,
    /// The place where needs are noted, while a job learns.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no calls are held there"))]
    needs: Option<Arc<SkillNeeds>>,
    /// The rules of the last child, with the identities of the files that they were made of.
    prepared: Mutex<Option<(Vec<FileIdentity>, Arc<FileRules>)>>,
}

/// The place that contained programs work in.
#[derive(Debug, Clone, Copy)]
pub struct ProgramPlace<'a> {
    pub workspace: &'a Path,
    /// The folder that relative paths of the configuration begin at.
    pub root: &'a Path,
    /// The folder of the jobs' records, which no program changes.
    pub storage: &'a Path,
    /// Of it, the home folder and the search path count, and the sockets that grants name.
    pub environment: &'a Environment,
    /// The command that is started, where it is one and the same.
    pub words: &'a [String],
    /// Changes of protected files are undone after each program.
    pub is_watched: bool,
}

/// Device and number of a file; `None` where there is none.
type FileIdentity = Option<(u64, u64)>;

/// A workspace that cannot be contained in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no program can be contained in the workspace {}, as it is or holds the home folder",
    workspace.display()
)]
pub struct WorkspaceTooWide {
    workspace: PathBuf,
}

impl Containment {
    /// The reach of programs of `skill` that work in `place` and have `access` besides.
    ///
    /// # Errors
    /// A workspace that is the home folder, or above it.
    pub fn new(skill: &str, place: ProgramPlace<'_>, access: &SkillAccess) -> Result<Self, WorkspaceTooWide> {
        let ProgramPlace { workspace, root, storage, environment, words, is_watched } = place;
        let workspace = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
        let home = environment.users("HOME").and_then(Home::find);
        let is_too_wide = workspace.parent().is_none() || home.as_ref().is_some_and(|home| home.is_in(&workspace));
        if is_too_wide {
            return Err(WorkspaceTooWide { workspace });
        }
        let path = environment.users("PATH").unwrap_or_default();
        let mut lists = FileLists { devices: system::devices(), ..FileLists::default() };
        let mut marks = RuleMarks::default();
        lists.reads.extend(system::program_folders(path, home.as_ref()));
        marks.mark(PathRule::ProgramFolder, &lists);
        lists.reads.extend(own_files::own_files(words, home.as_ref()));
        marks.mark(PathRule::OwnFiles, &lists);
        lists.writes.push(workspace.clone());
        marks.mark(PathRule::Workspace, &lists);
        lists.writes.extend(system::temporary(home.as_ref()));
        marks.mark(PathRule::Temporary, &lists);
        lists.writes.extend(git_folders::outside(&workspace));
        marks.mark(PathRule::Repository, &lists);
        if let Some(home) = &home {
            lists.reads.extend(home.toolchains());
            marks.mark(PathRule::Toolchain, &lists);
            lists.writes.extend(caches::all(home));
            marks.mark(PathRule::Cache, &lists);
        }
        // In a namespace of users, the system's settings of SSH are nobody's, and it refuses them.
        if system::is_root() || !access.grants.contains(&AccessGrant::Ssh) {
            lists.mounts = kept_folders(&workspace, storage, is_watched);
        }
        for grant in &access.grants {
            grants::add(*grant, home.as_ref(), environment, &mut lists);
            marks.mark(PathRule::Grant(*grant), &lists);
        }
        let resolved = |paths: &[String]| -> Vec<PathBuf> {
            paths.iter().filter_map(|path| resolve(path, root, home.as_ref())).collect()
        };
        lists.reads.extend(resolved(&access.reads));
        marks.mark(PathRule::Reads, &lists);
        lists.writes.extend(resolved(&access.writes));
        marks.mark(PathRule::Writes, &lists);
        lists.sockets.extend(resolved(&access.unix_sockets));
        marks.mark(PathRule::UnixSockets, &lists);
        let (skill, path) = (skill.to_owned(), path.to_owned());
        let (system_reads, prepared) = (OnceLock::new(), Mutex::default());
        Ok(Self { home, skill, lists, system_reads, marks, path, egress: None, needs: None, prepared })
    }

    /// Bounds the programs to the hosts of `list`, which are reached through `proxies`. Decisions go to `report`.
    ///
    /// # Errors
    /// A proxy's address that cannot be used.
    pub fn with_list(
        mut self,
        list: DomainList,
        proxies: &ProxySettings,
        report: AccessReport,
    ) -> Result<Self, InvalidProxy> {
        self.egress = Some(Egress::new(&self.skill, list, proxies, &self.lists, report)?);
        Ok(self)
    }

    /// Notes in `needs` what the programs are refused.
    #[must_use]
    pub fn learning(self, needs: Arc<SkillNeeds>) -> Self {
        Self { needs: Some(needs), ..self }
    }

    /// The rules for a child that is started now. Folders of package managers that are to hold what they fetch are made for
    /// the first one, if they are missing.
    ///
    /// # Errors
    /// The kernel refuses them, or has none.
    pub fn confinement(&self) -> io::Result<Confinement> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.is_none() {
            self.home.iter().for_each(|home| caches::make(home, &self.path));
        }
        let identities = self.identities();
        if let Some((_, rules)) = prepared.as_ref().filter(|(made_of, _)| *made_of == identities) {
            return Ok(Confinement::Contained(Arc::clone(rules)));
        }
        let rules = Arc::new(FileRules::new(&self.lists, self.system_reads())?);
        *prepared = Some((identities, Arc::clone(&rules)));
        Ok(Confinement::Contained(rules))
    }

    /// The programs and settings of the system, as the first call finds them.
    fn system_reads(&self) -> &[PathBuf] {
        self.system_reads.get_or_init(|| system::reads(self.home.as_ref()))
    }

    /// The files as they are now: one that has come, or was replaced, needs new rules.
    fn identities(&self) -> Vec<FileIdentity> {
        let FileLists { reads, writes, devices: _, sockets, mounts } = &self.lists;
        let mounts = mounts.iter().map(|mount| match mount {
            PlaceMount::Held(path) | PlaceMount::ReadOnly(path) => path,
        });
        let lists = [self.system_reads(), reads, writes, sockets].into_iter().flatten();
        lists.chain(mounts).map(|path| identity(path)).collect()
    }
}

/// The folders in reach of contained programs that are kept from changes: the storage, and the hooks of git's repositories
/// unless they are watched: tools that set hooks up while a project is installed fail where they cannot. A repository's
/// folder is held then, since its hooks could be moved away with it. Files are left out: git replaces those that it
/// tracks, and fails halfway where it cannot.
fn kept_folders(workspace: &Path, storage: &Path, is_watched: bool) -> Vec<PlaceMount> {
    let mut folders = Vec::new();
    for repository in repositories(workspace).into_iter().filter(|_| !is_watched) {
        let hooks = repository.join("hooks");
        if hooks.is_dir() {
            folders.extend([PlaceMount::Held(repository), PlaceMount::ReadOnly(hooks)]);
        }
    }
    // It may not be there yet.
    let to_come = || Some(storage.parent()?.canonicalize().ok()?.join(storage.file_name()?));
    let storage = storage.canonicalize().ok().or_else(to_come).filter(|storage| !workspace.starts_with(storage));
    if let Some(storage) = storage {
        // Those between, from above to below: it could be moved away with one of them.
        let between = storage.ancestors().skip(1).take_while(|folder| *folder != workspace);
        let between: Vec<&Path> = between.filter(|folder| folder.starts_with(workspace)).collect();
        folders.extend(between.into_iter().rev().map(|folder| PlaceMount::Held(folder.to_owned())));
        folders.push(PlaceMount::ReadOnly(storage));
    }
    folders
}

#[cfg(unix)]
fn identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}

/// None: no rules are made here.
#[cfg(not(unix))]
fn identity(_: &Path) -> FileIdentity {
    None
}

/// The place of a path in a skill's lists. `None` for one beneath a home folder that is not there.
pub fn declared_path(path: &str, root: &Path, environment: &Environment) -> Option<PathBuf> {
    resolve(path, root, environment.users("HOME").and_then(Home::find).as_ref())
}

/// A path of the configuration: absolute, beneath the home folder by `~/`, or relative to the root.
fn resolve(path: &str, root: &Path, home: Option<&Home>) -> Option<PathBuf> {
    match path.strip_prefix('~') {
        Some(rest) => Some(home?.join(rest.trim_start_matches('/'))),
        None => Some(root.join(path)),
    }
}
