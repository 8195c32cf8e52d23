//! Legacy servers on pipes that ask their clients: whose question it is, which child it comes from,
//! and how many children there are.

use ggend_tests::*;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

/// A daemon with a legacy server `a`, of whose entry some members are given.
fn legacy(pool: u32, members: Value) -> Daemon {
    let mut entry = fixture(&["--era", "legacy"]);
    for (key, value) in members.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let daemon =
        daemon(json!({ "server": { "connection_pool": pool }, "mcpServers": { "a": entry } }))
            .start();
    daemon.until_ready(&["a"]);
    daemon
}

fn forms(address: SocketAddr) -> Client {
    Client::askable(address, "a", json!({ "elicitation": {} }))
}

fn call(client: &mut Client, tool: &str, arguments: Value) -> Exchange {
    client
        .start(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        )
        .unwrap()
}

/// The text of a tool's result.
#[track_caller]
fn text(mut exchange: Exchange) -> String {
    let message = exchange.until("");
    message.value["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {}", message.raw))
        .to_owned()
}

/// A call that asks, from the question to the result; the question has to be this call's.
#[track_caller]
fn dialogue(client: &mut Client, word: &str) {
    let mut exchange = call(
        client,
        "test_elicitation",
        json!({ "message": format!("say {word}") }),
    );
    let question = exchange.until("elicitation/create");
    assert_eq!(
        question.value["params"]["message"],
        format!("say {word}"),
        "somebody else's question"
    );
    client
        .respond(
            &question,
            json!({ "action": "accept", "content": { "response": word } }),
        )
        .unwrap();
    assert_eq!(
        text(exchange),
        format!("User response: action=accept, content={{\"response\":\"{word}\"}}")
    );
}

#[track_caller]
fn pid(client: &mut Client) -> u64 {
    client.tool("counter", json!({})).result()["structuredContent"]["pid"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_legacy_client_is_asked_by_a_legacy_server_on_pipes() {
    let daemon = legacy(4, json!({}));
    let shared = u64::from(daemon.upstream("a").pid.unwrap());
    let mut client = forms(daemon.http);
    dialogue(&mut client, "one");
    dialogue(&mut client, "two");
    let child = pid(&mut client);
    assert_ne!(child, shared);
    assert_eq!(daemon.upstream("a").children, 1, "the child is used again");

    // Another client has another child, and gets nothing that it cannot do. The child of a session
    // that has ended serves the next one.
    let mut next = forms(daemon.http);
    client.delete().unwrap();
    assert_eq!(pid(&mut next), child);
    let mut other = Client::askable(daemon.http, "a", json!({ "sampling": {}, "roots": {} }));
    let mut exchange = call(&mut other, "test_sampling", json!({ "prompt": "x" }));
    let question = exchange.until("sampling/createMessage");
    other.respond(&question, json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "hello" } })).unwrap();
    assert_eq!(text(exchange), "LLM response: hello");
    let mut exchange = call(
        &mut other,
        "test_input_required_result_list_roots",
        json!({}),
    );
    let question = exchange.until("roots/list");
    other
        .respond(&question, json!({ "roots": [{ "uri": "file:///x" }] }))
        .unwrap();
    assert_eq!(text(exchange), "1 root(s): file:///x");
    let refused = other.tool("test_elicitation", json!({}));
    assert!(
        refused
            .response()
            .raw
            .contains("does not declare elicitation"),
        "{}",
        refused.response().raw
    );
    assert_eq!(daemon.upstream("a").children, 2);

    // Who can be asked for nothing uses the shared one.
    assert_eq!(pid(&mut Client::new(daemon.http, "a", Era::Legacy)), shared);
    assert_eq!(pid(&mut Client::new(daemon.http, "a", Era::Modern)), shared);
    until("the children are measured", || {
        (daemon
            .scrape()?
            .sum("ggend_upstream_children", "upstream=\"a\"")
            == 2.0)
            .then_some(())
    });
    daemon.stop();
}

#[test]
fn twenty_clients_at_once_get_their_own_questions_from_four_children() {
    let daemon = legacy(4, json!({}));
    let (address, start) = (daemon.http, Arc::new(Barrier::new(20)));
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let start = Arc::clone(&start);
            thread::spawn(move || {
                let mut client = forms(address);
                start.wait();
                for round in 0..5 {
                    dialogue(&mut client, &format!("{number}-{round}"));
                }
            })
        })
        .collect();
    let mut most = 0;
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        let running = daemon
            .sandbox
            .processes(None)
            .iter()
            .filter(|process| process.command.contains("ggend-fixture"))
            .count();
        most = most.max(running);
    }
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    println!("at most {most} servers ran");
    assert!((2..=5).contains(&most), "{most} servers");
    let log = daemon.log();
    assert!(log.contains("ended to make room"), "it is not said");
    daemon.stop();
}

