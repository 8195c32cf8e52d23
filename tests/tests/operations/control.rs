//! `ggen` against a real daemon: exit codes and the lines that people look for.

use ggen_wire::status::UpstreamState;
use ggend_tests::*;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

fn house() -> Daemon {
    let daemon = daemon(json!({ "mcpServers": { "fix": fixture(&["--tools", "3"]) } })).start();
    daemon.until_ready(&["fix"]);
    daemon
}

/// The exit code, and that stdout holds each of these.
#[track_caller]
fn says(ran: &Ran, code: i32, lines: &[&str]) {
    assert_eq!(ran.code, code, "{ran:#?}");
    for line in lines {
        assert!(ran.stdout.contains(line), "no {line:?} in {ran:#?}");
    }
}

fn value(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

#[test]
fn status_shows_workers_upstreams_and_what_is_wrong() {
    let daemon = house();
    let address = daemon.http.to_string();
    let began = Instant::now();
    let ran = daemon.ggen(&["mcp", "server", "status"]);
    println!("status took {:?}", began.elapsed());
    says(
        &ran,
        0,
        &[
            "MCP Server Status: Running",
            &format!("PID: {}", daemon.pid),
            &address,
            "gateway-0",
            "http-1",
            "admin-0",
            "fix",
            "ready",
        ],
    );
    // The gateway's count of tools comes with its next beat.
    let status = until("the tools are counted", || {
        let status = value(&daemon.ggen(&["mcp", "server", "status", "--format", "json"]));
        (status["tools"].as_u64() > Some(9)).then_some(status)
    });
    assert_eq!(
        (&status["phase"], &status["pid"]),
        (&json!("running"), &json!(daemon.pid))
    );
    assert_eq!(status["tools"], json!(50 + 3 + 9));
    let metrics = value(&daemon.ggen(&["mcp", "server", "status", "--metrics"]));
    assert!(metrics["metrics"].as_array().unwrap().len() > 10);
    daemon.stop();

    let unwell = ggend_tests::daemon(
        json!({ "mcpServers": { "gone": { "command": "/nonexistent/server" } } }),
    )
    .start();
    unwell.until_upstream("gone", |gone| gone.state == UpstreamState::CrashLoop);
    says(
        &unwell.ggen(&["mcp", "server", "status"]),
        1,
        &["Degraded", "GGEN-E2106", "ggen mcp"],
    );
    unwell.stop();
}

#[test]
fn calls_in_flight_are_counted_and_open_streams_are_not() {
    let daemon = house();
    let mut client = Client::new(daemon.http, "fix", Era::Legacy);
    let stream = client.listen(None).unwrap();
    let call = client
        .send_only(
            "tools/call",
            json!({ "name": "slow", "arguments": { "ms": 60_000 } }),
        )
        .unwrap();
    daemon.until_upstream("fix", |fix| fix.in_flight == 1);
    assert_eq!(daemon.status().in_flight, 1, "the open stream is no call");
    drop((call, stream));
    assert_eq!(client.delete().unwrap(), 204);
    daemon.until_upstream("fix", |fix| fix.in_flight == 0);
    daemon.stop();
}

#[test]
fn tools_are_listed_described_and_called() {
    let daemon = house();
    let list = daemon.ggen(&["mcp", "list"]);
    says(
        &list,
        0,
        &["fix__echo", "server-status", "fix__extra_tool_3"],
    );
    says(
        &daemon.ggen(&["mcp", "list", "--server", "fix", "--search", "echo"]),
        0,
        &["fix__echo"],
    );
    says(
        &daemon.ggen(&["mcp", "status", "fix__echo", "--schema"]),
        0,
        &["fix__echo", "message"],
    );
    says(
        &daemon.ggen(&[
            "mcp",
            "test",
            "fix__echo",
            "--args",
            r#"{"message":"over the socket"}"#,
        ]),
        0,
        &["over the socket"],
    );
    assert_eq!(
        daemon
            .ggen(&["mcp", "test", "fix__test_error_handling"])
            .code,
        1
    );
    let unknown = daemon.ggen(&["mcp", "test", "fix__nobody"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("GGEN-E3012"),
        "{unknown:#?}"
    );
    assert_eq!(
        daemon
            .ggen(&["mcp", "test", "fix__echo", "--args", "{"])
            .code,
        2
    );
    assert_eq!(daemon.ggen(&["mcp", "no-such-verb"]).code, 2);
    daemon.stop();
}

#[test]
fn logs_come_from_the_daemon_its_workers_and_its_servers() {
    let daemon = daemon(json!({ "logging": { "audit": true }, "mcpServers": { "fix": fixture(&["--fault", "fork"]) } })).start();
    daemon.until_ready(&["fix"]);
    says(
        &daemon.ggen(&["mcp", "server", "logs"]),
        0,
        &[
            "worker ready",
            "upstream started",
            "fixture: started descendant",
        ],
    );
    let one = daemon.ggen(&[
        "mcp",
        "server",
        "logs",
        "--upstream",
        "fix",
        "--category",
        "upstream",
    ]);
    says(&one, 0, &["fixture: started descendant"]);
    assert!(!one.stdout.contains("worker ready"), "{one:#?}");
    let worker = daemon.worker_pid("http-0").unwrap();
    process::signal(worker, nix::sys::signal::Signal::SIGKILL);
    daemon.until_replaced("http-0", worker);
    says(
        &daemon.ggen(&["mcp", "server", "logs", "--grep", "SIGKILL"]),
        0,
        &["worker died", "GGEN-E1201"],
    );
    // One call among others.
    let mut client = Client::new(daemon.http, "fix", Era::Legacy);
    let ids: Vec<String> = (0..2)
        .map(|_| {
            client
                .tool("echo", json!({ "message": "x" }))
                .messages
                .pop()
                .unwrap()
                .value["id"]
                .to_string()
        })
        .collect();
    let of = |id: &str| {
        daemon
            .ggen(&["mcp", "server", "logs", "--call", id, "--json"])
            .stdout
            .lines()
            .count()
    };
    until("the record of the call", || {
        (of(&ids[1]) == 1).then_some(())
    });
    assert_eq!(of("0123456789"), 0);
    daemon.stop();
}

#[test]
fn wait_ends_when_every_upstream_has_settled() {
    let daemon =
        daemon(json!({ "mcpServers": { "slow": fixture(&["--delay-start-ms", "1500"]) } })).start();
    let early = daemon.ggen(&["mcp", "server", "wait", "--timeout", "0.2"]);
    says(&early, 1, &["still starting: slow"]);
    says(
        &daemon.ggen(&["mcp", "server", "wait", "--timeout", "30"]),
        0,
        &["ready"],
    );
    assert_eq!(daemon.upstream("slow").state, UpstreamState::Ready);
    daemon.stop();
}

#[test]
fn restart_replaces_what_it_names_and_nothing_else() {
    let daemon = house();
    let pids = |daemon: &Daemon| {
        (
            daemon.worker_pid("gateway-0"),
            daemon.worker_pid("http-0"),
            daemon.worker_pid("http-1"),
            daemon.upstream("fix").pid,
        )
    };
    let before = pids(&daemon);
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "fix"])
            .code,
        0
    );
    daemon.until_upstream("fix", |fix| {
        fix.state == UpstreamState::Ready && fix.pid != before.3
    });
    let between = pids(&daemon);
    assert_eq!(
        (between.0, between.1, between.2),
        (before.0, before.1, before.2)
    );
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "http"])
            .code,
        0
    );
    daemon.until_replaced("http-0", before.1.unwrap());
    daemon.until_replaced("http-1", before.2.unwrap());
    let after = pids(&daemon);
    assert_eq!((after.0, after.3), (between.0, between.3));
    assert!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "nobody"])
            .code
            != 0
    );
    daemon.stop();
}

