//! The trace context of a client's request reaches the server: in `_meta`, and for HTTP servers in
//! headers; what is not valid reaches nobody.

use crate::support::remote::Remote;
use crate::support::{MODERN, Relay, code, modern};
use ggen_mcp::api::{Observation, Output};
use ggen_mcp::protocol::json;
use serde_json::{Value, json};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-00";
const STATE: &str = "congo=t61rcWkgMzE,rojo=\"quoted\"";
const BAGGAGE: &str = "userId=alice;p, region=eu";
const CALL: &str = r#""name":"t","arguments":{"z":1.0,"dup":1,"dup":2}"#;

fn legacy(meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{CALL}{meta}}},"extra":0.10}}"#
    )
}

/// What a call becomes: between every pair of eras, with these trace headers.
fn sent(
    relay: &mut Relay,
    session: &str,
    view: &str,
    from_modern: bool,
    meta: &str,
    trace: &[(&str, &str)],
) -> String {
    let (mut headers, body) = if from_modern {
        let body = modern("7", "tools/call", CALL);
        let body = if meta.is_empty() {
            body
        } else {
            body.replace(r#""_meta":{"#, &format!(r#""_meta":{{{meta},"#))
        };
        (
            vec![
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "tools/call"),
                ("mcp-name", "t"),
            ],
            body,
        )
    } else {
        (
            vec![("mcp-session-id", session)],
            legacy(&if meta.is_empty() {
                String::new()
            } else {
                format!(r#","_meta":{{{meta}}}"#)
            }),
        )
    };
    headers.extend(trace);
    let (status, answer) = relay.post(view, &headers, &body);
    assert_eq!((status, code(&answer)), (200, 0), "{answer}");
    // Each call has a number of its own.
    let text = relay.last_written().to_owned();
    let id = json::pick(&text, ["id"]).unwrap()[0].unwrap().to_owned();
    text.replacen(&format!("\"id\":{id}"), "\"id\":0", 1)
}

fn meta_of(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap()["params"]["_meta"].clone()
}

#[test]
fn headers_reach_servers_on_pipes_in_meta_and_nothing_else_changes() {
    let mut relay = Relay::new(&[("old", false, |_, _| None), ("new", true, |_, _| None)]);
    for view in ["old", "new"] {
        let session = relay.session(view, "2025-11-25");
        for from_modern in [false, true] {
            let plain = sent(&mut relay, &session, view, from_modern, "", &[]);
            let traced = sent(
                &mut relay,
                &session,
                view,
                from_modern,
                "",
                &[
                    ("traceparent", PARENT),
                    ("tracestate", STATE),
                    ("baggage", BAGGAGE),
                ],
            );
            let added = format!(
                r#""traceparent":"{PARENT}","tracestate":{},"baggage":"{BAGGAGE}""#,
                json::quote(STATE)
            );
            assert_eq!(traced.matches(&added).count(), 1, "{traced}");
            let without = traced.replace(&format!("{added},"), "").replace(&added, "");
            assert!(
                without == plain || without.replace(r#""_meta":{},"#, "") == plain,
                "{traced}\n{plain}"
            );
        }
    }
}

#[test]
fn what_the_client_says_in_meta_is_left_alone() {
    let mut relay = Relay::new(&[("old", false, |_, _| None), ("new", true, |_, _| None)]);
    for (view, from_modern) in [("old", false), ("new", true)] {
        let session = relay.session(view, "2025-11-25");
        let own = format!(r#""baggage" : "a=1","trace\u0070arent":"{PARENT}","x":1.0"#);
        let plain = sent(&mut relay, &session, view, from_modern, &own, &[]);
        assert!(plain.contains(&own), "{plain}");
        let headers = [
            ("traceparent", OTHER),
            ("tracestate", "other=1"),
            ("baggage", BAGGAGE),
        ];
        assert_eq!(
            sent(&mut relay, &session, view, from_modern, &own, &headers),
            plain
        );
    }
}

#[test]
fn what_is_not_valid_reaches_nobody() {
    let mut relay = Relay::new(&[("old", false, |_, _| None), ("new", true, |_, _| None)]);
    for view in ["old", "new"] {
        let session = relay.session(view, "2025-11-25");
        for from_modern in [false, true] {
            let plain = sent(&mut relay, &session, view, from_modern, "", &[]);
            for headers in [
                &[("traceparent", "00-1"), ("tracestate", STATE)][..],
                &[("traceparent", PARENT), ("traceparent", OTHER)],
                &[("tracestate", STATE)],
                &[("baggage", "no value")],
            ] {
                assert_eq!(
                    sent(&mut relay, &session, view, from_modern, "", headers),
                    plain,
                    "{headers:?}"
                );
            }
            let wrong = r#""traceparent":"00-1","tracestate":"a=1","baggage":7,"x":1.0"#;
            let text = sent(
                &mut relay,
                &session,
                view,
                from_modern,
                wrong,
                &[("traceparent", OTHER)],
            );
            let meta = meta_of(&text);
            assert_eq!(
                (&meta["traceparent"], &meta["tracestate"], &meta["baggage"]),
                (&json!(OTHER), &Value::Null, &Value::Null),
                "{text}"
            );
            assert!(
                text.contains(r#""x":1.0"#) && text.contains(r#"{"z":1.0,"dup":1,"dup":2}"#),
                "{text}"
            );
            let twice = format!(r#""traceparent":"{PARENT}","traceparent":"{OTHER}""#);
            let text = sent(&mut relay, &session, view, from_modern, &twice, &[]);
            assert!(!text.contains("traceparent"), "{text}");
        }
    }
}

#[test]
fn http_servers_get_headers_too_and_each_carrier_keeps_its_own() {
    for modern_server in [false, true] {
        let mut remote = Remote::new(modern_server);
        let session = remote.session("2025-11-25", &json!({}));
        let mut call = |meta: Value, trace: &[(&str, &str)]| {
            let mut headers = vec![("mcp-session-id", session.as_str())];
            headers.extend(trace);
            let params = json!({"name": "t", "arguments": {}, "_meta": meta});
            remote.post(
                &headers,
                &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
                    .to_string(),
            );
            let got = remote.last();
            let value = |name: &str| {
                got.headers
                    .iter()
                    .filter(|(key, _)| key == name)
                    .map(|(_, value)| value.clone())
                    .collect::<Vec<_>>()
            };
            let meta = &got.body["params"]["_meta"];
            (
                value("traceparent"),
                value("tracestate"),
                value("baggage"),
                meta["traceparent"].clone(),
                meta["tracestate"].clone(),
            )
        };
        let none = Vec::<String>::new();
        assert_eq!(
            call(json!({}), &[]),
            (
                none.clone(),
                none.clone(),
                none.clone(),
                Value::Null,
                Value::Null
            )
        );
        let split = [
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ];
        let both = (
            [PARENT.to_owned()].to_vec(),
            ["a=1,b=2".to_owned()].to_vec(),
            none.clone(),
            json!(PARENT),
            json!("a=1,b=2"),
        );
        assert_eq!(call(json!({}), &split), both);
        let meta = json!({"traceparent": PARENT, "baggage": "a=1"});
        let from_meta = (
            [PARENT.to_owned()].to_vec(),
            none.clone(),
            ["a=1".to_owned()].to_vec(),
            json!(PARENT),
            Value::Null,
        );
        assert_eq!(call(meta.clone(), &[]), from_meta);
        // A proxy before us may have made a span of its own of the exchange; the client's own is
        // that of the call.
        let own = (
            [OTHER.to_owned()].to_vec(),
            ["c=1".to_owned()].to_vec(),
            ["a=1".to_owned()].to_vec(),
            json!(PARENT),
            Value::Null,
        );
        assert_eq!(
            call(meta, &[("traceparent", OTHER), ("tracestate", "c=1")]),
            own
        );
    }
}

#[test]
fn a_failure_and_a_recorded_request_name_their_trace() {
    let mut relay = Relay::new(&[("old", false, |_, message| {
        (message["method"] == "tools/call").then(String::new)
    })]);
    let session = relay.session("old", "2025-11-25");
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("traceparent", PARENT),
    ];
    relay.send(ggen_mcp::edge::Verb::Post, "old", &headers, legacy(""));
    relay.outputs.clear();
    relay.now += 60_000_000;
    relay.input(ggen_mcp::api::Input::Tick);
    let about = relay.outputs.iter().find_map(|output| {
        if let Output::Log(note) = output {
            note.about.as_deref()
        } else {
            None
        }
    });
    assert_eq!(about.unwrap().trace.unwrap().to_string(), PARENT[3..35]);
    let trace = |relay: &Relay| {
        let of = |output: &Output| {
            if let Output::Observe(Observation::Request { trace, .. }) = output {
                Some(*trace)
            } else {
                None
            }
        };
        relay.outputs.iter().find_map(of).unwrap()
    };
    assert_eq!(trace(&relay).unwrap().to_string(), PARENT[3..35]);
    // Nobody has recorded this one: an id would lead nowhere.
    relay.outputs.clear();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    relay.post(
        "old",
        &[("mcp-session-id", &session), ("traceparent", OTHER)],
        list,
    );
    assert_eq!(trace(&relay), None);
}

#[test]
fn the_requests_of_a_batch_have_traces_of_their_own() {
    let mut relay = Relay::new(&[("old", false, |_, _| None)]);
    let session = relay.session("old", "2025-03-26");
    relay.written.clear();
    let headers = [("mcp-session-id", session.as_str()), ("traceparent", OTHER)];
    let meta = |parent: &str| format!(r#","_meta":{{"traceparent":"{parent}"}}"#);
    let body = format!(
        "[{},{},{}]",
        legacy(&meta(PARENT)),
        legacy(&meta("00-1")),
        legacy("")
    );
    relay.send(ggen_mcp::edge::Verb::Post, "old", &headers, body);
    let calls: Vec<_> = relay
        .written
        .iter()
        .filter(|(_, text)| text.contains("tools/call"))
        .map(|(_, text)| meta_of(text))
        .collect();
    assert_eq!(
        calls,
        [json!({"traceparent": PARENT}), json!({}), Value::Null]
    );
}
