//! Servers of a client's file as entries of ours. Keys that mean something else there, or are known
//! there alone, are put into our words; the reader of `mcpServers` judges the result.

use super::{Client, registry, servers, variables::Variables};
use crate::config::{
    files::position::{Member, Node, Position, Tree},
    servers::{protections, section},
};
use serde_json::{Map, Value};
use std::path::Path;

/// A server of a client's file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub at: Position,
    /// The entry in our words; or why there is none.
    pub entry: Result<Map<String, Value>, String>,
    /// What has no equivalent, or has to be provided.
    pub notes: Vec<String>,
}

/// Every server of a file. `None`: the file has no section for servers.
pub(crate) fn all(client: &Client, path: &Path, root: &Node, here: &Path) -> Option<Vec<Found>> {
    if client.id == "registry" {
        let (name, entry, notes) = match registry::entry(root) {
            Ok((name, entry, notes)) => (name, Ok(entry), notes),
            Err(why) => ("server.json".to_owned(), Err(why), Vec::new()),
        };
        return Some(vec![Found {
            name,
            at: root.at,
            entry,
            notes,
        }]);
    }
    let inputs = section::inputs(root);
    let folder = section::project_folder(path);
    let variables = Variables {
        client: client.id,
        folder: folder.as_deref(),
        inputs: &inputs,
    };
    let mut sections: Vec<&Node> = servers(client, root)
        .map(|(node, _)| node)
        .into_iter()
        .collect();
    // Claude Code keeps the servers of each project there, too.
    let of_project = root
        .member("projects")
        .and_then(|projects| projects.node.member(&here.display().to_string()))
        .and_then(|project| project.node.member("mcpServers"));
    sections.extend(of_project.map(|servers| &servers.node));
    if sections.is_empty() {
        return None;
    }
    let lists = Lists::of(client, root);
    let members = sections.iter().flat_map(|section| section.members());
    let found = members.map(|member| {
        let mut notes = Vec::new();
        let reader = Reader {
            client: client.id,
            variables: &variables,
            path,
        };
        let mut entry = reader.entry(&member.node, &mut notes);
        if let Ok(entry) = &mut entry
            && lists.leave_out(&member.key)
        {
            entry.insert("enabled".to_owned(), false.into());
            notes.push("switched off by a list of that program".to_owned());
        }
        Found {
            name: member.key.clone(),
            at: member.at,
            entry,
            notes,
        }
    });
    Some(found.collect())
}

/// Gemini CLI's `mcp.allowed` and `mcp.excluded`.
struct Lists {
    allowed: Option<Vec<String>>,
    excluded: Vec<String>,
}

impl Lists {
    fn of(client: &Client, root: &Node) -> Self {
        let list = |key: &str| -> Option<Vec<String>> {
            let node = root
                .member("mcp")
                .filter(|_| client.id == "gemini")?
                .node
                .member(key)?;
            serde_json::from_value(node.node.value()).ok()
        };
        Self {
            allowed: list("allowed"),
            excluded: list("excluded").unwrap_or_default(),
        }
    }

    fn leave_out(&self, name: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|known| known == name);
        has(&self.excluded) || self.allowed.as_deref().is_some_and(|list| !has(list))
    }
}

struct Reader<'a> {
    client: &'static str,
    variables: &'a Variables<'a>,
    path: &'a Path,
}

type Entry = Map<String, Value>;

