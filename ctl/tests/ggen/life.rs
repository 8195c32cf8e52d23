//! Starting and stopping: real processes in the daemon's place.

use crate::support::{Fake, Play, Ran, Sandbox, message, reply, script, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getsid},
};
use std::{
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

fn start(sandbox: &Sandbox, daemon: &str, line: &str) -> Ran {
    Ran::of(
        sandbox,
        sandbox.command(line).env("GGEN_DAEMON", script(daemon)),
    )
}

// The pid and the arguments that `ggend-runs` was started with, once it has said so.
fn started(directory: &std::path::Path) -> (Pid, String) {
    let text = until("the start", || {
        std::fs::read_to_string(directory.join("started")).ok()
    });
    let (pid, arguments) = text
        .trim_end()
        .split_once(' ')
        .unwrap_or((text.trim_end(), ""));
    (Pid::from_raw(pid.parse().unwrap()), arguments.to_owned())
}

#[test]
fn a_daemon_that_runs_is_not_started_twice() {
    let fake = Fake::recorded("");
    let ran = start(&fake.sandbox, "ggend-mute", "mcp server start");
    ran.fails(0, "");
    assert_eq!(
        ran.stdout,
        "MCP server is already running\n  PID: 12345\n  Address: 127.0.0.1:3000\n  Port: 3000\n"
    );
    assert_eq!(
        start(
            &fake.sandbox,
            "ggend-mute",
            "mcp server start --server http"
        )
        .stdout
        .lines()
        .next(),
        Some("http is already running")
    );
}

#[test]
fn one_stopped_upstream_is_started_alone() {
    let fake = Fake::recorded("-degraded");
    let ran = fake.ggen("mcp server start --server old");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("Starting old...\nold started successfully\n", 0)
    );
    assert_eq!(fake.methods(), ["GetStatus", "Start"]);
}

#[test]
fn a_start_is_detached_and_ends_when_the_daemon_serves() {
    let sandbox = Sandbox::new();
    let mut command = sandbox
        .command("mcp server start --port 3001 --verbose --debug --config c.json --timeout 20");
    command
        .env("GGEN_DAEMON", script("ggend-runs"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let (pid, arguments) = started(sandbox.directory.path());
    assert_eq!(arguments, "--verbose --debug --config c.json --port 3001");
    assert_eq!(getsid(Some(pid)), Ok(pid), "it leads a session of its own");
    // First it is not there, then it is starting, then it serves.
    let mut asked = 0;
    let listener = UnixListener::bind(sandbox.socket()).unwrap();
    let fake = Fake::on(sandbox, listener, move |request| {
        asked += 1;
        let status = reply(request, "").replace("12345", &pid.to_string());
        Play::Send(message(&if asked < 3 {
            status.replace(r#""phase": "running""#, r#""phase": "starting""#)
        } else {
            status
        }))
    });
    let output = child.wait_with_output().unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        stdout,
        format!(
            "Starting MCP server...\nMCP server started successfully\n  PID: {pid}\n  Port: 3000\n"
        )
    );
    assert!(output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("waiting for a lock"),
        "--verbose shows what the daemon wrote"
    );
    assert!(fake.methods().len() >= 3);
}

#[test]
fn a_start_that_fails_gives_the_daemons_own_reason() {
    let sandbox = Sandbox::new();
    std::fs::write(
        sandbox.path("ggend.log"),
        "error[GGEN-E1001]: of an earlier start\n",
    )
    .unwrap();
    let ran = start(&sandbox, "ggend-refuses", "mcp server start");
    ran.fails(69, "error[GGEN-E1101]: port 3000 is taken by nginx (pid 812)\nhelp: ggen mcp server start --port 3001");
    assert_eq!(ran.stdout, "Starting MCP server...\n");
    let json = start(&sandbox, "ggend-refuses", "mcp server start --json");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json.stdout).unwrap()["error"]["code"],
        "GGEN-E1101"
    );
}

