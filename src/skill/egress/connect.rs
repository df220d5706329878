//! The judge of the connections that a contained program makes itself: to the proxy, to what its own processes listen on,
//! to addresses that the list has, and to sockets of the file system that it may have. It makes them in the program's
//! stead, to the address that it has copied and judged, and refuses all others.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{ffi, fs};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::net::sockopt::{socket_peercred, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::dial::Dialler;
use crate::domain_list::NetworkTarget;
use crate::skill::process::{CallAnswer, CallJudge, HeldCall, HeldCalls, is_of_same_child, listens_itself};

/// For a connection to a listed address; others are to this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an address that are read: those of `sockaddr_un`, the longest.
const MAX_ADDRESS: usize = 110;

/// The families of addresses.
const UNIX: u16 = libc_family(libc::AF_UNIX);
const V4: u16 = libc_family(libc::AF_INET);
const V6: u16 = libc_family(libc::AF_INET6);

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers of the kernel's")]
const fn libc_family(family: libc::c_int) -> u16 {
    family as u16
}

/// The calls that a program with this way to the network has held. `sockets` are those of other programs in the file
/// system, `folders` hold its own.
pub(super) fn held_calls(
    dialler: Arc<Dialler>,
    proxy: SocketAddr,
    sockets: &[PathBuf],
    folders: &[PathBuf],
) -> HeldCalls {
    let real = |paths: &[PathBuf]| paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let judge = Arc::new(ConnectJudge { dialler, proxy, sockets: real(sockets), folders: real(folders) });
    let streams_only = !judge.dialler.list.is_open();
    HeldCalls { numbers: vec![libc::SYS_connect], judge, streams_only }
}

