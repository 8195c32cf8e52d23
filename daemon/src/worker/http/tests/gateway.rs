//! The gateway worker dies, comes back, is slow, misbehaves.

use super::{Client, Rig, event, full, soon};
use ggen_mcp::edge::Reply;
use ggen_mcp::edge::frame::{Frame, WINDOW};
use std::time::Duration;

#[tokio::test]
async fn what_was_in_flight_gets_one_clear_error_and_what_comes_later_waits_for_the_successor() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let [mut plain, mut stream, mut listener, mut answered] = [
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
    ];
    plain
        .post("{\"jsonrpc\":\"2.0\",\"id\":\"p-1\",\"method\":\"x\"}")
        .await;
    gateway.open().await;
    stream
        .post("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"x\"}")
        .await;
    let (id, _) = gateway.open().await;
    gateway.reply(id, Reply::Start { session: None }).await;
    gateway.reply(id, event("{}")).await;
    assert_eq!(stream.head().await.status, 200);
    assert_eq!(&stream.chunk().await[..], b"data: {}\n\n");
    listener
        .write("GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let (id, _) = gateway.open().await;
    gateway.reply(id, Reply::Start { session: None }).await;
    listener.head().await;
    answered.post("{\"id\":9}").await;
    let (id, _) = gateway.open().await;
    gateway.reply(id, full(200, "{\"id\":9}")).await;

    drop(gateway);
    let answer = plain.answer().await;
    answer.is(502, "GGEN-E1204");
    assert!(
        answer.text().contains("\"id\":\"p-1\"") && answer.text().contains("-32603"),
        "{}",
        answer.text()
    );
    let last = String::from_utf8(stream.chunk().await.to_vec()).unwrap();
    assert!(
        last.starts_with("data: {") && last.contains("\"id\":7") && last.contains("GGEN-E1204"),
        "{last}"
    );
    assert!(stream.chunk().await.is_empty(), "and the stream ends");
    assert!(
        listener.chunk().await.is_empty(),
        "a listening stream just ends: nobody waits for an answer on it"
    );
    assert_eq!(
        answered.answer().await.text(),
        "{\"id\":9}",
        "what had been answered is delivered"
    );

    // Nobody is refused while there is no gateway worker.
    plain.post("{\"id\":2}").await;
    let mut health = Client::connect(rig.address).await;
    health
        .write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let answer = health.answer().await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("\"status\":\"unavailable\""),
        "{}",
        answer.text()
    );
    let mut gateway = rig.link().await;
    let (id, request) = gateway.open().await;
    assert_eq!(&request.body[..], b"{\"id\":2}");
    gateway.reply(id, full(200, "{\"id\":2}")).await;
    assert_eq!(plain.answer().await.text(), "{\"id\":2}");
}

