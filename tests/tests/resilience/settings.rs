//! `ggen mcp config set` against a daemon that is reloading, killed and started again: the file is
//! always one of the written versions.

use ggend_tests::*;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// `config set` commands.
const SETS: u64 = 100;

/// The number that the file's version carries twice; a torn or mixed one carries two numbers.
fn version(text: &str) -> u64 {
    let value: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}):\n{text}"));
    let [pool, drain] = ["/server/connection_pool", "/server/drain_timeout_ms"]
        .map(|at| value.pointer(at).and_then(Value::as_u64).unwrap());
    assert_eq!(pool, drain, "two versions in one file:\n{text}");
    pool
}

#[test]
fn a_hundred_settings_survive_reloads_and_kills_of_the_daemon() {
    let config = json!({
        "server": { "workers": 1, "connection_pool": 1, "drain_timeout_ms": 1 },
        "mcpServers": { "fix": fixture(&[]) },
    });
    let mut daemon = daemon(config).start();
    let (done, written, reloads) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let file = daemon.sandbox.config();
    let commands = |arguments: &[&str]| {
        let mut command = daemon.sandbox.command("ggen");
        command.args(arguments).env("GGEN_MCP_CONFIG", &file);
        command
    };
    let sets: Vec<_> = (2..2 + SETS)
        .map(|number| {
            let [pool, drain] =
                ["connection_pool", "drain_timeout_ms"].map(|key| format!("server.{key}={number}"));
            commands(&["mcp", "config", "set", &pool, &drain])
        })
        .collect();
    let mut reload = commands(&["mcp", "server", "reload"]);
    let seen = std::thread::scope(|scope| {
        let end = SetOnDrop(&done);
        let writer = scope.spawn(|| {
            for mut set in sets {
                let output = set.output().unwrap();
                assert!(output.status.success(), "{output:?}");
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::SeqCst) {
                seen.insert(version(&sandbox::read(&file).unwrap()));
            }
            seen
        });
        let reloader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // While the daemon is down a reload fails with a line; that is not the matter here.
                if reload.output().unwrap().status.success() {
                    reloads.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        for quarter in 1..4 {
            until("a quarter of the settings", || {
                (written.load(Ordering::SeqCst) >= quarter * 25).then_some(())
            });
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.restart();
        }
        writer.join().unwrap();
        drop(end);
        reloader.join().unwrap();
        reader.join().unwrap()
    });
    assert!(
        seen.iter().all(|number| (1..2 + SETS).contains(number)),
        "{seen:?}"
    );
    assert!(
        seen.len() > 50 && reloads.load(Ordering::SeqCst) > 3,
        "{} versions seen, {reloads:?} reloads",
        seen.len()
    );
    assert_eq!(version(&sandbox::read(&file).unwrap()), 1 + SETS);
    daemon.stop();
}
