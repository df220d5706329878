//! [`FileWatch`]: the observer of the calls by which contained programs use files, while a job learns. It notes what the rules
//! refuse, and lets every call go on as it was made: the kernel's rules decide on it, nothing here does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::Containment;
use super::needs::SkillNeeds;
use super::rule::real;
use crate::skill::lexical_path::without_dots;
use crate::skill::process::{CallAnswer, CallJudge, HeldCall, HeldCalls};

/// The calls that name files, alike on all architectures.
const CALLS: [i64; 11] = [
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_execve,
];

/// Older forms of them, which newer architectures are without.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: [i64; 9] = [
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: [i64; 0] = [];

/// Paths that mean something else in each process.
const OWN_PLACES: [&str; 6] = ["/proc", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty"];

/// The calls of a program of `containment` that are observed; `connects` are those that are judged besides.
pub(super) fn held_calls(
    containment: &Arc<Containment>,
    needs: &Arc<SkillNeeds>,
    connects: Option<HeldCalls>,
) -> HeldCalls {
    let (mut numbers, streams_only, connects) = match connects {
        Some(HeldCalls { numbers, judge, streams_only }) => (numbers, streams_only, Some(judge)),
        None => (Vec::new(), false, None),
    };
    numbers.extend(CALLS.into_iter().chain(OLDER_CALLS));
    let lists = &containment.lists;
    let without_links = |paths: &[PathBuf]| paths.iter().map(|path| real(path)).collect::<Vec<_>>();
    let writes = without_links(&[&*lists.writes, &*lists.devices].concat());
    let reads = without_links(&lists.reads);
    let (containment, needs) = (Arc::clone(containment), Arc::clone(needs));
    HeldCalls { numbers, judge: Arc::new(FileWatch { containment, needs, reads, writes, connects }), streams_only }
}

#[derive(Debug)]
struct FileWatch {
    containment: Arc<Containment>,
    needs: Arc<SkillNeeds>,
    /// Without links, as the writes.
    reads: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    connects: Option<Arc<dyn CallJudge>>,
}

/// A use of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathUse {
    Read,
    /// Of a file that is there.
    Write,
    /// Something is made in its folder, if it is not there yet.
    Create,
    /// It is taken out of its folder.
    Remove,
    Execute,
}

/// A path as a call has it: the descriptor of its folder, and its address.
type PathArgument = (Option<u64>, u64);

impl CallJudge for FileWatch {
    fn answer(&self, call: HeldCall) {
        if call.number == libc::SYS_connect
            && let Some(judge) = &self.connects
        {
            return judge.answer(call);
        }
        for (argument, path_use) in uses(&call) {
            // A call that cannot be read fails in the kernel too.
            if let Ok(path) = path(&call, argument) {
                self.note(&path, path_use);
            }
        }
        call.answer(CallAnswer::Made);
    }
}

impl FileWatch {
    fn note(&self, path: &Path, path_use: PathUse) {
        let path = without_dots(path);
        if OWN_PLACES.iter().any(|place| path.starts_with(place)) {
            return;
        }
        let creates = matches!(path_use, PathUse::Create | PathUse::Remove);
        // A name is made or taken away itself, whatever it leads to.
        let real = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if creates => real(folder).join(name),
            _ => real(&path),
        };
        let changes = !matches!(path_use, PathUse::Read | PathUse::Execute);
        let is_given = |list: &[PathBuf]| list.iter().any(|given| real.starts_with(given));
        if is_given(&self.writes) || (!changes && is_given(&self.reads)) || real.starts_with("/proc") {
            return;
        }
        // Others fail for other reasons than the rules. Compiled modules of Python are written beside their sources where
        // that is allowed, and done without elsewhere.
        let is_cache = changes && real.components().any(|part| part.as_os_str() == "__pycache__");
        let is_there = real.symlink_metadata().is_ok();
        if is_cache || is_there == (path_use == PathUse::Create) || !may_itself(&real, path_use, creates) {
            return;
        }
        self.needs.add_file(self.containment.need(&path, &real, changes, creates));
    }
}

