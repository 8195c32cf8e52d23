//! MCP over WebSocket, whole: both eras on one socket, what the server says by itself,
//! cancellation, close codes, bad input, and workers that die. The client is tungstenite, blocking.

use ggend_tests::{
    websocket::{MODERN, Socket, modern, tool},
    *,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tungstenite::{Error, Message};

fn house(settings: Value) -> Daemon {
    let servers =
        json!({ "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]) });
    let daemon = daemon(json!({ "server": { "workers": 1 }, "transports": { "websocket": settings }, "mcpServers": servers })).start();
    daemon.until_ready(&["old", "new"]);
    daemon
}

#[test]
fn both_eras_on_one_socket() {
    let daemon = house(json!({}));
    let mut socket = Socket::legacy(daemon.http, "/ws", json!({}));
    let (answer, _) = socket.request(
        "tools/call",
        tool("old__echo", json!({ "message": "legacy" })),
    );
    assert!(
        answer["result"]["content"][0]["text"]
            .to_string()
            .contains("legacy"),
        "{answer}"
    );
    let (answer, _) = socket.request(
        "tools/call",
        modern(tool("new__echo", json!({ "message": "modern" }))),
    );
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    let (answer, _) = socket.request("server/discover", modern(json!({})));
    assert!(
        answer["result"]["supportedVersions"]
            .to_string()
            .contains(MODERN),
        "{answer}"
    );
    // Many at once, in any order.
    let ids: Vec<u64> = (0..50)
        .map(|at| {
            socket.start(
                "tools/call",
                tool("new__echo", json!({ "message": at.to_string() })),
            )
        })
        .collect();
    let mut answered: Vec<u64> = ids
        .iter()
        .map(|_| socket.hear().unwrap()["id"].as_u64().unwrap())
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, ids);
    // One server's own view has bare names.
    let mut one = Socket::legacy(daemon.http, "/ws/old", json!({}));
    let (answer, _) = one.request("tools/call", tool("echo", json!({ "message": "x" })));
    assert!(answer.get("result").is_some(), "{answer}");
    drop((socket, one));
    daemon.stop();
}

#[test]
fn what_the_server_says_by_itself_arrives_on_the_same_socket() {
    let daemon = house(json!({}));
    let mut socket = Socket::legacy(daemon.http, "/ws/old", json!({ "elicitation": {} }));
    // Progress belongs to the call.
    let mut params = tool("test_tool_with_progress", json!({}));
    params["_meta"] = json!({ "progressToken": "p" });
    let (answer, before) = socket.request("tools/call", params);
    assert!(answer.get("result").is_some(), "{answer}");
    assert_eq!(
        before
            .iter()
            .filter(|message| message["params"]["progressToken"] == "p")
            .count(),
        3,
        "{before:?}"
    );
    // Log messages.
    let (_, before) = socket.request("tools/call", tool("test_tool_with_logging", json!({})));
    assert_eq!(
        before
            .iter()
            .filter(|message| message["method"] == "notifications/message")
            .count(),
        3,
        "{before:?}"
    );
    // A question, answered on the same socket.
    let id = socket.start(
        "tools/call",
        tool("test_elicitation", json!({ "message": "well?" })),
    );
    let question = socket.until("elicitation/create");
    socket.say(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "response": "yes" } } }));
    let (answer, _) = socket.answer(id);
    assert!(answer["result"].to_string().contains("yes"), "{answer}");
    // Changes of lists: in a session that shares its server, because nobody asks it anything.
    let mut socket = Socket::legacy(daemon.http, "/ws/old", json!({}));
    socket.start("tools/call", tool("test_trigger_tool_change", json!({})));
    socket.until("notifications/tools/list_changed");
    // Modern subscriptions, two on one socket, told apart by their ids.
    let mut socket = Socket::open(daemon.http, "/ws/old");
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let ids = [
        socket.start("subscriptions/listen", modern(filter.clone())),
        socket.start("subscriptions/listen", modern(filter)),
    ];
    for _ in ids {
        socket.until("notifications/subscriptions/acknowledged");
    }
    socket.start(
        "tools/call",
        modern(tool("test_trigger_tool_change", json!({}))),
    );
    let told = |message: Value| {
        message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
            .as_u64()
            .unwrap()
    };
    let mut subscriptions = ids.map(|_| told(socket.until("notifications/tools/list_changed")));
    subscriptions.sort_unstable();
    assert_eq!(subscriptions, ids);
    drop(socket);
    daemon.stop();
}

