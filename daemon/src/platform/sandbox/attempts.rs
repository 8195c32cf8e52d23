//! Attempts that a sandboxed process must be refused, for `ggend worker --try-sandbox ROLE` and its
//! test. An attempt does no harm where it succeeds.
#![allow(
    unsafe_code,
    reason = "these calls are made to be refused, and have no safe form"
)]

use std::io;

/// One attempt: its name, and what is tried. `Ok` means that nothing kept us from it.
pub type Attempt = (&'static str, fn() -> io::Result<()>);

/// All attempts. The last two would change the outcome of others: where they succeed, the process is
/// in another user namespace, and then replaced.
#[cfg(target_os = "linux")]
pub const ATTEMPTS: &[Attempt] = &[
    ("fork", processes::fork),
    ("ptrace", processes::ptrace),
    ("read-memory", processes::read_memory),
    ("signal", processes::signal),
    ("open-read", files::open_read),
    ("open-write", files::open_write),
    ("read-config", files::read_config),
    ("open-by-handle", files::open_by_handle),
    ("memfd", files::memfd),
    ("raw-socket", sockets::raw),
    ("packet-socket", sockets::packet),
    ("unix-socket", sockets::unix),
    ("tcp-socket", sockets::tcp),
    ("bind", sockets::bind),
    ("listen", sockets::listen),
    ("connect", sockets::connect),
    ("mount", system::mount),
    ("setns", system::setns),
    ("chroot", system::chroot),
    ("clock", system::clock),
    ("module", system::module),
    ("reboot", system::reboot),
    ("bpf", kernel::bpf),
    ("keyctl", kernel::keyctl),
    ("userfaultfd", kernel::userfaultfd),
    ("perf", kernel::perf),
    ("io-uring", kernel::io_uring),
    ("setuid", itself::setuid),
    ("wx-memory", itself::writable_code),
    ("terminal-input", itself::terminal_input),
    ("raise-limit", itself::raise_limit),
    ("dump", itself::dump),
    ("unshare", system::unshare),
    ("exec", processes::exec),
];
/// All attempts: none on this system.
#[cfg(not(target_os = "linux"))]
pub const ATTEMPTS: &[Attempt] = &[];

#[cfg(target_os = "linux")]
mod raw {
    use nix::libc::{self, c_long};
    use std::{ffi::CStr, io};

    /// Makes a system call whose result does not matter.
    pub(super) fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<()> {
        value(number, arguments).map(drop)
    }

    /// Makes a system call.
    pub(super) fn value(number: c_long, arguments: [c_long; 6]) -> io::Result<c_long> {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the callers pass numbers, null, or pointers to what lives until this returns.
        match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
            -1 => Err(io::Error::last_os_error()),
            result => Ok(result),
        }
    }

    pub(super) fn text(text: &'static CStr) -> c_long {
        text.as_ptr() as c_long
    }

    /// The supervisor, or whoever started this process.
    pub(super) fn parent() -> c_long {
        c_long::from(std::os::unix::process::parent_id())
    }
}

/// Starting processes and reaching into others.
#[cfg(target_os = "linux")]
mod processes {
    use super::raw::{call, parent, text, value};
    use nix::libc::{self, c_long};
    use std::{io, ptr};

    pub(super) fn exec() -> io::Result<()> {
        call(libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0, 0, 0])
    }

    pub(super) fn fork() -> io::Result<()> {
        if value(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0])? == 0 {
            call(libc::SYS_exit_group, [0; 6]).ok();
        }
        Ok(())
    }

    pub(super) fn ptrace() -> io::Result<()> {
        let seize = libc::PTRACE_SEIZE.into();
        call(libc::SYS_ptrace, [seize, parent(), 0, 0, 0, 0])
    }

    pub(super) fn read_memory() -> io::Result<()> {
        let mut byte = [0_u8];
        let own = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let other = libc::iovec {
            iov_base: ptr::dangling_mut(),
            iov_len: 1,
        };
        let (own, other) = (&raw const own as c_long, &raw const other as c_long);
        call(libc::SYS_process_vm_readv, [parent(), own, 1, other, 1, 0])
    }

    pub(super) fn signal() -> io::Result<()> {
        call(libc::SYS_kill, [parent(), 0, 0, 0, 0, 0])
    }
}

/// Opening and making files.
#[cfg(target_os = "linux")]
mod files {
    use super::raw::{call, text};
    use nix::libc;
    use std::{fs, io};

    pub(super) fn open_read() -> io::Result<()> {
        fs::read("/proc/1/status").map(drop)
    }

    pub(super) fn open_write() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("ggend-sandbox-{}", std::process::id()));
        fs::write(&path, "x").and_then(|()| fs::remove_file(path))
    }

    pub(super) fn read_config() -> io::Result<()> {
        fs::read_dir("/root").map(drop)
    }

    pub(super) fn open_by_handle() -> io::Result<()> {
        let here = libc::AT_FDCWD.into();
        call(libc::SYS_open_by_handle_at, [here, 0, 0, 0, 0, 0])
    }

    pub(super) fn memfd() -> io::Result<()> {
        call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0])
    }
}

