//! One transport or upstream stopped and started alone, while the others serve; what is seen of it;
//! and workers that are stopped by a signal.

use ggen_wire::status::{Phase, Transport, UpstreamState};
use ggend_tests::{
    traffic::{Outcome, Traffic},
    websocket::{Socket, modern, tool},
    *,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

const NAMES: [&str; 5] = ["http", "https", "websocket", "quic", "admin"];

fn config() -> Value {
    json!({ "transports": { "http": { "ssl": { "enabled": true, "port": 0 } } }, "mcpServers": { "fixture": fixture(&[]), "other": fixture(&[]) } })
}

fn house() -> Daemon {
    let daemon = daemon(config()).start();
    daemon.until_ready(&["fixture", "other"]);
    until("every transport serves", || {
        NAMES
            .iter()
            .all(|name| row(&daemon, name).phase == Phase::Running)
            .then_some(())
    });
    daemon
}

fn row(daemon: &Daemon, name: &str) -> Transport {
    daemon
        .status()
        .transports
        .into_iter()
        .find(|one| one.name == name)
        .unwrap_or_else(|| panic!("no row of {name}"))
}

fn server(daemon: &Daemon, verb: &str, name: &str) -> Ran {
    daemon.ggen(&["mcp", "server", verb, "--server", name])
}

#[track_caller]
fn good(ran: &Ran, expected: &str) {
    assert!(
        ran.code == 0 && ran.stdout.contains(expected),
        "{} {}{}",
        ran.code,
        ran.stdout,
        ran.stderr
    );
}

#[track_caller]
fn stopped(daemon: &Daemon, name: &str) {
    good(&server(daemon, "stop", name), &format!("{name} stopped"));
    assert_eq!(
        row(daemon, name),
        Transport {
            detail: Some("stopped on request".to_owned()),
            phase: Phase::Stopped,
            workers: 0,
            name: name.to_owned(),
            address: None
        }
    );
}

#[track_caller]
fn started(daemon: &Daemon, name: &str) {
    good(&server(daemon, "start", name), &format!("{name} started"));
    until("it serves again", || {
        (row(daemon, name).phase == Phase::Running).then_some(())
    });
}

fn nobody_listens(address: SocketAddr) -> bool {
    TcpStream::connect(address)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn greeted(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = http3::Client::connect(address).await.unwrap();
        assert_eq!(
            client
                .call("echo", json!({ "message": "x" }))
                .await
                .unwrap()
                .status,
            200
        );
        client.close().await;
    });
}

fn health(address: SocketAddr) -> Value {
    serde_json::from_slice(
        &Connection::once(address, "GET", "/health", &[], b"")
            .unwrap()
            .body,
    )
    .unwrap()
}

