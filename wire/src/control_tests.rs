//! The published definition against the types: same methods, same members.

use super::*;
use crate::{
    log::Level,
    plan::{Change, Effect, Plan},
    status::{
        Cgroups, Issue, Limit, Listener, LogOverride, Phase, SlowCall, Status, Tool, Transport,
        Upstream, Worker,
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
