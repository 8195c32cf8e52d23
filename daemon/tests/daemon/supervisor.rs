//! The supervisor as a real process: workers that die or hang, signals, exit codes, the control
//! socket.

use crate::support::{
    Client, Daemon, PATIENCE, config, eventually, outcome, script, signal, through_shell,
};
use ggen_wire::{
    Code,
    control::{Body, Call, LogQuery},
    status::Phase,
    varlink::Request,
};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn is_running(pid: Option<u32>, phase: Phase) -> bool {
    pid.is_some() && phase == Phase::Running
}

#[test]
fn the_control_socket_speaks_varlink() {
    let daemon = Daemon::start("");
    assert!(
        daemon
            .line
            .contains(&format!("http://{}/mcp", daemon.address("http"))),
        "{}",
        daemon.line
    );
    assert!(daemon.line.contains(&format!("pid {}", daemon.child.id())));
    let mut client = Client::connect(&daemon.socket());

    let info = client.raw("org.varlink.service.GetInfo", json!({}));
    assert_eq!(info.parameters["product"], "ggend");
    let description = client.raw(
        "org.varlink.service.GetInterfaceDescription",
        json!({ "interface": "io.ggend.Control" }),
    );
    let text = description.parameters["description"].as_str().unwrap();
    assert!(text.contains("interface io.ggend.Control") && text.contains("method GetStatus"));
    assert_eq!(
        client
            .raw("io.ggend.Control.Nope", json!({}))
            .error
            .unwrap(),
        "org.varlink.service.MethodNotFound"
    );
    assert_eq!(
        client.raw("com.example.Other.Do", json!({})).error.unwrap(),
        "org.varlink.service.InterfaceNotFound"
    );
    assert_eq!(
        client
            .raw("io.ggend.Control.Wait", json!({ "timeout_ms": "x" }))
            .error
            .unwrap(),
        "org.varlink.service.InvalidParameter"
    );

    let Ok(Body::Status(status)) = client.call(&Call::Wait { timeout_ms: 10_000 }) else {
        panic!("no status")
    };
    assert_eq!(
        (status.phase, status.generation, status.pid),
        (Phase::Running, 1, daemon.child.id())
    );
    let names: Vec<_> = status
        .workers
        .iter()
        .map(|worker| worker.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "gateway-0",
            "http-0",
            "http-1",
            "websocket-0",
            "websocket-1",
            "quic-0",
            "quic-1",
            "admin-0"
        ]
    );
    assert!(
        status
            .workers
            .iter()
            .all(|worker| is_running(worker.pid, worker.phase)),
        "{status:?}"
    );
    assert!(status.issues.is_empty());

    let Ok(Body::Text(metrics)) = client.call(&Call::GetMetrics {}) else {
        panic!("no metrics")
    };
    assert!(
        metrics.contains("ggend_worker_up{worker=\"http-1\"} 1"),
        "{metrics}"
    );
    let Ok(Body::Value(shown)) = client.call(&Call::GetConfig {}) else {
        panic!("no configuration")
    };
    assert_eq!(shown["server"]["workers"], 2);
    let query = LogQuery {
        grep: Some("worker READY".to_owned()),
        tail: Some(2),
        ..LogQuery::default()
    };
    let Ok(Body::Lines(lines)) = client.call(&Call::GetLogs(query)) else {
        panic!("no lines")
    };
    assert_eq!(lines.len(), 2);
    let failure = client
        .call(&Call::Restart {
            target: Some("nobody".to_owned()),
        })
        .unwrap_err();
    assert_eq!(
        (failure.code, failure.version.as_str()),
        (Code::ServerUnknown, ggen_wire::VERSION)
    );
}

#[test]
fn log_lines_are_followed_as_they_come() {
    let daemon = Daemon::start("");
    let mut client = Client::connect(&daemon.socket());
    let query = LogQuery {
        follow: true,
        tail: Some(0),
        category: Some("auth".to_owned()),
        ..LogQuery::default()
    };
    client.send(&Request::new(&Call::GetLogs(query), true).unwrap());
    assert!(client.receive().continues);
    daemon
        .call(&Call::Restart {
            target: Some("admin".to_owned()),
        })
        .unwrap();
    let reply = client.receive();
    assert!(reply.continues);
    let Ok(Body::Lines(lines)) = outcome(reply) else {
        panic!("no lines")
    };
    assert!(
        lines[0]
            .fields
            .contains(&("verb".to_owned(), "Restart".to_owned())),
        "{lines:?}"
    );
}