#[test]
fn the_calls_of_one_session_share_a_child() {
    let daemon = legacy(4, json!({}));
    let mut client = forms(daemon.http);
    let child = pid(&mut client);
    let exchanges: Vec<_> = (0..10)
        .map(|_| {
            client
                .send_only(
                    "tools/call",
                    json!({ "name": "slow", "arguments": { "ms": 300 } }),
                )
                .unwrap()
        })
        .collect();
    let began = Instant::now();
    assert_eq!(pid(&mut client), child);
    dialogue(&mut client, "meanwhile");
    assert_eq!(daemon.upstream("a").children, 1);
    println!(
        "a call and a dialogue beside ten slow ones took {:?}",
        began.elapsed()
    );
    drop(exchanges);
    daemon.stop();
}

#[test]
fn the_crash_of_a_child_costs_its_own_call_only() {
    let daemon = legacy(4, json!({}));
    let shared = daemon.upstream("a").pid;
    let (mut one, mut two) = (forms(daemon.http), forms(daemon.http));
    let mut waiting = call(&mut one, "test_elicitation", json!({ "message": "wait" }));
    let question = waiting.until("elicitation/create");
    let crashed = two.tool("crash", json!({}));
    assert_eq!(
        crashed.error().1,
        "GGEN-E2102",
        "{}",
        crashed.response().raw
    );
    one.respond(&question, json!({ "action": "decline" }))
        .unwrap();
    assert_eq!(text(waiting), "User response: action=decline, content={}");
    dialogue(&mut two, "again");
    let row = daemon.upstream("a");
    assert_eq!((row.pid, row.restarts, row.children), (shared, 0, 2));
    daemon.stop();
}

#[test]
fn a_call_that_was_cancelled_leaves_its_child_to_nobody_else() {
    let daemon = legacy(4, json!({}));
    let (mut one, mut two) = (forms(daemon.http), forms(daemon.http));
    let child = pid(&mut one);
    let mut waiting = call(&mut one, "test_elicitation", json!({ "message": "wait" }));
    waiting.until("elicitation/create");
    let id = one.last_id();
    one.reconnect();
    one.notify("notifications/cancelled", json!({ "requestId": id }))
        .unwrap();
    assert_ne!(pid(&mut two), child);
    assert_eq!(pid(&mut one), child, "its own session goes on with it");
    one.delete().unwrap();
    daemon.until_upstream("a", |row| row.children == 1);
    daemon.stop();
}

#[test]
fn leased_children_end_with_the_gateway_worker() {
    let daemon = legacy(4, json!({}));
    let shared = daemon.upstream("a").pid;
    let mut client = forms(daemon.http);
    let child = pid(&mut client);
    let mut waiting = call(
        &mut client,
        "test_elicitation",
        json!({ "message": "wait" }),
    );
    waiting.until("elicitation/create");
    let gateway = daemon.worker_pid("gateway-0").unwrap();
    process::signal(gateway, Signal::SIGKILL);
    until("the child has ended", || {
        (!process::is_alive(u32::try_from(child).unwrap())).then_some(())
    });
    daemon.until_replaced("gateway-0", gateway);
    daemon.until_ready(&["a"]);
    let mut client = forms(daemon.http);
    dialogue(&mut client, "after");
    let row = daemon.upstream("a");
    assert_eq!((row.pid, row.children), (shared, 1));
    daemon.stop();
}

#[test]
fn a_changed_entry_ends_the_leased_children_too() {
    let mut daemon = legacy(4, json!({}));
    let mut client = forms(daemon.http);
    let child = pid(&mut client);
    let mut entry = fixture(&["--era", "legacy"]);
    entry["env"] = json!({ "CHANGED": "yes" });
    daemon
        .sandbox
        .write_config(&json!({ "server": { "connection_pool": 4 }, "mcpServers": { "a": entry } }));
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    daemon.until_upstream("a", |row| row.children == 0);
    daemon.until_ready(&["a"]);
    assert_eq!(
        client.tool("env", json!({ "name": "CHANGED" })).text(),
        "\"yes\""
    );
    assert_ne!(pid(&mut client), child);
    daemon.stop();
}

