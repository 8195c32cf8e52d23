//! JSON (with comments), TOML and YAML as one tree with positions. May not: know what keys mean.

use crate::config::files::{
    jsonc,
    position::{Member, Node, Position, Tree, locate},
};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::Value;
use toml_edit::{Document, Item};

/// Deeper values are refused.
const MOST_DEEP: usize = 100;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON, with comments and trailing commas.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

impl Format {
    /// By a file's name.
    pub(crate) fn of_file(path: &str) -> Self {
        match path.rsplit('.').next() {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }

    /// The tree of a text.
    ///
    /// # Errors
    /// Where it is none of the format, and why.
    pub(crate) fn read(self, text: &str) -> Result<Node, (Position, String)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let start = Position { line: 1, column: 1 };
        if text.trim().is_empty() {
            return Ok(Node {
                at: start,
                tree: Tree::Object(Vec::new()),
            });
        }
        match self {
            Self::Json => {
                let plain = jsonc::plain(text);
                if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&plain) {
                    let at = Position {
                        line: error.line().max(1),
                        column: error.column().max(1),
                    };
                    let what = error.to_string();
                    let what = what
                        .split(" at line ")
                        .next()
                        .unwrap_or_default()
                        .to_owned();
                    return Err((at, what));
                }
                locate(&plain, text).ok_or((start, "cannot be read".to_owned()))
            }
            Self::Toml => {
                let document = Document::parse(text).map_err(|error| {
                    let at = error.span().map_or(0, |span| span.start);
                    (position(text, at), error.message().to_owned())
                })?;
                toml(text, document.as_item(), 0).ok_or((start, "is nested too deeply".to_owned()))
            }
            Self::Yaml => {
                let documents = MarkedYaml::load_from_str(text).map_err(|error| {
                    let at = Position {
                        line: error.marker().line(),
                        column: error.marker().col() + 1,
                    };
                    (at, error.info().to_owned())
                })?;
                let first = documents.first().ok_or((start, "is empty".to_owned()))?;
                yaml(first, 0).ok_or((
                    start,
                    "is nested too deeply, or has no value that JSON has".to_owned(),
                ))
            }
        }
    }
}

/// Line and column of a byte.
fn position(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Position {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

fn toml(text: &str, item: &Item, depth: usize) -> Option<Node> {
    if depth > MOST_DEEP {
        return None;
    }
    let at = position(text, item.span().map_or(0, |span| span.start));
    if let Some(table) = item.as_table_like() {
        let members = table.iter().map(|(key, value)| {
            let node = toml(text, value, depth + 1)?;
            let at = table
                .key(key)
                .and_then(toml_edit::Key::span)
                .map_or(node.at, |span| position(text, span.start));
            Some(Member {
                key: key.to_owned(),
                at,
                node,
            })
        });
        let tree = Tree::Object(members.collect::<Option<_>>()?);
        return Some(Node { at, tree });
    }
    let tree = match item {
        Item::ArrayOfTables(tables) => Tree::Array(
            tables
                .iter()
                .map(|table| toml(text, &Item::Table(table.clone()), depth + 1))
                .collect::<Option<_>>()?,
        ),
        Item::Value(toml_edit::Value::Array(items)) => Tree::Array(
            items
                .iter()
                .map(|item| toml(text, &Item::Value(item.clone()), depth + 1))
                .collect::<Option<_>>()?,
        ),
        Item::Value(value) => Tree::Scalar(
            value
                .as_str()
                .map(Value::from)
                .or_else(|| value.as_integer().map(Value::from))
                .or_else(|| value.as_float().map(Value::from))
                .or_else(|| value.as_bool().map(Value::from))
                .unwrap_or_else(|| value.to_string().trim().into()),
        ),
        _ => Tree::Scalar(Value::Null),
    };
    Some(Node { at, tree })
}

fn yaml(node: &MarkedYaml<'_>, depth: usize) -> Option<Node> {
    if depth > MOST_DEEP {
        return None;
    }
    let place = |node: &MarkedYaml<'_>| Position {
        line: node.span.start.line(),
        column: node.span.start.col() + 1,
    };
    let text = |key: &MarkedYaml<'_>| match &key.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(value)) => Some(value.to_string()),
        _ => None,
    };
    let tree = match &node.data {
        YamlData::Value(scalar) => Tree::Scalar(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => (*value).into(),
            Scalar::Integer(number) => (*number).into(),
            Scalar::FloatingPoint(number) => number.into_inner().into(),
            Scalar::String(text) => text.as_ref().into(),
        }),
        YamlData::Sequence(items) => Tree::Array(
            items
                .iter()
                .map(|item| yaml(item, depth + 1))
                .collect::<Option<_>>()?,
        ),
        YamlData::Mapping(members) => {
            let member = |(key, value): (&MarkedYaml<'_>, &MarkedYaml<'_>)| {
                Some(Member {
                    key: text(key)?,
                    at: place(key),
                    node: yaml(value, depth + 1)?,
                })
            };
            Tree::Object(members.iter().map(member).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(Node {
        at: place(node),
        tree,
    })
}
