//! Attacks that are known from other programs, each by its public report: HTTP/1.1, HTTP/2, WebSocket
//! and QUIC. What comes of each is printed: `cargo test --workspace --test security known_ --
//! --nocapture`.

use ggend_tests::{
    http2::{Frames, field, frame},
    websocket::Socket,
    *,
};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

/// The report, what is done, and what came of it, in words; an error is a hole.
pub(super) type Attack = (
    &'static str,
    &'static str,
    fn(&Daemon) -> Result<String, String>,
);

/// Runs them one after the other; after each, somebody else is served.
pub(super) fn run(daemon: &Daemon, attacks: &[Attack]) {
    let mut holes = Vec::new();
    for (report, what, attack) in attacks {
        let outcome = attack(daemon);
        println!("{report:<16} {what}: {outcome:?}");
        if let Err(hole) = outcome {
            holes.push(format!("{report} {what}: {hole}"));
        }
        let answer = Connection::once(daemon.http, "GET", "/health", &[], b"").unwrap();
        assert_eq!(answer.head.status, 200, "{report}");
    }
    assert!(holes.is_empty(), "{holes:#?}");
    for worker in daemon.status().workers {
        assert_eq!(worker.restarts, 0, "{}", worker.name);
    }
}

fn house() -> Daemon {
    let daemon = daemon(json!({
        "server": { "workers": 1 },
        "transports": { "http": { "timeout_ms": 1500 } },
        "mcpServers": { "fixture": fixture(&[]) },
    }))
    .start();
    daemon.until_ready(&["fixture"]);
    daemon
}

pub(super) fn rss(daemon: &Daemon, worker: &str) -> u64 {
    let pid = daemon.worker_pid(worker).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// All that comes for these bytes, until the other side closes or is silent for a second.
pub(super) fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let second = Some(Duration::from_secs(1));
    socket.set_read_timeout(second).unwrap();
    socket.set_write_timeout(second).unwrap();
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    while let Ok(read) = socket.read(&mut piece) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the answers in a text.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|rest| rest.get(..3)?.parse().ok())
        .collect()
}

/// One answer at most, with one of these statuses.
fn one_of(text: &str, allowed: &[u16]) -> Result<String, String> {
    let found = statuses(text);
    if found.len() <= 1 && found.iter().all(|status| allowed.contains(status)) {
        Ok(format!("{found:?}"))
    } else {
        Err(text.chars().take(600).collect())
    }
}

/// A POST with these header lines and this body, behind which a second request is hidden.
fn smuggle(daemon: &Daemon, lines: &str, body: &str) -> Result<String, String> {
    let text = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{lines}\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    one_of(&raw(daemon.http, text.as_bytes()), &[400, 413, 431, 501])
}

/// A GET with this target and these header lines.
fn get(daemon: &Daemon, target: &str, lines: &str) -> String {
    let text =
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n");
    raw(daemon.http, text.as_bytes())
}

