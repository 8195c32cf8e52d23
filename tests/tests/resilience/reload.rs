//! A new configuration under traffic: no connection refused, no session lost, and nothing touched
//! that did not change.

use ggen_wire::{
    Code,
    control::{Body, Call, Failure},
    plan::{Effect, Plan},
    status::Phase,
};
use ggend_tests::traffic::{Outcome, Traffic};
use ggend_tests::*;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// A daemon whose ports its file decides.
fn start(config: Value) -> Daemon {
    daemon(config)
        .variable("GGEN_MCP_TRANSPORTS_HTTP_PORT", "")
        .start()
}

/// A configuration with these values and servers.
fn config(http: Value, server: Value, servers: Value) -> Value {
    let mut config = json!({ "transports": { "http": { "port": 0 }, "quic": { "port": 0 } }, "server": server, "mcpServers": servers });
    for (key, value) in http.as_object().unwrap() {
        config["transports"]["http"][key] = value.clone();
    }
    config
}

fn reload(daemon: &mut Daemon, config: &Value) -> Result<String, Failure> {
    daemon.sandbox.write_config(config);
    match control::ask(&daemon.sandbox.socket(), &Call::RELOAD).expect("an answer") {
        Ok(Body::Done(text)) => Ok(text),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure),
    }
}

fn plan(daemon: &mut Daemon, config: &Value) -> Plan {
    daemon.sandbox.write_config(config);
    match control::ask(
        &daemon.sandbox.socket(),
        &Call::Reload {
            plan_only: true,
            validate_only: false,
        },
    ) {
        Some(Ok(Body::Plan(plan))) => plan,
        other => panic!("{other:?}"),
    }
}

fn pids(daemon: &Daemon) -> Vec<(String, Option<u32>)> {
    daemon
        .status()
        .workers
        .into_iter()
        .map(|worker| (worker.name, worker.pid))
        .collect()
}

