//! What is checked before anything is passed on, and what is passed on.

use super::{Client, Rig, full, post, soon};
use ggen_mcp::edge::{Reply, Verb};

async fn ask(rig: &Rig, request: &str) -> super::Answer {
    let mut client = Client::connect(rig.address).await;
    client.write(request).await;
    client.answer().await
}

#[tokio::test]
async fn a_call_is_passed_on_with_the_headers_that_matter_and_answered() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = Client::connect(rig.address).await;
    let headers = "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\nMCP-Protocol-Version: 2025-11-25\r\nCookie: secret\r\ntraceparent: 00-1\r\n";
    client
        .write(&post("{\"id\":1}", headers).replace("/mcp ", "/mcp/my%20files/?x=1 "))
        .await;
    let (stream, request) = gateway.open().await;
    assert_eq!(
        (request.verb, &*request.view, &request.body[..]),
        (Verb::Post, "my files", &b"{\"id\":1}"[..])
    );
    assert_eq!(
        (
            request.accept_json,
            request.accept_sse,
            &*request.principal.id
        ),
        (true, true, "anonymous")
    );
    assert_eq!(
        (
            request.count("mcp-session-id"),
            request.header("mcp-protocol-version")
        ),
        (2, Some("2025-11-25"))
    );
    assert_eq!(request.headers.len(), 4, "{:?}", request.headers);
    let reply = Reply::Full {
        status: 200,
        session: Some("s-1".into()),
        retry_after: Some(3),
        body: "{}".into(),
    };
    gateway.reply(stream, reply).await;
    let answer = client.answer().await;
    assert_eq!(
        (
            answer.status,
            answer.text(),
            answer.header("mcp-session-id"),
            answer.header("retry-after")
        ),
        (200, "{}", Some("s-1"), Some("3"))
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));

    // The connection is kept, and an empty body has no type.
    client.post("{}").await;
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, full(202, "")).await;
    let answer = client.answer().await;
    assert_eq!(
        (
            answer.status,
            answer.header("content-type"),
            answer.header("content-length")
        ),
        (202, None, Some("0"))
    );

    client
        .write("DELETE /mcp HTTP/1.1\r\nHost: localhost:3000\r\nMcp-Session-Id: a\r\n\r\n")
        .await;
    let (stream, request) = gateway.open().await;
    assert_eq!(
        (request.verb, request.header("mcp-session-id")),
        (Verb::Delete, Some("a"))
    );
    gateway.reply(stream, full(204, "")).await;
    assert_eq!(client.answer().await.status, 204);

    client
        .write("GET /tools HTTP/1.1\r\nHost: [::1]:3000\r\nAccept: text/html\r\n\r\n")
        .await;
    let (stream, request) = gateway.open().await;
    assert_eq!((request.verb, &*request.view), (Verb::Get, "/tools"));
    gateway.reply(stream, full(200, "[]")).await;
    assert_eq!(client.answer().await.text(), "[]");
}