const HTTP1: &[Attack] = &[
    (
        "CVE-2021-32714",
        "hyper: a chunk size over 64 bits",
        |daemon| {
            smuggle(
                daemon,
                "Transfer-Encoding: chunked",
                "f0000000000000003\r\nabc\r\n0\r\n\r\n",
            )
        },
    ),
    (
        "CVE-2021-32715",
        "hyper: a sign before a length",
        |daemon| smuggle(daemon, "Content-Length: +3", "abc"),
    ),
    ("CVE-2013-2028", "nginx: the largest chunk size", |daemon| {
        smuggle(
            daemon,
            "Transfer-Encoding: chunked",
            "ffffffffffffffff\r\nabc",
        )
    }),
    (
        "CVE-2021-40346",
        "HAProxy: a name whose length overflows into a second length",
        |daemon| {
            let lines = format!(
                "Content-Length0{}: 0\r\nContent-Length: 3\r\nContent-Length: 99",
                "a".repeat(255)
            );
            smuggle(daemon, &lines, "abc")
        },
    ),
    (
        "CVE-2022-32215",
        "Node: a coding that goes on in the next line",
        |daemon| {
            smuggle(
                daemon,
                "Transfer-Encoding: chunked\r\n , identity",
                "0\r\n\r\n",
            )
        },
    ),
    (
        "CVE-2020-8287",
        "Node: two codings, one of them unknown",
        |daemon| {
            smuggle(
                daemon,
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked-false",
                "0\r\n\r\n",
            )
        },
    ),
    ("CVE-2019-16276", "Go: a space before the colon", |daemon| {
        smuggle(
            daemon,
            "Transfer-Encoding : chunked\r\nContent-Length: 5",
            "0\r\n\r\n",
        )
    }),
    (
        "CVE-2025-22871",
        "Go: a chunk size that ends in a bare line feed",
        |daemon| smuggle(daemon, "Transfer-Encoding: chunked", "1;\nx\r\n0\r\n\r\n"),
    ),
    (
        "CVE-2019-20372",
        "nginx: a body of a refused request is taken for a request",
        |daemon| {
            let inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let text = format!(
                "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{inner}",
                inner.len()
            );
            one_of(&raw(daemon.http, text.as_bytes()), &[404])
        },
    ),
    (
        "CVE-2013-4547",
        "nginx: a space and a zero in the target",
        |daemon| one_of(&get(daemon, "/health \0/mcp", ""), &[400]),
    ),
    (
        "CVE-2021-41773",
        "Apache: encoded dots lead out of the tree",
        |daemon| {
            let text = get(daemon, "/mcp/.%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "");
            if text.contains("root:") {
                return Err(text);
            }
            one_of(&text, &[400, 404, 405, 406])
        },
    ),
    (
        "CVE-2017-7529",
        "nginx: a range whose sum overflows",
        |daemon| {
            one_of(
                &get(
                    daemon,
                    "/tools",
                    "Range: bytes=-9223372036854775608,-9223372036854775000\r\n",
                ),
                &[200],
            )
        },
    ),
    (
        "CVE-2011-3192",
        "Apache: many ranges that overlap",
        |daemon| {
            let ranges: String = (0..1000).map(|n| format!(",5-{n}")).collect();
            let text = get(daemon, "/tools", &format!("Range: bytes=0-{ranges}\r\n"));
            if text.contains("multipart") {
                return Err("all of them are served".to_owned());
            }
            one_of(&text, &[200])
        },
    ),
    (
        "CVE-2024-22019",
        "Node: a chunk's extension without end",
        |daemon| {
            let before = rss(daemon, "http-0");
            let text = format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1;{}",
                "a".repeat(8 << 20)
            );
            let answer = raw(daemon.http, text.as_bytes());
            let grown = rss(daemon, "http-0").saturating_sub(before);
            if grown > 8 << 20 {
                return Err(format!("{grown} bytes"));
            }
            one_of(&answer, &[400])
        },
    ),
    (
        "CVE-2025-52999",
        "jackson: JSON that is nested a hundred thousand times",
        |daemon| {
            let body = "[".repeat(100_000);
            let text = format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            one_of(&raw(daemon.http, text.as_bytes()), &[400])
        },
    ),
];

