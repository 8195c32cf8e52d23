//! Workers and supervisors that are killed, stopped and told to end while clients call: every call
//! is accounted for in a ledger.

use ggen_wire::status::Phase;
use ggend_tests::{
    metrics::Scrape,
    traffic::{Ledger, Outcome, Traffic},
    *,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// Two fixtures, and the given settings of `server`.
fn house(server: Value) -> Daemon {
    let servers =
        json!({ "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]) });
    let daemon = daemon(json!({ "server": server, "mcpServers": servers })).start();
    daemon.until_ready(&["old", "new"]);
    daemon
}

fn upstream_pids(daemon: &Daemon) -> Vec<Option<u32>> {
    daemon
        .status()
        .upstreams
        .iter()
        .map(|upstream| upstream.pid)
        .collect()
}

fn kill(pid: u32) {
    process::signal(pid, Signal::SIGKILL);
}

/// What must never be in a ledger.
#[track_caller]
fn check(ledger: &Ledger) {
    let never = |outcome: &Outcome| {
        matches!(
            outcome,
            Outcome::Refused | Outcome::Silent | Outcome::Wrong(_)
        )
    };
    assert_eq!(ledger.count(never), 0, "{:#?}", ledger.counts());
}

#[test]
fn killed_http_workers_cost_only_the_calls_on_their_own_connections() {
    const CLIENTS: usize = 4;
    const KILLS: usize = 4;
    let daemon = house(json!({ "workers": 2 }));
    let (before, gateway) = (upstream_pids(&daemon), daemon.worker_pid("gateway-0"));
    let mut sessions: Vec<_> = ["old", "new"]
        .iter()
        .map(|server| Client::new(daemon.http, server, Era::Legacy))
        .collect();
    let traffic = Traffic::start(daemon.http, "old", &ERAS, CLIENTS);
    traffic.until_answered(100);
    let mut scrape = until("a scrape", || daemon.scrape());
    for round in 0..KILLS {
        let name = format!("http-{}", round % 2);
        let pid = daemon.worker_pid(&name).unwrap();
        let at = Instant::now();
        kill(pid);
        let successor = daemon.until_replaced(&name, pid);
        println!(
            "SIGKILL {name}: successor {:?} seen after {:?}",
            successor.pid,
            at.elapsed()
        );
        traffic.until_answered(100);
        let now = until("a scrape", || daemon.scrape());
        assert_eq!(now.backwards(&scrape), Vec::<String>::new());
        scrape = now;
    }
    let ledger = traffic.finish();
    println!("{:#?}", ledger.counts());
    check(&ledger);
    assert_eq!(
        ledger.count(|outcome| matches!(outcome, Outcome::Error(..))),
        0,
        "{:#?}",
        ledger.counts()
    );
    // A cut call was on a connection of the killed worker; each client has one.
    assert!(
        ledger.count(|outcome| *outcome == Outcome::Cut) <= KILLS * CLIENTS * ERAS.len(),
        "{:#?}",
        ledger.counts()
    );
    for client in &mut sessions {
        client.reconnect();
        assert_eq!(
            client
                .tool("echo", json!({ "message": "still here" }))
                .text(),
            "still here"
        );
    }
    assert_eq!(
        (upstream_pids(&daemon), daemon.worker_pid("gateway-0")),
        (before, gateway)
    );
    daemon.stop();
}

#[test]
fn an_event_stream_that_its_worker_took_along_is_resumed_without_a_gap() {
    let daemon = house(json!({ "workers": 1 }));
    for server in ["old", "new"] {
        let mut client = Client::new(daemon.http, server, Era::Legacy);
        let call = json!({ "name": "progress", "arguments": { "steps": 20, "ms": 50 }, "_meta": { "progressToken": "t" } });
        let mut stream = client.start("tools/call", call).unwrap();
        let mut steps = Vec::new();
        let mut last = None;
        let mut note = |message: &Message| {
            steps.extend(message.value["params"]["progress"].as_u64());
            last.clone_from(&message.event);
            last.clone()
        };
        for _ in 0..3 {
            note(&stream.message());
        }
        let pid = daemon.worker_pid("http-0").unwrap();
        kill(pid);
        let last = loop {
            // What had left the worker before it died arrives all the same.
            match stream.receive() {
                Ok(Some(message)) => drop(note(&message)),
                Ok(None) | Err(_) => break last.clone().expect("events of 2025-11-25 have ids"),
            }
        };
        let mut resumed = client.listen(Some(&last)).unwrap();
        loop {
            let message = resumed.message();
            if message.method().is_empty() {
                assert_eq!(
                    message.value["result"]["content"][0]["text"], "Made 20 steps",
                    "{}",
                    message.raw
                );
                break;
            }
            steps.extend(message.value["params"]["progress"].as_u64());
        }
        assert_eq!(
            steps,
            (1..=20).collect::<Vec<_>>(),
            "every event once, in order"
        );
        daemon.until_replaced("http-0", pid);
    }
    daemon.stop();
}

#[test]
fn the_listener_of_a_single_killed_worker_refuses_nobody() {
    let daemon = house(json!({ "workers": 1 }));
    let mut times = Vec::new();
    for _ in 0..5 {
        // Not before the record says so, for the next one would wait for its turn.
        let pid = until("a worker that runs", || {
            daemon
                .workers("http")
                .iter()
                .find(|worker| worker.phase != Phase::Starting)?
                .pid
        });
        let at = Instant::now();
        kill(pid);
        // The first connection may still be taken by the dying process's last breath: what counts
        // is that none is refused.
        let answered = until("an answer", || {
            let mut client = Client::unconnected(daemon.http, "new", Era::Modern);
            match client.try_request(
                "tools/call",
                json!({ "name": "echo", "arguments": { "message": "x" } }),
            ) {
                Ok(reply) => Some(reply.text().to_owned()),
                Err(error) => {
                    assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                    None
                }
            }
        });
        assert_eq!(answered, "x");
        times.push(at.elapsed());
        daemon.until_replaced("http-0", pid);
    }
    println!("SIGKILL of the only http worker → a new client's call answered: {times:?}");
    daemon.stop();
}

#[test]
fn a_killed_gateway_is_replaced_with_clear_errors_and_the_same_upstreams() {
    let daemon = house(json!({}));
    let before = upstream_pids(&daemon);
    let traffic = Traffic::start(daemon.http, "new", &ERAS, 3);
    traffic.until_answered(100);
    let mut scrape = until("a scrape", || daemon.scrape());
    for _ in 0..3 {
        // In flight when it dies: without and with an event stream that has begun.
        let plain = json!({ "name": "slow", "arguments": { "ms": 60_000 } });
        let streaming = json!({ "name": "progress", "arguments": { "steps": 600, "ms": 100 }, "_meta": { "progressToken": "t" } });
        let mut flights = Vec::new();
        for (server, era) in [
            ("old", Era::Legacy),
            ("old", Era::Modern),
            ("new", Era::Legacy),
            ("new", Era::Modern),
        ] {
            let mut client = Client::new(daemon.http, server, era);
            let count = |client: &mut Client| {
                client.tool("counter", json!({})).result()["structuredContent"]["calls"].as_u64()
            };
            let calls = count(&mut client);
            let connection = client.send_only("tools/call", plain.clone()).unwrap();
            until("the call is at the server", || {
                (count(&mut client) > calls).then_some(())
            });
            flights.push((format!("{server} {era:?}"), connection));
            let mut other = Client::new(daemon.http, server, era);
            let mut exchange = other.start("tools/call", streaming.clone()).unwrap();
            exchange.until("notifications/progress");
            flights.push((
                format!("{server} {era:?} streaming"),
                exchange.into_connection(),
            ));
        }
        let pid = daemon.worker_pid("gateway-0").unwrap();
        let at = Instant::now();
        kill(pid);
        let mut errors = Vec::new();
        for (what, mut connection) in flights {
            let (status, message) = connection.last_message();
            let error = &message["error"];
            assert_eq!(
                error["data"]["code"], "GGEN-E1204",
                "{what}: {status} {message}"
            );
            assert_eq!(error["code"], -32603, "{what}: {message}");
            assert!(message["id"].is_u64(), "{what}: {message}");
            assert_eq!(
                status,
                if what.ends_with("streaming") {
                    200
                } else {
                    502
                },
                "{what}"
            );
            errors.push(at.elapsed());
        }
        let answered =
            Client::new(daemon.http, "old", Era::Modern).tool("echo", json!({ "message": "x" }));
        assert_eq!(answered.text(), "x");
        println!(
            "SIGKILL gateway: in-flight calls have their error after {:?}, a new call its answer after {:?}",
            errors.last(),
            at.elapsed()
        );
        daemon.until_replaced("gateway-0", pid);
        traffic.until_answered(100);
        let now = until("a scrape", || daemon.scrape());
        assert_eq!(now.backwards(&scrape), Vec::<String>::new());
        scrape = now;
    }
    let ledger = traffic.finish();
    println!("{:#?}", ledger.counts());
    check(&ledger);
    let clear = |outcome: &Outcome| match outcome {
        Outcome::Answered => true,
        // Sessions go on: nobody is told to begin a new one.
        Outcome::Error(status, code) => matches!(
            (*status, code.as_str()),
            (502 | 200, "GGEN-E1204") | (503, "GGEN-E5002")
        ),
        _ => false,
    };
    assert_eq!(
        ledger.count(|outcome| !clear(outcome)),
        0,
        "{:#?}",
        ledger.counts()
    );
    assert_eq!(upstream_pids(&daemon), before, "the servers never noticed");
    daemon.stop();
}

#[test]
fn a_killed_admin_worker_costs_no_call_and_no_count() {
    let daemon = house(json!({}));
    let traffic = Traffic::start(daemon.http, "new", &ERAS, 2);
    traffic.until_answered(50);
    let mut scrape = Scrape::default();
    for _ in 0..3 {
        let pid = daemon.worker_pid("admin-0").unwrap();
        let at = Instant::now();
        kill(pid);
        let now = until("a scrape", || {
            match Connection::once(daemon.admin, "GET", "/metrics", &[], b"") {
                Ok(answer) if answer.head.status == 200 => {
                    Some(Scrape::parse(&String::from_utf8(answer.body).unwrap()))
                }
                Ok(_) => None,
                Err(error) => {
                    assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                    None
                }
            }
        });
        println!("SIGKILL admin: scraped after {:?}", at.elapsed());
        assert_eq!(now.backwards(&scrape), Vec::<String>::new());
        scrape = now;
        daemon.until_replaced("admin-0", pid);
        traffic.until_answered(50);
    }
    let restarts = until("the restarts are counted", || {
        daemon
            .scrape()
            .filter(|scrape| scrape.sum("ggend_worker_restarts_total", "admin") >= 3.0)
    });
    assert_eq!(restarts.sum("ggend_worker_restarts_total", "http"), 0.0);
    let ledger = traffic.finish();
    assert_eq!(
        ledger.count(|outcome| *outcome != Outcome::Answered),
        0,
        "{:#?}",
        ledger.counts()
    );
    daemon.stop();
}

#[test]
fn a_worker_that_stops_answering_is_seen_within_five_seconds_and_replaced() {
    let daemon = house(json!({ "workers": 1 }));
    let before = upstream_pids(&daemon);
    let began = Instant::now();
    let stopped: Vec<_> = ["http-0", "gateway-0", "admin-0"]
        .into_iter()
        .map(|name| (name, daemon.worker_pid(name).unwrap()))
        .collect();
    for (_, pid) in &stopped {
        process::signal(*pid, Signal::SIGSTOP);
    }
    let call = {
        let address = daemon.http;
        std::thread::spawn(move || {
            Client::unconnected(address, "new", Era::Modern)
                .try_request("tools/list", json!({}))
                .is_ok()
        })
    };
    for (name, pid) in &stopped {
        let seen = until("the hang is seen", || {
            let mine = daemon
                .status()
                .workers
                .into_iter()
                .find(|worker| worker.pid == Some(*pid));
            mine.is_none_or(|worker| worker.phase == Phase::Degraded)
                .then(|| began.elapsed())
        });
        assert!(seen <= Duration::from_secs(5), "{name} seen after {seen:?}");
        println!("SIGSTOP {name}: seen after {seen:?}");
    }
    for (name, pid) in &stopped {
        let worker = daemon.until_replaced(name, *pid);
        println!(
            "SIGSTOP {name}: replaced after {:?}, {:?}",
            began.elapsed(),
            worker.last_exit
        );
        until("the hung process is gone", || {
            (!process::is_alive(*pid)).then_some(())
        });
    }
    call.join().unwrap();
    assert_eq!(
        Client::new(daemon.http, "old", Era::Legacy)
            .tool("echo", json!({ "message": "x" }))
            .text(),
        "x"
    );
    until("a scrape", || daemon.scrape());
    assert_eq!(upstream_pids(&daemon), before);
    assert!(
        !control::logs(&daemon.sandbox.socket(), "")
            .iter()
            .all(|line| line.code.is_none_or(|code| code.as_str() != "GGEN-E1202")),
        "{}",
        daemon.log()
    );
    daemon.stop();
}

#[test]
fn sigterm_lets_calls_in_flight_finish_and_exits_0() {
    let mut daemon = house(json!({}));
    let mut flights = Vec::new();
    for (server, era) in [("old", Era::Legacy), ("new", Era::Modern)] {
        let mut client = Client::new(daemon.http, server, era);
        flights.push(
            client
                .send_only(
                    "tools/call",
                    json!({ "name": "slow", "arguments": { "ms": 1500 } }),
                )
                .unwrap(),
        );
    }
    until("both calls are in flight", || {
        (daemon.status().in_flight == 2).then_some(())
    });
    // Idle connections must not hold anything up.
    let _idle = Connection::open(daemon.http).unwrap();
    let mut listening = Client::new(daemon.http, "new", Era::Legacy);
    let _stream = listening.listen(None).unwrap();
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM);
    for mut flight in flights {
        let (status, message) = flight.last_message();
        assert_eq!(
            (status, &message["result"]["content"][0]["text"]),
            (200, &json!("Slept 1500 ms")),
            "{message}"
        );
    }
    let status = daemon.wait();
    println!(
        "SIGTERM with calls of 1.5 s in flight: exit after {:?}",
        began.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    assert!(daemon.sandbox.processes(None).is_empty());
    daemon.check_runtime_directory();
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut daemon = house(json!({}));
    let mut client = Client::new(daemon.http, "new", Era::Modern);
    let _flight = client
        .send_only(
            "tools/call",
            json!({ "name": "slow", "arguments": { "ms": 60_000 } }),
        )
        .unwrap();
    until("the call is in flight", || {
        (daemon.status().in_flight == 1).then_some(())
    });
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM);
    until("draining", || {
        (control::status(&daemon.sandbox.socket())?.phase == Phase::Draining).then_some(())
    });
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait();
    println!("second SIGTERM: {status} after {:?}", began.elapsed());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    assert!(daemon.sandbox.processes(None).is_empty());
    daemon.check_runtime_directory();
}

#[test]
fn a_drain_is_bounded_by_its_time_out() {
    let mut daemon = house(json!({ "drain_timeout_ms": 1000 }));
    let mut client = Client::new(daemon.http, "new", Era::Modern);
    let mut flight = client
        .send_only(
            "tools/call",
            json!({ "name": "slow", "arguments": { "ms": 60_000 } }),
        )
        .unwrap();
    until("the call is in flight", || {
        (daemon.status().in_flight == 1).then_some(())
    });
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait();
    println!(
        "drain of 1 s with a call of 60 s: {status} after {:?}; the call got {:?}",
        began.elapsed(),
        flight.answer().map(|answer| answer.head.status)
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    daemon.check_runtime_directory();
}

#[test]
fn a_killed_supervisor_leaves_no_orphan() {
    let mut config = json!({ "mcpServers": { "plain": fixture(&[]) } });
    for fault in ["fork", "ignore-term", "flood-stderr", "hang-on-init"] {
        config["mcpServers"][fault] = fixture(&["--fault", fault]);
    }
    let daemon = daemon(config).start();
    daemon.until_ready(&["plain", "fork", "ignore-term"]);
    let descendants = Client::new(daemon.http, "fork", Era::Modern)
        .tool("descendants", json!({}))
        .text()
        .to_owned();
    let descendants: Vec<u32> = serde_json::from_str(&descendants).unwrap();
    assert_eq!(
        descendants.len(),
        2,
        "one of them with a session of its own"
    );
    assert!(descendants.iter().all(|pid| process::is_alive(*pid)));
    let all = daemon.sandbox.processes(Some(daemon.pid)).len();
    assert!(
        all >= 1 + 4 + 5 + 5 + 2,
        "supervisor, workers, shims, servers, descendants: {all}"
    );
    let took = daemon.kill();
    println!("SIGKILL of the supervisor: all {all} processes gone after {took:?}");
    assert!(descendants.iter().all(|pid| !process::is_alive(*pid)));
}

#[test]
fn a_successor_starts_where_a_killed_supervisor_left_its_socket() {
    let mut first = house(json!({}));
    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(first.sandbox.socket().exists());
    first.restart();
    first.until_ready(&["old", "new"]);
    assert_eq!(
        Client::new(first.http, "old", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .text(),
        "x"
    );
    first.stop();
}

#[test]
fn sighup_with_a_broken_file_changes_nothing_and_with_a_good_one_does() {
    let mut daemon = house(json!({}));
    let traffic = Traffic::start(daemon.http, "new", &ERAS, 2);
    let (before, workers) = (
        upstream_pids(&daemon),
        daemon
            .status()
            .workers
            .iter()
            .map(|worker| worker.pid)
            .collect::<Vec<_>>(),
    );
    for (broken, code) in [
        ("{ \"mcpServers\": ", "GGEN-E1001"),
        ("{ \"sever\": {} }", "GGEN-E1002"),
    ] {
        std::fs::write(daemon.sandbox.config(), broken).unwrap();
        daemon.signal(Signal::SIGHUP);
        until("the refusal is logged", || {
            control::logs(&daemon.sandbox.socket(), "")
                .iter()
                .any(|line| line.code.is_some_and(|known| known.as_str() == code))
                .then_some(())
        });
        traffic.until_answered(50);
        let status = daemon.status();
        assert_eq!(status.generation, 1);
        assert_eq!(
            status
                .workers
                .iter()
                .map(|worker| worker.pid)
                .collect::<Vec<_>>(),
            workers
        );
        assert_eq!(upstream_pids(&daemon), before);
    }
    let servers = json!({ "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]), "more": fixture(&[]) });
    daemon
        .sandbox
        .write_config(&json!({ "server": {}, "mcpServers": servers }));
    daemon.signal(Signal::SIGHUP);
    until("the new generation", || {
        (daemon.status().generation == 2).then_some(())
    });
    until("the new upstream", || {
        daemon
            .status()
            .upstreams
            .iter()
            .any(|upstream| upstream.name == "more")
            .then_some(())
    });
    daemon.until_ready(&["old", "new", "more"]);
    let after = daemon.status().upstreams;
    let pid = |name: &str| {
        after
            .iter()
            .find(|upstream| upstream.name == name)
            .unwrap()
            .pid
    };
    assert!(
        before.contains(&pid("old")) && before.contains(&pid("new")),
        "unchanged entries keep their processes"
    );
    traffic.until_answered(50);
    let ledger = traffic.finish();
    println!("{:#?}", ledger.counts());
    check(&ledger);
    daemon.stop();
}
