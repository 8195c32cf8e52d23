//! The relay's part in traces: which spans there are, whose they are, how they end, and what a
//! server gets as its parent.

use crate::support::{MODERN, Relay, Server, code, modern, remote::Remote};
use ggen_mcp::access::rules::{Rate, Rules};
use ggen_mcp::api::{Input, Observation, Output, UpId, UpInput};
use ggen_mcp::edge::Verb;
use ggen_mcp::gateway::Leftovers;
use ggen_mcp::trace::span::{Ratio, Side, Span};
use ggen_wire::{Code, status::UpstreamState};
use serde_json::{Value, json};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const OTHER: &str = "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-01";
const PLAIN: Server = |_, _| None;
const CALL: &str = r#""name":"t","arguments":{"secret":"PLANT"}"#;

fn traced(servers: &[(&str, bool, Server)], share: f64) -> Relay {
    let mut relay = Relay::new(servers);
    let rules = Rules {
        spans: Some(Ratio::new(share)),
        ..Rules::default()
    };
    relay.input(Input::Rules(Box::new(rules)));
    relay.outputs.clear();
    relay
}

fn spans(relay: &mut Relay) -> Vec<Span> {
    let of = |output: Output| {
        if let Output::Observe(Observation::Span(span)) = output {
            Some(*span)
        } else {
            None
        }
    };
    std::mem::take(&mut relay.outputs)
        .into_iter()
        .filter_map(of)
        .collect()
}

fn legacy(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"seven","method":"{method}","params":{{{params}}}}}"#)
}

/// A call of a client of either era.
fn call(
    relay: &mut Relay,
    session: Option<&str>,
    view: &str,
    name: &str,
    trace: &[(&str, &str)],
) -> (u16, String) {
    let params = format!(r#""name":"{name}","arguments":{{"secret":"PLANT"}}"#);
    let mut headers = trace.to_vec();
    let body = match session {
        Some(session) => {
            headers.push(("mcp-session-id", session));
            legacy("tools/call", &params)
        }
        None => {
            headers.extend([
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "tools/call"),
                ("mcp-name", name),
            ]);
            modern("\"seven\"", "tools/call", &params)
        }
    };
    relay.post(view, &headers, &body)
}

fn got(relay: &Relay) -> Value {
    serde_json::from_str::<Value>(relay.last_written()).unwrap()["params"]["_meta"].clone()
}

#[test]
fn the_request_is_below_its_client_the_call_below_the_request_and_the_server_below_the_call() {
    let mut relay = traced(&[("old", false, PLAIN), ("new", true, PLAIN)], 0.0);
    for (at, view) in [(0, "old"), (1, "new")] {
        let session = relay.session(view, "2025-06-18");
        spans(&mut relay);
        for session in [Some(session.as_str()), None] {
            relay.now += 1000;
            let (status, answer) = call(
                &mut relay,
                session,
                view,
                "t",
                &[
                    ("traceparent", PARENT),
                    ("tracestate", "a=1"),
                    ("baggage", "b=2"),
                ],
            );
            assert_eq!((status, code(&answer)), (200, 0), "{answer}");
            let [ref sent, ref asked] = spans(&mut relay)[..] else {
                panic!("two spans")
            };
            assert_eq!(
                (
                    asked.trace.to_string().as_str(),
                    asked.parent.unwrap().to_string().as_str()
                ),
                (&PARENT[3..35], &PARENT[36..52])
            );
            assert_eq!((sent.trace, sent.parent), (asked.trace, Some(asked.id)));
            assert_eq!(
                (asked.side, sent.side),
                (Side::Client(1), Side::Upstream(UpId(at)))
            );
            let revision = if session.is_some() {
                "2025-06-18"
            } else {
                MODERN
            };
            assert_eq!(
                (asked.version, sent.version),
                (revision, if at == 0 { "2025-11-25" } else { MODERN })
            );
            assert_eq!(
                (
                    asked.method,
                    asked.target.as_deref(),
                    sent.target.as_deref()
                ),
                ("tools/call", Some("t"), Some("t"))
            );
            assert_eq!(
                (&*asked.request, asked.failure, sent.failure),
                ("\"seven\"", None, None)
            );
            assert_eq!(
                (asked.state.as_deref(), sent.state.as_deref(), asked.link),
                (Some("a=1"), Some("a=1"), None)
            );
            assert!(
                sent.request.parse::<u64>().is_ok()
                    && sent.began == relay.now
                    && asked.ended == relay.now
            );
            let expected = format!("00-{}-{}-01", &PARENT[3..35], sent.id);
            let meta = got(&relay);
            assert_eq!(
                (&meta["traceparent"], &meta["tracestate"], &meta["baggage"]),
                (&json!(expected), &json!("a=1"), &json!("b=2"))
            );
            assert!(!format!("{asked:?}{sent:?}").contains("PLANT"));
        }
    }
    assert_eq!(relay.gateway.leftovers().spans, 0);
}

