//! The part of ARCHITECTURE.md's table that manifests and words tell: which crate may depend on
//! what, who may look at a clock, spawn, open files or be unsafe. Which module imports which is
//! held by `rooms.rs`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// The names in one table of a manifest.
fn table(manifest: &str, name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| line.trim() != format!("[{name}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let names = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().trim_end_matches(".workspace").to_owned());
    names.filter(|name| !name.starts_with('#')).collect()
}

/// The source files below, without tests, and without the comments in them.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let (mut places, mut found) = (vec![root().join(room)], Vec::new());
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(
                fs::read_dir(&place)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if place.extension().is_some_and(|extension| extension == "rs")
            && !place
                .strip_prefix(root().join(room))
                .unwrap()
                .to_string_lossy()
                .contains("tests")
        {
            let text = fs::read_to_string(&place).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            found.push((place.clone(), lines.collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(!found.is_empty(), "{room} is empty");
    found
}

#[track_caller]
fn nowhere(room: &str, words: &[&str]) {
    for (file, text) in code(room) {
        for word in words {
            assert!(
                !text.contains(word),
                "{} has `{word}`, which has no place in {room}",
                file.display()
            );
        }
    }
}

#[test]
fn crates_depend_on_what_their_room_allows() {
    let allowed = |manifest: &str, names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let more: Vec<_> = table(manifest, "dependencies")
            .difference(&names)
            .cloned()
            .collect();
        assert!(
            more.is_empty(),
            "{manifest} depends on {more:?}; if it must, say so in ARCHITECTURE.md and here"
        );
    };
    allowed("wire/Cargo.toml", &["serde", "serde_json", "thiserror"]);
    allowed(
        "mcp/Cargo.toml",
        &[
            "ggen-wire",
            "base64",
            "bytes",
            "chacha20poly1305",
            "governor",
            "memchr",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "unicode-normalization",
        ],
    );
    allowed(
        "ctl/Cargo.toml",
        &[
            "ggen-wire",
            "clap",
            "serde",
            "serde_json",
            "nix",
            "clap_complete",
            "ratatui",
        ],
    );
    allowed(
        "tests/Cargo.toml",
        &[
            "ggen-wire",
            "bytes",
            "h3",
            "h3-quinn",
            "http",
            "nix",
            "quinn",
            "rcgen",
            "rustls",
            "serde_json",
            "tempfile",
            "tokio",
            "tungstenite",
        ],
    );
    for own in ["ggen", "ggend"] {
        assert!(!table("daemon/Cargo.toml", "dependencies").contains(own));
    }
}

#[test]
fn every_dependency_has_its_reason_beside_it() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for line in text
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
    {
        let own = line.contains("path = ");
        assert!(
            line.is_empty() || own || line.contains(" # "),
            "no reason beside: {line}"
        );
    }
}

#[test]
fn the_protocol_has_no_clock_and_no_world() {
    nowhere(
        "mcp/src",
        &[
            "tokio",
            "SystemTime",
            "Instant",
            "std::net",
            "std::fs",
            "std::process",
            "std::thread",
            "std::env",
        ],
    );
    nowhere(
        "wire/src",
        &[
            "SystemTime",
            "Instant::now",
            "std::net",
            "std::fs",
            "std::process",
            "std::thread",
        ],
    );
}

#[test]
fn workers_spawn_nothing_and_open_no_configuration() {
    nowhere(
        "daemon/src/worker",
        &[
            "process::Command",
            "Command::new",
            "figment",
            "config::load",
            "fs::read",
            "File::open",
        ],
    );
    nowhere(
        "daemon/src/supervisor",
        &[
            "axum",
            "hyper",
            "rustls",
            "serde_json::from_slice::<serde_json::Value>",
        ],
    );
}

#[test]
fn only_the_platform_is_unsafe() {
    for room in [
        "wire/src",
        "mcp/src",
        "ctl/src",
        "tests/src",
        "tests/fixture/src",
        "daemon/src",
    ] {
        for (file, text) in code(room)
            .into_iter()
            .filter(|(file, _)| !file.starts_with(root().join("daemon/src/platform")))
        {
            assert!(
                !text.contains("unsafe {") && !text.contains("unsafe fn"),
                "{} is unsafe",
                file.display()
            );
        }
    }
}
