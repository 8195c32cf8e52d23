//! Remote servers: a TCP listener that the test answers by hand, piece by piece.

use super::{Seen, beside, config, world};
use bytes::Bytes;
use ggen_mcp::{
    api::{HttpRequest, Input, Output, UpId, UpInput},
    edge::Verb,
};
use ggen_wire::Code;
use serde_json::json;
use std::{cell::RefCell, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Outputs that a test has the relay return at the next event on a link.
#[derive(Clone, Default)]
struct Injected(Rc<RefCell<Vec<Output>>>);

fn post(exchange: u64) -> Output {
    let headers = vec![(
        "accept".to_owned(),
        "application/json, text/event-stream".to_owned(),
    )];
    let body = Bytes::from_static(b"{\"id\":1}");
    Output::Http(
        UpId(0),
        HttpRequest {
            exchange,
            verb: Verb::Post,
            headers,
            body,
            timeout: 5_000_000,
            repeatable: false,
        },
    )
}

struct Setup {
    driver: super::Driver<super::Script>,
    supervisor: super::Supervisor,
    seen: Seen,
    injected: Injected,
}

fn setup(url: &str) -> Setup {
    let injected = Injected::default();
    let queued = injected.clone();
    let upstream =
        json!({"r": {"url": url, "headers": {"X-Key": "hidden", "Accept": "overridden"}}});
    let (driver, supervisor, seen) = world(config(upstream), move |_, out| {
        out.append(&mut queued.0.borrow_mut())
    });
    Setup {
        driver,
        supervisor,
        seen,
        injected,
    }
}

impl Setup {
    /// Runs the driver beside `steps`, which gets the means to have the relay return outputs.
    async fn run<T>(self, steps: impl AsyncFnOnce(Speaker) -> T) -> T {
        let Self {
            driver,
            mut supervisor,
            seen,
            injected,
        } = self;
        beside(driver, async {
            let link = supervisor.link(1).await;
            let result = steps(Speaker {
                link: link.into(),
                injected,
                seen,
            })
            .await;
            drop(supervisor);
            result
        })
        .await
    }
}

struct Speaker {
    link: tokio::sync::Mutex<tokio::net::UnixStream>,
    injected: Injected,
    seen: Seen,
}

impl Speaker {
    /// The relay says this now.
    async fn say(&self, output: Output) {
        self.injected.0.borrow_mut().push(output);
        let mut bytes = bytes::BytesMut::new();
        ggen_mcp::edge::frame::encode(1, &ggen_mcp::edge::frame::Frame::Gone, &mut bytes);
        self.link.lock().await.write_all(&bytes).await.unwrap();
    }

    /// Waits for the end of an exchange; returns everything about it.
    async fn ended(&self, exchange: u64) -> Vec<String> {
        let of = |input: &Input| match input {
            Input::Up(
                _,
                UpInput::Head {
                    exchange: at,
                    status,
                    session,
                    sse,
                    ..
                },
            ) if *at == exchange => Some(format!("{status} {session:?} {sse}")),
            Input::Up(
                _,
                UpInput::Message {
                    exchange: at,
                    event_id,
                    retry_ms,
                    data,
                },
            ) if *at == exchange => Some(format!(
                "{event_id:?} {retry_ms:?} {}",
                String::from_utf8_lossy(data)
            )),
            Input::Up(
                _,
                UpInput::End {
                    exchange: at,
                    error,
                },
            ) if *at == exchange => Some(format!("end {error:?}")),
            _ => None,
        };
        self.seen
            .wait(|inputs| {
                let found: Vec<String> = inputs.iter().filter_map(|(_, input)| of(input)).collect();
                found.last()?.starts_with("end").then_some(found)
            })
            .await
    }
}

async fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://me:pw@{}/mcp?token=hidden",
        listener.local_addr().unwrap()
    );
    (listener, url)
}

