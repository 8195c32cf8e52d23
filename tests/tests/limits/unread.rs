//! Clients that do not take their answers, send bodies without end, or give up what they have
//! begun: they lose their connections or are refused, memory is bounded, and others are served.

use ggen_wire::Code;
use ggend_tests::{http2::Frames, websocket::Socket, *};
use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame, FrameHeader,
        coding::{Data, OpCode},
    },
};

const TYPES: [(&str, &str); 2] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
];
const MODERN: [(&str, &str); 1] = [("mcp-protocol-version", "2026-07-28")];

fn house(http: Value) -> Daemon {
    let daemon = daemon(json!({
        "server": { "workers": 1 },
        "transports": { "http": http },
        "mcpServers": { "fixture": fixture(&[]) },
    }))
    .start();
    daemon.until_ready(&["fixture"]);
    daemon
}

fn rss(daemon: &Daemon, worker: &str) -> u64 {
    let pid = daemon.worker_pid(worker).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn is_served(address: SocketAddr) {
    let mut client = Client::new(address, "fixture", Era::Modern);
    assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
}

/// Whether the other side has closed, or does in time.
fn is_closed(socket: &mut TcpStream, time: Duration) -> bool {
    socket.set_read_timeout(Some(time)).unwrap();
    let mut scrap = [0; 64 << 10];
    loop {
        match socket.read(&mut scrap) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

fn call(id: u32, tool: &str, arguments: &Value) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
}

#[test]
fn who_opens_no_window_does_not_keep_the_others_out() {
    let daemon = house(json!({ "max_connections": 20, "send_timeout_ms": 1500 }));
    // Nothing but the head of an answer fits; one more has room for its first bytes.
    let mut silent: Vec<Frames> = (0..20)
        .map(|n| {
            let mut frames = Frames::open(daemon.http, n % 2).unwrap();
            for stream in 0..50 {
                frames
                    .request(2 * stream + 1, "GET", "/tools", &[], b"")
                    .unwrap();
            }
            frames
        })
        .collect();
    let began = Instant::now();
    let served = until("somebody else is served", || {
        let mut client = Client::unconnected(daemon.http, "fixture", Era::Modern);
        client
            .try_request("tools/list", json!({}))
            .ok()
            .filter(|reply| reply.head.status == 200)
            .map(|_| began.elapsed())
    });
    println!("served after {served:?}");
    assert!(served < Duration::from_secs(10), "{served:?}");
    for frames in silent.iter_mut().step_by(2) {
        assert!(is_closed(&mut frames.0, Duration::from_secs(5)));
    }
    // Who reads is not disturbed, however long its stream is silent.
    let mut reader = Frames::open(daemon.http, 1 << 20).unwrap();
    let body = call(1, "slow", &json!({ "ms": 4000 }));
    let headers = [
        &TYPES[..],
        &MODERN,
        &[("mcp-method", "tools/call"), ("mcp-name", "slow")],
    ];
    reader
        .request(
            1,
            "POST",
            "/mcp/fixture",
            &headers.concat(),
            body.as_bytes(),
        )
        .unwrap();
    let answer = String::from_utf8(reader.rest(1).expect("an answer")).unwrap();
    assert!(answer.contains("\"id\":1"), "{answer}");
}

#[test]
fn who_reads_nothing_over_http_1_is_disconnected() {
    let daemon = house(json!({ "send_timeout_ms": 1500 }));
    let mut socket = TcpStream::connect(daemon.http).unwrap();
    socket
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let request = b"GET /tools HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let began = Instant::now();
    let cut = until("the connection is cut", || {
        match socket.write(&request.repeat(100)) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Some(began.elapsed())
            }
            _ => None,
        }
    });
    println!("cut after {cut:?}");
    is_served(daemon.http);
}