#[tokio::test]
async fn each_bad_request_gets_its_status_and_code() {
    let mut rig = Rig::new(|http| http.max_body.0 = 100);
    let _gateway = rig.link().await;
    let good = post("{}", "");
    for (request, status, code) in [
        (good.replace("localhost", "evil.example"), 403, "GGEN-E3009"),
        (good.replace("Host: localhost\r\n", ""), 400, "GGEN-E3002"),
        (
            post("{}", "Origin: http://evil.example\r\n"),
            403,
            "GGEN-E3008",
        ),
        (post("{}", "Origin: null\r\n"), 403, "GGEN-E3008"),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n"
                .to_owned(),
            403,
            "GGEN-E3008",
        ),
        (
            "DELETE /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
            403,
            "GGEN-E3009",
        ),
        (good.replace("POST", "PUT"), 405, "GGEN-E3016"),
        (
            "POST /tools HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
            "GGEN-E3016",
        ),
        (good.replace("/mcp", "/nothing"), 404, "GGEN-E3025"),
        (good.replace("/mcp", "/mcp/%2Ftools"), 404, "GGEN-E3024"),
        (
            good.replace("application/json\r\n", "text/plain\r\n"),
            415,
            "GGEN-E3004",
        ),
        (
            good.replace("Content-Type: application/json\r\n", ""),
            415,
            "GGEN-E3004",
        ),
        (
            good.replace("application/json, text/event-stream", "text/html"),
            406,
            "GGEN-E3020",
        ),
        (
            "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".to_owned(),
            406,
            "GGEN-E3020",
        ),
        (post(&"x".repeat(101), ""), 413, "GGEN-E3003"),
        (
            post("{}", &format!("Mcp-Name: {}\r\n", "x".repeat(17 << 10))),
            431,
            "GGEN-E3002",
        ),
        (post("{}", &"Mcp-Name: x\r\n".repeat(90)), 431, "GGEN-E3002"),
    ] {
        let request = if status == 431 && request.len() < 10_000 {
            request.replace(
                "Mcp-Name: x\r\n",
                &format!("Mcp-Name: {}\r\n", "y".repeat(200)),
            )
        } else {
            request
        };
        let answer = ask(&rig, &request).await;
        answer.is(status, code);
        assert_eq!(answer.header("allow").is_some(), status == 405);
    }
    assert_eq!(
        ask(
            &rig,
            &post("{}", &format!("X: {}\r\n", "x".repeat(100 << 10)))
        )
        .await
        .status,
        431
    );
    assert_eq!(ask(&rig, "nonsense\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn a_client_in_the_middle_of_an_oversize_body_reads_why_it_is_refused() {
    let mut rig = Rig::new(|http| http.max_body.0 = 1000);
    let _gateway = rig.link().await;
    // Announced, and twenty times what the sockets hold.
    let mut client = Client::connect(rig.address).await;
    let body = "x".repeat(50 << 20);
    client.write(&post(&body, "")).await;
    client.answer().await.is(413, "GGEN-E3003");
    client.closed().await;
    // Not announced.
    let mut client = Client::connect(rig.address).await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = post("", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client
        .write(&format!("{head}{}0\r\n\r\n", chunk.repeat(4)))
        .await;
    client.answer().await.is(413, "GGEN-E3003");
    // A client that asks first is told before it sends.
    let mut client = Client::connect(rig.address).await;
    client.write("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n").await;
    client.answer().await.is(413, "GGEN-E3003");
}

#[tokio::test]
async fn bodies_in_pieces_arrive_whole() {
    let mut rig = Rig::new(|_| {});
    let _echo = rig.echo().await;
    let mut client = Client::connect(rig.address).await;
    let body: String = (0..200_000)
        .map(|i| char::from(b'a' + u8::try_from(i % 26).unwrap()))
        .collect();
    let text = post(&body, "");
    let (first, rest) = text.split_at(150);
    client.write(first).await;
    client.write(rest).await;
    assert_eq!(client.answer().await.text(), body);
    let head = post("", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client
        .write(&format!("{head}3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\n\r\n"))
        .await;
    assert_eq!(client.answer().await.text(), "{\"a\":1}");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_read() {
    let mut rig = Rig::new(|http| http.allowed_origins = vec!["https://app.example".to_owned()]);
    let _echo = rig.echo().await;
    let preflight = "OPTIONS /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: content-type,mcp-session-id,mcp-param-x,x-evil\r\n\r\n";
    let answer = ask(&rig, preflight).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (204, Some("https://app.example"))
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("content-type, mcp-session-id, mcp-param-x")
    );
    let answer = ask(&rig, &post("{}", "Origin: https://app.example\r\n")).await;
    assert_eq!(
        (answer.status, answer.header("vary")),
        (200, Some("Origin"))
    );
    assert!(
        answer
            .header("access-control-expose-headers")
            .unwrap()
            .contains("Mcp-Session-Id")
    );
    ask(&rig, &preflight.replace("app.example", "other.example"))
        .await
        .is(403, "GGEN-E3008");
    assert_eq!(
        ask(&rig, &post("{}", "Origin: http://localhost:5173\r\n"))
            .await
            .status,
        200
    );
    assert_eq!(
        ask(&rig, &post("{}", ""))
            .await
            .header("access-control-allow-origin"),
        None
    );
}

#[tokio::test]
async fn large_answers_are_compressed_when_configured_and_asked_for() {
    let mut rig = Rig::new(|http| http.compression = true);
    let _echo = rig.echo().await;
    let body = "y".repeat(5000);
    let answer = ask(&rig, &post(&body, "Accept-Encoding: gzip\r\n")).await;
    assert_eq!(
        (answer.status, answer.header("content-encoding")),
        (200, Some("gzip"))
    );
    assert!(answer.body.len() < 500 && answer.body.starts_with(&[0x1f, 0x8b]));
    assert_eq!(
        ask(&rig, &post("{}", "Accept-Encoding: gzip\r\n"))
            .await
            .header("content-encoding"),
        None
    );
    assert_eq!(ask(&rig, &post(&body, "")).await.text(), body);
}

#[tokio::test]
async fn answers_are_counted_by_path_and_status() {
    let mut rig = Rig::new(|_| {});
    let _echo = rig.echo().await;
    for _ in 0..3 {
        ask(&rig, &post("{}", "")).await;
    }
    ask(&rig, &post("{}", "").replace("/mcp", "/other")).await;
    soon(async { while rig.metric("ggend_http_requests_total").await < 4.0 {} }).await;
    assert!(rig.metric("ggend_http_connections_total").await >= 4.0);
}
