//! Event streams: encoding, back-pressure, disconnects, HTTP/2.

use super::{Client, Gateway, PATIENCE, Rig, event, full, soon};
use bytes::Bytes;
use ggen_mcp::edge::frame::{Frame, WINDOW};
use ggen_mcp::edge::{Reply, Verb};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

fn start() -> Reply {
    Reply::Start { session: None }
}

#[tokio::test]
async fn events_arrive_as_they_are_sent_and_the_stream_ends() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = Client::connect(rig.address).await;
    client.post("{\"id\":1}").await;
    let (stream, _) = gateway.open().await;
    gateway
        .reply(
            stream,
            Reply::Start {
                session: Some("s".into()),
            },
        )
        .await;
    let head = client.head().await;
    assert_eq!(
        (
            head.status,
            head.header("content-type"),
            head.header("mcp-session-id")
        ),
        (200, Some("text/event-stream"), Some("s"))
    );
    assert_eq!(
        (
            head.header("cache-control"),
            head.header("x-accel-buffering")
        ),
        (Some("no-store"), Some("no"))
    );
    gateway
        .reply(
            stream,
            Reply::Event {
                id: Some("1-0".into()),
                retry_ms: Some(1000),
                data: Bytes::new(),
            },
        )
        .await;
    assert_eq!(
        &client.chunk().await[..],
        b"id: 1-0\nretry: 1000\ndata: \n\n"
    );
    gateway.reply(stream, event("{\"a\":1}")).await;
    assert_eq!(&client.chunk().await[..], b"data: {\"a\":1}\n\n");
    let large = "z".repeat(100 << 10);
    gateway.reply(stream, event(large.clone())).await;
    gateway.reply(stream, Reply::End).await;
    let mut rest = Vec::new();
    loop {
        let chunk = client.chunk().await;
        if chunk.is_empty() {
            break;
        }
        rest.extend_from_slice(&chunk);
    }
    assert_eq!(
        String::from_utf8(rest).unwrap(),
        format!("data: {large}\n\n")
    );
    // The connection serves on.
    client.post("{}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, full(200, "{}")).await;
    assert_eq!(client.answer().await.status, 200);
}

/// Sends events of 8 KiB while there is credit, until `events` are sent or no credit comes for a
/// while of inactivity that the caller decides.
struct Source {
    stream: u32,
    credit: u32,
    sent: u32,
}

impl Source {
    async fn send_all_credit(&mut self, gateway: &mut Gateway, events: u32) {
        while self.credit > 0 && self.sent < events {
            gateway
                .reply(
                    self.stream,
                    event(format!("{:06}{}", self.sent, "x".repeat(8 << 10))),
                )
                .await;
            self.credit -= 1;
            self.sent += 1;
        }
    }

