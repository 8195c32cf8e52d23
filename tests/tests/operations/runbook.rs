//! The runbook (`docs/operate.md`, "Alerts") as it is printed: every alert has what to look at and
//! what to do, and every command in a fenced block is typed into a shell beside a daemon that has
//! the faults which it is about. What is not run is listed with its reason.

use ggen_wire::status::UpstreamState;
use ggend_tests::{pki::shell, *};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{fs, path::Path, time::Duration};

/// The server that crashes.
const BROKEN: &str = "broken";

/// Why a command is not run.
fn skipped(command: &str) -> Option<&'static str> {
    match command.split_whitespace().next().unwrap_or_default() {
        "systemctl" | "journalctl" | "coredumpctl" | "systemd-cgtop" => Some(
            "asks systemd, which is not what this test runs under: tests/systemd/run drives the booted one",
        ),
        "ss" | "top" | "df" => Some("a tool of the host, not ours"),
        _ => None,
    }
}

/// The exit codes that a command may end with, while one server is broken.
fn expected(command: &str) -> &'static [i32] {
    match command {
        "ggen mcp doctor" => &[2],
        _ if command.starts_with("ggen mcp server status") => &[1],
        _ => &[0],
    }
}

/// What a command has to show, where the fault that it looks for is there.
const SAID: [(&str, &str); 9] = [
    ("curl -s http://127.0.0.1:9464/livez", "ok"),
    (
        "curl -s http://127.0.0.1:9464/metrics",
        "ggend_certificate_expiry_timestamp_seconds{",
    ),
    ("ggen mcp server logs --grep GGEN-E1202", "http-0"),
    ("ggen mcp server logs --upstream", "cannot go on"),
    ("ggen mcp server status", BROKEN),
    ("ggen mcp doctor", BROKEN),
    ("ggen mcp server logs --level warn", "GGEN-E"),
    ("ggen mcp test-connection", "http"),
    ("ggen mcp config get logging.level", "info"),
];

/// The alerts' sections: name, text, commands.
fn sections(page: &str) -> Vec<(String, String, Vec<String>)> {
    let alerts = page
        .split("\n## ")
        .find(|part| part.starts_with("Alerts\n"))
        .expect("a chapter about alerts");
    let section = |part: &str| {
        let (name, text) = part.split_once('\n').unwrap();
        let blocks = text
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("\n```")?.0));
        (
            name.to_owned(),
            text.to_owned(),
            blocks.flat_map(str::lines).map(str::to_owned).collect(),
        )
    };
    alerts.split("\n### ").skip(1).map(section).collect()
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

#[test]
fn every_alert_says_what_to_look_at_and_what_to_do() {
    let sections = sections(&file("docs/operate.md"));
    let rules = file("packaging/prometheus/alerts.yml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let named: Vec<&str> = sections.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(
        named, alerts,
        "the sections are those of the alerts, in their order"
    );
    for (name, text, commands) in &sections {
        assert!(!commands.is_empty(), "{name} says nothing to look at");
        assert!(text.contains("Do: "), "{name} says nothing to do");
        assert!(
            rules.contains(&format!("runbook: docs/operate.md#{}", name.to_lowercase())),
            "the rule {name} does not lead to the runbook"
        );
    }
}

#[test]
fn every_command_of_the_runbook_does_what_it_says() {
    let sections = sections(&file("docs/operate.md"));
    let broken = json!({ "command": "/bin/sh", "args": ["-c", "echo cannot go on >&2; exit 3"] });
    let daemon = daemon(json!({ "mcpServers": { "fix": fixture(&[]), BROKEN: broken } })).start();
    daemon.until_ready(&["fix"]);
    daemon.until_upstream(BROKEN, |upstream| {
        upstream.state == UpstreamState::CrashLoop
    });
    let hung = daemon.worker_pid("http-0").unwrap();
    process::signal(hung, Signal::SIGSTOP);
    daemon.until_replaced("http-0", hung);

    let admin = daemon.admin.to_string();
    let work = daemon.sandbox.path("work");
    let (mut failures, mut ran, mut left) = (Vec::new(), 0, 0);
    for (alert, _, commands) in &sections {
        daemon.until_upstream(BROKEN, |upstream| {
            upstream.state == UpstreamState::CrashLoop
        });
        for command in commands {
            if let Some(reason) = skipped(command) {
                left += 1;
                println!("{alert}: skipped  {command}   ({reason})");
                continue;
            }
            let typed = command
                .replace("NAME", BROKEN)
                .replace("PID", &daemon.pid.to_string())
                .replace("127.0.0.1:9464", &admin);
            let said = SAID
                .iter()
                .find(|(known, _)| command.starts_with(known))
                .map_or("", |(_, said)| said);
            let mut done = None;
            // The broken server is tried again now and then, and is not called broken for that
            // moment.
            let right = within(Duration::from_secs(20), || {
                let now = done.insert(shell(&daemon, &work, &[], &typed));
                (expected(command).contains(&now.code)
                    && format!("{}{}", now.stdout, now.stderr).contains(said))
                .then_some(())
            });
            let done = done.unwrap();
            ran += 1;
            println!("{alert}: exit {:<3} {command}", done.code);
            if right.is_none() {
                failures.push(format!(
                    "{alert}: {command}: {:?} and {said:?} expected: {done:#?}",
                    expected(command)
                ));
            }
            // What was to be done for the crash loop is done.
            if command == "ggen mcp server reload" && alert == "GgendUpstreamCrashLoop" {
                assert_eq!(
                    daemon.upstream(BROKEN).state,
                    UpstreamState::Disabled,
                    "it is taken out"
                );
                let back = shell(
                    &daemon,
                    &work,
                    &[],
                    "ggen mcp config unset mcpServers.broken.enabled && ggen mcp server reload",
                );
                assert_eq!(back.code, 0, "{back:#?}");
                daemon.until_upstream(BROKEN, |upstream| {
                    upstream.state == UpstreamState::CrashLoop
                });
            }
        }
    }
    println!("{ran} commands run, {left} skipped");
    daemon.stop();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran > 25, "only {ran} commands found");
}
