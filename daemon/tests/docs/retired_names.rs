//! Names that the source tree does not use any more. Each was a word of our own where the field has
//! a standard term; ARCHITECTURE.md has the glossary of the few that are left.

use super::rooms::root;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A retired name, and the one that stands for the same thing now.
const TYPES: [(&str, &str); 18] = [
    ("Door", "QuicPort"),
    ("Doors", "listeners"),
    ("Walled", "Sandboxed"),
    ("Walls", "Sandbox"),
    ("Ear", "Reader"),
    ("Whose", "Owner"),
    ("Bag", "the table of descriptors"),
    ("Hello", "ServerInfo"),
    ("Courier", "Outbox"),
    ("Letters", "Outbox"),
    ("Terms", "ExchangeOptions"),
    ("Leash", "RelayGuard"),
    ("Takers", "WebsocketWorkers"),
    ("Fed", "RelayHandle"),
    ("Lobby", "Waiting"),
    ("Parked", "PendingInput"),
    ("Driven", "PolledTask"),
    ("Unsaid", "HeldAnswer"),
];
const MODULES: [(&str, &str); 18] = [
    ("door", "quic_port"),
    ("doors", "listeners"),
    ("walls", "sandbox"),
    ("talk", "channels"),
    ("visit", "http3_probe"),
    ("look", "probe"),
    ("relay", "stdio_client"),
    ("bag", "fd_table"),
    ("books", "counters"),
    ("family", "children"),
    ("ports", "sockets"),
    ("park", "pending_input"),
    ("rounds", "input_required_loop"),
    ("owned", "registry"),
    ("bridged", "legacy_to_modern"),
    ("driven", "modern_to_legacy"),
    ("greet", "handshake"),
    ("mend", "help"),
];
const FUNCTIONS: [(&str, &str); 6] = [
    ("greet", "begin_handshake"),
    ("greeting_failed", "handshake_failed"),
    ("aside", "send_untracked"),
    ("own_request", "outbound_request"),
    ("bridged_told", "tell_listeners"),
    ("end_of_driven", "end_of_polled_task"),
];

/// Words that no function is named with, tests included, and what is said now.
const WORDS: [(&str, &str); 17] = [
    ("bag", "table of descriptors"),
    ("books", "counters, registry"),
    ("courier", "outbox"),
    ("door", "listener, transport"),
    ("doors", "listeners, transports"),
    ("greet", "begin a handshake, initialize"),
    ("leash", "guard"),
    ("lobby", "waiting"),
    ("mend", "help, fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("mouth", "interface"),
    ("parked", "with pending input"),
    ("seat", "socket slot"),
    ("seats", "socket slots"),
    ("takers", "workers that take over"),
    ("walls", "sandbox"),
];

/// Whether a line of code has the words behind each other: `mod door`, `fn greet`.
fn has(line: &str, words: &[&str]) -> bool {
    let found: Vec<&str> = line
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    found.windows(words.len()).any(|window| window == words)
}

/// The source files of a folder, tests included.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of all source files that are code, with the file that they are in.
fn code_lines(folders: &[&str]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for file in folders
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
    {
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.extend(code.map(|line| (file.display().to_string(), line.to_owned())));
    }
    lines
}

#[test]
fn retired_names_are_not_used() {
    let mut found = Vec::new();
    for (file, line) in code_lines(&["wire/src", "mcp/src", "daemon/src", "ctl/src"]) {
        let types = TYPES
            .iter()
            .filter(|(name, _)| has(&line, &["struct", name]) || has(&line, &["enum", name]));
        let modules = MODULES
            .iter()
            .filter(|(name, _)| has(&line, &["mod", name]));
        let functions = FUNCTIONS
            .iter()
            .filter(|(name, _)| has(&line, &["fn", name]));
        for (name, now) in types.chain(modules).chain(functions) {
            found.push(format!("{file}: {name} is {now} now"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_function_is_named_with_a_retired_word() {
    let folders = [
        "wire",
        "mcp/src",
        "mcp/tests",
        "daemon",
        "ctl",
        "tests/src",
        "tests/tests",
        "tests/fixture",
        "tests/bench",
    ];
    let mut found = Vec::new();
    for (file, line) in code_lines(&folders) {
        let Some(name) = function(&line) else {
            continue;
        };
        for (word, now) in WORDS {
            if name.split('_').any(|part| part == word) {
                found.push(format!("{file}: {name}: {word} is {now} now"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The name of the function that a line defines.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    Some(&rest[..end])
}

#[test]
fn words_are_found_as_wholes() {
    assert!(has("pub(crate) mod door;", &["mod", "door"]));
    assert!(has("enum Door {", &["enum", "Door"]));
    assert!(!has("mod doorway;", &["mod", "door"]));
    assert!(!has("let door = 1;", &["mod", "door"]));
    assert_eq!(
        function("    pub(crate) async fn open_all<T>("),
        Some("open_all")
    );
    assert_eq!(function("let some_fn = 1;"), None);
}
