//! `mcpServers`: the entries of all files, each taken whole from the highest file that names it. An
//! error in an entry disables that entry alone. May not: start anything.
//!
//! From a file to entries: bytes → text → a tree with positions (`files`) → the sections that hold
//! servers → the fields of each entry by all their spellings, variables replaced → [`Upstream`].
//! What cannot be taken over is a warning; what restricts or authenticates, and cannot, disables
//! the entry.

pub(super) mod command;
mod entry;
mod environment;
pub(super) mod protections;
mod revision;
mod sandbox;
pub(super) mod section;
pub(super) mod selfref;
mod times;
mod transport;

use super::{
    files::{
        position::{Member, Node, Position, Tree},
        read::File,
    },
    layers::variables::Scope,
    model::{IsolationChoice, Upstream},
    problem::{Problem, Severity},
    schema,
};
use entry::Fields;
use ggen_wire::Code;
use selfref::Own;
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

/// Longest time-out, a day, in milliseconds.
pub(crate) const MAX_TIME: u64 = 86_400_000;

/// What the entries are read with.
pub(crate) struct Around<'a> {
    /// For `${VAR}`.
    pub env: &'a BTreeMap<String, String>,
    /// For `~`.
    pub home: Option<&'a Path>,
    /// The gateway's own address, to recognise entries that call it.
    pub own: &'a Own<'a>,
}

/// One entry as read.
pub(crate) struct Entry {
    /// Its name.
    pub name: String,
    /// The structure; disabled if anything is wrong with it.
    pub upstream: Upstream,
    /// What is wrong with it, or worth knowing.
    pub problems: Vec<Problem>,
    /// `file:line:column` of its key.
    pub source: String,
    /// The entry as it is written.
    pub written: serde_json::Value,
    wanted: bool,
}

impl Entry {
    /// The reason why the entry is not served although nobody switched it off.
    pub(crate) fn reason(&self) -> Option<&Problem> {
        let reasons = [Code::ConfigSelfReference, Code::ConfigUnserved];
        let disables = |problem: &&Problem| {
            problem.severity == Severity::Entry || reasons.contains(&problem.code)
        };
        let off = self.wanted && !self.upstream.enabled;
        self.problems
            .iter()
            .filter(|_| off)
            .filter(disables)
            .min_by_key(|problem| problem.severity)
    }
}

/// The entries of all files, highest first, in the order of the files.
pub(crate) fn entries(
    files: &[File],
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut names = HashSet::new();
    for file in files {
        let inputs = section::inputs(&file.root);
        let folder = section::project_folder(&file.path);
        let scope = Scope {
            env: around.env,
            folder: folder.as_deref(),
            home: around.home,
            inputs: &inputs,
        };
        for member in section::entries(file, problems) {
            if names.insert(member.key.clone()) {
                found.push(entry(file, member, &scope, around.own));
            }
        }
    }
    found
}

/// Whether a server of that name would be taken for the built-in tools: by its name, or by its key in
/// the names of its tools.
fn is_reserved(name: &str) -> bool {
    name.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .eq_ignore_ascii_case("core")
}

fn entry(file: &File, member: &Member, scope: &Scope<'_>, own: &Own<'_>) -> Entry {
    let mut fields = Fields::new(&member.key, file, &member.node, scope);
    judge_name_and_shape(&mut fields, member);
    let mut upstream = read(&mut fields, &member.node, file, scope);
    if upstream.enabled && own.is_called_by(&upstream.transport) {
        upstream.is_self = true;
        upstream.enabled = false;
        let what = "calls this gateway itself; not served";
        let problem = fields.problem(
            Severity::Warning,
            Code::ConfigSelfReference,
            "",
            member.at,
            what,
        );
        problem
            .help
            .push(format!("ggen mcp config unset {}", problem.path));
    }
    protections::judge_unused(&mut fields);
    if fields
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Entry)
    {
        upstream.enabled = false;
    }
    let source = file.place(member.at).to_string();
    Entry {
        name: member.key.clone(),
        upstream,
        wanted: fields.wanted,
        problems: fields.problems,
        source,
        written: member.node.value(),
    }
}

