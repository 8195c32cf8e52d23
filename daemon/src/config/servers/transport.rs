//! How an entry is reached: a command or an address, in all spellings that MCP clients use. The
//! fields of both kinds are read, so that each counts as known and what is wrong with it is said.

use super::{entry::Fields, environment, sandbox, value_problem};
use crate::config::{
    files::{
        position::{Node, Position, Tree},
        read::File,
    },
    layers::variables::Scope,
    model::{RemoteKind, UpstreamTransport},
    schema,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Which of the transports: Claude Code and VS Code write `type`, Codeium `transportType`, others
/// `transport`.
const KINDS: [&str; 3] = ["type", "transport", "transportType"];
/// Windsurf writes `serverUrl`, Gemini CLI `httpUrl`.
const ADDRESSES: [&str; 4] = ["url", "serverUrl", "httpUrl", "uri"];
const COMMANDS: [&str; 2] = ["command", "cmd"];

/// What an entry says that it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdio,
    Http,
    Sse,
}

impl Kind {
    fn of(text: &str) -> Option<Self> {
        let plain = text.to_ascii_lowercase().replace(['-', '_', ' '], "");
        Some(match plain.as_str() {
            "stdio" | "local" | "command" => Self::Stdio,
            "http" | "https" | "streamablehttp" | "httpstream" | "remote" => Self::Http,
            "sse" | "httpsse" => Self::Sse,
            _ => return None,
        })
    }
}

/// The transport.
pub(super) fn read(
    fields: &mut Fields<'_>,
    node: &Node,
    file: &File,
    scope: &Scope<'_>,
) -> UpstreamTransport {
    let (commands, addresses) = (fields.spelt(&COMMANDS), fields.spelt(&ADDRESSES));
    let kind = kind(fields);
    let remote = is_remote(fields, node, kind, (commands, addresses));
    let Words { program, args, env } = words(fields, commands, file, scope);
    let is_empty = program.trim().is_empty();
    let args = [args, fields.texts("args")].concat();
    let cwd = fields.spelt(&["cwd", "workingDirectory", "working_directory"]);
    let mut variables = environment::read(fields, file, scope);
    variables.extend(env);
    let stdio = UpstreamTransport::Stdio {
        command: program,
        args,
        env: variables,
        cwd: fields.text(cwd).map(|cwd| place_of(file, &cwd, scope)),
        sandbox: sandbox::read(fields, remote, |path| place_of(file, path, scope)).map(Box::new),
    };
    let url = fields.text(addresses).unwrap_or_default();
    let bad_url = bad_url(&url);
    let headers = fields.spelt(&["headers", "http_headers"]);
    let http = UpstreamTransport::Http {
        url,
        kind: match kind {
            Some((Kind::Sse, ..)) => RemoteKind::Sse,
            _ => RemoteKind::Http,
        },
        headers: fields.map(headers, bad_header),
    };
    if !remote && is_empty && (is_text(node, commands) || is_list(node, commands)) {
        let at = fields.at(commands);
        value_problem(fields, commands, at, "is empty");
    }
    if remote
        && is_text(node, addresses)
        && let Some(what) = bad_url.filter(|_| fields.wanted)
    {
        let at = fields.at(addresses);
        value_problem(fields, addresses, at, what);
    }
    if remote { http } else { stdio }
}

