//! [`HeldCall`]: a system call of a child that the kernel holds until this process has answered it (seccomp's user
//! notification). A skill asks for it with [`HeldCalls`] when it starts a child, and its [`CallJudge`] answers; which
//! calls are held and what becomes of them is left to the judge. One that is let through as it was made proves nothing: its
//! memory may change after it was read. So a judge that guards makes the call in the program's stead; only one that
//! observes, where something else guards or nothing does, lets calls through.
//!
//! The filter is set between fork and exec, in the child, which sends its descriptor to the runner over a socket. While
//! no one has it, and once the runner is gone, held calls fail as ones that the kernel does not have.
#![expect(unsafe_code, reason = "seccomp and its descriptor are reached by system calls")]

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use seccompiler::sock_filter;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Most held calls of a child that are judged at once. Further ones wait.
const MAX_AT_ONCE: usize = 16;

/// The bytes of a control message with one descriptor, which the kernel wants aligned.
type ControlSpace = [u64; 4];

/// Answers the calls that are held. One that it drops fails.
pub trait CallJudge: fmt::Debug + Send + Sync {
    /// Answers a call, on a thread that may wait.
    fn answer(&self, call: HeldCall);
}

/// The calls of a child that are held.
#[derive(Debug, Clone)]
pub struct HeldCalls {
    /// Their numbers. With `socket` among them, sockets of streams within the machine are the judge's to refuse.
    pub numbers: Vec<i64>,
    pub judge: Arc<dyn CallJudge>,
    /// The child makes no sockets of datagrams, and no connection but by `connect`.
    pub streams_only: bool,
}

/// The answer to a held call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallAnswer {
    /// It is made, with whatever its memory holds by then.
    Made,
    /// It is not made, and returns this number.
    Returned(i64),
    /// It is not made, and fails with this error.
    Failed(i32),
}

/// A call that the kernel holds. It fails when this is dropped without an answer.
#[derive(Debug)]
pub struct HeldCall {
    listener: Arc<OwnedFd>,
    id: u64,
    is_answered: bool,
    /// The thread that makes it.
    pub thread: i32,
    pub number: i64,
    pub arguments: [u64; 6],
}

impl HeldCall {
    /// Returns true while the thread waits for the answer. After that, its number may be another's.
    pub fn is_waited_for(&self) -> bool {
        // SAFETY: the argument is on this stack.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const self.id) == 0 }
    }

