//! `${VAR}` and `${VAR:-default}` in the texts of `mcpServers`. `${env:VAR}`, which other MCP
//! clients write, is the same as `${VAR}`. `${credential:NAME}` is a credential of systemd
//! (`credentials.rs`), given among the variables. A `$` that no `{` follows, and a `${` that
//! nothing closes, stay as they are. May not: read the process's environment; it is an argument.

use crate::config::secrets::credentials::PREFIX;
use std::collections::BTreeMap;

/// Defaults may hold further variables, this deep.
const MAX_DEPTH: usize = 8;

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq)]
pub(crate) struct Unexpanded {
    /// In words.
    pub what: String,
    /// The variable that is missing.
    pub missing: Option<String>,
}

impl From<String> for Unexpanded {
    fn from(what: String) -> Self {
        Self {
            what,
            missing: None,
        }
    }
}

/// Expands a text. As in a shell, `:-` also replaces an empty value.
pub(crate) fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<String, Unexpanded> {
    expand_at(text, env, 0)
}

/// Whether the text takes anything from the environment.
#[must_use]
pub(crate) fn has_variable(text: &str) -> bool {
    text.find("${")
        .is_some_and(|start| closing(&text[start + 2..]).is_some())
}

fn expand_at(
    text: &str,
    env: &BTreeMap<String, String>,
    depth: usize,
) -> Result<String, Unexpanded> {
    if depth > MAX_DEPTH {
        return Err(format!("defaults are nested more than {MAX_DEPTH} deep").into());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = closing(&rest[start + 2..]) else {
            break;
        };
        out.push_str(&rest[..start]);
        out.push_str(&variable(&rest[start + 2..start + 2 + length], env, depth)?);
        rest = &rest[start + 2 + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(
    inner: &str,
    env: &BTreeMap<String, String>,
    depth: usize,
) -> Result<String, Unexpanded> {
    let (name, default) = inner
        .split_once(":-")
        .map_or((inner, None), |(name, default)| (name, Some(default)));
    let name = name.strip_prefix("env:").unwrap_or(name);
    let credential = name
        .strip_prefix(PREFIX)
        .filter(|name| !name.is_empty() && !name.contains(['/', '$', '{']));
    let valid = credential.is_some()
        || name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        return Err(if name.starts_with("input:") {
            format!(
                "${{{name}}} asks a person, which a daemon cannot do; use an environment variable"
            )
        } else {
            format!("${{{name}}} does not name an environment variable")
        }
        .into());
    }
    match (env.get(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value.clone()),
        (_, Some(default)) => expand_at(default, env, depth + 1),
        (Some(empty), None) => Ok(empty.clone()),
        (None, None) => Err(Unexpanded {
            what: match credential {
                Some(credential) => {
                    format!("credential {credential} is not there and ${{{name}}} has no default")
                }
                None => {
                    format!("environment variable {name} is not set and ${{{name}}} has no default")
                }
            },
            missing: Some(name.to_owned()),
        }),
    }
}

/// Index of the brace that closes a `${`, given what follows it.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '{' if text[..index].ends_with('$') => open += 1,
            '}' if open == 0 => return Some(index),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}
