//! Whether a configuration that was found, and not named, may be used: nobody but the caller and
//! root can have written it, as with git's `safe.directory`. Its programs run with the caller's
//! rights. The binary of an upgrade is judged in the same way. May not: open the file.

use crate::config::problem::{Location, Problem, Severity};
use ggen_wire::Code;
use nix::unistd::{Gid, Group, Uid, User};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const ROOT: u32 = 0;
const GROUP_MAY_WRITE: u32 = 0o020;
const ALL_MAY_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Why the file at `path` may not be used by the user `caller`. A file that is not there is no
/// matter of this.
pub(crate) fn judge(path: &Path, caller: u32) -> Option<Problem> {
    let file = path.canonicalize().ok()?;
    // A link is judged by its own folder, and what it leads to by that one's.
    let folders = [path.parent(), file.parent()]
        .into_iter()
        .flatten()
        .map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.into()));
    let folders: Vec<PathBuf> = folders.collect();
    let own = std::iter::once(&file)
        .chain(&folders)
        .find_map(|place| somebody_else(place, caller, false));
    let above = || {
        folders
            .iter()
            .flat_map(|folder| folder.ancestors().skip(1))
            .find_map(|folder| somebody_else(folder, caller, true))
    };
    let why = own.or_else(|| if caller == ROOT { above() } else { None })?;
    let place = Location {
        source: path.display().to_string(),
        at: None,
    };
    let what = format!("{why}; it is used only if it is named");
    let problem = Problem::new(Severity::Error, Code::ConfigForeign, place, "", what);
    Some(problem.help(format!("ggend --config {}", path.display())))
}

/// Who else has a hand in a file or folder. `above`: a folder in whose folders others may make
/// names, but change none that are not theirs, will do (the sticky bit of `/tmp`).
pub(crate) fn somebody_else(place: &Path, caller: u32, above: bool) -> Option<String> {
    let shown = place.display();
    let facts = match std::fs::metadata(place) {
        Ok(facts) => facts,
        Err(error) => return Some(format!("{shown} cannot be judged: {error}")),
    };
    if facts.uid() != caller && facts.uid() != ROOT {
        let owner = User::from_uid(Uid::from_raw(facts.uid())).ok().flatten();
        let owner = owner.map_or_else(|| format!("user {}", facts.uid()), |user| user.name);
        return Some(format!("{shown} belongs to {owner}"));
    }
    if above && facts.mode() & STICKY != 0 {
        return None;
    }
    let writable = facts.mode() & ALL_MAY_WRITE != 0
        || facts.mode() & GROUP_MAY_WRITE != 0 && !is_own_group(facts.gid(), caller);
    writable.then(|| format!("others may write {shown}"))
}

/// Whether a group is root's, or that of one user alone: it has the user's number or name, as where
/// every user has a group.
fn is_own_group(gid: u32, caller: u32) -> bool {
    let named_alike = || {
        let user = User::from_uid(Uid::from_raw(caller)).ok().flatten();
        let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
        user.zip(group)
            .is_some_and(|(user, group)| user.name == group.name)
    };
    gid == ROOT || gid == caller || named_alike()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::judge;
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        path::Path,
    };

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_used_only_where_nobody_else_has_a_hand() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        for folder in [&own, &other] {
            fs::create_dir(folder).unwrap();
            mode(folder, 0o700);
            fs::write(folder.join("file"), "{}").unwrap();
            mode(&folder.join("file"), 0o600);
        }
        let caller = fs::metadata(&own).unwrap().uid();
        let file = own.join("file");
        let why = || judge(&file, caller).map(|problem| problem.what);
        assert_eq!(why(), None);
        assert!(judge(&own.join("missing"), caller).is_none());
        // Somebody else: as root's files are for everybody, another caller must not be root's.
        if caller != 0 {
            let what = judge(&file, caller + 1).unwrap().what;
            assert!(what.contains("belongs to"), "{what}");
            let what = judge(&file, 0).unwrap().what;
            assert!(what.contains("belongs to"), "{what}");
        }
        for (place, bad) in [(&file, 0o602), (&own, 0o703), (&own, 0o1777)] {
            let good = fs::metadata(place).unwrap().mode() & 0o7777;
            mode(place, bad);
            assert!(why().unwrap().contains("others may write"), "{place:?}");
            mode(place, good);
        }
        // A link to a file in a folder that others may write.
        fs::remove_file(&file).unwrap();
        symlink(other.join("file"), &file).unwrap();
        assert_eq!(why(), None);
        mode(&other, 0o777);
        assert!(why().unwrap().contains("others may write"));
    }
}
