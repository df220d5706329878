//! [`Confinement`]: the restrictions that a child is started under. Skills choose one; `restrict` applies it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The restrictions of a child.
#[derive(Debug, Clone, Default)]
pub enum Confinement {
    /// None: it may gain privileges, and signal whom its user may.
    Lifted,
    /// It gains no privileges and does nothing to the processes that see to its end.
    #[default]
    Guarded,
    /// As [`Confinement::Guarded`], and files and system calls are confined too.
    Contained(Arc<FileRules>),
}

/// Files and folders, with all beneath, by what a contained child may do with them. Those that are not there are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileLists {
    pub reads: Vec<PathBuf>,
    pub writes: Vec<PathBuf>,
    /// Devices that are read, written and asked to do things.
    pub devices: Vec<PathBuf>,
    /// Sockets of other programs, and folders of such.
    pub sockets: Vec<PathBuf>,
    /// Folders, those above before those below, that are kept from changes where the system lets a child have mounts of
    /// its own.
    pub mounts: Vec<PlaceMount>,
}

/// A place, and its treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceMount {
    /// It can be neither renamed nor removed.
    Held(PathBuf),
    /// Nothing in it can be changed.
    ReadOnly(PathBuf),
}

/// The rules of contained children, ready to be applied to any number of them.
#[derive(Debug)]
pub struct FileRules {
    #[cfg(target_os = "linux")]
    pub(super) ruleset: std::os::fd::OwnedFd,
    /// Sockets with a name in the file system can be made and connected to. Kernels before 7.1 cannot bound which.
    pub(super) has_unix_sockets: bool,
    #[cfg(target_os = "linux")]
    pub(super) mounts: super::mounts::Mounts,
}

impl FileRules {
    /// Makes rules of lists, and of more that is read. Everything else can be neither read, listed, executed nor changed; sockets without a name in
    /// the file system and signals reach no process outside, where the kernel has that.
    ///
    /// # Errors
    /// The kernel refuses them, or has no Landlock.
    #[cfg(target_os = "linux")]
    pub fn new(lists: &FileLists, more_reads: &[PathBuf]) -> io::Result<Self> {
        let ruleset = ruleset(lists, more_reads).map_err(io::Error::other)?;
        let ruleset = ruleset.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "no Landlock"))?;
        let has_unix_sockets = lists.sockets.iter().any(|socket| socket.exists());
        let mounts = super::mounts::Mounts::new(lists.mounts.iter().map(|mount| match mount {
            PlaceMount::Held(path) => (&**path, false),
            PlaceMount::ReadOnly(path) => (&**path, true),
        }));
        Ok(Self { ruleset, has_unix_sockets, mounts })
    }

    /// Fails: this system has no such rules.
    #[cfg(not(target_os = "linux"))]
    pub fn new(_: &FileLists, _: &[PathBuf]) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "programs are contained on Linux alone"))
    }
}

/// The rules as a descriptor; `None` where the kernel has no Landlock. Rights that it does not know are left out.
#[cfg(target_os = "linux")]
fn ruleset(lists: &FileLists, more_reads: &[PathBuf]) -> Result<Option<std::os::fd::OwnedFd>, landlock::RulesetError> {
    use landlock::{
        ABI, Access as _, AccessFs, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
        path_beneath_rules,
    };
    let reading = AccessFs::from_read(ABI::V9);
    // Devices are made by nobody. Sockets in temporary folders and in the workspace are other programs' (tmux, agents of
    // keys, a display); those of the child's own domain need no right.
    let withheld =
        BitFlags::from(AccessFs::MakeChar) | AccessFs::MakeBlock | AccessFs::IoctlDev | AccessFs::ResolveUnix;
    let writing = reading | (AccessFs::from_write(ABI::V9) & !withheld);
    let device = BitFlags::from(AccessFs::ReadFile)
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::IoctlDev;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V9))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(lists.reads.iter().chain(more_reads), reading))?
        .add_rules(path_beneath_rules(&lists.writes, writing))?
        .add_rules(path_beneath_rules(&lists.devices, device))?
        .add_rules(path_beneath_rules(&lists.sockets, AccessFs::ResolveUnix))?;
    Ok(rules.into())
}
