//! The table of bad input: what each gets as HTTP status, JSON-RPC code and code of ours, and that
//! a good client is served after each. `cargo test -p ggend-tests --test protocol bad_input
//! -- --nocapture` prints it.

use ggend_tests::*;
use serde_json::{Value, json};
use std::{io, time::Duration};

/// What is sent.
enum Sent {
    /// A request with a `Host` and a `Content-Length`: method, path, headers, body.
    Request(
        &'static str,
        &'static str,
        Vec<(&'static str, String)>,
        Vec<u8>,
    ),
    /// Bytes.
    Raw(Vec<u8>),
}

/// A row: what it is, what is sent, and what comes back (JSON-RPC code 0 and code "" for an answer
/// that is no JSON-RPC error).
struct Row(&'static str, Sent, u16, i64, &'static str);

const MODERN: &str = "2026-07-28";

fn text(headers: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

/// The headers that every POST has.
fn plain() -> Vec<(&'static str, String)> {
    text(&[
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ])
}

/// The headers of a modern request.
fn modern(method: &str, name: &str) -> Vec<(&'static str, String)> {
    let mut headers = plain();
    headers.extend(text(&[
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", method),
    ]));
    if !name.is_empty() {
        headers.push(("Mcp-Name", name.to_owned()));
    }
    headers
}

/// With one header in another's place, or left out if `value` is "-".
fn but(
    mut headers: Vec<(&'static str, String)>,
    name: &'static str,
    value: &str,
) -> Vec<(&'static str, String)> {
    headers.retain(|(known, _)| *known != name);
    if value != "-" {
        headers.push((name, value.to_owned()));
    }
    headers
}

fn post(
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: impl Into<Vec<u8>>,
) -> Sent {
    Sent::Request("POST", path, headers, body.into())
}

fn meta(version: &str) -> Value {
    json!({ "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {} })
}

/// A modern request's body.
fn body(method: &str, mut params: Value) -> String {
    params["_meta"] = meta(MODERN);
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

fn rows(session: &str, address: &str) -> Vec<Row> {
    use Sent::{Raw, Request};
    let legacy = |extra: &[(&'static str, &str)]| {
        let mut headers = plain();
        headers.extend(text(&[
            ("Mcp-Session-Id", session),
            ("MCP-Protocol-Version", "2025-11-25"),
        ]));
        headers.extend(text(extra));
        headers
    };
    let list = || body("tools/list", json!({}));
    let echo = |arguments: Value| {
        body(
            "tools/call",
            json!({ "name": "echo", "arguments": arguments }),
        )
    };
    let of_session = |line: &str| post("/mcp/fix", legacy(&[]), line);
    let request = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}1{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let raw = |head: &str| Raw(head.replace("{host}", address).into_bytes());
    let chunk = "x".repeat(0x10000);
    let chunks = format!("10000\r\n{chunk}\r\n").repeat(8);
    let json_head = "Host: {host}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
    let two = modern("tools/list", "")
        .into_iter()
        .chain(text(&[("Mcp-Method", "tools/list")]))
        .collect();
    let mut rows = vec![
        // Not a message.
        Row(
            "invalid JSON",
            of_session("{\"jsonrpc\":"),
            400,
            -32700,
            "GGEN-E3001",
        ),
        Row("no body", of_session(""), 400, -32700, "GGEN-E3001"),
        Row(
            "not UTF-8",
            post(
                "/mcp/fix",
                legacy(&[]),
                &b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}"[..],
            ),
            400,
            -32700,
            "GGEN-E3001",
        ),
        Row(
            "something behind the message",
            of_session(r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#),
            400,
            -32700,
            "GGEN-E3001",
        ),
        Row("a number", of_session("42"), 400, -32600, "GGEN-E3002"),
        Row(
            "no method",
            of_session(r#"{"jsonrpc":"2.0","id":1}"#),
            400,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "JSON-RPC 1.0",
            of_session(r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#),
            400,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "id null",
            of_session(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
            400,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "id an object",
            of_session(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#),
            400,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "a batch in 2025-11-25",
            of_session(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#),
            400,
            -32600,
            "GGEN-E3015",
        ),
        Row(
            "a batch without a session",
            post("/mcp/fix", plain(), "[]"),
            400,
            -32600,
            "GGEN-E3015",
        ),
        Row(
            "5,000 levels deep",
            of_session(&deep),
            400,
            -32600,
            "GGEN-E3005",
        ),
        Row(
            "method twice",
            of_session(r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#),
            400,
            -32600,
            "GGEN-E3006",
        ),
        Row(
            "id twice",
            of_session(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#),
            400,
            -32600,
            "GGEN-E3006",
        ),
        Row(
            "params twice",
            of_session(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#),
            400,
            -32600,
            "GGEN-E3006",
        ),
        // HTTP.
        Row(
            "Content-Type text/plain",
            post(
                "/mcp/fix",
                but(legacy(&[]), "Content-Type", "text/plain"),
                "{}",
            ),
            415,
            -32600,
            "GGEN-E3004",
        ),
        Row(
            "no Content-Type",
            post("/mcp/fix", but(legacy(&[]), "Content-Type", "-"), "{}"),
            415,
            -32600,
            "GGEN-E3004",
        ),
        Row(
            "Accept text/html",
            post("/mcp/fix", but(legacy(&[]), "Accept", "text/html"), "{}"),
            406,
            -32600,
            "GGEN-E3020",
        ),
        Row(
            "a body over the limit",
            post("/mcp/fix", legacy(&[]), vec![b' '; 300_000]),
            413,
            -32600,
            "GGEN-E3003",
        ),
        Row(
            "chunks over the limit",
            raw(&format!(
                "POST /mcp HTTP/1.1\r\n{json_head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
            )),
            413,
            -32600,
            "GGEN-E3003",
        ),
        Row(
            "a foreign Origin",
            post(
                "/mcp/fix",
                legacy(&[("Origin", "https://evil.example")]),
                "{}",
            ),
            403,
            -32600,
            "GGEN-E3008",
        ),
        Row(
            "Origin null",
            post("/mcp/fix", legacy(&[("Origin", "null")]), "{}"),
            403,
            -32600,
            "GGEN-E3008",
        ),
        Row(
            "a foreign Origin on GET",
            Request(
                "GET",
                "/mcp/fix",
                legacy(&[("Origin", "https://evil.example")]),
                vec![],
            ),
            403,
            -32600,
            "GGEN-E3008",
        ),
        Row(
            "a foreign Host",
            raw("POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"),
            403,
            -32600,
            "GGEN-E3009",
        ),
        Row(
            "no Host",
            raw("POST /mcp HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
            400,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "two Hosts",
            raw(
                "POST /mcp HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
            ),
            400,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "a header section of 1 MB",
            raw(&format!(
                "POST /mcp HTTP/1.1\r\n{json_head}X-Much: {}\r\n\r\n",
                "x".repeat(1 << 20)
            )),
            431,
            0,
            "",
        ),
        Row(
            "MCP headers of 20 KB",
            post(
                "/mcp/fix",
                legacy(&[("Mcp-Param-X", &"x".repeat(20_000))]),
                "{}",
            ),
            431,
            -32600,
            "GGEN-E3002",
        ),
        Row(
            "not HTTP",
            raw("\u{16}\u{3}\u{1}\u{2}hello\r\n\r\n"),
            400,
            0,
            "",
        ),
        Row(
            "PUT",
            Request("PUT", "/mcp", legacy(&[]), vec![]),
            405,
            -32600,
            "GGEN-E3016",
        ),
        Row(
            "an unknown path",
            post("/mcq", legacy(&[]), "{}"),
            404,
            -32600,
            "GGEN-E3025",
        ),
        Row(
            "an unknown server",
            post("/mcp/nobody", modern("tools/list", ""), list()),
            404,
            -32600,
            "GGEN-E3024",
        ),
        Row(
            "GET without a session",
            Request("GET", "/mcp/fix", plain(), vec![]),
            405,
            -32600,
            "GGEN-E3016",
        ),
        Row(
            "GET of a modern client",
            Request("GET", "/mcp/fix", modern("", ""), vec![]),
            405,
            -32600,
            "GGEN-E3016",
        ),
        Row(
            "DELETE without a session",
            Request("DELETE", "/mcp/fix", plain(), vec![]),
            400,
            -32600,
            "GGEN-E3023",
        ),
        Row(
            "DELETE of a modern client",
            Request("DELETE", "/mcp/fix", modern("", ""), vec![]),
            405,
            -32600,
            "GGEN-E3016",
        ),
        Row(
            "DELETE of an unknown session",
            Request(
                "DELETE",
                "/mcp/fix",
                but(legacy(&[]), "Mcp-Session-Id", "nobody"),
                vec![],
            ),
            404,
            -32600,
            "GGEN-E3013",
        ),
        // Legacy. In the view of one server, what the relay does not know is that server's to
        // refuse, in its own words.
        Row(
            "no session",
            post(
                "/mcp/fix",
                plain(),
                request("resources/subscribe", json!({ "uri": "x" })),
            ),
            400,
            -32600,
            "GGEN-E3023",
        ),
        Row(
            "an unknown session",
            post(
                "/mcp/fix",
                but(legacy(&[]), "Mcp-Session-Id", "nobody"),
                request("tools/list", json!({})),
            ),
            404,
            -32600,
            "GGEN-E3013",
        ),
        Row(
            "a session of another view",
            post("/mcp", legacy(&[]), request("tools/list", json!({}))),
            404,
            -32600,
            "GGEN-E3013",
        ),
        Row(
            "an unknown version in a session",
            post(
                "/mcp/fix",
                but(legacy(&[]), "MCP-Protocol-Version", "1999-01-01"),
                request("ping", json!({})),
            ),
            400,
            -32022,
            "GGEN-E3014",
        ),
        Row(
            "an unknown method, legacy",
            of_session(&request("no/such", json!({}))),
            200,
            -32601,
            "GGEN-E3011",
        ),
        Row(
            "an unknown tool, legacy",
            of_session(&request("tools/call", json!({ "name": "nobody" }))),
            200,
            -32602,
            "",
        ),
        Row(
            "a tool without a name",
            of_session(&request("tools/call", json!({}))),
            200,
            -32602,
            "GGEN-E3002",
        ),
        Row(
            "an unknown prompt, legacy",
            of_session(&request("prompts/get", json!({ "name": "nobody" }))),
            200,
            -32602,
            "",
        ),
        Row(
            "an unknown resource, legacy",
            of_session(&request(
                "resources/read",
                json!({ "uri": "test://nobody" }),
            )),
            200,
            -32002,
            "",
        ),
        Row(
            "an invalid cursor",
            of_session(&request("tools/list", json!({ "cursor": "nonsense" }))),
            200,
            -32602,
            "GGEN-E3026",
        ),
        Row(
            "initialize without params",
            post(
                "/mcp/fix",
                plain(),
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
            ),
            200,
            -32602,
            "GGEN-E3002",
        ),
        // Modern.
        Row(
            "no MCP-Protocol-Version",
            post(
                "/mcp/fix",
                but(modern("tools/list", ""), "MCP-Protocol-Version", "-"),
                list(),
            ),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "another MCP-Protocol-Version",
            post(
                "/mcp/fix",
                but(
                    modern("tools/list", ""),
                    "MCP-Protocol-Version",
                    "2025-11-25",
                ),
                list(),
            ),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "no Mcp-Method",
            post(
                "/mcp/fix",
                but(modern("tools/list", ""), "Mcp-Method", "-"),
                list(),
            ),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "another Mcp-Method",
            post("/mcp/fix", modern("prompts/list", ""), list()),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "Mcp-Method in capitals",
            post("/mcp/fix", modern("Tools/List", ""), list()),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "Mcp-Method twice",
            post("/mcp/fix", two, list()),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "no Mcp-Name",
            post("/mcp/fix", modern("tools/call", ""), echo(json!({}))),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "another Mcp-Name",
            post("/mcp/fix", modern("tools/call", "add"), echo(json!({}))),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "Mcp-Name in broken base64",
            post(
                "/mcp/fix",
                modern("tools/call", "=?base64?%%%?="),
                echo(json!({})),
            ),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "the modern header without _meta",
            post(
                "/mcp/fix",
                modern("tools/list", ""),
                request("tools/list", json!({})),
            ),
            400,
            -32602,
            "GGEN-E3002",
        ),
        Row(
            "_meta without capabilities",
            post(
                "/mcp/fix",
                modern("tools/list", ""),
                request(
                    "tools/list",
                    json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": MODERN } }),
                ),
            ),
            400,
            -32602,
            "GGEN-E3002",
        ),
        Row(
            "an unknown log level",
            post(
                "/mcp/fix",
                modern("tools/list", ""),
                list().replace(
                    "\"params\":{\"_meta\":{",
                    "\"params\":{\"_meta\":{\"io.modelcontextprotocol/logLevel\":\"loud\",",
                ),
            ),
            200,
            -32602,
            "GGEN-E3002",
        ),
        Row(
            "a tool of another's mirrored header",
            post(
                "/mcp/fix",
                modern("tools/call", "test_x_mcp_header"),
                body(
                    "tools/call",
                    json!({ "name": "test_x_mcp_header", "arguments": { "region": "eu" } }),
                ),
            ),
            400,
            -32020,
            "GGEN-E3007",
        ),
        Row(
            "an unknown method, modern",
            post(
                "/mcp/fix",
                modern("no/such", ""),
                body("no/such", json!({})),
            ),
            404,
            -32601,
            "",
        ),
        Row(
            "an unknown tool, modern",
            post(
                "/mcp/fix",
                modern("tools/call", "nobody"),
                body("tools/call", json!({ "name": "nobody" })),
            ),
            200,
            -32602,
            "",
        ),
        Row(
            "an unknown prompt, modern",
            post(
                "/mcp/fix",
                modern("prompts/get", "nobody"),
                body("prompts/get", json!({ "name": "nobody" })),
            ),
            200,
            -32602,
            "",
        ),
        Row(
            "an unknown resource, modern",
            post(
                "/mcp/fix",
                modern("resources/read", "test://nobody"),
                body("resources/read", json!({ "uri": "test://nobody" })),
            ),
            200,
            -32602,
            "",
        ),
        Row(
            "a response, modern",
            post(
                "/mcp/fix",
                modern("", ""),
                r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            ),
            400,
            -32600,
            "GGEN-E3002",
        ),
    ];
    // In the view of all nobody but the gateway can say that there is no such name.
    for (method, member, ours) in [
        ("tools/call", "name", "GGEN-E3012"),
        ("prompts/get", "name", "GGEN-E3018"),
        ("resources/read", "uri", "GGEN-E3019"),
    ] {
        let mut params = json!({});
        params[member] = json!("nobody:x");
        rows.push(Row(
            "an unknown name in the view of all",
            post("/mcp", modern(method, "nobody:x"), body(method, params)),
            200,
            -32602,
            ours,
        ));
    }
    rows.push(Row(
        "an unknown method in the view of all",
        post("/mcp", modern("no/such", ""), body("no/such", json!({}))),
        404,
        -32601,
        "GGEN-E3011",
    ));
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    ] {
        rows.push(Row(
            method,
            post("/mcp/fix", modern(method, ""), body(method, json!({}))),
            404,
            -32601,
            "GGEN-E3011",
        ));
    }
    for version in ["1999-01-01", "2025-11-25"] {
        let asked = list().replace(MODERN, version);
        rows.push(Row(
            "an unsupported version",
            post(
                "/mcp/fix",
                but(modern("tools/list", ""), "MCP-Protocol-Version", version),
                asked,
            ),
            400,
            -32022,
            "GGEN-E3014",
        ));
    }
    rows
}

fn send(address: std::net::SocketAddr, sent: &Sent) -> io::Result<Answer> {
    let mut connection = Connection::open(address)?;
    let written = match sent {
        Sent::Raw(bytes) => connection.send(bytes),
        Sent::Request(method, path, headers, body) => {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            connection.request(method, path, &headers, body)
        }
    };
    // A daemon that has refused may have closed before everything was written; its answer is there
    // all the same.
    connection
        .answer()
        .map_err(|error| written.err().unwrap_or(error))
}

#[test]
fn each_bad_input_gets_its_answer_and_a_good_client_is_served_after_it() {
    let config = json!({ "transports": { "http": { "max_body": "256KB" } }, "mcpServers": { "fix": fixture(&[]) } });
    let daemon = daemon(config).start();
    daemon.until_ready(&["fix"]);
    let good = Client::new(daemon.http, "fix", Era::Legacy);
    let rows = rows(good.session.as_deref().unwrap(), &daemon.http.to_string());
    let mut clients = [good, Client::new(daemon.http, "fix", Era::Modern)];
    let mut wrong = Vec::new();
    println!("{:40} {:>4} {:>7} {:10}", "sent", "HTTP", "RPC", "code");
    for Row(what, sent, status, rpc, ours) in &rows {
        let answer = match send(daemon.http, sent) {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{what}: {error}, expected {status} {rpc} {ours}"));
                continue;
            }
        };
        let message: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &message["error"];
        let got = (
            answer.head.status,
            error["code"].as_i64().unwrap_or(0),
            error["data"]["code"].as_str().unwrap_or_default(),
        );
        println!(
            "{what:40} {:4} {:7} {:10}  {}",
            got.0,
            got.1,
            got.2,
            error["message"].as_str().unwrap_or_default()
        );
        if got != (*status, *rpc, *ours) {
            wrong.push(format!(
                "{what}: {got:?}, expected {status} {rpc} {ours}: {}",
                String::from_utf8_lossy(&answer.body)
            ));
        }
        if *status == 405 {
            assert!(
                answer.head.header("allow").is_some(),
                "{what}: RFC 9110 §15.5.6 wants Allow"
            );
        }
        for client in &mut clients {
            assert_eq!(
                client.tool("echo", json!({ "message": what })).text(),
                *what
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
    assert!(
        daemon
            .status()
            .workers
            .iter()
            .all(|worker| worker.restarts == 0)
    );
    daemon.stop();
}

#[test]
fn slow_clients_are_disconnected_and_do_not_keep_others_out() {
    let config = json!({ "transports": { "http": { "timeout_ms": 500, "request_timeout_ms": 1500 } }, "mcpServers": { "fix": fixture(&[]) } });
    let daemon = daemon(config).start();
    daemon.until_ready(&["fix"]);
    // Head, or body, that never comes to its end.
    let mut silent: Vec<_> = (0..50)
        .map(|_| Connection::open(daemon.http).unwrap())
        .collect();
    let mut heads: Vec<_> = (0..50)
        .map(|_| Connection::open(daemon.http).unwrap())
        .collect();
    for head in &mut heads {
        head.send(b"POST /mcp/fix HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            .unwrap();
    }
    let mut body = Connection::open(daemon.http).unwrap();
    body.send(b"POST /mcp/fix HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{").unwrap();
    let mut client = Client::new(daemon.http, "fix", Era::Modern);
    assert_eq!(
        client
            .tool("echo", json!({ "message": "meanwhile" }))
            .text(),
        "meanwhile"
    );
    let answer = body.answer().unwrap();
    let message: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (answer.head.status, &message["error"]["data"]["code"]),
        (408, &json!("GGEN-E3027")),
        "{message}"
    );
    let mut statuses = Vec::new();
    for head in &mut heads {
        statuses.push(
            head.answer()
                .map(|answer| answer.head.status)
                .map_err(|error| error.kind()),
        );
    }
    println!("slow heads get {:?}", statuses[0]);
    for connection in &mut silent {
        let answer = connection
            .answer()
            .map(|answer| answer.head.status)
            .map_err(|error| error.kind());
        assert!(
            matches!(
                answer,
                Ok(408) | Err(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
            ),
            "{answer:?}"
        );
    }
    // A call that takes too long: its answer has not begun in time.
    let late = client.tool("slow", json!({ "ms": 60_000 }));
    assert_eq!(
        (late.head.status, late.error()),
        (504, (-32603, "GGEN-E3027")),
        "{:?}",
        late.response()
    );
    assert_eq!(
        client.tool("echo", json!({ "message": "after" })).text(),
        "after"
    );
    daemon.stop();
}

#[test]
fn clients_that_vanish_at_any_point_leave_nothing_behind() {
    let daemon = daemon(json!({ "mcpServers": { "fix": fixture(&[]) } })).start();
    daemon.until_ready(&["fix"]);
    let mut client = Client::new(daemon.http, "fix", Era::Modern);
    let request = {
        let body = body(
            "tools/call",
            json!({ "name": "slow", "arguments": { "ms": 60_000 } }),
        );
        let headers = modern("tools/call", "slow")
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect::<String>();
        format!(
            "POST /mcp/fix HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            daemon.http,
            body.len()
        )
    };
    for cut in (0..=request.len()).step_by(7).chain([request.len()]) {
        Connection::open(daemon.http)
            .unwrap()
            .send(&request.as_bytes()[..cut])
            .unwrap();
    }
    let open = until("the connections and calls are gone", || {
        let scrape = daemon.scrape()?;
        // This client's own connection may be open.
        let (open, flying) = (
            scrape.sum("ggend_http_connections", ""),
            daemon.status().in_flight,
        );
        (open <= 1.0 && flying == 0).then_some(open)
    });
    println!("{open} connections are left");
    assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
    assert!(Duration::from_millis(daemon.status().uptime_ms) < DEADLINE);
    daemon.stop();
}