#[tokio::test]
async fn a_new_link_takes_new_exchanges_and_the_old_one_finishes_its_own() {
    let mut rig = Rig::new(|_| {});
    let mut old = rig.link().await;
    let (mut first, mut second) = (
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
    );
    first.post("{\"id\":1}").await;
    let (id, _) = old.open().await;
    let mut new = rig.link().await;
    // The link message and this request take different ways into the worker: ask until the new link
    // is in use.
    let mut asked = 0;
    let stream = loop {
        second.post("{\"id\":2}").await;
        asked += 1;
        tokio::select! {
            (stream, _) = new.open() => break stream,
            frame = old.next() => match frame {
                (stream, Frame::Open(_)) => old.reply(stream, full(200, "{}")).await,
                // From here on nothing new comes over the old one.
                (_, Frame::Moved) => break new.open().await.0,
                other => panic!("expected a request, got {other:?}"),
            },
        }
        second.answer().await;
        assert!(asked < 1000);
    };
    old.reply(id, full(200, "\"old\"")).await;
    new.reply(stream, full(200, "\"new\"")).await;
    assert_eq!(first.answer().await.text(), "\"old\"");
    assert_eq!(second.answer().await.text(), "\"new\"");
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_given_up() {
    let mut rig = Rig::new(|http| http.request_timeout_ms = 150);
    let mut gateway = rig.link().await;
    let mut client = Client::connect(rig.address).await;
    client.post("{\"id\":5}").await;
    let (stream, _) = gateway.open().await;
    assert_eq!(gateway.next().await, (stream, Frame::Gone));
    let answer = client.answer().await;
    answer.is(504, "GGEN-E3027");
    assert!(answer.text().contains("\"id\":5"));
    // An answer that has begun may take as long as it likes, and so may a stream that waits for the
    // server.
    client
        .write("GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let (listening, _) = gateway.open().await;
    let mut streaming = Client::connect(rig.address).await;
    streaming.post("{\"id\":6}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, Reply::Start { session: None }).await;
    streaming.head().await;
    // Later than both: a third request that does time out.
    let mut late = Client::connect(rig.address).await;
    late.post("{\"id\":7}").await;
    let (third, _) = gateway.open().await;
    assert_eq!(gateway.next().await, (third, Frame::Gone));
    late.answer().await.is(504, "GGEN-E3027");
    gateway
        .reply(listening, Reply::Start { session: None })
        .await;
    assert_eq!(client.head().await.status, 200);
    gateway.reply(stream, Reply::End).await;
    assert!(streaming.chunk().await.is_empty());
}

#[tokio::test]
async fn a_gateway_that_breaks_the_rules_loses_its_link_and_nobody_else_is_hurt() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = Client::connect(rig.address).await;
    client.post("{\"id\":1}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, Reply::Start { session: None }).await;
    client.head().await;
    // More than was granted, faster than the client can read.
    let flood = async {
        for _ in 0..100_000_u32 {
            let mut out = bytes::BytesMut::new();
            ggen_mcp::edge::frame::encode(
                stream,
                &Frame::Reply(event("x".repeat(64 << 10))),
                &mut out,
            );
            if tokio::io::AsyncWriteExt::write_all(&mut gateway.socket, &out)
                .await
                .is_err()
            {
                return;
            }
        }
        panic!("{} events and more were taken", WINDOW);
    };
    soon(flood).await;
    let mut gateway = rig.link().await;
    let mut other = Client::connect(rig.address).await;
    other.post("{\"id\":2}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, full(200, "{}")).await;
    assert_eq!(other.answer().await.status, 200);
}

#[tokio::test]
async fn without_a_gateway_worker_a_request_waits_five_seconds_and_is_then_told() {
    let gateway = crate::worker::edge::Gateway::default();
    let request = ggen_mcp::edge::Request {
        verb: ggen_mcp::edge::Verb::Post,
        accept_json: true,
        accept_sse: true,
        view: "".into(),
        principal: "anonymous".into(),
        headers: Vec::new(),
        body: bytes::Bytes::new(),
    };
    let options = crate::worker::edge::ExchangeOptions {
        patient: true,
        ..Default::default()
    };
    let began = tokio::time::Instant::now();
    let waiting: Vec<_> = (0..crate::worker::edge::MAX_WAITING)
        .map(|_| {
            let (gateway, request) = (gateway.clone(), request.clone());
            tokio::spawn(async move { gateway.open(request, options).await.err() })
        })
        .collect();
    while gateway.waiting() < crate::worker::edge::MAX_WAITING {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        gateway.open(request, options).await.err(),
        Some(crate::worker::edge::Refused::Full),
        "and the number of those who wait is bounded"
    );
    for task in waiting {
        assert_eq!(
            task.await.unwrap(),
            Some(crate::worker::edge::Refused::Away)
        );
    }
    assert!((Duration::from_millis(4_900)..Duration::from_secs(15)).contains(&began.elapsed()));
}

#[tokio::test]
async fn a_gateway_that_does_not_read_makes_requests_wait_instead_of_filling_the_memory() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let body = "b".repeat(1 << 20);
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let (address, body) = (rig.address, body.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                client.post(&body).await;
                assert_eq!(client.answer().await.text().len(), body.len());
            })
        })
        .collect();
    // All are open in the worker; two at most are in its buffers, the others wait for room.
    while rig.beat().await.connections < 12 {}
    for _ in 0..12 {
        let (stream, request) = gateway.open().await;
        assert_eq!(request.body.len(), body.len());
        gateway.reply(stream, full(200, request.body)).await;
    }
    for client in clients {
        soon(client).await.unwrap();
    }
}
