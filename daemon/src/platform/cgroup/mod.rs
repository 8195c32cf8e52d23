//! The control groups that a service manager has delegated to us, and the groups that we make
//! there: one for each server, and one for our own processes, because a group that gives its
//! children controllers may hold no process itself. Where nothing is delegated, this says why.
//!
//! ```text
//! <ours>/supervisor          supervisor, workers, shims
//! <ours>/upstreams/<name>    one server and whatever it starts
//! ```
//!
//! Touches nothing that is not delegated to us, not even where it could: as root everything can be
//! written.

mod group;
mod layout;

pub use group::{Controller, Group, GroupLimits, GroupUse, MembershipFiles};
pub use layout::Version;

use layout::OwnGroup;
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Where our own processes are. systemd puts the first one there itself where the unit says so
/// (`DelegateSubgroup=supervisor`).
const OWN: &str = "supervisor";
/// Where the servers' groups are.
const UPSTREAMS: &str = "upstreams";
/// Longest name of a group that is made of a server's, in bytes.
const LONGEST: usize = 100;

/// One hierarchy, as far as it is ours.
struct Hierarchy {
    folder: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// What is ours. The first hierarchy tells who is in which group; others only have controllers of
/// the first version.
pub struct Tree {
    hierarchies: Vec<Hierarchy>,
    path: String,
    /// Why controllers are not ours that the kernel has.
    missing: Option<String>,
    /// Whether this process was put into [`OWN`] by us.
    moved: bool,
    /// Keeps another one of us out.
    _lock: Flock<File>,
}

impl Tree {
    /// Finds it, moves this process into its own group, and makes the place for the servers'
    /// groups.
    ///
    /// # Errors
    /// Why there is none, in words for a person.
    pub fn take() -> Result<Self, String> {
        let own_groups = layout::own_groups(
            &read(Path::new("/proc/self/cgroup")),
            &read(Path::new("/proc/self/mountinfo")),
        );
        let (place, folder, path, within) = delegated(&own_groups)?;
        let lock = File::open(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| format!("{} is in use by another ggend", folder.display()))?;
        let mut tree = Self {
            hierarchies: Vec::new(),
            path,
            missing: None,
            moved: false,
            _lock: lock,
        };
        tree.settle(folder, place.version, within)
            .map_err(|error| format!("{}: {error}", place.folder.display()))?;
        tree.add_controllers_of_v1(&own_groups);
        Ok(tree)
    }

    fn settle(&mut self, folder: PathBuf, version: Version, within: bool) -> io::Result<()> {
        make(&folder.join(UPSTREAMS))?;
        if !within {
            let own = folder.join(OWN);
            make(&own)?;
            if let Err(error) = group::write(&own, "cgroup.procs", "0") {
                fs::remove_dir(&own).unwrap_or_default();
                return Err(error);
            }
            self.moved = true;
        }
        let mut controllers = Vec::new();
        if version == Version::V2 {
            let there = read(&folder.join("cgroup.controllers"));
            for controller in Controller::ALL
                .into_iter()
                .filter(|one| there.split_whitespace().any(|name| name == one.as_str()))
            {
                let wanted = format!("+{}", controller.as_str());
                let given =
                    group::write(&folder, "cgroup.subtree_control", &wanted).and_then(|()| {
                        group::write(&folder.join(UPSTREAMS), "cgroup.subtree_control", &wanted)
                    });
                match given {
                    Ok(()) => controllers.push(controller),
                    Err(error) => self.missing = Some(format!("{}: {error}", controller.as_str())),
                }
            }
        }
        self.hierarchies.push(Hierarchy {
            folder,
            version,
            controllers,
        });
        Ok(())
    }

