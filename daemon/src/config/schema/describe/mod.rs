//! The JSON Schema (draft 2020-12) of the configuration file, for editors. Keys and defaults are
//! those of `Config`; the tables add what its types do not tell: meaning and range. A test compares
//! the tables with the model, and the ranges with what the check refuses.

mod entries;
mod leaves;
mod observation;
mod transports;

use crate::config::schema;
use entries::server;
use serde_json::{Map, Value, json};

/// A leaf: its path, what it takes, what it means.
pub(crate) type Leaf = (&'static str, Kind, &'static str);

/// What a leaf takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// true or false
    Flag,
    /// true, false or one word.
    FlagOr(&'static str),
    /// A whole number, from and to.
    Number(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// Bytes from and to, or text with a unit.
    Size(u64, u64),
    /// An address to bind.
    Host,
    /// `false`, and no other value.
    Off,
    /// A list of texts.
    Texts,
    /// A text or a list of texts.
    OneOrMany,
    /// A list of policy rules.
    Rules,
    /// One of these.
    Choice(&'static [&'static str]),
}

const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const DAY: u64 = crate::config::servers::MAX_TIME;

/// Every leaf, as [`schema::leaves`] has them.
pub(crate) fn described() -> impl Iterator<Item = &'static Leaf> {
    [
        leaves::SERVER,
        transports::TRANSPORTS,
        leaves::AUTH,
        leaves::LIMITS,
        observation::OBSERVATION,
    ]
    .into_iter()
    .flatten()
}

/// The schema of a whole file.
#[must_use]
pub fn json_schema() -> Value {
    let mut root = object(schema::template(), "");
    let properties = &mut root["properties"];
    properties["$schema"] = json!({"type": "string"});
    properties[schema::METADATA] = json!({"description": "Any JSON; ignored."});
    let servers = json!({"description": "The upstream servers, by name.", "type": "object", "additionalProperties": {"$ref": "#/$defs/server"}});
    schema::SERVERS
        .iter()
        .for_each(|key| properties[*key] = servers.clone());
    properties[schema::INPUTS] = json!({"description": "What ${input:id} in entries stands for, as VS Code writes it: the credential id, else the variable ID, else the default.", "type": "array"});
    for key in schema::FOREIGN {
        properties[key] = json!({"description": "Belongs to another MCP client; not used."});
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "ggend configuration".into();
    root["patternProperties"] = json!({"^(_|x-|//)": true});
    root["$defs"] = json!({"server": server()});
    root
}

fn object(template: &Value, path: &str) -> Value {
    let mut properties = Map::new();
    if path == schema::MODULES {
        properties.extend(
            schema::CATEGORIES
                .iter()
                .map(|key| ((*key).to_owned(), leaf(&schema::join(path, key), None))),
        );
    }
    for (key, value) in template.as_object().into_iter().flatten() {
        let here = schema::join(path, key);
        let property = if value.is_object() {
            object(value, &here)
        } else {
            leaf(&here, Some(value))
        };
        properties.insert(key.clone(), property);
    }
    let others = if path == schema::TOOLS {
        properties["defaults"].clone()
    } else {
        json!(false)
    };
    json!({"type": "object", "properties": properties, "additionalProperties": others})
}

fn rule() -> Value {
    let globs = |meaning: &str| json!({"type": "array", "items": {"type": "string"}, "description": meaning});
    json!({
        "type": "object",
        "required": ["effect", "subjects"],
        "additionalProperties": false,
        "properties": {
            "effect": {"enum": ["allow", "deny"]},
            "subjects": globs("Ids and labels of principals, such as key:*, client:ci, scope:tools."),
            "servers": globs("Names of servers; core: the built-in tools. Absent: all."),
            "tools": globs("Tools by exposed name, or as server/name."),
            "prompts": globs("Prompts by exposed name, or as server/name."),
            "resources": globs("Resources by exposed URI.")
        }
    })
}

fn leaf(path: &str, default: Option<&Value>) -> Value {
    let Some((_, kind, meaning)) = described().find(|(leaf, ..)| *leaf == path) else {
        return json!({});
    };
    let mut described = match *kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Off => json!({"const": false}),
        Kind::FlagOr(word) => json!({"enum": [true, false, word]}),
        Kind::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Kind::Size(least, most) => json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "string", "pattern": "^\\s*[0-9]+\\s*([kKmMgG]?[bB]?|[kKmMgG][iI][bB])\\s*$"}
        ]}),
        Kind::Host => json!({"type": "string", "examples": ["127.0.0.1", "::1", "localhost"]}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::OneOrMany => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        Kind::Rules => json!({"type": "array", "items": rule()}),
        Kind::Choice(choices) => json!({"enum": choices}),
    };
    described["description"] = (*meaning).into();
    match (path, default) {
        // The model's `null` is its way to say that there is none.
        ("description", _) => described["type"] = json!(["string", "null"]),
        ("version", _) => described["pattern"] = "^1(\\..*)?$".into(),
        _ => {}
    }
    if let Some(default) = default.filter(|default| !default.is_null()) {
        described["default"] = default.clone();
    }
    described
}
