//! Removes secrets from what is shown: `config show`, the built-in tools, logs. Environment values
//! and headers are hidden unless their name is on a short list. May not: decide anything but what
//! is shown.

use crate::config::model::{Config, UpstreamTransport};
use serde_json::Value;
use std::collections::BTreeMap;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

const SECRET_PARTS: [&str; 20] = [
    "TOKEN",
    "KEY",
    "SECRET",
    "PASS",
    "PWD",
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "SESSION",
    "PRIVATE",
    "SIGNATURE",
    "BEARER",
    "JWT",
    "DSN",
    "OTP",
    "LICENSE",
    "WEBHOOK",
    "CONNECTION_STRING",
    "CERT",
    "APIKEY",
];

const SECRET_WORDS: [&str; 5] = ["PAT", "SIG", "PIN", "CODE", "SAS"];

const SAFE_ENV: [&str; 26] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "PWD",
    "NODE_ENV",
    "NODE_OPTIONS",
    "DEBUG",
    "LOG_LEVEL",
    "LOGLEVEL",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "PYTHONUNBUFFERED",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "PORT",
    "HOST",
    "NO_COLOR",
];

const SAFE_HEADERS: [&str; 9] = [
    "accept",
    "accept-language",
    "accept-encoding",
    "user-agent",
    "content-type",
    "host",
    "origin",
    "referer",
    "mcp-protocol-version",
];

/// Beginnings of well-known tokens.
const TOKEN_STARTS: [&str; 24] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "eyJ",
    "ggen_sk_",
    "npm_",
    "pypi-",
    "hf_",
    "lin_api_",
];

/// The configuration as JSON, with every secret replaced by `***`. It keeps the shape of the file;
/// it is for people, not for loading.
#[must_use]
pub fn redacted(config: &Config) -> Value {
    let mut shown = config.clone();
    shown.description = shown.description.map(|description| text(&description));
    shown.metadata = shown.metadata.map(|metadata| json(&metadata));
    for upstream in shown.mcp_servers.values_mut() {
        match &mut upstream.transport {
            UpstreamTransport::Stdio {
                command,
                args,
                env,
                cwd: _,
                sandbox: _,
            } => {
                *command = text(command);
                *args = arguments(args);
                hide(env, env_is_safe);
            }
            UpstreamTransport::Http {
                url: address,
                headers,
                ..
            } => {
                *address = word(address);
                hide(headers, header_is_safe);
            }
        }
    }
    serde_json::to_value(shown).unwrap_or_default()
}

/// An entry as it is written in the file, without secrets. `${VAR}` stays: it names a secret and
/// does not tell it.
#[must_use]
pub(crate) fn entry(written: &Value) -> Value {
    let Value::Object(members) = written else {
        return json(written);
    };
    let shown = members.iter().map(|(key, value)| {
        let shown = match (key.as_str(), value) {
            ("env", Value::Object(map)) => Value::Object(
                map.iter()
                    .map(|(name, value)| (name.clone(), named(name, value, env_is_safe)))
                    .collect(),
            ),
            ("headers", Value::Object(map)) => Value::Object(
                map.iter()
                    .map(|(name, value)| (name.clone(), named(name, value, header_is_safe)))
                    .collect(),
            ),
            ("args", Value::Array(items)) => {
                // A number may be the value of the option before it.
                let texts: Vec<String> = items
                    .iter()
                    .map(|item| {
                        item.as_str()
                            .map_or_else(|| item.to_string(), str::to_owned)
                    })
                    .collect();
                arguments(&texts).into()
            }
            ("url", Value::String(address)) => word(address).into(),
            _ => json(&Value::Object(serde_json::Map::from_iter([(
                key.clone(),
                value.clone(),
            )])))[key]
                .clone(),
        };
        (key.clone(), shown)
    });
    Value::Object(shown.collect())
}

fn named(name: &str, value: &Value, safe: impl Fn(&str) -> bool) -> Value {
    match value {
        Value::String(content) if only_variables(content) => content.as_str().into(),
        Value::String(content) if safe(name) => text(content).into(),
        Value::Null => Value::Null,
        _ => HIDDEN.into(),
    }
}

