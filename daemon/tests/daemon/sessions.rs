//! Sessions in the file, from outside: what it costs to keep one, and what becomes of one that
//! nobody has used for too long.

use crate::support::{Daemon, config, eventually};
use rusqlite::Connection;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;

/// A request on a connection that stays open: the head of the answer.
fn post(stream: &mut TcpStream, session: Option<&str>, body: &str) -> String {
    let session = session
        .map(|id| format!("Mcp-Session-Id: {id}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the connection ended: {text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse::<usize>()
                .ok()
        });
        if length.is_some_and(|length| body.len() >= length) {
            return head.to_owned();
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

fn begin(stream: &mut TcpStream) -> String {
    let head = post(stream, None, INITIALIZE);
    head.lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap_or_else(|| panic!("no session: {head}"))
        .to_owned()
}

fn start_again(daemon: &mut Daemon) -> SocketAddr {
    daemon.child = Daemon::command(daemon.directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the daemon serves", || {
        let status =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| daemon.status())).ok()?;
        matches!(
            status.phase,
            ggen_wire::status::Phase::Running | ggen_wire::status::Phase::Degraded
        )
        .then_some(())
    });
    daemon.address("http")
}

#[test]
fn a_session_that_nobody_used_for_an_hour_is_over() {
    let mut daemon = Daemon::start_with(&config("", ""), |_| {});
    let mut stream = connect(daemon.address("http"));
    let (old, young) = (begin(&mut stream), begin(&mut stream));
    drop(stream);
    assert!(daemon.terminate().success());
    let file = daemon.directory.path().join("state/state.db");
    let database = Connection::open(&file).unwrap();
    let count = || {
        database
            .query_row("SELECT count(*) FROM sessions", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
    };
    assert_eq!(count(), 2);
    // An hour and a minute later, as far as one of them is concerned.
    let digest = ggen_mcp::persisted::digest(&old);
    assert_eq!(
        database
            .execute(
                "UPDATE sessions SET used = used - 3660 WHERE digest = ?1",
                [&*digest]
            )
            .unwrap(),
        1
    );
    drop(database);
    let address = start_again(&mut daemon);
    let mut stream = connect(address);
    assert!(post(&mut stream, Some(&old), PING).starts_with("HTTP/1.1 404"));
    assert!(post(&mut stream, Some(&young), PING).starts_with("HTTP/1.1 200"));
    drop(stream);
    assert!(daemon.terminate().success());
    let left = Connection::open(&file)
        .unwrap()
        .query_row("SELECT count(*) FROM sessions", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap();
    assert_eq!(left, 1, "it is forgotten");
}

/// What it costs a client that its session is written before it is told of it. Printed;
/// `--ignored`, because figures depend on the machine.
#[test]
#[ignore = "a measurement"]
fn keeping_a_session_costs() {
    const ROUNDS: usize = 2000;
    let mut daemon = Daemon::start_with(&config("", ""), |_| {});
    let mut stream = connect(daemon.address("http"));
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        (times[times.len() / 2], times[times.len() * 99 / 100])
    };
    let session = begin(&mut stream);
    let (mut begun, mut pinged) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let at = Instant::now();
        begin(&mut stream);
        begun.push(at.elapsed());
        let at = Instant::now();
        post(&mut stream, Some(&session), PING);
        pinged.push(at.elapsed());
    }
    println!(
        "initialize, stored before it is answered: median and p99 {:?}; ping beside it: {:?}",
        median(&mut begun),
        median(&mut pinged)
    );
    drop(stream);
    assert!(daemon.terminate().success());
}
