//! Names that the source tree does not use any more. Each was a word of our own where the field has
//! a standard term; ARCHITECTURE.md has the glossary of the few that are left.

use super::rooms::{root, sources};
use std::fs;

/// A retired name, and the one that stands for the same thing now.
const TYPES: [(&str, &str); 16] = [
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
const FUNCTIONS: [(&str, &str); 4] = [
    ("greet", "begin_handshake"),
    ("greeting_failed", "handshake_failed"),
    ("aside", "send_untracked"),
    ("own_request", "outbound_request"),
];

/// Whether a line of code has the words behind each other: `mod door`, `fn greet`.
fn has(line: &str, words: &[&str]) -> bool {
    let found: Vec<&str> = line
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    found.windows(words.len()).any(|window| window == words)
}

#[test]
fn retired_names_are_not_used() {
    let mut found = Vec::new();
    for folder in ["wire/src", "mcp/src", "daemon/src", "ctl/src"] {
        for file in sources(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let types = TYPES
                    .iter()
                    .filter(|(name, _)| has(line, &["struct", name]) || has(line, &["enum", name]));
                let modules = MODULES.iter().filter(|(name, _)| has(line, &["mod", name]));
                let functions = FUNCTIONS
                    .iter()
                    .filter(|(name, _)| has(line, &["fn", name]));
                for (name, now) in types.chain(modules).chain(functions) {
                    found.push(format!("{}: {name} is {now} now", file.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn words_are_found_as_wholes() {
    assert!(has("pub(crate) mod door;", &["mod", "door"]));
    assert!(has("enum Door {", &["enum", "Door"]));
    assert!(!has("mod doorway;", &["mod", "door"]));
    assert!(!has("let door = 1;", &["mod", "door"]));
}