const HTTP2: &[Attack] = &[
    (
        "CVE-2025-8671",
        "HTTP/2: resets that the server is made to send (MadeYouReset)",
        |daemon| {
            let mut frames =
                Frames::open(daemon.http, 1 << 20).map_err(|error| error.to_string())?;
            let mut sent = 0;
            for n in 0..5_000 {
                let stream = 2 * n + 1;
                let none = 0_u32.to_be_bytes();
                let done = frames
                    .request(stream, "GET", "/tools", &[], b"")
                    .and_then(|()| frames.0.write_all(&frame(8, 0, stream, &none)));
                if done.is_err() {
                    break;
                }
                sent += 1;
            }
            // Those that are not sent any more met a closed connection.
            let ended = frames.rest(u32::MAX).is_some();
            if ended {
                Ok(format!("{sent} sent, then closed"))
            } else {
                Err(format!("{sent} taken"))
            }
        },
    ),
    (
        "CVE-2021-21295",
        "netty: a body that is longer than its length",
        |daemon| {
            let mut frames =
                Frames::open(daemon.http, 1 << 20).map_err(|error| error.to_string())?;
            let body = b"{}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let headers = [
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("content-length", "2"),
            ];
            frames
                .request(1, "POST", "/mcp", &headers, body)
                .map_err(|error| error.to_string())?;
            let answer = String::from_utf8_lossy(&frames.rest(1).ok_or("no answer")?).into_owned();
            if answer.contains("result") {
                Err(answer)
            } else {
                Ok(answer)
            }
        },
    ),
    (
        "CVE-2021-33193",
        "Apache: line ends inside a method of HTTP/2",
        |daemon| {
            let mut frames =
                Frames::open(daemon.http, 1 << 20).map_err(|error| error.to_string())?;
            let method = "GET /smuggled HTTP/1.1\r\nx: y";
            frames
                .request(1, method, "/health", &[], b"")
                .map_err(|error| error.to_string())?;
            let answer = String::from_utf8_lossy(&frames.rest(1).ok_or("no answer")?).into_owned();
            if answer.is_empty() {
                Ok("the stream is reset".to_owned())
            } else {
                Err(answer)
            }
        },
    ),
    (
        "CVE-2020-11080",
        "nghttp2: settings of 14,400 bytes, again and again",
        |daemon| {
            let mut frames =
                Frames::open(daemon.http, 1 << 20).map_err(|error| error.to_string())?;
            let settings = [0, 0xaa, 0, 0, 0, 0].repeat(2400);
            let began = Instant::now();
            let second = Some(Duration::from_secs(1));
            frames
                .0
                .set_write_timeout(second)
                .map_err(|error| error.to_string())?;
            let taken = (0..500)
                .take_while(|_| frames.0.write_all(&frame(4, 0, 0, &settings)).is_ok())
                .count();
            let answer = Connection::once(daemon.http, "GET", "/health", &[], b"")
                .map_err(|error| error.to_string())?;
            let took = began.elapsed();
            let fine = answer.head.status == 200 && took < Duration::from_secs(5);
            if fine {
                Ok(format!("{taken} in {took:?}"))
            } else {
                Err(format!("{took:?}"))
            }
        },
    ),
    (
        "CVE-2016-6581",
        "hpack: a small header block that unpacks to a large one",
        |daemon| {
            let before = rss(daemon, "http-0");
            let mut frames =
                Frames::open(daemon.http, 1 << 20).map_err(|error| error.to_string())?;
            // One entry of 3 KiB in the table, named 16,000 times by a byte each.
            let mut large = field("x-large", &"y".repeat(3_000));
            large[0] = 0x40;
            let head = [
                field(":method", "GET"),
                field(":scheme", "http"),
                field(":authority", "localhost"),
                field(":path", "/health"),
                large,
            ]
            .concat();
            let block = [head, vec![0xbe; 12_000]].concat();
            frames
                .0
                .write_all(&frame(1, 5, 1, &block))
                .map_err(|error| error.to_string())?;
            let ended = frames.rest(1).is_some();
            let grown = rss(daemon, "http-0").saturating_sub(before);
            if ended && grown < 16 << 20 {
                Ok(format!("refused, {grown} bytes"))
            } else {
                Err(format!("{grown} bytes"))
            }
        },
    ),
];

/// The handshake of a WebSocket with these lines.
fn shake(daemon: &Daemon, lines: &str) -> String {
    let text = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    );
    raw(daemon.http, text.as_bytes())
}

const WEBSOCKET: &[Attack] = &[
    (
        "CVE-2018-1000518",
        "websockets: a small message that unpacks to a large one",
        |daemon| {
            let answer = shake(
                daemon,
                "Sec-WebSocket-Protocol: mcp\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
            );
            let offered = answer
                .to_ascii_lowercase()
                .contains("sec-websocket-extensions");
            if offered || statuses(&answer) != [101] {
                Err(answer)
            } else {
                Ok("no compression".to_owned())
            }
        },
    ),
    (
        "CVE-2021-32640",
        "ws: a header of subprotocols that takes long to read",
        |daemon| {
            let began = Instant::now();
            let answer = shake(
                daemon,
                &format!("Sec-WebSocket-Protocol: b{}x\r\n", " ".repeat(12_000)),
            );
            let took = began.elapsed();
            if took < Duration::from_secs(3) {
                Ok(format!("{:?} in {took:?}", statuses(&answer)))
            } else {
                Err(format!("{took:?}"))
            }
        },
    ),
    (
        "CVE-2024-37890",
        "ws: more headers than are taken",
        |daemon| {
            let many: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
            one_of(&shake(daemon, &many), &[400, 431])
        },
    ),
    (
        "CVE-2023-43669",
        "tungstenite: a handshake without end",
        |daemon| {
            let before = rss(daemon, "http-0");
            let answer = shake(daemon, &format!("x-long: {}\r\n", "y".repeat(4 << 20)));
            let grown = rss(daemon, "http-0").saturating_sub(before);
            if grown > 8 << 20 {
                return Err(format!("{grown} bytes"));
            }
            one_of(&answer, &[400, 431])
        },
    ),
    (
        "CVE-2025-52882",
        "an IDE's extension: any page opens the WebSocket",
        |daemon| {
            one_of(
                &shake(
                    daemon,
                    "Origin: https://evil.example\r\nSec-WebSocket-Protocol: mcp\r\n",
                ),
                &[403],
            )
        },
    ),
    (
        "CVE-2020-27813",
        "gorilla: a frame whose length overflows",
        |daemon| {
            let mut socket = Socket::open(daemon.http, "/ws");
            let frame = [&[0x81, 0xff][..], &[0xff; 8], &[0; 4], b"x"].concat();
            socket
                .tcp
                .write_all(&frame)
                .map_err(|error| error.to_string())?;
            let ended = (0..4).any(|_| socket.ws.read().is_err());
            if ended {
                Ok("closed".to_owned())
            } else {
                Err("still open".to_owned())
            }
        },
    ),
];