#[test]
fn bodies_that_are_not_complete_are_bounded() {
    let daemon = house(json!({ "max_body": "8MB" }));
    let head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 7000000\r\n\r\n";
    let piece = vec![b'x'; 6_900_000];
    let before = rss(&daemon, "http-0");
    let mut sockets: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut socket = TcpStream::connect(daemon.http).unwrap();
            socket
                .set_write_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            let _ = socket.write_all(head);
            let _ = socket.write_all(&piece);
            socket
        })
        .collect();
    let grown = rss(&daemon, "http-0").saturating_sub(before);
    println!("30 bodies of 6.9 MB: {:.1} MB more", grown as f64 / 1e6);
    assert!(grown < 64 << 20, "{grown}");
    let refused = sockets
        .iter_mut()
        .filter_map(|socket| {
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let mut text = [0; 1024];
            let count = socket.read(&mut text).ok()?;
            let text = String::from_utf8_lossy(&text[..count]).to_ascii_lowercase();
            (text.starts_with("http/1.1 503") && text.contains("retry-after")).then_some(())
        })
        .count();
    assert!(refused >= 25, "{refused}");
    // Small requests have room all the while.
    is_served(daemon.http);
    drop(sockets);
    until("the room is there again", || {
        let text = "y".repeat(6_000_000);
        let mut client = Client::new(daemon.http, "fixture", Era::Modern);
        let reply = client.try_request(
            "tools/call",
            json!({ "name": "echo", "arguments": { "message": text } }),
        );
        reply
            .ok()
            .filter(|reply| reply.head.status == 200)
            .map(drop)
    });
}

#[test]
fn unfinished_websocket_messages_are_bounded() {
    let daemon = house(json!({}));
    let before = rss(&daemon, "websocket-0");
    let part = Bytes::from(vec![b'x'; 3_900_000]);
    let mut sockets: Vec<Socket> = (0..30)
        .map(|_| {
            let mut socket = Socket::open(daemon.http, "/ws");
            let header = FrameHeader {
                is_final: false,
                opcode: OpCode::Data(Data::Text),
                ..FrameHeader::default()
            };
            let frame = Frame::from_payload(header, part.clone());
            let _ = socket.ws.send(Message::Frame(frame));
            socket
        })
        .collect();
    let grown = rss(&daemon, "websocket-0").saturating_sub(before);
    println!("30 halves of 3.9 MB: {:.1} MB more", grown as f64 / 1e6);
    assert!(grown < 64 << 20, "{grown}");
    let closed = sockets
        .iter_mut()
        .skip(10)
        .filter_map(|socket| {
            loop {
                match socket.ws.read() {
                    Ok(Message::Close(frame)) => return frame.map(|frame| u16::from(frame.code)),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        })
        .filter(|code| *code == 1013)
        .count();
    assert!(closed >= 10, "{closed}");
    is_served(daemon.http);
}

#[test]
fn idle_connections_give_way_oldest_first() {
    let daemon = house(json!({ "max_connections": 10 }));
    let mut idle: Vec<Connection> = (0..10)
        .map(|_| {
            let mut connection = Connection::open(daemon.http).unwrap();
            connection.request("GET", "/health", &[], b"").unwrap();
            assert_eq!(connection.answer().unwrap().head.status, 200);
            connection
        })
        .collect();
    let began = Instant::now();
    until("a newcomer is served", || {
        let mut connection = Connection::open(daemon.http).ok()?;
        connection.request("GET", "/health", &[], b"").ok()?;
        let answer = connection.answer().ok()?;
        (answer.head.status == 200).then_some(())
    });
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    // The first one went, and not the last.
    idle[0].patience(Duration::from_secs(5)).unwrap();
    assert!(
        idle[0]
            .head()
            .is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof)
    );
    let last = idle.last_mut().unwrap();
    last.request("GET", "/health", &[], b"").unwrap();
    assert_eq!(last.answer().unwrap().head.status, 200);
    assert!(daemon.log().contains("idle connections give way"));
}

#[test]
fn rapid_resets_reach_a_server_a_bounded_number_of_times() {
    let daemon = house(json!({}));
    let mut frames = Frames::open(daemon.http, 1 << 20).unwrap();
    let headers = [
        &TYPES[..],
        &MODERN,
        &[("mcp-method", "tools/call"), ("mcp-name", "slow")],
    ];
    let sent = (0..5_000_u32)
        .take_while(|n| {
            let body = call(*n, "slow", &json!({ "ms": 20_000 }));
            frames
                .request(
                    2 * n + 1,
                    "POST",
                    "/mcp/fixture",
                    &headers.concat(),
                    body.as_bytes(),
                )
                .and_then(|()| frames.reset(2 * n + 1))
                .is_ok()
        })
        .count();
    is_served(daemon.http);
    // The call of somebody else came last: when it is counted, all before it are.
    let calls = until("the calls are counted", || {
        let scrape = daemon.scrape()?;
        let calls = scrape.sum("ggend_tool_calls_total", "");
        (scrape.sum("ggend_tool_calls_total", "echo") >= 1.0).then_some(calls)
    });
    println!("{sent} resets, {calls} calls reached the server");
    assert!(calls < 400.0, "{calls}");
}

/// The most memory that a worker has had, in bytes.
fn peak(daemon: &Daemon, worker: &str) -> u64 {
    let pid = daemon.worker_pid(worker).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().next().unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

/// Sessions whose clients say a lot of themselves, and subscriptions to long addresses.
fn talkers(address: SocketAddr) -> Vec<Frames> {
    let long = "n".repeat(1 << 20);
    let info = json!({ "name": long, "version": "1" });
    for _ in 0..150 {
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let body = body.to_string();
        let answer = Connection::open(address).and_then(|mut connection| {
            connection.request("POST", "/mcp", &TYPES, body.as_bytes())?;
            connection.answer()
        });
        drop(answer);
    }
    let uris: Vec<_> = (0..100)
        .map(|n| format!("test://{n}/{}", "u".repeat(10_000)))
        .collect();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "notifications": { "resourceSubscriptions": uris }, "_meta": meta });
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params });
    let body = body.to_string();
    let headers = [
        &TYPES[..],
        &MODERN,
        &[("mcp-method", "subscriptions/listen")],
    ]
    .concat();
    (0..100)
        .filter_map(|_| {
            let mut frames = Frames::open(address, 1 << 20).ok()?;
            let sent = body.as_bytes();
            frames
                .request(1, "POST", "/mcp/fixture", &headers, sent)
                .ok()?;
            Some(frames)
        })
        .collect()
}

