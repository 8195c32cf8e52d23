//! The trace context of a client's request, from its headers through to servers on pipes and over
//! HTTP, into the log and beside the figures.

use ggend_tests::*;
use serde_json::json;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OPENMETRICS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3";

fn scrape(daemon: &Daemon, accept: &str) -> (String, String) {
    let answer =
        Connection::once(daemon.admin, "GET", "/metrics", &[("Accept", accept)], b"").unwrap();
    (
        answer.head.header("content-type").unwrap().to_owned(),
        String::from_utf8(answer.body).unwrap(),
    )
}

#[test]
fn a_trace_goes_through_to_servers_and_is_named_in_the_log_and_beside_the_figures() {
    let piped = json!({ "command": "/bin/sh", "args": ["-c", "tee \"$HOME/heard\" | \"$0\"", fixture(&[])["command"]] });
    let remote = RemoteFixture::start(&[]);
    let (host, path) = remote
        .url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let (address, heard) = overheard::listening(host.parse().unwrap());
    let entry = json!({ "type": "http", "url": format!("http://{address}/{path}") });
    let daemon = daemon(
        json!({ "logging": { "audit": true }, "mcpServers": { "piped": piped, "remote": entry } }),
    )
    .start();
    daemon.until_ready(&["piped", "remote"]);

    let call = |server: &str, id: u32, trace: &[(&str, &str)]| {
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "test_simple_text"),
        ];
        headers.extend(trace);
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
        let params = json!({ "name": "test_simple_text", "arguments": {}, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let answer = Connection::once(
            daemon.http,
            "POST",
            &format!("/mcp/{server}"),
            &headers,
            body.to_string().as_bytes(),
        )
        .unwrap();
        assert_eq!(
            answer.head.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
    };
    for (id, server) in (1..).zip(["piped", "remote"]) {
        call(
            server,
            id,
            &[
                ("traceparent", "00-not-a-trace"),
                ("tracestate", "dropped=1"),
            ],
        );
    }
    let (_, before) = scrape(&daemon, OPENMETRICS);
    assert!(!before.contains(ID), "{before}");
    for (id, server) in (3..).zip(["piped", "remote"]) {
        call(
            server,
            id,
            &[
                ("traceparent", PARENT),
                ("tracestate", "congo=t61rcWkgMzE"),
                ("baggage", "userId=alice"),
            ],
        );
    }
    let expected = format!(
        r#""traceparent":"{PARENT}","tracestate":"congo=t61rcWkgMzE","baggage":"userId=alice""#
    );
    let (on_pipes, over_http) = (
        std::fs::read_to_string(daemon.sandbox.path("home").join("heard")).unwrap(),
        String::from_utf8(heard.lock().unwrap().clone()).unwrap(),
    );
    for text in [&on_pipes, &over_http] {
        assert_eq!(text.matches(&expected).count(), 1, "{text}");
        assert!(
            !text.contains("00-not-a-trace") && !text.contains("dropped=1"),
            "{text}"
        );
    }
    for header in [
        format!("traceparent: {PARENT}\r\n"),
        "tracestate: congo=t61rcWkgMzE\r\n".to_owned(),
        "baggage: userId=alice\r\n".to_owned(),
    ] {
        assert_eq!(over_http.matches(&header).count(), 1, "{over_http}");
    }

    let named = until("both calls are written down with their trace", || {
        let mut lines = control::logs(&daemon.sandbox.socket(), "call");
        lines.retain(|line| {
            line.fields
                .iter()
                .any(|(name, value)| name == "trace_id" && value == ID)
        });
        (lines.len() == 2).then_some(lines)
    });
    for line in named {
        let value = |name: &str| {
            line.fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.as_str())
        };
        assert!(matches!(value("request"), Some("3" | "4")), "{line:?}");
    }
    let (kind, text) = until("the request's exemplar is shown", || {
        Some(scrape(&daemon, OPENMETRICS)).filter(|(_, text)| text.contains(ID))
    });
    assert_eq!(
        kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let exemplars: Vec<_> = text.lines().filter(|line| line.contains(" # ")).collect();
    let ours = |line: &&&str| {
        line.starts_with("ggend_request_duration_seconds_bucket{method=\"tools/call\",le=")
            && line.contains(&format!(" # {{trace_id=\"{ID}\"}} "))
    };
    assert!(
        !exemplars.is_empty() && exemplars.iter().filter(ours).count() == exemplars.len(),
        "{exemplars:?}"
    );
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let (kind, text) = scrape(&daemon, "*/*");
    assert!(
        kind.starts_with("text/plain; version=0.0.4")
            && !text.contains(ID)
            && !text.contains("# EOF"),
        "{kind}\n{text}"
    );
    std::fs::remove_file(daemon.sandbox.path("home").join("heard")).unwrap();
    daemon.stop();
}
