//! Attacks of one sort after the other, and a good client that is served throughout: slow heads,
//! idle connections, floods of connections and of headers, packed bodies. `cargo test -p
//! ggend-tests --test limits attacks -- --nocapture` prints what it took.

use ggend_tests::{pki::Pki, tls::trusting, websocket::Socket, *};
use serde_json::json;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use tungstenite::Message;

/// Idle connections; both ends are in this host's tables, and ours in this process.
const IDLE: usize = 10_000;
/// What an http worker may take in memory under attack, in bytes.
const MEMORY: u64 = 256 << 20;
const CALLS: usize = 40;

fn start(http: serde_json::Value) -> Daemon {
    daemon(json!({ "transports": { "http": http } })).start()
}

fn memory(daemon: &Daemon) -> u64 {
    memory_of(daemon, "http")
}

/// Resident memory of the largest worker of a role (`/proc/PID/statm`), in bytes.
fn memory_of(daemon: &Daemon, role: &str) -> u64 {
    let of = |pid: u32| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
    };
    daemon
        .workers(role)
        .into_iter()
        .filter_map(|worker| of(worker.pid?))
        .max()
        .unwrap_or_default()
}

/// The median time of a call on a connection of its own; every one must be answered.
fn good(address: SocketAddr) -> Duration {
    let mut times: Vec<Duration> = (0..CALLS)
        .map(|_| {
            let began = Instant::now();
            let mut client = Client::new(address, "", Era::Modern);
            let _ = client
                .tool("explain-code", json!({ "code": "E1101" }))
                .result();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[CALLS / 2]
}

fn report(what: &str, daemon: &Daemon, quiet: Duration, under: Duration) {
    let (ratio, memory) = (under.as_secs_f64() / quiet.as_secs_f64(), memory(daemon));
    println!(
        "{what:<24} latency {quiet:?} -> {under:?} (x{ratio:.1}), largest http worker {:.1} MB",
        memory as f64 / 1e6
    );
    assert!(memory < MEMORY, "{what}: {memory} bytes");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

#[test]
fn a_good_client_is_served_throughout() {
    raise_open_files(IDLE as u64 + 200);
    let daemon = start(json!({ "max_connections": 12_000, "timeout_ms": 3000 }));
    let quiet = good(daemon.http);
    let mut idle: Vec<TcpStream> = (0..IDLE).map(|_| connect(daemon.http)).collect();
    report("idle connections", &daemon, quiet, good(daemon.http));
    for stream in &mut idle {
        let _ = stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-A: ");
    }
    report("slow heads", &daemon, quiet, good(daemon.http));
    // None of them became a request in time.
    let mut byte = [0];
    assert!(
        matches!(idle[0].read(&mut byte), Ok(0) | Err(_)),
        "a head that never ends is cut off"
    );
    drop(idle);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| (0..3000).for_each(|_| drop(TcpStream::connect(daemon.http))));
        let under = good(daemon.http);
        flood.join().unwrap();
        report("connection flood", &daemon, quiet, under);
        let flood = scope.spawn(|| {
            for _ in 0..50 {
                let mut stream = connect(daemon.http);
                let _ = stream.write_all(b"GET /tools HTTP/1.1\r\nHost: localhost\r\n");
                (0..2000)
                    .take_while(|n| {
                        stream
                            .write_all(format!("X-{n}: {}\r\n", "y".repeat(100)).as_bytes())
                            .is_ok()
                    })
                    .count();
            }
        });
        let under = good(daemon.http);
        flood.join().unwrap();
        report("header flood", &daemon, quiet, under);
    });
    let bomb = vec![0x1f; 1 << 20];
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "gzip"),
    ];
    for _ in 0..20 {
        // The daemon may answer and close before it has been sent whole.
        if let Ok(answer) = Connection::once(daemon.http, "POST", "/mcp", &headers, &bomb) {
            assert_eq!(answer.head.status, 415);
        }
    }
    report("packed bodies", &daemon, quiet, good(daemon.http));
    daemon.stop();
}