#[test]
fn quic_is_stopped_and_started_while_everybody_else_is_served() {
    let mut daemon = house();
    let before = daemon.ggen(&["mcp", "doctor", "--format", "json"]);
    let traffic = Traffic::start(daemon.http, "fixture", &[Era::Legacy, Era::Modern], 2);
    let address = daemon.listener("quic").unwrap();
    greeted(address);
    stopped(&daemon, "quic");
    let status = daemon.status();
    assert!(
        status.phase == Phase::Running && status.issues.is_empty(),
        "stopped is not failed: {status:#?}"
    );
    assert_eq!(daemon.listener("quic"), None);
    until("the workers are gone", || {
        daemon.workers("quic").is_empty().then_some(())
    });
    UdpSocket::bind(address).expect("the port is given back");
    // What is seen of it: /health of both listeners, the command line, doctor, a metric, the journal.
    let said = health(daemon.http);
    let transport = |health: &Value, name: &str| {
        health["transports"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(
        (
            &said["status"],
            &transport(&said, "quic")["state"],
            &transport(&said, "http")["state"]
        ),
        (&json!("ok"), &json!("stopped"), &json!("serving"))
    );
    assert_eq!(transport(&health(daemon.admin), "quic")["phase"], "stopped");
    let shown = daemon.ggen(&["mcp", "server", "status"]);
    assert!(
        shown.code == 0
            && shown
                .stdout
                .lines()
                .any(|line| line.trim_start().starts_with("quic") && line.ends_with("stopped")),
        "{}",
        shown.stdout
    );
    let doctor = daemon.ggen(&["mcp", "doctor", "--format", "json"]);
    assert_eq!(doctor.code, before.code, "{}", doctor.stdout);
    assert!(
        daemon
            .ggen(&["mcp", "doctor", "--verbose"])
            .stdout
            .contains("quic: stopped on request")
    );
    let up = |name: &str| {
        daemon
            .scrape()
            .unwrap()
            .sum("ggend_transport_up", &format!("transport=\"{name}\""))
    };
    assert!((up("quic") - 0.0).abs() < 0.1 && (up("http") - 1.0).abs() < 0.1);
    assert!(
        daemon
            .log()
            .lines()
            .any(|line| line.contains("quic is stopping on request"))
    );
    // A reload leaves it stopped; it is the operator's to start.
    daemon.sandbox.write_config(&{
        let mut config = config();
        config["transports"]["quic"] = json!({ "max_concurrent_streams": 50 });
        config
    });
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    assert_eq!(row(&daemon, "quic").phase, Phase::Stopped);
    good(&server(&daemon, "stop", "quic"), "quic is stopped already");
    started(&daemon, "quic");
    good(&server(&daemon, "start", "quic"), "quic is already running");
    greeted(daemon.listener("quic").unwrap());
    let ledger = traffic.finish();
    assert_eq!(
        ledger.count(|outcome| *outcome != Outcome::Answered),
        0,
        "{:?}",
        ledger.counts()
    );
    // With the daemon's next life it is there again.
    stopped(&daemon, "quic");
    assert_eq!(
        server(&daemon, "restart", "quic").code,
        0,
        "a restart starts what is stopped"
    );
    assert_eq!(row(&daemon, "quic").phase, Phase::Running);
    daemon.stop();
}

#[test]
fn what_is_in_flight_is_finished_and_a_start_does_not_wait_for_it() {
    let daemon = house();
    let address = daemon.listener("quic").unwrap();
    let call = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut client = http3::Client::connect(address).await.unwrap();
            let answer = client.call("slow", json!({ "ms": 3000 })).await.unwrap();
            client.close().await;
            answer.status
        })
    });
    until("the call is in flight", || {
        (daemon.upstream("fixture").in_flight > 0).then_some(())
    });
    let began = Instant::now();
    good(&server(&daemon, "stop", "quic"), "quic stopped");
    started(&daemon, "quic");
    let took = began.elapsed();
    assert_eq!(
        daemon.upstream("fixture").in_flight,
        1,
        "the call is still in flight after {took:?}"
    );
    // With port 0 the one in use is taken up again.
    assert_eq!(daemon.listener("quic"), Some(address));
    greeted(address);
    assert_eq!(call.join().unwrap(), 200);
    // A WebSocket: its client is told after what is in flight, and can come back at once.
    let mut socket = Socket::open(daemon.http, "/ws/fixture");
    let id = socket.start("tools/call", modern(tool("slow", json!({ "ms": 1500 }))));
    until("the call is in flight", || {
        (daemon.upstream("fixture").in_flight > 0).then_some(())
    });
    good(&server(&daemon, "stop", "websocket"), "websocket stopped");
    let refused = Socket::try_open(daemon.http, "/ws/fixture", &[])
        .err()
        .expect("refused");
    assert_eq!(refused.status(), 404);
    started(&daemon, "websocket");
    let mut fresh = Socket::open(daemon.http, "/ws/fixture");
    assert!(
        fresh
            .request("tools/list", modern(json!({})))
            .0
            .get("result")
            .is_some()
    );
    assert!(socket.answer(id).0.get("result").is_some());
    assert_eq!(socket.close_code(), 1001);
    drop((socket, fresh));
    daemon.stop();
}