#[test]
fn a_rolling_restart_of_the_http_workers_loses_no_call() {
    let daemon = house();
    let traffic = traffic::Traffic::start(daemon.http, "fix", &[Era::Modern, Era::Legacy], 3);
    traffic.until_answered(50);
    for _ in 0..5 {
        assert_eq!(
            daemon
                .ggen(&["mcp", "server", "restart", "--server", "http"])
                .code,
            0
        );
        traffic.until_answered(100);
    }
    let ledger = traffic.finish();
    assert_eq!(
        ledger.count(|outcome| *outcome != traffic::Outcome::Answered),
        0,
        "{:#?}",
        ledger.counts()
    );
    daemon.stop();
}

#[test]
fn stop_drains_and_returns_when_nothing_is_left() {
    let mut daemon = house();
    let mut client = Client::new(daemon.http, "fix", Era::Modern);
    let mut flight = client
        .send_only(
            "tools/call",
            json!({ "name": "slow", "arguments": { "ms": 2000 } }),
        )
        .unwrap();
    until("the call is in flight", || {
        (daemon.status().in_flight == 1).then_some(())
    });
    // The supervisor is this test's child: it has to be reaped for `ggen` to see that its process
    // is gone.
    let ran = std::thread::scope(|scope| {
        let command = daemon
            .sandbox
            .command("ggen")
            .args(["mcp", "server", "stop"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stopping = scope.spawn(move || command.wait_with_output().unwrap());
        assert!(daemon.wait().success());
        stopping.join().unwrap()
    });
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(
        ran.status.success()
            && stdout.contains("Stopped successfully")
            && stdout.contains("draining"),
        "{stdout}"
    );
    assert_eq!(
        flight.last_message().1["result"]["content"][0]["text"],
        "Slept 2000 ms"
    );
    assert!(daemon.sandbox.processes(None).is_empty());
    daemon.check_runtime_directory();
    says(&daemon.ggen(&["mcp", "server", "status"]), 3, &["Stopped"]);
    assert_eq!(daemon.ggen(&["mcp", "server", "stop"]).code, 0);
    let list = daemon.ggen(&["mcp", "list"]);
    assert!(
        list.code == 3 && list.stderr.contains("GGEN-E6001"),
        "{list:#?}"
    );
}

#[test]
fn a_daemon_started_in_the_background_is_found_and_stopped() {
    let daemon = ggend_tests::daemon(Value::Null).idle();
    says(
        &daemon.ggen(&["mcp", "server", "start"]),
        0,
        &["MCP server started successfully", "PID: "],
    );
    says(
        &daemon.ggen(&["mcp", "server", "start"]),
        0,
        &["MCP server is already running"],
    );
    says(&daemon.ggen(&["mcp", "server", "status"]), 0, &["Running"]);
    says(
        &daemon.ggen(&["mcp", "test", "server-status"]),
        0,
        &["running"],
    );
    says(
        &daemon.ggen(&["mcp", "server", "stop"]),
        0,
        &["Stopped successfully"],
    );
    until("nothing is left", || {
        daemon.sandbox.processes(None).is_empty().then_some(())
    });
}

#[test]
fn a_second_daemon_refuses_the_same_socket_and_the_same_port() {
    let first = house();
    let mut command = first.sandbox.command("ggend");
    let second = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(69), "{stderr}");
    assert!(stderr.contains("GGEN-E6004"), "{stderr}");
    assert_eq!(
        Client::new(first.http, "fix", Era::Modern)
            .tool("echo", json!({ "message": "x" }))
            .text(),
        "x"
    );

    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let mut other = ggend_tests::daemon(Value::Null)
        .argument("--port")
        .argument(&port)
        .spawn();
    let status = other.wait();
    let log = other.log();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(log.contains("GGEN-E1101") && log.contains(&port), "{log}");
    other.check_runtime_directory();
    first.stop();
}

#[test]
fn a_wrong_configuration_ends_with_78_and_the_place_of_the_mistake() {
    let mut daemon = ggend_tests::daemon(json!({ "sever": { "workers": 2 } })).spawn();
    let status = daemon.wait();
    let log = daemon.log();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(
        log.contains("GGEN-E1002") && log.contains("mcp.json:2:") && log.contains("server"),
        "{log}"
    );
    daemon.check_runtime_directory();
}

#[test]
fn the_control_socket_outlives_whoever_talks_nonsense_to_it() {
    use std::io::{Read, Write};
    let daemon = house();
    let socket = daemon.sandbox.socket();
    for nonsense in [
        &b"\0"[..],
        b"{}\0",
        b"{\"method\":\"io.ggend.Control.NoSuch\"}\0",
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"\xff\xfe\0",
        b"[1]\0",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut answer = [0; 4096];
        // An error, or the end of the connection; never silence.
        let count = stream.read(&mut answer).unwrap();
        println!(
            "{:?} → {}",
            String::from_utf8_lossy(nonsense),
            String::from_utf8_lossy(&answer[..count])
        );
    }
    let half: Vec<_> = (0..40)
        .filter_map(|_| std::os::unix::net::UnixStream::connect(&socket).ok())
        .collect();
    drop(half);
    assert_eq!(daemon.ggen(&["mcp", "server", "status"]).code, 0);
    daemon.stop();
}

#[test]
fn silent_control_connections_keep_nobody_out() {
    let daemon = house();
    let socket = daemon.sandbox.socket();
    let silent: Vec<_> = (0..200)
        .filter_map(|_| std::os::unix::net::UnixStream::connect(&socket).ok())
        .collect();
    assert!(silent.len() > 64);
    within(Duration::from_secs(25), || {
        (daemon.ggen(&["mcp", "server", "status"]).code == 0).then_some(())
    })
    .expect("the operator is served although the others say nothing");
    drop(silent);
    daemon.stop();
}

#[test]
fn a_servers_words_steer_no_terminal() {
    // ESC, C1, and a change of direction, on standard error.
    let script = format!(
        r"printf '\033]0;x\007\302\2332J\342\200\256 evil\n' >&2; exec {}",
        sandbox::binary("ggend-fixture").display()
    );
    let entry = json!({ "command": "sh", "args": ["-c", script] });
    let mut daemon = daemon(Value::Null).idle();
    let file = daemon.sandbox.path("output/evil.log");
    daemon = daemon.begin(&json!({
        "logging": { "file": { "path": file } },
        "mcpServers": { "evil": entry },
    }));
    daemon.until_ready(&["evil"]);
    let acts = |c: char| ggen_wire::escape::acts(c) && c != '\n';
    for line in [
        &["mcp", "server", "logs"][..],
        &["mcp", "server", "logs", "--json"],
    ] {
        let ran = until("the line", || {
            let ran = daemon.ggen(line);
            ran.stdout.contains(" evil").then_some(ran)
        });
        assert!(!ran.stdout.contains(acts), "{line:?}: {:?}", ran.stdout);
    }
    let written = until("the line in the file", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains(r"\u{9b}").then_some(text)
    });
    assert!(!written.contains(acts), "{written:?}");
    let log = daemon.stop();
    assert!(log.contains(r"\u{202e}") && !log.contains(acts), "{log:?}");
}
