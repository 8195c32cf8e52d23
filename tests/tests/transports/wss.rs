//! MCP over WebSocket over TLS: the http worker keeps the TLS and relays, a websocket worker
//! serves. Certificates of clients and their revocation, large messages, drains, and deaths of
//! either worker.

use ggend_tests::{
    pki::{Forge, Pki},
    tls::{Identity, trusting},
    websocket::{Socket, modern, tool},
    *,
};
use nix::sys::signal::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tungstenite::Error;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A daemon with a certificate of an authority of its own; client certificates are one way of
/// several.
fn house(workers: u32) -> (Daemon, Pki) {
    house_that_drains(workers, 30_000)
}

/// Where a worker has so many milliseconds to finish.
fn house_that_drains(workers: u32, patience: u32) -> (Daemon, Pki) {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "localhost");
    let forge = Forge::new(&pki);
    forge.client("good", 72, SystemTime::now() + DAY);
    forge.client("other", 73, SystemTime::now() + DAY);
    fs::write(pki.file("crl.pem"), forge.revoke(&[71])).unwrap();
    let mtls = json!({ "enabled": true, "required": false, "ca_cert": pki.file("ca.pem"), "crl": pki.file("crl.pem") });
    let config = json!({
        "server": { "workers": workers, "drain_timeout_ms": patience },
        "transports": { "http": { "ssl": { "port": 0, "cert": cert, "key": key } } },
        "auth": { "required": true, "mtls": mtls },
        "policy": { "rules": [
            { "effect": "allow", "subjects": ["*"] },
            { "effect": "deny", "subjects": ["cert:other"], "tools": ["fix/slow"] },
        ] },
        "mcpServers": { "fix": fixture(&[]) },
    });
    let daemon = nobody.begin(&config);
    daemon.until_ready(&["fix"]);
    (daemon, pki)
}

fn https_address(daemon: &Daemon) -> SocketAddr {
    daemon.listener("https").expect("HTTPS is served")
}

fn of(pki: &Pki, name: &str) -> Arc<ClientConfig> {
    trusting(
        &pki.file("ca.pem"),
        Some(&Identity::load(
            &pki.file(&format!("{name}.pem")),
            &pki.file(&format!("{name}.key")),
        )),
    )
}

fn echo(socket: &mut Socket, text: &str) {
    let (answer, _) = socket.request(
        "tools/call",
        modern(tool("echo", json!({ "message": text }))),
    );
    assert_eq!(
        answer["result"]["content"][0]["text"], text,
        "{answer:.300}"
    );
}