async fn request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"{\"id\":1}") {
        assert_ne!(
            socket.read_buf(&mut bytes).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    String::from_utf8(bytes).unwrap().to_lowercase()
}

#[tokio::test]
async fn json_comes_as_one_message_and_the_connection_is_used_again() {
    let (listener, url) = server().await;
    setup(&url)
        .run(async |relay| {
            relay.say(post(1)).await;
            let (mut socket, _) = listener.accept().await.unwrap();
            let text = request(&mut socket).await;
            assert!(text.starts_with("post /mcp?token=hidden http/1.1\r\n"), "{text}");
            for part in [
                "x-key: hidden",
                "authorization: basic bwu6chc=",
                "accept: application/json, text/event-stream",
                "content-type: application/json",
                "user-agent: ggend/",
            ] {
                assert!(text.contains(part), "{part} in {text}");
            }
            assert!(!text.contains("overridden"));
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s1\r\nContent-Length: 8\r\n\r\n{\"id\":1}";
            socket.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(relay.ended(1).await, ["200 Some(\"s1\") false", "None None {\"id\":1}", "end None"]);
            relay.say(post(2)).await;
            request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            assert_eq!(relay.ended(2).await, ["202 None false", "end None"]);
        })
        .await;
}

#[tokio::test]
async fn events_come_one_by_one_however_they_are_cut() {
    let (listener, url) = server().await;
    setup(&url)
        .run(async |relay| {
            relay.say(post(1)).await;
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            socket.set_nodelay(true).unwrap();
            socket
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await
                .unwrap();
            for piece in ["id: 1\nretry: 5\ndata:\n\n: hi\n\nda", "ta: {\"a\"", ":1}\r\n\r", "\nevent: message\ndata: {}\n\n"] {
                socket.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
            }
            let three = |inputs: &[(u64, Input)]| {
                (inputs.iter().filter(|(_, input)| matches!(input, Input::Up(_, UpInput::Message { .. }))).count() == 3).then_some(())
            };
            relay.seen.wait(three).await;
            socket.write_all(b"0\r\n\r\n").await.unwrap();
            let found = relay.ended(1).await;
            assert_eq!(found, ["200 None true", "Some(\"1\") Some(5) ", "None None {\"a\":1}", "None None {}", "end None"]);
        })
        .await;
}

#[tokio::test]
async fn an_error_status_brings_its_first_words_and_a_redirect_is_not_followed() {
    let (listener, url) = server().await;
    setup(&url)
        .run(async |relay| {
            relay.say(post(1)).await;
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone").await.unwrap();
            let gone = "end Some((UpstreamRefused, \"HTTP 404, no content type: gone\"))";
            assert_eq!(relay.ended(1).await, ["404 None false", gone]);
            relay.say(post(2)).await;
            request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            let redirect = "end Some((UpstreamRefused, \"HTTP 308: redirect to /other; no redirect is followed, give the new address as url\"))";
            assert_eq!(relay.ended(2).await, ["308 None false", redirect]);
            relay.say(post(3)).await;
            request(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await.unwrap();
            let found = relay.ended(3).await;
            assert!(found[1].contains("UpstreamTooLarge"), "{found:?}");
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_reached_says_so_without_secrets() {
    let (listener, url) = server().await;
    drop(listener);
    for url in [
        url.clone(),
        url.replace("http:", "https:"),
        "nonsense hidden".to_owned(),
    ] {
        setup(&url)
            .run(async |relay| {
                relay.say(post(1)).await;
                let found = relay.ended(1).await;
                assert!(
                    found[0].contains(&format!("{:?}", Code::UpstreamUnreachable)),
                    "{found:?}"
                );
                assert!(
                    !found[0].contains("hidden") && !found[0].contains("pw"),
                    "{found:?}"
                );
                if url.starts_with("http:") {
                    assert!(found[0].contains("refused"), "{found:?}");
                }
            })
            .await;
    }
}

#[tokio::test]
async fn an_aborted_exchange_closes_its_connection_and_is_not_heard_of_again() {
    let (listener, url) = server().await;
    setup(&url)
        .run(async |relay| {
            relay.say(post(1)).await;
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            socket
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
                .await
                .unwrap();
            relay
                .seen
                .wait(|inputs| {
                    matches!(
                        inputs.last(),
                        Some((_, Input::Up(_, UpInput::Message { .. })))
                    )
                    .then_some(())
                })
                .await;
            relay.say(Output::Abort(UpId(0), 1)).await;
            assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0);
            relay.say(post(2)).await;
            let (mut socket, _) = listener.accept().await.unwrap();
            request(&mut socket).await;
            drop(socket);
            assert!(relay.ended(2).await[0].contains("UpstreamUnreachable"));
            let late = |(_, input): &(u64, Input)| {
                matches!(input, Input::Up(_, UpInput::End { exchange: 1, .. }))
            };
            assert!(!relay.seen.inputs.borrow().iter().any(late));
        })
        .await;
}

#[tokio::test]
async fn a_silent_server_runs_into_the_time_out() {
    let (listener, url) = server().await;
    setup(&url)
        .run(async |relay| {
            let Output::Http(up, mut silent) = post(1) else {
                panic!("a request")
            };
            silent.timeout = 100_000;
            relay.say(Output::Http(up, silent)).await;
            let (_socket, _) = listener.accept().await.unwrap();
            assert!(relay.ended(1).await[0].contains("UpstreamTimeout"));
        })
        .await;
}

#[tokio::test]
async fn exchanges_are_bounded() {
    let (_listener, url) = server().await;
    setup(&url)
        .run(async |relay| {
            for exchange in 0..1025 {
                relay.injected.0.borrow_mut().push(post(exchange));
            }
            relay.say(post(1025)).await;
            assert!(relay.ended(1024).await[0].contains("UpstreamBusy"));
            assert!(relay.ended(1025).await[0].contains("UpstreamBusy"));
        })
        .await;
}
