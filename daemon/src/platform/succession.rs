//! Replaces this process by another binary (`execve(2)`) that inherits descriptors and a text. The
//! text is in a sealed memfd; an environment variable names its number together with the process
//! id, so that a child that inherits the variable does not use it. Linux only.
#![allow(
    unsafe_code,
    reason = "descriptors that outlive execve come as plain numbers; they become owned here"
)]

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{SigSet, Signal},
};
use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
};

/// Names the memfd: `PID:NUMBER`.
const VARIABLE: &str = "GGEND_SUCCESSION";
/// What says which sockets a service manager gave to the first binary; they are not its successor's
/// to take by number.
const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// Beginnings of the dynamic loader's variables.
const LOADERS: [&[u8]; 3] = [b"LD_", b"DYLD_", b"GLIBC_TUNABLES"];
/// Variables that shells and other interpreters run something by.
const INTERPRETERS: [&[u8]; 3] = [b"BASH_ENV", b"SHELLOPTS", b"BASHOPTS"];
/// What the supervisor listens to, SIGCHLD included.
const SIGNALS: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGCHLD,
];

/// A text in memory that nobody can change any more, close-on-exec.
///
/// # Errors
/// As `memfd_create(2)`; `Unsupported` elsewhere than on Linux.
#[cfg(target_os = "linux")]
pub fn sealed(text: &[u8]) -> io::Result<OwnedFd> {
    use nix::{
        fcntl::SealFlag,
        sys::memfd::{MFdFlags, memfd_create},
    };
    use std::io::Write;
    let memory = memfd_create(
        c"ggend-succession",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text)?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Elsewhere there is no such memory.
///
/// # Errors
/// `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn sealed(_text: &[u8]) -> io::Result<OwnedFd> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "a running daemon is upgraded in place on Linux only",
    ))
}

/// The whole text of a memfd, whatever its position.
///
/// # Errors
/// As `pread(2)`; `InvalidData` for more than `most` bytes.
pub fn unsealed(memory: &OwnedFd, most: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(memory.try_clone()?);
    let length = file.metadata()?.len();
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

/// What the binary that this process was before has left for us.
#[derive(Debug)]
pub struct Estate {
    /// The text.
    pub text: OwnedFd,
}

impl Estate {
    /// Takes it, if there is one. To be called once, at the start.
    #[must_use]
    pub fn take() -> Option<Self> {
        let value = std::env::var(VARIABLE).ok()?;
        let (pid, number) = value.split_once(':')?;
        let number: RawFd = number.parse().ok().filter(|number| *number > 2)?;
        if pid.parse() != Ok(std::process::id()) {
            return None;
        }
        own(number).ok().map(|text| Self { text })
    }

    /// Takes the descriptors that the text names, in order; each is close-on-exec then.
    ///
    /// # Errors
    /// `InvalidData` if one is not open, or named twice.
    pub fn descriptors(self, numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
        let mut seen = std::collections::BTreeSet::from([self.text.as_raw_fd()]);
        if !numbers
            .iter()
            .all(|number| *number > 2 && seen.insert(*number))
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        numbers.iter().map(|number| own(*number)).collect()
    }
}

fn own(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only looked at; a descriptor that is not open gives EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: it is open, the binary before us left it for exactly this purpose, and each number is
    // taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The environment of this process without what tells loaders and interpreters to run something
/// else, in the place of a program or beside it.
pub fn plain_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.as_bytes();
        !LOADERS.iter().any(|start| name.starts_with(start)) && !INTERPRETERS.contains(&name)
    })
}

/// Lets a descriptor outlive the next `execve(2)` of this process.
///
/// # Errors
/// As `fcntl(2)`.
pub fn leave_open(descriptor: &impl AsFd) -> io::Result<()> {
    Ok(fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).map(drop)?)
}

/// Becomes the open binary, which gets the memfd and these descriptors, and nothing else
/// beside standard input, output and error. Returns only if that fails; all of them are
/// close-on-exec again then.
#[must_use]
pub fn become_binary(
    binary: &impl AsFd,
    arguments: &[OsString],
    text: &OwnedFd,
    descriptors: &[RawFd],
) -> io::Error {
    let prepare = || {
        let words = arguments
            .iter()
            .map(|word| CString::new(word.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let named = OsString::from(format!("{}:{}", std::process::id(), text.as_raw_fd()));
        let passes =
            |name: &OsStr| name != VARIABLE && !ACTIVATION.iter().any(|other| name == *other);
        let environment = plain_environment()
            .filter(|(name, _)| passes(name))
            .chain([(VARIABLE.into(), named)]);
        let environment = environment.map(|(name, value)| {
            let mut line = name;
            line.push("=");
            line.push(value);
            CString::new(line.as_bytes())
        });
        Ok::<_, std::ffi::NulError>((words, environment.collect::<Result<Vec<_>, _>>()?))
    };
    let (words, environment) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return io::Error::new(io::ErrorKind::InvalidInput, error),
    };
    let all = || descriptors.iter().copied().chain([text.as_raw_fd()]);
    let set = |number: RawFd, flags: FdFlag| {
        // SAFETY: the caller owns these descriptors while it calls; only a flag of theirs is
        // changed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(borrowed, FcntlArg::F_SETFD(flags)).map(drop)
    };
    let opened = all().try_for_each(|number| set(number, FdFlag::empty()));
    let error = match opened {
        Ok(()) => execute(binary.as_fd(), &words, &environment),
        Err(error) => error,
    };
    all().for_each(|number| set(number, FdFlag::FD_CLOEXEC).unwrap_or_default());
    error.into()
}

/// Returns only the error.
#[cfg(target_os = "linux")]
fn execute(binary: BorrowedFd<'_>, words: &[CString], environment: &[CString]) -> nix::Error {
    match nix::unistd::fexecve(binary, words, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// There is no succession elsewhere.
#[cfg(not(target_os = "linux"))]
fn execute(_: BorrowedFd<'_>, _: &[CString], _: &[CString]) -> nix::Error {
    nix::Error::ENOTSUP
}

/// Has the signals that the supervisor listens to wait, in this thread and in what this process
/// becomes.
pub fn hold_signals() {
    SigSet::from_iter(SIGNALS)
        .thread_block()
        .unwrap_or_default();
}

/// Takes that back. To be called when the handlers are there.
pub fn release_signals() {
    SigSet::from_iter(SIGNALS)
        .thread_unblock()
        .unwrap_or_default();
}
