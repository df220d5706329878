//! [`PathRule`]: the rule by which contained programs reach a file. Hints for failed programs and `perstack why` ask for it;
//! the kernel's rules are made of the same lists.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Containment, grants};
use crate::expert::AccessGrant;
use crate::skill::lexical_path::without_dots;
use crate::skill::process::{FileLists, KernelAbility, PlaceMount};

/// The rule by which a path is within reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRule {
    System,
    ProgramFolder,
    OwnFiles,
    Workspace,
    Temporary,
    Repository,
    Toolchain,
    Cache,
    Device,
    Grant(AccessGrant),
    Reads,
    Writes,
    UnixSockets,
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("programs and settings of the system"),
            Self::ProgramFolder => f.write_str("a folder of PATH, or one beside it that its programs need"),
            Self::OwnFiles => f.write_str("a file of its own command, or one beside it"),
            Self::Workspace => f.write_str("the workspace"),
            Self::Temporary => f.write_str("a temporary folder"),
            Self::Repository => f.write_str("the repository that the workspace is in"),
            Self::Toolchain => f.write_str("a toolchain"),
            Self::Cache => f.write_str("a cache of a package manager or compiler"),
            Self::Device => f.write_str("a device that holds nobody's data"),
            Self::Grant(grant) => write!(f, "grants = [\"{}\"]", grant.as_str()),
            Self::Reads => f.write_str("reads of the skill"),
            Self::Writes => f.write_str("writes of the skill"),
            Self::UnixSockets => f.write_str("unixSockets of the skill"),
        }
    }
}

/// A use of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    Read,
    Change,
    /// Of a socket.
    Connect,
}

/// The decision on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathDecision {
    /// None where it is out of reach.
    pub rule: Option<PathRule>,
    /// It may not be changed, whatever the skill declares: records of jobs, hooks of git.
    pub is_kept: bool,
    /// The line of the skill that would allow it, where it is out of reach.
    pub remedy: String,
    /// The grant whose credentials it is among.
    pub credentials: Option<AccessGrant>,
}

/// The rules that the entries of the lists of files come from.
#[derive(Debug, Default)]
pub(super) struct RuleMarks(Vec<(PathRule, [usize; 3])>);

impl RuleMarks {
    /// Notes that what was added to `lists` since the last note comes from `rule`.
    pub fn mark(&mut self, rule: PathRule, lists: &FileLists) {
        self.0.push((rule, [lists.reads.len(), lists.writes.len(), lists.sockets.len()]));
    }

    /// The rule of the entry `at` of the list `list`.
    fn rule(&self, list: usize, at: usize) -> Option<PathRule> {
        let ends_behind = |ends: &[usize; 3]| ends.get(list).is_some_and(|end| *end > at);
        self.0.iter().find(|(_, ends)| ends_behind(ends)).map(|(rule, _)| *rule)
    }
}

impl Containment {
    /// The decision on an absolute path.
    pub fn decide(&self, path: &Path, access: FileAccess) -> PathDecision {
        let path = without_dots(path);
        let real = real(&path);
        let is_kept = access == FileAccess::Change && self.is_kept(&real);
        PathDecision {
            rule: self.rule(&real, access).filter(|_| !is_kept),
            is_kept,
            remedy: self.remedy(&path, &real, access),
            credentials: self.granted_by(&path, &real),
        }
    }

    /// The rule that gives `real`, a path without links.
    pub(super) fn rule(&self, real: &Path, access: FileAccess) -> Option<PathRule> {
        let FileLists { reads, writes, devices, sockets, .. } = &self.lists;
        let holds = |folder: &PathBuf| real.starts_with(folder.canonicalize().as_ref().unwrap_or(folder));
        let find = |number: usize, list: &[PathBuf]| self.marks.rule(number, list.iter().position(holds)?);
        let device = || devices.iter().any(holds).then_some(PathRule::Device);
        let system = || self.system_reads().iter().any(holds).then_some(PathRule::System);
        match access {
            FileAccess::Read => find(1, writes).or_else(device).or_else(system).or_else(|| find(0, reads)),
            FileAccess::Change => find(1, writes).or_else(device),
            FileAccess::Connect => find(2, sockets),
        }
    }

    /// Returns true if `real` is in a folder that programs have mounted read-only.
    fn is_kept(&self, real: &Path) -> bool {
        let holds = |mount: &PlaceMount| matches!(mount, PlaceMount::ReadOnly(folder) if real.starts_with(folder));
        self.lists.mounts.iter().any(holds) && KernelAbility::has_mounts()
    }

    /// The grant that gives the path or what it leads to.
    pub(super) fn granted_by(&self, path: &Path, real: &Path) -> Option<AccessGrant> {
        grants::giving(path, self.home.as_ref()).or_else(|| grants::giving(real, self.home.as_ref()))
    }

    /// The line of the skill that would give a path.
    fn remedy(&self, path: &Path, real: &Path, access: FileAccess) -> String {
        match (access, self.granted_by(path, real)) {
            (FileAccess::Read | FileAccess::Connect, Some(grant)) => format!("grants = [\"{}\"]", grant.as_str()),
            (FileAccess::Read, None) => format!("reads = [\"{}\"]", self.shown(real)),
            (FileAccess::Connect, None) => format!("unixSockets = [\"{}\"]", self.shown(real)),
            (FileAccess::Change, _) => format!("writes = [\"{}\"]", self.shown(writable(real))),
        }
    }

    /// The path for people: `~/…` in the home folder.
    pub(super) fn shown(&self, path: &Path) -> String {
        self.home.as_ref().and_then(|home| home.shorten(path)).unwrap_or_else(|| path.display().to_string())
    }
}

/// The folder that has to be writable for `real` to be changed or made.
pub(super) fn writable(real: &Path) -> &Path {
    if real.is_dir() { real } else { real.parent().unwrap_or(real) }
}

/// The path without links, as far as it is there. What a link leads to is what the rules are about.
pub(super) fn real(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}
