//! A `server.json` of the MCP registry as an entry: the first package that can be run, else the
//! first remote address.

use crate::config::files::position::{Node, Tree};
use serde_json::{Map, Value, json};

/// An entry of a registry's file: its name, its members, and what has to be provided.
pub(super) type Found = (String, Map<String, Value>, Vec<String>);

/// Reads it.
///
/// # Errors
/// What hinders.
pub(super) fn entry(root: &Node) -> Result<Found, String> {
    // An answer of the registry's API wraps it.
    let root = match root.member("server") {
        Some(inner) if matches!(inner.node.tree, Tree::Object(_)) => inner.node.value(),
        _ => root.value(),
    };
    let full = text(&root, &["name"]).ok_or("has no name")?;
    let name = full.rsplit('/').next().unwrap_or(&full).to_owned();
    let list = |key: &str| root[key].as_array().cloned().unwrap_or_default();
    let mut notes = Vec::new();
    for package in list("packages") {
        let transport = text(&package["transport"], &["type"]);
        if transport.is_none_or(|kind| kind == "stdio")
            && let Some(members) = package_entry(&package, &mut notes)
        {
            return Ok((name, members, notes));
        }
    }
    if let Some(remote) = list("remotes").first() {
        let kind = text(remote, &["type", "transport_type"]).unwrap_or_default();
        let kind = if kind == "sse" { "sse" } else { "http" };
        let url = text(remote, &["url"]).ok_or("a remote has no url")?;
        let mut members = Map::from_iter([
            ("type".to_owned(), kind.into()),
            ("url".to_owned(), filled(&url, remote, &mut notes).into()),
        ]);
        let headers = named(&remote["headers"], &mut notes);
        if !headers.is_empty() {
            members.insert("headers".to_owned(), headers.into());
        }
        return Ok((name, members, notes));
    }
    Err("names no package that can be run here and no remote address".to_owned())
}

fn text(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter()
        .find_map(|key| value[key].as_str())
        .map(str::to_owned)
}

fn package_entry(package: &Value, notes: &mut Vec<String>) -> Option<Map<String, Value>> {
    let kind = text(package, &["registryType", "registry_type", "registry_name"])?;
    let identifier = text(package, &["identifier", "name"])?;
    let at_version = text(package, &["version"]).map_or_else(
        || identifier.clone(),
        |version| format!("{identifier}@{version}"),
    );
    let environment = ["environmentVariables", "environment_variables"]
        .iter()
        .find_map(|key| package.get(*key))
        .map_or_else(Map::new, |list| named(list, notes));
    let (program, mut front, reference) = match kind.as_str() {
        "npm" => ("npx", vec!["-y".to_owned()], at_version),
        "pypi" => ("uvx", vec![], at_version),
        "nuget" => ("dnx", vec!["--yes".to_owned()], at_version),
        "oci" | "docker" => {
            let passed = environment
                .keys()
                .flat_map(|name| ["-e".to_owned(), name.clone()]);
            let front = ["run", "-i", "--rm"]
                .map(str::to_owned)
                .into_iter()
                .chain(passed);
            ("docker", front.collect(), identifier)
        }
        _ => return None,
    };
    front.extend(arguments(&package["runtimeArguments"], notes));
    front.push(reference);
    front.extend(arguments(&package["packageArguments"], notes));
    let program =
        text(package, &["runtimeHint", "runtime_hint"]).unwrap_or_else(|| program.to_owned());
    let mut members = Map::from_iter([
        ("command".to_owned(), program.into()),
        ("args".to_owned(), json!(front)),
    ]);
    if !environment.is_empty() {
        members.insert("env".to_owned(), environment.into());
    }
    Some(members)
}

/// Values by name; what has none is a variable of that name.
fn named(list: &Value, notes: &mut Vec<String>) -> Map<String, Value> {
    let mut found = Map::new();
    for item in list.as_array().into_iter().flatten() {
        let Some(name) = text(item, &["name"]) else {
            continue;
        };
        let required = ["isRequired", "is_required"]
            .iter()
            .any(|key| item[key] == true);
        match text(item, &["value", "default"]) {
            Some(value) => {
                found.insert(name, filled(&value, item, notes).into());
            }
            None if required => {
                let variable = crate::config::layers::variables::variable_of_input(&name);
                notes.push(format!("needs {variable}"));
                found.insert(name, format!("${{{variable}}}").into());
            }
            None => notes.push(format!("may be given {name}")),
        }
    }
    found
}

fn arguments(list: &Value, notes: &mut Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        let value = text(item, &["value", "default"]);
        let required = ["isRequired", "is_required"]
            .iter()
            .any(|key| item[key] == true);
        let name = text(item, &["name"]);
        let value = match value {
            Some(value) => Some(filled(&value, item, notes)),
            None if required => {
                let hint = text(item, &["valueHint", "value_hint"]).or_else(|| name.clone());
                let variable = crate::config::layers::variables::variable_of_input(
                    hint.unwrap_or_else(|| "value".to_owned())
                        .trim_start_matches('-'),
                );
                notes.push(format!("needs {variable}"));
                Some(format!("${{{variable}}}"))
            }
            None => continue,
        };
        found.extend(name.filter(|name| name.starts_with('-')));
        found.extend(value);
    }
    found
}

/// `{name}` in a value: its own default, else a variable.
fn filled(value: &str, item: &Value, notes: &mut Vec<String>) -> String {
    let mut out = value.to_owned();
    for (name, about) in item["variables"].as_object().into_iter().flatten() {
        let default = text(about, &["value", "default"]).unwrap_or_else(|| {
            let variable = crate::config::layers::variables::variable_of_input(name);
            notes.push(format!("needs {variable}"));
            format!("${{{variable}}}")
        });
        out = out.replace(&format!("{{{name}}}"), &default);
    }
    out
}
