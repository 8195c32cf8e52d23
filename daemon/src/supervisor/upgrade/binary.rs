//! The binary that is to take over: where it is, and whether it may. Whoever can write it, or put
//! another one in its place, becomes the daemon, so it and the folders above it have to belong to
//! whom the running one belongs to, or to root. It is opened once: what was judged is what is
//! executed.

use crate::{config, platform};
use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// The running one, also when its file is gone.
const OWN: &str = "/proc/self/exe";
/// What the kernel says behind the path of a file that is gone.
const DELETED: &[u8] = b" (deleted)";
const MAY_EXECUTE: u32 = 0o111;

/// One that may take over.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    file: Arc<File>,
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
        let real = path
            .canonicalize()
            .map_err(|error| format!("{named}: {error}"))?;
        let file = open(&real).map_err(|error| format!("{named}: {error}"))?;
        let facts = file
            .metadata()
            .map_err(|error| format!("{named}: {error}"))?;
        if !facts.is_file() || facts.mode() & MAY_EXECUTE == 0 {
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
        // A link is judged by its own folders, too.
        let folders = real.ancestors().chain(path.ancestors()).skip(1);
        if let Some(why) = folders
            .filter(|folder| *folder != path && *folder != real)
            .find_map(|folder| config::somebody_else(folder, own.uid(), true))
        {
            return Err(format!("{named} could be replaced by others: {why}"));
        }
        Ok(Self {
            identity: identity(&facts),
            path,
            file: Arc::new(file),
        })
    }

    /// Whether it is still what it was.
    pub(crate) fn is_same(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|facts| identity(&facts) == self.identity)
    }

    /// The open file for a child, which may be the interpreter of a script and has to find it open.
    /// To be dropped before any other child is started.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub(super) fn for_child(&self) -> io::Result<ForChild> {
        let file = self.file.as_fd().try_clone_to_owned()?;
        platform::leave_open(&file)?;
        Ok(ForChild(file))
    }
}

/// A binary that a child can execute.
pub(super) struct ForChild(OwnedFd);

impl ForChild {
    /// Where the child finds it.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

impl AsFd for Binary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A link that was put there since is not followed.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::Binary;
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
    };

    #[test]
    fn a_binary_that_others_could_replace_may_not_take_over() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().canonicalize().unwrap().join("folder");
        fs::create_dir(&folder).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let file = folder.join("ggend");
        fs::copy("/proc/self/exe", &file).unwrap();
        mode(&file, 0o755);
        let find = |path: &Path| Binary::find(path.to_str());
        let found = find(&file).unwrap();
        assert!(found.is_same());
        for (place, bad, good) in [
            (&file, 0o757, 0o755),
            (&file, 0o644, 0o755),
            (&folder, 0o757, 0o755),
        ] {
            mode(place, bad);
            assert!(find(&file).is_err(), "{place:?} {bad:o}");
            mode(place, good);
        }
        // A link in a folder that others may write leads to a file that is all right.
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        symlink(&file, open.join("link")).unwrap();
        assert!(find(&open.join("link")).is_ok());
        mode(&open, 0o777);
        let why = find(&open.join("link")).unwrap_err();
        assert!(why.contains("others may write"), "{why}");
        // What was judged stays what is executed, whatever lies at its path.
        let other = folder.join("other");
        fs::copy("/bin/sh", &other).unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(found.is_same());
    }
}
