//! Stdio servers under the supervisor: they fork, die, are missing, are killed with their shim; and
//! nothing of them is ever left.

use crate::support::{Daemon, config, descendants, eventually, is_gone, script, signal};
use ggen_wire::{
    Code,
    control::{Body, Call, LogQuery},
    status::{Phase, UpstreamState},
};
use nix::sys::signal::Signal;

/// Does not speak MCP, forks, leaves its group, and does not listen to anybody.
const STUBBORN: &str =
    "trap '' TERM HUP INT; setsid sleep 1000 & sleep 1000 & while :; do sleep 0.1; done";

#[test]
fn servers_outlive_a_gateway_worker() {
    let daemon = Daemon::start(&script("quiet", "cat >/dev/null", ""));
    let pid = daemon
        .upstream_when("quiet", "a process", |it| it.pid.is_some())
        .pid;
    let gateway = daemon.worker("gateway-0").pid;
    signal(gateway.unwrap(), Signal::SIGKILL);
    eventually("a new gateway", || {
        let worker = daemon.worker("gateway-0");
        (worker.pid != gateway && worker.phase == Phase::Running).then_some(())
    });
    let after = daemon.upstream("quiet");
    assert_eq!((after.pid, after.restarts), (pid, 0));
}

#[test]
fn a_killed_supervisor_leaves_nothing_of_a_stubborn_server() {
    let mut daemon = Daemon::start(&script("stubborn", STUBBORN, ""));
    let pid = daemon
        .upstream_when("stubborn", "a process", |it| it.pid.is_some())
        .pid
        .unwrap();
    eventually("its children", || {
        (descendants(pid).len() >= 3).then_some(())
    });
    assert!(daemon.note_processes().len() >= 9);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    daemon.assert_nothing_is_left();
}

#[test]
fn sigterm_ends_a_stubborn_server_in_bounded_time() {
    let mut daemon = Daemon::start(&script("stubborn", STUBBORN, ""));
    let pid = daemon
        .upstream_when("stubborn", "a process", |it| it.pid.is_some())
        .pid
        .unwrap();
    eventually("its children", || {
        (descendants(pid).len() >= 3).then_some(())
    });
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    daemon.assert_nothing_is_left();
}