    async fn credit(&mut self, gateway: &mut Gateway) {
        match gateway.next().await {
            (stream, Frame::Credit(events)) if stream == self.stream => self.credit += events,
            other => panic!("expected credit, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_gateway_down_and_loses_nothing() {
    const EVENTS: u32 = 4000;
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut slow = Client::connect(rig.address).await;
    slow.post("{\"id\":1}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, start()).await;
    let mut source = Source {
        stream,
        credit: WINDOW,
        sent: 0,
    };
    // The client reads nothing: the credit dries up after what the sockets hold, and another client
    // is served meanwhile.
    let mut quick = Client::connect(rig.address).await;
    loop {
        source.send_all_credit(&mut gateway, EVENTS).await;
        quick.post("{\"id\":2}").await;
        // Credit that was granted comes before the request that was read after it.
        let (other, granted) = loop {
            match gateway.next().await {
                (_, Frame::Credit(events)) => source.credit += events,
                (other, Frame::Open(_)) => break (other, source.credit),
                other => panic!("{other:?}"),
            }
        };
        gateway.reply(other, full(200, "{}")).await;
        assert_eq!(quick.answer().await.status, 200);
        if granted == 0 {
            break;
        }
        assert!(
            source.sent < EVENTS,
            "32 MiB do not fit into socket buffers: there is no back-pressure"
        );
    }
    // What is on its way is bounded: one window in the worker, the rest in the kernel's buffers.
    assert!(
        source.sent < EVENTS / 2,
        "{} events left the gateway",
        source.sent
    );
    // Now the client reads: everything comes, in order.
    let reader = async {
        slow.head().await;
        let mut text = String::new();
        for number in 0..EVENTS {
            let wanted = format!("data: {number:06}");
            while text.len() < wanted.len() || !text.contains("\n\n") {
                text.push_str(std::str::from_utf8(&slow.chunk().await).unwrap());
            }
            let end = text.find("\n\n").unwrap();
            assert!(text.starts_with(&wanted), "{}", &text[..20]);
            assert_eq!(end, 6 + 6 + (8 << 10));
            text.drain(..end + 2);
        }
    };
    let writer = async {
        while source.sent < EVENTS {
            if source.credit == 0 {
                source.credit(&mut gateway).await;
            }
            source.send_all_credit(&mut gateway, EVENTS).await;
        }
    };
    tokio::join!(reader, writer);
}

#[tokio::test]
async fn a_client_that_goes_away_is_reported_before_and_after_the_answer_began() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = Client::connect(rig.address).await;
    client.post("{\"id\":1}").await;
    let (waiting, _) = gateway.open().await;
    drop(client);
    assert_eq!(gateway.next().await, (waiting, Frame::Gone));

    let mut client = Client::connect(rig.address).await;
    client.write("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: 1-7\r\n\r\n").await;
    let (stream, request) = gateway.open().await;
    assert_eq!(
        (
            request.verb,
            request.header("last-event-id"),
            request.accept_json
        ),
        (Verb::Get, Some("1-7"), false)
    );
    gateway.reply(stream, start()).await;
    client.head().await;
    drop(client);
    assert_eq!(gateway.next().await, (stream, Frame::Gone));
    // A reply that crossed the news is dropped, and the link lives.
    gateway.reply(stream, event("{}")).await;
    gateway.reply(waiting, full(200, "{}")).await;
    let mut client = Client::connect(rig.address).await;
    client.post("{}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, full(200, "{}")).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn http2_with_prior_knowledge_multiplexes_calls_and_streams() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = |method: &str, body: &str| {
        let request = http::Request::builder()
            .method(method)
            .uri("http://localhost/mcp")
            .header("content-type", "application/json");
        client.clone().send_request(
            request
                .body(Full::new(Bytes::from(body.to_owned())))
                .unwrap(),
        )
    };
    let calls: Vec<_> = (0..40)
        .map(|number| tokio::spawn(request("POST", &number.to_string())))
        .collect();
    let mut opened = Vec::new();
    for _ in 0..40 {
        opened.push(gateway.open().await);
    }
    for (stream, request) in opened.into_iter().rev() {
        gateway.reply(stream, full(200, request.body)).await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        let answer = soon(call).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            number.to_string()
        );
    }
    // A stream that the client resets is reported; the connection lives.
    let stream_call = tokio::spawn(request("GET", ""));
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, start()).await;
    let answer = soon(stream_call).await.unwrap().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    drop(answer);
    assert_eq!(gateway.next().await, (stream, Frame::Gone));
    // A drain says GOAWAY and lets what is in flight finish.
    let last = tokio::spawn(request("POST", "last"));
    let (stream, request_body) = gateway.open().await;
    rig.drain().await;
    gateway.reply(stream, full(200, request_body.body)).await;
    assert_eq!(soon(last).await.unwrap().unwrap().status(), 200);
    soon(connection).await.unwrap().unwrap();
    assert_eq!(
        soon(rig.task).await.unwrap(),
        std::process::ExitCode::SUCCESS
    );
}

#[tokio::test]
async fn a_bad_host_is_refused_over_http2_too() {
    let mut rig = Rig::new(|_| {});
    let _gateway = rig.link().await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://evil.example/mcp")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn an_http2_connection_that_breaks_takes_its_calls_with_it() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let socket = std::net::TcpStream::connect(rig.address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let other = socket.try_clone().unwrap();
    let socket = TcpStream::from_std(socket).unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::post("http://localhost/mcp").header("content-type", "application/json");
    let call = tokio::spawn(
        client.send_request(request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()),
    );
    let (stream, _) = gateway.open().await;
    other.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(gateway.next().await, (stream, Frame::Gone));
    assert!(soon(call).await.unwrap().is_err());
}
