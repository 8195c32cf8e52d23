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

/// Pieces of JSON that are looked for in one text.
const MOST_JSON: usize = 16;
const QUOTES: [char; 3] = ['"', '\'', '`'];

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
            ("env" | "environment", Value::Object(map)) => Value::Object(
                map.iter()
                    .map(|(name, value)| (name.clone(), named(name, value, env_is_safe)))
                    .collect(),
            ),
            ("headers" | "http_headers", Value::Object(map)) => Value::Object(
                map.iter()
                    .map(|(name, value)| (name.clone(), named(name, value, header_is_safe)))
                    .collect(),
            ),
            ("args" | "command" | "cmd", Value::Array(items)) => {
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
            ("url" | "serverUrl" | "httpUrl" | "uri", Value::String(address)) => {
                word(address).into()
            }
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
    // `--name=value` is shown as `--name value` would be.
    if argument.starts_with('-')
        && let Some((name, value)) = argument.split_once('=')
        && !value.is_empty()
    {
        return format!("{name}={}", argument_after(name, value));
    }
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
    let mut shown = String::new();
    let mut rest = argument;
    // JSON anywhere in it; a text with more of it than this is no command line.
    for _ in 0..MOST_JSON {
        let Some((at, length, value)) = first_json(rest) else {
            break;
        };
        let before = &rest[..at];
        shown.push_str(&plain_text(before));
        if before.rsplit(' ').next().and_then(secret_value).is_some() {
            // It belongs to a secret, which may end anywhere.
            if !shown.ends_with(HIDDEN) {
                shown.push_str(HIDDEN);
            }
            return shown;
        }
        shown.push_str(&json(&value).to_string());
        rest = &rest[at + length..];
    }
    shown.push_str(&plain_text(rest));
    shown
}

/// The first JSON object or array in a text that names a member: where it begins, its length, and
/// what it says.
fn first_json(text: &str) -> Option<(usize, usize, Value)> {
    text.match_indices(['{', '['])
        .take(MOST_JSON)
        .find_map(|(at, _)| {
            let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            let value = values.next()?.ok()?;
            Some((at, values.byte_offset(), value))
        })
}

/// Text that holds no JSON.
fn plain_text(argument: &str) -> String {
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
    let mut shown: Vec<String> = Vec::new();
    for part in argument.split(' ') {
        if part.is_empty() {
            shown.push(String::new());
            continue;
        }
        // A value in quotes may go on behind the next space.
        let quoted = match secret_value(part) {
            Some(at) => part[at..].starts_with(QUOTES),
            None => scheme_before && part.starts_with(QUOTES),
        };
        shown.push(if scheme_before {
            HIDDEN.to_owned()
        } else {
            word(part)
        });
        if quoted {
            break;
        }
        let bare = part.rsplit([':', '=', '"', '\'']).next().unwrap_or(part);
        scheme_before = ["bearer", "basic", "token"].contains(&bare.to_ascii_lowercase().as_str())
            || secret_value(part) == Some(part.len());
    }
    shown.join(" ")
}

/// Where the value begins that a secret name stands before: `password=`, `"apiKey":`, in the middle
/// of a word, too.
fn secret_value(part: &str) -> Option<usize> {
    part.match_indices(['=', ':']).find_map(|(at, _)| {
        let before = part[..at].trim_end_matches(QUOTES);
        let start = before
            .rfind(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c))
            .map_or(0, |other| {
                other + before[other..].chars().next().map_or(1, char::len_utf8)
            });
        secret_name(&before[start..]).then_some(at + 1)
    })
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
    let scheme = part.find("://");
    if let Some(at) = secret_value(&part[..scheme.unwrap_or(part.len())])
        && at < part.len()
    {
        return format!("{}{HIDDEN}", &part[..at]);
    }
    if let Some(scheme) = scheme {
        let (before, after) = part.split_at(scheme + 3);
        return format!("{before}{}", url_rest(after));
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
