//! Who is at the other end of a Unix socket, and whether this process has started them.
#![allow(
    unsafe_code,
    reason = "nix does not know the option that gives a descriptor of the peer"
)]

use nix::sys::socket::{getsockopt, sockopt};
use std::{io, os::fd::AsFd};

/// Generations that are looked through; nobody nests processes so deep by accident.
#[cfg(target_os = "linux")]
const GENERATIONS: usize = 128;

/// Who is at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Process id when it connected, 0 where the system does not tell.
    pub pid: u32,
    /// Whether it comes from us.
    pub descent: Descent,
}

/// Whether a peer of our own user is a child of this process, a child of a child, and so on. Nobody
/// leaves this family: whoever loses a parent becomes a child of a subreaper above, at last ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// It is not, it is another user's, or the system does not tell.
    Elsewhere,
    /// It is.
    Ours,
    /// It has ended already, or a process above it hides.
    Unknown,
}

/// Credentials of the peer of a connected Unix socket (`SO_PEERCRED`, `LOCAL_PEERCRED`).
///
/// # Errors
/// As `getsockopt(2)`.
pub fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let found = getsockopt(socket, sockopt::PeerCredentials)?;
        let (uid, pid) = (found.uid(), found.pid().unsigned_abs());
        let descent = if uid == super::own_uid() {
            linux::descent(socket.as_fd(), pid)
        } else {
            Descent::Elsewhere
        };
        Ok(Peer { uid, pid, descent })
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        Ok(Peer {
            uid: getsockopt(socket, sockopt::LocalPeerCred)?.uid(),
            pid: 0,
            descent: Descent::Elsewhere,
        })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::{Descent, GENERATIONS};
    use nix::{
        errno::Errno,
        libc,
        poll::{PollFd, PollFlags, PollTimeout, poll},
    };
    use std::{
        io,
        os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    };

    /// `SO_PEERPIDFD` (Linux 6.5).
    const PEER_PIDFD: libc::c_int = 77;

    pub(super) fn descent(socket: BorrowedFd<'_>, pid: u32) -> Descent {
        // With it the number is known to be still the peer's. Older kernels do not have it.
        let process = match process(socket) {
            Ok(process) => Some(process),
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => None,
            Err(_) => return Descent::Unknown,
        };
        let (first, second) = (above(pid), above(pid));
        if first != second || process.is_some_and(|process| has_ended(&process)) {
            return Descent::Unknown;
        }
        match first {
            Some(true) => Descent::Ours,
            Some(false) => Descent::Elsewhere,
            None => Descent::Unknown,
        }
    }

    /// Whether we are that process, or above it; `None`: it cannot be told.
    fn above(pid: u32) -> Option<bool> {
        let own = std::process::id();
        let mut at = pid;
        for _ in 0..GENERATIONS {
            if at == own {
                return Some(true);
            }
            // The first process, or one outside of what we see.
            if at <= 1 {
                return Some(false);
            }
            at = parent(at)?;
        }
        None
    }

    fn parent(pid: u32) -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    fn process(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let mut number: libc::c_int = -1;
        let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
        // SAFETY: both pointers are to numbers that live until the call returns, and the length is
        // that of the first.
        let failed = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                PEER_PIDFD,
                (&raw mut number).cast(),
                &raw mut length,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// A descriptor of a process is readable once it has ended.
    fn has_ended(process: &OwnedFd) -> bool {
        let mut source = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut source, PollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                outcome => return outcome != Ok(0),
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{Descent, peer};
    use std::{
        os::unix::net::{UnixListener, UnixStream},
        process::{Command, Stdio},
    };

    #[test]
    fn children_are_told_from_others() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer(&one).unwrap().descent, Descent::Ours);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nsys.stdin.read()";
        let Ok(mut child) = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
        else {
            return;
        };
        let (stream, _) = listener.accept().unwrap();
        let found = peer(&stream).unwrap();
        assert_eq!((found.pid, found.descent), (child.id(), Descent::Ours));
        // Once it has ended, its number may be anybody's.
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(peer(&stream).unwrap().descent, Descent::Unknown);
    }
}