fn http_address(daemon: &Daemon) -> SocketAddr {
    daemon
        .status()
        .listeners
        .into_iter()
        .find(|listener| listener.transport == "http")
        .unwrap()
        .address
        .parse()
        .unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[track_caller]
fn only_answers(traffic: Traffic) {
    traffic.until_answered(50);
    let counts = traffic.finish().counts();
    assert_eq!(
        counts.keys().collect::<Vec<_>>(),
        [&Outcome::Answered],
        "{counts:?}"
    );
}

#[test]
fn values_change_in_place_under_traffic_and_their_effect_is_seen() {
    let servers = json!({ "a": fixture(&["--tools", "40"]) });
    let mut daemon = start(config(json!({}), json!({}), servers.clone()));
    daemon.until_ready(&["a"]);
    let before = pids(&daemon);
    let traffic = Traffic::start(daemon.http, "a", &ERAS, 2);
    traffic.until_answered(50);
    let new = json!({ "compression": true, "max_body": 2048, "timeout_ms": 1500, "request_timeout_ms": 30000, "max_connections": 100,
        "allowed_hosts": ["localhost", "127.0.0.1", "gate.example"] });
    assert_eq!(
        reload(
            &mut daemon,
            &config(new, json!({ "drain_timeout_ms": 20000 }), servers)
        ),
        Ok("generation 2 in force".to_owned())
    );
    only_answers(traffic);
    let status = daemon.status();
    assert_eq!((pids(&daemon), status.generation), (before, 2));
    assert!(
        status
            .workers
            .iter()
            .all(|worker| worker.generation == 2 && worker.phase == Phase::Running),
        "{:?}",
        status.workers
    );
    for _ in 0..8 {
        let answer = Connection::once(
            daemon.http,
            "GET",
            "/tools",
            &[("Accept-Encoding", "gzip")],
            b"",
        )
        .unwrap();
        assert_eq!(
            (answer.head.status, answer.head.header("content-encoding")),
            (200, Some("gzip"))
        );
        let headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let answer =
            Connection::once(daemon.http, "POST", "/mcp", &headers, &[b' '; 3000]).unwrap();
        assert_eq!(answer.head.status, 413);
    }
    let mut silent = Connection::open(daemon.http).unwrap();
    silent
        .send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        .unwrap();
    assert!(
        silent.head().is_err(),
        "a connection without a whole head is closed after the new time-out"
    );
    daemon.stop();
}

#[test]
fn a_port_moves_while_the_connections_of_the_old_one_go_on() {
    let servers = json!({ "a": fixture(&[]) });
    let mut daemon = start(config(json!({}), json!({}), servers.clone()));
    daemon.until_ready(&["a"]);
    let (before, old, port) = (pids(&daemon), daemon.http, free_port());
    let new = SocketAddr::from(([127, 0, 0, 1], port));
    let mut session = Client::new(old, "a", Era::Legacy);
    // From here on it has a connection that stays open.
    session.tool("echo", json!({ "message": "here" }));
    let mut call = Client::new(old, "a", Era::Modern).start(
        "tools/call",
        json!({ "name": "slow", "arguments": { "ms": 1500 } }),
    );
    let traffic = Traffic::start(old, "a", &ERAS, 2);
    traffic.until_answered(50);
    let moved = config(json!({ "port": port }), json!({}), servers);
    let effects: Vec<_> = plan(&mut daemon, &moved)
        .changes
        .into_iter()
        .map(|change| (change.setting, change.effect))
        .collect();
    // The port of HTTPS was the system's choice as long as that of HTTP was.
    let settings = ["transports.http.port", "transports.http.ssl.port"];
    assert_eq!(
        effects,
        settings.map(|setting| (setting.to_owned(), Effect::Listener))
    );
    assert_eq!(daemon.status().generation, 1, "a plan changes nothing");
    reload(&mut daemon, &moved).unwrap();
    // Clients of the old port keep their connection and lose nothing.
    only_answers(traffic);
    assert_eq!(
        session
            .tool("echo", json!({ "message": "still here" }))
            .text(),
        "still here"
    );
    assert!(
        call.as_mut().unwrap().until("").raw.contains("Slept"),
        "the call in flight is answered"
    );
    assert_eq!((pids(&daemon), http_address(&daemon)), (before, new));
    only_answers(Traffic::start(new, "a", &ERAS, 2));
    until("the old port is closed", || {
        Connection::open(old).is_err().then_some(())
    });
    // The session moves with its client.
    let id = session.session.clone();
    let mut session = Client::unconnected(new, "a", Era::Legacy);
    session.session = id;
    assert_eq!(
        session.tool("echo", json!({ "message": "moved" })).text(),
        "moved"
    );
    daemon.stop();
}

#[test]
fn workers_come_and_go_under_traffic() {
    let servers = json!({ "a": fixture(&[]) });
    let mut daemon = start(config(json!({}), json!({ "workers": 2 }), servers.clone()));
    daemon.until_ready(&["a"]);
    let before = pids(&daemon);
    let traffic = Traffic::start(daemon.http, "a", &ERAS, 3);
    traffic.until_answered(50);
    reload(
        &mut daemon,
        &config(json!({}), json!({ "workers": 4 }), servers.clone()),
    )
    .unwrap();
    let now = pids(&daemon);
    assert!(
        before.iter().all(|worker| now.contains(worker)) && now.len() == before.len() + 6,
        "{before:?} {now:?}"
    );
    traffic.until_answered(50);
    reload(
        &mut daemon,
        &config(json!({}), json!({ "workers": 1 }), servers),
    )
    .unwrap();
    until("one http worker is left", || {
        (daemon.workers("http").len() == 1).then_some(())
    });
    traffic.until_answered(50);
    let ledger = traffic.finish();
    // A worker that drains closes its connections after an answer; a client that has just sent on
    // one sees it cut, and none is refused.
    let bad = ledger.count(|outcome| !matches!(outcome, Outcome::Answered | Outcome::Cut));
    assert_eq!(bad, 0, "{:?}", ledger.counts());
    assert!(
        ledger.count(|outcome| *outcome == Outcome::Cut) <= 2,
        "{:?}",
        ledger.counts()
    );
    daemon.stop();
}

#[test]
fn upstreams_change_while_a_session_and_a_call_elsewhere_live_on() {
    let changed = |name: &str| fixture(&["--name", name]);
    let servers = json!({ "keep": fixture(&[]), "change": changed("one"), "drop": fixture(&[]) });
    let mut daemon = start(config(json!({}), json!({}), servers));
    daemon.until_ready(&["keep", "change", "drop"]);
    let (workers, keep, change) = (
        pids(&daemon),
        daemon.upstream("keep").pid,
        daemon.upstream("change").pid,
    );
    let mut session = Client::new(daemon.http, "", Era::Legacy);
    let mut events = session.listen(None).unwrap();
    let mut other = Client::new(daemon.http, "", Era::Legacy);
    let mut call = other
        .start(
            "tools/call",
            json!({ "name": "keep__slow", "arguments": { "ms": 4000 } }),
        )
        .unwrap();
    // One in flight on the server that restarts: it is answered first.
    let mut third = Client::new(daemon.http, "", Era::Modern);
    let mut last = third
        .start(
            "tools/call",
            json!({ "name": "change__slow", "arguments": { "ms": 1500 } }),
        )
        .unwrap();
    until("both calls are in flight", || {
        (daemon.scrape()?.sum("ggend_in_flight_calls", "") >= 2.0).then_some(())
    });

    let new = config(
        json!({}),
        json!({}),
        json!({ "keep": fixture(&[]), "change": changed("two"), "added": fixture(&[]) }),
    );
    let plan = plan(&mut daemon, &new);
    let of = |name: &str| {
        plan.changes
            .iter()
            .find(|change| change.setting == format!("mcpServers.{name}"))
            .unwrap()
    };
    assert_eq!(
        (of("added").effect, of("change").effect, of("drop").effect),
        (Effect::Added, Effect::Restarted, Effect::Removed)
    );
    assert!(
        of("drop").tools.contains(&"drop__echo".to_owned())
            && of("change").tools.contains(&"change__echo".to_owned()),
        "{plan:?}"
    );
    assert_eq!(plan.changes.len(), 3);
    let (beside, there) = (
        Traffic::start(daemon.http, "keep", &ERAS, 1),
        Traffic::start(daemon.http, "change", &ERAS, 1),
    );
    there.until_answered(20);
    assert_eq!(
        reload(&mut daemon, &new),
        Ok("generation 2 in force".to_owned())
    );
    only_answers(beside);
    // New calls wait for the restart.
    only_answers(there);

    assert_eq!(
        (pids(&daemon), daemon.upstream("keep").pid),
        (workers, keep)
    );
    daemon.until_upstream("change", |row| {
        row.pid.is_some()
            && row.pid != change
            && row.server.as_ref().is_some_and(|it| it.contains("two"))
    });
    events.until("notifications/tools/list_changed");
    assert!(last.until("").raw.contains("Slept 1500 ms"));
    assert!(call.until("").raw.contains("Slept 4000 ms"));
    let names = session.names("tools/list");
    assert!(
        names.contains(&"added__echo".to_owned())
            && !names.iter().any(|name| name.starts_with("drop__")),
        "{names:?}"
    );
    for name in ["keep", "change", "added"] {
        assert_eq!(
            session
                .tool(&format!("{name}__echo"), json!({ "message": name }))
                .text(),
            name
        );
    }
    assert_eq!(daemon.status().upstreams.len(), 3);
    daemon.stop();
}

#[test]
fn a_remote_server_moves_and_others_do_not_notice() {
    let (one, two) = (
        RemoteFixture::start(&["--name", "one"]),
        RemoteFixture::start(&["--name", "two"]),
    );
    let servers = |remote: &RemoteFixture| json!({ "far": remote.entry(), "near": fixture(&[]) });
    let mut daemon = start(config(json!({}), json!({}), servers(&one)));
    daemon.until_ready(&["far", "near"]);
    let near = daemon.upstream("near").pid;
    let traffic = Traffic::start(daemon.http, "near", &ERAS, 2);
    reload(&mut daemon, &config(json!({}), json!({}), servers(&two))).unwrap();
    assert!(daemon.upstream("far").server.unwrap().contains("two"));
    assert_eq!(daemon.upstream("near").pid, near);
    only_answers(traffic);
    let mut off = servers(&two);
    off["far"]["enabled"] = json!(false);
    reload(&mut daemon, &config(json!({}), json!({}), off)).unwrap();
    assert!(
        !Client::new(daemon.http, "", Era::Modern)
            .names("tools/list")
            .iter()
            .any(|name| name.starts_with("far__"))
    );
    daemon.stop();
}

#[test]
fn what_cannot_be_put_in_force_changes_nothing_and_says_why() {
    let servers = json!({ "a": fixture(&[]) });
    let mut daemon = start(config(json!({}), json!({}), servers.clone()));
    daemon.until_ready(&["a"]);
    let before = (
        pids(&daemon),
        daemon.status().listeners,
        daemon.upstream("a").pid,
    );
    let traffic = Traffic::start(daemon.http, "a", &ERAS, 2);

    std::fs::write(
        daemon.sandbox.config(),
        "{\n  \"server\": { \"workers\": }\n}",
    )
    .unwrap();
    let Some(Err(failure)) = control::ask(&daemon.sandbox.socket(), &Call::RELOAD) else {
        panic!("taken")
    };
    assert!(
        failure.code == Code::ConfigSyntax && failure.message.contains("mcp.json:2:"),
        "{failure:?}"
    );
    daemon.signal(Signal::SIGHUP);
    until("the log says so too", || {
        daemon
            .log()
            .contains("the old one stays in force")
            .then_some(())
    });
    let ran = daemon.ggen(&["mcp", "server", "reload", "--validate"]);
    assert_eq!(ran.code, 78, "{}", ran.stderr);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let failure = reload(
        &mut daemon,
        &config(
            json!({ "port": port }),
            json!({ "workers": 4 }),
            servers.clone(),
        ),
    )
    .unwrap_err();
    assert!(
        failure.code == Code::PortTaken && failure.message.contains("generation 1 stays in force"),
        "{failure:?}"
    );
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 69);

    assert_eq!(
        (
            pids(&daemon),
            daemon.status().listeners,
            daemon.upstream("a").pid
        ),
        before
    );
    assert_eq!(daemon.status().generation, 1);
    only_answers(traffic);
    daemon.stop();
}

