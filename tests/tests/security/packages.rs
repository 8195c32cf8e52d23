//! The scripts of the packages: purging takes what is ours and nothing else.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .canonicalize()
        .unwrap()
}

#[test]
fn purging_takes_what_is_ours_and_nothing_that_is_called_alike() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let file = |path: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
    };
    let ours = [
        "etc/ggen/credentials/token",
        "etc/ggen/environment",
        "etc/ggen/one.environment",
        "run/ggen/ggend.sock",
        "run/ggen-one/ggend.sock",
        "var/lib/ggen/state.db",
        "var/lib/ggen-one/state.db",
    ];
    let others = [
        "etc/ggen/one.json",
        "etc/ggen/linked.json",
        "var/lib/ggen-backup/precious",
        "var/lib/ggen-one-more/precious",
        "run/ggen-other/socket",
        "srv/precious",
    ];
    ours.iter().chain(&others).for_each(|path| file(path));
    symlink(root.join("srv"), root.join("var/lib/ggen-linked")).unwrap();
    let units = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&units).unwrap();
    for unit in ["ggend.service", "ggend@one.service", "other.service"] {
        symlink("/nowhere", units.join(unit)).unwrap();
    }
    let status = Command::new("sh")
        .arg(packaging().join("debian/postrm"))
        .arg("purge")
        .env("DPKG_ROOT", root)
        .status()
        .unwrap();
    assert!(status.success());
    for path in ours {
        assert!(!root.join(path).exists(), "{path} is left");
    }
    for path in others {
        assert!(root.join(path).exists(), "{path} is gone");
    }
    let left: Vec<_> = fs::read_dir(&units)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["other.service"]);
}

#[test]
fn the_containers_user_does_not_own_its_configuration() {
    let text = fs::read_to_string(packaging().join("container/Containerfile")).unwrap();
    let folder = text
        .lines()
        .find(|line| line.contains("install -d") && line.contains("/etc/ggen"))
        .unwrap();
    assert!(folder.contains("-o root -g ggen"), "{folder}");
    let file = text
        .lines()
        .find(|line| line.starts_with("COPY") && line.contains("/etc/ggen/mcp.json"))
        .unwrap();
    assert!(file.contains("--chown=root:"), "{file}");
}
