//! The keeper of one child: forked from the runner, it forks the child, outlives it, and kills all that it left behind.
//!
//! Everything here runs between fork and exec, or in a fork that never executes anything: no allocation, no lock, only
//! async-signal-safe calls. Memory is prepared before, in [`install`].
#![expect(unsafe_code, reason = "fork, exec and what lies between them have no safe form")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use tokio::process::Command;

use super::confinement::Confinement;
#[cfg(target_os = "linux")]
use super::held::Holding;
#[cfg(target_os = "linux")]
use super::restrict::Restrictions;
#[cfg(target_os = "linux")]
use super::tree;

/// Bytes of the child's status that the keeper sends: what `wait` gave it.
pub(super) const STATUS: usize = size_of::<libc::c_int>();

/// Sent to the keeper: SIGTERM to the child's group.
pub(super) const TERMINATE: u8 = b't';

/// How long to wait before looking again for processes that are to be killed and cannot be found, in milliseconds.
const LOOK_AGAIN_MS: libc::c_int = 10;

/// How often to look again.
const MAX_LOOKS: u32 = 100;

/// The program of a child, ready to be executed.
pub(super) struct Program {
    pub file: CString,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub folder: Option<File>,
}

/// A null-terminated array of texts, for exec.
struct Texts {
    pointers: Vec<*const libc::c_char>,
    _texts: Vec<CString>,
}

// SAFETY: the pointers lead into texts on the heap that this value owns and nobody changes.
unsafe impl Send for Texts {}
// SAFETY: as above.
unsafe impl Sync for Texts {}

impl Texts {
    fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, _texts: texts }
    }
}

/// Has `command` fork a keeper, which holds `link`, and the keeper the program.
///
/// # Errors
/// The restrictions of children cannot be prepared.
pub(super) fn install(
    command: &mut Command,
    program: Program,
    link: OwnedFd,
    confinement: Confinement,
    #[cfg(target_os = "linux")] mut holding: Option<Holding>,
) -> io::Result<()> {
    let Program { file, args, env, folder } = program;
    let args = Texts::new(std::iter::once(file.clone()).chain(args).collect());
    let env = Texts::new(env);
    #[cfg(target_os = "linux")]
    let mut restrictions = {
        if let Some(holding) = &mut holding {
            holding.spare_execution(env.pointers.as_ptr());
        }
        Restrictions::new(confinement, holding)?
    };
    #[cfg(not(target_os = "linux"))]
    drop(confinement);
    let hook = move || {
        // The whole arrays are captured, not their fields, which alone could not be sent.
        let (args, env): (&Texts, &Texts) = (&args, &env);
        // SAFETY: this is the child of a fork; the descriptors and texts belong to this closure.
        unsafe {
            if let Some(folder) = &folder
                && libc::fchdir(folder.as_raw_fd()) != 0
            {
                return Err(io::Error::last_os_error());
            }
            let keeper = libc::getpid();
            // A session of its own, so that the terminal's signals and hang-ups pass the keeper by.
            libc::setsid();
            become_reaper();
            #[cfg(target_os = "linux")]
            restrictions.protect(keeper);
            let mut started = [0; 2];
            if libc::pipe(started.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let [reader, writer] = started;
            libc::fcntl(reader, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(writer, libc::F_SETFD, libc::FD_CLOEXEC);
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            match libc::fork() {
                0 => {
                    let failed = prepare(keeper, || {
                        #[cfg(target_os = "linux")]
                        restrictions.apply()?;
                        Ok(())
                    })
                    .and_then(|()| execute(&file, args, env));
                    let code = failed.err().and_then(|error| error.raw_os_error()).unwrap_or(libc::EINVAL);
                    libc::write(writer, code.to_ne_bytes().as_ptr().cast(), STATUS);
                    libc::_exit(127)
                }
                child if child > 0 => {
                    libc::close(writer);
                    let mut code = [0; STATUS];
                    let read = libc::read(reader, code.as_mut_ptr().cast(), STATUS);
                    if read == STATUS.cast_signed() {
                        // Nothing was executed. The error reaches the runner as that of this process.
                        libc::waitpid(child, std::ptr::null_mut(), 0);
                        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code)));
                    }
                    keep(child, link.as_raw_fd())
                }
                _ => Err(io::Error::last_os_error()),
            }
        }
    };
    // SAFETY: the hook makes async-signal-safe calls only and allocates nothing.
    unsafe { command.pre_exec(hook) };
    Ok(())
}

/// Makes this process the parent of all orphans among its descendants, and closes it to others' eyes. Stopped by somebody,
/// it goes on when the runner ends.
///
/// # Safety
/// Only for a process that is to become a keeper.
unsafe fn become_reaper() {
    #[cfg(target_os = "linux")]
    // SAFETY: plain arguments.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        // Sent when the thread that forked it ends, too; to one that runs it means nothing.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGCONT, 0, 0, 0);
    }
}