/// What the entry says that it is, and by which key.
fn kind(fields: &mut Fields<'_>) -> Option<(Kind, &'static str)> {
    let mut said: Option<(Kind, &'static str)> = None;
    for key in KINDS {
        let Some((text, at)) = fields.plain(key) else {
            continue;
        };
        match (Kind::of(text), said) {
            (Some(kind), None) => said = Some((kind, key)),
            (Some(kind), Some((first, other))) if kind != first => {
                value_problem(fields, key, at, format!("contradicts `{other}`"));
            }
            (Some(_), Some(_)) => {}
            (None, _) => unknown_kind(fields, key, text, at),
        }
    }
    said
}

fn unknown_kind(fields: &mut Fields<'_>, key: &str, text: &str, at: Position) {
    let known = ["stdio", "http", "streamable-http", "sse"];
    let meant = schema::did_you_mean(text, known);
    let what =
        format!("expected \"stdio\", \"http\", \"streamable-http\" or \"sse\", found {text:?}");
    value_problem(fields, key, at, what).suggestion = meant;
}

/// Whether the entry is a remote server, by what it says, else by the keys that it has.
fn is_remote(
    fields: &mut Fields<'_>,
    node: &Node,
    kind: Option<(Kind, &'static str)>,
    (command, address): (&'static str, &'static str),
) -> bool {
    let (has_command, has_url) = (fields.has(command), fields.has(address));
    let says_what = KINDS.iter().any(|key| fields.has(key));
    let remote = match kind {
        Some((kind, _)) => kind != Kind::Stdio,
        None if says_what => has_url,
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
    } else if let Some((_, key)) = kind
        && if remote { !has_url } else { !has_command }
    {
        let needed = if remote { "`url`" } else { "`command`" };
        let at = fields.at(key);
        value_problem(fields, key, at, format!("needs {needed}"));
    }
    remote
}

/// A command in parts.
#[derive(Default)]
struct Words {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// The command: a program, a list, one text with arguments, or Zed's former `{ "path", "args", "env" }`.
fn words(fields: &mut Fields<'_>, key: &'static str, file: &File, scope: &Scope<'_>) -> Words {
    let Some(member) = fields.member(key) else {
        return Words::default();
    };
    let at = member.node.at;
    match &member.node.tree {
        Tree::Array(_) => {
            let mut list = fields.texts(key).into_iter();
            Words {
                program: home(&list.next().unwrap_or_default(), scope.home),
                args: list.collect(),
                ..Words::default()
            }
        }
        Tree::Object(_) => of_object(fields, key, &member.node, scope),
        Tree::Scalar(Value::String(text)) => {
            let whole = home(&fields.expanded(key, text, at), scope.home);
            let is_one = !text.trim().contains(char::is_whitespace)
                || place_of(file, &whole, scope).is_file();
            if is_one {
                return Words {
                    program: whole,
                    ..Words::default()
                };
            }
            let Some(parts) = shlex::split(text) else {
                value_problem(fields, key, at, "has a quote that is not closed");
                return Words {
                    program: whole,
                    ..Words::default()
                };
            };
            let mut parts = parts.iter().map(|part| fields.expanded(key, part, at));
            Words {
                program: home(&parts.next().unwrap_or_default(), scope.home),
                args: parts.collect(),
                ..Words::default()
            }
        }
        // Says that it expected text.
        Tree::Scalar(_) => {
            fields.text(key);
            Words::default()
        }
    }
}

fn of_object(fields: &mut Fields<'_>, key: &str, node: &Node, scope: &Scope<'_>) -> Words {
    let mut words = Words::default();
    for member in node.members() {
        let path = schema::join(key, &member.key);
        match (member.key.as_str(), &member.node.tree) {
            ("path" | "command", _) => {
                let program = fields.scalar(&path, &member.node).unwrap_or_default();
                words.program = home(&program, scope.home);
            }
            ("args" | "arguments", Tree::Array(items)) => {
                words.args = items
                    .iter()
                    .filter_map(|item| fields.scalar(&path, item))
                    .collect();
            }
            ("env", Tree::Object(variables)) => {
                for variable in variables {
                    let path = schema::join(&path, &variable.key);
                    let value = fields.scalar(&path, &variable.node);
                    words
                        .env
                        .extend(value.map(|value| (variable.key.clone(), value)));
                }
            }
            (_, Tree::Scalar(Value::Null)) => {}
            _ => {
                value_problem(fields, &path, member.at, "is not known here");
            }
        }
    }
    words
}

fn is_list(node: &Node, key: &str) -> bool {
    node.member(key)
        .is_some_and(|member| matches!(&member.node.tree, Tree::Array(_)))
}

fn is_text(node: &Node, key: &str) -> bool {
    node.member(key)
        .is_some_and(|member| matches!(&member.node.tree, Tree::Scalar(Value::String(_))))
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

/// A path of an entry: `~/` is the home directory, a relative one is meant from the folder of its
/// file.
pub(super) fn place_of(file: &File, path: &str, scope: &Scope<'_>) -> PathBuf {
    let path = home(path, scope.home);
    file.path
        .parent()
        .map_or_else(|| PathBuf::from(&path), |folder| folder.join(&path))
}
