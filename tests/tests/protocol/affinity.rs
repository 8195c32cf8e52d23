//! Servers that have state, that list something else for what their client declares, and that speak
//! both eras: what each client sees is what it would see with the server alone.

use ggend_tests::*;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A daemon with two servers that have state: `pipe` on a pipe, `remote` over HTTP.
fn stateful(era: &str, members: Value) -> (Daemon, RemoteFixture) {
    let arguments = ["--era", era, "--stateful"];
    let remote = RemoteFixture::start(&arguments);
    let mut pipe = fixture(&arguments);
    let mut http = json!({ "type": "http", "url": remote.url });
    for (key, value) in members.as_object().unwrap() {
        pipe[key] = value.clone();
        http[key] = value.clone();
    }
    let daemon = daemon(json!({ "mcpServers": { "pipe": pipe, "remote": http } })).start();
    daemon.until_ready(&["pipe", "remote"]);
    (daemon, remote)
}

fn with_roots(address: SocketAddr, server: &str) -> Client {
    Client::askable(address, server, json!({ "roots": {} }))
}

fn remember(client: &mut Client, value: &str) {
    let kept = client.tool("remember", json!({ "value": value }));
    assert_eq!(kept.text(), value);
}

fn recall(client: &mut Client) -> String {
    client.tool("recall", json!({})).text().to_owned()
}

#[test]
fn each_session_that_declares_something_sees_its_own_state() {
    let (daemon, remote) = stateful("legacy", json!({}));
    let mut clients: Vec<_> = (0..5).map(|_| with_roots(daemon.http, "pipe")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        remember(client, &number.to_string());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(recall(client), number.to_string());
    }
    // Who declares nothing shares one child with everybody who declares nothing.
    let mut plain = [Era::Legacy, Era::Modern].map(|era| Client::new(daemon.http, "pipe", era));
    remember(&mut plain[0], "shared");
    assert_eq!(recall(&mut plain[1]), "shared");
    assert_eq!(recall(&mut clients[0]), "0");
    assert_eq!(daemon.upstream("pipe").children, 5);
    daemon.stop();
    drop(remote);
}

#[test]
fn a_server_that_is_said_to_have_state_is_shared_by_nobody() {
    let (daemon, remote) = stateful("legacy", json!({ "stateful": true }));
    let mut clients: Vec<_> = (0..3)
        .map(|_| Client::new(daemon.http, "pipe", Era::Legacy))
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        remember(client, &number.to_string());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(recall(client), number.to_string());
    }
    daemon.stop();
    drop(remote);
}

#[test]
fn a_session_sees_what_its_own_child_lists_and_hears_of_its_changes() {
    let (daemon, remote) = stateful("legacy", json!({}));
    for server in ["pipe", "remote"] {
        let mut one = with_roots(daemon.http, server);
        let mut two = with_roots(daemon.http, server);
        let mut plain = Client::new(daemon.http, server, Era::Legacy);
        remember(&mut one, "1");
        remember(&mut two, "2");
        until("its own tool is listed", || {
            let lists =
                |client: &mut Client| client.names("tools/list").contains(&"for_roots".to_owned());
            (lists(&mut one) && lists(&mut two)).then_some(())
        });
        assert!(!plain.names("tools/list").contains(&"for_roots".to_owned()));
        assert_eq!(one.tool("for_roots", json!({})).text(), "for_roots");
        // A session of an HTTP server is no process of its own: what is registered there is in all.
        if server == "remote" {
            continue;
        }
        let mut heard = one.listen(None).unwrap();
        assert_eq!(
            one.tool("register", json!({ "value": "later" })).text(),
            "later"
        );
        heard.until("notifications/tools/list_changed");
        until("the tool that was registered is listed", || {
            let tools = one.names("tools/list");
            tools.contains(&"later".to_owned()).then_some(())
        });
        assert_eq!(one.tool("later", json!({})).text(), "later");
        for other in [&mut two, &mut plain] {
            assert!(!other.names("tools/list").contains(&"later".to_owned()));
        }
    }
    daemon.stop();
    drop(remote);
}

#[test]
fn a_legacy_client_is_asked_by_a_server_of_both_eras_as_by_a_legacy_one() {
    let (daemon, remote) = stateful("dual", json!({}));
    for server in ["pipe", "remote"] {
        assert_eq!(daemon.upstream(server).era.as_deref(), Some("modern"));
        let mut client = Client::askable(
            daemon.http,
            server,
            json!({ "elicitation": {}, "sampling": {}, "roots": {} }),
        );
        let ask =
            |client: &mut Client, tool: &str, arguments: Value, method: &str, answer: Value| {
                let mut exchange = client
                    .start(
                        "tools/call",
                        json!({ "name": tool, "arguments": arguments }),
                    )
                    .unwrap();
                let question = exchange.until(method);
                client.respond(&question, answer).unwrap();
                exchange.until("").raw
            };
        let said = ask(
            &mut client,
            "test_elicitation",
            json!({ "message": "say x" }),
            "elicitation/create",
            json!({ "action": "accept", "content": { "response": "x" } }),
        );
        assert!(said.contains("action=accept"), "{said}");
        let said = ask(
            &mut client,
            "test_sampling",
            json!({ "prompt": "p" }),
            "sampling/createMessage",
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "hello" } }),
        );
        assert!(said.contains("hello"), "{said}");
        remember(&mut client, "mine");
        assert_eq!(recall(&mut client), "mine");
        let mut modern = Client::new(daemon.http, server, Era::Modern);
        assert_eq!(modern.tool("echo", json!({ "message": "m" })).text(), "m");
    }
    daemon.stop();
    drop(remote);
}

#[test]
fn a_sessions_state_is_its_own_over_twenty_clients_that_call_at_once() {
    let (daemon, remote) = stateful("legacy", json!({}));
    let address = daemon.http;
    let threads: Vec<_> = (0..20)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = match number % 3 {
                    0 => Client::askable(address, "pipe", json!({ "elicitation": {} })),
                    1 => with_roots(address, "pipe"),
                    _ => Client::askable(address, "pipe", json!({ "sampling": {} })),
                };
                for round in 0..10 {
                    let value = format!("{number}-{round}");
                    remember(&mut client, &value);
                    assert_eq!(recall(&mut client), value, "somebody else's state");
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(!daemon.log().contains("ended to make room"));
    daemon.stop();
    drop(remote);
}
