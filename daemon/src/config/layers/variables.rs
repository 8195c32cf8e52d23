//! Variables in the texts of `mcpServers`: `${VAR}` and `${VAR:-default}`; `${env:VAR}`, which other
//! MCP clients write, is the same as `${VAR}`. `${credential:NAME}` is a credential of systemd
//! (`credentials.rs`), given among the variables. Of editors: `${workspaceFolder}`, `${userHome}`,
//! `${pathSeparator}` and `${input:id}`, which is the credential of that name, else the variable,
//! else the input's default. A `$` that no `{` follows, and a `${` that nothing closes, stay as
//! they are. May not: read the process's environment; it is an argument.

use crate::config::secrets::credentials::PREFIX;
use std::{
    collections::BTreeMap,
    path::{MAIN_SEPARATOR_STR, Path},
};

/// Defaults may hold further variables, this deep.
const MAX_DEPTH: usize = 8;

/// What variables stand for.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The environment, with credentials.
    pub env: &'a BTreeMap<String, String>,
    /// The project's folder.
    pub folder: Option<&'a Path>,
    /// The home directory.
    pub home: Option<&'a Path>,
    /// The file's `inputs`, by id.
    pub inputs: &'a BTreeMap<String, Input>,
}

/// An entry of `inputs`, which an editor asks its user for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Input {
    /// The value that the editor would propose.
    pub default: Option<String>,
    /// It is the result of an editor's command.
    pub is_command: bool,
}

/// Why a text cannot be expanded.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Unexpanded {
    /// In words.
    pub what: String,
    /// Commands that fix it.
    pub help: Vec<String>,
}

impl From<String> for Unexpanded {
    fn from(what: String) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }
}

/// Expands a text. As in a shell, `:-` also replaces an empty value.
pub(crate) fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<String, Unexpanded> {
    let scope = Scope {
        env,
        folder: None,
        home: None,
        inputs: &BTreeMap::new(),
    };
    expand_at(text, &scope, 0)
}

/// Expands a text of an entry.
pub(crate) fn expand_in(text: &str, scope: &Scope<'_>) -> Result<String, Unexpanded> {
    expand_at(text, scope, 0)
}

/// Whether the text takes anything from the environment.
#[must_use]
pub(crate) fn has_variable(text: &str) -> bool {
    text.find("${")
        .is_some_and(|start| closing(&text[start + 2..]).is_some())
}

fn expand_at(text: &str, scope: &Scope<'_>, depth: usize) -> Result<String, Unexpanded> {
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
        let inner = &rest[start + 2..start + 2 + length];
        match of_editor(inner, scope) {
            Some(value) => out.push_str(&value?),
            None => out.push_str(&variable(inner, scope, depth)?),
        }
        rest = &rest[start + 2 + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Variables that editors know beside the environment
/// (<https://code.visualstudio.com/docs/reference/variables-reference>).
fn of_editor(inner: &str, scope: &Scope<'_>) -> Option<Result<String, Unexpanded>> {
    let shown = |path: Option<&Path>| {
        path.map(|path| path.display().to_string())
            .ok_or_else(|| format!("${{{inner}}} is not known here").into())
    };
    match inner {
        "workspaceFolder" | "workspaceRoot" => Some(shown(scope.folder)),
        "workspaceFolderBasename" => {
            Some(shown(scope.folder.and_then(Path::file_name).map(Path::new)))
        }
        "userHome" => Some(shown(scope.home)),
        "pathSeparator" | "/" => Some(Ok(MAIN_SEPARATOR_STR.to_owned())),
        _ => inner.strip_prefix("input:").map(|id| input(id, scope)),
    }
}

/// The name of the variable that an input is taken from.
pub(crate) fn variable_of_input(id: &str) -> String {
    let name: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

fn input(id: &str, scope: &Scope<'_>) -> Result<String, Unexpanded> {
    let known = scope.inputs.get(id);
    let name = variable_of_input(id);
    let given = [format!("{PREFIX}{id}"), name.clone()]
        .into_iter()
        .find_map(|name| scope.env.get(&name));
    if let Some(value) = given {
        return Ok(value.clone());
    }
    let default = known
        .filter(|input| !input.is_command)
        .and_then(|input| input.default.clone());
    default.ok_or_else(|| Unexpanded {
        what: if known.is_some_and(|input| input.is_command) {
            format!("${{input:{id}}} is the result of a command of an editor, which a daemon does not have")
        } else {
            format!("${{input:{id}}} asks a person, which a daemon cannot do; the credential {id} and the variable {name} are not there")
        },
        help: vec![format!("export {name}=…   (where the daemon starts)")],
    })
}

fn variable(inner: &str, scope: &Scope<'_>, depth: usize) -> Result<String, Unexpanded> {
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
        return Err(if name.contains(':') {
            format!("${{{name}}} is known to an editor alone; write the value, or an environment variable")
        } else {
            format!("${{{name}}} does not name an environment variable")
        }
        .into());
    }
    match (scope.env.get(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value.clone()),
        (_, Some(default)) => expand_at(default, scope, depth + 1),
        (Some(empty), None) => Ok(empty.clone()),
        (None, None) => Err(missing(name, credential)),
    }
}

fn missing(name: &str, credential: Option<&str>) -> Unexpanded {
    let what = match credential {
        Some(credential) => {
            format!("credential {credential} is not there and ${{{name}}} has no default")
        }
        None => format!("environment variable {name} is not set and ${{{name}}} has no default"),
    };
    let help = match credential {
        Some(credential) => {
            format!("ls -l ~/.ggen/credentials/{credential} /etc/ggen/credentials/{credential}")
        }
        None => {
            format!("export {name}=…   (where the daemon starts; or write ${{{name}:-default}})")
        }
    };
    Unexpanded {
        what,
        help: vec![help],
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
