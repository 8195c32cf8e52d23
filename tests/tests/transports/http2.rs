//! HTTP/2 by single frames: what a client may not do is answered as RFC 9113 wants it, floods of
//! cheap frames cost the one who sends them, and others are served meanwhile. What h2spec tries
//! besides is in `tests/interop/h2spec`.

use ggend_tests::*;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 §7
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const REFUSED_STREAM: u32 = 7;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// SETTINGS are acknowledged by nothing, PING by itself.
    fn payload_of_ack(&self) -> Vec<u8> {
        if self.kind == PING {
            self.payload.clone()
        } else {
            Vec::new()
        }
    }

    /// The error code of RST_STREAM and GOAWAY.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

struct Peer(TcpStream);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header without indexing and without Huffman coding (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = text.len();
        if length < 127 {
            [&[u8::try_from(length).unwrap()], text.as_bytes()].concat()
        } else {
            let (mut bytes, mut rest) = (vec![127], length - 127);
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
            [&bytes, text.as_bytes()].concat()
        }
    };
    [vec![0], text(name), text(value)].concat()
}

fn get(path: &str) -> Vec<u8> {
    [
        field(":method", "GET"),
        field(":scheme", "http"),
        field(":authority", "localhost"),
        field(":path", path),
    ]
    .concat()
}

/// A message of the newest revision, as a request on that stream, whose number is its id.
fn post(stream: u32, method: &str, name: Option<&str>, mut params: Value) -> Vec<u8> {
    params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" } });
    let body =
        json!({ "jsonrpc": "2.0", "id": stream, "method": method, "params": params }).to_string();
    let head = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":authority", "localhost"),
        field(":path", "/mcp/fixture"),
        field("content-type", "application/json"),
        field("accept", "application/json, text/event-stream"),
        field("mcp-protocol-version", "2026-07-28"),
        field("mcp-method", method),
        name.map(|name| field("mcp-name", name)).unwrap_or_default(),
    ];
    [
        frame(HEADERS, END_HEADERS, stream, &head.concat()),
        frame(DATA, END_STREAM, stream, body.as_bytes()),
    ]
    .concat()
}

fn call(stream: u32, tool: &str, arguments: &Value) -> Vec<u8> {
    post(
        stream,
        "tools/call",
        Some(tool),
        json!({ "name": tool, "arguments": arguments }),
    )
}

/// What has come on each stream of a connection.
#[derive(Default)]
struct Streams {
    text: BTreeMap<u32, String>,
    reset: BTreeMap<u32, u32>,
}

impl Streams {
    /// Reads on until that is so.
    fn until(&mut self, peer: &mut Peer, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let frame = peer.read().unwrap();
            match frame.kind {
                DATA => self
                    .text
                    .entry(frame.stream)
                    .or_default()
                    .push_str(std::str::from_utf8(&frame.payload).unwrap()),
                RST_STREAM => drop(self.reset.insert(frame.stream, frame.code())),
                GOAWAY => panic!("the connection is ended: {frame:?}"),
                SETTINGS | PING if frame.flags & ACK == 0 => peer
                    .send(&self::frame(frame.kind, ACK, 0, &frame.payload_of_ack()))
                    .unwrap(),
                _ => {}
            }
        }
    }

    /// On how many streams that has come.
    fn with(&self, words: &str) -> usize {
        self.text
            .values()
            .filter(|text| text.contains(words))
            .count()
    }
}

