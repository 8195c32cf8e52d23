//! Secrets of an imported entry: each moves into a credential, a file that its owner alone may read;
//! and how the entry is laid out.

use crate::config::{
    LoadOptions,
    files::permissions,
    load::CREDENTIALS,
    secrets::{credentials::PREFIX, redact},
};
use serde_json::{Map, Value};
use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Keys of an entry in the order in which they are written.
const ORDER: [&str; 8] = [
    "type", "command", "args", "env", "envFile", "cwd", "url", "headers",
];

/// A secret that moves into a credential.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// Where it stood: `env.TOKEN`.
    pub key: String,
    /// The credential's file.
    pub path: PathBuf,
    /// The secret.
    pub value: String,
}

impl Moved {
    /// Its name among the variables.
    pub(super) fn variable(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{PREFIX}{name}")
    }
}

/// Takes the secrets out of an entry. What may be one and stays is noted.
pub(super) fn take(
    options: &LoadOptions,
    target: &Path,
    server: &str,
    entry: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) -> Vec<Moved> {
    let folder = match &options.home {
        Some(home) if !target.starts_with(&options.etc) => home.join(CREDENTIALS),
        _ => options.etc.join("credentials"),
    };
    let mut taking = Taking {
        folder,
        server,
        moved: Vec::new(),
    };
    for map in ["env", "headers"] {
        taking.named(map, entry);
    }
    taking.arguments(entry);
    if let Some(url) = entry.get("url").and_then(Value::as_str)
        && redact::text(url) != url
    {
        notes.push("the address may hold a secret, which stays in the file".to_owned());
    }
    taking.moved
}

/// The secrets of one entry on their way out.
struct Taking<'a> {
    /// Where they go.
    folder: PathBuf,
    server: &'a str,
    moved: Vec<Moved>,
}

impl Taking<'_> {
    /// Takes one, and gives the variable that stands for it.
    fn put(&mut self, key: String, name: &str, value: &str) -> String {
        let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name: String = format!("{}-{name}", self.server)
            .chars()
            .map(|c| if known(c) { c } else { '_' })
            .collect();
        let path = free(&self.folder, &name, value);
        let found = Moved {
            key,
            path,
            value: value.to_owned(),
        };
        let variable = format!("${{{}}}", found.variable());
        self.moved.push(found);
        variable
    }

    /// Those among the values of `env` or `headers`.
    fn named(&mut self, map: &str, entry: &mut Map<String, Value>) {
        let values = entry.get_mut(map).and_then(Value::as_object_mut);
        for (name, value) in values.into_iter().flatten() {
            let Value::String(text) = value else { continue };
            let (before, secret) = split(text);
            if is_secret(name, secret) {
                let variable = self.put(format!("{map}.{name}"), name, secret);
                *text = format!("{before}{variable}");
            }
        }
    }

    /// Those among the arguments: `--name=secret`, or `--name` and then the secret.
    fn arguments(&mut self, entry: &mut Map<String, Value>) {
        let mut option = String::new();
        let values = entry.get_mut("args").and_then(Value::as_array_mut);
        for (index, value) in values.into_iter().flatten().enumerate() {
            let Value::String(text) = value else { continue };
            let (name, secret) = match text.split_once('=') {
                Some((name, secret)) if name.starts_with('-') => {
                    (name.to_owned(), secret.to_owned())
                }
                _ => (option.clone(), text.clone()),
            };
            if is_secret(&name, &secret) {
                let before = text.len() - secret.len();
                let name = name.trim_start_matches('-');
                let variable = self.put(format!("args[{index}]"), name, &secret);
                *text = format!("{}{variable}", &text[..before]);
            }
            option = if text.starts_with("--") {
                text.clone()
            } else {
                String::new()
            };
        }
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    permissions::is_secret(Some(name), value)
        || !value.contains("${") && redact::secret_name(name) && redact::token_like(value)
}

/// `Bearer ` and the like, and what follows.
fn split(text: &str) -> (&str, &str) {
    match text.split_once(' ') {
        Some((scheme, rest))
            if ["bearer", "basic", "token"].contains(&scheme.to_ascii_lowercase().as_str()) =>
        {
            (&text[..=scheme.len()], rest)
        }
        _ => ("", text),
    }
}

/// A name that no credential with another content has.
fn free(folder: &Path, name: &str, value: &str) -> PathBuf {
    let names =
        std::iter::once(name.to_owned()).chain((2..100).map(|number| format!("{name}-{number}")));
    let is_free = |path: &PathBuf| match std::fs::read_to_string(path) {
        Ok(content) => content.trim_end_matches('\n') == value,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    names
        .map(|name| folder.join(name))
        .find(is_free)
        .unwrap_or_else(|| folder.join(name))
}

/// Writes the credentials that are not there yet; the files that were made.
///
/// # Errors
/// Which could not be written; those that were made are taken away again.
pub(super) fn write(all: &[&Moved]) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut made: Vec<PathBuf> = Vec::new();
    for moved in all.iter().filter(|moved| !moved.path.exists()) {
        let folder = moved.path.parent().unwrap_or(Path::new("."));
        let written = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&moved.path)
            })
            .and_then(|mut file| {
                made.push(moved.path.clone());
                writeln!(file, "{}", moved.value)?;
                file.sync_all()
            });
        if let Err(error) = written {
            for path in &made {
                // The first error is the one that matters.
                let _ = std::fs::remove_file(path);
            }
            return Err((moved.path.clone(), error));
        }
    }
    Ok(made)
}

/// An entry as text, its members in lines if the file has lines.
pub(super) fn laid_out(entry: &Map<String, Value>, text: &str) -> String {
    let rank = |key: &str| {
        ORDER
            .iter()
            .position(|known| *known == key)
            .unwrap_or(ORDER.len())
    };
    let mut members: Vec<_> = entry.iter().collect();
    members.sort_by_key(|(key, _)| (rank(key), (*key).clone()));
    let members: Vec<(String, String)> = members
        .into_iter()
        .map(|(key, value)| (key.clone(), inline(value)))
        .collect();
    in_lines(&members, text, 2)
}

/// Members with their JSON, as an object `depth` levels deep in a file.
pub(super) fn in_lines(members: &[(String, String)], text: &str, depth: usize) -> String {
    let pairs = members
        .iter()
        .map(|(key, value)| format!("{}: {value}", Value::from(key.as_str())));
    let pairs: Vec<String> = pairs.collect();
    if !text.contains('\n') {
        return format!("{{ {} }}", pairs.join(", "));
    }
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let unit = crate::config::files::edit::unit(text);
    let (margin, inner) = (unit.repeat(depth), unit.repeat(depth + 1));
    format!(
        "{{{end}{inner}{}{end}{margin}}}",
        pairs.join(&format!(",{end}{inner}"))
    )
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(inline).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(members) if !members.is_empty() => {
            let members = members
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), inline(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
