//! `ggen mcp server log-level`: what is logged changes in every process at once, and changes back
//! by itself.

use ggend_tests::*;
use serde_json::Value;
use std::time::Duration;

/// A request that an http worker logs at level debug, category transport, as its path.
fn knock(daemon: &Daemon, name: &str) -> bool {
    Connection::once(daemon.http, "GET", &format!("/{name}"), &[], b"").unwrap();
    let seen = || {
        (!control::logs(&daemon.sandbox.socket(), &format!("path=/{name}")).is_empty())
            .then_some(())
    };
    within(Duration::from_millis(300), seen).is_some() || {
        let lines = control::logs(&daemon.sandbox.socket(), "request");
        lines.iter().any(|line| {
            line.fields
                .iter()
                .any(|(_, value)| *value == format!("/{name}"))
        })
    }
}

#[test]
fn debug_lines_of_a_category_come_and_go() {
    let daemon = daemon(Value::Null).start();
    assert!(!knock(&daemon, "before"));
    let ran = daemon.ggen(&[
        "mcp",
        "server",
        "log-level",
        "transport=debug",
        "--for",
        "3s",
    ]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "transport logs at debug for 3 s\n"),
        "{ran:?}"
    );
    let mut number = 0;
    let next = |number: &mut u32| {
        *number += 1;
        format!("during-{number}")
    };
    within(Duration::from_secs(1), || {
        knock(&daemon, &next(&mut number)).then_some(())
    })
    .expect("debug lines within a second");
    let verbose = daemon
        .ggen(&["mcp", "server", "status", "--verbose"])
        .stdout;
    assert!(
        verbose.contains("Log level of transport: debug, for another "),
        "{verbose}"
    );
    assert!(
        daemon
            .status()
            .log_levels
            .iter()
            .all(|held| held.category == "transport")
    );
    until("the configured level is in force again", || {
        (!knock(&daemon, &next(&mut number))).then_some(())
    });
    assert!(daemon.status().log_levels.is_empty());

    // Without --for it stays, until it is taken back; a worker that starts meanwhile has it too.
    assert_eq!(
        daemon.ggen(&["mcp", "server", "log-level", "debug"]).code,
        0
    );
    assert_eq!(
        daemon
            .ggen(&["mcp", "server", "restart", "--server", "http"])
            .code,
        0
    );
    until("new workers log at debug", || {
        knock(&daemon, &next(&mut number)).then_some(())
    });
    assert_eq!(
        daemon.ggen(&["mcp", "server", "log-level", "default"]).code,
        0
    );
    until("the configured level is in force again", || {
        (!knock(&daemon, &next(&mut number))).then_some(())
    });
    let refused = daemon.ggen(&["mcp", "server", "log-level", "noise=debug"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("no log category is called `noise`"),
        "{refused:?}"
    );
    daemon.stop();
}

#[test]
fn the_verbose_status_shows_limits_and_listeners() {
    let daemon = daemon(Value::Null).start();
    let text = daemon
        .ggen(&["mcp", "server", "status", "--verbose"])
        .stdout;
    for line in [
        "Transports:",
        "Limits:",
        "  transports.http.timeout_ms: 10000",
        "  server.workers: 2",
        "  Draining generations: none",
        "Slow operations: none",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    daemon.stop();
}