impl Peer {
    fn open(daemon: &Daemon) -> Self {
        let socket = TcpStream::connect(daemon.http).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut peer = Self(socket);
        peer.0
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        peer.send(&frame(SETTINGS, 0, 0, &[])).unwrap();
        peer
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// The next frame of one of these kinds; `None` when the connection has ended.
    fn until(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            match self.read() {
                Ok(frame) if kinds.contains(&frame.kind) => return Some(frame),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    panic!("no answer: {error}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends until the peer does not take it any more, or all of it is sent. Bytes sent.
    fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            match self.0.write(bytes) {
                Ok(count) => sent += count,
                Err(_) => return sent,
            }
        }
        sent
    }
}

fn house() -> Daemon {
    let daemon =
        daemon(json!({ "server": { "workers": 1 }, "mcpServers": { "fixture": fixture(&[]) } }))
            .start();
    daemon.until_ready(&["fixture"]);
    daemon
}

fn others_are_served(daemon: &Daemon) {
    let began = Instant::now();
    assert_eq!(
        Client::new(daemon.http, "fixture", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .text(),
        "x"
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

fn rss(daemon: &Daemon) -> u64 {
    let pid = daemon.worker_pid("http-0").unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap()
}

#[test]
fn what_a_client_may_not_do_is_answered_as_the_specification_wants_it() {
    let daemon = house();
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let window = |by: u32| by.to_be_bytes();
    let open = frame(HEADERS, END_HEADERS, 1, &get("/health"));
    // What is sent, and the error of the connection (GOAWAY) or of the stream (RST_STREAM) that
    // answers it.
    let cases: Vec<(&str, Vec<u8>, u8, &[u32])> = vec![
        (
            "DATA on a stream that nobody opened",
            frame(DATA, 0, 1, b"x"),
            GOAWAY,
            &[PROTOCOL_ERROR, STREAM_CLOSED],
        ),
        (
            "HEADERS on an even stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &get("/")),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "PING of 7 bytes",
            frame(PING, 0, 0, &[0; 7]),
            GOAWAY,
            &[FRAME_SIZE_ERROR],
        ),
        (
            "PING on a stream",
            frame(PING, 0, 1, &[0; 8]),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "SETTINGS of 5 bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            GOAWAY,
            &[FRAME_SIZE_ERROR],
        ),
        (
            "a window of 2^31",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            GOAWAY,
            &[FLOW_CONTROL_ERROR],
        ),
        (
            "frames of 2^24",
            frame(SETTINGS, 0, 0, &setting(5, 1 << 24)),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "a window that grows by nothing",
            frame(WINDOW_UPDATE, 0, 0, &window(0)),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "a window over 2^31-1",
            frame(WINDOW_UPDATE, 0, 0, &window((1 << 31) - 1)),
            GOAWAY,
            &[FLOW_CONTROL_ERROR],
        ),
        (
            "a stream's window over 2^31-1",
            [open, frame(WINDOW_UPDATE, 0, 1, &window((1 << 31) - 1))].concat(),
            RST_STREAM,
            &[FLOW_CONTROL_ERROR],
        ),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &get("/")),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "DATA between HEADERS and CONTINUATION",
            [frame(HEADERS, 0, 1, &get("/")), frame(DATA, 0, 1, b"x")].concat(),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "an index that HPACK has not",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f]),
            GOAWAY,
            &[COMPRESSION_ERROR],
        ),
        (
            "RST_STREAM of a stream that nobody opened",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            GOAWAY,
            &[PROTOCOL_ERROR],
        ),
        (
            "a frame larger than 16 KiB",
            frame(DATA, 0, 1, &vec![0; (16 << 10) + 1]),
            GOAWAY,
            &[FRAME_SIZE_ERROR],
        ),
        (
            "PRIORITY of 4 bytes",
            frame(PRIORITY, 0, 1, &[0; 4]),
            GOAWAY,
            &[FRAME_SIZE_ERROR],
        ),
        (
            "an upper-case name",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[get("/"), field("X-Upper", "x")].concat(),
            ),
            RST_STREAM,
            &[PROTOCOL_ERROR],
        ),
        (
            "a pseudo-header behind a header",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[field("a", "b"), get("/")].concat(),
            ),
            RST_STREAM,
            &[PROTOCOL_ERROR],
        ),
        (
            "a header of the connection",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[get("/"), field("connection", "close")].concat(),
            ),
            RST_STREAM,
            &[PROTOCOL_ERROR],
        ),
    ];
    for (what, bytes, kind, codes) in cases {
        let mut peer = Peer::open(&daemon);
        peer.send(&bytes).unwrap();
        let answer = peer
            .until(&[GOAWAY, RST_STREAM])
            .unwrap_or_else(|| panic!("{what}: closed without a word"));
        // An error of the connection does for one of the stream (RFC 9113 §5.4.2).
        assert!(
            answer.kind == kind || answer.kind == GOAWAY,
            "{what}: {answer:?}"
        );
        // The library says no more than the general code for some frames of a wrong size.
        assert!(
            codes.contains(&answer.code())
                || answer.kind == GOAWAY && answer.code() == PROTOCOL_ERROR,
            "{what}: {answer:?}"
        );
        if kind == GOAWAY {
            assert!(
                peer.until(&[]).is_none(),
                "{what}: the connection is closed"
            );
        }
    }
    others_are_served(&daemon);
    daemon.stop();
}