#[test]
fn a_second_sigterm_does_not_wait() {
    let mut daemon = Daemon::start(&script("stubborn", STUBBORN, ""));
    daemon.upstream_when("stubborn", "a process", |it| it.pid.is_some());
    daemon.note_processes();
    let begun = std::time::Instant::now();
    signal(daemon.child.id(), Signal::SIGTERM);
    eventually("the first", || {
        daemon.log().contains("stopping: draining").then_some(())
    });
    signal(daemon.child.id(), Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(begun.elapsed().as_secs() < 4);
    daemon.assert_nothing_is_left();
}

#[test]
fn a_killed_shim_takes_its_server_with_it_and_the_server_comes_back() {
    let mut daemon = Daemon::start(&script("stubborn", STUBBORN, ""));
    let first = daemon
        .upstream_when("stubborn", "a process", |it| it.pid.is_some())
        .pid
        .unwrap();
    let family = eventually("its children", || {
        Some(descendants(first)).filter(|found| found.len() >= 3)
    });
    let all = daemon.note_processes();
    let shim = all
        .into_iter()
        .find(|pid| {
            descendants(*pid).contains(&first) && *pid != first && *pid != daemon.child.id()
        })
        .unwrap();
    signal(shim, Signal::SIGKILL);
    for pid in family {
        eventually("the end of what it left", || is_gone(pid).then_some(()));
    }
    let after = daemon.upstream_when("stubborn", "a new process", |it| {
        it.pid.is_some_and(|pid| pid != first)
    });
    assert_eq!(after.restarts, 1);
    assert!(after.last_exit.unwrap().starts_with("its shim was killed"));
}

#[test]
fn deaths_are_counted_delayed_and_called_a_crash_loop() {
    let servers = [
        script("dies", "echo last words >&2; exit 3", ""),
        script("lives", "cat >/dev/null", ""),
    ]
    .join(",");
    let daemon = Daemon::start(&servers);
    let looping = daemon.upstream_when("dies", "a crash loop", |it| {
        it.state == UpstreamState::CrashLoop
    });
    assert!(looping.restarts >= 4, "{looping:?}");
    assert_eq!(
        (looping.last_exit.as_deref(), looping.code),
        (
            Some("exit status 3: last words"),
            Some(Code::UpstreamExited)
        )
    );
    let status = daemon.status();
    assert_eq!(status.phase, Phase::Degraded);
    assert!(
        status
            .issues
            .iter()
            .any(|issue| issue.code == Code::UpstreamCrashLoop
                && issue.help.contains("--upstream dies")),
        "{status:?}"
    );
    assert_eq!(daemon.upstream("lives").restarts, 0);
    let query = LogQuery {
        upstream: Some("dies".to_owned()),
        category: Some("upstream".to_owned()),
        ..LogQuery::default()
    };
    let Ok(Body::Lines(lines)) = daemon.call(&Call::GetLogs(query)) else {
        panic!("no lines")
    };
    assert!(
        lines
            .iter()
            .all(|line| line.message == "last words" && line.source == "dies")
            && lines.len() >= 5,
        "{lines:?}"
    );
}

#[test]
fn max_restarts_bounds_them_and_a_missing_command_is_said() {
    let servers = [
        script("twice", "exit 1", r#","max_restarts":2"#),
        r#""missing":{"command":"there-is-no-such-command"}"#.to_owned(),
        script("off", "exit 1", r#","enabled":false"#),
    ];
    let daemon = Daemon::start(&servers.join(","));
    let stopped = daemon.upstream_when("twice", "the last restart", |it| {
        it.state == UpstreamState::Stopped
    });
    assert_eq!((stopped.restarts, stopped.next_start_ms), (2, None));
    let missing = daemon.upstream_when("missing", "the reason", |it| {
        it.code == Some(Code::CommandNotFound)
    });
    assert!(missing.last_exit.unwrap().contains("cannot be started"));
    assert_eq!(daemon.upstream("off").state, UpstreamState::Disabled);
    let Ok(Body::Done(_)) = daemon.call(&Call::Restart {
        target: Some("twice".to_owned()),
    }) else {
        panic!("refused")
    };
    daemon.upstream_when("twice", "another round", |it| it.restarts > 2);
}

#[test]
fn a_reload_touches_only_what_changed() {
    let daemon = Daemon::start(
        &[
            script("same", "cat >/dev/null", ""),
            script("other", "cat >/dev/null", ""),
        ]
        .join(","),
    );
    let pid = |name: &str| {
        daemon
            .upstream_when(name, "a process", |it| it.pid.is_some())
            .pid
            .unwrap()
    };
    let (same, other) = (pid("same"), pid("other"));
    let servers = [
        script("same", "cat >/dev/null", ""),
        script("other", "cat >/dev/null; true", ""),
        script("new", "cat >/dev/null", ""),
    ];
    std::fs::write(
        daemon.directory.path().join("mcp.json"),
        config("", &servers.join(",")),
    )
    .unwrap();
    daemon.call(&Call::RELOAD).unwrap();
    daemon.upstream_when("new", "a process", |it| it.pid.is_some());
    daemon.upstream_when("other", "another process", |it| {
        it.pid.is_some_and(|pid| pid != other)
    });
    eventually("the end of the old one", || is_gone(other).then_some(()));
    assert_eq!(daemon.upstream("same").pid, Some(same));
}

#[test]
fn a_server_that_floods_its_stderr_is_bounded() {
    let daemon = Daemon::start(&script("loud", "while :; do echo noise >&2; done", ""));
    eventually("the notice", || {
        let query = LogQuery {
            grep: Some("left out".to_owned()),
            ..LogQuery::default()
        };
        let Ok(Body::Lines(lines)) = daemon.call(&Call::GetLogs(query)) else {
            panic!("no lines")
        };
        (!lines.is_empty()).then_some(())
    });
    assert_eq!(
        daemon
            .status()
            .workers
            .iter()
            .map(|worker| worker.restarts)
            .sum::<u64>(),
        0
    );
}
