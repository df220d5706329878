//! [`Restrictions`]: what a child may not do to the processes that see to its end, whoever it runs as.
//!
//! No new privileges; signals to the runner, its keeper and their groups refused, and changes of their limits and
//! scheduling; no keys pushed into a terminal; for root, the capabilities dropped that would lead around this. Made before
//! the fork and applied in the child. A contained child has its file rules and the filters of `system_calls` beside them;
//! one whose restrictions are lifted has none but the capabilities.
#![expect(unsafe_code, reason = "capabilities and Landlock are reached by system calls")]

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use rustix::process::{geteuid, getpid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, TargetArch,
};

use super::confinement::{Confinement, FileRules};
use super::filter::{Rules, is, is_not, refuse};
use super::held::Holding;
use super::system_calls;

/// Stands for the keeper's id in a filter, which is made before there is a keeper. No process has such a number.
const KEEPER: i32 = 0x7065_7273;

/// Most threads of the runner that a filter names: each is a few instructions, of which a filter has 4,096 at most.
const MAX_THREADS: usize = 64;

/// The capabilities that root's children go without (`linux/capability.h`): `NET_ADMIN`, `NET_RAW`, `SYS_PTRACE`,
/// `SYS_ADMIN`, `MKNOD`, `PERFMON`.
const DROPPED_CAPABILITIES: [libc::c_int; 6] = [12, 13, 19, 21, 27, 38];

/// Those that root's contained children go without besides: with each of them, something of the whole machine is changed
/// that is no file. `LINUX_IMMUTABLE`, `SYS_MODULE`, `SYS_RAWIO`, `SYS_PACCT`, `SYS_BOOT`, `SYS_TIME`, `SYS_TTY_CONFIG`,
/// `AUDIT_CONTROL`, `MAC_OVERRIDE`, `MAC_ADMIN`, `SYSLOG`, `BPF`, `CHECKPOINT_RESTORE`.
const DROPPED_WHEN_CONTAINED: [libc::c_int; 13] = [9, 16, 17, 20, 22, 25, 26, 30, 32, 33, 34, 39, 40];

/// The calls of Landlock, alike on all architectures, and its flag for signals (ABI 6, Linux 6.12).
const LANDLOCK_CREATE_RULESET: libc::c_long = 444;
const LANDLOCK_RESTRICT_SELF: libc::c_long = 446;
const LANDLOCK_SCOPE_SIGNAL: u64 = 1 << 1;

/// The requests of `ioctl` that type into a terminal (`asm-generic/ioctls.h`).
const TYPES_INTO_TERMINAL: [u64; 2] = [0x5412, 0x541c];

/// The restrictions of one child.
pub(super) struct Restrictions {
    /// The first names the keeper. Empty where the restrictions are lifted, and on an architecture that no filter can be
    /// made for.
    filters: Vec<BpfProgram>,
    is_root: bool,
    is_lifted: bool,
    files: Option<Arc<FileRules>>,
    holding: Option<Holding>,
}