/// Whether a text is `${VAR}`, perhaps behind one word such as `Bearer`, and holds no default.
fn only_variables(content: &str) -> bool {
    let last = content
        .strip_prefix("Bearer ")
        .or_else(|| content.strip_prefix("Basic "))
        .unwrap_or(content);
    last.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| {
            let name = name.strip_prefix("env:").unwrap_or(name);
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

/// Any JSON outside `mcpServers`, without secrets.
#[must_use]
pub(crate) fn value(value: &Value) -> Value {
    json(value)
}

fn hide(map: &mut BTreeMap<String, String>, safe: impl Fn(&str) -> bool) {
    for (name, value) in map {
        *value = if safe(name) {
            text(value)
        } else {
            HIDDEN.to_owned()
        };
    }
}

fn header_is_safe(name: &str) -> bool {
    SAFE_HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

fn env_is_safe(name: &str) -> bool {
    SAFE_ENV.contains(&name)
}

/// Whether a name sounds like a secret's.
#[must_use]
pub(crate) fn secret_name(name: &str) -> bool {
    let name = name
        .trim_start_matches('-')
        .to_ascii_uppercase()
        .replace('-', "_");
    SECRET_PARTS.iter().any(|part| name.contains(part))
        || name.split('_').any(|part| SECRET_WORDS.contains(&part))
}

/// Whether a word begins as well-known tokens do.
#[must_use]
pub(crate) fn known_token(word: &str) -> bool {
    word.len() >= 12 && TOKEN_STARTS.iter().any(|start| word.starts_with(start))
}

/// Whether a word looks like a token by itself: a well-known beginning, or long and mixed of
/// letters and digits.
#[must_use]
pub(crate) fn token_like(word: &str) -> bool {
    if word.starts_with(['/', '.', '~', '@']) {
        return false;
    }
    if known_token(word) {
        return true;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let plain = word
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.~+/=".contains(&b));
    word.len() >= 20 && digits >= 3 && letters >= 3 && plain
}

/// A command line's arguments without secrets: values of options such as `--token`, headers,
/// `NAME=value`, URLs, JSON, tokens.
#[must_use]
pub fn arguments(args: &[String]) -> Vec<String> {
    let mut before = "";
    args.iter()
        .map(|argument| {
            let shown = argument_after(before, argument);
            before = argument;
            shown
        })
        .collect()
}

fn argument_after(before: &str, argument: &str) -> String {
    let names_secret = before.starts_with('-') && !before.contains('=') && secret_name(before);
    if names_secret && !argument.starts_with("--") {
        return HIDDEN.to_owned();
    }
    match before {
        "-u" | "--user" if argument.contains(':') => HIDDEN.to_owned(),
        "-e" | "--env" => match argument.split_once('=') {
            Some((name, value)) if env_is_safe(name) => format!("{name}={}", text(value)),
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => argument.to_owned(),
        },
        "-H" | "--header" | "--headers" => match argument.split_once(':') {
            Some((name, _))
                if !SAFE_HEADERS.contains(&name.trim().to_ascii_lowercase().as_str()) =>
            {
                format!("{name}: {HIDDEN}")
            }
            _ => text(argument),
        },
        _ => text(argument),
    }
}

/// Free text without the secrets that can be recognised in it.
#[must_use]
pub fn text(argument: &str) -> String {
    if argument.starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str::<Value>(argument)
    {
        return json(&value).to_string();
    }
    if let Some(end) = argument.find([':', '=']) {
        let (name, rest) = argument.split_at(end);
        let plain = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if plain && secret_name(name) && !rest.starts_with("://") {
            return format!("{name}{}{HIDDEN}", &rest[..1]);
        }
    }
    let mut scheme_before = false;
    argument
        .split(' ')
        .map(|part| {
            if part.is_empty() {
                return String::new();
            }
            let shown = if scheme_before {
                HIDDEN.to_owned()
            } else {
                word(part)
            };
            let bare = part.rsplit([':', '=', '"', '\'']).next().unwrap_or(part);
            scheme_before =
                ["bearer", "basic", "token"].contains(&bare.to_ascii_lowercase().as_str());
            shown
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// JSON without secrets: values of secret names, tokens anywhere.
fn json(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| {
                    (
                        key.clone(),
                        if secret_name(key) && !value.is_null() {
                            HIDDEN.into()
                        } else {
                            json(value)
                        },
                    )
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        Value::String(content) => Value::String(text(content)),
        other => other.clone(),
    }
}

fn word(part: &str) -> String {
    if let Some(scheme) = part.find("://") {
        let (before, after) = part.split_at(scheme + 3);
        return format!("{before}{}", url_rest(after));
    }
    if let Some((name, value)) = part.split_once(['=', ':'])
        && secret_name(name)
        && !value.is_empty()
    {
        return format!("{}{HIDDEN}", &part[..=name.len()]);
    }
    match part.split_once('=') {
        Some((name, value)) if token_like(value) => format!("{name}={HIDDEN}"),
        _ if token_like(part) => HIDDEN.to_owned(),
        _ => part.to_owned(),
    }
}

/// What follows `://`.
fn url_rest(after: &str) -> String {
    let authority = after.find(['/', '?', '#']).unwrap_or(after.len());
    let odd_password = after[..authority]
        .split_once(':')
        .is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
    let at = if odd_password {
        after.rfind('@')
    } else {
        after[..authority].rfind('@')
    };
    let (user, after) = at.map_or(("", after), |at| ("***@", &after[at + 1..]));
    let (path, query) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
    let path: Vec<_> = path
        .split('/')
        .map(|segment| if token_like(segment) { HIDDEN } else { segment })
        .collect();
    let mut shown = format!("{user}{}", path.join("/"));
    for parameter in query.split_inclusive(['?', '&', '#', ';']) {
        let (body, end) =
            parameter.split_at(parameter.trim_end_matches(['?', '&', '#', ';']).len());
        shown.push_str(&match body.split_once('=') {
            Some((name, value)) if secret_name(name) || token_like(value) => {
                format!("{name}={HIDDEN}")
            }
            _ if token_like(body) => HIDDEN.to_owned(),
            _ => body.to_owned(),
        });
        shown.push_str(end);
    }
    shown
}