#[test]
fn http_https_and_admin_stop_separately() {
    let daemon = house();
    let (http, https, admin) = (daemon.http, daemon.listener("https").unwrap(), daemon.admin);
    stopped(&daemon, "http");
    assert!(nobody_listens(http) && TcpStream::connect(https).is_ok());
    let curled = pki::curl(&["-k", &format!("https://localhost:{}/health", https.port())]);
    assert_eq!((curled.exit, curled.status), (0, 200));
    stopped(&daemon, "https");
    assert!(nobody_listens(https));
    until("nobody serves HTTP", || {
        daemon.workers("http").is_empty().then_some(())
    });
    greeted(daemon.listener("quic").unwrap());
    stopped(&daemon, "admin");
    assert!(nobody_listens(admin));
    assert_eq!(daemon.status().phase, Phase::Running);
    for name in ["admin", "https", "http"] {
        started(&daemon, name);
    }
    let http = daemon.listener("http").unwrap();
    assert_eq!(
        Client::new(http, "fixture", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .text(),
        "x"
    );
    assert!(
        Socket::open(http, "/ws/fixture")
            .request("tools/list", modern(json!({})))
            .0
            .get("result")
            .is_some()
    );
    // Its port has been taken meanwhile: it stays stopped, the reason is said, and nothing else has
    // changed.
    stopped(&daemon, "http");
    drop(daemon.ggen(&["mcp", "server", "status"]));
    daemon.stop();
}

#[test]
fn a_start_that_is_not_possible_changes_nothing_and_says_why() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut config = config();
    config["transports"]["http"]["port"] = json!(port);
    config["transports"]["websocket"] = json!({ "enabled": false });
    let daemon = daemon(config)
        .variable("GGEN_MCP_TRANSPORTS_HTTP_PORT", &port.to_string())
        .start();
    stopped(&daemon, "http");
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let ran = server(&daemon, "start", "http");
    assert!(
        ran.code != 0
            && ran.stderr.contains("GGEN-E1101")
            && ran.stderr.contains(&format!("pid {}", std::process::id())),
        "{}",
        ran.stderr
    );
    assert_eq!(row(&daemon, "http").phase, Phase::Stopped);
    drop(taken);
    started(&daemon, "http");
    for (name, code, words) in [
        ("gateway", "GGEN-E3002", "the daemon stops with it"),
        (
            "websocket",
            "GGEN-E3002",
            "switched off in the configuration",
        ),
        ("nobody", "GGEN-E3024", "no transport and no server"),
    ] {
        for verb in ["stop", "start"] {
            let ran = server(&daemon, verb, name);
            assert!(
                ran.code != 0 && ran.stderr.contains(code) && ran.stderr.contains(words)
                    || (verb, name) == ("start", "gateway"),
                "{verb} {name}: {} {}",
                ran.stdout,
                ran.stderr
            );
        }
    }
    daemon.stop();
}

#[test]
fn an_upstream_is_stopped_and_started_alone() {
    let daemon = house();
    let mut client = Client::new(daemon.http, "fixture", Era::Modern);
    good(&server(&daemon, "stop", "other"), "other stopped");
    assert_eq!(daemon.upstream("other").state, UpstreamState::Stopped);
    until("its process has ended", || {
        daemon.upstream("other").pid.is_none().then_some(())
    });
    assert!(daemon.status().issues.is_empty());
    assert!(
        !daemon
            .ggen(&["mcp", "list", "--quiet"])
            .stdout
            .contains("other__")
    );
    assert!(
        daemon
            .ggen(&["mcp", "doctor", "--verbose"])
            .stdout
            .contains("other: stopped on request")
    );
    assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
    good(&server(&daemon, "start", "other"), "other started");
    daemon.until_ready(&["other"]);
    assert!(
        daemon
            .ggen(&["mcp", "list", "--quiet"])
            .stdout
            .contains("other__")
    );
    daemon.stop();
}

#[test]
fn a_worker_that_a_signal_has_stopped_is_replaced_without_waiting_for_it() {
    let daemon = house();
    for (role, worker) in [
        ("websocket", "websocket-0"),
        ("quic", "quic-0"),
        ("http", "http-0"),
        ("gateway", "gateway-0"),
    ] {
        let old = daemon.worker_pid(worker).unwrap();
        process::signal(old, Signal::SIGSTOP);
        let began = Instant::now();
        let ran = server(&daemon, "restart", role);
        let took = began.elapsed();
        assert!(
            ran.code == 0 && took < Duration::from_secs(5),
            "{role} after {took:?}: {}{}",
            ran.stdout,
            ran.stderr
        );
        daemon.until_replaced(worker, old);
        // It is not drained for half a minute: it gives no sign of life.
        until("the stopped process is gone", || {
            (!daemon
                .sandbox
                .processes(None)
                .iter()
                .any(|process| process.pid == old))
            .then_some(())
        });
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{role}: {:?}",
            began.elapsed()
        );
    }
    daemon.until_ready(&["fixture"]);
    assert_eq!(
        Client::new(daemon.http, "fixture", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .text(),
        "x"
    );
    daemon.stop();
}