/// The name of the socket within this machine that a held `connect` is to; empty for one that has none, and beginning with
/// a NUL for one that is in no file. `None` for other kinds of addresses.
pub(in crate::skill) fn local_name(call: &HeldCall) -> Option<Vec<u8>> {
    let [_, address, length, ..] = call.arguments;
    let length = usize::try_from(length & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let bytes = call.memory(address, length.min(MAX_ADDRESS)).ok()?;
    let (family, name) = bytes.split_first_chunk()?;
    (u16::from_ne_bytes(*family) == UNIX).then(|| match name.iter().skip(1).position(|byte| *byte == 0) {
        Some(end) if name.first() != Some(&0) => name.iter().take(end + 1).copied().collect(),
        _ => name.to_vec(),
    })
}

#[derive(Debug)]
struct ConnectJudge {
    dialler: Arc<Dialler>,
    proxy: SocketAddr,
    /// Without links.
    sockets: Vec<PathBuf>,
    /// Folders in which its own sockets are, without links.
    folders: Vec<PathBuf>,
}

impl CallJudge for ConnectJudge {
    fn answer(&self, call: HeldCall) {
        if self.dialler.list.is_open() {
            self.observe(&call);
            return call.answer(CallAnswer::Made);
        }
        let answer = match self.connect(&call) {
            Ok(()) => CallAnswer::Returned(0),
            Err(error) => CallAnswer::Failed(error.raw_os_error().unwrap_or_else(|| number_of(error.kind()))),
        };
        call.answer(answer);
    }
}

/// The kernel's number of an error that has none.
fn number_of(kind: io::ErrorKind) -> i32 {
    match kind {
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        io::ErrorKind::ConnectionRefused => libc::ECONNREFUSED,
        io::ErrorKind::InvalidInput => libc::EINVAL,
        _ => libc::EACCES,
    }
}

impl ConnectJudge {
    /// Records a connection to elsewhere than the proxy and the program's own processes, where all may be made.
    fn observe(&self, call: &HeldCall) {
        let [socket, address, length, ..] = call.arguments;
        let length = usize::try_from(length & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        let Ok(bytes) = call.memory(address, length.min(MAX_ADDRESS)) else { return };
        let Some(SocketAddress::Internet(address)) = SocketAddress::read(&bytes) else { return };
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let is_local = ip.is_loopback() || ip.is_unspecified();
        let is_elsewhere = SocketAddr::new(ip, port) != self.proxy && !(is_local && listens_itself(call.thread, port));
        // Names are looked up, and addresses compared, by sockets of datagrams.
        if is_elsewhere && is_stream(call.thread, i32::from_ne_bytes(lower(socket))) {
            self.dialler.decisions.allow(&NetworkTarget::of_address(ip, port), None);
        }
    }

    fn connect(&self, call: &HeldCall) -> io::Result<()> {
        let [socket, address, length, ..] = call.arguments;
        let length = usize::try_from(length & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        // The lower half: the kernel reads no more of an `int`.
        let socket = Descriptor::read(call.thread, i32::from_ne_bytes(lower(socket)))?;
        // Read once: what is judged is what is connected to.
        let bytes = call.memory(address, length.min(MAX_ADDRESS))?;
        let stream: OwnedFd = match SocketAddress::read(&bytes) {
            Some(SocketAddress::Internet(address)) => self.reach(call.thread, address)?.into(),
            Some(SocketAddress::Named(path)) => self.reach_named(call.thread, &path)?,
            None => return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        };
        rustix::io::ioctl_fionbio(&stream, socket.is_nonblocking)?;
        call.replace(socket.number, stream.as_fd(), socket.closes_at_exec)
    }

    fn reach(&self, thread: i32, address: SocketAddr) -> io::Result<TcpStream> {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let target = NetworkTarget::of_address(ip, port);
        let is_local = ip.is_loopback() || ip.is_unspecified();
        let entry = || {
            let by_name = NetworkTarget::new("localhost", port).filter(|_| ip.is_loopback());
            let list = &self.dialler.list;
            list.entry_for(&target).or_else(|| list.entry_for(&by_name?))
        };
        let is_proxy = SocketAddr::new(ip, port) == self.proxy;
        if is_proxy {
            return TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
        }
        if let Some(entry) = entry() {
            self.dialler.decisions.allow(&target, Some(entry));
            return TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
        }
        // Last, as all processes are looked at for it.
        if is_local && listens_itself(thread, port) {
            return TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
        }
        let skill = &self.dialler.decisions.skill;
        let reason = if is_local {
            format!("{target} is not in allowedDomains of skill {skill}, and no server of its own")
        } else {
            format!(
                "{target} was connected to around the proxy in HTTPS_PROXY, the only way to the network for skill {skill}"
            )
        };
        self.dialler.decisions.refuse(&target, reason);
        Err(io::Error::from_raw_os_error(libc::EACCES))
    }

    /// Connects to the file that was judged, whatever its path leads to by then.
    fn reach_named(&self, thread: i32, path: &Path) -> io::Result<OwnedFd> {
        let root = fs::File::open(format!("/proc/{thread}/root"))?;
        let path =
            if path.is_absolute() { path.to_owned() } else { fs::read_link(format!("/proc/{thread}/cwd"))?.join(path) };
        let file = openat2(&root, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
        let own = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let real = fs::read_link(&own)?;
        let is_within = |paths: &[PathBuf]| paths.iter().any(|allowed| real.starts_with(allowed));
        let is_listed = is_within(&self.sockets);
        if !is_listed && !is_within(&self.folders) {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        // One whose queue is full must not keep this thread.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(&own)?)?;
        // Of its own processes: the one that listens shows by the connection, which nothing has been sent over yet.
        let is_own = || {
            let listener = socket_peercred(&stream).map(|peer| peer.pid.as_raw_nonzero().get());
            listener.is_ok_and(|listener| is_of_same_child(thread, listener))
        };
        if is_listed || is_own() { Ok(stream) } else { Err(io::Error::from_raw_os_error(libc::EACCES)) }
    }
}

/// Returns true if a thread's descriptor is a socket of streams, as far as that can be seen.
fn is_stream(thread: i32, number: RawFd) -> bool {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    let socket = process.and_then(Pid::from_raw).and_then(|process| {
        let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
        pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()
    });
    socket.is_some_and(|socket| socket_type(socket) == Ok(SocketType::STREAM))
}

/// The lower half of an argument.
fn lower(argument: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).to_ne_bytes()
}

/// An address that a program wants to connect to.
#[derive(Debug, PartialEq, Eq)]
enum SocketAddress {
    Internet(SocketAddr),
    /// Of a socket in the file system.
    Named(PathBuf),
}

impl SocketAddress {
    /// Reads the structure of the kernel's; none for one of another family, one that is cut, or a socket without a name in
    /// the file system.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first_chunk()?;
        match u16::from_ne_bytes(*family) {
            V4 => {
                let (port, rest) = rest.split_first_chunk()?;
                let address: &[u8; 4] = rest.first_chunk()?;
                let address = SocketAddrV4::new(Ipv4Addr::from(*address), u16::from_be_bytes(*port));
                Some(Self::Internet(SocketAddr::V4(address)))
            }
            V6 => {
                let (port, rest) = rest.split_first_chunk()?;
                let (flow, rest) = rest.split_first_chunk()?;
                let (address, rest): (&[u8; 16], _) = rest.split_first_chunk()?;
                let scope = rest.first_chunk().map_or(0, |scope| u32::from_ne_bytes(*scope));
                let (address, port) = (Ipv6Addr::from(*address), u16::from_be_bytes(*port));
                let address = SocketAddrV6::new(address, port, u32::from_ne_bytes(*flow), scope);
                Some(Self::Internet(SocketAddr::V6(address)))
            }
            UNIX => {
                let name = rest.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
                Some(Self::Named(PathBuf::from(ffi::OsStr::from_bytes(name))))
            }
            _ => None,
        }
    }
}

/// A socket among a thread's open files.
#[derive(Debug, PartialEq, Eq)]
struct Descriptor {
    number: RawFd,
    is_nonblocking: bool,
    closes_at_exec: bool,
}

impl Descriptor {
    /// # Errors
    /// It is not open, or no socket.
    fn read(thread: i32, number: RawFd) -> io::Result<Self> {
        let not_open = |_| io::Error::from_raw_os_error(libc::EBADF);
        let target = fs::read_link(format!("/proc/{thread}/fd/{number}")).map_err(not_open)?;
        if !target.as_os_str().as_bytes().starts_with(b"socket:") {
            return Err(io::Error::from_raw_os_error(libc::ENOTSOCK));
        }
        let text = fs::read_to_string(format!("/proc/{thread}/fdinfo/{number}")).map_err(not_open)?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
        let flags = flags.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        Ok(Self { number, is_nonblocking: flags & libc::O_NONBLOCK != 0, closes_at_exec: flags & libc::O_CLOEXEC != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_has_them() {
        let family = |number: u16| number.to_ne_bytes().to_vec();
        let v4 = [family(V4), vec![1, 187, 127, 0, 0, 1], vec![0; 8]].concat();
        let expected = SocketAddress::Internet("127.0.0.1:443".parse().unwrap());
        assert_eq!(SocketAddress::read(&v4), Some(expected));
        let v6 = [family(V6), vec![0, 80, 0, 0, 0, 0], vec![0; 15], vec![1], vec![0; 4]].concat();
        let expected = SocketAddress::Internet("[::1]:80".parse().unwrap());
        assert_eq!(SocketAddress::read(&v6), Some(expected));
        let named = [family(UNIX), b"/run/owl\0rest".to_vec()].concat();
        assert_eq!(SocketAddress::read(&named), Some(SocketAddress::Named(PathBuf::from("/run/owl"))));
        for cut in [
            &[][..],
            &v4[..1],
            &v4[..7],
            &v6[..23],
            &family(UNIX),
            &[family(UNIX), b"\0owl".to_vec()].concat(),
            &family(0),
        ] {
            assert_eq!(SocketAddress::read(cut), None, "{cut:?}");
        }
    }
}
