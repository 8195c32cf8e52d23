//! Spans as a collector gets them: a real daemon with real servers on pipes and over HTTP, a
//! collector that reads exports with the official definitions of OTLP, and what became of the trace
//! on its way. Needs a `ggend` with the feature `otlp`, which `cargo test --workspace` builds.

use ggen_wire::Code;
use ggend_tests::*;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-00";

/// What a collector was sent: heads in lower case, and exports.
type Heard = Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>;

/// A collector that answers every export with this.
fn collector(answer: &'static str) -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Heard::default());
    let keep = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keep = Arc::clone(&keep);
            thread::spawn(move || while take(&stream, &keep, answer).is_some() {});
        }
    });
    (address, heard)
}

fn take(stream: &TcpStream, keep: &Heard, answer: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let head = head.to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)?
        .split("\r\n")
        .next()?
        .parse()
        .ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    keep.lock()
        .unwrap()
        .push((head, ExportTraceServiceRequest::decode(&body[..]).unwrap()));
    let mut stream = stream;
    stream
        .write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .ok()
}

fn spans(heard: &Heard) -> Vec<Span> {
    let heard = heard.lock().unwrap();
    let resources = heard.iter().flat_map(|(_, export)| &export.resource_spans);
    resources
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .cloned()
        .collect()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes
        .iter()
        .find(|pair| pair.key == key)
        .and_then(|pair| pair.value.as_ref()?.value.clone());
    match value {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        None => String::new(),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(collector: SocketAddr, more: Value, servers: Value) -> Value {
    let mut otlp =
        json!({ "enabled": true, "endpoint": format!("http://{collector}"), "sample_ratio": 0 });
    otlp.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "tracing": { "otlp": otlp }, "mcpServers": servers })
}