#[test]
fn a_successor_that_dies_takes_the_reload_back() {
    let mut daemon = start(config(json!({}), json!({ "workers": 1 }), json!({})));
    let (before, listeners, port) = (pids(&daemon), daemon.status().listeners, free_port());
    let old: Vec<u32> = daemon
        .sandbox
        .processes(Some(daemon.pid))
        .iter()
        .map(|process| process.pid)
        .collect();
    let new = config(json!({ "port": port }), json!({ "workers": 6 }), json!({}));
    // Whoever is new is killed as soon as it is seen; one of five is met before it serves, or the
    // round is repeated.
    for _ in 0..20 {
        daemon.sandbox.write_config(&new);
        let socket = daemon.sandbox.socket();
        let asking =
            std::thread::spawn(move || control::ask(&socket, &Call::RELOAD).expect("an answer"));
        while !asking.is_finished() {
            for process in daemon
                .sandbox
                .processes(Some(daemon.pid))
                .iter()
                .filter(|process| !old.contains(&process.pid))
            {
                process::signal(process.pid, Signal::SIGKILL);
            }
        }
        let Err(failure) = asking.join().unwrap() else {
            let back = config(
                json!({ "port": daemon.http.port() }),
                json!({ "workers": 1 }),
                json!({}),
            );
            reload(&mut daemon, &back).unwrap();
            continue;
        };
        assert!(
            failure.code == Code::WorkerDied && failure.message.contains("nothing has changed"),
            "{failure:?}"
        );
        until("the others have gone", || {
            (pids(&daemon) == before).then_some(())
        });
        assert_eq!(daemon.status().listeners[0].address, listeners[0].address);
        assert!(
            Connection::open(SocketAddr::from(([127, 0, 0, 1], port))).is_err(),
            "the new port is closed again"
        );
        assert_eq!(
            Connection::once(daemon.http, "GET", "/health", &[], b"")
                .unwrap()
                .head
                .status,
            200
        );
        daemon.stop();
        return;
    }
    panic!("no successor was met before it served");
}

