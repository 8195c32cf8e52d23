//! A problem of a configuration: one structure for the log, `ggend check` and the tests. May not:
//! read anything, print anything.

use super::files::position::Position;
use ggen_wire::{Code, escape};
use serde::Serialize;
use std::fmt;

/// How far a problem reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// One entry of `mcpServers` is not served; the others are. `ggend check` counts it as an
    /// error.
    Entry,
    /// Worth knowing.
    Warning,
}

/// Where a value came from: a file, a variable or a flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Path of the file, name of the variable, or the flag.
    pub source: String,
    /// Where in the file.
    pub at: Option<Position>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        self.at
            .map_or(Ok(()), |at| write!(f, ":{}:{}", at.line, at.column))
    }
}

/// First words of a text that has its key path as the subject of the sentence.
const VERBS: [&str; 8] = [
    "is",
    "must",
    "holds",
    "stands",
    "belongs",
    "calls",
    "needs",
    "contradicts",
];

/// One problem. `Display` gives one line: place, key path, what, did-you-mean, code.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// How far it reaches.
    pub severity: Severity,
    /// The stable code.
    pub code: Code,
    /// Where.
    pub place: Location,
    /// The key path, `transports.http.port`; empty if it is about the file.
    pub path: String,
    /// What is wrong. Never shows a secret value.
    pub what: String,
    /// A key or value that was probably meant.
    pub suggestion: Option<String>,
    /// Commands that fix it.
    pub help: Vec<String>,
    /// The entry of `mcpServers` that it is about.
    pub server: Option<String>,
}

impl Problem {
    /// A problem without suggestion, help or entry.
    #[must_use]
    pub fn new(
        severity: Severity,
        code: Code,
        place: Location,
        path: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            place,
            path: escape::shown(&path.into()).into_owned(),
            what: escape::shown(&what.into()).into_owned(),
            suggestion: None,
            help: Vec::new(),
            server: None,
        }
    }

    /// The same with a did-you-mean.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// The same with one more command that fixes it.
    #[must_use]
    pub fn help(mut self, command: impl Into<String>) -> Self {
        self.help.push(command.into());
        self
    }

    /// The same, about an entry of `mcpServers`.
    #[must_use]
    pub fn of_server(mut self, name: &str) -> Self {
        self.server = Some(name.to_owned());
        self
    }

    /// The commands that fix it; where there is none, the one that explains it.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        if self.help.is_empty() {
            vec![format!("ggen mcp explain {}", self.code)]
        } else {
            self.help.iter().map(|command| quoted(command)).collect()
        }
    }

    /// Whether `ggend check` counts it as an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity != Severity::Warning
    }

    /// Key path, what is wrong and the did-you-mean, without place and code.
    #[must_use]
    pub fn text(&self) -> String {
        let first = self.what.split(' ').next().unwrap_or_default();
        let joint = if VERBS.contains(&first) { " " } else { ": " };
        let path = if self.path.is_empty() {
            String::new()
        } else {
            format!("{}{joint}", self.path)
        };
        let suggestion = self
            .suggestion
            .as_ref()
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        format!("{path}{}{suggestion}", self.what)
    }
}

/// A command that takes a key out, safe to paste: a shell would take the quotes of `mcpServers["a
/// b"]` away.
fn quoted(command: &str) -> String {
    match command.split_once(" unset ") {
        Some((verb, key))
            if key.contains([
                '"', ' ', '$', '*', '(', ';', '&', '|', '<', '>', '`', '#', '\\',
            ]) && !key.contains('\'') =>
        {
            format!("{verb} unset '{key}'")
        }
        _ => command.to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.source.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{} [{}]", self.text(), self.code)
    }
}

impl std::error::Error for Problem {}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Problem", 10)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("code", &self.code)?;
        fields.serialize_field("source", &self.place.source)?;
        fields.serialize_field("line", &self.place.at.map(|at| at.line))?;
        fields.serialize_field("column", &self.place.at.map(|at| at.column))?;
        fields.serialize_field("path", &self.path)?;
        fields.serialize_field("message", &self.what)?;
        fields.serialize_field("suggestion", &self.suggestion)?;
        fields.serialize_field("help", &self.commands())?;
        fields.serialize_field("server", &self.server)?;
        fields.end()
    }
}