impl Restrictions {
    /// The restrictions of a child of this process.
    ///
    /// # Errors
    /// A filter cannot be made.
    pub(super) fn new(confinement: Confinement, holding: Option<Holding>) -> io::Result<Self> {
        let (is_lifted, files) = match confinement {
            Confinement::Lifted => (true, None),
            Confinement::Guarded => (false, None),
            Confinement::Contained(files) => (false, Some(files)),
        };
        let mut filters = Vec::new();
        match TargetArch::try_from(std::env::consts::ARCH) {
            _ if is_lifted => {}
            Ok(architecture) => {
                filters.push(filter(architecture).map_err(io::Error::other)?);
                if let Some(files) = &files {
                    let makes_sockets = holding.as_ref().is_some_and(|holding| holding.makes_sockets);
                    let more = system_calls::filters(architecture, files.has_unix_sockets || makes_sockets);
                    filters.extend(more.map_err(io::Error::other)?);
                }
                if holding.as_ref().is_some_and(|holding| holding.streams_only) {
                    filters.extend(system_calls::streams_only(architecture).map_err(io::Error::other)?);
                }
            }
            Err(_) if files.is_none() && holding.is_none() => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(Self { filters, is_root: geteuid().is_root(), is_lifted, files, holding })
    }

    /// Puts the keeper's id into the filter. Allocates nothing.
    pub(super) fn protect(&mut self, keeper: i32) {
        for instruction in self.filters.first_mut().into_iter().flatten() {
            if instruction.k == KEEPER.cast_unsigned() {
                instruction.k = keeper.cast_unsigned();
            } else if instruction.k == (-KEEPER).cast_unsigned() {
                instruction.k = (-keeper).cast_unsigned();
            }
        }
    }

    /// Restricts this process. Allocates nothing.
    ///
    /// # Errors
    /// The system refuses what it knows, or anything that contains.
    pub(super) fn apply(&self) -> io::Result<()> {
        if let Some(files) = &self.files {
            // Before the rules, which forbid it, and while root may.
            files.mounts.apply()?;
        }
        // SAFETY: system calls with plain arguments, or ones on this stack.
        unsafe {
            if self.is_root {
                let more = if self.files.is_some() { DROPPED_WHEN_CONTAINED.as_slice() } else { &[] };
                for capability in DROPPED_CAPABILITIES.iter().chain(more) {
                    // Refused for those that the kernel does not know, and to a root that has none to give.
                    libc::prctl(libc::PR_CAPBSET_DROP, *capability, 0, 0, 0);
                }
            }
            if self.is_lifted {
                return Ok(());
            }
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            match &self.files {
                // Signals are among the rules, where the kernel has that.
                Some(files) => {
                    if libc::syscall(LANDLOCK_RESTRICT_SELF, files.ruleset.as_raw_fd(), 0) != 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                None => scope_signals(),
            }
        }
        self.filters.iter().try_for_each(|filter| self.apply_filter(filter))?;
        self.holding.as_ref().map_or(Ok(()), Holding::apply)
    }

    fn apply_filter(&self, filter: &BpfProgram) -> io::Result<()> {
        match seccompiler::apply_filter(filter) {
            Ok(()) => Ok(()),
            // Kernels and sandboxes without filters.
            Err(seccompiler::Error::Seccomp(error))
                if self.files.is_none() && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
            {
                Ok(())
            }
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error)) => Err(error),
            Err(_) => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    }
}

/// Keeps signals of this process from those outside. No access of files or ports is handled. Kernels without it refuse,
/// and the filter serves.
///
/// # Safety
/// As [`Restrictions::apply`]: in a process that may be restricted.
unsafe fn scope_signals() {
    let rules = [0_u64, 0, LANDLOCK_SCOPE_SIGNAL];
    // SAFETY: arguments on this stack.
    unsafe {
        let ruleset = libc::syscall(LANDLOCK_CREATE_RULESET, rules.as_ptr(), size_of_val(&rules), 0);
        if ruleset >= 0 {
            libc::syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0);
            libc::close(libc::c_int::try_from(ruleset).unwrap_or(-1));
        }
    }
}

fn filter(architecture: TargetArch) -> Result<BpfProgram, seccompiler::BackendError> {
    let runner = getpid().as_raw_nonzero().get();
    let processes = [runner, KEEPER];
    // A signal to any thread may end the whole process.
    let threads: Vec<i32> = threads().into_iter().chain(processes).collect();
    // 0 where the group is outside this namespace of processes: no child can name it, and 0 would mean the child's own.
    let group = Some(-nix::unistd::getpgrp().as_raw()).filter(|group| *group != 0);
    let groups = group.into_iter().chain([-runner, -KEEPER, -1]);
    let mut rules = Rules::new();
    for target in threads.iter().copied().chain(groups) {
        // Signal 0 asks whether a process is there; servers watch their parent by it.
        refuse(&mut rules, libc::SYS_kill, vec![is(0, target)?, is_not(1, 0)?])?;
        refuse(&mut rules, libc::SYS_rt_sigqueueinfo, vec![is(0, target)?])?;
    }
    for thread in &threads {
        refuse(&mut rules, libc::SYS_tkill, vec![is(0, *thread)?, is_not(1, 0)?])?;
    }
    for process in processes {
        refuse(&mut rules, libc::SYS_tgkill, vec![is(0, process)?, is_not(2, 0)?])?;
        refuse(&mut rules, libc::SYS_rt_tgsigqueueinfo, vec![is(0, process)?])?;
        refuse(&mut rules, libc::SYS_pidfd_open, vec![is(0, process)?])?;
        for call in [
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setattr,
            libc::SYS_sched_setaffinity,
        ] {
            refuse(&mut rules, call, vec![is(0, process)?])?;
        }
        refuse(&mut rules, libc::SYS_setpriority, vec![is(1, process)?])?;
    }
    // A descriptor does not show whose it is, and one of `/proc/PID` serves too. Programs fall back to `kill`.
    rules.insert(libc::SYS_pidfd_send_signal, Vec::new());
    // Others' limits can be read, not set.
    let sets = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    refuse(&mut rules, libc::SYS_prlimit64, vec![is_not(0, 0)?, sets])?;
    for request in TYPES_INTO_TERMINAL {
        let request = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
        refuse(&mut rules, libc::SYS_ioctl, vec![request])?;
    }
    let refusal = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture)?.try_into()
}

/// The runner's threads at present.
fn threads() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    entries.take(MAX_THREADS).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}
