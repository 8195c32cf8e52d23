//! Keys of an entry that nobody has read. Those that describe the entry, or approve calls in one
//! client program, are left alone; what restricts or authenticates and is not served disables the
//! entry; of the rest there is a warning.

use super::entry::Fields;
use crate::config::{
    files::position::{Member, Tree},
    problem::Severity,
    schema,
};
use ggen_wire::Code;
use serde_json::Value;

/// Keys of later versions that protect the host.
const LATER: [&str; 2] = ["limits", "policy"];

/// Lists of tools that a client program offers or hides.
const TOOL_LISTS: [&str; 10] = [
    "includeTools",
    "excludeTools",
    "enabledTools",
    "disabledTools",
    "enabled_tools",
    "disabled_tools",
    "allowedTools",
    "available_tools",
    "tools",
    "toolFilter",
];

/// Parts of names that say how a server is logged in to, or what it may not do.
const PROTECTING: [&str; 22] = [
    "auth",
    "token",
    "secret",
    "credential",
    "password",
    "apikey",
    "api_key",
    "sandbox",
    "permission",
    "cert",
    "tls",
    "helper",
    "scope",
    "allowed",
    "denied",
    "deny",
    "blocked",
    "restrict",
    "readonly",
    "read_only",
    "requestinit",
    "serviceaccount",
];

/// Keys that say nothing about how a server is run: descriptions, and what one client program may do
/// without asking its user.
const SILENT: [&str; 30] = [
    "$schema",
    "alwaysAllow",
    "autoApprove",
    "autoStart",
    "bundled",
    "category",
    "comment",
    "description",
    "dev",
    "displayName",
    "display_name",
    "extensionName",
    "gallery",
    "homepage",
    "icon",
    "icons",
    "id",
    "isDefault",
    "metadata",
    "name",
    "note",
    "notes",
    "provider",
    "registry",
    "repository",
    "source",
    "tags",
    "title",
    "trust",
    "version",
];

/// Keys that are known to protect, and what is said of them.
pub(super) fn judge(fields: &mut Fields<'_>) {
    for key in LATER {
        if let Some(member) = fields.member(key)
            && schema::asks(&member.node.value())
            && !matches!(&member.node.tree, Tree::Scalar(Value::String(none)) if none == "none")
        {
            let what = "this version does not enforce it yet; the entry is not served without it";
            refuse(fields, key, member, what);
        }
    }
    for key in TOOL_LISTS {
        if let Some(member) = fields.member(key)
            && restricts(key, &member.node.value())
        {
            let what = "this version does not restrict tools here; the entry is not served without it. Rules can say the same: policy.rules";
            refuse(fields, key, member, what);
        }
    }
}

/// Whether a list of tools leaves any out.
fn restricts(key: &str, list: &Value) -> bool {
    match list {
        Value::Array(items) if items.is_empty() => key == "tools",
        Value::Array(items) => !items.contains(&Value::from("*")),
        Value::String(all) => !matches!(all.as_str(), "*" | ""),
        other => schema::asks(other),
    }
}

/// Every key that nobody has asked for.
pub(super) fn judge_unused(fields: &mut Fields<'_>) {
    for (member, meant) in fields.unused() {
        let key = member.key.as_str();
        if is_silent(key) {
            continue;
        }
        if meant.is_none() && protects(key) {
            if schema::asks(&member.node.value()) {
                let what = "restricts or authenticates, and this version does not support it; the entry is not served without it";
                refuse(fields, key, member, what);
            }
            continue;
        }
        fields
            .problem(
                Severity::Warning,
                Code::ConfigUnknownKey,
                key,
                member.at,
                "unknown key; not used",
            )
            .suggestion = meant;
    }
}

/// Whether a key is of no concern here.
pub(crate) fn is_silent(key: &str) -> bool {
    SILENT.contains(&key) || schema::foreign(key)
}

/// Whether a key sounds as if the server were open, or open to strangers, without it.
pub(crate) fn protects(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    PROTECTING.iter().any(|part| key.contains(part))
}

fn refuse(fields: &mut Fields<'_>, key: &str, member: &Member, what: &str) {
    if !fields.wanted {
        return;
    }
    let problem = fields.problem(Severity::Entry, Code::ConfigUnserved, key, member.at, what);
    let command = format!("ggen mcp config unset {}", problem.path);
    problem.help.push(command);
}
