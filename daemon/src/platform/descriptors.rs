//! Descriptors: socket pairs, pipes, SCM_RIGHTS, sockets inherited from the service manager.
//! Everything is made close-on-exec.
#![allow(
    unsafe_code,
    reason = "the kernel hands over descriptors as plain numbers; they become owned here"
)]

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
        recvmsg, sendmsg, socketpair,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Descriptors that one `sendmsg` may carry (the kernel's own limit is 253).
pub const MAX_DESCRIPTORS: usize = 32;

/// Closes all but standard input, output and error (`close_range(2)`, Linux 5.9): what whoever
/// started the daemon left open is not for its children. To be used before anything is opened.
pub fn close_inherited() {
    // SAFETY: nothing owns a descriptor of these numbers yet (see above); numbers only.
    #[cfg(target_os = "linux")]
    unsafe {
        nix::libc::syscall(nix::libc::SYS_close_range, 3, u32::MAX, 0);
    }
}

/// A connected pair of Unix stream sockets, close-on-exec, blocking.
///
/// # Errors
/// When the process or the system is out of descriptors.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let pair = {
        let pair = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::empty(),
        )?;
        close_on_exec(&pair.0)?;
        close_on_exec(&pair.1)?;
        pair
    };
    Ok(pair)
}

/// A pipe (read end, write end), close-on-exec, blocking.
///
/// # Errors
/// When the process or the system is out of descriptors.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let pair = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let pair = {
        let pair = nix::unistd::pipe()?;
        close_on_exec(&pair.0)?;
        close_on_exec(&pair.1)?;
        pair
    };
    Ok(pair)
}

/// A file in memory, close-on-exec, that is empty and vanishes with its last holder.
///
/// # Errors
/// When the process or the system is out of descriptors; `Unsupported` elsewhere than on Linux.
pub fn memory_file() -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        Ok(memfd_create(c"ggend", MFdFlags::MFD_CLOEXEC)?)
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets or clears O_NONBLOCK, which belongs to the open file and so to every duplicate of it.
///
/// # Errors
/// As `fcntl(2)`.
pub fn set_nonblocking(fd: &impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Marks a descriptor close-on-exec.
///
/// # Errors
/// As `fcntl(2)`.
pub fn close_on_exec(fd: &impl AsFd) -> io::Result<()> {
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Sends bytes with descriptors attached to the first of them; returns how many bytes were taken.
/// The descriptors went along if any byte did.
///
/// # Errors
/// `WouldBlock` on a full non-blocking socket, `BrokenPipe` when the peer is gone (no SIGPIPE).
pub fn send_with_descriptors(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    // Where there is no such flag, SIGPIPE is ignored all the same: by Rust's own start of a
    // process.
    #[cfg(target_os = "linux")]
    let flags = MsgFlags::MSG_NOSIGNAL;
    #[cfg(not(target_os = "linux"))]
    let flags = MsgFlags::empty();
    loop {
        match sendmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            flags,
            None,
        ) {
            Err(Errno::EINTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

/// Receives bytes, and appends the descriptors that came with them to `descriptors`, close-on-exec.
/// 0 is the end of the stream.
///
/// # Errors
/// `WouldBlock` on an empty non-blocking socket; `InvalidData` when the kernel had to drop
/// descriptors (the process has too many open).
pub fn receive_with_descriptors(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut impl Extend<OwnedFd>,
) -> io::Result<usize> {
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    #[cfg(target_os = "linux")]
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = MsgFlags::empty();
    let mut parts = [IoSliceMut::new(bytes)];
    let message = loop {
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just opened these descriptors for this process in answer to
            // this recvmsg; nothing else knows them.
            descriptors.extend(
                numbers
                    .into_iter()
                    .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
                    .inspect(|fd| {
                        if !cfg!(target_os = "linux") {
                            close_on_exec(fd).unwrap_or_default();
                        }
                    }),
            );
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors were lost on the way",
        ));
    }
    Ok(message.bytes)
}

/// A duplicate of the process's standard input. Number 0 stays open, so that it cannot be reused by
/// accident.
///
/// # Errors
/// When the process is out of descriptors.
pub fn standard_input() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// The sockets that systemd's socket activation (`sd_listen_fds(3)`) or launchd gave us, with their
/// names. To be called once, at the start.
///
/// # Errors
/// When the environment variables do not parse, or launchd cannot be asked.
pub fn inherited_sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    let systemds = sd_notify::listen_fds_with_names()?
        // SAFETY: LISTEN_PID names this process, so the service manager opened exactly these
        // numbers for it, and this is the only taker.
        .map(|(number, name)| (name, unsafe { OwnedFd::from_raw_fd(number) }));
    Ok(systemds.chain(super::launchd::sockets()?).collect())
}