#[test]
fn the_guides_values_are_taken_over_and_shown_and_log_levels_change_alone() {
    let mut daemon = start(config(json!({}), json!({}), json!({})));
    let before = pids(&daemon);
    let mut loud = config(json!({}), json!({}), json!({}));
    loud["logging"] = json!({ "level": "debug" });
    let plan = plan(&mut daemon, &loud);
    assert!(
        plan.changes.len() == 1 && plan.changes[0].effect == Effect::Logging,
        "{plan:?}"
    );
    daemon.signal(Signal::SIGHUP);
    until("the reload", || {
        (daemon.status().generation == 2).then_some(())
    });
    until("a worker's debug line", || {
        Connection::once(daemon.http, "GET", "/health", &[], b"").unwrap();
        daemon
            .log()
            .lines()
            .any(|line| line.contains("DEBUG") && line.contains("/health"))
            .then_some(())
    });
    assert_eq!(pids(&daemon), before);

    let port = free_port();
    let guide = config(
        json!({ "port": port, "timeout_ms": 30000, "compression": true }),
        json!({ "workers": 4 }),
        json!({}),
    );
    daemon.sandbox.write_config(&guide);
    let ran = daemon.ggen(&["mcp", "server", "reload", "--plan"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("server.workers: 2 -> 4;"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    let ran = daemon.ggen(&["mcp", "server", "reload"]);
    assert!(
        ran.code == 0
            && ran.stdout.contains("generation 3 in force")
            && ran.stdout.contains("starting http-2, http-3"),
        "{}",
        ran.stdout
    );
    let ran = daemon.ggen(&["mcp", "server", "reload", "--format", "json"]);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(value["outcome"], "no change, generation 3 stays in force");
    let status = daemon.ggen(&["mcp", "server", "status"]);
    assert!(
        status.stdout.contains(&port.to_string()) && daemon.workers("http").len() == 4,
        "{}",
        status.stdout
    );
    assert!(
        within(Duration::from_secs(5), || Connection::open(http_address(
            &daemon
        ))
        .ok())
        .is_some()
    );
    daemon.stop();
}
