//! The published definition against the types: same methods, same members.

use super::*;
use crate::{
    log::Level,
    plan::{Change, Effect, Plan},
    status::{
        Cgroups, Issue, Limit, Listener, LogOverride, Phase, SlowCall, Status, Tool, Transport,
        Upstream, UpstreamState, Worker,
    },
};
use serde_json::Value;
use std::collections::BTreeSet;

fn calls() -> Vec<Call> {
    let name = || "x".to_owned();
    // No wildcard: a new method must be added here, and so to the definition.
    let known = |call: &Call| match call {
        Call::GetStatus {}
        | Call::GetLogs(_)
        | Call::ListTools {}
        | Call::DescribeTool { .. }
        | Call::CallTool { .. }
        | Call::GetMetrics {}
        | Call::GetConfig {}
        | Call::Wait { .. }
        | Call::Stop { .. }
        | Call::Start { .. }
        | Call::Restart { .. }
        | Call::Reload { .. }
        | Call::RefreshTools {}
        | Call::Upgrade { .. }
        | Call::SetLogLevel { .. } => true,
    };
    let calls = vec![
        Call::GetStatus {},
        Call::GetLogs(LogQuery::default()),
        Call::ListTools {},
        Call::DescribeTool { name: name() },
        Call::CallTool {
            name: name(),
            arguments: Value::Null,
        },
        Call::GetMetrics {},
        Call::GetConfig {},
        Call::Wait { timeout_ms: 1 },
        Call::Stop {
            force: false,
            target: Some(name()),
        },
        Call::Start { target: name() },
        Call::Restart { target: None },
        Call::RELOAD,
        Call::RefreshTools {},
        Call::Upgrade {
            binary: Some(name()),
        },
        Call::SetLogLevel {
            category: Some(name()),
            level: Some(Level::Debug),
            for_ms: Some(1),
        },
    ];
    assert!(calls.iter().all(known));
    calls
}