/// Bytes of these datagrams that came back, while none came for 300 ms, and those that were sent.
fn datagrams(address: SocketAddr, all: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut sent = 0;
    for datagram in all {
        sent += socket.send(&datagram).unwrap_or_default();
    }
    let (mut came, mut piece) = (0, [0; 2048]);
    while let Ok(bytes) = socket.recv(&mut piece) {
        came += bytes;
    }
    (came, sent)
}

/// An Initial packet of QUIC whose inside is noise, padded to this size.
fn initial(n: u32, version: u32, size: usize) -> Vec<u8> {
    let mut packet = vec![0xc3];
    packet.extend(version.to_be_bytes());
    packet.push(8);
    packet.extend([n.to_be_bytes(), n.wrapping_mul(2_654_435_761).to_be_bytes()].concat());
    packet.push(0);
    packet.push(0);
    packet.extend([0x44, 0x80]);
    let mut noise = n | 1;
    while packet.len() < size {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        packet.push(noise.to_le_bytes()[0]);
    }
    packet
}

const QUIC: &[Attack] = &[
    (
        "CVE-2023-42805",
        "quinn: packets that are noise behind their first bytes",
        |daemon| {
            let quic = daemon.listener("quic").ok_or("no QUIC")?;
            let all =
                (0..3_000_u32).map(|n| initial(n, 1, 30 + usize::try_from(n % 1200).unwrap_or(0)));
            let (came, sent) = datagrams(quic, all);
            if came <= sent {
                Ok(format!("{came} bytes for {sent}"))
            } else {
                Err(format!("{came} for {sent}"))
            }
        },
    ),
    (
        "CVE-2025-54939",
        "LSQUIC: packets before any handshake that are kept (QUIC-LEAK)",
        |daemon| {
            let quic = daemon.listener("quic").ok_or("no QUIC")?;
            let before = rss(daemon, "quic-0");
            // Each datagram has a second packet for a connection that there is not.
            let all = (0..10_000_u32).map(|n| [initial(n, 1, 1_158), initial(!n, 1, 90)].concat());
            let _ = datagrams(quic, all);
            let grown = rss(daemon, "quic-0").saturating_sub(before);
            if grown < 16 << 20 {
                Ok(format!("{grown} bytes"))
            } else {
                Err(format!("{grown} bytes"))
            }
        },
    ),
    (
        "CVE-2013-5211",
        "NTP: small datagrams of others' addresses that get large answers",
        |daemon| {
            let quic = daemon.listener("quic").ok_or("no QUIC")?;
            // Too small for a connection, of a version that is not known: neither may be answered.
            let all = (0..500).map(|n| initial(n, if n % 2 == 0 { 1 } else { 0xbaba_baba }, 200));
            let (came, sent) = datagrams(quic, all);
            if came <= sent {
                Ok(format!("{came} bytes for {sent}"))
            } else {
                Err(format!("{came} for {sent}"))
            }
        },
    ),
];

#[test]
fn known_attacks_on_http_1() {
    let daemon = house();
    run(&daemon, HTTP1);
    daemon.stop();
}

#[test]
fn known_attacks_on_http_2() {
    let daemon = house();
    run(&daemon, HTTP2);
    daemon.stop();
}

#[test]
fn known_attacks_on_websockets() {
    let daemon = house();
    run(&daemon, WEBSOCKET);
    daemon.stop();
}

#[test]
fn known_attacks_on_quic() {
    let daemon = house();
    run(&daemon, QUIC);
    daemon.stop();
}
