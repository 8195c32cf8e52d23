//! How servers start: slow ones are waited for and shown, those that crash delay nobody, and what is
//! said of a death is its cause.

use ggen_wire::{Code, status::UpstreamState};
use ggend_tests::*;
use serde_json::{Value, json};
use std::time::Instant;

/// A server that writes this to standard error, and exits.
fn dies_of(text: &str) -> Value {
    json!({ "command": "sh", "args": ["-c", format!("printf '%b' '{text}' >&2; exit 1")] })
}

#[test]
fn slow_servers_are_shown_while_they_start_and_are_not_ended_for_it() {
    let slow = |era: &str| {
        let mut slow = fixture(&["--delay-start-ms", "4500"]);
        slow["era"] = json!(era);
        slow
    };
    let servers =
        json!({ "auto": slow("auto"), "modern": slow("modern"), "legacy": slow("legacy") });
    let daemon =
        daemon(json!({ "mcpServers": servers, "server": { "start_concurrency": 3 } })).start();
    let row = daemon.until_upstream("modern", |row| row.starting_ms >= Some(2000));
    assert!(row.state_text().starts_with("starting "), "{row:?}");
    assert_eq!(row.last_line.as_deref(), Some("fixture: starts in 4500 ms"));
    let said = daemon.ggen(&["mcp", "server", "status"]).stdout;
    let line = said.lines().find(|line| line.contains("modern"));
    assert!(
        line.is_some_and(|line| line.contains("starting 2 s") || line.contains("starting 3 s")),
        "{said}"
    );
    assert!(said.contains("fixture: starts in 4500 ms"), "{said}");
    daemon.until_ready(&["auto", "modern", "legacy"]);
    for name in ["auto", "modern", "legacy"] {
        let row = daemon.upstream(name);
        assert_eq!((row.restarts, row.last_exit), (0, None), "{name}");
    }
    daemon.stop();
}

#[test]
fn a_server_is_ended_when_its_time_for_the_start_is_over() {
    let mut hangs = fixture(&["--fault", "hang-on-init"]);
    (hangs["era"], hangs["startup_timeout"]) = (json!("modern"), json!(4000));
    let daemon = daemon(json!({ "mcpServers": { "hangs": hangs } })).start();
    let began = Instant::now();
    daemon.until_upstream("hangs", |row| row.starting_ms >= Some(3500));
    let row = daemon.until_upstream("hangs", |row| row.last_exit.is_some());
    assert_eq!(row.code, Some(Code::UpstreamSilent));
    let reason = row.last_exit.unwrap_or_default();
    assert!(
        reason.contains("no answer to server/discover within 4 s"),
        "{reason}"
    );
    println!("ended after {:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn servers_that_crash_do_not_starve_those_below_them() {
    let mut servers = json!({});
    for number in 0..12 {
        // Their names come first in the file.
        servers[format!("a-crash-{number:02}")] = dies_of("Error: no key\n");
    }
    let good: Vec<_> = (0..6).map(|number| format!("good-{number}")).collect();
    for name in &good {
        servers[name.as_str()] = fixture(&[]);
    }
    let daemon =
        daemon(json!({ "server": { "start_concurrency": 1 }, "mcpServers": servers })).start();
    let began = Instant::now();
    let good: Vec<_> = good.iter().map(String::as_str).collect();
    daemon.until_ready(&good);
    println!(
        "six ready behind twelve that crash after {:?}",
        began.elapsed()
    );
    for name in good {
        assert_eq!(daemon.upstream(name).restarts, 0, "{name}");
    }
    daemon.stop();
}

#[test]
fn the_reason_of_a_death_is_its_cause_and_not_the_last_line() {
    let python = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    main()\nRuntimeError: initialize first\n";
    let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1\n  | ExceptionGroup: errors in a TaskGroup (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | ValueError: no token\n    +------------------------------------\n";
    let node = "a.js:3\n    throw e\n    ^\n\nError: no key\n    at main (a.js:3:11)\n\nNode.js v22.14.0\n";
    let samples = [
        (
            "python",
            python,
            "exit status 1: RuntimeError: initialize first",
        ),
        ("group", group, "exit status 1: ValueError: no token"),
        ("node", node, "exit status 1: Error: no key"),
    ];
    let servers: serde_json::Map<_, _> = samples
        .iter()
        .map(|(name, text, _)| ((*name).to_owned(), dies_of(&text.replace('\n', "\\n"))))
        .collect();
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    for (name, _, reason) in samples {
        let row = daemon.until_upstream(name, |row| row.last_exit.is_some());
        assert_eq!(row.last_exit.as_deref(), Some(reason), "{name}");
        assert_ne!(row.state, UpstreamState::Ready);
    }
    daemon.stop();
}

#[test]
fn a_server_that_exits_at_the_probe_is_started_again_at_once_with_initialize() {
    let old = fixture(&["--fault", "exit-on-probe", "--era", "legacy"]);
    let daemon = daemon(json!({ "mcpServers": { "old": old } })).start();
    daemon.until_ready(&["old"]);
    let row = daemon.upstream("old");
    assert_eq!((row.restarts, row.code), (0, None), "{row:?}");
    assert_eq!(row.era.as_deref(), Some("legacy"));
    daemon.stop();
}
