//! Where the daemon keeps what has to outlive it: keys, the self-signed certificate. Says where, and makes the directory; what is in it belongs to others.

use crate::platform;
use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Names the directory, whatever else is said.
pub const VARIABLE: &str = "GGEN_STATE_DIR";

/// Permission bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The state directory of this process: `$GGEN_STATE_DIR`, else `$STATE_DIRECTORY` (systemd.exec(5), the first one), else `/var/lib/ggen` for root,
/// else `$XDG_STATE_HOME/ggen`, else `~/.ggen/state`. It need not exist.
#[must_use]
pub fn directory() -> PathBuf {
    place(&|name| std::env::var_os(name), platform::own_uid() == 0)
}

/// Makes a directory of that kind, 0700, and those above it.
///
/// # Errors
/// When it cannot be made, or somebody else may change what is in it.
pub fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let facts = fs::metadata(directory)?;
    if facts.mode() & OTHERS_WRITE != 0 || ![platform::own_uid(), 0].contains(&facts.uid()) {
        let message = format!("{} belongs to somebody else, or others may write to it", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

fn place(env: &dyn Fn(&str) -> Option<OsString>, root: bool) -> PathBuf {
    let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = path(VARIABLE) {
        return named;
    }
    // Several are separated by colons.
    let given = env("STATE_DIRECTORY").and_then(|value| Some(PathBuf::from(value.to_str()?.split(':').next()?)));
    if let Some(given) = given.filter(|given| given.is_absolute()) {
        return given;
    }
    if root {
        return PathBuf::from("/var/lib/ggen");
    }
    path("XDG_STATE_HOME")
        .filter(|home| home.is_absolute())
        .map_or_else(|| path("HOME").unwrap_or_default().join(".ggen/state"), |home| home.join("ggen"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_most_particular_name_wins() {
        let all = [("GGEN_STATE_DIR", "/a"), ("STATE_DIRECTORY", "/b:/c"), ("XDG_STATE_HOME", "/d"), ("HOME", "/e")];
        let from = |skip: usize, root| {
            let known = &all[skip..];
            place(&|name| known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()), root)
        };
        for (skip, root, expected) in
            [(0, true, "/a"), (1, true, "/b"), (2, true, "/var/lib/ggen"), (2, false, "/d/ggen"), (3, false, "/e/.ggen/state")]
        {
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
        assert_eq!(make(&inner).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
