//! [`Restrictions`]: what a child may not do to the processes that see to its end, whoever it runs as.
//!
//! No new privileges; signals to the runner, its keeper and their groups refused, and changes of their limits and
//! scheduling; no keys pushed into a terminal; for root, the capabilities dropped that would lead around this. Made before
//! the fork and applied in the child. A wider containment of files and the network is left to whoever adds it here.
#![expect(unsafe_code, reason = "capabilities and Landlock are reached by system calls")]

use std::collections::BTreeMap;
use std::io;

use rustix::process::{geteuid, getpid};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    sock_filter,
};

/// Stands for the keeper's id in a filter, which is made before there is a keeper. No process has such a number.
const KEEPER: i32 = 0x7065_7273;

/// Most threads of the runner that a filter names: each is a few instructions, of which a filter has 4,096 at most.
const MAX_THREADS: usize = 64;

/// The capabilities that root's children go without (`linux/capability.h`): `NET_ADMIN`, `NET_RAW`, `SYS_PTRACE`,
/// `SYS_ADMIN`, `MKNOD`, `PERFMON`.
const DROPPED_CAPABILITIES: [libc::c_int; 6] = [12, 13, 19, 21, 27, 38];

/// The calls of Landlock, alike on all architectures, and its flag for signals (ABI 6, Linux 6.12).
const LANDLOCK_CREATE_RULESET: libc::c_long = 444;
const LANDLOCK_RESTRICT_SELF: libc::c_long = 446;
const LANDLOCK_SCOPE_SIGNAL: u64 = 1 << 1;

/// The requests of `ioctl` that type into a terminal (`asm-generic/ioctls.h`).
const TYPES_INTO_TERMINAL: [u64; 2] = [0x5412, 0x541c];

/// The restrictions of one child.
pub(super) struct Restrictions {
    /// Empty on an architecture that no filter can be made for.
    filter: Vec<sock_filter>,
    is_root: bool,
}

impl Restrictions {
    /// The restrictions of a child of this process.
    ///
    /// # Errors
    /// The filter cannot be made.
    pub(super) fn new() -> io::Result<Self> {
        let filter = match TargetArch::try_from(std::env::consts::ARCH) {
            Ok(architecture) => filter(architecture).map_err(io::Error::other)?,
            Err(_) => Vec::new(),
        };
        Ok(Self { filter, is_root: geteuid().is_root() })
    }

    /// Puts the keeper's id into the filter. Allocates nothing.
    pub(super) fn protect(&mut self, keeper: i32) {
        for instruction in &mut self.filter {
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
    /// The system refuses what it knows.
    pub(super) fn apply(&self) -> io::Result<()> {
        // SAFETY: system calls with plain arguments, or ones on this stack.
        unsafe {
            if self.is_root {
                for capability in DROPPED_CAPABILITIES {
                    // Refused for those that the kernel does not know, and to a root that has none to give.
                    libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                }
            }
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            // No access of files or ports is handled: signals alone. Kernels without it refuse, and the filter serves.
            let rules = [0_u64, 0, LANDLOCK_SCOPE_SIGNAL];
            let ruleset = libc::syscall(LANDLOCK_CREATE_RULESET, rules.as_ptr(), size_of_val(&rules), 0);
            if ruleset >= 0 {
                libc::syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0);
                libc::close(libc::c_int::try_from(ruleset).unwrap_or(-1));
            }
        }
        if self.filter.is_empty() {
            return Ok(());
        }
        match seccompiler::apply_filter(&self.filter) {
            Ok(()) => Ok(()),
            // Kernels and sandboxes without filters.
            Err(seccompiler::Error::Seccomp(error))
                if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
            {
                Ok(())
            }
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error)) => Err(error),
            Err(_) => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    }
}

/// The rules of one system call, of which one must hold for it to be refused.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn filter(architecture: TargetArch) -> Result<Vec<sock_filter>, seccompiler::BackendError> {
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

fn refuse(rules: &mut Rules, call: i64, conditions: Vec<SeccompCondition>) -> Result<(), seccompiler::BackendError> {
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

/// The argument at `place` is this number, in its lower half: the kernel reads no more of an `int`.
fn is(place: u8, number: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number.cast_unsigned().into())
}

fn is_not(place: u8, number: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, number.cast_unsigned().into())
}

/// The runner's threads at present.
fn threads() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    entries.take(MAX_THREADS).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}