/// Readies the child: a session without a terminal, so that it cannot type an answer for the person; no life without its
/// keeper; restrictions; no blocked signals.
///
/// # Safety
/// Only in the keeper's fresh fork.
unsafe fn prepare(keeper: libc::pid_t, restrict: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: async-signal-safe calls with plain arguments.
    unsafe {
        if libc::setsid() < 0 {
            return Err(io::Error::last_os_error());
        }
        close_at_exec();
        restrict()?;
        // A namespace of users takes the signal back, so that it is asked for afterwards.
        #[cfg(target_os = "linux")]
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        // The keeper may have ended before the signal was asked for.
        if libc::getppid() != keeper {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    Ok(())
}

unsafe extern "C" {
    static mut environ: *const *const libc::c_char;
}

/// Executes the program, looked up in the `PATH` of its own environment as the standard library does it. Returns only
/// with an error.
///
/// # Safety
/// Only in a fresh fork: changes the environment without a lock.
unsafe fn execute(file: &CStr, args: &Texts, env: &Texts) -> io::Result<()> {
    // SAFETY: both arrays end with a null pointer.
    unsafe {
        environ = env.pointers.as_ptr();
        libc::execvp(file.as_ptr(), args.pointers.as_ptr());
    }
    Err(io::Error::last_os_error())
}

/// The keeper's whole life, with all signals blocked.
///
/// # Safety
/// Only in a fresh fork that executes nothing.
unsafe fn keep(child: libc::pid_t, link: RawFd) -> ! {
    // SAFETY: async-signal-safe calls; buffers are on this stack.
    unsafe {
        libc::dup2(link, 0);
        // The runner's pipes, locks and terminal among them; and the pipe by which it learns that the program runs.
        close_all_but_first();
        let changes = child_changes();
        let mut has_ended = false;
        loop {
            reap(child, &mut has_ended);
            match next_request(changes) {
                Some(TERMINATE) if !has_ended => {
                    libc::kill(-child, libc::SIGTERM);
                }
                Some(_) => {}
                // The runner wants no more of it, or is gone.
                None => break,
            }
        }
        end_all(child, &mut has_ended);
        libc::_exit(0)
    }
}

/// Takes in the end of every process that has ended, and sends the child's. Returns false when none is left.
///
/// # Safety
/// As [`keep`].
unsafe fn reap(child: libc::pid_t, has_ended: &mut bool) -> bool {
    loop {
        let mut status = 0;
        // SAFETY: the status is on this stack.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if ended <= 0 {
            return ended == 0;
        }
        if ended == child {
            *has_ended = true;
            let bytes = status.to_ne_bytes();
            // SAFETY: as above. SIGPIPE is blocked; a runner that is gone needs no status.
            unsafe { libc::write(0, bytes.as_ptr().cast(), bytes.len()) };
        }
    }
}

/// A descriptor that can be read when a process has ended; none where the system has no such thing.
///
/// # Safety
/// As [`keep`].
unsafe fn child_changes() -> RawFd {
    #[cfg(target_os = "linux")]
    // SAFETY: the set is on this stack.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK)
    }
    #[cfg(not(target_os = "linux"))]
    -1
}

/// Waits for a request of the runner's, or for a process to end (0). `None` when there will be no more requests.
///
/// # Safety
/// As [`keep`].
unsafe fn next_request(changes: RawFd) -> Option<u8> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut watched = [poll(0), poll(changes)];
    let wait = if changes < 0 { LOOK_AGAIN_MS } else { -1 };
    // SAFETY: buffers are on this stack.
    unsafe {
        let polled = libc::poll(watched.as_mut_ptr(), 2, wait);
        let mut space = [0_u8; 128];
        // Emptied: what it reports is looked up by `reap`.
        while changes >= 0 && libc::read(changes, space.as_mut_ptr().cast(), space.len()) > 0 {}
        let [asked, _] = watched;
        if polled < 0 {
            // A child of the same user may have taken the limit of open files from this process, below which nothing can be
            // waited for. A signal that interrupts costs one look more.
            libc::poll(std::ptr::null_mut(), 0, LOOK_AGAIN_MS);
        } else if asked.revents == 0 {
            return Some(0);
        }
        let mut request = 0_u8;
        let read = libc::recv(0, (&raw mut request).cast(), 1, libc::MSG_DONTWAIT);
        if read < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
            return Some(0);
        }
        (read == 1).then_some(request)
    }
}

/// Kills all descendants. Each that is killed hands its own children to this process, so the direct ones are enough, as
/// often as there are any.
///
/// # Safety
/// As [`keep`].
unsafe fn end_all(child: libc::pid_t, has_ended: &mut bool) {
    // SAFETY: async-signal-safe calls with plain arguments.
    unsafe {
        if !*has_ended {
            libc::kill(-child, libc::SIGKILL);
        }
        let mut looks = 0;
        while reap(child, has_ended) && looks < MAX_LOOKS {
            #[cfg(target_os = "linux")]
            let killed = tree::kill_children(libc::getpid());
            #[cfg(not(target_os = "linux"))]
            let killed = 0;
            // Without any to be seen they are on their way out, or /proc is not there to look.
            looks = if killed > 0 { 0 } else { looks + 1 };
            libc::poll(std::ptr::null_mut(), 0, if killed > 0 { 1 } else { LOOK_AGAIN_MS });
        }
    }
}

/// Has every descriptor but the standard streams closed when the program is executed: those that the runner itself was
/// started with are none of a child's.
///
/// # Safety
/// As [`prepare`].
unsafe fn close_at_exec() {
    // SAFETY: system calls with plain arguments.
    unsafe {
        #[cfg(target_os = "linux")]
        if libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0 {
            return;
        }
        // Before Linux 5.11, and elsewhere.
        for descriptor in 3..descriptor_limit() {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// The number that all open descriptors are below. The bound keeps an unlimited table from taking minutes.
///
/// # Safety
/// None is broken; `sysconf` is a foreign function.
unsafe fn descriptor_limit() -> RawFd {
    // SAFETY: a plain argument.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }.clamp(256, 65_536);
    i32::try_from(limit).unwrap_or(65_536)
}

/// Closes every descriptor but 0.
///
/// # Safety
/// Nothing of this process may use another descriptor afterwards.
unsafe fn close_all_but_first() {
    // SAFETY: system calls with plain arguments.
    unsafe {
        #[cfg(target_os = "linux")]
        if libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) == 0 {
            return;
        }
        // Before Linux 5.9, and elsewhere.
        for descriptor in 1..descriptor_limit() {
            libc::close(descriptor);
        }
    }
}
