//! Attempts that a sandboxed process must be refused, for `ggend worker --try-sandbox ROLE` and its
//! test. An attempt does no harm where it succeeds.
#![allow(
    unsafe_code,
    reason = "these calls are made to be refused, and have no safe form"
)]

use std::io;

/// The names of all of them.
#[cfg(target_os = "linux")]
pub const ATTEMPTS: &[&str] = &[
    "exec",
    "fork",
    "open-read",
    "open-write",
    "read-config",
    "ptrace",
    "read-memory",
    "signal",
    "raw-socket",
    "packet-socket",
    "unix-socket",
    "tcp-socket",
    "bind",
    "listen",
    "connect",
    "mount",
    "setns",
    "chroot",
    "bpf",
    "keyctl",
    "userfaultfd",
    "perf",
    "io-uring",
    "module",
    "reboot",
    "open-by-handle",
    "setuid",
    "clock",
    "memfd",
    "wx-memory",
    "terminal-input",
    "raise-limit",
    "dump",
    "unshare",
];
/// The names of all of them.
#[cfg(not(target_os = "linux"))]
pub const ATTEMPTS: &[&str] = &[];

/// Tries one.
///
/// # Errors
/// The refusal. `Ok`: nothing kept us from it.
#[cfg(target_os = "linux")]
pub fn attempt(name: &str) -> io::Result<()> {
    linux::attempt(name)
}

/// Tries nothing.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn attempt(_: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use nix::libc::{self, c_long};
    use std::{ffi::CStr, fs, io, net, os::fd::AsRawFd, ptr};

    fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<c_long> {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the callers below pass numbers, null, or pointers to what lives until this
        // returns.
        match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
            -1 => Err(io::Error::last_os_error()),
            done => Ok(done),
        }
    }

    fn text(text: &'static CStr) -> c_long {
        text.as_ptr() as c_long
    }

    fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<()> {
        let fd = call(
            libc::SYS_socket,
            [domain.into(), kind.into(), protocol.into(), 0, 0, 0],
        )?;
        call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]).map(drop)
    }

    pub(super) fn attempt(name: &str) -> io::Result<()> {
        let parent = c_long::from(std::os::unix::process::parent_id());
        let null = 0;
        match name {
            // Would replace this process, and the caller would get no answer.
            "exec" => call(libc::SYS_execve, [text(c"/bin/true"), null, null, 0, 0, 0]).map(drop),
            "fork" => match call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0])? {
                0 => {
                    call(libc::SYS_exit_group, [0; 6]).ok();
                    Ok(())
                }
                _ => Ok(()),
            },
            "open-read" => fs::read("/proc/1/status").map(drop),
            "open-write" => {
                let path =
                    std::env::temp_dir().join(format!("ggend-sandbox-{}", std::process::id()));
                fs::write(&path, "x").and_then(|()| fs::remove_file(path))
            }
            "read-config" => fs::read_dir("/root").map(drop),
            "ptrace" => call(
                libc::SYS_ptrace,
                [libc::PTRACE_SEIZE.into(), parent, 0, 0, 0, 0],
            )
            .map(drop),
            "read-memory" => {
                let mut byte = [0_u8];
                let (own, other) = (
                    libc::iovec {
                        iov_base: byte.as_mut_ptr().cast(),
                        iov_len: 1,
                    },
                    libc::iovec {
                        iov_base: ptr::dangling_mut(),
                        iov_len: 1,
                    },
                );
                call(
                    libc::SYS_process_vm_readv,
                    [
                        parent,
                        &raw const own as c_long,
                        1,
                        &raw const other as c_long,
                        1,
                        0,
                    ],
                )
                .map(drop)
            }
            "signal" => call(libc::SYS_kill, [parent, 0, 0, 0, 0, 0]).map(drop),
            "raw-socket" => socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
            "packet-socket" => socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
            "unix-socket" => socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
            "tcp-socket" => socket(libc::AF_INET, libc::SOCK_STREAM, 0),
            "bind" => net::UdpSocket::bind("127.0.0.1:0").map(drop),
            "listen" => net::TcpListener::bind("127.0.0.1:0").map(drop),
            "connect" => match net::TcpStream::connect("127.0.0.1:1") {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                other => other.map(drop),
            },
            // Whoever may mount is told that there is no such file system.
            "mount" => call(
                libc::SYS_mount,
                [
                    text(c"none"),
                    text(c"/"),
                    text(c"ggend-no-such-file-system"),
                    0,
                    0,
                    0,
                ],
            )
            .map(drop),
            "unshare" => call(
                libc::SYS_unshare,
                [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0],
            )
            .map(drop),
            "setns" => call(libc::SYS_setns, [0, libc::CLONE_NEWNET.into(), 0, 0, 0, 0]).map(drop),
            "chroot" => call(libc::SYS_chroot, [text(c"/"), 0, 0, 0, 0, 0]).map(drop),
            "bpf" => call(libc::SYS_bpf, [0; 6]).map(drop),
            "keyctl" => call(libc::SYS_keyctl, [0, -3, 0, 0, 0, 0]).map(drop),
            "userfaultfd" => call(libc::SYS_userfaultfd, [0; 6]).map(drop),
            "perf" => call(libc::SYS_perf_event_open, [null, 0, -1, -1, 0, 0]).map(drop),
            "io-uring" => call(libc::SYS_io_uring_setup, [1, null, 0, 0, 0, 0]).map(drop),
            "module" => call(libc::SYS_init_module, [null, 0, null, 0, 0, 0]).map(drop),
            // Without its magic numbers it does nothing but fail.
            "reboot" => call(libc::SYS_reboot, [0; 6]).map(drop),
            "open-by-handle" => call(
                libc::SYS_open_by_handle_at,
                [libc::AT_FDCWD.into(), null, 0, 0, 0, 0],
            )
            .map(drop),
            "setuid" => call(libc::SYS_setresuid, [0; 6]).map(drop),
            "clock" => call(libc::SYS_settimeofday, [null, null, 0, 0, 0, 0]).map(drop),
            "memfd" => call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0]).map(drop),
            "wx-memory" => {
                let all = c_long::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
                call(
                    libc::SYS_mmap,
                    [
                        0,
                        4096,
                        all,
                        (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into(),
                        -1,
                        0,
                    ],
                )
                .map(drop)
            }
            "terminal-input" => {
                let byte = b' ';
                let fd = c_long::from(io::stderr().as_raw_fd());
                call(
                    libc::SYS_ioctl,
                    [
                        fd,
                        libc::TIOCSTI as c_long,
                        &raw const byte as c_long,
                        0,
                        0,
                        0,
                    ],
                )
                .map(drop)
            }
            "raise-limit" => Ok(nix::sys::resource::setrlimit(
                nix::sys::resource::Resource::RLIMIT_CORE,
                1,
                1,
            )?),
            "dump" => Ok(nix::sys::prctl::set_dumpable(true)?),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}
