//! Finds the own control group: `/proc/self/cgroup` names it in each hierarchy,
//! `/proc/self/mountinfo` says where the hierarchies are mounted (`cgroups(7)`). Pure: both texts
//! are arguments.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Which interface a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// One hierarchy a controller, or a named one without any.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The own group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnGroup {
    pub(super) version: Version,
    /// V1: its controllers, or `name=systemd`. V2 says elsewhere what it has.
    pub(super) controllers: Vec<String>,
    /// As the kernel names the group.
    pub(super) path: String,
    /// The folder by which we reach it.
    pub(super) folder: PathBuf,
    /// Whether it is mounted for writing.
    pub(super) writable: bool,
}

/// A mounted hierarchy.
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    root: String,
    point: PathBuf,
    writable: bool,
    /// Of the file system, not of the mount: that is where V1 names its controllers.
    options: Vec<String>,
}

/// The own group in each hierarchy that is mounted.
pub(super) fn own_groups(own: &str, mountinfo: &str) -> Vec<OwnGroup> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
    own.lines()
        .filter_map(|line| place(line, &mounts))
        .collect()
}

/// Every folder at which a hierarchy is mounted.
pub(super) fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(mount)
        .map(|mount| mount.point)
        .collect()
}

/// `4:memory:/some/group`, `1:name=systemd:/some/group`, `0::/some/group`.
fn place(line: &str, mounts: &[Mount]) -> Option<OwnGroup> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let controllers: Vec<String> = controllers
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let version = if number == "0" && controllers.is_empty() {
        Version::V2
    } else {
        Version::V1
    };
    // Above the root of our cgroup namespace, or removed under our feet.
    if path.split('/').any(|step| step == "..") || path.ends_with(" (deleted)") {
        return None;
    }
    let fits = |mount: &&Mount| {
        mount.version == version && controllers.iter().all(|name| mount.options.contains(name))
    };
    let below = |mount: &Mount| {
        below(path, &mount.root).map(|rest| {
            (
                mount.root.len(),
                mount.writable,
                mount.point.join(rest).components().collect(),
            )
        })
    };
    // The nearest mount: what a service manager opens for us lies within what it closes.
    let (_, writable, folder) = mounts
        .iter()
        .filter(fits)
        .filter_map(below)
        .max_by_key(|(near, writable, _)| (*near, *writable))?;
    Some(OwnGroup {
        version,
        controllers,
        path: path.to_owned(),
        folder,
        writable,
    })
}

fn below<'a>(path: &'a str, root: &str) -> Option<&'a Path> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    if rest.is_empty() || rest.starts_with('/') {
        Some(Path::new(rest.trim_start_matches('/')))
    } else {
        None
    }
}

/// `36 35 98:0 /root /point rw,noatime master:1 - cgroup2 cgroup2 rw,nsdelegate`
fn mount(line: &str) -> Option<Mount> {
    let (own, system) = line.split_once(" - ")?;
    let mut system = system.split(' ');
    let version = match system.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let superblock = options(system.nth(1)?);
    let mut own = own.split(' ').skip(3);
    let (root, point, flags) = (own.next()?, own.next()?, options(own.next()?));
    let is_writable = |flags: &[String]| !flags.iter().any(|flag| flag == "ro");
    Some(Mount {
        version,
        root: unescaped(root).to_string_lossy().into_owned(),
        point: PathBuf::from(unescaped(point)),
        writable: is_writable(&flags) && is_writable(&superblock),
        options: superblock,
    })
}

/// Spaces and the like are written `\040` there.
fn unescaped(text: &str) -> OsString {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, others @ ..] = rest {
        let number = rest
            .get(1..4)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        if let (b'\\', Some(byte)) = (first, number) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(own: &str, mountinfo: &str) -> Vec<(Version, String, String, bool)> {
        let shown = |place: OwnGroup| {
            (
                place.version,
                place.controllers.join(","),
                place.folder.display().to_string(),
                place.writable,
            )
        };
        own_groups(own, mountinfo).into_iter().map(shown).collect()
    }

    #[test]
    fn unified_with_a_read_only_hierarchy_and_one_writable_group() {
        let own = "0::/system.slice/ggend.service/supervisor\n";
        let mountinfo = "23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
            30 23 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n\
            61 30 0:26 /system.slice/ggend.service /sys/fs/cgroup/system.slice/ggend.service rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
            62 30 0:26 /system.slice/ggend.serv /elsewhere rw - cgroup2 cgroup2 rw\n";
        let folder = "/sys/fs/cgroup/system.slice/ggend.service/supervisor".to_owned();
        assert_eq!(
            found(own, mountinfo),
            [(Version::V2, String::new(), folder, true)]
        );
        assert_eq!(mount_points(mountinfo).len(), 3);
    }

    #[test]
    fn hybrid_and_legacy_have_one_place_for_each_hierarchy() {
        let own = "12:pids:/a.slice/b.service\n4:cpu,cpuacct:/\n1:name=systemd:/a.slice/b.service\n0::/a.slice/b.service\n";
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            33 31 0:30 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd\n\
            34 31 0:31 / /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n\
            35 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let at = |version, controllers: &str, folder: &str, writable| {
            (version, controllers.to_owned(), folder.to_owned(), writable)
        };
        let hybrid = [
            at(
                Version::V1,
                "pids",
                "/sys/fs/cgroup/pids/a.slice/b.service",
                false,
            ),
            at(
                Version::V1,
                "cpu,cpuacct",
                "/sys/fs/cgroup/cpu,cpuacct",
                true,
            ),
            at(
                Version::V1,
                "name=systemd",
                "/sys/fs/cgroup/systemd/a.slice/b.service",
                true,
            ),
            at(
                Version::V2,
                "",
                "/sys/fs/cgroup/unified/a.slice/b.service",
                true,
            ),
        ];
        assert_eq!(found(own, mountinfo), hybrid);
        // The same host without the second version: the fourth place is not there.
        let legacy: String = mountinfo
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(found(own, &legacy), hybrid[..3]);
    }

    #[test]
    fn nothing_mounted_out_of_the_namespace_or_removed_is_no_place() {
        let mountinfo = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            found("0::/x\n", "23 1 254:1 / / rw - ext4 /dev/vda1 rw\n"),
            []
        );
        assert_eq!(found("0::/../other\n", mountinfo), []);
        assert_eq!(found("0::/x (deleted)\n", mountinfo), []);
        assert_eq!(found("not a line\n\n0:\n", "\nnor this - cgroup2\n"), []);
    }

    #[test]
    fn a_container_sees_its_own_root_and_odd_names_are_read() {
        let mountinfo = r"30 23 0:26 / /with\040space\134 rw - cgroup2 cgroup2 rw";
        assert_eq!(found("0::/", mountinfo)[0].2, r"/with space\");
        assert_eq!(found("0::/a:b", mountinfo)[0].2, r"/with space\/a:b");
    }
}