fn status(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> u16 {
    Connection::once(address, "GET", path, headers, b"")
        .unwrap()
        .head
        .status
}

#[test]
fn targets_headers_and_bodies_have_their_bounds() {
    let daemon = start(json!({ "max_headers": 20, "max_uri": 256 }));
    assert_eq!(
        status(daemon.http, &format!("/tools?{}", "a".repeat(200)), &[]),
        200
    );
    assert_eq!(
        status(daemon.http, &format!("/tools?{}", "a".repeat(300)), &[]),
        414
    );
    assert_eq!(status(daemon.http, "/tools", &[("X-A", "1"); 15]), 200);
    assert_eq!(status(daemon.http, "/tools", &[("X-A", "1"); 30]), 431);
    let gzip = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "gzip"),
    ];
    assert_eq!(
        Connection::once(daemon.http, "POST", "/mcp", &gzip, b"{}")
            .unwrap()
            .head
            .status,
        415
    );
    let plain = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "identity"),
    ];
    assert_eq!(
        Connection::once(daemon.http, "POST", "/mcp", &plain, b"{")
            .unwrap()
            .head
            .status,
        400
    );
    daemon.stop();
}

#[test]
fn one_address_may_not_have_all_connections() {
    let plan = daemon(
        json!({ "server": { "workers": 1 }, "transports": { "http": { "max_connections_per_address": 10 } } }),
    );
    let daemon = plan.start();
    let open: Vec<TcpStream> = (0..10).map(|_| connect(daemon.http)).collect();
    until("the refusal", || {
        let answer = Connection::once(daemon.http, "GET", "/tools", &[], b"").ok()?;
        (answer.head.status == 503 && answer.head.header("retry-after").is_some()).then_some(())
    });
    drop(open);
    until("room again", || {
        Connection::once(daemon.http, "GET", "/tools", &[], b"")
            .ok()
            .filter(|answer| answer.head.status == 200)
    });
    daemon.stop();
}

/// How long clients ping without reading, unless they are closed before.
const PINGING: Duration = Duration::from_secs(10);
/// What their pongs may cost a worker in all, in bytes.
const PONGS: u64 = 32 << 20;

/// Sends pings as fast as they are taken and reads nothing, until the connection is closed or the
/// time is over; whether it was closed.
fn ping_and_read_nothing(socket: &mut Socket) -> bool {
    let until = Instant::now() + PINGING;
    let timeout = Some(Duration::from_millis(100));
    socket.tcp.set_write_timeout(timeout).unwrap();
    // A masked ping with 125 bytes, under the mask 0.
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.extend([b'p'; 125]);
    let pings = ping.repeat(500);
    let mut at = 0;
    while Instant::now() < until {
        match socket.ws.get_mut().write(&pings[at..]) {
            Ok(written) => at = (at + written) % ping.len(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return true,
        }
    }
    false
}

#[test]
fn pings_without_reading_cost_nothing_and_close_the_connection() {
    let nobody = daemon(serde_json::Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "localhost");
    let config = json!({
        "server": { "workers": 1 },
        "transports": { "http": { "ssl": { "port": 0, "cert": cert, "key": key } } },
    });
    let daemon = nobody.begin(&config);
    let https = daemon.listener("https").expect("HTTPS is served");
    let tls = trusting(&pki.file("ca.pem"), None);
    let largest = |role: &str| memory_of(&daemon, role);
    let before = [largest("websocket"), largest("http")];
    let mut sockets = [
        Socket::open(daemon.http, "/ws"),
        Socket::open_tls(https, "/ws", &tls),
    ];
    std::thread::scope(|scope| {
        let pinging = sockets
            .each_mut()
            .map(|socket| scope.spawn(|| ping_and_read_nothing(socket)));
        let mut most = before;
        while pinging.iter().any(|thread| !thread.is_finished()) {
            most = [
                most[0].max(largest("websocket")),
                most[1].max(largest("http")),
            ];
            // A client that reads has its pings answered meanwhile.
            let mut good = Socket::open(daemon.http, "/ws");
            good.ws.send(Message::Ping(vec![1].into())).unwrap();
            assert_eq!(good.ws.read().unwrap(), Message::Pong(vec![1].into()));
        }
        for (role, (before, most)) in ["websocket", "http"]
            .into_iter()
            .zip(before.into_iter().zip(most))
        {
            let cost = most.saturating_sub(before);
            println!(
                "pings without reading: +{:.1} MB in {role}-0",
                cost as f64 / 1e6
            );
            assert!(cost < PONGS, "{role}: {cost} bytes");
        }
        for thread in pinging {
            assert!(thread.join().unwrap(), "the connection is closed");
        }
    });
    drop(sockets);
    daemon.stop();
}
