//! HTTP/3 of a whole daemon: both eras, many streams, workers that die or are replaced, a port that
//! is taken, certificates and who asks.

use bytes::Buf;
use ggen_wire::{
    Code,
    control::{Body, Call},
    status::Phase,
};
use ggend_tests::{
    http3::{Client, JSON},
    mcp::{LEGACY, MODERN},
    tls::{Identity, believing},
    *,
};
use h3_quinn::quinn::ConnectionError;
use nix::sys::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

fn start() -> Daemon {
    let daemon = daemon(json!({ "mcpServers": { "fixture": fixture(&[]) } })).start();
    daemon.until_ready(&["fixture"]);
    daemon
}

fn address(daemon: &Daemon) -> SocketAddr {
    let row = |daemon: &Daemon| {
        daemon
            .status()
            .listeners
            .into_iter()
            .find(|listener| listener.transport == "quic")
    };
    until("QUIC is served", || row(daemon))
        .address
        .parse()
        .unwrap()
}

#[tokio::test]
async fn both_eras_are_spoken_on_every_path() {
    let daemon = start();
    let mut client = Client::connect(address(&daemon)).await.unwrap();
    let answer = client
        .call("echo", json!({ "message": "over HTTP/3" }))
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            &answer.json()["result"]["structuredContent"]["message"]
        ),
        (200, &json!("over HTTP/3"))
    );
    for path in ["/health", "/tools"] {
        assert_eq!(
            client.answer("GET", path, &[], "").await.unwrap().status,
            200,
            "{path}"
        );
    }
    // A legacy session with its event stream.
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "ggend-tests", "version": "1" } } });
    let answer = client
        .answer("POST", "/mcp/fixture", &JSON, &initialize.to_string())
        .await
        .unwrap();
    let session = answer.headers["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let headers = [
        &JSON[..],
        &[
            ("mcp-session-id", &session),
            ("mcp-protocol-version", LEGACY),
        ],
    ]
    .concat();
    let initialized =
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    assert_eq!(
        client
            .answer("POST", "/mcp/fixture", &headers, &initialized)
            .await
            .unwrap()
            .status,
        202
    );
    let (listening, _events) = client
        .ask("GET", "/mcp/fixture", &headers, "")
        .await
        .unwrap();
    assert_eq!(listening.headers["content-type"], "text/event-stream");
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "progress", "arguments": { "steps": 3, "ms": 5 }, "_meta": { "progressToken": "p" } } });
    let answer = client
        .answer("POST", "/mcp/fixture", &headers, &call.to_string())
        .await
        .unwrap();
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!(text.matches("notifications/progress").count(), 3, "{text}");
    assert_eq!(
        client
            .answer("DELETE", "/mcp/fixture", &headers, "")
            .await
            .unwrap()
            .status
            .as_u16()
            / 100,
        2
    );
    client.close().await;
    daemon.stop();
}

