//! Servers that bend the envelope: what works with them directly works through ggend.

use ggen_wire::{Code, status::UpstreamState};
use ggend_tests::*;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

fn odd(fault: &str, era: &str) -> Value {
    fixture(&["--fault", fault, "--era", era])
}

#[test]
fn bent_envelopes_are_straightened_in_both_eras() {
    let faults = ["text-ids", "float-ids", "null-members", "batches"];
    let mut servers = json!({ "plain": fixture(&[]) });
    for fault in faults {
        for era in ["legacy", "modern"] {
            servers[format!("{fault}-{era}")] = odd(fault, era);
        }
    }
    let names: Vec<String> = servers.as_object().unwrap().keys().cloned().collect();
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    daemon.until_ready(&names);
    let tools = daemon.upstream("plain").tools;
    for name in names {
        assert_eq!(daemon.upstream(name).tools, tools, "{name}");
        for era in [Era::Legacy, Era::Modern] {
            let mut client = Client::new(daemon.http, name, era);
            let said = client.tool("echo", json!({ "message": name }));
            assert_eq!(said.text(), name);
            // An error, too.
            let refused = client.request("tools/call", json!({ "name": "no-such-tool" }));
            assert!(refused.response().raw.contains("no-such-tool"), "{name}");
        }
    }
    daemon.stop();
}

#[test]
fn nothing_but_messages_is_written_to_a_server_when_the_gateway_worker_is_replaced() {
    let servers = json!({ "strict": odd("exit-on-empty-line", "legacy") });
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["strict"]);
    let pid = daemon.upstream("strict").pid;
    for _ in 0..3 {
        let gateway = daemon.worker_pid("gateway-0").unwrap();
        process::signal(gateway, Signal::SIGKILL);
        daemon.until_replaced("gateway-0", gateway);
        daemon.until_ready(&["strict"]);
        let mut client = Client::new(daemon.http, "strict", Era::Legacy);
        assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
    }
    let row = daemon.upstream("strict");
    assert_eq!((row.pid, row.restarts, row.last_exit), (pid, 0, None));
    daemon.stop();
}

#[test]
fn a_server_whose_list_fails_is_degraded_everywhere_until_the_list_comes() {
    let folder = tempfile::tempdir().unwrap();
    let healed = folder.path().join("healed");
    let faulty = |fault: &str| {
        let mut entry = fixture(&["--fault", fault, "--until", healed.to_str().unwrap()]);
        entry["timeout"] = json!(1500);
        entry
    };
    let servers = json!({ "refuses": faulty("list-error"), "hangs": faulty("list-hang"), "well": fixture(&[]) });
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["well"]);
    let reasons = [
        (
            "refuses",
            "tools/list: error -32603: the database does not answer",
        ),
        ("hangs", "tools/list: no answer within 1 s"),
    ];
    for (name, reason) in reasons {
        let row = daemon.until_upstream(name, |row| row.state == UpstreamState::Degraded);
        assert_eq!(row.code, Some(Code::UpstreamListFailed));
        let health = Connection::once(daemon.http, "GET", "/health", &[], b"").unwrap();
        let health = String::from_utf8_lossy(&health.body).into_owned();
        assert!(health.contains(reason), "{health}");
        let doctor = daemon.ggen(&["mcp", "doctor"]);
        let found = format!("upstream {name} does not give all its lists");
        assert!(doctor.stdout.contains(&found), "{}", doctor.stdout);
        assert!(doctor.stdout.contains("GGEN-E2116") && doctor.stdout.contains(reason));
        // It runs, and serves what it can.
        assert!(row.pid.is_some() && row.restarts == 0);
        let mut client = Client::new(daemon.http, name, Era::Legacy);
        assert!(
            client
                .request("prompts/list", json!({}))
                .result()
                .is_object()
        );
    }
    until("the metrics say so", || {
        let up = daemon.scrape()?.sum("ggend_upstream_up", "refuses");
        (up == 0.0).then_some(())
    });
    fs::write(&healed, "").unwrap();
    daemon.until_ready(&["refuses", "hangs"]);
    for name in ["refuses", "hangs"] {
        let mut client = Client::new(daemon.http, name, Era::Legacy);
        assert_eq!(client.tool("echo", json!({ "message": name })).text(), name);
    }
    daemon.stop();
}
