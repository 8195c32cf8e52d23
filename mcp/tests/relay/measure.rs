//! What the relay alone takes for a call, without sockets: a figure, not a promise. Run with
//! `cargo test --release -p ggen-mcp --test relay measure -- --ignored --nocapture`.

use crate::support::{MODERN, Relay, modern};
use bytes::Bytes;
use ggen_mcp::api::{Input, Output, StreamKey, UpId, UpInput};
use ggen_mcp::edge::{Request, Verb};
use ggen_mcp::protocol::json;
use std::time::{Duration, Instant};

const ROUNDS: usize = 20;
const CALLS: u32 = 10_000;

/// Calls one after the other; the time that the relay had them, a request's way there and its
/// answer's way back.
fn per_call(
    relay: &mut Relay,
    up: u32,
    view: &str,
    headers: &[(&str, &str)],
    body: &str,
    round: usize,
) -> Duration {
    let (mut spent, mut out) = (Duration::ZERO, Vec::new());
    for call in 0..CALLS {
        let headers = headers
            .iter()
            .map(|(key, value)| ((*key).into(), value.as_bytes().into()))
            .collect();
        let key = StreamKey {
            edge: 1,
            stream: 1_000_000 + u32::try_from(round).unwrap() * CALLS + call,
        };
        let (view, body, principal) = (
            view.into(),
            Bytes::copy_from_slice(body.as_bytes()),
            relay.principal.clone(),
        );
        let request = Request {
            verb: Verb::Post,
            accept_json: true,
            accept_sse: true,
            view,
            principal,
            headers,
            body,
        };
        relay.now += 50;
        let began = Instant::now();
        relay
            .gateway
            .input(relay.now, Input::Open(key, request), &mut out);
        spent += began.elapsed();
        let line = out
            .drain(..)
            .find_map(|output| {
                if let Output::Write(_, _, line) = output {
                    Some(line)
                } else {
                    None
                }
            })
            .expect("a line");
        let text = std::str::from_utf8(&line).unwrap();
        let [id] = json::pick(text, ["id"]).unwrap();
        let result = r#"{"content":[{"type":"text","text":"forty bytes of text, as tools like to say"}],"resultType":"complete"}"#;
        let answer = Bytes::from(format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
            id.unwrap()
        ));
        relay.now += 50;
        let began = Instant::now();
        relay.gateway.input(
            relay.now,
            Input::Up(UpId(up), UpInput::Line(answer)),
            &mut out,
        );
        spent += began.elapsed();
        assert!(
            out.drain(..)
                .any(|output| matches!(output, Output::Reply(of, _) if of == key)),
            "no answer"
        );
    }
    spent / CALLS
}

#[test]
#[ignore = "a measurement"]
fn a_call_in_the_relay_alone() {
    let mut relay = Relay::new(&[("old", false, |_, _| None), ("new", true, |_, _| None)]);
    let call = r#""name":"t","arguments":{"message":"forty bytes of arguments, more or less"}"#;
    let legacy = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{call}}}}}"#);
    for (up, view) in [(0, "old"), (1, "new")] {
        let session = relay.session(view, "2025-11-25");
        for from_modern in [false, true] {
            let (headers, body) = if from_modern {
                (
                    vec![
                        ("mcp-protocol-version", MODERN),
                        ("mcp-method", "tools/call"),
                        ("mcp-name", "t"),
                    ],
                    modern("7", "tools/call", call),
                )
            } else {
                (
                    vec![
                        ("mcp-session-id", session.as_str()),
                        ("mcp-protocol-version", "2025-11-25"),
                    ],
                    legacy.clone(),
                )
            };
            let mut rounds: Vec<Duration> = (0..ROUNDS)
                .map(|round| per_call(&mut relay, up, view, &headers, &body, round))
                .collect();
            rounds.sort();
            let era = if from_modern { "modern" } else { "legacy" };
            println!(
                "{era} client, {view} server: {:?} a call (fastest {:?}, slowest {:?})",
                rounds[ROUNDS / 2],
                rounds[0],
                rounds[ROUNDS - 1]
            );
        }
    }
}
