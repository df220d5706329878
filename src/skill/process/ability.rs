//! [`KernelAbility`]: the means of containment that this system offers. Read for people (`perstack info`), and by the runtime,
//! which decides whether programs can be contained.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "Landlock is reached by a system call"))]

/// The means of containment of the kernel, as far as they can be known without using them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelAbility {
    /// The version of Landlock's interface; `None` where there is none.
    pub landlock: Option<u32>,
    /// Filters of system calls can be set.
    pub seccomp: bool,
    /// These filters can hold calls until another process answers them.
    notifies: bool,
}

/// The means to hold system calls, in words.
const HELD_CALLS_TEXT: &str =
    "system calls that are held (seccomp's user notification, with ptrace of one's own children)";

/// The first interface of Landlock that keeps all changes of files (Linux 6.2).
#[cfg(target_os = "linux")]
const LEAST_LANDLOCK: u32 = 3;

impl KernelAbility {
    /// The means that this system lacks to contain programs; `None` if it has them.
    #[cfg(target_os = "linux")]
    pub fn lacking() -> Option<&'static str> {
        let ability = Self::of_system();
        if ability.landlock.is_none_or(|version| version < LEAST_LANDLOCK) {
            Some("Landlock of Linux 6.2 or later")
        } else if !ability.seccomp || seccompiler::TargetArch::try_from(std::env::consts::ARCH).is_err() {
            Some("filters of system calls (seccomp)")
        } else {
            None
        }
    }

    /// Linux: the means are its own.
    #[cfg(not(target_os = "linux"))]
    pub fn lacking() -> Option<&'static str> {
        Some("Landlock, which is Linux's")
    }

    /// The means that this system lacks to keep programs to a list of hosts; `None` if it has them.
    pub fn lacking_for_lists() -> Option<&'static str> {
        static HELD_CALLS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        let lacking = || {
            (!HELD_CALLS.get_or_init(|| Self::of_system().notifies && may_read_arguments() && can_hold()))
                .then_some(HELD_CALLS_TEXT)
        };
        Self::lacking().or_else(lacking)
    }

    /// The means of this system. They are read once: no process sees them change.
    pub fn of_system() -> Self {
        static ABILITY: std::sync::OnceLock<KernelAbility> = std::sync::OnceLock::new();
        *ABILITY.get_or_init(Self::read)
    }

    #[cfg(target_os = "linux")]
    fn read() -> Self {
        /// `landlock_create_ruleset`, alike on all architectures, with its flag that asks for the version.
        const LANDLOCK_CREATE_RULESET: libc::c_long = 444;
        const VERSION: u32 = 1;
        // SAFETY: a system call with plain arguments.
        let version = unsafe { libc::syscall(LANDLOCK_CREATE_RULESET, std::ptr::null::<u8>(), 0_usize, VERSION) };
        let seccomp_actions = setting("kernel/seccomp/actions_avail");
        Self {
            landlock: u32::try_from(version).ok().filter(|version| *version > 0),
            seccomp: seccomp_actions.is_some(),
            notifies: seccomp_actions.is_some_and(|actions| actions.contains("user_notif")),
        }
    }

    /// Returns true if the system's settings let ordinary users make namespaces.
    #[cfg(target_os = "linux")]
    pub fn has_user_namespaces() -> bool {
        // The last two are settings of Debian and of Ubuntu.
        number("user/max_user_namespaces").is_some_and(|most| most > 0)
            && number("kernel/unprivileged_userns_clone") != Some(0)
            && number("kernel/apparmor_restrict_unprivileged_userns").is_none_or(|restricts| restricts == 0)
    }

    /// False: namespaces are Linux's.
    #[cfg(not(target_os = "linux"))]
    pub fn has_user_namespaces() -> bool {
        false
    }

    /// Returns true if contained programs have mounts of their own, by which folders are kept from changes. Tries it once.
    #[cfg(target_os = "linux")]
    pub fn has_mounts() -> bool {
        super::mounts::can_mount()
    }

    /// False: the means are Linux's.
    #[cfg(not(target_os = "linux"))]
    pub fn has_mounts() -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    fn read() -> Self {
        Self::default()
    }
}

/// A setting of the kernel below `/proc/sys`.
#[cfg(target_os = "linux")]
fn setting(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()
}

#[cfg(target_os = "linux")]
fn number(name: &str) -> Option<u64> {
    setting(name)?.trim().parse().ok()
}

/// Returns true if the arguments of held calls can be read in the memory of the processes that make them.
#[cfg(target_os = "linux")]
fn may_read_arguments() -> bool {
    // From 2 on, Yama keeps a process from the memory of its own descendants: 2 from all without CAP_SYS_PTRACE, 3 from all.
    match number("kernel/yama/ptrace_scope") {
        None | Some(0 | 1) => true,
        Some(2) => has_capability(CAP_SYS_PTRACE),
        Some(_) => false,
    }
}

/// False: the means are Linux's.
#[cfg(not(target_os = "linux"))]
fn may_read_arguments() -> bool {
    false
}

/// Tries whether a filter that holds calls can be set here, on a thread that ends with it: one of an outer process may
/// refuse it (containers), or hold calls already.
#[cfg(target_os = "linux")]
fn can_hold() -> bool {
    let trial = std::thread::Builder::new().spawn(super::held::can_listen);
    trial.ok().and_then(|trial| trial.join().ok()).unwrap_or(false)
}

/// False: the means are Linux's.
#[cfg(not(target_os = "linux"))]
fn can_hold() -> bool {
    false
}

/// Looking at others' memory (`capabilities(7)`).
#[cfg(target_os = "linux")]
const CAP_SYS_PTRACE: u32 = 19;

/// Returns true if this process has the capability of that number.
#[cfg(target_os = "linux")]
fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & (1 << number) != 0)
}