/// Large answers that nobody reads.
fn silent(address: SocketAddr) -> Vec<TcpStream> {
    let body = call(1, "big", &json!({ "bytes": 4 << 20 }));
    let head = format!(
        "POST /mcp/fixture HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: big\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let open = || {
        let mut socket = TcpStream::connect(address).ok()?;
        socket.write_all(head.as_bytes()).ok()?;
        Some(socket)
    };
    (0..60).filter_map(|_| open()).collect()
}

/// Bodies, and messages over WebSocket, that are never complete.
fn unfinished(address: SocketAddr) -> (Vec<TcpStream>, Vec<Socket>) {
    let head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 4000000\r\n\r\n";
    let piece = vec![b'x'; 3_900_000];
    let bodies = (0..60).filter_map(|_| {
        let mut socket = TcpStream::connect(address).ok()?;
        let time = Some(Duration::from_millis(300));
        socket.set_write_timeout(time).ok()?;
        let _ = socket
            .write_all(head)
            .and_then(|()| socket.write_all(&piece));
        Some(socket)
    });
    let bodies = bodies.collect();
    let part = Bytes::from(piece.clone());
    let halves = (0..60).map(|_| {
        let mut socket = Socket::open(address, "/ws");
        let header = FrameHeader {
            is_final: false,
            opcode: OpCode::Data(Data::Text),
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, part.clone());
        let _ = socket.ws.send(Message::Frame(frame));
        socket
    });
    (bodies, halves.collect())
}