#[test]
fn requests_that_are_reset_at_once_cost_nothing_that_lasts() {
    let daemon = house();
    let before = rss(&daemon);
    let (mut sent, mut calm) = (0, 0);
    for _ in 0..10 {
        let mut peer = Peer::open(&daemon);
        let reset = 8_u32.to_be_bytes();
        for number in 0..2000_u32 {
            let stream = 2 * number + 1;
            let both = [
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &get("/mcp/fixture"),
                ),
                frame(RST_STREAM, 0, stream, &reset),
            ]
            .concat();
            if peer.send(&both).is_err() {
                break;
            }
            sent += 1;
        }
        if peer.0.shutdown(std::net::Shutdown::Write).is_ok()
            && peer
                .until(&[GOAWAY])
                .is_some_and(|goaway| goaway.code() == ENHANCE_YOUR_CALM)
        {
            calm += 1;
        }
    }
    others_are_served(&daemon);
    until("nothing is left in flight", || {
        (daemon.status().in_flight == 0).then_some(())
    });
    let after = rss(&daemon);
    println!(
        "{sent} requests reset on 10 connections, {calm} of which were told to calm down: {before} KiB before, {after} KiB after"
    );
    assert!(after < before + (32 << 10), "{after}");
    daemon.stop();
}

#[test]
fn floods_of_cheap_frames_are_bounded() {
    let daemon = house();
    let before = rss(&daemon);
    let head = frame(HEADERS, 0, 1, &get("/health"));
    let piece = frame(CONTINUATION, 0, 1, &field("x-more", &"y".repeat(16_000)));
    let large = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &[get("/health"), field("x-large", &"y".repeat(12_000))].concat(),
    );
    // What nobody reads the answers of, and what never ends.
    for (what, first, flood) in [
        ("PING", Vec::new(), frame(PING, 0, 0, &[7; 8]).repeat(1000)),
        (
            "SETTINGS",
            Vec::new(),
            frame(SETTINGS, 0, 0, &[]).repeat(1000),
        ),
        ("CONTINUATION", head.clone(), piece),
        (
            "CONTINUATION without a byte",
            head.clone(),
            frame(CONTINUATION, 0, 1, &[]).repeat(1000),
        ),
        (
            "DATA without a byte",
            frame(HEADERS, END_HEADERS, 1, &get("/health")),
            frame(DATA, 0, 1, &[]).repeat(1000),
        ),
        (
            "PRIORITY",
            Vec::new(),
            frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]).repeat(1000),
        ),
        (
            "RST_STREAM",
            frame(HEADERS, END_HEADERS, 1, &get("/health")),
            frame(RST_STREAM, 0, 1, &[0; 4]).repeat(1000),
        ),
    ] {
        let mut peer = Peer::open(&daemon);
        peer.0
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        peer.send(&first).unwrap();
        let sent = peer.flood(&flood, 8 << 20);
        others_are_served(&daemon);
        let after = rss(&daemon);
        println!("{what}: {sent} bytes taken, {after} KiB ({before} before)");
        assert!(after < before + (32 << 10), "{what}: {after}");
    }
    // One head that is too large is answered on its stream, and the connection goes on.
    let mut peer = Peer::open(&daemon);
    let larger = [
        get("/health"),
        (0..8)
            .flat_map(|_| field("x-large", &"y".repeat(12_000)))
            .collect(),
    ]
    .concat();
    let chunks: Vec<&[u8]> = larger.chunks(16_000).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let (kind, first) = if at == 0 {
            (HEADERS, END_STREAM)
        } else {
            (CONTINUATION, 0)
        };
        let last = if at + 1 == chunks.len() {
            END_HEADERS
        } else {
            0
        };
        peer.send(&frame(kind, first | last, 1, chunk))
            .unwrap_or_default();
    }
    let answer = peer.until(&[HEADERS, RST_STREAM, GOAWAY]);
    println!(
        "a head of {} bytes: {:?}",
        larger.len(),
        answer.as_ref().map(|answer| (answer.kind, answer.stream))
    );
    assert!(answer.is_some(), "it is answered");
    let mut peer = Peer::open(&daemon);
    peer.send(&large).unwrap();
    assert!(
        peer.until(&[HEADERS])
            .is_some_and(|answer| answer.stream == 1),
        "one within the limit is served"
    );
    // A peer that acknowledges nothing would be waited for until the end of the drain.
    drop(peer);
    daemon.stop();
}

