//! Which child of a server somebody's requests go to, and whose is what that child says.

use crate::support::{MODERN, Relay};
use ggen_mcp::api::{Input, Isolation, Lease, Output, SHARED, Settings, StreamKey, UpInput};
use ggen_mcp::edge::{Reply, Verb};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

fn plain(_: &str, _: &Value) -> Option<String> {
    None
}

/// A server that speaks both eras.
fn dual(_: &str, message: &Value) -> Option<String> {
    let caps = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}"#;
    match message["method"].as_str()? {
        "server/discover" => Some(format!(
            r#""result":{{"supportedVersions":["{MODERN}","2025-11-25","2025-06-18"],"capabilities":{caps},"resultType":"complete"}}"#
        )),
        "initialize" => Some(format!(
            r#""result":{{"protocolVersion":"2025-11-25","capabilities":{caps},"serverInfo":{{"name":"s","version":"1"}}}}"#
        )),
        _ => None,
    }
}

fn isolated(
    server: fn(&str, &Value) -> Option<String>,
    modern: bool,
    isolation: Isolation,
) -> Relay {
    let settings = Settings {
        incarnation: 1,
        ..Settings::default()
    };
    let change: fn(&mut ggen_mcp::api::UpstreamSettings) = match isolation {
        Isolation::Auto => |_| {},
        Isolation::PerSession => |entry| entry.isolation = Isolation::PerSession,
        Isolation::PerPrincipal => |entry| entry.isolation = Isolation::PerPrincipal,
        _ => |entry| entry.isolation = Isolation::Shared,
    };
    let mut relay = Relay::with_entries(&[("s", modern, server)], settings, change);
    relay.begin();
    relay
}

fn call_text(tool: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}).to_string()
}

/// A call of a session.
fn call(relay: &mut Relay, session: &str, tool: &str) -> StreamKey {
    let headers = [("mcp-session-id", session)];
    relay.send(Verb::Post, "s", &headers, call_text(tool)).0
}

/// A modern call.
fn ask(relay: &mut Relay, capabilities: &Value) -> StreamKey {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": capabilities});
    let params = json!({"name": "t", "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t"),
    ];
    relay.send(Verb::Post, "s", &headers, body.to_string()).0
}

/// The children that calls of tools went to, in order.
fn called(relay: &mut Relay) -> Vec<Lease> {
    let lines = std::mem::take(&mut relay.written_to);
    let calls = lines
        .iter()
        .filter(|(.., line)| line.contains("\"tools/call\""));
    calls.map(|(_, lease, _)| *lease).collect()
}

/// How many children were asked for so far.
fn leased(relay: &Relay) -> usize {
    let outputs = relay.outputs.iter();
    outputs
        .filter(|output| matches!(output, Output::Lease(..)))
        .count()
}

/// What a session has heard on its stream of notifications since it was asked last.
fn hears(relay: &mut Relay, session: &str) -> Vec<String> {
    let headers = [("mcp-session-id", session)];
    let (key, _) = relay.send(Verb::Get, "s", &headers, "");
    let events = relay.of(key).into_iter().filter_map(|reply| match reply {
        Reply::Event { data, .. } if !data.is_empty() => {
            Some(String::from_utf8(data.to_vec()).unwrap())
        }
        _ => None,
    });
    let events = events.collect();
    // The next events wait for the next reader.
    relay.input(Input::Gone(key));
    events
}

