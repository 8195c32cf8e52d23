//! Reads `sandbox` of an `mcpServers` entry. Whether the kernel supports it is checked when the
//! server is started.

use super::entry::Fields;
use crate::config::{files::position::Tree, model::ServerSandbox, problem::Severity};
use ggen_wire::Code;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Least memory, in bytes: below that no program starts.
const LEAST_MEMORY: u64 = 1 << 20;
/// A thousand processors.
const MOST_PROCESSOR: u64 = 100_000;

/// Reads it. `place` makes an absolute path of an expanded text. What is wrong with it disables the
/// entry.
pub(crate) fn read(
    fields: &mut Fields<'_>,
    remote: bool,
    place: impl Fn(&str) -> PathBuf,
) -> Option<ServerSandbox> {
    let member = fields.member("sandbox")?;
    // An empty list of paths is a sandbox: nothing may be reached.
    let none = match &member.node.tree {
        Tree::Scalar(Value::String(none)) => none == "none",
        Tree::Scalar(value) => matches!(value, Value::Null | Value::Bool(false)),
        Tree::Object(members) => members.is_empty(),
        Tree::Array(_) => false,
    };
    if !fields.wanted || none {
        return None;
    }
    let mut wrong = |what: String| {
        fields.problem(
            Severity::Entry,
            Code::ConfigValue,
            "sandbox",
            member.at,
            what,
        );
    };
    if remote {
        wrong("is for stdio servers; this one is remote".to_owned());
        return None;
    }
    let mut found: ServerSandbox = match serde_json::from_value(member.node.value()) {
        Ok(found) => found,
        Err(error) => {
            wrong(error.to_string().replace('`', "\""));
            return None;
        }
    };
    limit_errors(&found).into_iter().for_each(&mut wrong);
    for paths in [&mut found.read, &mut found.write].into_iter().flatten() {
        for path in paths {
            let text = fields.expanded("sandbox", &path.to_string_lossy(), member.node.at);
            *path = place(&text);
            if !Path::is_absolute(path) {
                fields.problem(
                    Severity::Entry,
                    Code::ConfigValue,
                    "sandbox",
                    member.at,
                    format!("{} is no absolute path", path.display()),
                );
            }
        }
    }
    Some(found)
}

/// What is wrong with the limits.
fn limit_errors(sandbox: &ServerSandbox) -> Vec<String> {
    let limits = sandbox.limits;
    let family = limits.family;
    let mut errors = Vec::new();
    if limits.memory.is_some_and(|memory| memory.0 < LEAST_MEMORY) {
        errors.push("limits.memory: expected at least 1MB".to_owned());
    }
    let zero = [
        limits.cpu_seconds,
        limits.open_files,
        limits.processes,
        limits.file_size.map(|size| size.0),
    ]
    .contains(&Some(0));
    if zero || [family.processes, family.cpu_percent].contains(&Some(0)) {
        errors.push("limits: expected at least 1".to_owned());
    }
    if family.memory.is_some_and(|memory| memory.0 < LEAST_MEMORY) {
        errors.push("limits.family.memory: expected at least 1MB".to_owned());
    }
    if family
        .cpu_percent
        .is_some_and(|percent| percent > MOST_PROCESSOR)
    {
        errors.push(format!(
            "limits.family.cpu_percent: expected at most {MOST_PROCESSOR}; 100 is one processor"
        ));
    }
    if limits.processes.is_some() && sandbox.user.is_none() {
        let what =
            "limits.processes counts all processes of a user; name the server's own by \"user\"";
        errors.push(what.to_owned());
    }
    errors
}