#[test]
fn isolation_per_session_and_per_call() {
    let session = legacy(3, json!({ "isolation": "per-session" }));
    let shared = u64::from(session.upstream("a").pid.unwrap());
    let mut clients: Vec<_> = (0..3)
        .map(|_| Client::new(session.http, "a", Era::Legacy))
        .collect();
    let pids: Vec<_> = clients.iter_mut().map(pid).collect();
    assert_eq!(
        pids,
        clients.iter_mut().map(pid).collect::<Vec<_>>(),
        "a session keeps its child"
    );
    assert!(
        !pids.contains(&shared) && pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2],
        "{pids:?}"
    );
    clients[0].delete().unwrap();
    let fresh = pid(&mut Client::new(session.http, "a", Era::Legacy));
    assert!(
        !pids.contains(&fresh) && fresh != shared,
        "{fresh} {pids:?}"
    );
    // Requests without a session share a child, which no session has.
    clients[1].delete().unwrap();
    let modern = pid(&mut Client::new(session.http, "a", Era::Modern));
    assert!(!pids.contains(&modern) && modern != shared && modern != fresh);
    assert_eq!(
        pid(&mut Client::new(session.http, "a", Era::Modern)),
        modern
    );
    session.stop();

    let call = legacy(3, json!({ "isolation": "per-call" }));
    let mut seen = vec![u64::from(call.upstream("a").pid.unwrap())];
    for era in [Era::Legacy, Era::Modern, Era::Legacy, Era::Modern] {
        seen.push(pid(&mut Client::new(call.http, "a", era)));
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 5, "{seen:?}");
    call.until_upstream("a", |row| row.children == 0);
    call.stop();

    let single = legacy(3, json!({ "isolation": "single" }));
    let mut client = forms(single.http);
    assert_eq!(
        pid(&mut client),
        u64::from(single.upstream("a").pid.unwrap())
    );
    assert!(
        client
            .tool("test_elicitation", json!({}))
            .response()
            .raw
            .contains("does not declare elicitation")
    );
    single.stop();
}

#[test]
fn a_server_that_runs_once_only_serves_all_with_its_shared_child() {
    let place = tempfile::tempdir().unwrap();
    let command = format!(
        "mkdir {}/lock && exec {} --era legacy",
        place.path().display(),
        sandbox::binary("ggend-fixture").display()
    );
    let entry = json!({ "command": "/bin/sh", "args": ["-c", command] });
    let daemon = daemon(json!({ "mcpServers": { "a": entry } })).start();
    daemon.until_ready(&["a"]);
    let mut client = forms(daemon.http);
    for number in 0..3 {
        assert_eq!(
            client
                .tool("echo", json!({ "message": number.to_string() }))
                .text(),
            number.to_string()
        );
    }
    assert_eq!(
        pid(&mut client),
        u64::from(daemon.upstream("a").pid.unwrap())
    );
    assert!(
        daemon.log().contains("one more child cannot be had"),
        "not said"
    );
    until("the one try is counted", || {
        (daemon
            .scrape()?
            .sum("ggend_upstream_exits_total", "upstream=\"a\"")
            >= 1.0)
            .then_some(())
    });
    assert_eq!(
        daemon
            .log()
            .matches("a child of single calls ended")
            .count(),
        1,
        "it is not tried with each call"
    );
    daemon.stop();
}

#[test]
fn a_warm_child_costs_a_call_no_more_than_the_shared_one() {
    let daemon = legacy(4, json!({}));
    let timed = |client: &mut Client| {
        let began = Instant::now();
        client.tool("echo", json!({ "message": "x" }));
        began.elapsed()
    };
    let mut clients = (
        Client::new(daemon.http, "a", Era::Legacy),
        forms(daemon.http),
    );
    // In turns: what else the machine does falls on both.
    let (shared, leased): (Vec<_>, Vec<_>) = (0..300)
        .map(|_| (timed(&mut clients.0), timed(&mut clients.1)))
        .unzip();
    let summary = |mut times: Vec<Duration>| {
        let first = times[0];
        times.sort();
        (first, times[150], times[297])
    };
    let (shared, leased) = (summary(shared), summary(leased));
    println!("first, median, 99 %: shared {shared:?}, leased {leased:?}");
    assert!(
        leased.1 <= shared.1 * 5,
        "shared {shared:?}, leased {leased:?}"
    );
    daemon.stop();
}