    /// Controllers of the first version have hierarchies of their own. A group is ours there if it
    /// is of the same name as the one that is delegated.
    fn add_controllers_of_v1(&mut self, own_groups: &[OwnGroup]) {
        for place in own_groups.iter().filter(|place| {
            place.version == Version::V1 && place.writable && place.path == self.path
        }) {
            let names = |controller: &Controller| {
                place
                    .controllers
                    .iter()
                    .any(|name| name == controller.as_str())
            };
            let mut controllers: Vec<Controller> =
                Controller::ALL.into_iter().filter(names).collect();
            controllers.retain(|one| !self.controllers().any(|have| have == *one));
            let counts = place.controllers.iter().any(|name| name == "cpuacct");
            if (!controllers.is_empty() || counts)
                && may_write(&place.folder)
                && make(&place.folder.join(UPSTREAMS)).is_ok()
            {
                self.hierarchies.push(Hierarchy {
                    folder: place.folder.clone(),
                    version: Version::V1,
                    controllers,
                });
            }
        }
    }

    /// Makes a group of that name, which has to be a [`safe_name`].
    ///
    /// # Errors
    /// `AlreadyExists`, or the kernel's own.
    pub fn make(&self, name: &str) -> io::Result<Group> {
        let mut group = Group::none();
        for hierarchy in &self.hierarchies {
            let folder = hierarchy.folder.join(UPSTREAMS).join(name);
            if let Err(error) =
                group.make_in(folder, hierarchy.version, hierarchy.controllers.clone())
            {
                group.remove().unwrap_or_default();
                return Err(error);
            }
        }
        Ok(group)
    }

    /// The groups of servers that are there, whoever made them.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut names = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            let entries = fs::read_dir(hierarchy.folder.join(UPSTREAMS))
                .into_iter()
                .flatten()
                .flatten();
            names.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.file_name()),
            );
        }
        let group = |name: std::ffi::OsString| {
            let mut group = Group::none();
            for hierarchy in &self.hierarchies {
                let folder = hierarchy.folder.join(UPSTREAMS).join(&name);
                if folder.is_dir() {
                    group.found_in(folder, hierarchy.version);
                }
            }
            group
        };
        names.into_iter().map(group).collect()
    }

    /// The controllers that groups have.
    pub fn controllers(&self) -> impl Iterator<Item = Controller> {
        self.hierarchies
            .iter()
            .flat_map(|hierarchy| hierarchy.controllers.iter().copied())
    }

    /// As the kernel names what is ours.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why a controller that the kernel has is not ours.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// Whether this process was put into its own group by us; who goes on in our place has to be
    /// told ([`Tree::resume`]).
    #[must_use]
    pub const fn has_moved(&self) -> bool {
        self.moved
    }

    /// Goes on for who has moved us.
    pub const fn resume(&mut self, moved: bool) {
        self.moved |= moved;
    }

    /// Leaves everything as it was found. What is not empty stays.
    pub fn leave(self) {
        for hierarchy in &self.hierarchies {
            let folder = &hierarchy.folder;
            if fs::remove_dir(folder.join(UPSTREAMS)).is_err() || hierarchy.version == Version::V1 {
                continue;
            }
            for controller in &hierarchy.controllers {
                group::write(
                    folder,
                    "cgroup.subtree_control",
                    &format!("-{}", controller.as_str()),
                )
                .unwrap_or_default();
            }
        }
        if let Some(main) = self.hierarchies.first().filter(|_| self.moved)
            && group::write(&main.folder, "cgroup.procs", "0").is_ok()
        {
            fs::remove_dir(main.folder.join(OWN)).unwrap_or_default();
        }
    }
}

/// Everything that is mounted of control groups, for who is not to write there.
#[must_use]
pub fn group_mounts() -> Vec<PathBuf> {
    layout::mount_points(&read(Path::new("/proc/self/mountinfo")))
}

/// A name for a group, of a server's: no file of the kernel's is called so, and no path leads out
/// of it. Two servers may get the same.
#[must_use]
pub fn safe_name(server: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
            c
        } else {
            '_'
        }
    };
    server.chars().map(safe).take(LONGEST).collect()
}

