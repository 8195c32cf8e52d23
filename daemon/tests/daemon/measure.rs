//! Figures, not promises: run with `cargo test --release -p ggend --test daemon measure --
//! --ignored --nocapture`.

use crate::support::{Client, Daemon, config, outcome, signal};
use ggen_wire::{
    control::{Body, Call, LogQuery},
    varlink::Request,
};
use nix::sys::signal::Signal;
use std::time::{Duration, SystemTime};

fn now_us() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_micros(),
    )
    .unwrap()
}

/// Proportional share of memory in KiB (`smaps_rollup`).
fn pss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
#[ignore = "a measurement"]
fn from_sigkill_to_ready() {
    let daemon = Daemon::start_with(&config(r#""server":{"workers":50},"#, ""), |_| {});
    let mut client = Client::connect(&daemon.socket());
    let query = LogQuery {
        follow: true,
        tail: Some(0),
        grep: Some("worker ready".to_owned()),
        ..LogQuery::default()
    };
    client.send(&Request::new(&Call::GetLogs(query), true).unwrap());
    client.receive();
    let mut taken: Vec<u64> = (0..50)
        .map(|index| {
            let name = format!("http-{index}");
            let pid = daemon.worker(&name).pid.unwrap();
            let killed = now_us();
            signal(pid, Signal::SIGKILL);
            let Ok(Body::Lines(lines)) = outcome(client.receive()) else {
                panic!("no line")
            };
            assert!(lines[0].fields.contains(&("worker".to_owned(), name)));
            lines[0].at_us - killed
        })
        .collect();
    taken.sort_unstable();
    println!(
        "SIGKILL of an http worker to its successor Ready, 50 times: median {} us, p90 {} us, longest {} us",
        taken[25], taken[45], taken[49]
    );
}

#[test]
#[ignore = "a measurement"]
fn memory_of_an_idle_daemon() {
    let daemon = Daemon::start("");
    std::thread::park_timeout(Duration::from_secs(3));
    println!("Pss idle: supervisor {} KiB", pss(daemon.child.id()));
    for worker in daemon.status().workers {
        println!("Pss idle: {} {} KiB", worker.name, pss(worker.pid.unwrap()));
    }
    let log = daemon.log();
    println!(
        "start: {}",
        log.lines()
            .find(|line| line.contains("ready in"))
            .unwrap_or_default()
    );
}
