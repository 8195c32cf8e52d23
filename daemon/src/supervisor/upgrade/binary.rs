//! The binary that is to take over: where it is, and whether it may. Whoever can write it becomes
//! the daemon, so it has to belong to whom the running one belongs to, or to root.

use nix::unistd::{AccessFlags, access};
use std::{
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::PathBuf,
};

/// The running one, also when its file is gone.
const OWN: &str = "/proc/self/exe";
/// What the kernel says behind the path of a file that is gone.
const DELETED: &[u8] = b" (deleted)";

/// One that may take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    identity: Identity,
}

/// An open file, told from another one at the same place, or the same with another content.
type Identity = (u64, u64, u64, i64, i64);

fn identity(facts: &Metadata) -> Identity {
    (
        facts.dev(),
        facts.ino(),
        facts.size(),
        facts.mtime(),
        facts.mtime_nsec(),
    )
}

/// Where the running binary was started from.
///
/// # Errors
/// When the system does not tell.
fn installed() -> io::Result<PathBuf> {
    let path = fs::read_link(OWN)?;
    let bytes = path.as_os_str().as_bytes();
    Ok(match bytes.strip_suffix(DELETED) {
        Some(before) if !path.exists() => PathBuf::from(std::ffi::OsStr::from_bytes(before)),
        _ => path,
    })
}

impl Binary {
    /// The one at a path; `None`: what lies now where the running one was started from.
    ///
    /// # Errors
    /// Why it is none, for a person.
    pub(crate) fn find(path: Option<&str>) -> Result<Self, String> {
        let path = match path {
            Some(path) => PathBuf::from(path),
            None => installed()
                .map_err(|error| format!("the path of the running binary is not known: {error}"))?,
        };
        let named = path.display();
        if !path.is_absolute() {
            return Err(format!("{named} is not an absolute path"));
        }
        let facts = fs::metadata(&path).map_err(|error| format!("{named}: {error}"))?;
        if !facts.is_file() || access(&path, AccessFlags::X_OK).is_err() {
            return Err(format!("{named} is not an executable file"));
        }
        let own = fs::metadata(OWN)
            .map_err(|error| format!("the owner of the running binary is not known: {error}"))?;
        if facts.uid() != 0 && facts.uid() != own.uid() {
            return Err(format!(
                "{named} belongs to user {}, and the running binary to user {}",
                facts.uid(),
                own.uid()
            ));
        }
        if facts.mode() & !own.mode() & 0o022 != 0 {
            return Err(format!(
                "{named} can be written by others than its owner (mode {:04o})",
                facts.mode() & 0o7777
            ));
        }
        Ok(Self {
            identity: identity(&facts),
            path,
        })
    }

    /// Whether it is still what it was.
    pub(crate) fn is_same(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|facts| identity(&facts) == self.identity)
    }
}
