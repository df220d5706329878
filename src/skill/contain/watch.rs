//! [`FileWatch`]: the observer of the calls by which contained programs use files, while a job learns. It notes what the rules
//! refuse, and lets every call go on as it was made: the kernel's rules decide on it, nothing here does.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::Containment;
use super::needs::SkillNeeds;
use super::rule::{FileAccess, real};
use crate::skill::egress::local_name;
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

/// Most scripts that one is run by, each by the next (the kernel's own number).
const MAX_INTERPRETERS: usize = 5;

/// The calls of `program`, of `containment`, that are observed; `connects` are those that are judged besides. Its own
/// execution is not among them, since the runner waits for that: what it takes is noted here.
pub(super) fn held_calls(
    containment: &Arc<Containment>,
    needs: &Arc<SkillNeeds>,
    connects: Option<HeldCalls>,
    program: Option<PathBuf>,
) -> HeldCalls {
    let (mut numbers, streams_only, connects) = match connects {
        Some(HeldCalls { numbers, judge, streams_only }) => (numbers, streams_only, Some(judge)),
        None => (Vec::new(), false, None),
    };
    numbers.extend(CALLS.into_iter().chain(OLDER_CALLS));
    // Where there are some, sockets are the program's own.
    let lists = &containment.lists;
    let makes_sockets = connects.is_some() && lists.sockets.is_empty();
    numbers.extend(makes_sockets.then_some(libc::SYS_socket));
    let without_links = |paths: &[PathBuf]| paths.iter().map(|path| real(path)).collect::<Vec<_>>();
    let writes = without_links(&[&*lists.writes, &*lists.devices].concat());
    let reads = without_links(&[containment.system_reads(), &*lists.reads].concat());
    let (containment, needs) = (Arc::clone(containment), Arc::clone(needs));
    let watch = FileWatch { containment, needs, reads, writes, connects, makes_sockets };
    if let Some(program) = program {
        watch.note_program(program);
    }
    HeldCalls { numbers, judge: Arc::new(watch), streams_only }
}

/// The file of a program that is started by `name` in the folder `cwd`: a path, or a name in the folders of `search`.
pub(super) fn found(name: &str, search: &str, cwd: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(cwd.join(name));
    }
    let may_run = |file: &PathBuf| file.is_file() && accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    std::env::split_paths(search).map(|folder| cwd.join(folder).join(name)).find(may_run)
}

/// The program that a script is run by, as its first line names it.
fn interpreter(script: &Path) -> Option<PathBuf> {
    /// As much of a line as the kernel reads.
    const LINE: u64 = 256;
    let mut line = Vec::new();
    // Of a pipe there is nothing to read, and nobody to wait for.
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(script).ok()?;
    file.take(LINE).read_to_end(&mut line).ok()?;
    let words = line.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = words.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(script.parent()?.join(OsStr::from_bytes(word)))
}

#[derive(Debug)]
struct FileWatch {
    containment: Arc<Containment>,
    needs: Arc<SkillNeeds>,
    /// Without links, as the writes.
    reads: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    connects: Option<Arc<dyn CallJudge>>,
    /// Sockets within this machine are made here, and connect to nothing.
    makes_sockets: bool,
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
        if call.number == libc::SYS_socket {
            return give_socket(call);
        }
        if call.number == libc::SYS_connect
            && let Some(judge) = &self.connects
        {
            let name = local_name(&call);
            if let Some(name) = &name {
                self.note_socket(&call, name);
            }
            if name.is_some() && self.makes_sockets {
                return call.answer(CallAnswer::Failed(libc::EACCES));
            }
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

/// Makes a socket in the place of a program that may have none within this machine: one of a pair, as it may have. It
/// connects to nothing, whatever the program's memory holds by then, and shows what the program wants to connect to.
fn give_socket(call: HeldCall) {
    let [family, kind, ..] = call.arguments;
    let has = |flag: libc::c_int| kind & u64::from(flag.cast_unsigned()) != 0;
    // The kernel reads no more than the lower half of an `int`.
    let is_local = family & u64::from(u32::MAX) == u64::from(libc::AF_UNIX.cast_unsigned());
    if !is_local || kind & 0xf != u64::from(libc::SOCK_STREAM.cast_unsigned()) {
        return call.answer(CallAnswer::Made);
    }
    match UnixStream::pair() {
        Ok((given, _)) if given.set_nonblocking(has(libc::SOCK_NONBLOCK)).is_ok() => {
            call.answer_with(given.as_fd(), has(libc::SOCK_CLOEXEC));
        }
        _ => call.answer(CallAnswer::Failed(libc::EACCES)),
    }
}

impl FileWatch {
    /// Notes a program that is out of reach, and those that run its script.
    fn note_program(&self, mut program: PathBuf) {
        for _ in 0..MAX_INTERPRETERS {
            self.note(&program, PathUse::Execute);
            match interpreter(&program) {
                Some(next) => program = next,
                None => return,
            }
        }
    }

    /// Notes the socket of another program that a call is to connect to. Many look for one that is not there.
    fn note_socket(&self, call: &HeldCall, name: &[u8]) {
        if name.first().is_none_or(|byte| *byte == 0) {
            return;
        }
        let path = Path::new(OsStr::from_bytes(name));
        let folder = || fs::read_link(format!("/proc/{}/cwd", call.thread)).unwrap_or_default();
        let path = without_dots(&if path.is_absolute() { path.to_owned() } else { folder().join(path) });
        let real = real(&path);
        if real.exists() && self.containment.rule(&real, FileAccess::Connect).is_none() {
            self.needs.add_socket(&self.containment.shown(&real), self.containment.granted_by(&path, &real));
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_interpreter_and_a_pipe_names_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("script"), "#! /bin/sh -e\necho owl\n").unwrap();
        assert_eq!(interpreter(&at("script")), Some(PathBuf::from("/bin/sh")));
        rustix::fs::mkfifoat(CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        // Nobody writes to it.
        assert_eq!(interpreter(&at("pipe")), None);
    }
}
