//! What it takes to get from one configuration to another. Pure: compares, and does nothing.

use crate::config::{Config, Upstream, UpstreamTransport};
use ggen_wire::{
    plan::{Change, Effect, Plan},
    status::Tool,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Keys that are no settings of ours, or are compared entry by entry.
const APART: [&str; 3] = ["metadata", "mcpServers", "__order"];

/// What happens to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is new, or switched on.
    Appears,
    /// It is gone, or switched off.
    Vanishes,
    /// Another server stands under its name: by a command now and by an address before, or the
    /// other way round.
    Replaced,
    /// Its child is started again.
    Restarts,
    /// It is greeted again at another address, or with other headers.
    Reconnects,
    /// Limits change; nothing is interrupted.
    InPlace,
}

/// The whole plan.
pub(crate) fn plan(old: &Config, new: &Config, generation: u32) -> Plan {
    let mut changes = settings(old, new);
    changes.extend(steps(old, new).into_iter().map(|(name, step)| {
        let keys = changed_keys(old.mcp_servers.get(&name), new.mcp_servers.get(&name));
        let (effect, what) = describe(step, &keys, new.mcp_servers.get(&name));
        Change {
            setting: format!("mcpServers.{name}"),
            from: None,
            to: None,
            effect,
            what,
            tools: Vec::new(),
        }
    }));
    Plan {
        generation,
        changes,
    }
}

/// The upstream whose tools a change concerns.
fn concerned(change: &Change) -> Option<&str> {
    let effects = [Effect::Removed, Effect::Restarted, Effect::Reconnected];
    change
        .setting
        .strip_prefix("mcpServers.")
        .filter(|_| effects.contains(&change.effect))
}

/// Whether tools of some upstream are concerned.
pub(crate) fn concerns_tools(plan: &Plan) -> bool {
    plan.changes
        .iter()
        .any(|change| concerned(change).is_some())
}

/// Adds the names of the tools that each change concerns.
pub(crate) fn name_tools(plan: &mut Plan, tools: &[Tool]) {
    for change in &mut plan.changes {
        let Some(name) = concerned(change) else {
            continue;
        };
        let own = tools.iter().filter(|tool| tool.server == name);
        change.tools = own.map(|tool| tool.name.clone()).collect();
    }
}

/// The upstreams of a configuration whose start, by these steps, is to be waited for.
pub(crate) fn touched(steps: BTreeMap<String, Step>, config: &Config) -> BTreeSet<String> {
    let starts = |step: &Step| {
        matches!(
            step,
            Step::Appears | Step::Replaced | Step::Restarts | Step::Reconnects
        )
    };
    let serves = |name: &String| {
        let upstream = config.mcp_servers.get(name);
        upstream.is_some_and(|upstream| upstream.enabled && !upstream.is_self)
    };
    steps
        .into_iter()
        .filter(|(name, step)| serves(name) && starts(step))
        .map(|(name, _)| name)
        .collect()
}

/// What happens to each upstream whose entry differs.
pub(crate) fn steps(old: &Config, new: &Config) -> BTreeMap<String, Step> {
    let names: BTreeSet<&String> = old
        .mcp_servers
        .keys()
        .chain(new.mcp_servers.keys())
        .collect();
    let step = |name: &&String| step(old.mcp_servers.get(*name), new.mcp_servers.get(*name));
    names
        .into_iter()
        .filter_map(|name| Some((name.clone(), step(&name)?)))
        .collect()
}