#[test]
fn a_killed_worker_has_a_successor_and_the_listener_never_refuses() {
    let daemon = Daemon::start("");
    let address = daemon.address("http");
    let before = daemon.status();
    let victim = daemon.worker("http-0");
    signal(victim.pid.unwrap(), Signal::SIGKILL);
    let after = eventually("a successor", || {
        TcpStream::connect(address).unwrap();
        let worker = daemon.worker("http-0");
        (is_running(worker.pid, worker.phase) && worker.pid != victim.pid).then_some(worker)
    });
    assert_eq!(after.restarts, 1);
    assert_eq!(
        after.last_exit.as_deref(),
        Some("killed by signal 9 (SIGKILL)")
    );
    for name in ["gateway-0", "http-1", "admin-0"] {
        let pid = |status: &ggen_wire::status::Status| {
            status
                .workers
                .iter()
                .find(|worker| worker.name == name)
                .unwrap()
                .pid
        };
        assert_eq!(pid(&before), pid(&daemon.status()));
    }
    let Ok(Body::Text(metrics)) = daemon.call(&Call::GetMetrics {}) else {
        panic!("no metrics")
    };
    assert!(
        metrics.contains("ggend_worker_exits_total{reason=\"signal\",role=\"http\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("ggend_worker_restarts_total{role=\"http\"} 1"),
        "{metrics}"
    );
}

#[test]
fn a_stopped_worker_is_found_out_and_replaced() {
    let daemon = Daemon::start("");
    let victim = daemon.worker("http-1");
    signal(victim.pid.unwrap(), Signal::SIGSTOP);
    let begun = Instant::now();
    let after = eventually("a successor", || {
        Some(daemon.worker("http-1"))
            .filter(|it| is_running(it.pid, it.phase) && it.pid != victim.pid)
    });
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let why = after.last_exit.unwrap();
    assert!(
        why.starts_with("sent no beats, killed by signal 6"),
        "{why}"
    );
    eventually("the reason in the log", || {
        daemon.log().contains("GGEN-E1202").then_some(())
    });
}

#[test]
fn a_gateway_that_dies_does_not_take_the_edges_with_it() {
    let daemon = Daemon::start("");
    let (gateway, edge) = (daemon.worker("gateway-0"), daemon.worker("http-0"));
    signal(gateway.pid.unwrap(), Signal::SIGKILL);
    eventually("a successor", || {
        Some(daemon.worker("gateway-0"))
            .filter(|it| is_running(it.pid, it.phase) && it.pid != gateway.pid)
    });
    assert_eq!(daemon.worker("http-0").pid, edge.pid);
}

#[test]
fn sigterm_ends_everything_with_zero_and_leaves_no_file() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    daemon.assert_nothing_is_left();
    assert_eq!(
        std::fs::read_dir(daemon.directory.path().join("run"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_killed_supervisor_leaves_no_worker() {
    let mut daemon = Daemon::start("");
    assert!(daemon.note_processes().len() >= 5);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    daemon.assert_nothing_is_left();
}

#[test]
fn stop_tells_its_progress_until_nothing_is_left() {
    let mut daemon = Daemon::start("");
    daemon.note_processes();
    let mut client = Client::connect(&daemon.socket());
    client.send(
        &Request::new(
            &Call::Stop {
                force: false,
                target: None,
            },
            true,
        )
        .unwrap(),
    );
    let mut said = Vec::new();
    loop {
        let reply = client.receive();
        let continues = reply.continues;
        let Ok(Body::Done(text)) = outcome(reply) else {
            panic!("no progress")
        };
        said.push(text);
        if !continues {
            break;
        }
    }
    assert_eq!(said.last().map(String::as_str), Some("stopped"));
    assert!(said[0].ends_with("connections draining"), "{said:?}");
    assert_eq!(daemon.wait().code(), Some(0));
    daemon.assert_nothing_is_left();
}

#[test]
fn a_taken_port_is_said_with_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("mcp.json"),
        format!(r#"{{"transports":{{"http":{{"port":{port}}}}},"metrics":{{"port":0}}}}"#),
    )
    .unwrap();
    let output = Daemon::command(directory.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(
        text.contains("GGEN-E1101") && text.contains(&format!("port {port}")),
        "{text}"
    );
    assert!(
        text.contains(&format!("by pid {}", std::process::id())),
        "{text}"
    );
    assert_eq!(
        std::fs::read_dir(directory.path().join("run"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_second_daemon_does_not_disturb_the_first() {
    let daemon = Daemon::start("");
    let output = Daemon::command(daemon.directory.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("GGEN-E6004"), "{text}");
    assert_eq!(daemon.status().phase, Phase::Running);
}

#[test]
fn a_wrong_command_line_and_a_wrong_configuration_have_their_exit_codes() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ggend"))
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(run(&["--no-such-flag"]), Some(64));
    assert_eq!(run(&["--version"]), Some(0));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mcp.json"), "{").unwrap();
    assert_eq!(
        Daemon::command(directory.path())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .code(),
        Some(78)
    );
}

#[test]
fn a_reload_replaces_the_workers_or_says_why_not() {
    let daemon = Daemon::start("");
    let file = daemon.directory.path().join("mcp.json");
    let before = daemon.status();
    let Ok(Body::Done(text)) = daemon.call(&Call::RELOAD) else {
        panic!("refused")
    };
    assert!(text.starts_with("no change"), "{text}");

    std::fs::write(&file, "{").unwrap();
    assert_eq!(
        daemon.call(&Call::RELOAD).unwrap_err().code,
        Code::ConfigSyntax
    );
    assert_eq!(
        daemon
            .status()
            .workers
            .iter()
            .map(|it| it.pid)
            .collect::<Vec<_>>(),
        before.workers.iter().map(|it| it.pid).collect::<Vec<_>>()
    );

    std::fs::write(&file, config(r#""server":{"workers":3},"#, "")).unwrap();
    let Ok(Body::Done(text)) = daemon.call(&Call::RELOAD) else {
        panic!("refused")
    };
    assert_eq!(text, "generation 2 in force");
    let after = daemon.status_when("three http workers", |status| {
        let http = status.workers.iter().filter(|worker| worker.role == "http");
        http.clone().count() == 3
            && status
                .workers
                .iter()
                .all(|worker| worker.phase == Phase::Running && worker.generation == 2)
    });
    assert_eq!(after.listeners, before.listeners);
}

#[test]
fn the_service_manager_is_told_and_its_sockets_are_used() {
    let directory = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // The shell puts the socket where systemd does, and is replaced by the daemon under the process
    // id that it has named.
    let text = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http WATCHDOG_PID=$$ WATCHDOG_USEC=200000";
    let mut daemon = Daemon::start_with(&config("", ""), |command| {
        *command = through_shell(command, text);
        command
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
            .env("NOTIFY_SOCKET", directory.path().join("notify"));
    });
    let listener = daemon
        .status()
        .listeners
        .into_iter()
        .find(|listener| listener.transport == "http")
        .unwrap();
    assert_eq!(
        (listener.address, listener.origin.as_str()),
        (address.to_string(), "inherited")
    );
    let mut received = String::new();
    let mut until = |wanted: &str| {
        while !received.contains(wanted) {
            let mut bytes = [0; 4096];
            let count = manager.recv(&mut bytes).unwrap();
            received.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            received.push('\n');
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    assert!(daemon.terminate().success());
    until("STOPPING=1");
}

#[test]
fn edge_workers_raise_their_limit_of_open_files_and_nobody_else_does() {
    let daemon = Daemon::start_with(
        &config("", &script("idle", "exec sleep 1000", "")),
        |command| *command = through_shell(command, "ulimit -Sn 300"),
    );
    let limit = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .unwrap();
        let mut columns = line.split_whitespace().map(ToOwned::to_owned);
        (columns.next().unwrap(), columns.next().unwrap())
    };
    let (soft, hard) = limit(daemon.child.id());
    assert_eq!(soft, "300");
    let status = daemon.status_when("every worker runs, and the server", |status| {
        status
            .workers
            .iter()
            .all(|worker| worker.phase == Phase::Running)
            && status.upstreams[0].pid.is_some()
    });
    for worker in &status.workers {
        let wanted = match worker.role.as_str() {
            "http" | "websocket" | "quic" => hard.as_str(),
            _ => "300",
        };
        assert_eq!(limit(worker.pid.unwrap()).0, wanted, "{}", worker.name);
    }
    assert_eq!(limit(status.upstreams[0].pid.unwrap()).0, "300");
}

#[test]
fn an_inherited_admin_socket_that_others_can_reach_asks_who_they_are() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    // The configuration says loopback; what the service manager gives is another matter.
    let text = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=admin";
    let daemon = Daemon::start_with(&config("", ""), |command| {
        *command = through_shell(command, text);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
    });
    let status = daemon.status_when("the admin worker runs", |status| {
        status
            .workers
            .iter()
            .any(|worker| worker.role == "admin" && worker.phase == Phase::Running)
    });
    let admin = status
        .listeners
        .iter()
        .find(|listener| listener.transport == "admin")
        .unwrap();
    assert_eq!((admin.port, admin.origin.as_str()), (port, "inherited"));
    for path in ["/metrics", "/health"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
}

#[test]
fn localhost_without_ipv6_is_served_at_127_0_0_1_alone_and_the_log_says_so() {
    let rooms = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6";
    let try_out = format!("unshare -n sh -c '{rooms}'");
    let can = std::process::Command::new("sh")
        .args(["-c", &try_out])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        println!("skipped: needs root and ip(8) for a network without IPv6");
        return;
    }
    let at = r#""host":"localhost","port":0"#;
    let config = format!(
        r#"{{"transports":{{"http":{{{at},"ssl":{{"port":0}}}},"quic":{{{at}}}}},"metrics":{{{at}}},"mcpServers":{{}}}}"#
    );
    let text = format!("exec unshare -n sh -c '{rooms}; exec \"$0\" \"$@\"' \"$0\" \"$@\"");
    let mut daemon =
        Daemon::start_with(&config, |command| *command = through_shell(command, &text));
    let rows = daemon.status().listeners;
    let names: Vec<_> = rows.iter().map(|row| row.transport.as_str()).collect();
    assert_eq!(names, ["http", "https", "admin", "quic"], "{rows:?}");
    assert!(rows.iter().all(|row| row.address.starts_with("127.0.0.1:")));
    for name in names {
        let line = format!("{name} does not listen at ::1, which this host does not have");
        eventually(&line, || daemon.log().contains(&line).then_some(()));
    }
    // A reload finds what there is.
    assert!(daemon.call(&Call::RELOAD).is_ok());
    assert_eq!(daemon.status().listeners, rows);
    assert!(daemon.terminate().success());
}
