//! The layers as figment providers: the known keys of a file, the environment, the flags. Each
//! yields only values whose key and type are right; the others become problems. `mcpServers` is not
//! merged here: its entries are taken whole (`servers/`).

pub(super) mod variables;

use super::{
    files::{
        position::{Node, Position, Tree},
        read::File,
    },
    problem::{Location, Problem, Severity},
    schema,
};
use figment::{Metadata, Profile, Provider, providers::Serialized, value};
use ggen_wire::Code;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Known values of one source, with the place of each leaf.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    /// Name of the source; its identity among the layers.
    pub name: String,
    values: Map<String, Value>,
    places: BTreeMap<String, Location>,
}

/// A value from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// How it is shown: `--port`.
    pub name: String,
    /// The leaf that it sets: `transports.http.port`.
    pub path: String,
    /// Its value.
    pub value: Value,
}

impl Layer {
    /// Where a leaf of this layer stands.
    pub(crate) fn place(&self, path: &str) -> Option<&Location> {
        self.places.get(path)
    }

    fn set(&mut self, path: &str, value: Value, place: Location) {
        let mut keys: Vec<&str> = path.split('.').collect();
        let Some(last) = keys.pop() else { return };
        let mut inside = &mut self.values;
        for key in keys {
            let Value::Object(below) = inside
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()))
            else {
                return;
            };
            inside = below;
        }
        inside.insert(last.to_owned(), value);
        self.places.insert(path.to_owned(), place);
    }

    /// The flags, each judged by the schema.
    pub(crate) fn flags(flags: &[Flag], problems: &mut Vec<Problem>) -> Self {
        let mut layer = Self {
            name: "command line".to_owned(),
            ..Self::default()
        };
        for flag in flags {
            let place = Location {
                source: flag.name.clone(),
                at: None,
            };
            match schema::check_leaf(&flag.path, &flag.value) {
                Ok(()) => layer.set(&flag.path, flag.value.clone(), place),
                Err(bad) => problems.push(
                    Problem::new(
                        Severity::Error,
                        bad.code,
                        place,
                        flag.path.clone(),
                        bad.what,
                    )
                    .suggest(bad.suggestion),
                ),
            }
        }
        layer
    }

    /// The `GGEN_MCP_*` variables; an empty one counts as not set, and a full name goes before a
    /// short one. Others that look like ours are named.
    pub(crate) fn environment(env: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Self {
        let mut layer = Self {
            name: "environment".to_owned(),
            ..Self::default()
        };
        let names: BTreeMap<String, &String> = schema::leaves()
            .iter()
            .map(|leaf| (variable(leaf), leaf))
            .collect();
        let ours = env
            .range(FAMILY.to_owned()..)
            .take_while(|(name, _)| name.starts_with(FAMILY))
            .filter(|(name, text)| !OTHERS.contains(&name.as_str()) && !text.is_empty());
        let (short, full): (Vec<_>, Vec<_>) =
            ours.partition(|(name, _)| !names.contains_key(*name));
        for (name, text) in short.into_iter().chain(full) {
            let place = Location {
                source: name.clone(),
                at: None,
            };
            if name == TRANSPORT_VARIABLE {
                layer.transports(text, &place, problems);
                continue;
            }
            let long = SHORT
                .iter()
                .find(|(short, _)| short == name)
                .map_or(name.as_str(), |(_, long)| long);
            let Some(path) = names.get(long) else {
                problems.push(unknown_variable(name, place, &names));
                continue;
            };
            match schema::from_text(path, text) {
                Ok(value) => layer.set(path, value, place),
                Err(bad) => problems.push(
                    Problem::new(Severity::Error, bad.code, place, path.as_str(), bad.what)
                        .suggest(bad.suggestion)
                        .help(format!("unset {name}")),
                ),
            }
        }
        layer
    }

    /// `GGEN_MCP_TRANSPORT`: transports to serve beside HTTP, by commas.
    fn transports(&mut self, text: &str, place: &Location, problems: &mut Vec<Problem>) {
        for word in text.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            let path = match word.as_str() {
                "http" | "https" | "streamable-http" => continue,
                "websocket" | "ws" => "transports.websocket.enabled",
                "quic" | "http3" => "transports.quic.enabled",
                "stdio" => {
                    let what = "the daemon serves over the network; standard input and output are relayed to it by a command of their own";
                    problems.push(
                        Problem::new(
                            Severity::Warning,
                            Code::ConfigValue,
                            place.clone(),
                            "",
                            what,
                        )
                        .help("ggen mcp server stdio"),
                    );
                    continue;
                }
                _ => {
                    let known = ["http", "websocket", "quic"];
                    let what =
                        format!("expected \"http\", \"websocket\" or \"quic\", found {word:?}");
                    problems.push(
                        Problem::new(Severity::Error, Code::ConfigValue, place.clone(), "", what)
                            .suggest(schema::did_you_mean(&word, known))
                            .help(format!("unset {TRANSPORT_VARIABLE}")),
                    );
                    continue;
                }
            };
            self.set(path, Value::Bool(true), place.clone());
        }
    }

    /// The known keys of a file, without `mcpServers`.
    pub(crate) fn file(file: &File, problems: &mut Vec<Problem>) -> Self {
        let mut layer = Self {
            name: file.path.display().to_string(),
            ..Self::default()
        };
        if let Value::Object(template) = schema::template() {
            section(file, &file.root, template, "", &mut layer, problems);
        }
        layer
    }
}

/// The prefix of our variables.
pub(crate) const PREFIX: &str = "GGEN_MCP_";

