//! Arbitrary bytes as a sequence of events for a whole relay: it never panics, never sends on an
//! exchange that is over, nothing before `Start`, no event beyond the window, and no line with a
//! break in it.
#![no_main]

use bytes::Bytes;
use ggen_mcp::api::*;
use ggen_mcp::edge::{Reply, Request, Verb};
use ggen_mcp::gateway::Gateway;
use ggen_mcp::persisted::{Keep, KeptSession, digest};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

#[derive(Default)]
struct Exchange {
    started: bool,
    over: bool,
    credit: u32,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Bytes up to the next 0xff, which UTF-8 never has.
    fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0xff).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }
}

/// Messages that get somewhere; `#` is the next id of the relay or a small number.
const CLIENT: [&str; 12] = [
    r##"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{"elicitation":{}}}}"##,
    r##"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"##,
    r##"{"jsonrpc":"2.0","id":"#","method":"tools/call","params":{"name":"t","arguments":{},"_meta":{"progressToken":1}}}"##,
    r##"{"jsonrpc":"2.0","id":#,"method":"resources/subscribe","params":{"uri":"test://r"}}"##,
    r##"[{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"t"}},{"jsonrpc":"2.0","id":2,"method":"ping"}]"##,
    r##"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":#}}"##,
    r##"{"jsonrpc":"2.0","id":#,"result":{}}"##,
    r##"{"jsonrpc":"2.0","id":#,"method":"tools/list"}"##,
    r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"##,
    r##"{"jsonrpc":"2.0","id":#,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["test://r"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"##,
    r##"{"jsonrpc":"2.0","id":#,"method":"resources/read","params":{"uri":"u0+test://r"}}"##,
    r##"{"jsonrpc":"2.0","id":#,"method":"tools/call","params":{"name":"doctor"}}"##,
];

const SERVER: [&str; 12] = [
    r##"{"jsonrpc":"2.0","id":#,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"serverInfo":{"name":"s"}}}"##,
    r##"{"jsonrpc":"2.0","id":#,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}}}}"##,
    r##"{"jsonrpc":"2.0","id":#,"result":{"tools":[{"name":"t","inputSchema":{}}],"nextCursor":"2"}}"##,
    r##"{"jsonrpc":"2.0","id":#,"result":{"tools":[{"name":"t"}],"resources":[{"uri":"test://r"}],"content":[]}}"##,
    r##"{"jsonrpc":"2.0","id":#,"error":{"code":-32601,"message":"no"}}"##,
    r##"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}"##,
    r##"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":#,"progress":1}}"##,
    r##"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"##,
    r##"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"x"}}"##,
    r##"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}"##,
    r##"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://r"}}"##,
    r##"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":#}}}"##,
];