#[test]
fn what_the_client_says_of_its_call_is_the_parent_and_the_exchange_is_linked() {
    let mut relay = traced(&[("old", false, PLAIN)], 0.0);
    let session = relay.session("old", "2025-11-25");
    spans(&mut relay);
    let meta = format!(r#""_meta":{{"traceparent":"{PARENT}","baggage":"own=1"}}"#);
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("traceparent", OTHER),
        ("tracestate", "other=1"),
        ("baggage", "other=1"),
    ];
    relay.post(
        "old",
        &headers,
        &legacy("tools/call", &format!("{CALL},{meta}")),
    );
    let [ref sent, ref asked] = spans(&mut relay)[..] else {
        panic!("two spans")
    };
    assert_eq!(
        (
            asked.parent.unwrap().to_string().as_str(),
            asked.state.as_deref()
        ),
        (&PARENT[36..52], None)
    );
    let (trace, span) = asked.link.unwrap();
    assert_eq!(
        (trace.to_string().as_str(), span.to_string().as_str()),
        (&OTHER[3..35], &OTHER[36..52])
    );
    let expected = format!("00-{}-{}-01", &PARENT[3..35], sent.id);
    assert_eq!(
        got(&relay),
        json!({"baggage": "own=1", "traceparent": expected})
    );
}

