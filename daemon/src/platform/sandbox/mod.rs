//! Takes things away from a process for good: privileges, files, ports, system calls, limits. Each
//! function returns how much the kernel supports, so that nothing is reported that does not hold.
//! On other systems than Linux nothing is supported.

mod attempts;
#[cfg(target_os = "linux")]
mod files;
mod privileges;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod syscalls;

pub use attempts::{ATTEMPTS, Attempt};
pub use privileges::*;

use std::path::PathBuf;

/// What a process may do with files, ports and other processes (`landlock(7)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files and folders that may be read and listed, and whatever lies below. What does not exist
    /// is left out.
    pub read: Vec<PathBuf>,
    /// Folders whose names may be listed, with all below; no file is read for that.
    pub list: Vec<PathBuf>,
    /// Those that may be executed, too.
    pub execute: Vec<PathBuf>,
    /// Those that may be read, written, made and removed.
    pub write: Vec<PathBuf>,
    /// No file at all but these; otherwise files are left alone.
    pub files: bool,
    /// No TCP port is bound.
    pub no_bind: bool,
    /// No TCP connection is made.
    pub no_connect: bool,
    /// No signal and no abstract Unix socket reaches a process outside.
    pub no_others: bool,
}

/// What system calls are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// What an event loop needs that was given its sockets.
    Worker {
        /// Files may be opened (which ones, [`Reach`] says).
        files: bool,
        /// Sockets of the Internet families may be made and connected.
        connect: bool,
    },
    /// Everything but what one server is not to do.
    Server {
        /// Sockets of other families than Unix.
        no_network: bool,
        /// Unix sockets, but for connected pairs.
        no_unix: bool,
        /// Cutting files short by their name, which the first two versions of Landlock do not see.
        no_truncate: bool,
    },
}

/// How much of a layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// All of it.
    Whole,
    /// What this kernel knows of it.
    Partly,
    /// Nothing: the kernel has no such thing, or it is switched off.
    Not,
}

/// A layer that is built and not yet closed. Closing it takes a few system calls and no memory.
pub struct Prepared {
    #[cfg(target_os = "linux")]
    files: Option<landlock::RulesetCreated>,
    #[cfg(target_os = "linux")]
    calls: Vec<seccompiler::BpfProgram>,
    stands: Stands,
}

/// The version of Landlock that the kernel knows; 0: none, or it is switched off.
#[must_use]
pub fn landlock_version() -> i64 {
    #[cfg(target_os = "linux")]
    return files::known();
    #[cfg(not(target_os = "linux"))]
    0
}

/// What of all this the system does not have; nothing is changed.
#[must_use]
pub fn missing_sandbox_layers() -> Vec<&'static str> {
    let whole = Reach {
        files: true,
        no_bind: true,
        no_connect: true,
        no_others: true,
        ..Reach::default()
    };
    let mut missing = Vec::new();
    match Prepared::reach(&whole).map(|layer| layer.stands()) {
        // What older versions do not see of ports and signals, the filters see.
        Ok(Stands::Whole | Stands::Partly) => {}
        Ok(Stands::Not) | Err(_) => missing.push("Landlock"),
    }
    match Prepared::calls(Calls::Server {
        no_network: true,
        no_unix: true,
        no_truncate: false,
    })
    .map(|layer| layer.stands())
    {
        Ok(Stands::Whole) => {}
        _ => missing.push("seccomp"),
    }
    missing
}

#[cfg(target_os = "linux")]
mod build {
    use super::{Calls, Prepared, Reach, Stands, files, seccomp};
    use std::io;

    impl Prepared {
        /// Around files, ports and other processes.
        ///
        /// # Errors
        /// When a path cannot be opened for another reason than that it is not there, or the kernel
        /// refuses.
        pub fn reach(reach: &Reach) -> io::Result<Self> {
            let (files, stands) = files::build(reach)?;
            Ok(Self {
                files,
                calls: Vec::new(),
                stands,
            })
        }

        /// Around these paths, for writing, and nothing else. It also keeps from mounting, as every
        /// layer around files does.
        ///
        /// # Errors
        /// When the kernel refuses.
        pub fn all_but(spared: &[std::path::PathBuf]) -> io::Result<Self> {
            let files = files::all_but(spared)?;
            let stands = if files.is_some() {
                Stands::Whole
            } else {
                Stands::Not
            };
            Ok(Self {
                files,
                calls: Vec::new(),
                stands,
            })
        }

        /// Around system calls.
        ///
        /// # Errors
        /// When the filter cannot be made for this processor.
        pub fn calls(which: Calls) -> io::Result<Self> {
            let calls = if seccomp::is_known() {
                seccomp::build(which)?
            } else {
                Vec::new()
            };
            let stands = if calls.is_empty() {
                Stands::Not
            } else {
                Stands::Whole
            };
            Ok(Self {
                files: None,
                calls,
                stands,
            })
        }

        /// How much of it will stand once it is closed.
        #[must_use]
        pub const fn stands(&self) -> Stands {
            self.stands
        }

        /// Closes it around this thread and whatever comes of it. There is no way back.
        ///
        /// # Errors
        /// When the kernel refuses; what was closed before stays.
        pub fn close(self) -> io::Result<()> {
            nix::sys::prctl::set_no_new_privs()?;
            if let Some(files) = self.files {
                files.restrict_self().map_err(io::Error::other)?;
            }
            self.calls.iter().try_for_each(|program| {
                seccompiler::apply_filter(program).map_err(io::Error::other)
            })
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Prepared {
    /// Nothing of it can be had here.
    ///
    /// # Errors
    /// Never.
    #[allow(
        clippy::missing_const_for_fn,
        reason = "it is the other system's function that counts"
    )]
    pub fn reach(_: &Reach) -> std::io::Result<Self> {
        Ok(Self {
            stands: Stands::Not,
        })
    }

    /// Nothing of it can be had here.
    ///
    /// # Errors
    /// Never.
    #[allow(
        clippy::missing_const_for_fn,
        reason = "it is the other system's function that counts"
    )]
    pub fn all_but(_: &[PathBuf]) -> std::io::Result<Self> {
        Ok(Self {
            stands: Stands::Not,
        })
    }

    /// Nothing of it can be had here.
    ///
    /// # Errors
    /// Never.
    #[allow(
        clippy::missing_const_for_fn,
        reason = "it is the other system's function that counts"
    )]
    pub fn calls(_: Calls) -> std::io::Result<Self> {
        Ok(Self {
            stands: Stands::Not,
        })
    }

    /// How much of it will stand once it is closed.
    #[must_use]
    pub const fn stands(&self) -> Stands {
        self.stands
    }

    /// Does nothing.
    ///
    /// # Errors
    /// Never.
    pub fn close(self) -> std::io::Result<()> {
        Ok(())
    }
}