/// The variable that names the file.
pub(crate) const FILE_VARIABLE: &str = "GGEN_MCP_CONFIG";

/// What all variables of this family of programs begin with.
const FAMILY: &str = "GGEN_";

/// Variables of ours that set no value of the configuration.
const OTHERS: [&str; 5] = [
    FILE_VARIABLE,
    "GGEN_STATE_DIR",
    "GGEN_RUNTIME_DIR",
    "GGEN_DAEMON",
    "GGEN_SOCKET",
];

/// Which transports are served.
const TRANSPORT_VARIABLE: &str = "GGEN_MCP_TRANSPORT";

/// Short names of variables, and the full ones.
const SHORT: [(&str, &str); 4] = [
    ("GGEN_MCP_API_KEY", "GGEN_MCP_AUTH_API_KEY"),
    ("GGEN_MCP_HOST", "GGEN_MCP_TRANSPORTS_HTTP_HOST"),
    ("GGEN_MCP_JWT_SECRET", "GGEN_MCP_AUTH_JWT_SECRET"),
    ("GGEN_MCP_PORT", "GGEN_MCP_TRANSPORTS_HTTP_PORT"),
];

/// The variable of a leaf.
pub fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_ascii_uppercase())
}

fn unknown_variable(name: &str, place: Location, names: &BTreeMap<String, &String>) -> Problem {
    // What all have in common makes nothing alike.
    let bare = |name: &str| {
        name.trim_start_matches(FAMILY)
            .trim_start_matches("MCP_")
            .to_owned()
    };
    let known: Vec<String> = names
        .keys()
        .map(String::as_str)
        .chain([FILE_VARIABLE, TRANSPORT_VARIABLE])
        .chain(SHORT.map(|(short, _)| short))
        .map(bare)
        .collect();
    let meant = schema::did_you_mean(&bare(name), known.iter().map(String::as_str));
    Problem::new(
        Severity::Warning,
        Code::ConfigUnknownKey,
        place,
        "",
        "unknown variable",
    )
    .suggest(meant.map(|meant| format!("{PREFIX}{meant}")))
}

fn section(
    file: &File,
    node: &Node,
    known: &Map<String, Value>,
    path: &str,
    layer: &mut Layer,
    problems: &mut Vec<Problem>,
) {
    for member in node.members() {
        let key = member.key.as_str();
        let here = schema::join(path, key);
        let top = path.is_empty();
        if top && (schema::SERVERS.contains(&key) || [schema::INPUTS, "$schema"].contains(&key)) {
            continue;
        }
        match known.get(key) {
            Some(Value::Object(_)) if !matches!(member.node.tree, Tree::Object(_)) => {
                let what = "expected an object, `{ … }`";
                problems.push(Problem::new(
                    Severity::Error,
                    Code::ConfigType,
                    file.place(member.node.at),
                    here,
                    what,
                ));
            }
            Some(Value::Object(_)) if here == schema::MODULES => {
                modules(file, &member.node, layer, problems)
            }
            Some(Value::Object(below)) => {
                section(file, &member.node, below, &here, layer, problems)
            }
            Some(default) => leaf(file, &member.node, &here, Some(default), layer, problems),
            None if path == schema::TOOLS && is_tool(key) => {
                leaf(file, &member.node, &here, None, layer, problems)
            }
            None if top && schema::foreign(key) => {
                let what = "belongs to another MCP client; not used";
                problems.push(Problem::new(
                    Severity::Warning,
                    Code::ConfigUnknownKey,
                    file.place(member.at),
                    here,
                    what,
                ));
            }
            None => problems.push(unknown_key(
                file,
                member.at,
                here.clone(),
                schema::suggest_key(key, known),
            )),
        }
    }
}

/// Exposed names of tools have no other characters.
fn is_tool(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 64
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn modules(file: &File, node: &Node, layer: &mut Layer, problems: &mut Vec<Problem>) {
    for member in node.members() {
        let here = schema::join(schema::MODULES, &member.key);
        if schema::CATEGORIES.contains(&member.key.as_str()) {
            leaf(file, &member.node, &here, None, layer, problems);
        } else {
            problems.push(unknown_key(
                file,
                member.at,
                here,
                schema::did_you_mean(&member.key, schema::CATEGORIES),
            ));
        }
    }
}

fn unknown_key(file: &File, at: Position, path: String, meant: Option<String>) -> Problem {
    let help = format!("ggen mcp config unset {path}");
    Problem::new(
        Severity::Error,
        Code::ConfigUnknownKey,
        file.place(at),
        path,
        "unknown key",
    )
    .suggest(meant)
    .help(help)
}

fn leaf(
    file: &File,
    node: &Node,
    path: &str,
    default: Option<&Value>,
    layer: &mut Layer,
    problems: &mut Vec<Problem>,
) {
    let value = node.value();
    match schema::check_leaf(path, &value) {
        Ok(()) => layer.set(path, value, file.place(node.at)),
        Err(bad) => {
            let example = bad.suggestion.clone().or_else(|| {
                default.map(|value| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                })
            });
            let problem = Problem::new(
                Severity::Error,
                bad.code,
                file.place(node.at),
                path,
                bad.what,
            )
            .suggest(bad.suggestion);
            problems.push(match example {
                Some(example) => problem.help(format!("ggen mcp config set {path}={example}")),
                None => problem.help(format!("ggen mcp config unset {path}")),
            });
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<value::Map<Profile, value::Dict>, figment::Error> {
        Serialized::defaults(&self.values).data()
    }
}