#[tokio::test]
async fn large_answers_and_a_hundred_calls_at_once_are_whole() {
    let daemon = start();
    let mut client = Client::connect(address(&daemon)).await.unwrap();
    let answer = client
        .call("big", json!({ "bytes": 10 << 20 }))
        .await
        .unwrap();
    assert_eq!(
        answer.json()["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .len(),
        10 << 20
    );
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut other = client.beside();
        calls.spawn(async move {
            let answer = other
                .call("echo", json!({ "message": number.to_string() }))
                .await
                .unwrap();
            assert_eq!(
                answer.json()["result"]["structuredContent"]["message"],
                number.to_string()
            );
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let pss: Vec<_> = daemon
        .workers("quic")
        .iter()
        .map(|worker| (worker.name.clone(), pss(worker.pid.unwrap())))
        .collect();
    println!("Pss after 10 MiB and 100 calls, in KiB: {pss:?}");
    daemon.stop();
}

/// Proportional share of memory, in KiB (proc_pid_smaps_rollup(5)).
fn pss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[tokio::test]
async fn idle_workers_are_small() {
    let daemon = start();
    address(&daemon);
    until("every worker is ready", || {
        daemon
            .workers("quic")
            .iter()
            .all(|worker| worker.phase == Phase::Running)
            .then_some(())
    });
    for worker in daemon.workers("quic") {
        let pss = pss(worker.pid.unwrap());
        println!("{}: {pss} KiB Pss", worker.name);
        assert!(pss < 24 << 10, "{pss}");
    }
    daemon.stop();
}

/// So many connections, on both workers.
async fn connections(daemon: &Daemon, count: usize) -> (Vec<Client>, u64) {
    let address = address(daemon);
    until("both workers are ready", || {
        let workers = daemon.workers("quic");
        (workers.len() == 2 && workers.iter().all(|worker| worker.phase == Phase::Running))
            .then_some(())
    });
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(address).await.unwrap());
    }
    let open = |name: &str| {
        daemon
            .status()
            .workers
            .iter()
            .find(|worker| worker.name == name)
            .map_or(0, |worker| worker.connections)
    };
    let first = until("all connections are counted", || {
        let (first, second) = (open("quic-0"), open("quic-1"));
        (first + second == u64::try_from(count).unwrap()).then_some(first)
    });
    (clients, first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_costs_its_own_connections_and_no_handshake() {
    let daemon = start();
    let (mut clients, doomed) = connections(&daemon, 12).await;
    let to = address(&daemon);
    let handshakes = tokio::spawn(async move {
        let mut lost = 0;
        for _ in 0..40 {
            let mut client = Client::connect(to).await.expect("every handshake succeeds");
            if let Err(error) = client.call("echo", json!({ "message": "x" })).await {
                assert!(
                    matches!(client.quic.close_reason(), Some(ConnectionError::Reset)),
                    "{error}"
                );
                lost += 1;
            }
        }
        assert!(
            lost <= 1,
            "the worker's death costs more than the connection that it had: {lost}"
        );
    });
    let old = daemon.worker_pid("quic-0").unwrap();
    process::signal(old, Signal::SIGKILL);
    let daemon = tokio::task::spawn_blocking(move || {
        daemon.until_replaced("quic-0", old);
        daemon
    })
    .await
    .unwrap();
    let (mut alive, mut reset) = (0, 0);
    for client in &mut clients {
        let began = std::time::Instant::now();
        match tokio::time::timeout(
            Duration::from_secs(10),
            client.call("echo", json!({ "message": "still there" })),
        )
        .await
        {
            Ok(Ok(answer)) if answer.status == 200 => alive += 1,
            other => {
                assert!(other.is_ok(), "its client is not told");
                let reason = client.quic.close_reason();
                assert!(matches!(reason, Some(ConnectionError::Reset)), "{reason:?}");
                println!("told by a stateless reset after {:?}", began.elapsed());
                reset += 1;
            }
        }
    }
    assert_eq!((alive, reset), (12 - doomed, doomed));
    handshakes.await.unwrap();
    daemon.stop();
}

async fn reload(daemon: &mut Daemon, config: &Value) {
    daemon.sandbox.write_config(config);
    let socket = daemon.sandbox.socket();
    let reply = tokio::task::spawn_blocking(move || control::ask(&socket, &Call::RELOAD))
        .await
        .unwrap();
    assert!(matches!(reply, Some(Ok(Body::Done(_)))), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_break_no_connection() {
    let mut daemon = start();
    let (clients, _) = connections(&daemon, 4).await;
    let mut calls = tokio::task::JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for mut client in clients {
        let stopped = stopped.clone();
        calls.spawn(async move {
            let mut count = 0;
            while !*stopped.borrow() {
                assert_eq!(
                    client
                        .call("echo", json!({ "message": "x" }))
                        .await
                        .expect("an answer")
                        .status,
                    200
                );
                count += 1;
            }
            count
        });
    }
    for round in 0..10 {
        let streams = 50 + round;
        let config = json!({ "mcpServers": { "fixture": fixture(&[]) }, "transports": { "quic": { "max_concurrent_streams": streams } } });
        reload(&mut daemon, &config).await;
    }
    stop.send_replace(true);
    let mut answered = 0;
    while let Some(count) = calls.join_next().await {
        answered += count.expect("no connection breaks");
    }
    println!("{answered} calls over 10 reloads");
    daemon.stop();
}

/// Clients that come one after the other, each with one call: whoever has shaken hands gets an
/// answer or the end of the connection, and no silence.
async fn comers(to: SocketAddr) {
    let mut answered = 0;
    for _ in 0..30 {
        let mut client = Client::connect(to).await.expect("every handshake succeeds");
        let call = client.call("echo", json!({ "message": "x" }));
        let ended = tokio::time::timeout(Duration::from_secs(15), call)
            .await
            .expect("half the idle time-out without a word");
        answered += u32::from(ended.is_ok_and(|answer| answer.status == 200));
    }
    println!("{answered} of 30 calls were answered on the first connection");
    assert!(answered >= 20, "{answered}");
}

/// Commands that replace the workers, while a call is in flight and clients come; gives back who
/// was connected besides.
async fn replaced(commands: &'static [&'static [&'static str]]) -> (Daemon, Vec<Client>) {
    let daemon = start();
    let (mut clients, _) = connections(&daemon, 4).await;
    let to = address(&daemon);
    let mut slow = clients.pop().unwrap();
    let in_flight = tokio::spawn(async move {
        slow.call("slow", json!({ "ms": 1500 }))
            .await
            .expect("an answer")
            .status
    });
    tokio::task::block_in_place(|| {
        daemon.until_upstream("fixture", |upstream| upstream.in_flight == 1)
    });
    let old: Vec<u32> = ["quic-0", "quic-1"]
        .iter()
        .filter_map(|name| daemon.worker_pid(name))
        .collect();
    let coming = tokio::spawn(comers(to));
    let daemon = tokio::task::spawn_blocking(move || {
        for command in commands {
            let ran = daemon.ggen(command);
            assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        }
        for (name, old) in ["quic-0", "quic-1"].iter().zip(old) {
            daemon.until_replaced(name, old);
        }
        daemon
    })
    .await
    .unwrap();
    assert_eq!(in_flight.await.unwrap(), 200);
    coming.await.unwrap();
    (daemon, clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_replaced_finish_what_they_have_and_refuse_nobody() {
    let (daemon, clients) = replaced(&[&["mcp", "server", "restart"]]).await;
    // The others were told to go elsewhere.
    for client in clients {
        let reason = tokio::time::timeout(Duration::from_secs(15), client.quic.closed())
            .await
            .expect("a drained connection is closed");
        assert!(
            matches!(&reason, ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == 0x100),
            "{reason:?}"
        );
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_refuses_no_handshake_and_finishes_what_is_in_flight() {
    let (daemon, _) =
        replaced(&[&["mcp", "server", "upgrade"], &["mcp", "server", "upgrade"]]).await;
    daemon.stop();
}

#[tokio::test]
async fn a_port_that_is_taken_degrades_quic_alone_until_it_is_free() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let config = json!({ "mcpServers": { "fixture": fixture(&[]) }, "transports": { "quic": { "port": port } } });
    let daemon = daemon(config).start();
    let status = daemon.status();
    let issue = status
        .issues
        .iter()
        .find(|issue| issue.code == Code::PortTaken)
        .expect("an issue");
    assert!(
        issue.message.contains(&format!("UDP port {port}"))
            && issue
                .message
                .contains(&format!("pid {}", std::process::id())),
        "{issue:?}"
    );
    assert_eq!(status.phase, Phase::Degraded);
    assert!(
        ggend_tests::Client::new(daemon.http, "fixture", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .head
            .status
            == 200
    );
    drop(other);
    let mut client = Client::connect(address(&daemon)).await.unwrap();
    assert_eq!(
        client
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        200
    );
    until("nothing is wrong any more", || {
        (daemon.status().phase == Phase::Running).then_some(())
    });
    daemon.stop();
}

/// A server's certificate that signs itself, in files of that folder; what a client sees of it.
fn pair(folder: &Path, stem: &str, name: &str) -> (PathBuf, PathBuf, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (cert, key) = (
        folder.join(format!("{stem}.pem")),
        folder.join(format!("{stem}.key")),
    );
    // Each appears whole, and the key first: in between they do not fit, and nothing is taken over.
    for (path, text) in [
        (&key, made.signing_key.serialize_pem()),
        (&cert, made.cert.pem()),
    ] {
        let draft = path.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, path).unwrap();
    }
    (cert, key, made.cert.der().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_chosen_by_name_and_replaced_while_connections_stay() {
    let place = tempfile::tempdir().unwrap();
    let (cert, key, first) = pair(place.path(), "first", "localhost");
    let (other_cert, other_key, other) = pair(place.path(), "other", "other.example");
    let ssl = json!({ "cert": [cert, other_cert], "key": [key, other_key] });
    let config = json!({ "mcpServers": { "fixture": fixture(&[]) }, "transports": { "http": { "ssl": ssl } } });
    let daemon = daemon(config).start();
    daemon.until_ready(&["fixture"]);
    let to = address(&daemon);
    let mut before = Client::connect(to).await.unwrap();
    assert_eq!(before.certificate(), first);
    let mut named = Client::connect_as(to, "other.example", None).await.unwrap();
    assert_eq!(named.certificate(), other);
    assert_eq!(
        named
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        200,
        "a certificate's name is ours"
    );
    // Nobody's name gets the first one, and is told.
    let mut misdirected = Client::connect_as(to, "third.example", None).await.unwrap();
    assert_eq!(misdirected.certificate(), first);
    assert_eq!(
        misdirected
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        421
    );

    let (.., second) = pair(place.path(), "first", "localhost");
    let deadline = std::time::Instant::now() + DEADLINE;
    // On both workers.
    let mut seen = 0;
    while seen < 6 {
        assert!(
            std::time::Instant::now() < deadline,
            "the new certificate is not served"
        );
        let shown = Client::connect(to)
            .await
            .expect("every handshake succeeds")
            .certificate();
        seen = if shown == second { seen + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        before
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        200
    );
    daemon.stop();
}

/// An authority, and who it knows.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn client(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity {
            certificate,
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

fn of_clients(authority: &Path, required: bool) -> Value {
    json!({
        "mcpServers": { "fixture": fixture(&[]) },
        "auth": {
            "required": true,
            "api_key": "a-key-that-is-long-enough-for-tests",
            "mtls": { "enabled": true, "required": required, "ca_cert": authority },
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_apart_by_key_and_certificate() {
    let place = tempfile::tempdir().unwrap();
    let (ours, strangers, path) = (
        Authority::new(),
        Authority::new(),
        place.path().join("ca.pem"),
    );
    fs::write(&path, &ours.pem).unwrap();
    let mut daemon = daemon(of_clients(&path, false)).start();
    daemon.until_ready(&["fixture"]);
    let to = address(&daemon);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let status = async |client: &mut Client, key: Option<&str>| {
        let key = key.map(|key| ("x-api-key", key));
        let headers: Vec<_> = JSON.into_iter().chain(key).collect();
        client
            .answer("GET", "/tools", &headers, "")
            .await
            .unwrap()
            .status
            .as_u16()
    };
    let mut nobody = Client::connect(to).await.unwrap();
    assert_eq!(status(&mut nobody, None).await, 401);
    assert_eq!(status(&mut nobody, Some("wrong")).await, 401);
    assert_eq!(
        status(&mut nobody, Some("a-key-that-is-long-enough-for-tests")).await,
        200
    );
    let refused = nobody
        .answer("POST", "/mcp/fixture", &JSON, &list)
        .await
        .unwrap();
    assert!(
        refused.status == 401 && refused.headers.contains_key("www-authenticate"),
        "{:?}",
        refused.headers
    );
    let known = ours.client("client.example");
    let mut client = Client::connect_as(to, "localhost", Some(&known))
        .await
        .unwrap();
    assert_eq!(
        status(&mut client, None).await,
        200,
        "a certificate says who it is"
    );
    assert_eq!(
        client
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        200
    );
    let mut stranger =
        Client::connect_as(to, "localhost", Some(&strangers.client("client.example")))
            .await
            .unwrap();
    assert_eq!(
        status(&mut stranger, Some("a-key-that-is-long-enough-for-tests")).await,
        401,
        "whatever else it shows"
    );

    // Where they must have one, there is no connection without.
    reload(&mut daemon, &of_clients(&path, true)).await;
    assert!(
        is_refused(to, None).await
            && is_refused(to, Some(&strangers.client("client.example"))).await
    );
    let mut client = Client::connect_as(to, "localhost", Some(&known))
        .await
        .unwrap();
    assert_eq!(status(&mut client, None).await, 200);
    // HTTPS holds to the same.
    let https = daemon
        .status()
        .listeners
        .into_iter()
        .find(|listener| listener.transport == "https")
        .unwrap()
        .address;
    let shaken = tokio::task::spawn_blocking(move || shake(&https))
        .await
        .unwrap();
    assert!(
        shaken.is_err(),
        "HTTPS takes a client without a certificate"
    );
    daemon.stop();
}

/// In TLS 1.3 the client is done before the server has judged it: the connection may be there, and
/// then ends.
async fn is_refused(to: SocketAddr, own: Option<&Identity>) -> bool {
    match Client::connect_as(to, "localhost", own).await {
        Err(_) => true,
        Ok(mut client) => client.answer("GET", "/health", &[], "").await.is_err(),
    }
}

/// One request over TLS without a certificate of our own.
fn shake(address: &str) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    let tls = believing(None).map_err(std::io::Error::other)?;
    let mut session =
        rustls::ClientConnection::new(std::sync::Arc::new(tls), "localhost".try_into().unwrap())
            .map_err(std::io::Error::other)?;
    let mut socket = std::net::TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn quic_alone_is_served_with_a_certificate_of_our_own() {
    let transports = json!({ "http": { "ssl": { "enabled": false } } });
    let daemon =
        daemon(json!({ "mcpServers": { "fixture": fixture(&[]) }, "transports": transports }))
            .start();
    daemon.until_ready(&["fixture"]);
    assert!(
        daemon
            .status()
            .listeners
            .iter()
            .all(|listener| listener.transport != "https")
    );
    let mut client = Client::connect(address(&daemon)).await.unwrap();
    assert_eq!(
        client
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        200
    );
    daemon.stop();
}

#[tokio::test]
async fn without_any_certificate_the_rest_is_served() {
    let transports = json!({ "http": { "ssl": { "enabled": false } } });
    let config = json!({ "mcpServers": { "fixture": fixture(&[]) }, "transports": transports });
    let daemon = daemon(config)
        .variable("GGEN_STATE_DIR", "/proc/nowhere")
        .start();
    daemon.until_ready(&["fixture"]);
    assert!(
        daemon.workers("quic").is_empty() && daemon.log().contains("QUIC is not served"),
        "{}",
        daemon.log()
    );
    assert!(
        daemon
            .status()
            .issues
            .iter()
            .any(|issue| issue.code == Code::CertificateUnusable)
    );
    assert_eq!(
        ggend_tests::Client::new(daemon.http, "fixture", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .head
            .status,
        200
    );
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_event_streams_on_one_connection_hear_the_same_and_calls_are_answered_meanwhile()
{
    const COUNT: usize = 100;
    let daemon = start();
    let to = address(&daemon);
    let listening = Client::connect(to).await.unwrap();
    let (told, mut counted) = tokio::sync::mpsc::channel(2 * COUNT);
    let mut streams = tokio::task::JoinSet::new();
    for at in 0..COUNT {
        let (mut client, told) = (listening.beside(), told.clone());
        streams.spawn(async move {
            let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" } });
            let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta });
            let body = json!({ "jsonrpc": "2.0", "id": at, "method": "subscriptions/listen", "params": params }).to_string();
            let headers = [("mcp-protocol-version", MODERN), ("mcp-method", "subscriptions/listen")];
            let (head, mut stream) = client.ask("POST", "/mcp/fixture", &[&JSON[..], &headers].concat(), &body).await.unwrap();
            assert_eq!(head.status, 200);
            let mut text = String::new();
            for wanted in ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"] {
                while !text.contains(wanted) {
                    let mut data = stream.recv_data().await.unwrap().expect("the stream goes on");
                    text.push_str(std::str::from_utf8(&data.copy_to_bytes(data.remaining())).unwrap());
                }
                told.send(wanted).await.unwrap();
            }
            assert!(text.contains(&format!("subscriptionId\":{at}")), "{text}");
        });
    }
    let mut all_of = async |wanted: &str| {
        for _ in 0..COUNT {
            let heard = tokio::time::timeout(Duration::from_secs(60), counted.recv())
                .await
                .expect("in time")
                .expect("a stream that goes on");
            assert_eq!(heard, wanted);
        }
    };
    all_of("notifications/subscriptions/acknowledged").await;
    let caller = Client::connect(to).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for at in 0..COUNT {
        let mut client = caller.beside();
        calls.spawn(async move {
            let answer = client
                .call("echo", json!({ "message": at.to_string() }))
                .await
                .unwrap();
            assert_eq!(
                answer.json()["result"]["content"][0]["text"],
                at.to_string()
            );
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(
        caller
            .beside()
            .call("test_trigger_tool_change", json!({}))
            .await
            .unwrap()
            .status,
        200
    );
    all_of("notifications/tools/list_changed").await;
    while let Some(stream) = streams.join_next().await {
        stream.unwrap();
    }
    let pss: Vec<_> = daemon
        .workers("quic")
        .iter()
        .map(|worker| (worker.name.clone(), pss(worker.pid.unwrap())))
        .collect();
    println!("{COUNT} event streams on one connection: {pss:?} KiB Pss");
    assert!(pss.iter().all(|(_, pss)| *pss < 48 << 10), "{pss:?}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_daemon_that_was_killed_whole_are_told_by_the_next_one() {
    // A port that the next one takes again.
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = json!({ "mcpServers": { "fixture": fixture(&[]) }, "transports": { "quic": { "port": port } } });
    let mut daemon = daemon(config).start();
    let to = address(&daemon);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(to).await.unwrap();
        assert_eq!(
            client
                .call("echo", json!({ "message": "x" }))
                .await
                .unwrap()
                .status,
            200
        );
        clients.push(client);
    }
    // All at once, as a host does that has no memory left: nobody takes leave.
    for process in daemon.sandbox.processes(None) {
        process::signal(process.pid, Signal::SIGKILL);
    }
    let daemon = tokio::task::spawn_blocking(move || {
        daemon.wait();
        until("all are gone", || {
            daemon.sandbox.processes(None).is_empty().then_some(())
        });
        daemon.restart();
        daemon
    })
    .await
    .unwrap();
    assert_eq!(address(&daemon), to);
    until("both workers are ready", || {
        (daemon
            .workers("quic")
            .iter()
            .filter(|one| one.phase == Phase::Running)
            .count()
            == 2)
            .then_some(())
    });
    for client in &clients {
        // They ask once a second whether anybody is there, and give up by themselves after 30 s.
        let reason = tokio::time::timeout(Duration::from_secs(15), client.quic.closed())
            .await
            .expect("they are told");
        assert!(matches!(reason, ConnectionError::Reset), "{reason:?}");
    }
    assert_eq!(
        Client::connect(to)
            .await
            .unwrap()
            .call("echo", json!({ "message": "x" }))
            .await
            .unwrap()
            .status,
        200
    );
    daemon.stop();
}
