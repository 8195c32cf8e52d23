//! Names towards clients. `[A-Za-z0-9_-]`, at most 64 characters: the strictest of what model
//! providers take. Nothing is ever routed by taking a name apart; the table in [`crate::upstream::view`] says
//! whose it is.

use sha2::{Digest, Sha256};

/// Longest exposed name.
pub const LONGEST: usize = 64;

/// Longest key of a server.
const LONGEST_KEY: usize = 32;

/// The keys of servers in names and URIs: lower case letters, digits and single dashes, at most 32.
/// Where that cuts a name, or gives two servers the same key, the key ends in `--` and eight
/// characters of a digest of the name; only a server that is called exactly like the key has it
/// plain. So keys depend on the configured names alone, and no two servers share one.
#[must_use]
pub fn keys(servers: &[&str]) -> Vec<String> {
    let plain: Vec<String> = servers.iter().map(|server| plain_key(server)).collect();
    let is_taken = |key: &String, server: &str| {
        let others = plain.iter().zip(servers);
        others
            .filter(|(other, name)| *other == key && **name != server)
            .count()
            > 0
    };
    let each = plain.iter().zip(servers).map(|(key, server)| {
        let is_cut = key.len() > LONGEST_KEY || key.is_empty();
        if is_cut || key != server && is_taken(key, server) {
            let room = LONGEST_KEY - 10;
            let head: String = key.chars().take(room).collect();
            let head = if head.is_empty() {
                "server"
            } else {
                head.trim_end_matches('-')
            };
            format!("{head}--{}", digest(server, "", 8))
        } else {
            key.clone()
        }
    });
    each.collect()
}

/// The key of a server without regard to others.
#[must_use]
pub fn key(server: &str) -> String {
    keys(&[server]).remove(0)
}

/// A name in lower case letters, digits and single dashes; of any length, perhaps empty.
fn plain_key(server: &str) -> String {
    let mut key = String::with_capacity(server.len());
    for c in server.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => key.push(c),
            _ if !key.is_empty() && !key.ends_with('-') => key.push('-'),
            _ => {}
        }
    }
    key.truncate(key.trim_end_matches('-').len());
    key
}

/// The exposed name of a tool or prompt: `<key>__<name>`. What is too long, or has characters that
/// are not allowed, ends in eight characters of a digest of both names, so that it stays the same
/// over restarts and differs from its neighbours.
#[must_use]
pub fn exposed(key: &str, name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let whole = format!("{key}__{clean}");
    if whole.len() <= LONGEST && clean == name {
        whole
    } else {
        shortened(key, name)
    }
}

/// The exposed name with its digest, for names that are too long or had to be changed.
#[must_use]
fn shortened(key: &str, name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let room = LONGEST - 9;
    let head: String = format!("{key}__{clean}").chars().take(room).collect();
    format!("{head}_{}", digest(key, name, 8))
}

/// Whether an exposed name had to be cut or changed.
#[must_use]
pub fn is_shortened(exposed: &str, name: &str) -> bool {
    !exposed.ends_with(name)
}

/// The first characters of the base-32 digest of two texts.
fn digest(one: &str, two: &str, characters: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::new()
        .chain_update(one)
        .chain_update([0])
        .chain_update(two)
        .finalize();
    hash.iter()
        .take(characters)
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect()
}

/// A resource's URI in the view of all servers: `<key>+<uri>`; `ui://…` keeps its scheme, because
/// clients look at it.
#[must_use]
pub fn exposed_uri(key: &str, uri: &str) -> String {
    match uri.strip_prefix("ui://") {
        Some(rest) => format!("ui://{key}+{rest}"),
        None => format!("{key}+{uri}"),
    }
}

/// Takes an exposed URI apart: the key and the original URI.
#[must_use]
pub fn original_uri(exposed: &str) -> Option<(&str, String)> {
    if let Some(rest) = exposed.strip_prefix("ui://") {
        let (key, rest) = rest.split_once('+')?;
        return Some((key, format!("ui://{rest}")));
    }
    let (key, uri) = exposed.split_once('+')?;
    Some((key, uri.to_owned()))
}

/// A task in the view of all servers: `<key>~<id>`.
#[must_use]
pub fn exposed_task(key: &str, id: &str) -> String {
    format!("{key}~{id}")
}

/// Takes the exposed id of a task apart: the key and the server's own id.
#[must_use]
pub fn original_task(exposed: &str) -> Option<(&str, &str)> {
    exposed.split_once('~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_short_and_stable() {
        assert_eq!(key("My Server_2!"), "my-server-2");
        assert_eq!(exposed("github", "search_issues"), "github__search_issues");
        let long = exposed("github", &"x".repeat(80));
        assert_eq!(long.len(), LONGEST);
        assert_eq!(long, exposed("github", &"x".repeat(80)));
        assert_ne!(exposed("a", "x.y"), exposed("a", "x/y"));
    }

    #[test]
    fn servers_whose_names_look_alike_have_keys_of_their_own() {
        let names = ["my.server", "my server", "github", "GitHub", "other"];
        let own = keys(&names);
        assert!(own[0].starts_with("my-server--") && own[1].starts_with("my-server--"));
        assert_ne!(own[0], own[1]);
        assert_eq!((own[2].as_str(), own[4].as_str()), ("github", "other"));
        assert!(own[3].starts_with("github--"));
        let (one, two) = ("x".repeat(32) + "-one", "x".repeat(32) + "-two");
        assert_ne!(key(&one), key(&two));
        assert_eq!(key(&one), keys(&[&two, &one])[1]);
        assert!(key("\u{4e2d}").starts_with("server--"));
    }

    proptest! {
        #[test]
        fn no_two_servers_share_a_key(names in proptest::collection::btree_set("[aA.b _-]{0,40}", 1..12)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let own = keys(&names);
            let different: std::collections::BTreeSet<_> = own.iter().collect();
            prop_assert_eq!(different.len(), names.len());
            for key in &own {
                prop_assert!(!key.is_empty() && key.len() <= LONGEST_KEY && !key.contains('_'));
            }
            let mut turned = names.clone();
            turned.reverse();
            let mut back = keys(&turned);
            back.reverse();
            prop_assert_eq!(own, back);
        }

        #[test]
        fn every_name_is_legal(server in "\\PC{0,80}", tool in "\\PC{0,120}") {
            let name = exposed(&key(&server), &tool);
            prop_assert!(name.len() <= LONGEST && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{name}");
        }

        #[test]
        fn uris_come_back(server in "[a-zA-Z0-9 _-]{1,40}", uri in "(ui://|file:///|test:)[a-z+/]{0,30}") {
            let key = key(&server);
            let exposed = exposed_uri(&key, &uri);
            prop_assert_eq!(original_uri(&exposed), Some((key.as_str(), uri)));
        }
    }
}