#[test]
fn a_drain_is_told_by_goaway_and_finishes_what_has_begun() {
    let daemon = house();
    let mut peer = Peer::open(&daemon);
    peer.send(&call(1, "slow", &json!({ "ms": 1500 }))).unwrap();
    until("the call is in flight", || {
        (daemon.upstream("fixture").in_flight > 0).then_some(())
    });
    let stopping = std::thread::spawn(move || daemon.stop());
    let goaway = peer.until(&[GOAWAY]).expect("GOAWAY");
    assert_eq!(goaway.code(), 0);
    let mut seen = Vec::new();
    while let Some(frame) = peer.until(&[DATA]) {
        seen.extend_from_slice(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert!(
        String::from_utf8_lossy(&seen).contains("Slept 1500 ms"),
        "{}",
        String::from_utf8_lossy(&seen)
    );
    drop(peer);
    stopping.join().unwrap();
}

#[test]
fn a_hundred_event_streams_on_one_connection_hear_the_same_and_calls_are_answered_meanwhile() {
    const COUNT: u32 = 100;
    let daemon = house();
    let before = rss(&daemon);
    let number = |at: u32| 2 * at + 1;
    let open = || {
        let mut peer = Peer::open(&daemon);
        // What the whole connection may bring; each stream brings little.
        peer.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes()))
            .unwrap();
        (peer, Streams::default())
    };
    let (mut peer, mut streams) = open();
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    for at in 0..COUNT {
        peer.send(&post(
            number(at),
            "subscriptions/listen",
            None,
            wanted.clone(),
        ))
        .unwrap();
    }
    streams.until(&mut peer, |streams| {
        streams.with("notifications/subscriptions/acknowledged") == 100
    });
    // One more than may be open is refused by itself (RFC 9113 §5.1.2).
    peer.send(&call(number(COUNT), "echo", &json!({ "message": "x" })))
        .unwrap();
    streams.until(&mut peer, |streams| {
        streams.reset.contains_key(&number(COUNT))
    });
    assert_eq!(
        streams.reset,
        BTreeMap::from([(number(COUNT), REFUSED_STREAM)])
    );
    // Meanwhile a hundred calls at once on another connection.
    let (mut other, mut answers) = open();
    for at in 0..COUNT {
        other
            .send(&call(
                number(at),
                "echo",
                &json!({ "message": format!("echo {at}.") }),
            ))
            .unwrap();
    }
    answers.until(&mut other, |answers| {
        (0..COUNT).all(|at| {
            answers
                .text
                .get(&number(at))
                .is_some_and(|text| text.contains(&format!("echo {at}.")))
        })
    });
    // A change is told on each stream, under that stream's id.
    other
        .send(&call(number(COUNT), "test_trigger_tool_change", &json!({})))
        .unwrap();
    streams.until(&mut peer, |streams| {
        streams.with("notifications/tools/list_changed") == 100
    });
    for at in 0..COUNT {
        let text = &streams.text[&number(at)];
        let told = text.lines().filter_map(|line| {
            serde_json::from_str::<Value>(line.strip_prefix("data:")?.trim()).ok()
        });
        let ids: Vec<_> = told
            .map(|message| {
                message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
            })
            .collect();
        assert!(
            ids.len() >= 2 && ids.iter().all(|id| *id == number(at)),
            "{text}"
        );
    }
    // One that is ended makes room for a call beside the others.
    peer.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()))
        .unwrap();
    peer.send(&call(
        number(COUNT + 1),
        "echo",
        &json!({ "message": "beside them" }),
    ))
    .unwrap();
    streams.until(&mut peer, |streams| streams.with("beside them") == 1);
    println!(
        "{COUNT} event streams on one connection: {before} KiB before, {} KiB with them",
        rss(&daemon)
    );
    assert!(rss(&daemon) < before + (32 << 10));
    drop((peer, other));
    until("nothing is left in flight", || {
        (daemon.status().in_flight == 0).then_some(())
    });
    daemon.stop();
}
