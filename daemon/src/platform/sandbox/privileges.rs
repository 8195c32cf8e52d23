//! User, capabilities, limits, and whether other processes may read our memory.
#![allow(unsafe_code, reason = "these calls have no safe form in the library")]

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// A user to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id; no other groups are kept.
    pub gid: u32,
}

/// A user's ids by name or number (`getpwnam(3)`); `None`: there is no such user. May ask name
/// services, and so may take its time.
///
/// # Errors
/// When the system's list of users cannot be read.
pub fn user(name: &str) -> io::Result<Option<Identity>> {
    Ok(account(name)?.map(|account| account.identity))
}

/// A user as the system's list has it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its ids.
    pub identity: Identity,
    /// Its name.
    pub name: String,
    /// Its home.
    pub home: std::path::PathBuf,
}

/// As [`user`], with what a process of that user finds in its environment.
///
/// # Errors
/// As [`user`].
pub fn account(name: &str) -> io::Result<Option<Account>> {
    let found = match name.parse::<u32>() {
        Ok(uid) => nix::unistd::User::from_uid(uid.into())?,
        Err(_) => nix::unistd::User::from_name(name)?,
    };
    let account = |user: nix::unistd::User| Account {
        identity: Identity {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        },
        name: user.name,
        home: user.dir,
    };
    Ok(found.map(account))
}

/// A group's id by name or number.
///
/// # Errors
/// As [`user`].
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let found = match name.parse::<u32>() {
        Ok(gid) => nix::unistd::Group::from_gid(gid.into())?,
        Err(_) => nix::unistd::Group::from_name(name)?,
    };
    Ok(found.map(|group| group.gid.as_raw()))
}

/// Becomes that user, if it is not us, and gives up every capability (`capabilities(7)`), for this
/// process and all that come of it.
///
/// # Errors
/// When the kernel refuses to change the user or the capabilities.
pub fn drop_privileges(identity: Option<Identity>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    linux::drop_bounding_set();
    if let Some(identity) = identity {
        become_user(identity)?;
    }
    #[cfg(target_os = "linux")]
    linux::drop_capabilities()?;
    Ok(())
}