/// Returns true if the user may do that, whom the program runs as: no line gives what the system refuses.
fn may_itself(real: &Path, path_use: PathUse, creates: bool) -> bool {
    let (path, access) = match path_use {
        PathUse::Read => (Some(real), Access::READ_OK),
        PathUse::Execute => (Some(real), Access::EXEC_OK),
        _ if creates => (real.parent(), Access::WRITE_OK | Access::EXEC_OK),
        _ => (Some(real), Access::WRITE_OK),
    };
    path.is_some_and(|path| accessat(CWD, path, access, AtFlags::EACCESS).is_ok())
}

/// The uses of files that a call is about.
fn uses(call: &HeldCall) -> Vec<(PathArgument, PathUse)> {
    let [a, b, c, d, ..] = call.arguments;
    let at = |folder: u64, path: u64| (Some(folder), path);
    let here = |path: u64| (None, path);
    match call.number {
        libc::SYS_openat => opened(at(a, b), c),
        libc::SYS_openat2 => {
            let flags = call.memory(c, size_of::<u64>()).ok().and_then(|bytes| bytes.try_into().ok());
            flags.map_or_else(Vec::new, |flags| opened(at(a, b), u64::from_ne_bytes(flags)))
        }
        libc::SYS_mkdirat | libc::SYS_mknodat => vec![(at(a, b), PathUse::Create)],
        libc::SYS_unlinkat => vec![(at(a, b), PathUse::Remove)],
        libc::SYS_renameat | libc::SYS_renameat2 => {
            vec![(at(a, b), PathUse::Remove), (at(c, d), PathUse::Create), (at(c, d), PathUse::Remove)]
        }
        libc::SYS_linkat => vec![(at(c, d), PathUse::Create)],
        libc::SYS_symlinkat => vec![(at(b, c), PathUse::Create)],
        libc::SYS_truncate => vec![(here(a), PathUse::Write)],
        libc::SYS_execve => vec![(here(a), PathUse::Execute)],
        number => older_uses(number, [a, b]),
    }
}

#[cfg(target_arch = "x86_64")]
fn older_uses(number: i64, [a, b]: [u64; 2]) -> Vec<(PathArgument, PathUse)> {
    match number {
        libc::SYS_open => opened((None, a), b),
        libc::SYS_creat => opened((None, a), flag(libc::O_CREAT | libc::O_WRONLY)),
        libc::SYS_mkdir | libc::SYS_mknod => vec![((None, a), PathUse::Create)],
        libc::SYS_unlink | libc::SYS_rmdir => vec![((None, a), PathUse::Remove)],
        libc::SYS_rename => {
            vec![((None, a), PathUse::Remove), ((None, b), PathUse::Create), ((None, b), PathUse::Remove)]
        }
        libc::SYS_link | libc::SYS_symlink => vec![((None, b), PathUse::Create)],
        _ => Vec::new(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn older_uses(_: i64, _: [u64; 2]) -> Vec<(PathArgument, PathUse)> {
    Vec::new()
}

/// The uses of a path that is opened with these flags. One that is opened as a place alone needs no right.
fn opened(path: PathArgument, flags: u64) -> Vec<(PathArgument, PathUse)> {
    let has = |wanted: libc::c_int| flags & flag(wanted) != 0;
    if has(libc::O_PATH) {
        Vec::new()
    } else if has(libc::O_CREAT) {
        // Of these, the one about a file that is there or not holds.
        let existing = if has(libc::O_ACCMODE) { PathUse::Write } else { PathUse::Read };
        vec![(path, PathUse::Create), (path, existing)]
    } else if has(libc::O_ACCMODE) || has(libc::O_TRUNC) {
        vec![(path, PathUse::Write)]
    } else {
        vec![(path, PathUse::Read)]
    }
}

fn flag(flag: libc::c_int) -> u64 {
    flag.cast_unsigned().into()
}

/// The path of a call, from the root.
///
/// # Errors
/// It cannot be read.
fn path(call: &HeldCall, (folder, address): PathArgument) -> io::Result<PathBuf> {
    let text = call.text(address)?;
    let path = Path::new(OsStr::from_bytes(&text));
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    if text.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // The kernel reads no more than the lower half.
    let number = folder.and_then(|folder| u32::try_from(folder & u64::from(u32::MAX)).ok()).map(u32::cast_signed);
    let thread = call.thread;
    let folder = match number {
        Some(number) if number != libc::AT_FDCWD => fs::read_link(format!("/proc/{thread}/fd/{number}"))?,
        _ => fs::read_link(format!("/proc/{thread}/cwd"))?,
    };
    Ok(folder.join(path))
}