/// A call with these trace headers; the arguments must not be seen anywhere.
fn call(
    daemon: &Daemon,
    (client, server): (&Client, &str),
    tool: &str,
    trace: &[(&str, &str)],
) -> Value {
    let params = json!({ "name": tool, "arguments": { "message": "PLANT" } });
    let (session, version) = (client.session.clone(), client.version.clone());
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", version.as_str()),
    ];
    let mut body =
        json!({ "jsonrpc": "2.0", "id": "call-1", "method": "tools/call", "params": params });
    match &session {
        Some(session) => headers.push(("Mcp-Session-Id", session)),
        None => {
            headers.extend([("Mcp-Method", "tools/call"), ("Mcp-Name", tool)]);
            let meta = json!({ "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {} });
            body["params"]["_meta"] = meta;
        }
    }
    headers.extend(trace);
    let answer = Connection::once(
        daemon.http,
        "POST",
        &format!("/mcp/{server}"),
        &headers,
        body.to_string().as_bytes(),
    )
    .unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let data = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .next_back()
        .unwrap_or(&text);
    serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn counted(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.scrape().map_or(0.0, |scrape| {
        scrape.sum("ggend_otlp_spans_total", &format!("outcome=\"{outcome}\""))
    })
}

#[test]
fn the_trace_is_whole_from_the_client_to_servers_on_pipes_and_over_http() {
    let (address, heard) = collector("200 OK");
    let piped = json!({ "command": "/bin/sh", "args": ["-c", "tee \"$HOME/heard\" | \"$0\"", fixture(&[])["command"]] });
    let remote = RemoteFixture::start(&[]);
    let (host, path) = remote
        .url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let (tapped, overheard) = overheard::listening(host.parse().unwrap());
    let entry = json!({ "type": "http", "url": format!("http://{tapped}/{path}") });
    let more = json!({ "headers": "authorization=Bearer%20${COLLECTOR_KEY}", "service_name": "the-gateway" });
    let daemon = daemon(config(
        address,
        more,
        json!({ "piped": piped, "remote": entry }),
    ))
    .variable("COLLECTOR_KEY", "hush")
    .start();
    daemon.until_ready(&["piped", "remote"]);

    for (server, transport) in [("piped", "pipe"), ("remote", "tcp")] {
        for era in [Era::Legacy, Era::Modern] {
            let client = Client::new(daemon.http, server, era);
            heard.lock().unwrap().clear();
            let answer = call(
                &daemon,
                (&client, server),
                "echo",
                &[
                    ("traceparent", PARENT),
                    ("tracestate", "congo=1"),
                    ("baggage", "user=a"),
                ],
            );
            assert!(answer["result"].is_object(), "{answer}");
            let found = until("both spans are there", || {
                Some(spans(&heard)).filter(|found| found.len() == 2)
            });
            let of = |kind: i32| {
                found
                    .iter()
                    .find(|span| span.kind == kind)
                    .unwrap_or_else(|| panic!("{found:#?}"))
            };
            let (asked, sent) = (of(2), of(3));
            assert_eq!(
                (hex(&asked.trace_id), hex(&asked.parent_span_id)),
                (TRACE.to_owned(), PARENT[36..52].to_owned())
            );
            assert_eq!(
                (&sent.trace_id, &sent.parent_span_id),
                (&asked.trace_id, &asked.span_id)
            );
            assert_eq!(
                (
                    asked.name.as_str(),
                    sent.name.as_str(),
                    sent.trace_state.as_str()
                ),
                ("tools/call echo", "tools/call echo", "congo=1")
            );
            assert!(
                asked.start_time_unix_nano <= sent.start_time_unix_nano
                    && sent.end_time_unix_nano <= asked.end_time_unix_nano
            );
            assert!(asked.status.is_none() && sent.status.is_none());
            let since = std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .unwrap()
                .as_nanos()
                - u128::from(asked.end_time_unix_nano);
            assert!(since < 60_000_000_000, "{since} ns ago");
            for (key, value) in [
                ("mcp.method.name", "tools/call"),
                ("gen_ai.tool.name", "echo"),
                ("gen_ai.operation.name", "execute_tool"),
                ("jsonrpc.request.id", "call-1"),
                ("network.transport", "tcp"),
                ("network.protocol.name", "http"),
                ("mcp.protocol.version", &client.version),
            ] {
                assert_eq!(text(&asked.attributes, key), value, "{key}");
            }
            let session = text(&asked.attributes, "mcp.session.id");
            assert_eq!(session.len(), if era == Era::Legacy { 32 } else { 0 });
            assert!(client.session.as_ref().is_none_or(|id| *id != session));
            assert_eq!(
                (
                    text(&sent.attributes, "network.transport"),
                    text(&sent.attributes, "ggend.upstream")
                ),
                (transport.to_owned(), server.to_owned())
            );
            if server == "remote" {
                assert_eq!(
                    text(&sent.attributes, "server.port"),
                    tapped.port().to_string()
                );
            }
            // What the server itself got.
            let expected = format!("00-{TRACE}-{}-01", hex(&sent.span_id));
            let got = if server == "piped" {
                std::fs::read_to_string(daemon.sandbox.path("home").join("heard")).unwrap()
            } else {
                String::from_utf8(overheard.lock().unwrap().clone()).unwrap()
            };
            let carried =
                format!(r#""traceparent":"{expected}","tracestate":"congo=1","baggage":"user=a""#);
            assert_eq!(got.matches(&carried).count(), 1, "{carried}\n{got}");
            assert!(!got.contains(PARENT), "{got}");
            if server == "remote" {
                for header in [
                    format!("traceparent: {expected}\r\n"),
                    "baggage: user=a\r\n".to_owned(),
                ] {
                    assert!(got.contains(&header), "{header}\n{got}");
                }
            }
        }
    }
    {
        let heard = heard.lock().unwrap();
        let (head, export) = &heard[0];
        assert!(
            head.starts_with("post /v1/traces http/1.1\r\n")
                && head.contains("authorization: bearer hush\r\n"),
            "{head}"
        );
        let resource = export.resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(text(&resource.attributes, "service.name"), "the-gateway");
        let shown = format!("{export:?}");
        assert!(
            !shown.contains("PLANT") && !shown.contains("hush"),
            "{shown}"
        );
    }
    // A tool that fails, and one that is not there.
    for (tool, kind) in [("test_error_handling", "tool_error"), ("nowhere", "-32602")] {
        heard.lock().unwrap().clear();
        let client = Client::new(daemon.http, "piped", Era::Modern);
        call(
            &daemon,
            (&client, "piped"),
            tool,
            &[("traceparent", PARENT)],
        );
        let found = until("it is told", || {
            Some(spans(&heard)).filter(|found| !found.is_empty())
        });
        let asked = found.iter().find(|span| span.kind == 2).unwrap();
        assert_eq!(
            (
                text(&asked.attributes, "error.type"),
                asked.status.as_ref().unwrap().code
            ),
            (kind.to_owned(), 2)
        );
    }
    // Nobody recorded this one, and it passes as it came.
    let before = counted(&daemon, "sent");
    heard.lock().unwrap().clear();
    let client = Client::new(daemon.http, "piped", Era::Legacy);
    call(
        &daemon,
        (&client, "piped"),
        "echo",
        &[("traceparent", UNSAMPLED)],
    );
    call(
        &daemon,
        (&client, "piped"),
        "echo",
        &[("traceparent", PARENT)],
    );
    let found = until("the next one is told", || {
        Some(spans(&heard)).filter(|found| !found.is_empty())
    });
    assert!(
        found.iter().all(|span| hex(&span.trace_id) == TRACE),
        "{found:?}"
    );
    assert!(
        std::fs::read_to_string(daemon.sandbox.path("home").join("heard"))
            .unwrap()
            .contains(UNSAMPLED)
    );
    until("they are counted", || {
        (counted(&daemon, "sent") > before).then_some(())
    });
    assert!(
        !daemon.log().contains("hush")
            && !daemon
                .ggen(&["mcp", "config", "show"])
                .stdout
                .contains("hush")
    );
    std::fs::remove_file(daemon.sandbox.path("home").join("heard")).unwrap();
    daemon.stop();
}

#[test]
fn a_collector_that_is_not_there_costs_calls_nothing_and_is_said_once() {
    // Connections are taken by the system, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = json!({ "one": fixture(&[]) });
    let more = json!({ "sample_ratio": 1, "timeout_ms": 1000 });
    let mut daemon = daemon(config(
        silent.local_addr().unwrap(),
        more.clone(),
        servers.clone(),
    ))
    .start();
    daemon.until_ready(&["one"]);
    let mut client = Client::new(daemon.http, "one", Era::Legacy);
    let worst = (0..1500)
        .map(|_| {
            let began = Instant::now();
            assert!(
                client
                    .tool("echo", json!({ "message": "x" }))
                    .result()
                    .is_object()
            );
            began.elapsed()
        })
        .max()
        .unwrap();
    assert!(worst < Duration::from_secs(2), "a call took {worst:?}");
    until("what has no room is dropped and counted", || {
        (counted(&daemon, "dropped") > 0.0).then_some(())
    });
    let said = |daemon: &Daemon| control::logs(&daemon.sandbox.socket(), "takes no spans");
    let lines = until("it is said", || {
        Some(said(&daemon)).filter(|lines| !lines.is_empty())
    });
    assert_eq!(lines[0].code, Some(Code::CollectorUnusable), "{lines:?}");
    let doctor = daemon.ggen(&["mcp", "doctor", "--format", "json"]);
    assert!(doctor.stdout.contains("GGEN-E7006"), "{}", doctor.stdout);

    // Another address is taken over by a reload, in the running worker, and gets what waits.
    let worker = daemon.worker_pid("gateway-0");
    let (address, heard) = collector("200 OK");
    daemon.sandbox.write_config(&config(address, more, servers));
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    until("what waited arrives", || {
        (spans(&heard).len() >= 2000).then_some(())
    });
    assert_eq!(
        (daemon.worker_pid("gateway-0"), said(&daemon).len()),
        (worker, 1)
    );
    until("it is said that it works", || {
        (!control::logs(&daemon.sandbox.socket(), "takes spans again").is_empty()).then_some(())
    });
    assert!(
        client
            .tool("echo", json!({ "message": "x" }))
            .result()
            .is_object()
    );
    daemon.stop();
}

#[test]
fn what_waits_is_sent_when_the_daemon_stops() {
    let (address, heard) = collector("200 OK");
    let daemon = daemon(config(
        address,
        json!({ "sample_ratio": 1 }),
        json!({ "one": fixture(&[]) }),
    ))
    .start();
    daemon.until_ready(&["one"]);
    let mut client = Client::new(daemon.http, "one", Era::Modern);
    for _ in 0..20 {
        assert!(
            client
                .tool("echo", json!({ "message": "x" }))
                .result()
                .is_object()
        );
    }
    daemon.signal(Signal::SIGTERM);
    until("every call of the last moment arrives", || {
        (spans(&heard).len() >= 40).then_some(())
    });
    let found = spans(&heard);
    let roots: Vec<_> = found
        .iter()
        .filter(|span| span.kind == 2 && span.parent_span_id.is_empty())
        .map(|span| &span.span_id)
        .collect();
    assert_eq!((found.len(), roots.len()), (40, 20));
    assert!(
        found
            .iter()
            .filter(|span| span.kind == 3)
            .all(|span| roots.contains(&&span.parent_span_id))
    );
    daemon.stop();
}
