//! The rules of ARCHITECTURE.md: which room imports which, where `unsafe` may be, how long
//! a file may grow.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A folder (or file), and what may not be imported there: `crate::…` modules of the same crate, or
/// other crates.
const FORBIDDEN: [(&str, &[&str]); 20] = [
    ("wire/src", &["ggen_mcp", "ggend", "tokio", "hyper", "nix"]),
    (
        "mcp/src",
        &[
            "ggend",
            "tokio",
            "hyper",
            "nix",
            "std::net",
            "std::fs",
            "std::process",
        ],
    ),
    (
        "ctl/src",
        &["ggend", "ggen_mcp", "tokio", "hyper", "figment"],
    ),
    (
        "daemon/src/config",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::shim",
            "crate::ipc",
            "tokio",
        ],
    ),
    (
        "daemon/src/auth",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::shim",
            "crate::ipc",
            "tokio",
            "hyper",
        ],
    ),
    (
        "daemon/src/tls",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::shim",
            "crate::auth",
            "tokio",
            "hyper",
        ],
    ),
    (
        "daemon/src/tls/serve.rs",
        &[
            "std::fs",
            "std::net",
            "super::files",
            "super::make",
            "crate::tls::files",
            "crate::tls::make",
        ],
    ),
    (
        "daemon/src/tls/certificate.rs",
        &["std::fs", "super::files", "super::make"],
    ),
    (
        "daemon/src/supervisor",
        &[
            "crate::worker",
            "crate::shim",
            "axum",
            "hyper",
            "hyper_util",
            "rustls",
            "ggen_mcp",
            "crate::tls::serve",
            "crate::tls::client",
        ],
    ),
    (
        "daemon/src/worker",
        &[
            "crate::supervisor",
            "crate::shim",
            "figment",
            "std::process::Command",
            "crate::tls::files",
            "crate::tls::make",
            "crate::tls::client",
            "crate::tls::command",
        ],
    ),
    (
        "daemon/src/shim",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::config",
            "tokio",
        ],
    ),
    (
        "daemon/src/stdio_client",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::shim",
            "crate::config",
            "crate::ipc",
            "axum",
            "rustls",
        ],
    ),
    (
        "daemon/src/ipc",
        &["crate::supervisor", "crate::worker", "crate::shim"],
    ),
    (
        "daemon/src/log",
        &["crate::supervisor", "crate::worker", "crate::shim"],
    ),
    (
        "daemon/src/metrics",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::shim",
            "crate::config",
        ],
    ),
    (
        "daemon/src/platform",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::config",
            "crate::ipc",
            "crate::shim",
            "ggen_wire",
            "ggen_mcp",
        ],
    ),
    (
        "daemon/src/probe",
        &[
            "crate::supervisor::Supervisor",
            "crate::worker",
            "crate::shim",
            "crate::http3_probe",
            "crate::http3",
            "tokio",
            "hyper",
            "axum",
            "rustls",
            "s2n_quic",
            "h3",
        ],
    ),
    (
        "daemon/src/http3",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::config",
            "crate::ipc",
            "crate::http3_probe",
            "crate::probe",
            "hyper",
        ],
    ),
    (
        "daemon/src/http3_probe",
        &[
            "crate::supervisor",
            "crate::worker",
            "crate::shim",
            "crate::config",
            "crate::probe",
            "crate::auth",
            "hyper",
            "axum",
            "std::fs",
        ],
    ),
    (
        "daemon/src/check.rs",
        &["crate::supervisor", "crate::worker", "crate::shim"],
    ),
];

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Every source file below, tests left out.
pub(super) fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_path_buf()];
    }
    let entries =
        fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let mut found: Vec<PathBuf> = entries
        .flat_map(|entry| sources(&entry.unwrap().path()))
        .collect();
    found.retain(|path| {
        let inside = path.strip_prefix(root()).unwrap();
        let is_test = inside.components().any(|part| part.as_os_str() == "tests")
            || path.to_string_lossy().ends_with("tests.rs");
        path.extension().is_some_and(|extension| extension == "rs") && !is_test
    });
    found.sort();
    found
}

/// The paths that a file names, as far as two and three steps: `crate::worker`, `std::net`,
/// `std::process::Command`. Groups are taken apart.
fn paths(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let code = code
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let mut found = BTreeSet::new();
    for statement in code.split(';') {
        if let Some(import) = statement.rsplit_once("use ").map(|(_, import)| import) {
            expand("", import, &mut found);
        }
    }
    // A single word may be anything; with `::` behind it, it is a crate or a module.
    for word in code
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains("::"))
    {
        expand("", word, &mut found);
    }
    found
}

fn expand(prefix: &str, import: &str, found: &mut BTreeSet<String>) {
    let import: String = import.split_whitespace().collect();
    let Some((head, group)) = import.split_once('{') else {
        let whole = format!("{prefix}{import}");
        let steps: Vec<&str> = whole.split("::").collect();
        found.extend((1..=steps.len().min(3)).map(|count| steps[..count].join("::")));
        return;
    };
    let (mut depth, mut start) = (0, 0);
    let group = group.strip_suffix('}').unwrap_or(group);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{prefix}{head}"), &group[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn imports_are_taken_apart() {
    let found = paths(
        "use crate::{\n    config::{self, Level},\n    worker,\n};\nfn f() { hyper::go(std::net::lookup()); }\n// use tokio;\n",
    );
    for path in [
        "crate::config",
        "crate::config::Level",
        "crate::worker",
        "hyper",
        "std::net",
    ] {
        assert!(found.contains(path), "{path} in {found:?}");
    }
    assert!(!found.contains("tokio"));
}

#[test]
fn nobody_imports_what_the_table_forbids() {
    for (room, forbidden) in FORBIDDEN {
        let files = sources(&root().join(room));
        assert!(!files.is_empty(), "{room} is empty");
        for file in files {
            let found = paths(&fs::read_to_string(&file).unwrap());
            for path in forbidden {
                assert!(
                    !found.contains(*path),
                    "{} uses {path}, which has no place in {room}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn files_are_short_explained_and_safe() {
    for room in [
        "wire/src",
        "mcp/src",
        "ctl/src",
        "daemon/src",
        "tests/src",
        "tests/fixture/src",
    ] {
        for file in sources(&root().join(room)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                text.starts_with("//! "),
                "{} does not say what it is",
                file.display()
            );
            assert!(
                text.lines().count() <= 500,
                "{} has more than 500 lines",
                file.display()
            );
            let in_platform = file.components().any(|part| part.as_os_str() == "platform");
            assert!(
                in_platform || !text.contains("allow(unsafe_code"),
                "{} allows unsafe code",
                file.display()
            );
        }
    }
}