/// Whether the entry has a name that it may have, and is an object.
fn judge_name_and_shape(fields: &mut Fields<'_>, member: &Member) {
    if member.key.is_empty() {
        fields.problem(
            Severity::Entry,
            Code::ConfigValue,
            "",
            member.at,
            "the name is empty",
        );
    }
    if is_reserved(&member.key) {
        fields.problem(
            Severity::Entry,
            Code::ConfigValue,
            "",
            member.at,
            "this name is that of the built-in tools, in rules, too; choose another one",
        );
    }
    if !matches!(member.node.tree, Tree::Object(_)) {
        fields.problem(
            Severity::Entry,
            Code::ConfigType,
            "",
            member.node.at,
            "expected an object with `command` or `url`",
        );
    }
}

fn read(fields: &mut Fields<'_>, node: &Node, file: &File, scope: &Scope<'_>) -> Upstream {
    let enabled = switched_on(fields);
    fields.wanted = enabled;
    let timeout = times::call(fields);
    let startup_timeout = times::startup(fields);
    let max_restarts = fields
        .number("max_restarts", 0, u64::from(u32::MAX))
        .and_then(|number| u32::try_from(number).ok());
    let era = revision::era(fields);
    let protocol_version = revision::protocol_version(fields, era);
    let isolation = isolation(fields);
    let stateful = fields.boolean("stateful").unwrap_or_default();
    protections::judge(fields);
    let transport = transport::read(fields, node, file, scope);
    Upstream {
        transport,
        enabled,
        timeout: timeout.unwrap_or(Upstream::default_timeout()),
        startup_timeout: startup_timeout.unwrap_or(Upstream::default_startup_timeout()),
        max_restarts,
        era,
        protocol_version,
        isolation,
        stateful,
        is_self: false,
    }
}

fn switched_on(fields: &mut Fields<'_>) -> bool {
    let enabled = fields.spelt(&["enabled", "isActive"]);
    match (fields.boolean(enabled), fields.boolean("disabled")) {
        (Some(enabled), Some(disabled)) if enabled == disabled => {
            fields.problem(
                Severity::Entry,
                Code::ConfigValue,
                "disabled",
                fields.at("disabled"),
                "contradicts `enabled`",
            );
            true
        }
        (enabled, disabled) => enabled
            .or(disabled.map(|disabled| !disabled))
            .unwrap_or(true),
    }
}

/// `isolation`: its words, in the order of the documentation.
const ISOLATIONS: [(&str, IsolationChoice); 6] = [
    ("auto", IsolationChoice::Auto),
    ("shared", IsolationChoice::Shared),
    ("single", IsolationChoice::Single),
    ("per-session", IsolationChoice::PerSession),
    ("per-principal", IsolationChoice::PerPrincipal),
    ("per-call", IsolationChoice::PerCall),
];

fn isolation(fields: &mut Fields<'_>) -> IsolationChoice {
    let Some((word, at)) = fields.plain("isolation") else {
        return IsolationChoice::Auto;
    };
    if let Some((_, choice)) = ISOLATIONS.iter().find(|(known, _)| *known == word) {
        return *choice;
    }
    let known = ISOLATIONS.map(|(known, _)| known);
    let what = format!("expected \"{}\", found {word:?}", known.join("\", \""));
    fields
        .problem(Severity::Entry, Code::ConfigValue, "isolation", at, what)
        .suggestion = schema::did_you_mean(word, known);
    IsolationChoice::Auto
}

/// A value that disables the entry.
pub(super) fn value_problem<'f>(
    fields: &'f mut Fields<'_>,
    key: &str,
    at: Position,
    what: impl Into<String>,
) -> &'f mut Problem {
    fields.problem(Severity::Entry, Code::ConfigValue, key, at, what)
}