fn broken(socket: &mut Socket) -> bool {
    loop {
        match socket.ws.read() {
            Ok(_) => {}
            Err(
                Error::Protocol(_) | Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed,
            ) => return true,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn certificates_name_their_client_and_are_judged_again_while_the_connection_is_open() {
    let (daemon, pki) = house(1);
    let refused = Socket::try_open_tls(
        https_address(&daemon),
        "/ws/fix",
        &trusting(&pki.file("ca.pem"), None),
        &[],
    )
    .err()
    .expect("refused");
    assert_eq!(refused.status(), 401);
    let (good, other) = (of(&pki, "good"), of(&pki, "other"));
    let (mut one, mut two) = (
        Socket::open_tls(https_address(&daemon), "/ws/fix", &good),
        Socket::open_tls(https_address(&daemon), "/ws/fix", &other),
    );
    echo(&mut one, "one");
    echo(&mut two, "two");
    // Each is known by its certificate's name: a rule for one of them is not the other's.
    let listed = |socket: &mut Socket| {
        let (answer, _) = socket.request("tools/list", modern(json!({})));
        answer["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .any(|tool| tool["name"] == "slow")
    };
    assert!(listed(&mut one) && !listed(&mut two));
    // Revoked: the one that is open is closed within a few seconds, and the other is not.
    fs::write(pki.file("crl.pem"), Forge::new(&pki).revoke(&[71, 72])).unwrap();
    assert_eq!(one.close_code(), 1008);
    echo(&mut two, "still here");
    assert_eq!(
        Socket::try_open_tls(https_address(&daemon), "/ws/fix", &good, &[])
            .err()
            .expect("refused")
            .status(),
        401
    );
    drop((one, two));
    let log = daemon.stop();
    assert!(
        log.lines().any(|line| line.contains("WebSocket is closed")
            && line.contains("revoked")
            && line.contains("cert:good")),
        "{log}"
    );
}

#[test]
fn large_messages_pass_whole_in_both_directions() {
    let (daemon, pki) = house(2);
    let good = of(&pki, "good");
    let mut socket = Socket::open_tls(https_address(&daemon), "/ws/fix", &good);
    for size in [1 << 20, 3 << 20] {
        echo(&mut socket, &"x".repeat(size));
        let (answer, _) =
            socket.request("tools/call", modern(tool("big", json!({ "bytes": size }))));
        assert_eq!(
            answer["result"]["content"][0]["text"]
                .as_str()
                .map(str::len),
            Some(size)
        );
    }
    // Many at once, over several connections and both workers.
    let mut sockets: Vec<Socket> = (0..8)
        .map(|_| Socket::open_tls(https_address(&daemon), "/ws/fix", &good))
        .collect();
    for socket in &mut sockets {
        for at in 0..4 {
            socket.start(
                "tools/call",
                modern(tool(
                    "echo",
                    json!({ "message": at.to_string().repeat(256 << 10) }),
                )),
            );
        }
    }
    for socket in &mut sockets {
        let mut ids: Vec<u64> = (0..4)
            .map(|_| socket.hear().unwrap())
            .map(|answer| answer["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3, 4]);
    }
    drop((socket, sockets));
    daemon.stop();
}

#[test]
fn drains_are_told_and_deaths_cost_their_own_connections_only() {
    let (daemon, pki) = house(1);
    let good = of(&pki, "good");
    let open = || Socket::open_tls(https_address(&daemon), "/ws/fix", &good);
    let mut socket = open();
    echo(&mut socket, "before");
    // The websocket worker dies: its connections end, and the next one is served.
    let pid = daemon.worker_pid("websocket-0").unwrap();
    process::signal(pid, Signal::SIGKILL);
    assert!(broken(&mut socket));
    let mut socket = open();
    echo(&mut socket, "after the websocket worker");
    daemon.until_replaced("websocket-0", pid);
    // The http worker that relays dies: the same. What it relayed is over for the websocket worker,
    // too.
    let pid = daemon.worker_pid("http-0").unwrap();
    process::signal(pid, Signal::SIGKILL);
    assert!(broken(&mut socket));
    daemon.until_replaced("http-0", pid);
    until("the connection is counted out", || {
        daemon
            .workers("websocket")
            .iter()
            .all(|worker| worker.connections == 0)
            .then_some(())
    });
    // A websocket worker that is replaced tells its clients, after what is in flight.
    let mut socket = open();
    let id = socket.start("tools/call", modern(tool("slow", json!({ "ms": 1500 }))));
    until("the call is in flight", || {
        (daemon.upstream("fix").in_flight > 0).then_some(())
    });
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "websocket"])
            .code,
        0
    );
    assert!(socket.answer(id).0.get("result").is_some());
    assert_eq!(socket.close_code(), 1001);
    drop(socket);
    // So does the end of the daemon.
    let mut socket = open();
    let id = socket.start("tools/call", modern(tool("slow", json!({ "ms": 1500 }))));
    until("the call is in flight", || {
        (daemon.upstream("fix").in_flight > 0).then_some(())
    });
    let stopping = std::thread::spawn(move || daemon.stop());
    assert!(socket.answer(id).0.get("result").is_some());
    assert_eq!(socket.close_code(), 1001);
    drop(socket);
    stopping.join().unwrap();
}

#[test]
fn the_clients_of_an_http_worker_that_is_replaced_are_told_in_time() {
    let (daemon, pki) = house(1);
    let good = of(&pki, "good");
    let open = || Socket::open_tls(https_address(&daemon), "/ws/fix", &good);
    let (mut idle, mut legacy, mut busy) = (open(), open().greeted(json!({})), open());
    echo(&mut idle, "before");
    let id = busy.start("tools/call", modern(tool("slow", json!({ "ms": 2000 }))));
    until("the call is in flight", || {
        (daemon.upstream("fix").in_flight > 0).then_some(())
    });
    let old = daemon.worker_pid("http-0").unwrap();
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "http"])
            .code,
        0
    );
    // Those with nothing to wait for at once, the other one after its answer.
    assert_eq!((idle.close_code(), legacy.close_code()), (1001, 1001));
    assert!(busy.answer(id).0.get("result").is_some());
    assert_eq!(busy.close_code(), 1001);
    // Then nothing keeps the old worker, and the next one serves.
    drop((idle, legacy, busy));
    until("the old worker is gone", || {
        (!process::is_alive(old)).then_some(())
    });
    echo(&mut open(), "after");
    daemon.stop();
}

