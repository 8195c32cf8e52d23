//! What clients get: the same as from the http worker.

use super::{
    Rig,
    client::{self, post},
    event, full, soon,
};
use ggen_mcp::edge::Reply;
use ggen_mcp::edge::frame::Frame;
use http::Request;

#[tokio::test]
async fn a_call_is_answered_with_a_length_and_a_date() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = rig.client().await;
    let asking = tokio::spawn(async move { client.post("{\"id\":1}").await });
    let (stream, request) = gateway.open().await;
    assert_eq!(
        (&*request.view, &request.body[..]),
        ("", &b"{\"id\":1}"[..])
    );
    gateway
        .reply(stream, full(200, "{\"id\":1,\"result\":{}}"))
        .await;
    let answer = asking.await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..]),
        (200, &b"{\"id\":1,\"result\":{}}"[..])
    );
    assert!(
        answer.headers["content-type"] == "application/json"
            && answer.headers["content-length"] == "20"
    );
    assert!(answer.headers.contains_key("date"));
    rig.metric_is("ggend_quic_connections_total", |count| count == 1.0)
        .await;
    rig.metric_is("ggend_http_requests_total", |count| count == 1.0)
        .await;
    rig.metric_is("ggend_quic_bytes_total", |bytes| bytes > 2000.0)
        .await;
}

#[tokio::test]
async fn requests_are_judged_as_over_http() {
    let mut rig = Rig::new(|transports| transports.http.max_body.0 = 2048);
    rig.echo().await;
    let mut client = rig.client().await;
    let get = |path: &str| Request::get(format!("https://localhost{path}"));
    assert_eq!(client.answer(get("/nothing"), "").await.status, 404);
    assert_eq!(client.answer(get("/health"), "").await.status, 200);
    let head = client
        .answer(Request::head("https://localhost/health"), "")
        .await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        client
            .answer(Request::put("https://localhost/mcp"), "")
            .await
            .status,
        405
    );
    assert_eq!(
        client
            .answer(post().header("origin", "https://evil.example"), "{}")
            .await
            .status,
        403
    );
    assert_eq!(
        client
            .answer(Request::post("https://evil.example/mcp"), "{}")
            .await
            .status,
        403
    );
    let large = client.post(vec![b' '; 10_000]).await;
    assert_eq!(
        (large.status, large.code()),
        (413, ggen_wire::Code::BodyTooLarge.to_string())
    );
    // Announced too large, and refused before it comes.
    assert_eq!(
        client
            .answer(post().header("content-length", "1000000"), "")
            .await
            .status,
        413
    );
    // Refusals break no connection.
    assert_eq!(client.post("{}").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_is_not_passed_on() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let mut client = rig.client().await;
    assert_eq!(
        client
            .answer(post().header("content-length", "2"), "{}")
            .await
            .status,
        200
    );
    for (announced, sent) in [("3", "{}"), ("1", "{}")] {
        let refused = soon(client.ask(post().header("content-length", announced), sent)).await;
        assert!(
            refused.is_err() || refused.is_ok_and(|(head, _)| head.status() == 400),
            "{announced}"
        );
    }
    assert!(
        soon(client.ask(post().header("content-length", "x"), "{}"))
            .await
            .is_err()
    );
    assert_eq!(client.post("{}").await.status, 200);
}

#[tokio::test]
async fn events_come_one_by_one_and_a_client_that_goes_is_noticed_in_silence() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = rig.client().await;
    let asking =
        tokio::spawn(async move { (client.ask(post(), "{\"id\":1}").await.unwrap(), client) });
    let (stream, _) = gateway.open().await;
    gateway
        .reply(
            stream,
            Reply::Start {
                session: Some("s".into()),
            },
        )
        .await;
    let ((head, mut body), _client) = soon(asking).await.unwrap();
    assert!(
        head.headers()["content-type"] == "text/event-stream"
            && head.headers()["mcp-session-id"] == "s"
    );
    for number in 0..3 {
        gateway
            .reply(stream, event(format!("{{\"n\":{number}}}")))
            .await;
        assert_eq!(
            client::piece(&mut body).await.unwrap(),
            format!("data: {{\"n\":{number}}}\n\n")
        );
    }
    drop(body);
    loop {
        match gateway.next().await {
            (same, Frame::Gone) if same == stream => break,
            (_, Frame::Credit(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_whose_connection_ends_is_gone() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = rig.client().await;
    let mut stream = client.begin(post(), "{\"id\":1}").await.unwrap();
    stream.finish().await.unwrap();
    let (number, _) = gateway.open().await;
    client.quic.close(0x100_u32.into(), b"");
    assert!(matches!(gateway.next().await, (same, Frame::Gone) if same == number));
    rig.metric_is("ggend_quic_connections", |open| open == 0.0)
        .await;
}

#[tokio::test]
async fn a_large_answer_and_a_hundred_at_once_are_whole() {
    let mut rig = Rig::new(|transports| transports.http.max_body.0 = 16 << 20);
    rig.echo().await;
    let mut client = rig.client().await;
    let large: Vec<u8> = (0..10_u32 << 20)
        .map(|at| b' ' + u8::try_from(at % 90).unwrap())
        .collect();
    let answer = client.post(large.clone()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == large);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut send = client.send.clone();
        asking.spawn(async move {
            let body = format!("{{\"id\":{number},\"x\":\"{}\"}}", "y".repeat(2000));
            let mut stream = send.send_request(post().body(()).unwrap()).await.unwrap();
            stream.send_data(body.clone().into()).await.unwrap();
            stream.finish().await.unwrap();
            stream.recv_response().await.unwrap();
            assert_eq!(client::rest(&mut stream).await.unwrap(), body.as_bytes());
        });
    }
    while let Some(asked) = soon(asking.join_next()).await {
        asked.unwrap();
    }
}

#[tokio::test]
async fn a_name_of_the_certificate_is_ours() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let mut client = client::Client::connect(rig.address, &rig.authority, "other.example").await;
    assert_eq!(client.post("{}").await.status, 200);
}
