//! Connections over memory, with a gateway worker that is played: order, cancellation,
//! back-pressure, slow and silent clients, drain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod echo;

use super::{Guest, Room, Rules, Server, codec::Codec, connection};
use crate::{
    auth::AuthSecrets,
    worker::websocket::{ask::Caller, codec::End},
};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use ggen_mcp::edge::frame::Frame;
use ggen_mcp::edge::{Reply, Request, Verb, frame};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// The gateway worker's end of the link.
struct Played {
    socket: UnixStream,
    input: BytesMut,
    ready: VecDeque<(u32, Frame)>,
}

impl Played {
    async fn next(&mut self) -> (u32, Frame) {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return found;
            }
            while let Some(found) = frame::decode(&mut self.input).unwrap() {
                self.ready.push_back(found);
            }
            if self.ready.is_empty() {
                assert!(
                    timeout(PATIENCE, self.socket.read_buf(&mut self.input))
                        .await
                        .expect("a frame in time")
                        .unwrap()
                        > 0
                );
            }
        }
    }

    async fn opened(&mut self) -> (u32, Request) {
        loop {
            match self.next().await {
                (stream, Frame::Open(request)) => return (stream, request),
                (_, Frame::Credit(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.opened())
            .await
            .is_err()
    }

    async fn reply(&mut self, stream: u32, reply: Reply) {
        let mut out = BytesMut::new();
        frame::encode(stream, &Frame::Reply(reply), &mut out);
        self.socket.write_all(&out).await.unwrap();
    }

    async fn full(&mut self, stream: u32, session: Option<&str>, body: &str) {
        let (session, body) = (
            session.map(Into::into),
            Bytes::copy_from_slice(body.as_bytes()),
        );
        self.reply(
            stream,
            Reply::Full {
                status: 200,
                session,
                retry_after: None,
                body,
            },
        )
        .await;
    }
}

struct Bench {
    server: Arc<Server>,
    gateway: Played,
    client: WebSocketStream<DuplexStream>,
    served: JoinHandle<End>,
}

/// A connection whose two ends hold `buffer` bytes.
async fn bench(patience: Duration, buffer: usize) -> Bench {
    let server = Server::new(
        Rules {
            patience,
            max_message: 1 << 20,
            max_connections: 10,
            room: Room::of(64 << 20),
        },
        AuthSecrets::default(),
    )
    .unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.gateway.attach(ours);
    let (near, far) = tokio::io::duplex(buffer);
    let codec = Codec::new(near, Vec::new(), 1 << 20).await;
    let caller = Caller {
        gateway: server.gateway.clone(),
        view: "".into(),
        principal: "anonymous".into(),
    };
    let guest = Guest {
        peer: ([127, 0, 0, 1], 1).into(),
        principal: caller.principal.clone(),
        credential: None,
        certificates: Vec::new(),
        relay_guard: None,
    };
    let served = tokio::spawn(connection::serve(Arc::clone(&server), codec, caller, guest));
    let client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    Bench {
        server,
        gateway: Played {
            socket: theirs,
            input: BytesMut::new(),
            ready: VecDeque::new(),
        },
        client,
        served,
    }
}

fn modern(id: usize) -> Message {
    Message::text(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"x","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    ))
}

async fn heard(client: &mut WebSocketStream<DuplexStream>) -> Message {
    timeout(PATIENCE, client.next())
        .await
        .expect("a message in time")
        .unwrap()
        .unwrap()
}

fn session_of(request: &Request) -> Option<&str> {
    request.header("mcp-session-id")
}

#[tokio::test]
async fn what_follows_initialize_belongs_to_its_session() {
    let mut bench = bench(PATIENCE, 1 << 20).await;
    let legacy = |id, method| {
        Message::text(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#
        ))
    };
    bench.client.send(legacy(1, "initialize")).await.unwrap();
    bench.client.send(legacy(2, "tools/list")).await.unwrap();
    bench.client.send(modern(3)).await.unwrap();
    let (stream, request) = bench.gateway.opened().await;
    assert_eq!((request.verb, session_of(&request)), (Verb::Message, None));
    assert!(
        bench.gateway.is_silent().await,
        "nothing is read before the session is known"
    );
    bench.gateway.full(stream, Some("s"), r#"{"id":1}"#).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (_, request) = bench.gateway.opened().await;
        seen.push((request.verb, session_of(&request).map(str::to_owned)));
    }
    assert!(
        seen.contains(&(Verb::Attach, Some("s".to_owned()))),
        "{seen:?}"
    );
    assert!(
        seen.contains(&(Verb::Message, Some("s".to_owned()))),
        "{seen:?}"
    );
    assert!(
        seen.contains(&(Verb::Message, None)),
        "a modern message is of no session: {seen:?}"
    );
    assert_eq!(heard(&mut bench.client).await, Message::text(r#"{"id":1}"#));
}

#[tokio::test]
async fn a_cancelled_modern_request_is_given_up_and_the_end_gives_up_all() {
    let mut bench = bench(PATIENCE, 1 << 20).await;
    bench.client.send(modern(1)).await.unwrap();
    bench.client.send(modern(2)).await.unwrap();
    let (first, _) = bench.gateway.opened().await;
    let (second, _) = bench.gateway.opened().await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    bench.client.send(Message::text(cancel)).await.unwrap();
    assert_eq!(bench.gateway.next().await, (first, Frame::Gone));
    drop(bench.client);
    assert_eq!(bench.gateway.next().await, (second, Frame::Gone));
    assert_eq!(
        timeout(PATIENCE, bench.served).await.unwrap().unwrap(),
        End::Broken
    );
}

#[tokio::test]
async fn too_much_in_flight_is_left_in_the_socket() {
    let mut bench = bench(PATIENCE, 1 << 20).await;
    for id in 0..300 {
        bench.client.send(modern(id)).await.unwrap();
    }
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(bench.gateway.opened().await.0);
    }
    assert!(bench.gateway.is_silent().await);
    bench.gateway.full(open[7], None, r#"{"id":7}"#).await;
    bench.gateway.opened().await;
    assert!(bench.gateway.is_silent().await);
    assert_eq!(heard(&mut bench.client).await, Message::text(r#"{"id":7}"#));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_and_the_relay_held_back_meanwhile() {
    let mut bench = bench(Duration::from_millis(400), 16 << 10).await;
    bench.client.send(modern(1)).await.unwrap();
    let (stream, _) = bench.gateway.opened().await;
    bench
        .gateway
        .reply(stream, Reply::Start { session: None })
        .await;
    let data = Bytes::from(vec![b'x'; 20_000]);
    for _ in 0..frame::WINDOW {
        bench
            .gateway
            .reply(
                stream,
                Reply::Event {
                    id: None,
                    retry_ms: None,
                    data: data.clone(),
                },
            )
            .await;
    }
    // At most what was in the batch is granted anew: never another window.
    let mut credit = 0;
    loop {
        match bench.gateway.next().await {
            (_, Frame::Credit(events)) => credit += events,
            (gone, Frame::Gone) => break assert_eq!(gone, stream),
            other => panic!("{other:?}"),
        }
    }
    assert!(credit < frame::WINDOW, "{credit}");
    let end = timeout(PATIENCE, bench.served).await.unwrap().unwrap();
    assert_eq!(end.code(), 1013);
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_closed() {
    let mut bench = bench(Duration::from_millis(300), 1 << 20).await;
    // Reading answers pings; they are counted until one is left unanswered.
    for _ in 0..3 {
        assert!(matches!(heard(&mut bench.client).await, Message::Ping(_)));
        bench.client.flush().await.unwrap();
    }
    assert_eq!(
        timeout(PATIENCE, bench.served)
            .await
            .unwrap()
            .unwrap()
            .code(),
        1008
    );
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let mut bench = bench(PATIENCE, 1 << 20).await;
    bench.client.send(modern(1)).await.unwrap();
    let (stream, _) = bench.gateway.opened().await;
    bench
        .server
        .drain_state
        .send_replace(super::DrainState::Finishing);
    bench.client.send(modern(2)).await.unwrap();
    let refused = heard(&mut bench.client).await.into_text().unwrap();
    assert!(refused.contains("\"id\":2,\"error\""), "{refused}");
    bench.gateway.full(stream, None, r#"{"id":1}"#).await;
    assert_eq!(heard(&mut bench.client).await, Message::text(r#"{"id":1}"#));
    assert!(
        matches!(heard(&mut bench.client).await, Message::Close(Some(frame)) if u16::from(frame.code) == 1001)
    );
    // tungstenite answers the close when it is read on.
    assert!(
        timeout(PATIENCE, bench.client.next())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        timeout(PATIENCE, bench.served)
            .await
            .unwrap()
            .unwrap()
            .code(),
        1001
    );
}

#[tokio::test]
async fn pings_of_a_client_that_reads_nothing_close_its_connection() {
    let mut bench = bench(PATIENCE, 4 << 10).await;
    let ping = Message::Ping(Bytes::from_static(&[7; 125]));
    let flood = async { while bench.client.feed(ping.clone()).await.is_ok() {} };
    let (_, served) = timeout(PATIENCE, async { tokio::join!(flood, bench.served) })
        .await
        .expect("the connection is closed");
    assert_eq!(served.unwrap().code(), 1013);
}

#[tokio::test]
async fn pings_of_a_client_that_reads_are_all_answered() {
    let mut bench = bench(PATIENCE, 4 << 10).await;
    for at in 0..2000_u32 {
        let payload = Bytes::copy_from_slice(&at.to_be_bytes());
        bench
            .client
            .send(Message::Ping(payload.clone()))
            .await
            .unwrap();
        assert_eq!(heard(&mut bench.client).await, Message::Pong(payload));
    }
}

#[tokio::test]
async fn requests_during_a_drain_are_not_read_while_their_refusals_wait() {
    let mut bench = bench(PATIENCE, 4 << 10).await;
    bench.client.send(modern(1)).await.unwrap();
    bench.gateway.opened().await;
    bench
        .server
        .drain_state
        .send_replace(super::DrainState::Finishing);
    let mut taken = 0;
    while timeout(Duration::from_millis(300), bench.client.send(modern(2)))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        taken += 1;
        assert!(taken < 5000, "requests are read without an end");
    }
    assert!(taken > 0);
}
