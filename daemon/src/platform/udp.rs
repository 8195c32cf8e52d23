//! UDP sockets that share a port, and the filter by which the kernel chooses among them.

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
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

/// Binds an address that nobody else has, not even another program of this user that shares its
/// port; others may be added with [`bind_another`]. Non-blocking, close-on-exec.
///
/// # Errors
/// As `bind(2)`.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address)?;
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
    let socket = open(address)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let socket = UdpSocket::from(socket(
        family,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let socket = {
        let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::empty(), None)?);
        super::close_on_exec(&socket)?;
        socket
    };
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER).unwrap_or_default();
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