/// What happens to an upstream.
pub(crate) fn step(old: Option<&Upstream>, new: Option<&Upstream>) -> Option<Step> {
    let serves = |upstream: Option<&Upstream>| {
        upstream.is_some_and(|upstream| upstream.enabled && !upstream.is_self)
    };
    Some(match (old, new) {
        (old, new) if old == new => return None,
        (None, _) => Step::Appears,
        (_, None) => Step::Vanishes,
        (Some(old), Some(new)) => match (serves(Some(old)), serves(Some(new))) {
            (false, true) => Step::Appears,
            (true, false) => Step::Vanishes,
            (false, false) => Step::InPlace,
            (true, true) => match (&old.transport, &new.transport) {
                (UpstreamTransport::Stdio { .. }, UpstreamTransport::Http { .. })
                | (UpstreamTransport::Http { .. }, UpstreamTransport::Stdio { .. }) => {
                    Step::Replaced
                }
                (one, other)
                    if one == other
                        && old.era == new.era
                        && old.protocol_version == new.protocol_version =>
                {
                    Step::InPlace
                }
                (UpstreamTransport::Stdio { .. }, _) => Step::Restarts,
                (UpstreamTransport::Http { .. }, _) => Step::Reconnects,
            },
        },
    })
}

fn describe(step: Step, keys: &str, new: Option<&Upstream>) -> (Effect, String) {
    let served = new.is_some_and(|new| new.enabled && !new.is_self);
    match step {
        Step::Appears if served => (
            Effect::Added,
            "appears; its tools appear when it is ready".to_owned(),
        ),
        Step::Appears => (Effect::Nothing, "appears, disabled".to_owned()),
        Step::Vanishes if new.is_some() => (
            Effect::Removed,
            "is disabled; it ends when its calls in flight are answered".to_owned(),
        ),
        Step::Vanishes => (
            Effect::Removed,
            "vanishes; it ends when its calls in flight are answered".to_owned(),
        ),
        Step::Replaced => (
            Effect::Restarted,
            "is another server now; the old one ends when its calls in flight are answered"
                .to_owned(),
        ),
        Step::Restarts => (
            Effect::Restarted,
            format!("restarts when its calls in flight are answered ({keys} changed)"),
        ),
        Step::Reconnects => (
            Effect::Reconnected,
            format!("is greeted anew when its calls in flight are answered ({keys} changed)"),
        ),
        Step::InPlace => (Effect::InPlace, format!("{keys} changed; it runs on")),
    }
}

/// Names of keys only: their values may be secret.
fn changed_keys(old: Option<&Upstream>, new: Option<&Upstream>) -> String {
    let object = |upstream: Option<&Upstream>| {
        upstream
            .and_then(|upstream| serde_json::to_value(upstream).ok())
            .unwrap_or_default()
    };
    let (old, new) = (object(old), object(new));
    let keys = |value: &Value| {
        value
            .as_object()
            .map(|members| members.keys().cloned().collect::<BTreeSet<_>>())
            .unwrap_or_default()
    };
    let changed: Vec<String> = keys(&old)
        .union(&keys(&new))
        .filter(|key| old.get(*key) != new.get(*key))
        .cloned()
        .collect();
    changed.join(", ")
}

/// A change of a setting whose values are not shown.
fn change(path: &str) -> Change {
    let (effect, what) = effect(path);
    Change {
        setting: path.to_owned(),
        from: None,
        to: None,
        effect,
        what: what.to_owned(),
        tools: Vec::new(),
    }
}

/// Secrets that differ. Both values are shown as `***`, and so look the same.
fn secrets(old: &Config, new: &Config) -> impl Iterator<Item = Change> {
    let all = [
        ("auth.api_key", old.auth.api_key != new.auth.api_key),
        (
            "auth.jwt.secret",
            old.auth.jwt.secret != new.auth.jwt.secret,
        ),
        (
            "tracing.otlp.headers",
            old.tracing.otlp.headers != new.tracing.otlp.headers,
        ),
    ];
    all.into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| change(path))
}