impl Reader<'_> {
    fn entry(&self, node: &Node, notes: &mut Vec<String>) -> Result<Entry, String> {
        if !matches!(node.tree, Tree::Object(_)) {
            return Err("is not an object".to_owned());
        }
        let mut entry = Entry::new();
        self.members(node, &mut entry, notes)?;
        // Addresses without a type are those of an event stream there.
        let is_sse = matches!(self.client, "gemini" | "cline")
            && node.member("url").is_some()
            && !["type", "transport", "transportType"]
                .iter()
                .any(|key| entry.contains_key(*key));
        if is_sse {
            entry.insert("type".to_owned(), "sse".into());
        }
        let has = |keys: &[&str]| keys.iter().any(|key| entry.contains_key(*key));
        if !has(&["command", "url", "serverUrl", "httpUrl"]) {
            return Err("names neither a command nor an address".to_owned());
        }
        plain_type(&mut entry);
        Ok(entry)
    }

    fn members(
        &self,
        node: &Node,
        entry: &mut Entry,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        for member in node.members() {
            let value = self.ours(member.node.value(), notes)?;
            let key = member.key.as_str();
            if value.is_null() {
                continue;
            }
            let is_read = match self.client {
                "goose" => self.goose(member, &value, entry, notes)?,
                "codex" => codex(key, &value, entry, notes),
                "zed" => zed(key, &value, node, notes)?,
                _ => false,
            };
            if !is_read {
                self.common(key, value, entry, notes);
            }
        }
        Ok(())
    }

    /// Keys that mean the same everywhere, and times.
    fn common(&self, key: &str, value: Value, entry: &mut Entry, notes: &mut Vec<String>) {
        match (self.client, key) {
            ("goose" | "cline", "timeout") => seconds(entry, "timeout", &value),
            // The time for the list of tools.
            ("opencode", "timeout") => merge(entry, "startup_timeout", value),
            (_, "environment") => merge(entry, "env", value),
            (_, "serverUrl" | "httpUrl" | "uri") => merge(entry, "url", value),
            (_, "cmd") => merge(entry, "command", value),
            (_, "cwd" | "envFile" | "workingDirectory") => {
                let below = value.as_str().unwrap_or_default();
                let key = if key == "envFile" { key } else { "cwd" };
                entry.insert(key.to_owned(), self.absolute(below).into());
            }
            (_, "alwaysAllow" | "autoApprove" | "trust") => {
                if value != false && value != Value::Array(Vec::new()) {
                    notes.push(format!(
                        "{key} approves calls in that program, and has no equivalent"
                    ));
                }
            }
            _ if protections::is_silent(key) => {}
            _ => merge(entry, key, value),
        }
    }

    /// Keys of Goose; whether it was one.
    fn goose(
        &self,
        member: &Member,
        value: &Value,
        entry: &mut Entry,
        notes: &mut Vec<String>,
    ) -> Result<bool, String> {
        match member.key.as_str() {
            // Formerly.
            "config" => self.members(&member.node, entry, notes)?,
            "type" => {
                let kind = value.as_str().unwrap_or_default();
                if !["stdio", "sse", "streamable_http"].contains(&kind) {
                    return Err(format!("is built into Goose ({kind})"));
                }
                return Ok(false);
            }
            "envs" => merge(entry, "env", value.clone()),
            "env_keys" => {
                for name in texts(value) {
                    notes.push(format!(
                        "takes {name} from Goose's key store: put it into the credential {name}"
                    ));
                    put(entry, "env", &name, format!("${{credential:{name}}}"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A value with our variables.
    fn ours(&self, value: Value, notes: &mut Vec<String>) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.variables.ours(&text, notes)?.into(),
            Value::Array(items) => {
                let items: Result<Vec<_>, _> = items
                    .into_iter()
                    .map(|item| self.ours(item, notes))
                    .collect();
                items?.into()
            }
            Value::Object(members) => {
                let members: Result<Entry, String> = members
                    .into_iter()
                    .map(|(key, value)| Ok((key, self.ours(value, notes)?)))
                    .collect();
                members?.into()
            }
            other => other,
        })
    }

    /// A path that meant the folder of the client's file.
    fn absolute(&self, path: &str) -> String {
        match self.path.parent() {
            Some(folder) if !path.starts_with(['/', '~', '$']) => folder
                .join(path)
                .components()
                .collect::<std::path::PathBuf>()
                .display()
                .to_string(),
            _ => path.to_owned(),
        }
    }
}

/// Keys of Codex; whether it was one.
fn codex(key: &str, value: &Value, entry: &mut Entry, notes: &mut Vec<String>) -> bool {
    match key {
        "http_headers" => merge(entry, "headers", value.clone()),
        "env_http_headers" => {
            for (header, variable) in value.as_object().into_iter().flatten() {
                let variable = variable.as_str().unwrap_or_default();
                put(entry, "headers", header, format!("${{{variable}}}"));
            }
        }
        "bearer_token_env_var" => {
            let token = format!("Bearer ${{{}}}", value.as_str().unwrap_or_default());
            put(entry, "headers", "Authorization", token);
        }
        "env_vars" => {
            for variable in value.as_array().into_iter().flatten() {
                let name = variable.as_str().or_else(|| variable["name"].as_str());
                let name = name.unwrap_or_default();
                put(entry, "env", name, format!("${{{name}}}"));
            }
        }
        "startup_timeout_sec" => seconds(entry, "startup_timeout", value),
        "tool_timeout_sec" => seconds(entry, "timeout", value),
        "required" | "supports_parallel_tool_calls" | "default_tools_approval_mode" | "tools" => {
            notes.push(format!("{key} has no equivalent"))
        }
        _ => return false,
    }
    true
}

/// Keys of Zed; whether it was one.
fn zed(key: &str, value: &Value, node: &Node, notes: &mut Vec<String>) -> Result<bool, String> {
    let has = |key: &str| node.member(key).is_some();
    match key {
        "settings" if !has("command") && !has("url") => {
            Err("is an extension of Zed, which starts it".to_owned())
        }
        "settings" => {
            if value
                .as_object()
                .is_some_and(|settings| !settings.is_empty())
            {
                notes.push("settings has no equivalent".to_owned());
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Sets a key; objects are joined.
fn merge(entry: &mut Entry, key: &str, value: Value) {
    match (entry.get_mut(key), value) {
        (Some(Value::Object(before)), Value::Object(more)) => before.extend(more),
        (_, value) => {
            entry.insert(key.to_owned(), value);
        }
    }
}

fn put(entry: &mut Entry, key: &str, name: &str, value: String) {
    merge(
        entry,
        key,
        Map::from_iter([(name.to_owned(), value.into())]).into(),
    );
}

/// A time in seconds, in our milliseconds.
fn seconds(entry: &mut Entry, key: &str, value: &Value) {
    let milliseconds = value.as_f64().map(|seconds| (seconds * 1000.0).ceil());
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time that a person wrote; the reader judges its range"
    )]
    let value = milliseconds.map_or_else(|| value.clone(), |time| Value::from(time as u64));
    entry.insert(key.to_owned(), value);
}

/// One spelling of the transport; a command needs none.
fn plain_type(entry: &mut Entry) {
    for key in ["transport", "transportType"] {
        if let Some(kind) = entry.remove(key) {
            entry.entry("type").or_insert(kind);
        }
    }
    let kind = entry
        .get("type")
        .and_then(Value::as_str)
        .map(|kind| kind.to_ascii_lowercase().replace(['-', '_'], ""));
    match kind.as_deref() {
        Some("stdio" | "local") if entry.contains_key("command") => {
            entry.remove("type");
        }
        Some("remote" | "streamablehttp" | "http") => {
            entry.insert("type".to_owned(), "http".into());
        }
        _ => {}
    }
}
