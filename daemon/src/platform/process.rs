//! Processes: spawning this binary, the subreaper, children, signals, credentials of a peer.

use nix::{
    errno::Errno,
    sys::{
        signal::{self, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    io,
    os::fd::OwnedFd,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// A signal killed it.
    Killed(i32),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by signal {number} ({})", signal.as_str()),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// Orphaned descendants become our children instead of init's (Linux; elsewhere nothing happens).
///
/// # Errors
/// As `prctl(2)`.
pub fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// The path by which this very binary is executed again, even after a package upgrade replaced the
/// file.
///
/// # Errors
/// When the system does not tell.
pub fn own_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// Spawns this binary again with `channel` as its stdin, stdout closed off, stderr inherited, in a
/// process group of its own, with nothing in its environment but the given variables. The caller
/// reaps the returned process id.
///
/// # Errors
/// As `fork(2)` and `execve(2)`.
pub fn spawn_self<'a>(
    arguments: &[&str],
    channel: OwnedFd,
    environment: impl IntoIterator<Item = (&'a str, std::ffi::OsString)>,
) -> io::Result<u32> {
    let child = Command::new(own_binary()?)
        .arg0("ggend")
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::from(channel))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(child.id())
}

/// Reaps one child that has ended, if any has; waits for one if `wait` is set. `None`: none has
/// ended.
///
/// # Errors
/// `NotFound` when there are no children at all.
pub fn reap(wait: bool) -> io::Result<Option<(u32, Ended)>> {
    loop {
        match waitpid(None, (!wait).then_some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => {
                return Ok(Some((pid.as_raw().unsigned_abs(), Ended::Exited(status))));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Ok(Some((
                    pid.as_raw().unsigned_abs(),
                    Ended::Killed(signal as i32),
                )));
            }
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Err(io::ErrorKind::NotFound.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for one child of ours for at most `patience`. `false`: it has not ended.
#[must_use]
pub fn reap_one(pid: u32, patience: std::time::Duration) -> bool {
    let Some(pid) = target(pid) else { return true };
    let end = std::time::Instant::now() + patience;
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            _ => return true,
        }
        if std::time::Instant::now() >= end {
            return false;
        }
        // A child's end could only be waited for by a signal handler of the whole process.
        std::thread::park_timeout(std::time::Duration::from_millis(2));
    }
}

/// Signals one process; a process that is gone is no error. Process ids 0 and 1 are never
/// signalled.
pub fn signal_process(pid: u32, signal: Signal) {
    if let Some(pid) = target(pid) {
        signal::kill(pid, signal).unwrap_or_default();
    }
}

/// Signals a process group; a group that is gone is no error.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(leader) = target(leader) {
        signal::killpg(leader, signal).unwrap_or_default();
    }
}

fn target(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .map(Pid::from_raw)
}

/// The process ids of our children (Linux: /proc; elsewhere none are listed).
#[must_use]
pub fn children() -> Vec<u32> {
    let own = std::process::id();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut listed = false;
    for task in tasks.flatten() {
        if let Ok(text) = std::fs::read_to_string(task.path().join("children")) {
            listed = true;
            found.extend(
                text.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    if !listed {
        found.extend(
            super::processes()
                .into_iter()
                .filter(|process| process.parent == own)
                .map(|process| process.pid),
        );
    }
    found
}

/// Raises this process's soft limit of open files to the hard one (`getrlimit(2)`, RLIMIT_NOFILE).
///
/// # Errors
/// The system's own.
pub fn raise_open_files() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
    } else {
        Ok(())
    }
}

/// Gives this thread, and with the first one the process, a name for lists of processes.
pub fn name_process(name: &std::ffi::CStr) {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_name(name).unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// Whether this host knows a user of that name.
#[must_use]
pub fn user_exists(name: &str) -> bool {
    matches!(nix::unistd::User::from_name(name), Ok(Some(_)))
}

/// Our effective user id.
#[must_use]
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Has the allocator give large pieces of memory back to the system when they are freed, whatever
/// was freed before: by itself it raises the size from which it does, up to 32 MiB, and large
/// messages then stay in the heap between small ones (`mallopt(3)`).
#[allow(unsafe_code, reason = "the library has no safe form of it")]
pub fn return_large_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Larger than most messages, and than the buffers that are used again and again.
        const LARGE: std::ffi::c_int = 256 << 10;
        // SAFETY: numbers only, before any other thread exists (mallopt(3)).
        unsafe {
            nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE);
            nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, 4 * LARGE);
        }
    }
}
