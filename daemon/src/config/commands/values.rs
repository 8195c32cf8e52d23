//! Turns the text that was typed for a key into the JSON value for the file. Checks single values;
//! loading checks the whole.

use super::Refusal;
use crate::config::{
    schema::{self, key_path::Key},
    secrets::redact,
};
use ggen_wire::Code;
use serde_json::{Map, Value};

/// A key and what is to stand there.
#[derive(Debug, PartialEq)]
pub(super) struct Assignment {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// The value's text: what was typed if that is the same JSON, as objects then keep their order.
    pub text: String,
}

/// What a field of an entry takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
}

/// Reads `key=value`.
pub(super) fn read(argument: &str, names: &[String]) -> Result<Assignment, Refusal> {
    let usage =
        |what: String| Refusal::usage(what).help("ggen mcp config set transports.http.port=3001");
    let (key, typed) = Key::parse_assignment(argument).map_err(usage)?;
    let key = of_entries(key, names);
    let value = value(&key, typed)?;
    let text = match serde_json::from_str::<Value>(typed) {
        Ok(same) if same == value => typed.trim().to_owned(),
        _ => value.to_string(),
    };
    Ok(Assignment { key, value, text })
}

/// `mcpServers.a.b.command` means the entry `a.b` if there is one: a shell takes away the quotes of
/// `mcpServers."a.b".command`. `mcp_servers` is the same as `mcpServers`.
pub(super) fn of_entries(mut key: Key, names: &[String]) -> Key {
    if !schema::SERVERS.contains(&key.0[0].as_str()) {
        return key;
    }
    schema::SERVERS[0].clone_into(&mut key.0[0]);
    let longest = (2..=key.0.len())
        .rev()
        .find(|end| names.contains(&key.0[1..*end].join(".")));
    if let Some(end) = longest {
        let name = key.0[1..end].join(".");
        key.0.splice(1..end, [name]);
    }
    key
}

fn value(key: &Key, typed: &str) -> Result<Value, Refusal> {
    let json = || serde_json::from_str::<Value>(typed).ok();
    let parts: Vec<&str> = key.0.iter().map(String::as_str).collect();
    if let [section, _, field, ..] = parts[..]
        && section == schema::SERVERS[0]
    {
        let kind = match (field, parts.len()) {
            ("command" | "url" | "cwd" | "type" | "era" | "protocol_version", 3)
            | ("env" | "headers", 4) => Kind::Text,
            _ => Kind::Json,
        };
        return Ok(match (kind, json()) {
            (_, Some(text @ Value::String(_))) => text,
            (Kind::Json, Some(value)) => value,
            (Kind::Text, _) | (Kind::Json, None) => typed.into(),
        });
    }
    let path = key.dotted();
    if !schema::leaves().contains(&path) {
        // A section, a key of another program, or a mistake: the whole is judged, with its
        // suggestions.
        return Ok(json().unwrap_or_else(|| typed.into()));
    }
    // Quotes that no shell has taken away, `host="127.0.0.1"`, are meant as such.
    let typed = match json() {
        Some(Value::String(inside)) => inside,
        _ => typed.to_owned(),
    };
    schema::from_text(&path, &typed).map_err(|bad| {
        let meant = bad
            .suggestion
            .as_ref()
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        let refusal = Refusal::new(
            super::CONFIG,
            bad.code,
            format!("{path}: {}{meant}", bad.what),
        );
        match bad.suggestion.or_else(|| {
            schema::template()
                .pointer(&format!("/{}", path.replace('.', "/")))
                .map(super::plain)
        }) {
            Some(example) => refusal.help(format!("ggen mcp config set {path}={example}")),
            None => refusal.help(format!("ggen mcp explain {}", bad.code)),
        }
    })
}

/// A value at a key as it may be shown.
pub(super) fn shown(key: &Key, value: &Value) -> Value {
    let below = |parts: &[String]| {
        parts.iter().rev().fold(value.clone(), |inner, key| {
            Value::Object(Map::from_iter([(key.clone(), inner)]))
        })
    };
    let pick = |whole: Value, parts: &[String]| {
        parts
            .iter()
            .fold(whole, |mut inner, key| inner[key.as_str()].take())
    };
    match (&key.0[..], value) {
        ([section], Value::Object(entries)) if section == schema::SERVERS[0] => Value::Object(
            entries
                .iter()
                .map(|(name, entry)| (name.clone(), redact::entry(entry)))
                .collect(),
        ),
        ([section, _, rest @ ..], _) if section == schema::SERVERS[0] => {
            pick(redact::entry(&below(rest)), rest)
        }
        ([section, ..], _)
            if schema::SECRETS
                .iter()
                .any(|path| path.split('.').next() == Some(section)) =>
        {
            let mut whole = below(&key.0);
            for path in schema::SECRETS {
                if let Some(secret) = whole
                    .pointer_mut(&format!("/{}", path.replace('.', "/")))
                    .filter(|value| !value.is_null())
                {
                    *secret = redact::HIDDEN.into();
                }
            }
            pick(whole, &key.0)
        }
        _ => shown_at(&key.dotted(), value),
    }
}

/// A value outside `mcpServers` and the sections with secrets. Keys that the schema knows are no
/// secrets there, although the names of some (`cert`, `key`: paths) sound like it.
fn shown_at(path: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, inner)| {
                let path = format!("{path}.{name}");
                let is_known = inner.is_object() || is_leaf(&path);
                let shown = if is_known {
                    shown_at(&path, inner)
                } else {
                    let alone = Value::Object(Map::from_iter([(name.clone(), inner.clone())]));
                    redact::value(&alone)[name].clone()
                };
                (name.clone(), shown)
            })
            .collect(),
        _ if is_leaf(path) => redact::value(value),
        _ => {
            let last = path.rsplit('.').next().unwrap_or(path);
            let alone = Value::Object(Map::from_iter([(last.to_owned(), value.clone())]));
            redact::value(&alone)[last].clone()
        }
    }
}

fn is_leaf(path: &str) -> bool {
    schema::leaves().iter().any(|leaf| leaf == path)
}

/// The refusal of a key that nobody knows.
pub(super) fn unknown(key: &Key) -> Refusal {
    let candidates = || {
        schema::leaves()
            .iter()
            .map(String::as_str)
            .chain(schema::SERVERS)
    };
    let last = key.0.last().map_or("", String::as_str);
    let meant = schema::did_you_mean(&key.dotted(), candidates()).or_else(|| {
        candidates()
            .find(|leaf| leaf.rsplit('.').next() == Some(last))
            .map(str::to_owned)
    });
    let said = meant
        .as_ref()
        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    Refusal::new(
        super::CONFIG,
        Code::ConfigUnknownKey,
        format!("{key}: unknown key{said}"),
    )
    .help(meant.map_or_else(
        || "ggen mcp config show".to_owned(),
        |meant| format!("ggen mcp config get {meant}"),
    ))
}
