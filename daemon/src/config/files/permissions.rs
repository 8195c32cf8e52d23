//! Checks who else may read or write a configuration file, because it names programs that the
//! daemon runs and may hold secrets.

use super::{
    position::{Node, Position, Tree},
    read::File,
};
use crate::config::{
    layers::variables,
    problem::{Problem, Severity},
    schema,
    secrets::redact,
};
use ggen_wire::Code;
use serde_json::Value;
use std::{os::unix::fs::MetadataExt, path::Path};

/// Judges the mode of a file and of its folder; what everybody may write is an error for a service.
pub(crate) fn check(file: &File, service: bool, problems: &mut Vec<Problem>) {
    let path = file.path.display();
    let mut open = |path: &Path, what: &str| {
        let severity = if service {
            Severity::Error
        } else {
            Severity::Warning
        };
        let what =
            format!("every user of this host may {what}, and so have the daemon run any program");
        let place = crate::config::problem::Location {
            source: path.display().to_string(),
            at: None,
        };
        problems.push(
            Problem::new(severity, Code::ConfigMode, place, "", what)
                .help(format!("chmod o-w {}", path.display())),
        );
    };
    if file.mode & 0o002 != 0 {
        open(&file.path, "write it");
    }
    // Of the name, and of what a link leads to.
    let target = file.path.canonicalize().unwrap_or_default();
    let mut folders: Vec<&Path> = [file.path.parent(), target.parent()]
        .into_iter()
        .flatten()
        .collect();
    folders.dedup();
    for folder in folders {
        // With the sticky bit, others cannot put another file in its place.
        if std::fs::metadata(folder).is_ok_and(|facts| facts.mode() & 0o1002 == 0o002) {
            open(folder, "replace the configuration in this folder");
        }
    }
    if file.mode & 0o004 != 0
        && let Some((key, at)) = schema::SERVERS
            .iter()
            .filter_map(|key| file.root.member(key))
            .find_map(|section| literal_secret(&section.node))
    {
        let what = "holds a secret, and every user of this host may read the file";
        problems.push(
            Problem::new(
                Severity::Warning,
                Code::ConfigMode,
                file.place(at),
                key,
                what,
            )
            .help(format!("chmod o-r {path}")),
        );
    }
}

/// The first value in the entries that is a secret beyond doubt and does not come from a variable.
/// Stricter than what `redact` hides: a warning about `--key-file /etc/key.pem` would be a false
/// alarm.
fn literal_secret(entries: &Node) -> Option<(String, Position)> {
    entries.members().iter().find_map(|entry| {
        let path = |key: &str| format!("{}.{}.{key}", schema::SERVERS[0], entry.key);
        let named = ["env", "environment", "headers", "http_headers"]
            .iter()
            .filter_map(|key| entry.node.member(key))
            .flat_map(|map| {
                map.node.members().iter().map(|member| {
                    (
                        path(&format!("{}.{}", map.key, member.key)),
                        member.node.at,
                        Some(member.key.as_str()),
                        text(&member.node),
                    )
                })
            });
        let urls = ["url", "serverUrl", "httpUrl", "uri"]
            .iter()
            .filter_map(|key| {
                let url = entry.node.member(key)?;
                Some((path(key), url.node.at, None, text(&url.node)))
            });
        let lists =
            ["args", "command"]
                .iter()
                .filter_map(|key| match &entry.node.member(key)?.node.tree {
                    Tree::Array(items) => Some((key, items)),
                    _ => None,
                });
        let args_of = lists.flat_map(|(key, args)| {
            args.iter().enumerate().map(move |(index, argument)| {
                let option = index
                    .checked_sub(1)
                    .map(|before| text(&args[before]))
                    .filter(|before| before.starts_with("--"));
                (
                    path(&format!("{key}[{index}]")),
                    argument.at,
                    option,
                    text(argument),
                )
            })
        });
        named
            .chain(urls)
            .chain(args_of)
            .find(|(_, _, name, value)| is_secret(*name, value))
            .map(|(path, at, ..)| (path, at))
    })
}

fn text(node: &Node) -> &str {
    match &node.tree {
        Tree::Scalar(Value::String(text)) => text,
        _ => "",
    }
}

/// Names that end so have secrets as values.
const SURE: [&str; 7] = [
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "SECRET",
    "PASSWORD",
    "SECRET_KEY",
    "AUTHORIZATION",
];

/// Whether a value is a secret beyond doubt, by its name or by itself.
pub(crate) fn is_secret(name: Option<&str>, value: &str) -> bool {
    if value.is_empty() || variables::has_variable(value) {
        return false;
    }
    let by_name = |name: &str, value: &str| {
        let name = name
            .trim_start_matches('-')
            .to_ascii_uppercase()
            .replace('-', "_");
        let a_value = value.len() >= 4
            && !value.starts_with(['/', '~', '-'])
            && !["true", "false", "none"].contains(&value);
        a_value && SURE.iter().any(|end| name.ends_with(end))
    };
    let in_itself = value
        .split_once(['=', ':'])
        .is_some_and(|(name, value)| !name.contains(' ') && by_name(name, value.trim()));
    let login = value
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.split_once('@'));
    let login = login.is_some_and(|(user, _)| user.contains(':'));
    name.is_some_and(|name| by_name(name, value))
        || in_itself
        || login
        || redact::known_token(value)
}
