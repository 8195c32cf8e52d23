//! The pages under `docs/` say what the code does: every key with its default, every metric that a daemon shows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use ggend::config::{Config, leaves};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::Path};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// First cell, without its backticks, to the second of every row of every table.
fn rows(page: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.trim_matches('`').to_owned()))
    };
    page.lines().filter_map(row).collect()
}

fn with(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, key| Value::Object(Map::from_iter([(key.to_owned(), inner)])))
}

#[test]
fn every_key_is_explained_with_its_default() {
    let page = page("configuration.md");
    let rows = rows(&page);
    for leaf in leaves() {
        let default = rows.get(leaf).unwrap_or_else(|| panic!("docs/configuration.md has no row for {leaf}"));
        if default != "–" {
            let value = serde_json::from_str(default).unwrap_or_else(|error| panic!("{leaf}: {default}: {error}"));
            let config: Config = serde_json::from_value(with(leaf, value)).unwrap();
            assert_eq!(config, Config::default(), "docs/configuration.md: {leaf} is not {default} by default");
        }
    }
    for name in rows.keys().filter(|name| name.contains('.')) {
        assert!(leaves().contains(name), "docs/configuration.md explains {name}, which no configuration has");
    }
}

#[test]
fn every_key_of_an_entry_is_explained() {
    let rows = rows(&page("configuration.md"));
    for entry in [
        json!({"command": "c", "args": [], "env": {}, "cwd": "/", "max_restarts": 1}),
        json!({"type": "http", "url": "http://127.0.0.1:1/mcp", "headers": {}}),
    ] {
        let config: Config = serde_json::from_value(json!({"mcpServers": {"one": entry}})).unwrap();
        let shown = serde_json::to_value(&config.mcp_servers["one"]).unwrap();
        for key in shown.as_object().unwrap().keys().chain(entry.as_object().unwrap().keys()) {
            assert!(rows.contains_key(key), "docs/configuration.md has no row for {key} of an entry");
        }
    }
}
