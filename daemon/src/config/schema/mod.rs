//! The known keys. They come from `Config` itself: paths from serialising `Config::default()`,
//! types from deserialising a single leaf. Only the keys of other MCP clients are listed beside it.

pub(super) mod describe;
pub(super) mod key_path;

use super::model::Config;
use ggen_wire::Code;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// Log categories, the keys of `logging.modules`.
pub const CATEGORIES: [&str; 5] = ["mcp_server", "transport", "auth", "tools", "protocol"];

/// Keys under which the upstream servers stand.
pub(crate) const SERVERS: [&str; 3] = ["mcpServers", "mcp_servers", "servers"];

/// A map whose keys are the categories.
pub(crate) const MODULES: &str = "logging.modules";

/// A map whose keys are exposed names of tools, beside `defaults`.
pub(crate) const TOOLS: &str = "tools";

/// What VS Code asks its user for; the variables of entries name it.
pub(crate) const INPUTS: &str = "inputs";

/// Any JSON, never looked into.
pub(crate) const METADATA: &str = "metadata";

/// Leaves that are secret.
pub(crate) const SECRETS: [&str; 3] = ["auth.api_key", "auth.jwt.secret", "tracing.otlp.headers"];

/// Top-level keys that other MCP clients keep in the same file: VS Code, Claude Desktop and Code,
/// Cursor, Zed.
pub(crate) const FOREIGN: [&str; 7] = [
    "projects",
    "globalShortcut",
    "preferences",
    "permissions",
    "mcp",
    "enabledPlugins",
    "isUsingBuiltInNodeForMcp",
];

/// The defaults as JSON: the shape of the whole file.
pub(crate) fn template() -> &'static Value {
    static TEMPLATE: OnceLock<Value> = OnceLock::new();
    TEMPLATE.get_or_init(|| serde_json::to_value(Config::default()).unwrap_or_default())
}

/// Every leaf path that a variable or a flag may set, sorted.
pub fn leaves() -> &'static [String] {
    static LEAVES: OnceLock<Vec<String>> = OnceLock::new();
    LEAVES.get_or_init(|| {
        let mut found = Vec::new();
        collect("", template(), &mut found);
        found.sort();
        found
    })
}

fn collect(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(_) if path == MODULES => {
            found.extend(CATEGORIES.iter().map(|category| join(path, category)))
        }
        Value::Object(members) => {
            for (key, value) in members
                .iter()
                .filter(|(key, _)| !(path.is_empty() && SERVERS.contains(&key.as_str())))
            {
                collect(&join(path, key), value, found);
            }
        }
        _ if path == METADATA => {}
        _ => found.push(path.to_owned()),
    }
}

/// `a.b` and `c` → `a.b.c`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Whether a top-level key belongs to another MCP client, or is a comment or extension by its first
/// character.
pub(crate) fn foreign(key: &str) -> bool {
    FOREIGN.contains(&key) || key.starts_with('_') || key.starts_with("x-") || key.starts_with("//")
}

/// Whether a section asks for anything: not if it is empty, or says `"enabled": false`, or holds
/// only such values.
pub(crate) fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => {
            members.get("enabled") != Some(&Value::Bool(false)) && members.values().any(asks)
        }
        Value::Number(_) | Value::String(_) => true,
    }
}

/// What is wrong with the value of a leaf.
#[derive(Debug, PartialEq)]
pub(crate) struct BadLeaf {
    /// `ConfigType` or `ConfigValue`.
    pub code: Code,
    /// In words.
    pub what: String,
    /// A value that was probably meant.
    pub suggestion: Option<String>,
}

/// Judges one leaf by deserialising a configuration that holds nothing else.
pub(crate) fn check_leaf(path: &str, value: &Value) -> Result<(), BadLeaf> {
    let whole = path.rsplit('.').fold(value.clone(), |inner, key| {
        Value::Object(Map::from_iter([(key.to_owned(), inner)]))
    });
    serde_json::from_value::<Config>(whole)
        .map(|_| ())
        .map_err(|error| bad_leaf(&error.to_string()))
}

fn bad_leaf(message: &str) -> BadLeaf {
    let (found, expected) = message
        .split_once(", expected ")
        .unwrap_or((message, "another value"));
    let code = if found.starts_with("invalid type") {
        Code::ConfigType
    } else {
        Code::ConfigValue
    };
    let found = found
        .trim_start_matches("invalid type: ")
        .trim_start_matches("invalid value: ");
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", number)) => format!("the number {}", number.trim_matches('`')),
        Some(("floating", rest)) => format!(
            "the number {}",
            rest.trim_start_matches("point ").trim_matches('`')
        ),
        Some(("boolean", value)) => value.trim_matches('`').to_owned(),
        Some(("unknown", variant)) => format!(
            "the text {}",
            variant.trim_start_matches("variant ").replace('`', "\"")
        ),
        _ => match found {
            "map" => "an object".to_owned(),
            "sequence" => "a list".to_owned(),
            other => other.to_owned(),
        },
    };
    let suggestion = expected.strip_prefix("one of ").and_then(|variants| {
        let variants: Vec<&str> = variants.split('`').skip(1).step_by(2).collect();
        did_you_mean(
            found.trim_start_matches("the text ").trim_matches('"'),
            variants,
        )
    });
    let expected = match expected {
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" | "u64" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "string or map" => "text".to_owned(),
        "a sequence" => "a list of texts".to_owned(),
        other => other.replace('`', "\""),
    };
    BadLeaf {
        code,
        what: format!("expected {expected}, found {found}"),
        suggestion,
    }
}

/// The candidate most like a word, if one is like enough.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// A key that was probably meant by an unknown one: a neighbour, or else the full path of a leaf
/// with that last name.
pub(crate) fn suggest_key(key: &str, neighbours: &Map<String, Value>) -> Option<String> {
    did_you_mean(key, neighbours.keys().map(String::as_str)).or_else(|| {
        let with_name: Vec<_> = leaves()
            .iter()
            .filter(|leaf| leaf.rsplit('.').next() == Some(key))
            .collect();
        with_name.first().map(|leaf| (*leaf).clone())
    })
}

/// A typed value from the text of a variable: the first reading that the leaf accepts among JSON,
/// the text itself, and a list by commas.
pub(crate) fn from_text(path: &str, text: &str) -> Result<Value, BadLeaf> {
    let listed = || {
        Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| json!(item))
                .collect(),
        )
    };
    let flag = |text: &str| matches!(text, "1" | "0").then(|| json!(text == "1"));
    let number_or_text = serde_json::from_str::<Value>(text)
        .ok()
        .filter(|value| !value.is_null());
    let readings = [
        number_or_text.clone(),
        Some(json!(text)),
        flag(text),
        Some(listed()),
    ];
    match readings
        .into_iter()
        .flatten()
        .find(|value| check_leaf(path, value).is_ok())
    {
        Some(value) => Ok(value),
        None => Err(
            check_leaf(path, &number_or_text.unwrap_or_else(|| json!(text)))
                .err()
                .unwrap_or(BadLeaf {
                    code: Code::ConfigValue,
                    what: "cannot be read".to_owned(),
                    suggestion: None,
                }),
        ),
    }
}
