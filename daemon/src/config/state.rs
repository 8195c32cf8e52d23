//! The state directory, for what outlives the daemon: keys, sessions, the self-signed certificate.
//! Finds and creates it. May not: know what is in it.

use crate::platform;
use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown, lchown},
    path::{Path, PathBuf},
};

/// Names the directory, whatever else is said.
pub const VARIABLE: &str = "GGEN_STATE_DIR";

/// Permission bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The state directory of this process: `$GGEN_STATE_DIR`, else `$STATE_DIRECTORY`
/// (systemd.exec(5), the first one), else `/var/lib/ggen` for root, else `$XDG_STATE_HOME/ggen`,
/// else `~/.ggen/state`. It need not exist.
#[must_use]
pub fn directory() -> PathBuf {
    place(&|name| std::env::var_os(name), platform::own_uid() == 0)
}

/// As root, becomes the user that a state directory belongs to, for good: links in it lead no further
/// than that user could go, and what is made belongs to that user.
///
/// # Errors
/// Those of becoming another user.
pub fn become_owner(directory: &Path) -> io::Result<()> {
    let owner = fs::metadata(directory).map(|facts| platform::Identity {
        uid: facts.uid(),
        gid: facts.gid(),
    });
    match owner {
        Ok(owner) if platform::own_uid() == 0 && owner.uid != 0 => {
            platform::drop_privileges(Some(owner))
        }
        _ => Ok(()),
    }
}

/// Makes a directory of that kind, 0700, and those above it. What root makes inside a service
/// user's directory belongs to that user.
///
/// # Errors
/// When it cannot be made, or somebody else may change what is in it (root may use the directory of
/// a service user).
pub fn make(directory: &Path) -> io::Result<()> {
    let own = platform::own_uid();
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    for made in missing.into_iter().rev().filter(|_| own == 0) {
        keep_owner(made)?;
    }
    let facts = fs::metadata(directory)?;
    if facts.mode() & OTHERS_WRITE != 0 || (own != 0 && ![own, 0].contains(&facts.uid())) {
        let message = format!(
            "{} belongs to somebody else, or others may write to it",
            directory.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

/// Makes a file there, empty and for its owner only, if it is not there. Made by root for a
/// service, it belongs to whom the directory belongs to.
///
/// # Errors
/// It cannot be made, or what is there is no file.
pub fn make_file(path: &Path) -> io::Result<()> {
    let file = match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(file) => file,
        // The directory's owner may be less than us: its links lead us nowhere.
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                && fs::symlink_metadata(path)?.is_file() =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let around = path
        .parent()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let (owner, own) = (fs::metadata(around)?, file.metadata()?);
    if own.uid() == 0 && owner.uid() != 0 {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))
    } else {
        Ok(())
    }
}

/// Gives what root has just made to whom the directory around it belongs, so that a service can
/// still use it. A symbolic link is not followed.
///
/// # Errors
/// Those of `lchown(2)`.
pub fn keep_owner(made: &Path) -> io::Result<()> {
    let around = made
        .parent()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let (owner, own) = (fs::metadata(around)?, fs::symlink_metadata(made)?);
    if own.uid() == 0 && owner.uid() != 0 {
        lchown(made, Some(owner.uid()), Some(owner.gid()))
    } else {
        Ok(())
    }
}

fn place(env: &dyn Fn(&str) -> Option<OsString>, root: bool) -> PathBuf {
    let path = |name: &str| {
        env(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(named) = path(VARIABLE) {
        return named;
    }
    // Several are separated by colons.
    let given = env("STATE_DIRECTORY")
        .and_then(|value| Some(PathBuf::from(value.to_str()?.split(':').next()?)));
    if let Some(given) = given.filter(|given| given.is_absolute()) {
        return given;
    }
    if root {
        return PathBuf::from("/var/lib/ggen");
    }
    path("XDG_STATE_HOME")
        .filter(|home| home.is_absolute())
        .map_or_else(
            || path("HOME").unwrap_or_default().join(".ggen/state"),
            |home| home.join("ggen"),
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_most_particular_name_wins() {
        let all = [
            ("GGEN_STATE_DIR", "/a"),
            ("STATE_DIRECTORY", "/b:/c"),
            ("XDG_STATE_HOME", "/d"),
            ("HOME", "/e"),
        ];
        let from = |skip: usize, root| {
            let known = &all[skip..];
            place(
                &|name| {
                    known
                        .iter()
                        .find(|(known, _)| *known == name)
                        .map(|(_, value)| (*value).into())
                },
                root,
            )
        };
        for (skip, root, expected) in [
            (0, true, "/a"),
            (1, true, "/b"),
            (2, true, "/var/lib/ggen"),
            (2, false, "/d/ggen"),
            (3, false, "/e/.ggen/state"),
        ] {
            assert_eq!(from(skip, root), Path::new(expected));
        }
    }

    #[test]
    fn it_is_private() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("deep/state");
        make(&inner).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&inner, std::os::unix::fs::PermissionsExt::from_mode(0o770)).unwrap();
        assert_eq!(
            make(&inner).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn what_root_makes_for_a_service_belongs_to_the_service() {
        if !ggend_tests::root_or_skipped("gives files to another user") {
            return;
        }
        let outer = tempfile::tempdir().unwrap();
        let (state, deep) = (
            outer.path().join("state"),
            outer.path().join("state/tls/more"),
        );
        fs::create_dir(&state).unwrap();
        lchown(&state, Some(4242), Some(4343)).unwrap();
        fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        make(&state).unwrap();
        make(&deep).unwrap();
        for path in [&state, deep.parent().unwrap(), &deep] {
            let facts = fs::metadata(path).unwrap();
            assert_eq!(
                (facts.uid(), facts.gid()),
                (4242, 4343),
                "{}",
                path.display()
            );
        }
    }
}