/// Making sockets of all kinds and using them.
#[cfg(target_os = "linux")]
mod sockets {
    use super::raw::{call, value};
    use nix::libc;
    use std::{io, net};

    fn make(domain: i32, kind: i32, protocol: i32) -> io::Result<()> {
        let arguments = [domain.into(), kind.into(), protocol.into(), 0, 0, 0];
        let fd = value(libc::SYS_socket, arguments)?;
        call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])
    }

    pub(super) fn raw() -> io::Result<()> {
        make(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
    }

    pub(super) fn packet() -> io::Result<()> {
        make(libc::AF_PACKET, libc::SOCK_RAW, 0)
    }

    pub(super) fn unix() -> io::Result<()> {
        make(libc::AF_UNIX, libc::SOCK_STREAM, 0)
    }

    pub(super) fn tcp() -> io::Result<()> {
        make(libc::AF_INET, libc::SOCK_STREAM, 0)
    }

    pub(super) fn bind() -> io::Result<()> {
        net::UdpSocket::bind("127.0.0.1:0").map(drop)
    }

    pub(super) fn listen() -> io::Result<()> {
        net::TcpListener::bind("127.0.0.1:0").map(drop)
    }

    /// A port that refuses was reached: the sandbox did not keep us from it.
    pub(super) fn connect() -> io::Result<()> {
        match net::TcpStream::connect("127.0.0.1:1") {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            other => other.map(drop),
        }
    }
}

/// What changes the whole system or the view of it.
#[cfg(target_os = "linux")]
mod system {
    use super::raw::{call, text};
    use nix::libc;
    use std::io;

    /// A process that may mount is told that there is no such file system.
    pub(super) fn mount() -> io::Result<()> {
        let kind = text(c"ggend-no-such-file-system");
        call(libc::SYS_mount, [text(c"none"), text(c"/"), kind, 0, 0, 0])
    }

    pub(super) fn unshare() -> io::Result<()> {
        call(
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0],
        )
    }

    pub(super) fn setns() -> io::Result<()> {
        call(libc::SYS_setns, [0, libc::CLONE_NEWNET.into(), 0, 0, 0, 0])
    }

    pub(super) fn chroot() -> io::Result<()> {
        call(libc::SYS_chroot, [text(c"/"), 0, 0, 0, 0, 0])
    }

    pub(super) fn clock() -> io::Result<()> {
        call(libc::SYS_settimeofday, [0; 6])
    }

    pub(super) fn module() -> io::Result<()> {
        call(libc::SYS_init_module, [0; 6])
    }

    /// Without its magic numbers the call does nothing but fail.
    pub(super) fn reboot() -> io::Result<()> {
        call(libc::SYS_reboot, [0; 6])
    }
}

/// Parts of the kernel that workers do not need and that have had many faults.
#[cfg(target_os = "linux")]
mod kernel {
    use super::raw::call;
    use nix::libc;
    use std::io;

    pub(super) fn bpf() -> io::Result<()> {
        call(libc::SYS_bpf, [0; 6])
    }

    pub(super) fn keyctl() -> io::Result<()> {
        call(libc::SYS_keyctl, [0, -3, 0, 0, 0, 0])
    }

    pub(super) fn userfaultfd() -> io::Result<()> {
        call(libc::SYS_userfaultfd, [0; 6])
    }

    pub(super) fn perf() -> io::Result<()> {
        call(libc::SYS_perf_event_open, [0, 0, -1, -1, 0, 0])
    }

    pub(super) fn io_uring() -> io::Result<()> {
        call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0])
    }
}

/// What a process does to itself.
#[cfg(target_os = "linux")]
mod itself {
    use super::raw::call;
    use nix::{
        libc::{self, c_long},
        sys::{
            prctl,
            resource::{Resource, setrlimit},
        },
    };
    use std::{io, os::fd::AsRawFd};

    pub(super) fn setuid() -> io::Result<()> {
        call(libc::SYS_setresuid, [0; 6])
    }

    /// Memory that can be written and executed.
    pub(super) fn writable_code() -> io::Result<()> {
        let all = c_long::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        call(libc::SYS_mmap, [0, 4096, all, kind.into(), -1, 0])
    }

    pub(super) fn terminal_input() -> io::Result<()> {
        let byte = b' ';
        let fd = c_long::from(io::stderr().as_raw_fd());
        let (request, byte) = (libc::TIOCSTI as c_long, &raw const byte as c_long);
        call(libc::SYS_ioctl, [fd, request, byte, 0, 0, 0])
    }

    pub(super) fn raise_limit() -> io::Result<()> {
        Ok(setrlimit(Resource::RLIMIT_CORE, 1, 1)?)
    }

    pub(super) fn dump() -> io::Result<()> {
        Ok(prctl::set_dumpable(true)?)
    }
}