#[test]
fn calls_are_cancelled_in_both_eras_and_by_the_end_of_the_socket() {
    let daemon = house(json!({}));
    let cancelled = |daemon: &Daemon, count: f64| {
        let counted = || {
            daemon
                .scrape()
                .filter(|scrape| scrape.sum("ggend_tool_calls_total", "cancelled") >= count)
        };
        until("cancelled calls are counted", counted);
    };
    let slow = || tool("old__slow", json!({ "ms": 600_000 }));
    let mut socket = Socket::legacy(daemon.http, "/ws", json!({}));
    for (at, params) in [slow(), modern(slow())].into_iter().enumerate() {
        let id = socket.start("tools/call", params);
        until("the call is in flight", || {
            (daemon.upstream("old").in_flight > 0).then_some(())
        });
        socket.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }));
        cancelled(&daemon, at as f64 + 1.0);
    }
    assert!(
        socket.request("ping", json!({})).1.is_empty(),
        "a cancelled request is not answered"
    );
    assert_eq!(daemon.status().sessions, 1);
    socket.start("tools/call", slow());
    socket.start("tools/call", modern(slow()));
    until("the calls are in flight", || {
        (daemon.upstream("old").in_flight == 2).then_some(())
    });
    socket.ws.close(None).unwrap();
    assert_eq!(socket.close_code(), 1005);
    cancelled(&daemon, 4.0);
    until("the session has ended", || {
        (daemon.status().sessions == 0).then_some(())
    });
    drop(socket);
    daemon.stop();
}

