//! All transports under load while workers are killed and the configuration changes: nobody is
//! refused, what one worker serves is not another one's loss, and every single request is answered
//! once or fails with a reason. The ledger is printed.

use ggen_wire::{
    control::{Body, Call},
    status::Phase,
};
use ggend_tests::{
    mcp::MODERN,
    tls::believing,
    traffic::{Outcome, Traffic},
    *,
};
use h3_quinn::quinn::ConnectionError;
use nix::sys::signal::Signal;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tungstenite::{Error, Message, WebSocket, client::IntoClientRequest};

/// Reloads, and SIGKILLs of workers.
const ROUNDS: usize = 50;
/// The whole of them takes at least so long.
const SPAN: Duration = Duration::from_secs(25);
/// No answer for so long is silence.
const PATIENCE: Duration = Duration::from_secs(20);
/// Over QUIC, whose own idle time-out (30 s) tells a client that its worker is gone when that one's
/// successor, in backoff after many quick deaths, does not come in time to tell it by a reset.
const IDLE: Duration = Duration::from_secs(45);

type Counts = BTreeMap<Outcome, usize>;

fn of_error(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Outcome::Silent,
        _ => Outcome::Cut,
    }
}

fn request(method: &str, id: u64, text: &str) -> String {
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "load", "version": "1" } });
    let params = json!({ "name": "echo", "arguments": { "message": text }, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// What an answer to `request` means.
fn judge(status: u16, answer: &Value, text: &str) -> Outcome {
    if answer["result"]["content"][0]["text"] == text {
        Outcome::Answered
    } else if let Some(code) = answer["error"]["data"]["code"].as_str() {
        Outcome::Error(status, code.to_owned())
    } else {
        Outcome::Wrong(format!("{status} {answer:.200}"))
    }
}

/// A thread that makes one request after the other until the end.
fn client(
    ended: &Arc<AtomicBool>,
    mut once: impl FnMut(u64) -> Outcome + Send + 'static,
) -> JoinHandle<Counts> {
    let ended = Arc::clone(ended);
    std::thread::spawn(move || {
        let (mut counts, mut number) = (Counts::new(), 0);
        while !ended.load(Relaxed) {
            number += 1;
            *counts.entry(once(number)).or_insert(0) += 1;
        }
        counts
    })
}

fn https(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    open: &mut Option<Connection>,
    number: u64,
) -> Outcome {
    let text = format!("https-{number}");
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    let mut attempt = || {
        let connection = match open.take() {
            Some(connection) if connection.is_idle() => open.insert(connection),
            _ => open.insert(Connection::secure(address, tls)?),
        };
        connection.patience(PATIENCE)?;
        connection.request(
            "POST",
            "/mcp/fixture",
            &headers,
            request("tools/call", number, &text).as_bytes(),
        )?;
        connection.answer()
    };
    match attempt() {
        Err(error) => {
            *open = None;
            of_error(&error)
        }
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            let json = body
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .next_back()
                .unwrap_or(&body)
                .to_owned();
            judge(
                answer.head.status,
                &serde_json::from_str(&json).unwrap_or_default(),
                &text,
            )
        }
    }
}

trait Duplex: io::Read + io::Write + Send {}
impl<T: io::Read + io::Write + Send> Duplex for T {}
type Ws = WebSocket<Box<dyn Duplex>>;

fn open_ws(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Ws, Outcome> {
    let tcp = TcpStream::connect(address).map_err(|error| of_error(&error))?;
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream: Box<dyn Duplex> = match tls {
        None => Box::new(tcp),
        Some(tls) => Box::new(StreamOwned::new(
            ClientConnection::new(Arc::clone(tls), ServerName::try_from("localhost").unwrap())
                .unwrap(),
            tcp,
        )),
    };
    let request = format!("ws://localhost:{}/ws/fixture", address.port())
        .into_client_request()
        .unwrap();
    match tungstenite::client(request, stream) {
        Ok((ws, _)) => Ok(ws),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            let body = response.body().clone().unwrap_or_default();
            let code = serde_json::from_slice::<Value>(&body)
                .ok()
                .and_then(|body| body["error"]["data"]["code"].as_str().map(str::to_owned));
            Err(Outcome::Error(
                response.status().as_u16(),
                code.unwrap_or_default(),
            ))
        }
        Err(tungstenite::HandshakeError::Failure(Error::Io(error))) => Err(of_error(&error)),
        Err(_) => Err(Outcome::Cut),
    }
}

fn websocket(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    open: &mut Option<Ws>,
    number: u64,
) -> Outcome {
    let text = format!("ws-{number}");
    let mut attempt = || {
        let ws = match open {
            Some(ws) => ws,
            None => open.insert(open_ws(address, tls)?),
        };
        let broken = |error: Error| match error {
            Error::Io(error) => of_error(&error),
            _ => Outcome::Cut,
        };
        ws.send(Message::text(request("tools/call", number, &text)))
            .map_err(broken)?;
        loop {
            match ws.read().map_err(broken)? {
                Message::Text(answer) => {
                    let answer: Value = serde_json::from_str(&answer).unwrap();
                    if answer["id"] != number {
                        return Err(Outcome::Wrong(answer.to_string()));
                    }
                    return Ok(judge(0, &answer, &text));
                }
                // A close with its reason: the worker is replaced, or the session's gateway is.
                Message::Close(frame) => {
                    return Err(Outcome::Error(
                        frame.map_or(1005, |frame| frame.code.into()),
                        "closed".to_owned(),
                    ));
                }
                _ => {}
            }
        }
    };
    attempt().unwrap_or_else(|outcome| {
        *open = None;
        outcome
    })
}

/// One call over HTTP/3. What breaks the connection is kept there.
async fn h3(client: &mut http3::Client, number: u64) -> Outcome {
    let text = format!("h3-{number}");
    match tokio::time::timeout(IDLE, client.call("echo", json!({ "message": text }))).await {
        Err(_) => Outcome::Silent,
        Ok(Err(_)) => Outcome::Cut,
        Ok(Ok(answer)) => judge(answer.status.as_u16(), &answer.json(), &text),
    }
}

fn running(daemon: &Daemon, name: &str) -> Option<u32> {
    let workers = daemon.status().workers;
    let found = workers.iter().find(|worker| {
        worker.name == name && matches!(worker.phase, Phase::Running | Phase::Degraded)
    })?;
    found.pid
}

fn config(round: usize) -> Value {
    json!({
        "transports": {
            "http": { "ssl": { "enabled": true, "port": 0 }, "idle_timeout_ms": 300_000 + round, "max_connections_per_address": 0 },
            "quic": { "max_concurrent_streams": 100 + round },
        },
        "mcpServers": { "fixture": fixture(&[]) },
    })
}

#[test]
fn fifty_reloads_and_fifty_killed_workers_under_load_refuse_nobody_and_lose_nothing_without_a_reason()
 {
    let mut daemon = daemon(config(0)).start();
    daemon.until_ready(&["fixture"]);
    let address = |name: &str| until("every transport serves", || daemon.listener(name));
    let (http, secure, udp) = (daemon.http, address("https"), address("quic"));
    until("both QUIC workers serve", || {
        ["quic-0", "quic-1"]
            .iter()
            .all(|name| running(&daemon, name).is_some())
            .then_some(())
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();

    // Which connections are on quic-1 is seen by the death of quic-0, which from then on is the
    // only one that is killed.
    let mut clients: Vec<http3::Client> = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..16 {
            clients.push(http3::Client::connect(udp).await.unwrap());
        }
        clients
    });
    let old = running(&daemon, "quic-0").unwrap();
    process::signal(old, Signal::SIGKILL);
    daemon.until_replaced("quic-0", old);
    runtime.block_on(async {
        for mut client in std::mem::take(&mut clients) {
            if h3(&mut client, 0).await == Outcome::Answered {
                clients.push(client);
            }
        }
    });
    assert!(
        (1..16).contains(&clients.len()),
        "connections are spread over both workers: {}",
        clients.len()
    );
    let untouched = clients.len();

    let ended = Arc::new(AtomicBool::new(false));
    let end = SetOnDrop(Arc::clone(&ended));
    let mut tls = believing(None).unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = Arc::new(tls);
    let traffic = Traffic::start(http, "fixture", &[Era::Legacy, Era::Modern], 1);
    let mut threads: Vec<(&str, JoinHandle<Counts>)> = Vec::new();
    {
        let (tls, mut open) = (Arc::clone(&tls), None);
        threads.push((
            "https",
            client(&ended, move |number| https(secure, &tls, &mut open, number)),
        ));
        let mut open = None;
        threads.push((
            "websocket",
            client(&ended, move |number| {
                websocket(http, None, &mut open, number)
            }),
        ));
    }
    {
        let (tls, mut open) = (Arc::clone(&tls), None);
        threads.push((
            "websocket over TLS",
            client(&ended, move |number| {
                websocket(secure, Some(&tls), &mut open, number)
            }),
        ));
    }
    let streams: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let ended = Arc::clone(&ended);
            runtime.spawn(async move {
                let (mut counts, mut number) = (Counts::new(), 0);
                while !ended.load(Relaxed) {
                    number += 1;
                    *counts.entry(h3(&mut client, number).await).or_insert(0) += 1;
                    // Load, not a benchmark.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (counts, client.quic.close_reason())
            })
        })
        .collect();
    let handshakes = {
        let ended = Arc::clone(&ended);
        runtime.spawn(async move {
            let (mut counts, mut refused, mut with_their_worker, mut number) =
                (Counts::new(), Vec::new(), 0, 0);
            while !ended.load(Relaxed) {
                number += 1;
                match http3::Client::connect(udp).await {
                    Ok(mut client) => {
                        *counts.entry(h3(&mut client, number).await).or_insert(0) += 1;
                    }
                    Err(error) => match error.downcast_ref::<ConnectionError>() {
                        // It was at its worker when that died.
                        Some(ConnectionError::Reset | ConnectionError::TimedOut) => {
                            with_their_worker += 1
                        }
                        None if error.is::<tokio::time::error::Elapsed>() => with_their_worker += 1,
                        _ => refused.push(error.to_string()),
                    },
                }
            }
            (counts, refused, with_their_worker, number)
        })
    };

    // Killed in turn, never quic-1.
    let names = [
        "http-0",
        "websocket-0",
        "quic-0",
        "http-1",
        "websocket-1",
        "gateway-0",
    ];
    let began = Instant::now();
    let (mut killed, mut turn) = (BTreeMap::new(), 0);
    for round in 1..=ROUNDS {
        let due = SPAN * u32::try_from(round).unwrap() / u32::try_from(ROUNDS).unwrap();
        until("somebody to be killed", || {
            turn += 1;
            let name = names[turn % names.len()];
            let pid = running(&daemon, name)?;
            process::signal(pid, Signal::SIGKILL);
            *killed.entry(name).or_insert(0) += 1;
            Some(())
        });
        daemon.sandbox.write_config(&config(round));
        let reply = control::ask(&daemon.sandbox.socket(), &Call::RELOAD);
        assert!(
            matches!(reply, Some(Ok(Body::Done(_)))),
            "reload {round}: {reply:?}"
        );
        runtime.block_on(async { tokio::time::sleep(due.saturating_sub(began.elapsed())).await });
    }
    println!(
        "{ROUNDS} reloads and {} killed workers in {:?}: {killed:?}",
        killed.values().sum::<usize>(),
        began.elapsed()
    );

    // Everything is served again, and that is what every client sees last.
    until("every worker serves", || {
        daemon
            .status()
            .workers
            .iter()
            .all(|worker| worker.phase == Phase::Running)
            .then_some(())
    });
    let before = traffic.answered();
    until("calls are answered", || {
        (traffic.answered() > before + 20).then_some(())
    });
    drop(end);
    let mut ledger: Vec<(String, Counts)> = vec![("http".to_owned(), traffic.finish().counts())];
    ledger.extend(
        threads
            .into_iter()
            .map(|(name, thread)| (name.to_owned(), thread.join().unwrap())),
    );
    let mut live = Counts::new();
    for stream in streams {
        let (counts, reason) = runtime.block_on(stream).unwrap();
        counts
            .into_iter()
            .for_each(|(outcome, count)| *live.entry(outcome).or_insert(0) += count);
        assert_eq!(reason, None, "a connection of a worker that nobody touched");
    }
    ledger.push((format!("{untouched} live HTTP/3 connections"), live.clone()));
    let (counts, refused, with_their_worker, number) = runtime.block_on(handshakes).unwrap();
    ledger.push(("new HTTP/3 connections".to_owned(), counts));
    for (name, counts) in &ledger {
        println!(
            "{name}: {} requests, {counts:?}",
            counts.values().sum::<usize>()
        );
    }
    println!(
        "{number} QUIC handshakes: {} refused, {with_their_worker} lost with their worker",
        refused.len()
    );

    assert!(refused.is_empty(), "{refused:?}");
    assert!(
        with_their_worker <= killed["quic-0"],
        "{with_their_worker} handshakes lost"
    );
    assert_eq!(
        live.get(&Outcome::Cut),
        None,
        "requests on connections of a worker that nobody touched"
    );
    for (name, counts) in &ledger {
        assert!(
            counts
                .get(&Outcome::Answered)
                .is_some_and(|count| *count > 20),
            "{name}: {counts:?}"
        );
        for outcome in counts.keys() {
            let has_a_reason = match outcome {
                Outcome::Answered | Outcome::Cut => true,
                Outcome::Error(_, code) => !code.is_empty(),
                Outcome::Refused | Outcome::Silent | Outcome::Wrong(_) => false,
            };
            assert!(has_a_reason, "{name}: {counts:?}");
        }
    }
    // A connection is cut by the death of the worker that it is at, and of none other: never more
    // often than workers died.
    let deaths: usize = killed.values().sum();
    for (name, counts) in &ledger {
        assert!(
            counts.get(&Outcome::Cut).copied().unwrap_or(0) <= 2 * deaths,
            "{name}: {counts:?}"
        );
    }
    daemon.stop();
}