#[test]
fn what_outlasts_the_relay_is_closed_with_its_reason_before_the_deadline() {
    let (daemon, pki) = house_that_drains(1, 3000);
    let mut socket = Socket::open_tls(https_address(&daemon), "/ws/fix", &of(&pki, "good"));
    socket.start("tools/call", modern(tool("slow", json!({ "ms": 600_000 }))));
    until("the call is in flight", || {
        (daemon.upstream("fix").in_flight > 0).then_some(())
    });
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "http"])
            .code,
        0
    );
    assert_eq!(socket.close_code(), 1001);
    drop(socket);
    let log = daemon.stop();
    assert!(!log.contains("drain deadline passed"), "{log}");
}

#[test]
fn revoked_certificates_end_open_connections_of_https_and_http3() {
    let (daemon, pki) = house(2);
    let (good, other) = (of(&pki, "good"), of(&pki, "other"));
    let asked = |connection: &mut Connection| {
        connection.request("GET", "/tools", &[], b"").unwrap();
        connection.answer().unwrap().head.status
    };
    let open = |tls| Connection::secure(https_address(&daemon), tls).unwrap();
    let mut mine: Vec<Connection> = (0..4).map(|_| open(&good)).collect();
    let mut theirs = open(&other);
    assert!(mine.iter_mut().all(|connection| asked(connection) == 200));
    assert_eq!(asked(&mut theirs), 200);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identity = |name: &str| {
        let file = |kind: &str| pki.file(&format!("{name}.{kind}"));
        Identity::load(&file("pem"), &file("key"))
    };
    let quic = daemon.listener("quic").expect("QUIC is served");
    let over_quic = async |name: &str| {
        let own = identity(name);
        let connecting = http3::Client::connect_as(quic, "localhost", Some(&own));
        connecting.await.unwrap()
    };
    let (mut one, mut two) =
        runtime.block_on(async { (over_quic("good").await, over_quic("other").await) });
    let status = |client: &mut http3::Client| {
        runtime.block_on(async {
            let answer = client.answer("GET", "/tools", &[], "").await;
            answer.map(|answer| answer.status.as_u16()).ok()
        })
    };
    assert_eq!((status(&mut one), status(&mut two)), (Some(200), Some(200)));
    fs::write(pki.file("crl.pem"), Forge::new(&pki).revoke(&[71, 72])).unwrap();
    let began = Instant::now();
    for connection in &mut mine {
        connection.patience(Duration::from_secs(5)).unwrap();
        assert!(
            connection
                .head()
                .is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof)
        );
    }
    let took = began.elapsed();
    println!("HTTPS connections closed after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    until("the HTTP/3 connection is closed", || {
        status(&mut one).is_none().then_some(())
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!((asked(&mut theirs), status(&mut two)), (200, Some(200)));
}
