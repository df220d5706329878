//! The system calls that contained children go without, as filters for the kernel. Called by `restrict`, which applies
//! them beside its own.
//!
//! A refused call returns the error that programs know how to go on from: `clone3` and `io_uring` as on a kernel without
//! them, kinds of sockets as ones that are not supported.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    TargetArch, sock_filter,
};

use super::filter::{Rules, is, is_not, refuse};

/// The flags of `clone` and `unshare` that make namespaces, in which a program would be its own administrator.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `CLONE_NEWTIME`, which `unshare` alone takes: for `clone` the bit is one of the child's signal.
const NEW_TIME: libc::c_int = 0x80;

/// The bits of a socket's type that are no flags.
const TYPE: u64 = 0xf;

/// The type of sockets of packets, which the C library calls obsolete.
const SOCK_PACKET: libc::c_int = 10;

/// The number of the first system call of x32, which the kernel knows beside those of x86-64.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// The filters, each with an error of its own.
pub(super) fn filters(architecture: TargetArch, has_unix_sockets: bool) -> Result<Vec<BpfProgram>, BackendError> {
    let filter = |rules: Rules, error: libc::c_int| -> Result<BpfProgram, BackendError> {
        let action = SeccompAction::Errno(error.cast_unsigned());
        SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()
    };
    let mut filters = vec![
        filter(unknown(), libc::ENOSYS)?,
        filter(namespaces()?, libc::EPERM)?,
        filter(families()?, libc::EAFNOSUPPORT)?,
        filter(sockets(has_unix_sockets)?, libc::EACCES)?,
    ];
    filters.extend(other_numbers());
    Ok(filters)
}

/// Calls that check their arguments in memory, where a filter cannot look, and the kernel's store of keys.
fn unknown() -> Rules {
    let calls = [
        libc::SYS_clone3,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
    ];
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// Namespaces; files opened by their number, and programs in the kernel, for root.
fn namespaces() -> Result<Rules, BackendError> {
    let has = |flag: libc::c_int| {
        let bit = u64::from(flag.cast_unsigned());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit)
    };
    let mut rules = Rules::new();
    for flag in NAMESPACES {
        refuse(&mut rules, libc::SYS_clone, vec![has(flag)?])?;
        refuse(&mut rules, libc::SYS_unshare, vec![has(flag)?])?;
    }
    refuse(&mut rules, libc::SYS_unshare, vec![has(NEW_TIME)?])?;
    for call in [libc::SYS_setns, libc::SYS_open_by_handle_at, libc::SYS_bpf] {
        rules.insert(call, Vec::new());
    }
    Ok(rules)
}

/// All families of sockets but local ones, IPv4 and IPv6, and what lists a machine's addresses.
fn families() -> Result<Rules, BackendError> {
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let mut rules = Rules::new();
    refuse(&mut rules, libc::SYS_socket, known.map(|family| is_not(0, family)).into_iter().collect::<Result<_, _>>()?)?;
    let is_other = is_not(2, libc::NETLINK_ROUTE)?;
    refuse(&mut rules, libc::SYS_socket, vec![is(0, libc::AF_NETLINK)?, is_other])?;
    Ok(rules)
}

/// Sockets of any other type than TCP and UDP, and local ones unless the child has them.
fn sockets(has_unix_sockets: bool) -> Result<Rules, BackendError> {
    let is_type = |kind: libc::c_int| {
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(TYPE), kind.cast_unsigned().into())
    };
    let mut rules = Rules::new();
    let mut add = |conditions| refuse(&mut rules, libc::SYS_socket, conditions);
    if !has_unix_sockets {
        add(vec![is(0, libc::AF_UNIX)?])?;
    }
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET] {
        add(vec![is(0, libc::AF_UNIX)?, is_type(kind)?])?;
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP, SOCK_PACKET] {
            add(vec![is(0, family)?, is_type(kind)?])?;
        }
        for (kind, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)] {
            add(vec![is(0, family)?, is_type(kind)?, is_not(2, 0)?, is_not(2, protocol)?])?;
        }
    }
    // One of a pair of datagrams can be led to another socket later. The kernel takes SOCK_RAW for one.
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
        refuse(&mut rules, libc::SYS_socketpair, vec![is(0, libc::AF_UNIX)?, is_type(kind)?])?;
    }
    Ok(rules)
}

/// The filters of a child that connects by `connect` alone: no sockets of datagrams, by which anything is sent without it,
/// and no message that makes a connection (`MSG_FASTOPEN`).
pub(super) fn streams_only(architecture: TargetArch) -> Result<Vec<BpfProgram>, BackendError> {
    let mut sockets = Rules::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let kind = libc::SOCK_DGRAM.cast_unsigned().into();
        let is_datagram = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(TYPE), kind)?;
        refuse(&mut sockets, libc::SYS_socket, vec![is(0, family)?, is_datagram])?;
    }
    let mut messages = Rules::new();
    let flag = u64::from(libc::MSG_FASTOPEN.cast_unsigned());
    for (call, place) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        let has_flag = SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag)?;
        refuse(&mut messages, call, vec![has_flag])?;
    }
    let refused = [(sockets, libc::EACCES), (messages, libc::EOPNOTSUPP)];
    let filter = |(rules, error): (Rules, libc::c_int)| -> Result<BpfProgram, BackendError> {
        let action = SeccompAction::Errno(error.cast_unsigned());
        SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()
    };
    refused.into_iter().map(filter).collect()
}

/// Refuses the numbers of x32, which mean the same calls and are in none of the filters.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> Vec<BpfProgram> {
    // The call's number is the first field; `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JGE | BPF_K`, `BPF_RET | BPF_K`.
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![vec![
        instruction(0x20, 0, 0, 0),
        instruction(0x35, 0, 1, X32),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]]
}

/// None: there is one set of numbers.
#[cfg(not(target_arch = "x86_64"))]
fn other_numbers() -> Vec<BpfProgram> {
    Vec::new()
}