#[test]
fn a_session_that_declares_something_has_one_child_and_the_others_share_one() {
    let mut relay = Relay::new(&[("s", false, plain)]);
    let caps = json!({"roots": {"listChanged": true}, "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}});
    let (one, two) = (
        relay.session_with("s", "2025-11-25", &caps),
        relay.session_with("s", "2025-11-25", &caps),
    );
    let others = [
        relay.session("s", "2025-06-18"),
        relay.session("s", "2025-11-25"),
    ];
    // Several calls at once of one session meet in its child.
    call(&mut relay, &one, "t");
    call(&mut relay, &one, "t");
    call(&mut relay, &two, "t");
    relay.lend(0, 1);
    relay.lend(0, 2);
    let greeting = relay.written_to.iter();
    let greeting = greeting
        .filter(|(_, lease, line)| *lease == 1 && line.contains("\"initialize\""))
        .map(|(.., line)| serde_json::from_str::<Value>(line).unwrap())
        .next()
        .unwrap();
    assert_eq!(
        greeting["params"]["capabilities"],
        json!({"roots": {}, "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}})
    );
    for session in &others {
        call(&mut relay, session, "t");
    }
    call(&mut relay, &one, "t");
    assert_eq!(called(&mut relay), [1, 1, 2, SHARED, SHARED, 1]);
    // Without a session, and with nothing declared: the shared one.
    ask(&mut relay, &json!({}));
    assert_eq!(called(&mut relay), [SHARED]);
    assert_eq!(leased(&relay), 2);
    // It stays for as long as its session does.
    relay.now += 300_000_000;
    relay.input(Input::Tick);
    call(&mut relay, &one, "t");
    assert_eq!((called(&mut relay), leased(&relay)), (vec![1], 2));
}

#[test]
fn a_child_whose_session_has_ended_serves_the_next_one_of_the_same_principal() {
    let mut relay = Relay::new(&[("s", false, plain)]);
    let caps = json!({"roots": {}});
    let begin = |relay: &mut Relay, who: &str, caps: &Value| {
        relay.principal = who.into();
        let session = relay.session_with("s", "2025-11-25", caps);
        call(relay, &session, "t");
        session
    };
    let end = |relay: &mut Relay, session: &str| {
        relay.send(Verb::Delete, "s", &[("mcp-session-id", session)], "");
    };
    let first = begin(&mut relay, "alice", &caps);
    relay.lend(0, 1);
    end(&mut relay, &first);
    relay.written_to.clear();
    let second = begin(&mut relay, "alice", &caps);
    let told = format!("{:?}", relay.written_to);
    assert!(told.contains("notifications/roots/list_changed"), "{told}");
    assert_eq!((called(&mut relay), leased(&relay)), (vec![1], 1));
    end(&mut relay, &second);
    // Nobody else gets it, and nobody who declares something else.
    begin(&mut relay, "bob", &caps);
    begin(&mut relay, "alice", &json!({"sampling": {}}));
    assert_eq!(leased(&relay), 3);
    // With a child for each session, the next one has a fresh one.
    let mut relay = isolated(plain, false, Isolation::PerSession);
    let first = begin(&mut relay, "alice", &caps);
    relay.lend(0, 1);
    end(&mut relay, &first);
    begin(&mut relay, "alice", &caps);
    assert_eq!(leased(&relay), 2);
}

#[test]
fn requests_without_a_session_go_to_the_child_of_their_principal_and_what_it_declares() {
    let mut relay = Relay::new(&[("s", false, |_, message| {
        (message["method"] == "tools/call").then(String::new)
    })]);
    let (roots, forms) = (json!({"roots": {}}), json!({"elicitation": {}}));
    for (who, caps, lease) in [
        ("alice", &roots, 1),
        ("alice", &forms, 2),
        ("bob", &roots, 3),
    ] {
        relay.principal = who.into();
        ask(&mut relay, caps);
        relay.lend(0, lease);
    }
    assert_eq!(called(&mut relay), [1, 2, 3]);
    let answer = |relay: &mut Relay, lease: Lease| {
        let id = relay.written.iter().rev().find_map(|(_, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["method"] == "tools/call").then(|| line["id"].clone())
        });
        let line = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string();
        relay.lent(0, lease, UpInput::Line(line.into()));
    };
    answer(&mut relay, 3);
    ask(&mut relay, &roots);
    assert_eq!(called(&mut relay), [3], "its own again");
    // It may be asked something, and a pipe does not say by which call.
    ask(&mut relay, &roots);
    relay.lend(0, 4);
    assert_eq!(called(&mut relay), [4]);
    // A modern server is told with each request what its client declares: everybody shares it.
    let waits: fn(&str, &Value) -> Option<String> =
        |_, message| (message["method"] == "tools/call").then(String::new);
    let mut relay = Relay::new(&[("s", true, waits)]);
    ask(&mut relay, &roots);
    let session = relay.session_with("s", "2025-11-25", &roots);
    call(&mut relay, &session, "t");
    assert_eq!((called(&mut relay), leased(&relay)), (vec![SHARED; 2], 0));
    // Where it is configured to be apart, its calls meet all the same: they say whose a question is.
    let mut relay = isolated(waits, true, Isolation::PerPrincipal);
    ask(&mut relay, &roots);
    ask(&mut relay, &roots);
    relay.lend(0, 1);
    assert_eq!(called(&mut relay), [1, 1]);
}

static LISTS_WAIT: AtomicBool = AtomicBool::new(false);

#[test]
fn what_a_sessions_own_child_lists_is_seen_by_that_session_alone() {
    let mut relay = Relay::new(&[("s", false, |_, message| {
        let waits = LISTS_WAIT.load(Ordering::Relaxed) && message["method"] == "tools/list";
        waits.then(String::new)
    })]);
    LISTS_WAIT.store(true, Ordering::Relaxed);
    let caps = json!({"roots": {}});
    let (one, two, none) = (
        relay.session_with("s", "2025-11-25", &caps),
        relay.session_with("s", "2025-11-25", &caps),
        relay.session("s", "2025-11-25"),
    );
    let tools = |relay: &mut Relay, session: &str| -> Vec<String> {
        let list = r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#;
        let (_, body) = relay.post("s", &[("mcp-session-id", session)], list);
        let body: Value = serde_json::from_str(&body).unwrap();
        let tools = body["result"]["tools"].as_array().unwrap().iter();
        tools
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let give = |relay: &mut Relay, lease: Lease, names: &[&str]| {
        let asked = relay.written_to.iter().rev().find_map(|(_, of, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            (*of == lease && line["method"] == "tools/list").then(|| line["id"].clone())
        });
        let tools: Vec<_> = names
            .iter()
            .map(|name| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#))
            .collect();
        let (id, tools) = (asked.expect("it is read"), tools.join(","));
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}]}}}}"#);
        relay.lent(0, lease, UpInput::Line(line.into()));
    };
    let changed = |relay: &mut Relay, lease: Lease| {
        let line = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let line = UpInput::Line(line.into());
        match lease {
            SHARED => relay.up(0, line),
            lease => relay.lent(0, lease, line),
        }
        relay.now += 100_000;
        relay.input(Input::Tick);
    };
    // Before its child runs, a session sees what everybody sees.
    assert_eq!(tools(&mut relay, &one), ["t"]);
    call(&mut relay, &one, "t");
    call(&mut relay, &two, "t");
    relay.lend(0, 1);
    relay.lend(0, 2);
    give(&mut relay, 1, &["t", "for_roots"]);
    give(&mut relay, 2, &["t"]);
    assert_eq!(tools(&mut relay, &one), ["t", "for_roots"]);
    assert_eq!(tools(&mut relay, &two), ["t"]);
    let said = "notifications/tools/list_changed";
    assert!(
        hears(&mut relay, &one)
            .iter()
            .any(|event| event.contains(said))
    );
    assert_eq!(hears(&mut relay, &two), [""; 0]);
    assert_eq!(hears(&mut relay, &none), [""; 0]);
    // What it lists can be called, by this session alone.
    relay.written_to.clear();
    let key = call(&mut relay, &one, "for_roots");
    assert_eq!(called(&mut relay), [1]);
    assert!(format!("{:?}", relay.of(key)).contains("content"));
    // A tool that comes later.
    changed(&mut relay, 2);
    give(&mut relay, 2, &["t", "registered"]);
    assert_eq!(tools(&mut relay, &two), ["t", "registered"]);
    assert_eq!(tools(&mut relay, &one), ["t", "for_roots"]);
    assert_eq!(hears(&mut relay, &two).len(), 1);
    assert_eq!(hears(&mut relay, &one), [""; 0]);
    assert_eq!(hears(&mut relay, &none), [""; 0]);
    // A change at the shared child concerns only those who share it.
    LISTS_WAIT.store(false, Ordering::Relaxed);
    changed(&mut relay, SHARED);
    assert_eq!(hears(&mut relay, &none).len(), 1);
    assert_eq!(hears(&mut relay, &one), [""; 0]);
    assert_eq!(hears(&mut relay, &two), [""; 0]);
    assert_eq!(tools(&mut relay, &two), ["t", "registered"]);
}

