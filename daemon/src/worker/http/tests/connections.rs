//! Connections: slow, many, too many, drained.

use super::{Client, Rig, full, soon};
use ggen_mcp::edge::Reply;
use ggen_mcp::edge::frame::Frame;
use std::process::ExitCode;

#[tokio::test]
async fn silent_and_slow_connections_are_cut_and_busy_ones_are_not() {
    let mut rig = Rig::new(|http| http.timeout_ms = 200);
    let mut gateway = rig.link().await;
    let mut busy = Client::connect(rig.address).await;
    busy.post("{\"id\":1}").await;
    let (stream, _) = gateway.open().await;
    let mut idle = Client::connect(rig.address).await;
    idle.post("{\"id\":2}").await;
    let (other, _) = gateway.open().await;
    gateway.reply(other, full(200, "{}")).await;
    idle.answer().await;

    let [mut silent, mut slow, mut preface, mut second] = [
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
    ];
    slow.write("POST /mcp HTTP/1.1\r\nHost: loc").await;
    preface.write("PRI * HTTP/2.0\r\n\r\nSM").await;
    second.post("{\"id\":3}").await;
    let (other, _) = gateway.open().await;
    gateway.reply(other, full(200, "{}")).await;
    second.answer().await;
    second.write("POST /mcp HTT").await;
    for client in [&mut silent, &mut slow, &mut preface, &mut second] {
        client.closed().await;
    }
    // Those two are older than all that were cut.
    idle.post("{\"id\":4}").await;
    let (other, _) = gateway.open().await;
    gateway.reply(other, full(200, "{}")).await;
    assert_eq!(idle.answer().await.status, 200);
    gateway.reply(stream, full(200, "{}")).await;
    assert_eq!(busy.answer().await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let mut rig = Rig::new(|http| http.request_timeout_ms = 150);
    let _gateway = rig.link().await;
    let mut client = Client::connect(rig.address).await;
    client.write("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{").await;
    client.head().await;
    let chunk = client.chunk().await;
    assert!(String::from_utf8_lossy(&chunk).contains("GGEN-E3027"));
}

#[tokio::test]
async fn a_thousand_requests_over_fifty_connections_that_all_count_from_one_are_not_crossed() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    // Answers out of order: each batch that is there is answered backwards, with the body that
    // came.
    let answering = tokio::spawn(async move {
        let mut held = Vec::new();
        let mut seen = 0;
        while let Some((stream, frame)) = gateway.receive().await {
            let Frame::Open(request) = frame else {
                continue;
            };
            held.push((stream, request.body));
            seen += 1;
            if held.len() == 25 || seen > 950 {
                for (stream, body) in held.drain(..).rev() {
                    gateway.reply(stream, full(200, body)).await;
                }
            }
        }
    });
    let clients: Vec<_> = (0..50)
        .map(|connection| {
            let address = rig.address;
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for number in 1..=20 {
                    let body =
                        format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"params\":{connection}}}");
                    client.post(&body).await;
                    assert_eq!(client.answer().await.text(), body);
                }
            })
        })
        .collect();
    for client in clients {
        soon(client).await.unwrap();
    }
    answering.abort();
}

#[tokio::test]
async fn beyond_the_limit_a_connection_is_told_so_and_places_become_free_again() {
    let mut rig = Rig::new(|http| http.max_connections = 2);
    let _echo = rig.echo().await;
    let (mut one, mut two) = (
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
    );
    for client in [&mut one, &mut two] {
        client.post("{}").await;
        assert_eq!(client.answer().await.status, 200);
    }
    let mut three = Client::connect(rig.address).await;
    three.post("{}").await;
    let answer = three.answer().await;
    answer.is(503, "GGEN-E3017");
    assert_eq!(answer.header("retry-after"), Some("1"));
    three.closed().await;
    drop(one);
    let mut four = Client::connect(rig.address).await;
    four.post("{}").await;
    assert_eq!(four.answer().await.status, 200);
}

#[tokio::test]
async fn a_drain_finishes_what_has_begun_closes_what_is_idle_and_leaves_new_connections_in_the_queue()
 {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let [mut idle, mut busy, mut listening] = [
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
        Client::connect(rig.address).await,
    ];
    idle.post("{\"id\":1}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, full(200, "{}")).await;
    idle.answer().await;
    listening
        .write("GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let (endless, _) = gateway.open().await;
    gateway.reply(endless, Reply::Start { session: None }).await;
    listening.head().await;
    busy.post("{\"id\":2}").await;
    let (stream, _) = gateway.open().await;

    let mut silent = Client::connect(rig.address).await;
    while rig.beat().await.connections < 4 {}

    rig.drain().await;
    idle.closed().await;
    silent.closed().await;
    assert!(listening.chunk().await.is_empty());
    assert_eq!(gateway.next().await, (endless, Frame::Gone));
    assert!(!rig.task.is_finished());
    gateway.reply(stream, full(200, "{}")).await;
    let answer = busy.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    busy.closed().await;
    assert_eq!(soon(rig.task).await.unwrap(), ExitCode::SUCCESS);
}
