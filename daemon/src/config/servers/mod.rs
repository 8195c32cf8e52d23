//! `mcpServers`: the entries of all files, each taken whole from the highest file that names it. An
//! error in an entry disables that entry alone. May not: open files, start anything.

pub(super) mod command;
mod entry;
mod revision;
mod sandbox;
pub(super) mod selfref;

use super::{
    files::{
        position::{Member, Node, Position, Tree},
        read::File,
    },
    model::{IsolationChoice, RemoteKind, Upstream, UpstreamTransport},
    problem::{Problem, Severity},
    schema,
};
use entry::Fields;
use ggen_wire::Code;
use selfref::Own;
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
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
        let present: Vec<&Member> = schema::SERVERS
            .iter()
            .filter_map(|key| file.root.member(key))
            .collect();
        if let [_, second] = present[..] {
            let what = "stands beside `mcpServers`, which means the same; keep one of them";
            problems.push(Problem::new(
                Severity::Error,
                Code::ConfigUnknownKey,
                file.place(second.at),
                second.key.as_str(),
                what,
            ));
        }
        let Some(section) = present.first() else {
            continue;
        };
        if !matches!(section.node.tree, Tree::Object(_)) {
            let what = "expected an object, `{ \"name\": { … } }`";
            problems.push(Problem::new(
                Severity::Error,
                Code::ConfigType,
                file.place(section.node.at),
                section.key.as_str(),
                what,
            ));
            continue;
        }
        for member in section.node.members() {
            if names.insert(member.key.as_str()) {
                found.push(entry(file, member, around));
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

fn entry(file: &File, member: &Member, around: &Around<'_>) -> Entry {
    let mut fields = Fields::new(&member.key, file, &member.node, around.env);
    judge_name_and_shape(&mut fields, member);
    let mut upstream = read(&mut fields, &member.node, file, around);
    if upstream.enabled && around.own.is_called_by(&upstream.transport) {
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
    fields.unused();
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

fn read(fields: &mut Fields<'_>, node: &Node, file: &File, around: &Around<'_>) -> Upstream {
    let enabled = switched_on(fields);
    fields.wanted = enabled;
    let timeout = timeout(fields);
    let startup_timeout = fields.number("startup_timeout", 1, MAX_TIME);
    warn_of_low(fields, "startup_timeout", startup_timeout);
    let max_restarts = fields
        .number("max_restarts", 0, u64::from(u32::MAX))
        .and_then(|number| u32::try_from(number).ok());
    let era = revision::era(fields);
    let protocol_version = revision::protocol_version(fields, era);
    let isolation = isolation(fields);
    protections(fields);
    let transport = transport(fields, node, file, around);
    Upstream {
        transport,
        enabled,
        timeout: timeout.unwrap_or(Upstream::default_timeout()),
        startup_timeout: startup_timeout.unwrap_or(Upstream::default_startup_timeout()),
        max_restarts,
        era,
        protocol_version,
        isolation,
        is_self: false,
    }
}

/// `timeout`, which may be called `timeout_ms`.
fn timeout(fields: &mut Fields<'_>) -> Option<u64> {
    let timeout = match (
        fields.number("timeout", 1, MAX_TIME),
        fields.number("timeout_ms", 1, MAX_TIME),
    ) {
        (Some(_), Some(_)) => {
            fields.problem(
                Severity::Entry,
                Code::ConfigUnknownKey,
                "timeout_ms",
                fields.at("timeout_ms"),
                "stands beside `timeout`, which means the same",
            );
            None
        }
        (one, other) => one.or(other),
    };
    let key = if fields.has("timeout") {
        "timeout"
    } else {
        "timeout_ms"
    };
    warn_of_low(fields, key, timeout);
    timeout
}

/// A time that somebody meant in seconds.
fn warn_of_low(fields: &mut Fields<'_>, key: &str, time: Option<u64>) {
    if let Some(low) = time.filter(|low| *low < super::check::LOW_TIMEOUT) {
        fields.problem(
            Severity::Warning,
            Code::ConfigValue,
            key,
            fields.at(key),
            format!("is very low: {low} ms (milliseconds, not seconds)"),
        );
    }
}

fn switched_on(fields: &mut Fields<'_>) -> bool {
    match (fields.boolean("enabled"), fields.boolean("disabled")) {
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

fn isolation(fields: &mut Fields<'_>) -> IsolationChoice {
    match fields.plain("isolation") {
        None | Some(("shared", _)) => IsolationChoice::Shared,
        Some(("single", _)) => IsolationChoice::Single,
        Some(("per-session", _)) => IsolationChoice::PerSession,
        Some(("per-call", _)) => IsolationChoice::PerCall,
        Some((other, at)) => {
            let meant =
                schema::did_you_mean(other, ["shared", "single", "per-session", "per-call"]);
            let what = format!(
                "expected \"shared\", \"single\", \"per-session\" or \"per-call\", found {other:?}"
            );
            fields
                .problem(Severity::Entry, Code::ConfigValue, "isolation", at, what)
                .suggestion = meant;
            IsolationChoice::Shared
        }
    }
}

/// Keys of later versions that protect the host: an entry that asks for them does not run without.
fn protections(fields: &mut Fields<'_>) {
    for key in ["limits", "policy"] {
        if let Some(member) = fields.member(key)
            && fields.wanted
            && schema::asks(&member.node.value())
            && !matches!(&member.node.tree, Tree::Scalar(serde_json::Value::String(none)) if none == "none")
        {
            let what = "this version does not enforce it yet; the entry is not served without it";
            let problem =
                fields.problem(Severity::Entry, Code::ConfigUnserved, key, member.at, what);
            problem
                .help
                .push(format!("ggen mcp config unset {}", problem.path));
        }
    }
    for key in [
        "includeTools",
        "excludeTools",
        "enabledTools",
        "disabledTools",
        "enabled_tools",
        "disabled_tools",
        "allowedTools",
        "tools",
    ] {
        if let Some(member) = fields.member(key) {
            let what = "restricts nothing in this version: every tool of the server is served";
            fields.problem(
                Severity::Warning,
                Code::ConfigUnserved,
                key,
                member.at,
                what,
            );
        }
    }
}

/// The transport. The fields of both kinds are read, so that each counts as known and what is wrong
/// with it is said.
fn transport(
    fields: &mut Fields<'_>,
    node: &Node,
    file: &File,
    around: &Around<'_>,
) -> UpstreamTransport {
    let kind = fields.plain("type");
    let remote = is_remote(fields, node, kind);
    let command = fields
        .text("command")
        .map(|command| home(&command, around.home))
        .unwrap_or_default();
    let is_empty = command.trim().is_empty();
    let stdio = UpstreamTransport::Stdio {
        command,
        args: fields.texts("args"),
        env: fields.map("env", |name, _| {
            (name.is_empty() || name.contains(['=', '\0']))
                .then_some("not a name of an environment variable")
        }),
        cwd: fields
            .text("cwd")
            .map(|cwd| below(file, home(&cwd, around.home))),
        sandbox: sandbox::read(fields, remote, |path| below(file, home(path, around.home)))
            .map(Box::new),
    };
    let url = fields.text("url").unwrap_or_default();
    let bad_url = bad_url(&url);
    let http = UpstreamTransport::Http {
        url,
        kind: if matches!(kind, Some(("sse", _))) {
            RemoteKind::Sse
        } else {
            RemoteKind::Http
        },
        headers: fields.map("headers", bad_header),
    };
    if !remote && is_empty && is_text(node, "command") {
        let at = fields.at("command");
        value_problem(fields, "command", at, "is empty");
    }
    if remote
        && is_text(node, "url")
        && let Some(what) = bad_url.filter(|_| fields.wanted)
    {
        let at = fields.at("url");
        value_problem(fields, "url", at, what);
    }
    if remote { http } else { stdio }
}

/// Whether the entry is a remote server, by `type`, else by the keys that it has.
fn is_remote(fields: &mut Fields<'_>, node: &Node, kind: Option<(&str, Position)>) -> bool {
    let (has_command, has_url) = (fields.has("command"), fields.has("url"));
    let remote = match kind {
        Some(("stdio", _)) => false,
        Some(("http" | "streamable-http" | "streamableHttp" | "streamable_http" | "sse", _)) => {
            true
        }
        Some((other, at)) => {
            let meant = schema::did_you_mean(other, ["stdio", "http", "streamable-http", "sse"]);
            let what = format!(
                "expected \"stdio\", \"http\", \"streamable-http\" or \"sse\", found {other:?}"
            );
            value_problem(fields, "type", at, what).suggestion = meant;
            has_url
        }
        None => {
            if has_command && has_url {
                let what = "has both `command` and `url`; keep one of them, or say which by `type`";
                value_problem(fields, "", node.at, what);
            }
            has_url && !has_command
        }
    };
    if node.members().is_empty() || !(has_command || has_url) {
        if matches!(node.tree, Tree::Object(_)) {
            let what = "needs `command` (a program) or `url` (a remote server)";
            value_problem(fields, "", node.at, what);
        }
    } else if kind.is_some() && if remote { !has_url } else { !has_command } {
        let needed = if remote { "`url`" } else { "`command`" };
        let at = fields.at("type");
        value_problem(fields, "type", at, format!("needs {needed}"));
    }
    remote
}

/// A value that disables the entry.
fn value_problem<'f>(
    fields: &'f mut Fields<'_>,
    key: &str,
    at: Position,
    what: impl Into<String>,
) -> &'f mut Problem {
    fields.problem(Severity::Entry, Code::ConfigValue, key, at, what)
}

fn is_text(node: &Node, key: &str) -> bool {
    node.member(key).is_some_and(|member| {
        matches!(
            &member.node.tree,
            Tree::Scalar(serde_json::Value::String(_))
        )
    })
}

fn bad_url(url: &str) -> Option<&'static str> {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return Some("not a URL");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Some("the URL must begin with http:// or https://");
    }
    uri.host()
        .is_none_or(str::is_empty)
        .then_some("the URL has no host")
}

fn bad_header(name: &str, value: &str) -> Option<&'static str> {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Some("not a header name");
    }
    http::HeaderValue::from_str(value)
        .is_err()
        .then_some("the value cannot stand in a header")
}

/// `~` and `~/…`, as in a shell; `~user` stays as it is.
fn home(text: &str, home: Option<&Path>) -> String {
    match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            format!("{}{rest}", home.display())
        }
        _ => text.to_owned(),
    }
}

/// A relative directory is meant from the folder of its file.
fn below(file: &File, path: String) -> PathBuf {
    file.path
        .parent()
        .map_or_else(|| PathBuf::from(&path), |folder| folder.join(&path))
}