// The members of the first parenthesis after `start`, sorted.
fn members(start: &str) -> BTreeSet<String> {
    let text = DEFINITION
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join(" ");
    let after = text
        .split_once(start)
        .unwrap_or_else(|| panic!("{start} is not in the definition"))
        .1;
    let inside = after[after.find('(').unwrap() + 1..]
        .split(')')
        .next()
        .unwrap();
    inside
        .split(',')
        .filter_map(|member| member.split(':').next())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn keys(value: &impl Serialize) -> BTreeSet<String> {
    serde_json::to_value(value)
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

#[test]
fn the_definition_and_the_calls_name_the_same_methods_and_parameters() {
    let mut ours = BTreeSet::new();
    for call in calls() {
        let value = serde_json::to_value(&call).unwrap();
        let method = value["method"]
            .as_str()
            .unwrap()
            .strip_prefix("io.ggend.Control.")
            .unwrap()
            .to_owned();
        assert_eq!(
            keys(&value["parameters"]),
            members(&format!("method {method}")),
            "{method}"
        );
        ours.insert(method);
    }
    let published = DEFINITION
        .lines()
        .filter_map(|line| line.strip_prefix("method "))
        .filter_map(|rest| rest.split('(').next());
    assert_eq!(ours, published.map(str::to_owned).collect());
    assert!(
        DEFINITION
            .lines()
            .any(|line| line.strip_prefix("interface ") == Some(INTERFACE))
    );
}

/// The words that a comment of the definition lists behind `key`: `phase: starting, running or stopped`.
fn listed(key: &str) -> BTreeSet<String> {
    let start = format!("{key}: ");
    let line = DEFINITION
        .lines()
        .filter(|line| line.starts_with('#'))
        .find_map(|line| Some(line.split_once(&start)?.1))
        .unwrap_or_else(|| panic!("no comment lists {key}"));
    let list = line.split([';', '(']).next().unwrap_or_default();
    list.replace(" or ", ", ")
        .split(", ")
        .map(|word| word.trim().to_owned())
        .collect()
}

fn words(values: &[impl Serialize]) -> BTreeSet<String> {
    values
        .iter()
        .map(|value| {
            let value = serde_json::to_value(value).unwrap();
            value.as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn the_comments_list_the_values_of_the_enums() {
    use UpstreamState::{CrashLoop, Degraded, Disabled, Ready, Starting, Stopped};
    let phases = [
        Phase::Starting,
        Phase::Running,
        Phase::Degraded,
        Phase::Draining,
        Phase::Backoff,
        Phase::Failed,
        Phase::Stopped,
    ];
    let status = DEFINITION.split("type Status").next().unwrap();
    let line = status.lines().last().unwrap();
    let line = line.trim_start_matches("# phase: ").replace(" or ", ", ");
    assert_eq!(
        line.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(),
        words(&phases)
    );
    let states = [Starting, Ready, Degraded, CrashLoop, Stopped, Disabled];
    assert_eq!(listed("state"), words(&states));
    let levels = [
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];
    assert_eq!(listed("# level"), words(&levels));
    assert_eq!(
        listed("# transport"),
        ["http", "https", "websocket", "quic", "admin"]
            .map(str::to_owned)
            .into()
    );
}

/// Whether a value is of a type of the definition.
fn is_of(kind: &str, value: &Value) -> bool {
    match (kind.strip_prefix('?'), kind.strip_prefix("[]")) {
        (Some(kind), _) => value.is_null() || is_of(kind, value),
        (_, Some(kind)) => value
            .as_array()
            .is_some_and(|items| items.iter().all(|item| is_of(kind, item))),
        _ => match kind {
            "int" => value.is_u64(),
            "string" => value.is_string(),
            "bool" => value.is_boolean(),
            _ => value.is_object(),
        },
    }
}

fn assert_types(start: &str, value: &impl Serialize) {
    let text = DEFINITION
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join(" ");
    let after = text.split_once(start).unwrap().1;
    let inside = after[after.find('(').unwrap() + 1..]
        .split(')')
        .next()
        .unwrap();
    let value = serde_json::to_value(value).unwrap();
    for member in inside.split(',') {
        let (name, kind) = member.split_once(':').unwrap();
        let (name, kind) = (name.trim(), kind.trim());
        assert!(
            is_of(kind, &value[name]),
            "{start}: {name} is {}, not {kind}",
            value[name]
        );
    }
}

#[test]
fn the_types_of_members_are_those_of_the_definition() {
    let upstream = Upstream::default();
    assert_types("type Upstream", &upstream);
    assert_types("type Cgroups", &Cgroups::default());
    assert_types("type Plan", &Plan::default());
    let status = Status {
        upstreams: vec![upstream],
        cgroups: Some(Cgroups::default()),
        ..Status::default()
    };
    assert_types("type Status", &status);
}

#[test]
fn the_definition_and_the_types_have_the_same_members() {
    let text = String::new;
    assert_eq!(
        keys(&Status {
            cgroups: Some(Cgroups::default()),
            ..Status::default()
        }),
        members("type Status")
    );
    assert_eq!(keys(&Cgroups::default()), members("type Cgroups"));
    assert_eq!(
        keys(&Upstream {
            memory_bytes: Some(1),
            ..Upstream::default()
        }),
        members("type Upstream")
    );
    let transport = Transport {
        name: text(),
        phase: Phase::Running,
        address: Some(text()),
        workers: 1,
        detail: Some(text()),
    };
    assert_eq!(keys(&transport), members("type Transport"));
    assert_eq!(
        keys(&Listener {
            transport: text(),
            address: text(),
            port: 1,
            origin: text()
        }),
        members("type Listener")
    );
    let worker = Worker {
        name: text(),
        role: text(),
        pid: None,
        generation: 1,
        phase: Phase::Running,
        restarts: 0,
        connections: 0,
        rss_bytes: 0,
        beat_age_ms: 0,
        last_exit: None,
        sandbox: Some("full".to_owned()),
        open_files: Some((1, 2)),
    };
    assert_eq!(keys(&worker), members("type Worker"));
    assert_eq!(keys(&Plan::default()), members("type Plan"));
    let change = Change {
        setting: text(),
        from: None,
        to: None,
        effect: Effect::Nothing,
        what: text(),
        tools: Vec::new(),
    };
    assert_eq!(keys(&change), members("type Change"));
    assert_eq!(
        keys(&SlowCall {
            what: text(),
            upstream: text(),
            duration_ms: 0,
            ended_ms: 0
        }),
        members("type SlowCall")
    );
    assert_eq!(
        keys(&Limit {
            name: text(),
            value: text()
        }),
        members("type Limit")
    );
    assert_eq!(
        keys(&LogOverride {
            category: text(),
            level: Level::Info,
            left_ms: None
        }),
        members("type LogOverride")
    );
    assert_eq!(
        keys(&Issue {
            code: Code::Internal,
            message: text(),
            help: text()
        }),
        members("type Issue")
    );
    assert_eq!(
        keys(&Tool {
            name: text(),
            server: text(),
            original: text(),
            description: text(),
            status: text()
        }),
        members("type Tool")
    );
    let line = LogLine {
        seq: 1,
        at_us: 1,
        level: Level::Info,
        category: text(),
        source: text(),
        message: text(),
        code: Some(Code::Internal),
        fields: vec![(text(), text())],
    };
    assert_eq!(keys(&line), members("type LogLine"));
    assert_eq!(
        keys(&Failure {
            version: text(),
            code: Code::Internal,
            message: text(),
            help: text()
        }),
        members("error Failed")
    );
}