    /// The bytes at an address of the caller's memory, as they are now.
    ///
    /// # Errors
    /// They cannot be read, or the thread no longer waits.
    pub fn memory(&self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let memory = File::open(format!("/proc/{}/mem", self.thread))?;
        let mut bytes = vec![0; length];
        memory.read_exact_at(&mut bytes, address)?;
        if self.is_waited_for() { Ok(bytes) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// The text at an address of the caller's memory, up to its NUL: a path, which the kernel takes no longer.
    ///
    /// # Errors
    /// As [`HeldCall::memory`], or it has no end.
    pub fn text(&self, address: u64) -> io::Result<Vec<u8>> {
        /// Memory behind a page's end may be nobody's.
        const PAGE: u64 = 4096;
        let mut text = Vec::new();
        while text.len() < libc::PATH_MAX.unsigned_abs() as usize {
            let at = address.saturating_add(text.len() as u64);
            let part = self.memory(at, usize::try_from(PAGE - at % PAGE).unwrap_or(1))?;
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                text.extend(part.into_iter().take(end));
                return Ok(text);
            }
            text.extend(part);
        }
        Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
    }

    /// Puts `file` in the place of the caller's descriptor `number`.
    ///
    /// # Errors
    /// The thread no longer waits.
    pub fn replace(&self, number: RawFd, file: BorrowedFd<'_>, close_at_exec: bool) -> io::Result<()> {
        let unsigned = |number: RawFd| u32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF));
        let request = libc::seccomp_notif_addfd {
            id: self.id,
            flags: flag(libc::SECCOMP_ADDFD_FLAG_SETFD),
            srcfd: unsigned(file.as_raw_fd())?,
            newfd: unsigned(number)?,
            newfd_flags: if close_at_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        // SAFETY: the argument is on this stack, and the descriptor open.
        let added =
            unsafe { libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Answers it with `file`: the call is not made, and returns a descriptor of the caller's for it.
    pub fn answer_with(mut self, file: BorrowedFd<'_>, close_at_exec: bool) {
        let source = u32::try_from(file.as_raw_fd()).unwrap_or(u32::MAX);
        let request = libc::seccomp_notif_addfd {
            id: self.id,
            flags: flag(libc::SECCOMP_ADDFD_FLAG_SEND),
            srcfd: source,
            newfd: 0,
            newfd_flags: if close_at_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        // SAFETY: the argument is on this stack, and the descriptor open. Where it fails, the call does too, as this is dropped.
        let sent =
            unsafe { libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) };
        self.is_answered = sent >= 0;
    }

    /// Answers it.
    pub fn answer(mut self, answer: CallAnswer) {
        self.send(answer);
    }

    fn send(&mut self, answer: CallAnswer) {
        self.is_answered = true;
        let (val, error, flags) = match answer {
            CallAnswer::Made => (0, 0, flag(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE)),
            CallAnswer::Returned(value) => (value, 0, 0),
            CallAnswer::Failed(error) => (0, -error, 0),
        };
        let response = libc::seccomp_notif_resp { id: self.id, val, error, flags };
        // SAFETY: the argument is on this stack. It fails when the thread was killed meanwhile.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
    }
}

impl Drop for HeldCall {
    fn drop(&mut self) {
        if !self.is_answered {
            self.send(CallAnswer::Failed(libc::EACCES));
        }
    }
}

/// A flag of the kernel's as its structures have it.
fn flag(flag: libc::c_ulong) -> u32 {
    u32::try_from(flag).unwrap_or(0)
}

/// The child's part: the filter, and the socket that its descriptor is sent over.
pub(super) struct Holding {
    filter: Vec<sock_filter>,
    runner: UnixDatagram,
    pub streams_only: bool,
    /// Sockets are made by the judge, those within the machine too.
    pub makes_sockets: bool,
}

/// The runner's part.
pub(super) struct ListenerSeat {
    child: UnixDatagram,
    judge: Arc<dyn CallJudge>,
}

/// Both parts, for one child.
///
/// # Errors
/// No socket can be made, or there are too many calls.
pub(super) fn prepare(calls: &HeldCalls) -> io::Result<(Holding, ListenerSeat)> {
    let (runner, child) = UnixDatagram::pair()?;
    let holding = Holding {
        filter: filter(&calls.numbers)?,
        runner,
        streams_only: calls.streams_only,
        makes_sockets: calls.numbers.contains(&libc::SYS_socket),
    };
    Ok((holding, ListenerSeat { child, judge: Arc::clone(&calls.judge) }))
}

/// The filter by which calls are held. The filters beside it see to the architecture and to other sets of numbers.
fn filter(numbers: &[i64]) -> io::Result<Vec<sock_filter>> {
    let too_many = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    // The call's number is the first field; `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
    let mut filter = vec![instruction(0x20, 0, 0, 0)];
    for (at, number) in numbers.iter().enumerate() {
        let to_holding = u8::try_from(numbers.len() - at).map_err(too_many)?;
        filter.push(instruction(0x15, to_holding, 0, u32::try_from(*number).map_err(too_many)?));
    }
    filter.push(instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW));
    // The program itself is executed before anybody can judge that; see [`Holding::spare_execution`].
    let execve = u32::try_from(libc::SYS_execve).map_err(too_many)?;
    let (low, high) = if cfg!(target_endian = "little") { (32, 36) } else { (36, 32) };
    filter.push(instruction(0x15, 0, 5, execve));
    filter.push(instruction(0x20, 0, 0, low));
    filter.push(instruction(0x15, 0, 3, 0));
    filter.push(instruction(0x20, 0, 0, high));
    filter.push(instruction(0x15, 0, 1, 0));
    filter.push(instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(instruction(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    Ok(filter)
}

/// Holds this thread's calls from now on; returns the descriptor that they are answered by. Allocates nothing.
fn listen(filter: &[sock_filter]) -> io::Result<RawFd> {
    let length = libc::c_ushort::try_from(filter.len()).unwrap_or(0);
    // The same fields in the same order.
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // With the second, a signal does not make the call a second time (Linux 5.19, which containment needs more than).
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the program is on this stack, its instructions are the caller's.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match RawFd::try_from(listener) {
        Ok(listener) if listener >= 0 => Ok(listener),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Tries on this thread, which must end then, whether calls can be held.
pub(super) fn can_listen() -> bool {
    // SAFETY: a system call with plain arguments.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return false;
    }
    // A filter that holds nothing.
    let all = [sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    // SAFETY: the descriptor is nobody else's.
    listen(&all).map(|listener| drop(unsafe { OwnedFd::from_raw_fd(listener) })).is_ok()
}

impl Holding {
    /// Lets an execution with the environment at this address through, if executions are held: the child's own, for whose
    /// success the runner waits.
    pub(super) fn spare_execution(&mut self, environment: *const *const libc::c_char) {
        let address = environment.addr() as u64;
        let half = |shift: u32| u32::try_from((address >> shift) & u64::from(u32::MAX)).unwrap_or(0);
        // The two comparisons, before the two ends.
        let comparisons = self.filter.iter_mut().rev().skip(2).step_by(2).take(2);
        for (instruction, half) in comparisons.zip([half(32), half(0)]) {
            instruction.k = half;
        }
    }

    /// Holds this process's calls from now on. Allocates nothing.
    ///
    /// # Errors
    /// The kernel refuses the filter, also where one of an outer process holds calls already.
    pub(super) fn apply(&self) -> io::Result<()> {
        self.send(listen(&self.filter)?)
    }

    fn send(&self, listener: RawFd) -> io::Result<()> {
        let mut byte = 0_u8;
        let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let mut space: ControlSpace = [0; 4];
        // SAFETY: all buffers are on this stack; the control message fits into its space, which is aligned.
        let sent = unsafe {
            let message = message(&raw mut part, &mut space);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            // The type of the length differs between C libraries.
            (*header).cmsg_len = libc::CMSG_LEN(DESCRIPTOR) as _;
            std::ptr::write_unaligned(libc::CMSG_DATA(header).cast(), listener);
            libc::sendmsg(self.runner.as_raw_fd(), &raw const message, 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The bytes of a descriptor.
#[expect(clippy::cast_possible_truncation, reason = "it is 4")]
const DESCRIPTOR: libc::c_uint = size_of::<RawFd>() as libc::c_uint;

/// A message of these buffers, which the caller keeps in place.
unsafe fn message(part: *mut libc::iovec, space: &mut ControlSpace) -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    // SAFETY: a computation. The type of the length differs between C libraries.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(DESCRIPTOR) } as _;
    message
}

/// The judging of a child's calls, which ends with this.
#[derive(Debug)]
pub(super) struct Judging(AbortHandle);

impl Drop for Judging {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ListenerSeat {
    /// Takes the descriptor of a child that runs, and has its calls judged.
    ///
    /// # Errors
    /// The child did not send it.
    pub(super) fn start(self) -> io::Result<Judging> {
        let listener = Arc::new(self.receive()?);
        // SAFETY: the descriptor is the listener's own, which stays open as long as it is registered.
        let listener =
            unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }.map_err(io::Error::from)?;
        let judging = tokio::spawn(judge_all(listener, self.judge));
        Ok(Judging(judging.abort_handle()))
    }

    fn receive(&self) -> io::Result<OwnedFd> {
        let mut byte = 0_u8;
        let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let mut space: ControlSpace = [0; 4];
        // SAFETY: all buffers are on this stack. What the kernel put into the message is a descriptor of this process's own.
        unsafe {
            let mut message = message(&raw mut part, &mut space);
            let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
            if libc::recvmsg(self.child.as_raw_fd(), &raw mut message, flags) < 0 {
                return Err(io::Error::last_os_error());
            }
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(io::Error::other("the child sent no descriptor of its held calls"));
            }
            let listener: RawFd = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
            Ok(OwnedFd::from_raw_fd(listener))
        }
    }
}

/// Receives held calls until no process of the child's is left, and has each judged on a thread of its own.
async fn judge_all(listener: AsyncFd<Arc<OwnedFd>>, judge: Arc<dyn CallJudge>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(mut ready) = listener.readable().await else { return };
        match state(listener.get_ref()) {
            // A receiver would wait, with this thread, for a call that is gone.
            ListenerState::Quiet => ready.clear_ready(),
            ListenerState::Over => return,
            ListenerState::Calling => {
                if let Some(call) = receive(listener.get_ref()) {
                    let judge = Arc::clone(&judge);
                    tokio::task::spawn_blocking(move || {
                        judge.answer(call);
                        drop(place);
                    });
                }
            }
        }
    }
}

enum ListenerState {
    Calling,
    Quiet,
    Over,
}

fn state(listener: &Arc<OwnedFd>) -> ListenerState {
    let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(0) | Err(rustix::io::Errno::INTR) => ListenerState::Quiet,
        Ok(_) if polled.iter().any(|polled| polled.revents().contains(PollFlags::IN)) => ListenerState::Calling,
        Ok(_) | Err(_) => ListenerState::Over,
    }
}

/// The next held call; none when its thread was killed meanwhile.
fn receive(listener: &Arc<OwnedFd>) -> Option<HeldCall> {
    // SAFETY: a structure of numbers, which the kernel wants zeroed.
    let mut held: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the argument is on this stack.
    let received = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut held) };
    (received == 0).then(|| HeldCall {
        listener: Arc::clone(listener),
        id: held.id,
        is_answered: false,
        thread: held.pid.cast_signed(),
        number: held.data.nr.into(),
        arguments: held.data.args,
    })
}