#[test]
fn resources_and_log_messages_of_a_child_are_its_sessions() {
    let mut relay = Relay::new(&[("s", false, |_, message| {
        (message["method"] == "resources/subscribe").then(|| r#""result":{}"#.to_owned())
    })]);
    let caps = json!({"roots": {}});
    let (one, two, none) = (
        relay.session_with("s", "2025-11-25", &caps),
        relay.session_with("s", "2025-11-25", &caps),
        relay.session("s", "2025-11-25"),
    );
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": "test://r"}}).to_string();
    for session in [&one, &two, &none] {
        let headers = [("mcp-session-id", session.as_str())];
        relay.send(Verb::Post, "s", &headers, subscribe.clone());
    }
    relay.lend(0, 1);
    relay.lend(0, 2);
    let told: Vec<_> = relay
        .written_to
        .iter()
        .filter(|(.., line)| line.contains("\"resources/subscribe\""))
        .map(|(_, lease, _)| *lease)
        .collect();
    for lease in [SHARED, 1, 2] {
        assert!(told.contains(&lease), "{told:?}");
    }
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://r"}}"#;
    relay.lent(0, 2, UpInput::Line(updated.into()));
    assert_eq!(hears(&mut relay, &two), [updated]);
    assert_eq!(hears(&mut relay, &one), [""; 0]);
    assert_eq!(hears(&mut relay, &none), [""; 0]);
    relay.up(0, UpInput::Line(updated.into()));
    assert_eq!(hears(&mut relay, &none), [updated]);
    assert_eq!(hears(&mut relay, &one), [""; 0]);
    assert_eq!(hears(&mut relay, &two), [""; 0]);
    // A log message outside of all calls.
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    relay.lent(0, 1, UpInput::Line(log.into()));
    assert_eq!(hears(&mut relay, &one), [log]);
    relay.up(0, UpInput::Line(log.into()));
    assert_eq!(hears(&mut relay, &none), [log]);
    assert_eq!(hears(&mut relay, &one), [""; 0]);
    assert_eq!(hears(&mut relay, &two), [""; 0]);
    // A stranger shares the child: what it logs may be about the stranger.
    relay.principal = "bob".into();
    let bobs = relay.session("s", "2025-11-25");
    relay.up(0, UpInput::Line(log.into()));
    assert!(hears(&mut relay, &bobs).is_empty());
    relay.principal = "anonymous".into();
    assert!(hears(&mut relay, &none).is_empty());
}

#[test]
fn a_server_that_speaks_both_eras_is_spoken_to_in_that_of_the_client() {
    let mut relay = Relay::new(&[("s", true, dual)]);
    let session = relay.session_with("s", "2025-11-25", &json!({"elicitation": {}}));
    let key = call(&mut relay, &session, "t");
    relay.lend(0, 1);
    let lines: Vec<Value> = relay
        .written_to
        .iter()
        .filter(|(_, lease, _)| *lease == 1)
        .map(|(.., line)| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["method"], "initialize");
    assert_eq!(lines[0]["params"]["protocolVersion"], "2025-11-25");
    let calls = lines.iter().filter(|line| line["method"] == "tools/call");
    assert!(
        calls.clone().all(|line| line["params"]["_meta"].is_null()),
        "{lines:?}"
    );
    assert_eq!(calls.count(), 1);
    assert!(format!("{:?}", relay.of(key)).contains("content"));
    // A modern client's call, and one of a client that shares the common child.
    relay.written_to.clear();
    ask(&mut relay, &json!({}));
    let other = relay.session("s", "2025-11-25");
    call(&mut relay, &other, "t");
    let modern: Vec<_> = relay.written_to.drain(..).collect();
    assert!(
        modern
            .iter()
            .all(|(_, lease, line)| *lease == SHARED && line.contains(MODERN))
    );
    // A server that claims it falsely is spoken to as what it is.
    let mut relay = Relay::new(&[("s", true, |text, message| {
        match message["method"].as_str()? {
            "initialize" => Some(r#""error":{"code":-32601,"message":"no"}"#.to_owned()),
            _ => dual(text, message),
        }
    })]);
    let session = relay.session_with("s", "2025-11-25", &json!({"elicitation": {}}));
    call(&mut relay, &session, "t");
    relay.lend(0, 1);
    relay.now += 61_000_000;
    relay.input(Input::Tick);
    let key = call(&mut relay, &session, "t");
    relay.lend(0, 2);
    assert!(
        format!("{:?}", relay.of(key)).contains("content"),
        "{:?}",
        relay.of(key)
    );
}

#[test]
fn one_principals_sessions_share_a_child_where_that_is_configured() {
    let mut relay = isolated(plain, false, Isolation::PerPrincipal);
    let sessions = [
        relay.session("s", "2025-11-25"),
        relay.session("s", "2025-06-18"),
    ];
    for session in &sessions {
        call(&mut relay, session, "t");
    }
    relay.lend(0, 1);
    assert_eq!(called(&mut relay), [1, 1]);
    relay.principal = "bob".into();
    let session = relay.session("s", "2025-11-25");
    call(&mut relay, &session, "t");
    relay.lend(0, 2);
    assert_eq!(called(&mut relay), [2]);
}

#[test]
fn lists_that_sessions_have_for_themselves_are_bounded_in_bytes() {
    let settings = Settings {
        incarnation: 1,
        limits: ggen_mcp::api::Limits {
            own_lists: 10_000,
            ..ggen_mcp::api::Limits::default()
        },
        ..Settings::default()
    };
    static LISTS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let mut relay = Relay::with_entries(
        &[("s", false, |_, message| {
            (message["method"] == "tools/list").then(|| {
                let number = LISTS.fetch_add(1, Ordering::Relaxed);
                let tool = json!({"name": format!("t{number}"), "description": "x".repeat(4000), "inputSchema": {"type": "object"}});
                format!(r#""result":{}"#, json!({"tools": [tool]}))
            })
        })],
        settings,
        |_| {},
    );
    relay.begin();
    let list = r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#;
    let seen: Vec<String> = (1..=4)
        .map(|lease| {
            let session = relay.session_with("s", "2025-11-25", &json!({"roots": {}}));
            call(&mut relay, &session, "t");
            relay.lend(0, lease);
            relay.post("s", &[("mcp-session-id", &session)], list).1
        })
        .collect();
    // There is room for two; the others see what everybody sees.
    for (text, own) in seen.iter().zip(["t1", "t2", "t0", "t0"]) {
        assert!(text.contains(&format!("\"{own}\"")), "{own}: {:.200}", text);
    }
    let said = format!("{:?}", relay.outputs);
    assert!(said.contains("take 0 MiB already"), "it is not said");
}