fn settings(old: &Config, new: &Config) -> Vec<Change> {
    let leaves = |config: &Config| {
        let mut found = BTreeMap::new();
        let mut value = serde_json::to_value(config).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            APART.iter().for_each(|key| drop(members.remove(*key)));
        }
        collect("", &value, &mut found);
        found
    };
    let (before, after) = (leaves(old), leaves(new));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for path in paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
    {
        let text = |values: &BTreeMap<String, Value>| {
            Some(values.get(path).unwrap_or(&Value::Null).to_string())
        };
        changes.push(Change {
            from: text(&before),
            to: text(&after),
            ..change(path)
        });
    }
    changes.extend(secrets(old, new).filter(|change| {
        let path = &change.setting;
        before.get(path) == after.get(path)
    }));
    if old.metadata != new.metadata {
        changes.push(change("metadata"));
    }
    changes
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                collect(
                    &if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    },
                    value,
                    found,
                );
            }
        }
        _ => drop(found.insert(path.to_owned(), value.clone())),
    }
}

/// What a setting takes.
fn effect(path: &str) -> (Effect, &'static str) {
    match path {
        "version" | "description" | "metadata" => (Effect::Nothing, "is only shown"),
        "server.workers" => (
            Effect::Workers,
            "new workers serve first, or those over the number are drained",
        ),
        "server.drain_timeout_ms" | "server.start_concurrency" => {
            (Effect::InPlace, "counts from the next drain or start on")
        }
        "server.memory" => (Effect::InPlace, "counts for what is held from now on"),
        "server.upstream_user" => (
            Effect::InPlace,
            "stdio servers without a user of their own are started again",
        ),
        "server.sandbox" | "server.user" | "server.group" => (
            Effect::InPlace,
            "counts for workers that start from now on: ggen mcp server restart",
        ),
        "server.connection_pool" | "server.buffer_size" => {
            (Effect::InPlace, "counts for new connections")
        }
        "transports.http.enabled" | "metrics.enabled" => (
            Effect::Listener,
            "the listener appears or vanishes with its workers",
        ),
        "transports.http.host" | "transports.http.port" | "metrics.host" | "metrics.port" => (
            Effect::Listener,
            "the new address is served before the old one is closed; open connections stay",
        ),
        "transports.websocket.enabled" => (
            Effect::Workers,
            "the workers appear, or finish what is open and vanish",
        ),
        "transports.websocket.port" => (
            Effect::Listener,
            "the new address is served before the old one is closed; open connections stay",
        ),
        path if path.starts_with("transports.websocket.") => (
            Effect::InPlace,
            "counts for new connections; times and limits for open ones too",
        ),
        "transports.quic.enabled" => (
            Effect::Listener,
            "the socket appears or vanishes with its workers",
        ),
        "transports.quic.host" | "transports.quic.port" => (
            Effect::Listener,
            "new workers serve the new address; those at the old one finish their requests and go",
        ),
        path if path.starts_with("transports.quic.") => {
            (Effect::InPlace, "counts for new connections")
        }
        path => effect_on_requests(path),
    }
}