/// With the figures: `cargo test --workspace --test limits at_once -- --nocapture`.
#[test]
fn attacks_on_memory_at_once_and_the_peak_of_each_worker() {
    let daemon = house(json!({}));
    let address = daemon.http;
    let kept = std::thread::scope(|scope| {
        let windows = scope.spawn(move || {
            let open = || {
                let mut frames = Frames::open(address, 0).ok()?;
                for stream in 0..90 {
                    frames
                        .request(2 * stream + 1, "GET", "/tools", &[], b"")
                        .ok()?;
                }
                Some(frames)
            };
            (0..20).filter_map(|_| open()).collect::<Vec<_>>()
        });
        let talking = scope.spawn(move || talkers(address));
        let unread = scope.spawn(move || silent(address));
        let halves = scope.spawn(move || unfinished(address));
        let resets = scope.spawn(move || {
            let headers = [
                &TYPES[..],
                &MODERN,
                &[("mcp-method", "tools/call"), ("mcp-name", "slow")],
            ];
            for _ in 0..5 {
                let Ok(mut frames) = Frames::open(address, 1 << 20) else {
                    continue;
                };
                for n in 0..1_000_u32 {
                    let body = call(n, "slow", &json!({ "ms": 20_000 }));
                    let sent = frames
                        .request(
                            2 * n + 1,
                            "POST",
                            "/mcp/fixture",
                            &headers.concat(),
                            body.as_bytes(),
                        )
                        .and_then(|()| frames.reset(2 * n + 1));
                    if sent.is_err() {
                        break;
                    }
                }
            }
        });
        resets.join().unwrap();
        (
            windows.join().unwrap(),
            talking.join().unwrap(),
            unread.join().unwrap(),
            halves.join().unwrap(),
        )
    });
    // What the daemon says of itself, and a call, while all of it is open.
    let began = Instant::now();
    is_served(address);
    println!("a call took {:?} meanwhile", began.elapsed());
    let edge = (64 << 20) + 4096 * (32 << 10);
    let gateway = (256 << 20) + (64 << 20);
    for (worker, bound) in [
        ("http-0", edge),
        ("websocket-0", edge),
        ("gateway-0", gateway),
    ] {
        let most = peak(&daemon, worker);
        println!(
            "{worker:<12} peak {} MiB, bound {} MiB",
            most >> 20,
            bound >> 20
        );
        assert!(most <= bound, "{worker}");
    }
    let shortage = daemon.status().issues.into_iter().find(|issue| {
        issue.code == Code::Overloaded && issue.message.starts_with("http-0 holds as much")
    });
    assert!(shortage.is_some(), "{:?}", daemon.status().issues);
    drop(kept);
}

#[test]
fn large_lists_cost_no_beat() {
    let daemon = daemon(json!({
        "server": { "workers": 1 },
        "mcpServers": { "fixture": fixture(&["--tools", "15000"]) },
    }))
    .start();
    daemon.until_ready(&["fixture"]);
    let pid = daemon.worker_pid("gateway-0");
    let address = daemon.http;
    let listing: Vec<_> = (0..40)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::new(address, "fixture", Era::Modern);
                let (mut cursor, mut tools) = (Value::Null, 0);
                loop {
                    let params = if cursor.is_null() {
                        json!({})
                    } else {
                        json!({ "cursor": cursor })
                    };
                    let reply = client.request("tools/list", params);
                    let result = reply.response().value["result"].clone();
                    tools += result["tools"].as_array().map_or(0, Vec::len);
                    cursor = result["nextCursor"].clone();
                    if cursor.is_null() {
                        return tools;
                    }
                }
            })
        })
        .collect();
    let mut longest = 0;
    while listing.iter().any(|thread| !thread.is_finished()) {
        let status = daemon.status();
        let gateway = status.workers.iter().find(|row| row.name == "gateway-0");
        longest = longest.max(gateway.unwrap().beat_age_ms);
    }
    println!("longest time without a beat: {longest} ms");
    for thread in listing {
        assert!(thread.join().unwrap() > 15_000);
    }
    assert_eq!(daemon.worker_pid("gateway-0"), pid);
    assert!(!daemon.log().contains("sends no beats"));
    daemon.stop();
}
