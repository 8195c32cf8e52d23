//! The fields of one `mcpServers` entry: read with their types and positions, variables expanded.
//! Problems here disable this entry only.

use crate::config::{
    files::{
        position::{Member, Node, Position, Tree},
        read::File,
    },
    layers::variables::{self, Scope},
    problem::{Problem, Severity},
    schema,
};
use ggen_wire::Code;
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads the fields of an entry and remembers which were asked for.
pub(crate) struct Fields<'a> {
    /// Name of the entry.
    pub name: &'a str,
    file: &'a File,
    node: &'a Node,
    scope: &'a Scope<'a>,
    /// Whether the entry is to run: variables of others are not looked for.
    pub wanted: bool,
    used: Vec<&'static str>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Of the entry at `node`, with what its variables stand for.
    pub(crate) fn new(name: &'a str, file: &'a File, node: &'a Node, scope: &'a Scope<'a>) -> Self {
        Self {
            name,
            file,
            node,
            scope,
            wanted: true,
            used: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// `mcpServers.NAME.key`
    pub(crate) fn path(&self, key: &str) -> String {
        let plain = !self.name.is_empty()
            && self
                .name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c));
        let entry = if plain {
            format!("mcpServers.{}", self.name)
        } else {
            format!("mcpServers[{:?}]", self.name)
        };
        if key.is_empty() {
            entry
        } else {
            schema::join(&entry, key)
        }
    }

    /// Notes a problem at a position.
    pub(crate) fn problem(
        &mut self,
        severity: Severity,
        code: Code,
        key: &str,
        at: Position,
        what: impl Into<String>,
    ) -> &mut Problem {
        let problem = Problem::new(severity, code, self.file.place(at), self.path(key), what)
            .of_server(self.name);
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Where a key's value stands; the entry's own place if it has no such key.
    pub(crate) fn at(&self, key: &str) -> Position {
        self.node
            .member(key)
            .map_or(self.node.at, |member| member.node.at)
    }

    /// Whether the entry has that key with a value; null counts as absent, because exporters write
    /// it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.node
            .member(key)
            .is_some_and(|member| member.node.tree != Tree::Scalar(Value::Null))
    }

    /// The raw member, marked as known; null counts as absent.
    pub(crate) fn member(&mut self, key: &'static str) -> Option<&'a Member> {
        self.used.push(key);
        self.node.member(key).filter(|_| self.has(key))
    }

    /// Which of several keys that mean the same the entry has; the first if it has none. A second
    /// one is a problem.
    pub(crate) fn spelt(&mut self, keys: &[&'static str]) -> &'static str {
        self.used.extend(keys);
        let present: Vec<&'static str> = keys.iter().copied().filter(|key| self.has(key)).collect();
        if let [first, second, ..] = present[..] {
            let what = format!("stands beside `{first}`, which means the same");
            let at = self.at(second);
            self.problem(Severity::Entry, Code::ConfigUnknownKey, second, at, what);
        }
        present
            .first()
            .or(keys.first())
            .copied()
            .unwrap_or_default()
    }

    fn wrong_type(&mut self, key: &str, at: Position, expected: &str) {
        self.problem(
            Severity::Entry,
            Code::ConfigType,
            key,
            at,
            format!("expected {expected}"),
        );
    }

    /// true or false
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let member = self.member(key)?;
        let Tree::Scalar(Value::Bool(value)) = &member.node.tree else {
            self.wrong_type(key, member.node.at, "true or false");
            return None;
        };
        Some(*value)
    }

    /// A whole number in a range.
    pub(crate) fn number(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let member = self.member(key)?;
        match &member.node.tree {
            Tree::Scalar(Value::Number(number))
                if number.as_u64().is_some_and(|n| (least..=most).contains(&n)) =>
            {
                number.as_u64()
            }
            Tree::Scalar(Value::Number(number)) => {
                let what =
                    format!("expected a whole number from {least} to {most}, found {number}");
                self.problem(
                    Severity::Entry,
                    Code::ConfigValue,
                    key,
                    member.node.at,
                    what,
                );
                None
            }
            _ => {
                self.wrong_type(key, member.node.at, "a whole number");
                None
            }
        }
    }

    /// Text, as it stands.
    pub(crate) fn plain(&mut self, key: &'static str) -> Option<(&'a str, Position)> {
        let member = self.member(key)?;
        let Tree::Scalar(Value::String(text)) = &member.node.tree else {
            self.wrong_type(key, member.node.at, "text");
            return None;
        };
        Some((text, member.node.at))
    }

    /// Text, expanded.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let (text, at) = self.plain(key)?;
        Some(self.expanded(key, text, at))
    }

    /// A list of texts, expanded; numbers and booleans are taken as text.
    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(member) = self.member(key) else {
            return Vec::new();
        };
        let Tree::Array(items) = &member.node.tree else {
            self.wrong_type(key, member.node.at, "a list of texts");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.scalar(&format!("{key}[{index}]"), item))
            .collect()
    }

    /// Texts by name, expanded; numbers and booleans are taken as text. `valid` says what is wrong
    /// with a name and value.
    pub(crate) fn map(
        &mut self,
        key: &'static str,
        valid: impl Fn(&str, &str) -> Option<&'static str>,
    ) -> BTreeMap<String, String> {
        let Some(member) = self.member(key) else {
            return BTreeMap::new();
        };
        if !matches!(member.node.tree, Tree::Object(_)) {
            self.wrong_type(key, member.node.at, "an object of texts");
            return BTreeMap::new();
        }
        let mut map = BTreeMap::new();
        for member in member.node.members() {
            let path = schema::join(key, &member.key);
            let Some(value) = self.scalar(&path, &member.node) else {
                continue;
            };
            match valid(&member.key, &value) {
                Some(what) => {
                    self.problem(Severity::Entry, Code::ConfigValue, &path, member.at, what);
                }
                None => {
                    map.insert(member.key.clone(), value);
                }
            }
        }
        map
    }

    /// A text, a number or a boolean, expanded.
    pub(crate) fn scalar(&mut self, path: &str, node: &Node) -> Option<String> {
        match &node.tree {
            Tree::Scalar(Value::String(text)) => Some(self.expanded(path, text, node.at)),
            Tree::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            _ => {
                self.wrong_type(path, node.at, "text");
                None
            }
        }
    }

    /// A text with its variables put in.
    pub(crate) fn expanded(&mut self, path: &str, text: &str, at: Position) -> String {
        if !self.wanted {
            return text.to_owned();
        }
        match variables::expand_in(text, self.scope) {
            Ok(expanded) if expanded.contains('\0') => {
                self.problem(
                    Severity::Entry,
                    Code::ConfigValue,
                    path,
                    at,
                    "holds a NUL character",
                );
                String::new()
            }
            Ok(expanded) => expanded,
            Err(variables::Unexpanded { what, help }) => {
                let problem = self.problem(Severity::Entry, Code::ConfigVariable, path, at, what);
                problem.help.extend(help);
                text.to_owned()
            }
        }
    }

    /// The keys that nobody has asked for, each with one that was probably meant.
    pub(crate) fn unused(&mut self) -> Vec<(&'a Member, Option<String>)> {
        let known = std::mem::take(&mut self.used);
        self.node
            .members()
            .iter()
            .filter(|member| !known.contains(&member.key.as_str()))
            .map(|member| {
                let meant = schema::did_you_mean(&member.key, known.iter().copied());
                (member, meant)
            })
            .collect()
    }
}