fuzz_target!(|data: &[u8]| {
    let settings = |name: &str, transport| UpstreamSettings {
        name: name.to_owned(),
        transport,
        era: EraSetting::Auto,
        isolation: Isolation::Shared,
        stateful: false,
        pool: 2,
        pinned: None,
        startup: 30_000_000,
        timeout: 5_000_000,
        enabled: true,
        revision: 0,
    };
    let settings = Settings {
        upstreams: vec![settings("u0", Transport::Stdio), settings("u1", Transport::Http)],
        incarnation: 0,
        limits: Limits { sessions: 4, buffer: 4, ..Limits::default() },
        key: None,
        keeps: true,
        epoch: 1,
    };
    let mut gateway = Gateway::new(settings, Box::new(|bytes| bytes.fill(7)));
    let (mut now, mut next, mut exchanges) = (1u64, 0u32, HashMap::<StreamKey, Exchange>::new());
    let mut session = String::new();
    let mut sent = vec![1u64];
    let mut input = Reader(data);
    for _ in 0..200 {
        if input.0.is_empty() {
            break;
        }
        let (kind, which) = (input.byte(), input.byte());
        let recent = sent[sent.len().saturating_sub(1 + usize::from(which >> 5))];
        let fill = |text: &str, id: u64| Bytes::from(text.replace('#', &id.to_string()));
        let key = StreamKey { edge: 1, stream: u32::from(which) % next.max(1) };
        let up = UpId(u32::from(which & 1));
        let event = match kind % 14 {
            0..=3 => {
                let body = match which % 16 {
                    at @ 0..12 => fill(CLIENT[usize::from(at)], u64::from(which >> 5)),
                    _ => Bytes::copy_from_slice(input.text()),
                };
                let flags = input.byte();
                let mut headers: Vec<(Box<str>, Box<[u8]>)> = Vec::new();
                let modern = flags & 1 != 0 || body.windows(10).any(|part| part == b"2026-07-28");
                if modern {
                    headers.push(("mcp-protocol-version".into(), b"2026-07-28"[..].into()));
                    let method = std::str::from_utf8(&body).ok().and_then(|text| text.split("\"method\":\"").nth(1)?.split('"').next());
                    headers.push(("mcp-method".into(), method.unwrap_or_default().as_bytes().into()));
                    headers.push(("mcp-name".into(), b"t"[..].into()));
                } else if flags & 2 == 0 {
                    headers.push(("mcp-session-id".into(), session.as_bytes().into()));
                }
                if flags & 4 != 0 {
                    headers.push(("last-event-id".into(), format!("{}-{}", flags >> 6, which >> 6).into_bytes().into()));
                }
                let verb = [Verb::Post, Verb::Post, Verb::Get, Verb::Delete][usize::from(kind % 14)];
                let request = Request {
                    verb,
                    accept_json: flags & 8 == 0,
                    accept_sse: flags & 16 == 0,
                    view: ["", "u0", "u1", "core"][usize::from(flags >> 6)].into(),
                    principal: "p".into(),
                    headers,
                    body,
                };
                let key = StreamKey { edge: 1, stream: next };
                next += 1;
                exchanges.insert(key, Exchange { credit: ggen_mcp::edge::frame::WINDOW, ..Exchange::default() });
                Input::Open(key, request)
            }
            4 => {
                if let Some(exchange) = exchanges.get_mut(&key) {
                    exchange.over = true;
                }
                Input::Gone(key)
            }
            5 => {
                if let Some(exchange) = exchanges.get_mut(&key) {
                    exchange.credit += u32::from(which);
                }
                Input::Credit(key, u32::from(which))
            }
            6 => Input::Up(UpId(0), UpInput::Connected { incarnation: u64::from(which), handoff: None }),
            7 | 8 => {
                let line =
                    if which % 13 == 12 { Bytes::copy_from_slice(input.text()) } else { fill(SERVER[usize::from(which % 12)], recent) };
                Input::Up(UpId(0), UpInput::Line(line))
            }
            9 => Input::Up(
                UpId(0),
                UpInput::Lost {
                    state: ggen_wire_state(which),
                    code: ggen_wire_code(),
                    reason: "x".to_owned(),
                    next_start: Some(u64::from(which) * 10_000),
                },
            ),
            10 => {
                let (exchange, status) = (recent, [200, 202, 404, 429][usize::from(which & 3)]);
                let head = UpInput::Head { exchange, status, session: (which & 4 != 0).then(|| "s".to_owned()), retry_after: (which & 16 != 0).then_some(1_000_000), sse: which & 8 != 0 };
                Input::Up(UpId(1), head)
            }
            11 => {
                let data = if which & 7 == 7 { Bytes::new() } else { fill(SERVER[usize::from(which % 12)], recent) };
                let message =
                    UpInput::Message { exchange: recent, event_id: (which & 8 != 0).then(|| "e".to_owned()), retry_ms: None, data };
                Input::Up(UpId(1), message)
            }
            12 => Input::Up(up, UpInput::End { exchange: recent, error: None }),
            _ => {
                now += u64::from(which) * 100_000;
                match which {
                    0 => Input::Drain,
                    1 => Input::EdgeLost(1),
                    2 => Input::Answer(recent, Ok(Bytes::from_static(b"{}"))),
                    3 => Input::Recall(vec![(up, String::from_utf8_lossy(input.text()).into_owned())]),
                    4 => {
                        let record = String::from_utf8_lossy(input.text()).into_owned();
                        Input::Restore(vec![KeptSession { digest: digest(&session), record, idle: 0 }])
                    }
                    _ => Input::Tick,
                }
            }
        };
        if matches!(event, Input::EdgeLost(_)) {
            exchanges.values_mut().for_each(|exchange| exchange.over = true);
        }
        let mut out = Vec::new();
        gateway.input(now, event, &mut out);
        // What is to be stored is stored at once.
        let tickets: Vec<_> =
            out.iter().filter_map(|output| if let Output::Keep(Keep::Session { ticket, .. }) = output { *ticket } else { None }).collect();
        tickets.into_iter().for_each(|ticket| gateway.input(now, Input::Kept(ticket), &mut out));
        for output in out {
            match output {
                Output::Write(_, _, line) => {
                    assert!(!line.contains(&b'\n'));
                    sent.extend(number(&line));
                }
                Output::Http(_, request) => sent.push(request.exchange),
                Output::Ask(number, _) => sent.push(number),
                Output::Reply(key, reply) => {
                    let exchange = exchanges.get_mut(&key).expect("an exchange of ours");
                    assert!(!exchange.over, "a reply after the end: {reply:?}");
                    match reply {
                        Reply::Full { session: new, .. } => {
                            assert!(!exchange.started);
                            exchange.over = true;
                            session = new.map_or(session, Into::into);
                        }
                        Reply::Start { session: new } => {
                            assert!(!std::mem::replace(&mut exchange.started, true));
                            session = new.map_or(session, Into::into);
                        }
                        Reply::Event { data, .. } => {
                            assert!(exchange.started && exchange.credit > 0 && !data.contains(&b'\n'));
                            exchange.credit -= 1;
                        }
                        Reply::End => {
                            assert!(exchange.started);
                            exchange.over = true;
                        }
                    }
                }
                _ => {}
            }
        }
    }
});

fn number(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    ggen_mcp::protocol::json::pick(text, ["id"])?[0]?.parse().ok()
}

fn ggen_wire_state(which: u8) -> ggen_wire::status::UpstreamState {
    if which & 1 == 0 { ggen_wire::status::UpstreamState::CrashLoop } else { ggen_wire::status::UpstreamState::Stopped }
}

fn ggen_wire_code() -> ggen_wire::Code {
    ggen_wire::Code::UpstreamExited
}