#[test]
fn bad_input_and_its_close_codes() {
    let daemon = house(json!({ "max_message": "64KB", "message_timeout_ms": 1000 }));
    // What is text is answered, and the socket lives.
    let mut socket = Socket::open(daemon.http, "/ws");
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for (text, code) in [
        ("{", -32700),
        ("", -32700),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#, -32600),
        (&deep, -32600),
    ] {
        socket.ws.send(Message::text(text)).unwrap();
        let answer = socket.hear().unwrap();
        assert_eq!(answer["error"]["code"], code, "{text:.80}: {answer}");
    }
    assert!(
        socket
            .request("tools/list", modern(json!({})))
            .0
            .get("result")
            .is_some()
    );
    // What is not closes it, each with its code.
    socket.ws.send(Message::binary(vec![1, 2])).unwrap();
    assert_eq!(socket.close_code(), 1003);
    let mut socket = Socket::open(daemon.http, "/ws");
    socket.ws.send(Message::text("x".repeat(70_000))).unwrap();
    assert_eq!(socket.close_code(), 1009);
    // An unmasked frame, and text that is not UTF-8 ("\xff" under the mask 0).
    for (bytes, code) in [
        (&b"\x81\x01x"[..], 1002),
        (&b"\x81\x81\0\0\0\0\xff"[..], 1007),
    ] {
        let mut socket = Socket::open(daemon.http, "/ws");
        std::io::Write::write_all(socket.ws.get_mut(), bytes).unwrap();
        assert_eq!(socket.close_code(), code);
    }
    // A client that does not even answer pings; one that reads answers them and stays.
    let (mut silent, mut alive) = (
        Socket::open(daemon.http, "/ws"),
        Socket::open(daemon.http, "/ws"),
    );
    let began = Instant::now();
    alive
        .tcp
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    while began.elapsed() < Duration::from_secs(2) {
        match alive.ws.read() {
            Ok(Message::Close(frame)) => panic!("{frame:?}"),
            Ok(_) | Err(Error::Io(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(silent.close_code(), 1008);
    drop((socket, silent, alive));
    daemon.stop();
}

#[test]
fn handshakes_are_judged() {
    let daemon = house(json!({}));
    let selected = |headers: &[(&'static str, &str)]| {
        let (_, response) = Socket::try_open(daemon.http, "/ws", headers)
            .unwrap_or_else(|response| panic!("{response:?}"));
        response
            .headers()
            .get("sec-websocket-protocol")
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(
        selected(&[("sec-websocket-protocol", "mcp.version.2025-11-25, mcp")]).as_deref(),
        Some("mcp")
    );
    assert_eq!(selected(&[]), None);
    assert_eq!(selected(&[("origin", "http://localhost:8080")]), None);
    for (path, headers, status, code) in [
        (
            "/ws",
            vec![("origin", "https://evil.example")],
            403,
            "GGEN-E3008",
        ),
        ("/ws", vec![("host", "evil.example")], 403, "GGEN-E3009"),
        (
            "/ws",
            vec![("sec-websocket-version", "8")],
            426,
            "GGEN-E3060",
        ),
        ("/ws/a/b", vec![], 404, "GGEN-E3025"),
    ] {
        let refused = Socket::try_open(daemon.http, path, &headers)
            .err()
            .expect("refused");
        assert_eq!(refused.status(), status, "{path} {headers:?}");
        let body = String::from_utf8(refused.into_body().unwrap_or_default()).unwrap();
        assert!(body.is_empty() || body.contains(code), "{body}");
    }
    let plain = Connection::once(daemon.http, "GET", "/ws", &[], b"").unwrap();
    assert_eq!(
        (plain.head.status, plain.head.header("upgrade")),
        (426, Some("websocket"))
    );
    // A wrong token is refused, also where none is needed, and stands in no log line.
    let refused = Socket::try_open(daemon.http, "/ws?token=s3cr3t-token", &[])
        .err()
        .expect("refused");
    assert_eq!(refused.status(), 401);
    drop(Socket::open(daemon.http, "/ws"));
    until("the connection is logged", || {
        daemon.log().contains("WebSocket").then_some(())
    });
    let log = daemon.stop();
    assert!(
        !log.contains("s3cr3t-token") && log.contains("WebSocket"),
        "{log}"
    );
}

#[test]
fn a_worker_that_dies_costs_its_own_connections_only() {
    let daemon = house(json!({}));
    let mut http = Client::new(daemon.http, "old", Era::Legacy);
    let mut socket = Socket::legacy(daemon.http, "/ws/old", json!({}));
    let pid = daemon.worker_pid("websocket-0").unwrap();
    process::signal(pid, Signal::SIGKILL);
    assert!(matches!(
        socket.ws.read(),
        Err(Error::Protocol(_) | Error::Io(_))
    ));
    // New ones are not refused, whether the successor serves already or not.
    let mut socket = Socket::legacy(daemon.http, "/ws/old", json!({}));
    assert!(
        socket
            .request("tools/call", tool("echo", json!({ "message": "x" })))
            .0
            .get("result")
            .is_some()
    );
    assert_eq!(
        http.tool("echo", json!({ "message": "still here" })).text(),
        "still here"
    );
    daemon.until_replaced("websocket-0", pid);
    until("the dead worker's session has ended", || {
        (daemon.status().sessions == 2).then_some(())
    });
    // The http worker is not needed once the connection is handed over.
    let pid = daemon.worker_pid("http-0").unwrap();
    process::signal(pid, Signal::SIGKILL);
    daemon.until_replaced("http-0", pid);
    assert!(
        socket
            .request("tools/call", tool("echo", json!({ "message": "x" })))
            .0
            .get("result")
            .is_some()
    );
    let mut fresh = until("an upgrade", || {
        std::panic::catch_unwind(|| Socket::legacy(daemon.http, "/ws/old", json!({}))).ok()
    });
    // Sessions go on when the gateway worker dies, on the sockets that they belong to, and hear
    // what their server says.
    for _ in 0..2 {
        let pid = daemon.worker_pid("gateway-0").unwrap();
        process::signal(pid, Signal::SIGKILL);
        daemon.until_replaced("gateway-0", pid);
        for socket in [&mut fresh, &mut socket] {
            assert!(
                socket
                    .request("tools/call", tool("echo", json!({ "message": "x" })))
                    .0
                    .get("result")
                    .is_some()
            );
        }
        assert!(
            fresh
                .request("tools/call", tool("test_trigger_tool_change", json!({})))
                .0
                .get("result")
                .is_some()
        );
        fresh.until("notifications/tools/list_changed");
    }
    daemon.until_ready(&["old", "new"]);
    drop(fresh);
    let mut socket = Socket::open(daemon.http, "/ws");
    assert!(
        socket
            .request("tools/list", modern(json!({})))
            .0
            .get("result")
            .is_some()
    );
    // The end of the daemon is told, after what is in flight.
    let id = socket.start(
        "tools/call",
        modern(tool("old__slow", json!({ "ms": 2500 }))),
    );
    until("the call is in flight", || {
        (daemon.upstream("old").in_flight > 0).then_some(())
    });
    let stopping = std::thread::spawn(move || daemon.stop());
    assert!(socket.answer(id).0.get("result").is_some());
    assert_eq!(socket.close_code(), 1001);
    stopping.join().unwrap();
}

#[test]
fn a_listener_of_its_own() {
    let daemon = house(json!({ "port": 0, "path": "/socket" }));
    let status = daemon.status();
    let own = status
        .listeners
        .iter()
        .find(|listener| listener.transport == "websocket")
        .expect("a listener");
    let mut socket = Socket::legacy(own.address.parse().unwrap(), "/socket/new", json!({}));
    assert!(
        socket
            .request("tools/call", tool("echo", json!({ "message": "x" })))
            .0
            .get("result")
            .is_some()
    );
    until("the connection is shown", || {
        daemon
            .workers("websocket")
            .iter()
            .any(|worker| worker.connections > 0)
            .then_some(())
    });
    drop(socket);
    daemon.stop();
}