/// The own group, or the one above it if it is [`OWN`], in the first hierarchy where it is
/// delegated: with the folder, the path, and whether we are in [`OWN`] already.
fn delegated(own_groups: &[OwnGroup]) -> Result<(&OwnGroup, PathBuf, String, bool), String> {
    let unified = own_groups.iter().find(|place| place.version == Version::V2);
    let named = own_groups.iter().find(|place| {
        place
            .controllers
            .iter()
            .any(|name| name.starts_with("name="))
    });
    let mut reasons = Vec::new();
    for place in [unified, named].into_iter().flatten() {
        let inner = place
            .folder
            .parent()
            .zip(place.path.strip_suffix(OWN))
            .filter(|_| place.folder.ends_with(OWN));
        let outer = inner.map(|(folder, path)| {
            (
                folder.to_path_buf(),
                path.trim_end_matches('/').to_owned(),
                true,
            )
        });
        let mut candidates = vec![(place.folder.clone(), place.path.clone(), false)];
        candidates.extend(outer);
        for (folder, path, within) in candidates {
            match is_delegated(&folder, place) {
                Ok(()) => return Ok((place, folder, path, within)),
                Err(reason) => reasons.push(reason),
            }
        }
    }
    Err(reasons
        .into_iter()
        .next()
        .unwrap_or_else(|| "no hierarchy of control groups is mounted here".to_owned()))
}

fn is_delegated(folder: &Path, place: &OwnGroup) -> Result<(), String> {
    let shown = folder.display();
    let marked = ["user.delegate", "trusted.delegate"]
        .iter()
        .any(|name| is_marked(folder, name));
    if !marked && !is_left_to_us(folder, place.version) {
        return Err(format!("{shown} is not delegated to ggend"));
    }
    if !place.writable {
        return Err(format!("{shown} is delegated, but mounted read-only"));
    }
    if !may_write(folder) {
        return Err(format!(
            "{shown} is delegated, but not writable for uid {}",
            super::own_uid()
        ));
    }
    Ok(())
}

/// The first version knows no marks that a user could read. There a group counts as ours if it is
/// our user's and nobody else is in it: a terminal's group is the user's too, with a shell in it.
fn is_left_to_us(folder: &Path, version: Version) -> bool {
    let own = super::own_uid();
    let alone = || {
        let us = std::process::id();
        read(&folder.join("cgroup.procs"))
            .lines()
            .all(|pid| pid.parse() == Ok(us) || pid.parse().is_ok_and(|pid: u32| parent(pid) == us))
    };
    version == Version::V1
        && own != 0
        && fs::metadata(folder).is_ok_and(|found| found.uid() == own)
        && alone()
}

fn parent(pid: u32) -> u32 {
    super::process(pid).map_or(0, |process| process.parent)
}

/// Set by service managers on what they delegate (<https://systemd.io/CGROUP_DELEGATION>).
#[cfg(target_os = "linux")]
fn is_marked(folder: &Path, name: &str) -> bool {
    let mut value = [0; 8];
    rustix::fs::getxattr(folder, name, &mut value).is_ok_and(|length| value[..length] == *b"1")
}

#[cfg(not(target_os = "linux"))]
fn is_marked(_: &Path, _: &str) -> bool {
    false
}

fn may_write(folder: &Path) -> bool {
    let may = |path: &Path, flags| nix::unistd::access(path, flags).is_ok();
    use nix::unistd::AccessFlags;
    may(folder, AccessFlags::W_OK | AccessFlags::X_OK)
        && may(&folder.join("cgroup.procs"), AccessFlags::W_OK)
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(safe_name("git-hub_2"), "git-hub_2");
        assert_eq!(safe_name("../../cgroup.procs"), "______cgroup_procs");
        assert_eq!(safe_name("naïve server\n"), "na_ve_server_");
        assert_eq!(safe_name(&"x".repeat(300)).len(), LONGEST);
    }

    #[test]
    fn what_nobody_has_delegated_is_left_alone() {
        // A folder that is no group is nobody's, for root as well.
        let folder = tempfile::tempdir().unwrap();
        let place = |version| OwnGroup {
            version,
            controllers: vec!["name=systemd".to_owned()],
            path: "/a".to_owned(),
            folder: folder.path().to_path_buf(),
            writable: true,
        };
        let Err(reason) = delegated(&[place(Version::V2)]) else {
            panic!("taken")
        };
        assert!(reason.ends_with("is not delegated to ggend"), "{reason}");
        assert_eq!(
            delegated(&[]).err().unwrap(),
            "no hierarchy of control groups is mounted here"
        );
    }
}