#[test]
fn http_servers_get_the_calls_span_in_their_headers_too() {
    for modern_server in [false, true] {
        let mut remote = Remote::new(modern_server);
        let session = remote.session("2025-11-25", &json!({}));
        remote.input(Input::Rules(Box::new(Rules {
            spans: Some(Ratio::new(1.0)),
            ..Rules::default()
        })));
        let params = json!({"name": "t", "arguments": {}, "_meta": {"traceparent": PARENT}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
            .to_string();
        remote.post(
            &[("mcp-session-id", session.as_str()), ("traceparent", OTHER)],
            &body,
        );
        let sent = remote.last();
        let of = |name: &str| {
            sent.headers
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        let parents = of("traceparent");
        assert!(
            parents.len() == 1 && parents[0].starts_with(&PARENT[..36]) && parents[0] != PARENT,
            "{parents:?}"
        );
        assert_eq!(
            sent.body["params"]["_meta"]["traceparent"],
            json!(parents[0])
        );
    }
}

#[test]
fn a_parent_that_is_not_recorded_decides_and_everything_passes_as_it_came() {
    let (mut off, mut on) = (
        Relay::new(&[("old", false, PLAIN), ("new", true, PLAIN)]),
        traced(&[("old", false, PLAIN), ("new", true, PLAIN)], 1.0),
    );
    for view in ["old", "new"] {
        let sessions = [
            off.session(view, "2025-11-25"),
            on.session(view, "2025-11-25"),
        ];
        spans(&mut on);
        for legacy in [true, false] {
            let trace = [
                ("traceparent", UNSAMPLED),
                ("tracestate", "a=1"),
                ("baggage", "b=2"),
            ];
            call(&mut off, legacy.then_some(&sessions[0]), view, "t", &trace);
            call(&mut on, legacy.then_some(&sessions[1]), view, "t", &trace);
            assert_eq!(off.last_written(), on.last_written());
            assert_eq!(got(&on)["traceparent"], json!(UNSAMPLED));
            assert_eq!(spans(&mut on), []);
        }
    }
}

#[test]
fn without_a_parent_the_share_decides_and_servers_are_told_so() {
    for (share, flags) in [(1.0, "01"), (0.0, "00")] {
        let mut relay = traced(&[("old", false, PLAIN)], share);
        let session = relay.session("old", "2025-11-25");
        spans(&mut relay);
        call(
            &mut relay,
            Some(&session),
            "old",
            "t",
            &[("traceparent", "00-not-one"), ("baggage", "b=2")],
        );
        let meta = got(&relay);
        let parent = meta["traceparent"].as_str().unwrap().to_owned();
        assert!(
            parent.starts_with("00-") && parent.ends_with(&format!("-{flags}")),
            "{parent}"
        );
        assert_eq!(meta["baggage"], "b=2");
        let outputs = std::mem::take(&mut relay.outputs);
        let exemplar = outputs.iter().find_map(|output| {
            if let Output::Observe(Observation::Request { trace, .. }) = output {
                Some(*trace)
            } else {
                None
            }
        });
        relay.outputs = outputs;
        let found = spans(&mut relay);
        assert_eq!(
            (found.len(), exemplar.unwrap().is_some()),
            if share > 0.5 { (2, true) } else { (0, false) }
        );
        for span in &found {
            assert_eq!(
                (span.trace.to_string().as_str(), Some(span.trace)),
                (&parent[3..35], exemplar.unwrap())
            );
        }
        assert!(found.last().is_none_or(
            |asked| asked.parent.is_none() && found[0].id.to_string() == parent[36..52]
        ));
    }
}

#[test]
fn every_answer_ends_a_span_with_its_reason() {
    let server: Server = |_, message| {
        Some(match message["params"]["name"].as_str()? {
            "t" if message["params"]["arguments"].get("fail").is_some() => {
                r#""error":{"code":-32050,"message":"PLANT"}"#.to_owned()
            }
            "t" => r#""result":{"content":[],"isError":true}"#.to_owned(),
            _ => return None,
        })
    };
    let mut relay = traced(&[("old", false, server)], 1.0);
    let session = relay.session("", "2025-11-25");
    let headers = [("mcp-session-id", session.as_str())];
    let [ref greeted] = spans(&mut relay)[..] else {
        panic!("one span")
    };
    assert_eq!(
        (greeted.method, greeted.version, greeted.failure),
        ("initialize", "2025-11-25", None)
    );
    let mut one = |body: &str| {
        relay.post("", &headers, body);
        spans(&mut relay)
    };
    let of = |span: &Span| {
        span.failure
            .map(|failure| (failure.outcome.as_str(), failure.rpc, failure.code))
    };
    let found = one(&legacy("tools/call", r#""name":"old__t","arguments":{}"#));
    assert_eq!(
        (of(&found[0]), of(&found[1])),
        (
            Some(("tool_error", None, None)),
            Some(("tool_error", None, None))
        )
    );
    assert_eq!(
        (found[0].target.as_deref(), found[1].target.as_deref()),
        (Some("t"), Some("old__t"))
    );
    let found = one(&legacy(
        "tools/call",
        r#""name":"old__t","arguments":{"fail":1}"#,
    ));
    assert_eq!(
        (of(&found[0]), of(&found[1])),
        (
            Some(("error", Some(-32050), None)),
            Some(("error", Some(-32050), None))
        )
    );
    let found = one(&legacy(
        "tools/call",
        r#""name":"PLANT"}"#.trim_end_matches('}'),
    ));
    assert_eq!(
        (found.len(), of(&found[0]), found[0].target.as_deref()),
        (
            1,
            Some(("error", Some(-32602), Some(Code::ToolNotFound))),
            None
        )
    );
    let found = one(&legacy(
        "tools/call",
        r#""name":"explain-code","arguments":{"code":"GGEN-E1101"}"#,
    ));
    assert_eq!(
        (found.len(), of(&found[0]), found[0].target.as_deref()),
        (1, None, Some("explain-code"))
    );
    let found = one(&legacy("prompts/get", r#""name":"old__p""#));
    assert_eq!(
        (
            found.len(),
            found[1].target.as_deref(),
            found[0].target.as_deref()
        ),
        (2, Some("old__p"), Some("p"))
    );
    let found = one(&legacy("resources/read", r#""uri":"old+test://r""#));
    assert_eq!(
        (found.len(), found[1].method, found[1].target.as_deref()),
        (2, "resources/read", None)
    );
    for (method, count) in [("tools/list", 1), ("ping", 1), ("no/such", 1)] {
        let found = one(&legacy(method, ""));
        assert_eq!(
            (
                found.len(),
                found[0].failure.is_some(),
                found[0].method == "other"
            ),
            (count, method == "no/such", method == "no/such")
        );
    }
    relay.post("", &[("mcp-session-id", "nobody")], &legacy("ping", ""));
    let found = spans(&mut relay);
    assert_eq!(
        (found.len(), of(&found[0])),
        (1, Some(("error", Some(-32600), Some(Code::SessionUnknown))))
    );
    let rules = Rules {
        spans: Some(Ratio::new(1.0)),
        rate: Rate {
            per_second: 1,
            burst: 1,
        },
        ..Rules::default()
    };
    relay.input(Input::Rules(Box::new(rules)));
    let statuses: Vec<_> = (0..3)
        .map(|_| relay.post("", &headers, &legacy("ping", "")).0)
        .collect();
    let found = spans(&mut relay);
    assert_eq!((statuses.contains(&429), found.len()), (true, 3));
    assert_eq!(of(&found[2]).unwrap().2, Some(Code::RateLimited));
    // What is no request has none.
    relay.post("", &headers, "{");
    relay.post(
        "",
        &headers,
        r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
    );
    assert_eq!(spans(&mut relay), []);
    assert_eq!(relay.gateway.leftovers(), Leftovers::default());
}

#[test]
fn silence_loss_and_a_client_that_leaves_end_both_spans() {
    let silent: Server = |_, message| (message["method"] == "tools/call").then(String::new);
    let mut relay = traced(&[("old", false, silent)], 1.0);
    let session = relay.session("old", "2025-11-25");
    spans(&mut relay);
    let of = |span: &Span| {
        span.failure
            .map(|failure| (failure.outcome.as_str(), failure.rpc, failure.code))
    };
    let headers = [("mcp-session-id", session.as_str())];
    relay.send(Verb::Post, "old", &headers, legacy("tools/call", CALL));
    relay.now += 6_000_000;
    relay.input(Input::Tick);
    let found = spans(&mut relay);
    assert_eq!(
        of(&found[0]),
        Some(("timeout", None, Some(Code::UpstreamTimeout)))
    );
    assert_eq!(
        (found.len(), of(&found[1])),
        (
            2,
            Some(("error", Some(-32603), Some(Code::UpstreamTimeout)))
        )
    );
    assert_eq!(found[1].ended - found[1].began, 6_000_000);

    let (key, _) = relay.send(
        Verb::Post,
        "old",
        &[
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "t"),
        ],
        modern("1", "tools/call", CALL),
    );
    relay.input(Input::Gone(key));
    let found = spans(&mut relay);
    assert_eq!(
        found
            .iter()
            .map(|span| of(span).unwrap().0)
            .collect::<Vec<_>>(),
        ["cancelled", "cancelled"]
    );

    relay.send(Verb::Post, "old", &headers, legacy("tools/call", CALL));
    let lost = UpInput::Lost {
        state: UpstreamState::Degraded,
        code: Code::UpstreamExited,
        reason: "exit 1".to_owned(),
        next_start: Some(1),
    };
    relay.up(0, lost);
    let found = spans(&mut relay);
    assert_eq!(
        (found.len(), of(&found[0])),
        (2, Some(("lost", None, Some(Code::UpstreamExited))))
    );
    assert_eq!(of(&found[1]).unwrap().2, Some(Code::UpstreamExited));

    // A call that waits for its server is one span, from its arrival on.
    let began = relay.now;
    relay.send(Verb::Post, "old", &headers, legacy("tools/call", CALL));
    relay.now += 100_000;
    relay.up(
        0,
        UpInput::Connected {
            incarnation: 2,
            handoff: None,
        },
    );
    assert!(
        relay.last_written().contains("tools/call"),
        "{}",
        relay.last_written()
    );
    relay.now += 6_000_000;
    relay.input(Input::Tick);
    let found = spans(&mut relay);
    assert_eq!(
        (found.len(), found[1].began, found[0].began),
        (2, began, began + 100_000)
    );
    assert_eq!(relay.gateway.leftovers(), Leftovers::default());
}

#[test]
fn a_call_that_is_made_again_has_a_span_for_each_time() {
    // Asks for nothing the first time, and then answers.
    let server: Server = |text, message| {
        let again = text.contains("requestState");
        (message["method"] == "tools/call").then(|| {
            if again {
                r#""result":{"content":[],"resultType":"complete"}"#
            } else {
                r#""result":{"resultType":"input_required","requestState":"s"}"#
            }
            .to_owned()
        })
    };
    let mut relay = traced(&[("new", true, server)], 1.0);
    let session = relay.session("new", "2025-11-25");
    spans(&mut relay);
    relay.written.clear();
    let (key, _) = relay.send(
        Verb::Post,
        "new",
        &[("mcp-session-id", &session), ("traceparent", PARENT)],
        legacy("tools/call", CALL),
    );
    relay.now += 300_000;
    relay.input(Input::Tick);
    assert_eq!(relay.of(key).len(), 1);
    let found = spans(&mut relay);
    let [first, second, asked] = &found[..] else {
        panic!("three spans: {found:?}")
    };
    assert_eq!(
        (first.parent, second.parent, asked.failure),
        (Some(asked.id), Some(asked.id), None)
    );
    assert!(
        first.id != second.id && first.ended <= second.began && first.request != second.request
    );
    let parents: Vec<_> = relay
        .written
        .iter()
        .filter(|(_, text)| text.contains("tools/call"))
        .map(|(_, text)| text.clone())
        .collect();
    for (text, span) in parents.iter().zip([first, second]) {
        let parent = format!("00-{}-{}-01", span.trace, span.id);
        assert_eq!(
            (
                text.matches("traceparent").count(),
                text.matches(&parent).count()
            ),
            (1, 1),
            "{text}"
        );
    }
    assert_eq!((parents.len(), relay.gateway.leftovers().spans), (2, 0));
}

#[test]
fn the_requests_of_a_batch_have_spans_of_their_own() {
    let mut relay = traced(&[("old", false, PLAIN)], 0.0);
    let session = relay.session("old", "2025-03-26");
    spans(&mut relay);
    let one = |meta: &str| legacy("tools/call", &format!("{CALL}{meta}"));
    let body = format!(
        "[{},{}]",
        one(&format!(r#","_meta":{{"traceparent":"{PARENT}"}}"#)),
        one("")
    );
    relay.send(
        Verb::Post,
        "old",
        &[("mcp-session-id", &session), ("traceparent", OTHER)],
        body,
    );
    let found = spans(&mut relay);
    assert_eq!(
        (
            found.len(),
            found[1].trace.to_string().as_str(),
            found[1].link
        ),
        (2, &PARENT[3..35], None)
    );
}

#[test]
fn a_subscription_lasts_as_long_as_its_stream() {
    let mut relay = traced(&[("new", true, PLAIN)], 1.0);
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "subscriptions/listen"),
    ];
    let body = modern(
        "1",
        "subscriptions/listen",
        r#""notifications":{"toolsListChanged":true}"#,
    );
    let (key, _) = relay.send(Verb::Post, "new", &headers, body);
    assert_eq!(spans(&mut relay), []);
    relay.now += 5_000_000;
    relay.input(Input::Gone(key));
    let found = spans(&mut relay);
    assert_eq!(
        (
            found.len(),
            found[0].method,
            found[0].failure,
            found[0].ended - found[0].began
        ),
        (1, "subscriptions/listen", None, 5_000_000)
    );
}

#[test]
fn while_it_is_off_nothing_is_drawn_and_nothing_said() {
    let mut relay = Relay::new(&[("old", false, PLAIN)]);
    let session = relay.session("old", "2025-11-25");
    call(
        &mut relay,
        Some(&session),
        "old",
        "t",
        &[("traceparent", PARENT)],
    );
    assert_eq!(got(&relay)["traceparent"], json!(PARENT));
    assert_eq!(spans(&mut relay), []);
}