fn become_user(identity: Identity) -> io::Result<()> {
    use nix::unistd::{Gid, Uid, geteuid, setgid, setuid};
    if may_become_others() {
        #[cfg(target_os = "linux")]
        nix::unistd::setgroups(&[])?;
        // The library has it for Linux only.
        // SAFETY: no group is read from the null pointer, as there are none (setgroups(2)).
        #[cfg(not(target_os = "linux"))]
        if unsafe { nix::libc::setgroups(0, std::ptr::null()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        setgid(Gid::from_raw(identity.gid))?;
        setuid(Uid::from_raw(identity.uid))?;
        return Ok(());
    }
    if geteuid().as_raw() == identity.uid {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Whether this process may start others as another user, and end them: it is root, or has the
/// capabilities `CAP_SETUID`, `CAP_SETGID` and `CAP_KILL`.
#[must_use]
pub fn may_become_others() -> bool {
    #[cfg(target_os = "linux")]
    let given = linux::has_capabilities(&[linux::KILL, linux::SETGID, linux::SETUID]);
    #[cfg(not(target_os = "linux"))]
    let given = false;
    nix::unistd::geteuid().is_root() || given
}

/// Keeps other processes of our user from reading our memory and environment, and the system from
/// writing it to a file (`PR_SET_DUMPABLE`). Ends with exec.
///
/// # Errors
/// As `prctl(2)`.
#[allow(
    clippy::missing_const_for_fn,
    reason = "it is the system's call that counts"
)]
pub fn hide_memory() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// No image of our memory is written to a file, whatever the system's settings are. Children
/// inherit it.
///
/// # Errors
/// As `setrlimit(2)`.
pub fn write_no_cores() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// Keeps files from growing by our hand, unless standard error is one.
///
/// # Errors
/// As `setrlimit(2)`.
pub fn write_no_files() -> io::Result<()> {
    let file = nix::sys::stat::fstat(io::stderr())
        .is_ok_and(|found| found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG);
    if file {
        Ok(())
    } else {
        Ok(setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?)
    }
}

/// A limit of a process (`setrlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of memory that it may write to (`RLIMIT_DATA`).
    Memory,
    /// Seconds of processor time, over its whole life.
    Processor,
    /// Open files.
    Files,
    /// Processes and threads of its user.
    Processes,
    /// Bytes of a file that it writes.
    FileSize,
}

/// Sets a limit, for good. One that is lower already stays.
///
/// # Errors
/// As `setrlimit(2)`.
pub fn limit(which: Limit, value: u64) -> io::Result<()> {
    let resource = match which {
        Limit::Memory => Resource::RLIMIT_DATA,
        Limit::Processor => Resource::RLIMIT_CPU,
        Limit::Files => Resource::RLIMIT_NOFILE,
        #[cfg(target_os = "linux")]
        Limit::Processes => Resource::RLIMIT_NPROC,
        #[cfg(not(target_os = "linux"))]
        Limit::Processes => return Err(io::ErrorKind::Unsupported.into()),
        Limit::FileSize => Resource::RLIMIT_FSIZE,
    };
    let value = value.min(getrlimit(resource)?.1);
    Ok(setrlimit(resource, value, value)?)
}

#[cfg(target_os = "linux")]
mod linux {
    use nix::libc;
    use std::io;

    /// `capabilities(7)`
    pub(super) const KILL: u32 = 5;
    pub(super) const SETGID: u32 = 6;
    pub(super) const SETUID: u32 = 7;
    /// `_LINUX_CAPABILITY_VERSION_3`: two structures for 64 capabilities.
    const VERSION: u32 = 0x2008_0522;
    const HEADER: Header = Header {
        version: VERSION,
        pid: 0,
    };
    const NONE: [Sets; 2] = [Sets {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    }; 2];

    /// The capabilities of this process; `None`: the kernel does not tell.
    fn capabilities() -> Option<[Sets; 2]> {
        let (header, mut now) = (HEADER, NONE);
        // SAFETY: header and sets are laid out as capget(2) wants them for this version, and live
        // until it returns.
        let done = unsafe { libc::syscall(libc::SYS_capget, &raw const header, now.as_mut_ptr()) };
        (done == 0).then_some(now)
    }

    /// Whether all of these, each below 32, are effective.
    pub(super) fn has_capabilities(wanted: &[u32]) -> bool {
        capabilities().is_some_and(|sets| {
            let has = |bit: &u32| sets[0].effective & (1 << bit) != 0;
            wanted.iter().all(has)
        })
    }

    /// Takes every capability out of what exec may give. Who has no right to do so has none to
    /// lose: no_new_privs holds for exec in any case.
    pub(super) fn drop_bounding_set() {
        for capability in 0..64 {
            // SAFETY: the call takes a number and touches no memory (PR_CAPBSET_DROP, prctl(2)).
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) }
                != 0
            {
                return;
            }
        }
    }

    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }

    #[repr(C)]
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    /// Empties the effective, permitted, inheritable and ambient sets.
    pub(super) fn drop_capabilities() -> io::Result<()> {
        let (header, none) = (HEADER, NONE);
        // A service manager that has taken all of them may refuse the call that takes them, too.
        if capabilities() == Some(none) {
            return Ok(());
        }
        // SAFETY: numbers only (PR_CAP_AMBIENT, prctl(2)). Kernels before 4.3 have no such set and
        // say so.
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
                0,
                0,
                0,
            )
        };
        // SAFETY: header and sets are laid out as capset(2) wants them for this version, and live
        // until it returns.
        match unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Runs this in the child between fork and exec; an error is the spawn's. To be used while the
/// process has no other threads.
pub fn before_exec(
    command: &mut std::process::Command,
    work: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the caller has one thread, so that no lock can be held by somebody who does not exist
    // in the child.
    unsafe { command.pre_exec(work) };
}
