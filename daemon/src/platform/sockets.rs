//! Sockets of the network: listening ones of TCP; UDP sockets that share a port, and the filter by
//! which the kernel chooses among them.

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
};

/// Whether datagrams can be steered to one socket among several of a port: SO_ATTACH_REUSEPORT_CBPF
/// (Linux 4.5, socket(7)).
pub const STEERS: bool = cfg!(target_os = "linux");

/// What the kernel may keep for a socket whose reader is being replaced, in bytes; it may give less
/// (`net.core.rmem_max`).
const RECEIVE_BUFFER: usize = 2 << 20;

/// An instruction of a classic BPF program (`struct sock_filter`, linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// How many instructions are skipped if a condition holds.
    pub jump_true: u8,
    /// If it does not.
    pub jump_false: u8,
    /// Its operand.
    pub operand: u32,
}

/// Listens at an address. `::` is every address of both families, whatever the system's default.
/// The backlog is the system's maximum: the accept queue is what carries clients over a worker's
/// death. Non-blocking, close-on-exec.
///
/// # Errors
/// As `bind(2)`.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    #[cfg(target_os = "linux")]
    const MOST: Backlog = Backlog::MAXALLOWABLE;
    #[cfg(not(target_os = "linux"))]
    const MOST: Backlog = Backlog::MAXCONN;
    let socket = open(address, SockType::Stream)?;
    // Connections of an earlier life that still close do not hold the port.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, MOST)?;
    let socket = TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether an address cannot be bound because this host does not have it, or nothing of its family.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

/// Binds an address that nobody else has, not even another program of this user that shares its
/// port; others may be added with [`bind_another`]. Non-blocking, close-on-exec.
///
/// # Errors
/// As `bind(2)`.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open_udp(address)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // Only now: a socket that shares from the start is let in beside others that do.
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    Ok(socket)
}

/// Binds another socket at an address where [`bind_udp`] was first.
///
/// # Errors
/// As `bind(2)`.
pub fn bind_another(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open_udp(address)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::from(open(address, SockType::Datagram)?);
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER).unwrap_or_default();
    Ok(socket)
}

/// A socket for the family of an address, close-on-exec.
fn open(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let socket = {
        let socket = socket(family, kind, SockFlag::empty(), None)?;
        super::close_on_exec(&socket)?;
        socket
    };
    if address.is_ipv6() && address.ip().is_unspecified() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    Ok(socket)
}

/// Has the kernel run a program on each datagram for the address of `socket`: what it returns is
/// the index of the socket that gets it, in the order in which they were bound. Replaces an earlier
/// program at once.
///
/// # Errors
/// When the kernel does not accept the program.
#[cfg(target_os = "linux")]
pub fn steer(socket: &impl std::os::fd::AsFd, program: &[Instruction]) -> io::Result<()> {
    use nix::libc::{sock_filter, sock_fprog};
    let mut filters: Vec<sock_filter> = program
        .iter()
        .map(|one| sock_filter {
            code: one.code,
            jt: one.jump_true,
            jf: one.jump_false,
            k: one.operand,
        })
        .collect();
    let length = u16::try_from(filters.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = sock_fprog {
        len: length,
        filter: filters.as_mut_ptr(),
    };
    // The kernel copies the program; `filters` lives until then.
    Ok(setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?)
}

/// Not here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn steer(_: &impl std::os::fd::AsFd, _: &[Instruction]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
