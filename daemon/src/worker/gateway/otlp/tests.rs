//! Exports to a real socket: what is tried again and what is not, what a collector that is slow,
//! dead or hostile costs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::{
    encode::{self, Peer, SpanPeer},
    export::retry_after,
    messages::{ExportTraceServiceRequest, Value},
    *,
};
use ggen_mcp::api::UpId;
use ggen_mcp::trace::TraceId;
use ggen_mcp::trace::span::{Failure, SpanId};
use ggen_wire::Code;
use prometheus::Opts;
use prost::Message;
use std::{io::Read, time::SystemTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

const DEADLINE: Duration = Duration::from_secs(20);

fn span(number: u64) -> Span {
    Span {
        trace: TraceId(7),
        id: SpanId(number),
        parent: Some(SpanId(1)),
        state: Some("a=1".into()),
        link: None,
        side: Side::Client(1),
        method: "tools/call",
        target: Some("files__read".into()),
        request: "\"seven\"".into(),
        session: Some("0123456789abcdef0123456789abcdef0123".into()),
        version: "2025-11-25",
        began: 1000,
        ended: 3000,
        failure: None,
    }
}

fn observer() -> Observer {
    Observer::new(vec!["up".into()]).unwrap()
}

fn started(otlp: &mut Otlp, settings: serde_json::Value) {
    let config: Config =
        serde_json::from_value(serde_json::json!({"tracing": {"otlp": settings}})).unwrap();
    let mut start = crate::worker::gateway::tests::start(config);
    start.collector_headers = Some(crate::config::Secret::new("x-key=hush%20hush".to_owned()));
    otlp.set(&start, &Arc::new(Clients::new(2)));
}

fn otlp(settings: serde_json::Value) -> Otlp {
    let counted = IntCounterVec::new(Opts::new("spans", "spans"), &["outcome"]).unwrap();
    let mut otlp = Otlp::new(&counted);
    started(&mut otlp, settings);
    otlp
}

/// Head and body of a request.
async fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the request ends early");
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok())
            .unwrap();
        if bytes.len() >= end + 4 + length {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

/// A collector that gives these answers, one for each request, and what it was sent.
async fn collector(answers: &[&str]) -> (String, JoinHandle<Vec<(String, Vec<u8>)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<String> = answers
        .iter()
        .map(|answer| format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n"))
        .collect();
    let task = tokio::spawn(async move {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            heard.push(request(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heard
    });
    (address, task)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spans_of(body: &[u8]) -> Vec<super::messages::Span> {
    let mut sent = ExportTraceServiceRequest::decode(body).unwrap();
    sent.resource_spans.remove(0).scope_spans.remove(0).spans
}

#[test]
fn names_and_attributes_are_those_of_the_conventions() {
    let of = |span: &super::messages::Span| {
        let value = |value: &Value| match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
        };
        let one = |pair: &super::messages::KeyValue| {
            format!(
                "{}={}",
                pair.key,
                value(pair.value.as_ref().unwrap().value.as_ref().unwrap())
            )
        };
        span.attributes
            .iter()
            .map(one)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let server = encode::span(&span(5), 1_000_000, &SpanPeer::Client("quic"));
    assert_eq!(
        (
            server.name.as_str(),
            server.kind,
            server.flags,
            server.status.is_none()
        ),
        ("tools/call files__read", 2, 0x301, true)
    );
    assert_eq!(
        (server.start_time_unix_nano, server.end_time_unix_nano),
        (1_001_000_000, 1_003_000_000)
    );
    assert_eq!(
        (
            server.span_id.len(),
            server.trace_id.len(),
            server.trace_state.as_str()
        ),
        (8, 16, "a=1")
    );
    assert_eq!(
        of(&server),
        "mcp.method.name=tools/call gen_ai.tool.name=files__read gen_ai.operation.name=execute_tool jsonrpc.request.id=seven \
         mcp.protocol.version=2025-11-25 mcp.session.id=0123456789abcdef0123456789abcdef network.transport=quic network.protocol.name=http \
         network.protocol.version=3"
    );
    let failure = Some(Failure {
        outcome: ggen_mcp::api::CallOutcome::Timeout,
        rpc: None,
        code: Some(Code::UpstreamTimeout),
    });
    let call = Span {
        side: Side::Upstream(UpId(0)),
        method: "prompts/get",
        session: None,
        request: "9".into(),
        failure,
        ..span(6)
    };
    let client = encode::span(
        &call,
        0,
        &SpanPeer::Upstream("up", Some(&Peer::Http("example.org".to_owned(), 443))),
    );
    assert_eq!((client.kind, client.flags), (3, 0x101));
    assert_eq!(
        client
            .status
            .as_ref()
            .map(|status| (status.code, status.message.as_str())),
        Some((2, Code::UpstreamTimeout.title()))
    );
    assert_eq!(
        of(&client),
        "mcp.method.name=prompts/get gen_ai.prompt.name=files__read jsonrpc.request.id=9 mcp.protocol.version=2025-11-25 network.transport=tcp \
         network.protocol.name=http error.type=timeout ggend.code=GGEN-E2107 ggend.upstream=up server.address=example.org server.port=443"
    );
    let own = Span {
        failure: Some(Failure {
            outcome: ggen_mcp::api::CallOutcome::Error,
            rpc: Some(-32601),
            code: None,
        }),
        target: None,
        ..span(6)
    };
    let bare = encode::span(&own, 0, &SpanPeer::Client("http"));
    assert!(
        of(&bare).ends_with("error.type=-32601 rpc.response.status_code=-32601"),
        "{}",
        of(&bare)
    );
    assert_eq!(
        (bare.name.as_str(), bare.status.unwrap().message.as_str()),
        ("tools/call", "")
    );
}

#[test]
fn a_collector_may_say_when_to_come_back() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let of = |value: &str| {
        retry_after(
            &[(http::header::RETRY_AFTER, value.parse().unwrap())]
                .into_iter()
                .collect(),
            now,
        )
    };
    assert_eq!(of("7"), Some(Duration::from_secs(7)));
    assert_eq!(
        of("Sun, 06 Nov 1994 08:49:47 GMT"),
        Some(Duration::from_secs(10))
    );
    assert_eq!(of("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
    assert_eq!(
        (of("soon"), retry_after(&http::HeaderMap::new(), now)),
        (None, None)
    );
}

#[tokio::test]
async fn what_is_busy_is_asked_again_and_the_whole_batch_arrives_once() {
    let busy = "503 Busy\r\nContent-Length: 0\r\nRetry-After: 0";
    let (endpoint, heard) = collector(&[
        busy,
        "429 Slow down\r\nContent-Length: 0\r\nRetry-After: 0",
        "200 OK\r\nContent-Length: 0",
    ])
    .await;
    let (mut otlp, observer) = (
        otlp(serde_json::json!({"enabled": true, "endpoint": endpoint})),
        observer(),
    );
    (1..=3).for_each(|number| otlp.take(&span(number), 5000, &observer, &[]));
    until("three are sent", || otlp.counts.sent.get() == 3).await;
    let heard = heard.await.unwrap();
    let (head, body) = &heard[2];
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    for header in [
        "content-type: application/x-protobuf",
        "x-key: hush hush",
        "user-agent: ggend/",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(
        (
            heard[0].1 == *body,
            heard[1].1 == *body,
            spans_of(body).len()
        ),
        (true, true, 3)
    );
    assert!(
        !otlp
            .running
            .as_ref()
            .unwrap()
            .failing
            .load(Ordering::Relaxed)
    );
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again_and_what_is_taken_in_part_is_counted() {
    // partial_success { rejected_spans: 2 }
    let (endpoint, heard) = collector(&[
        "400 No\r\nContent-Length: 0",
        "200 OK\r\nContent-Length: 4\r\n\r\n\n\u{2}\u{8}\u{2}",
    ])
    .await;
    let (mut otlp, observer) = (
        otlp(
            serde_json::json!({"enabled": true, "endpoint": format!("{endpoint}/v1/traces"), "compression": true}),
        ),
        observer(),
    );
    otlp.take(&span(1), 5000, &observer, &[]);
    until("one is refused", || otlp.counts.failed.get() == 1).await;
    assert!(
        otlp.running
            .as_ref()
            .unwrap()
            .failing
            .load(Ordering::Relaxed)
    );
    (2..=4).for_each(|number| otlp.take(&span(number), 5000, &observer, &[]));
    until("one of three is taken", || otlp.counts.sent.get() == 1).await;
    assert_eq!(
        (
            otlp.counts.rejected.get(),
            otlp.counts.failed.get(),
            otlp.counts.dropped.get()
        ),
        (2, 1, 0)
    );
    let (head, body) = heard.await.unwrap().remove(1);
    assert!(
        head.starts_with("post /v1/traces http") && head.contains("content-encoding: gzip"),
        "{head}"
    );
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(spans_of(&plain).len(), 3);
    assert!(
        !otlp
            .running
            .as_ref()
            .unwrap()
            .failing
            .load(Ordering::Relaxed),
        "it works again"
    );
}

#[tokio::test]
async fn what_has_no_room_is_dropped_and_a_new_address_gets_what_waits() {
    // Accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut otlp, observer) = (
        otlp(
            serde_json::json!({"enabled": true, "endpoint": format!("http://{}", silent.local_addr().unwrap()), "timeout_ms": 100}),
        ),
        observer(),
    );
    let began = Instant::now();
    (1..=10_000).for_each(|number| otlp.take(&span(number), 5000, &observer, &[]));
    assert_eq!(otlp.counts.dropped.get(), 10_000 - QUEUE as u64);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "took {:?}",
        began.elapsed()
    );
    until("it is said", || {
        otlp.running
            .as_ref()
            .unwrap()
            .failing
            .load(Ordering::Relaxed)
    })
    .await;
    let (endpoint, heard) = collector(&["200 OK\r\nContent-Length: 0"; 4]).await;
    started(
        &mut otlp,
        serde_json::json!({"enabled": true, "endpoint": endpoint}),
    );
    until("all that waited is sent", || {
        otlp.counts.sent.get() == QUEUE as u64
    })
    .await;
    assert_eq!(
        (heard.await.unwrap().len(), otlp.counts.failed.get()),
        (4, 0)
    );
}

#[tokio::test]
async fn the_end_sends_what_waits_at_once_unless_the_collector_is_known_to_fail() {
    let (endpoint, heard) = collector(&["200 OK\r\nContent-Length: 0"]).await;
    let (mut ends, observer) = (
        otlp(serde_json::json!({"enabled": true, "endpoint": endpoint})),
        observer(),
    );
    ends.take(&span(1), 5000, &observer, &[]);
    ends.finish().await;
    assert_eq!(
        (
            ends.counts.sent.get(),
            spans_of(&heard.await.unwrap()[0].1).len()
        ),
        (1, 1)
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut slow = otlp(
        serde_json::json!({"enabled": true, "endpoint": format!("http://{}", silent.local_addr().unwrap())}),
    );
    slow.take(&span(1), 5000, &observer, &[]);
    let began = Instant::now();
    slow.finish().await;
    assert!(
        (FLUSH..FLUSH * 4).contains(&began.elapsed()),
        "took {:?}",
        began.elapsed()
    );
    let mut known = otlp(
        serde_json::json!({"enabled": true, "endpoint": format!("http://{}", silent.local_addr().unwrap())}),
    );
    known.take(&span(1), 5000, &observer, &[]);
    known
        .running
        .as_ref()
        .unwrap()
        .failing
        .store(true, Ordering::Relaxed);
    let began = Instant::now();
    known.finish().await;
    assert!(began.elapsed() < FLUSH, "took {:?}", began.elapsed());
    assert!(otlp(serde_json::json!({})).running.is_none());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let hostile = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        let mut sent = 0_usize;
        while stream
            .write_all(&[b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat())
            .await
            .is_ok()
        {
            sent += 4096;
        }
        sent
    });
    let (mut otlp, observer) = (
        otlp(serde_json::json!({"enabled": true, "endpoint": endpoint})),
        observer(),
    );
    otlp.take(&span(1), 5000, &observer, &[]);
    until("it counts as sent", || otlp.counts.sent.get() == 1).await;
    // The connection is closed, with what the sockets' buffers hold.
    assert!(hostile.await.unwrap() < 64 << 20);
}