#[test]
fn of_two_starts_the_slower_one_waits_for_the_others_daemon() {
    let mut asked = 0;
    let fake = Fake::new(move |request| {
        asked += 1;
        // At first it looks as if nobody were there.
        if asked == 1 {
            return Play::Send(message(
                r#"{"error":"io.ggend.Control.Failed","parameters":{"code":"GGEN-E6001","message":"","help":""}}"#,
            ));
        }
        let status = reply(request, "");
        Play::Send(message(&if asked < 9 {
            status.replace(r#""phase": "running""#, r#""phase": "starting""#)
        } else {
            status
        }))
    });
    let ran = start(&fake.sandbox, "ggend-second", "mcp server start");
    ran.fails(0, "");
    assert_eq!(
        ran.stdout,
        "Starting MCP server...\nMCP server started successfully\n  PID: 12345\n  Port: 3000\n"
    );
}

#[test]
fn a_start_that_fails_without_a_word_says_so() {
    let ran = start(&Sandbox::new(), "ggend-mute", "mcp server start");
    ran.fails(1, "error: ggend ended (exit status: 70) and wrote nothing to {dir}/ggend.log\nhelp: ggen mcp server start --foreground");
    assert!(
        start(&Sandbox::new(), "no-such-file", "mcp server start")
            .stderr
            .contains("cannot be run: No such file")
    );
}

#[test]
fn a_start_that_takes_too_long_says_what_the_daemon_wrote_last() {
    let sandbox = Sandbox::new();
    let ran = start(&sandbox, "ggend-runs", "mcp server start --timeout 1");
    let (pid, _) = started(sandbox.directory.path());
    kill(pid, Signal::SIGKILL).unwrap();
    assert_eq!(ran.code, 69);
    let expected = format!(
        "error[GGEN-E6005]: Connection timeout: ggend (pid {pid}) is running but does not serve after 1 s; \
         it last wrote: waiting for a lock that is an ERROR to wait for\n"
    );
    assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
}

#[test]
fn stop_shows_the_drain_and_ends_when_the_process_is_gone() {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    let child = Arc::new(Mutex::new(child));
    let victim = Arc::clone(&child);
    let fake = Fake::new(move |request| {
        if request.method.ends_with("GetStatus") {
            return Play::Send(message(
                &reply(request, "").replace("12345", &pid.to_string()),
            ));
        }
        assert!(request.more);
        victim.lock().unwrap().kill().unwrap();
        Play::SendAndClose(message(
            r#"{"parameters":{"version":"@VERSION@","done":"3 connections draining"},"continues":true}"#,
        ))
    });
    let ran = fake.ggen("mcp server stop");
    ran.fails(0, "");
    assert_eq!(
        ran.stdout,
        "Stopping MCP server...\n  3 connections draining\nStopped successfully\n"
    );
    child.lock().unwrap().wait().unwrap();
}

#[test]
fn stop_does_not_claim_what_is_not_so() {
    let own = std::process::id();
    let fake = Fake::new(move |request| {
        let status = reply(
            &ggen_wire::varlink::Request {
                method: "x.GetStatus".to_owned(),
                ..request.clone()
            },
            "",
        )
        .replace("12345", &own.to_string());
        if request.method.ends_with("GetStatus") {
            Play::Send(message(&status))
        } else {
            Play::SendAndClose(message(
                r#"{"parameters":{"version":"@VERSION@","done":"0"}}"#,
            ))
        }
    });
    let ran = fake.ggen("mcp server stop --timeout 0.1");
    ran.fails(1, &format!("error: the daemon (pid {own}) is still running after 100 ms\nhelp: ggen mcp server stop --force"));
}

#[test]
fn stopping_a_stopped_daemon_is_done_already() {
    let ran = Sandbox::new().ggen("mcp server stop");
    assert_eq!(
        (ran.stdout.as_str(), ran.code),
        ("MCP server is not running\n", 0)
    );
}

#[test]
fn an_operator_verb_that_is_refused_is_exit_code_4() {
    let fake = Fake::new(|request| {
        if request.method.ends_with("GetStatus") {
            return Play::Send(message(&reply(request, "")));
        }
        Play::Send(message(
            r#"{"error":"io.ggend.Control.Failed","parameters":{"version":"@VERSION@","code":"GGEN-E6002","message":"Permission denied: uid 1000 may look, not change","help":"sudo ggen mcp server stop"}}"#,
        ))
    });
    fake.ggen("mcp server stop")
        .fails(4, "error[GGEN-E6002]: Permission denied: uid 1000 may look, not change\nhelp: sudo ggen mcp server stop");
}