/// The same for settings that concern requests.
fn effect_on_requests(path: &str) -> (Effect, &'static str) {
    match path {
        "policy.rules" => (
            Effect::InPlace,
            "counts from the next request on; who sees other lists then is told so",
        ),
        path if path.starts_with("rate_limit.") || path.starts_with("tools.") => (
            Effect::InPlace,
            "counts from the next request on; what is in flight goes on",
        ),
        "transports.http.ssl.enabled" => (Effect::Listener, "the listener appears or vanishes"),
        "transports.http.ssl.port" => (
            Effect::Listener,
            "the new address is served before the old one is closed; open connections stay",
        ),
        path if path.starts_with("transports.http.ssl.") || path.starts_with("auth.mtls.") => {
            (Effect::InPlace, "counts from the next connection on")
        }
        path if path.starts_with("transports.http.") => {
            (Effect::InPlace, "counts from the next request on")
        }
        path if path.starts_with("auth.") => (
            Effect::InPlace,
            "counts from the next request on; sessions stay with whoever began them",
        ),
        path if path.starts_with("tracing.otlp.") => (
            Effect::InPlace,
            "counts from the next request and the next export on",
        ),
        path if path.starts_with("logging.") => (Effect::Logging, "counts from the next line on"),
        // A test sees to it that every setting is named above.
        _ => (Effect::InPlace, ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    fn one(old: &str, new: &str) -> (Effect, String) {
        let plan = plan(&config(old), &config(new), 1);
        assert_eq!(plan.changes.len(), 1, "{plan:?}");
        (plan.changes[0].effect, plan.changes[0].line())
    }

    #[test]
    fn every_setting_has_an_effect() {
        let mut found = BTreeMap::new();
        let mut value = serde_json::to_value(Config::default()).unwrap();
        APART
            .iter()
            .for_each(|key| drop(value.as_object_mut().unwrap().remove(*key)));
        collect("", &value, &mut found);
        for path in found.keys() {
            assert!(!effect(path).1.is_empty(), "{path}");
        }
    }

    #[test]
    fn settings_name_their_values_and_what_they_take() {
        assert!(
            plan(&Config::default(), &Config::default(), 1)
                .changes
                .is_empty()
        );
        let (effect, line) = one("{}", r#"{"transports":{"http":{"port":3001}}}"#);
        assert_eq!(effect, Effect::Listener);
        assert!(
            line.starts_with("transports.http.port: 3000 -> 3001; the new address"),
            "{line}"
        );
        for (text, expected) in [
            (r#"{"description":"x"}"#, Effect::Nothing),
            (r#"{"metadata":{"a":1}}"#, Effect::Nothing),
            (
                r#"{"logging":{"modules":{"auth":"debug"}}}"#,
                Effect::Logging,
            ),
            (r#"{"logging":{"format":"json"}}"#, Effect::Logging),
            (r#"{"server":{"workers":4}}"#, Effect::Workers),
            (r#"{"server":{"buffer_size":"16KB"}}"#, Effect::InPlace),
            (
                r#"{"transports":{"http":{"compression":true}}}"#,
                Effect::InPlace,
            ),
            (
                r#"{"transports":{"http":{"enabled":false}}}"#,
                Effect::Listener,
            ),
            (r#"{"metrics":{"port":1}}"#, Effect::Listener),
        ] {
            assert_eq!(one("{}", text).0, expected, "{text}");
        }
    }

    #[test]
    fn upstreams_only_restart_for_what_their_process_or_connection_needs() {
        let stdio = |rest: &str| format!(r#"{{"mcpServers":{{"a":{{"command":"c"{rest}}}}}}}"#);
        let http = |rest: &str| format!(r#"{{"mcpServers":{{"a":{{"url":"http://h"{rest}}}}}}}"#);
        let secret = stdio(r#","env":{"TOKEN":"hush"}"#);
        for (old, new, expected) in [
            ("{}".to_owned(), stdio(""), Effect::Added),
            (stdio(""), "{}".to_owned(), Effect::Removed),
            (stdio(""), stdio(r#","enabled":false"#), Effect::Removed),
            (stdio(r#","enabled":false"#), stdio(""), Effect::Added),
            (
                stdio(r#","enabled":false"#),
                stdio(r#","enabled":false,"args":["x"]"#),
                Effect::InPlace,
            ),
            (
                "{}".to_owned(),
                stdio(r#","enabled":false"#),
                Effect::Nothing,
            ),
            (stdio(""), secret.clone(), Effect::Restarted),
            (stdio(""), stdio(r#","era":"legacy""#), Effect::Restarted),
            (
                stdio(""),
                stdio(r#","timeout":5,"max_restarts":1"#),
                Effect::InPlace,
            ),
            (
                http(""),
                http(r#","headers":{"K":"hush"}"#),
                Effect::Reconnected,
            ),
            (http(""), http(r#","timeout":5"#), Effect::InPlace),
            (http(""), stdio(""), Effect::Restarted),
        ] {
            let (effect, line) = one(&old, &new);
            assert_eq!(effect, expected, "{old} {new}");
            assert!(!line.contains("hush"), "{line}");
        }
        assert!(one(&stdio(""), &secret).1.contains("(env changed)"));
    }
}
