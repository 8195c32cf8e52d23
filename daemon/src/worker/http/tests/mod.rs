//! The http worker behind real sockets, with the test in the places of the supervisor, the gateway
//! worker and the client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod connections;
mod gateway;
mod refusals;
mod streams;

use crate::{
    config::{Config, Http},
    ipc::{
        channel::{Receiver, Sender, channel},
        messages::{Beat, Bound, Role, Start, ToSupervisor, ToWorker},
    },
    platform::socket_pair,
    worker::{
        Context,
        edge::testing::{Gateway, PATIENCE, event, full, soon},
    },
};
use bytes::BytesMut;
use std::{fmt::Write as _, net::SocketAddr, os::fd::AsFd, process::ExitCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

/// A worker under test.
struct Rig {
    address: SocketAddr,
    sender: Sender,
    receiver: Receiver,
    task: JoinHandle<ExitCode>,
    links: u32,
}

impl Rig {
    fn new(tune: impl FnOnce(&mut Http)) -> Self {
        let mut config = Config::default();
        tune(&mut config.transports.http);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let start = Start {
            beat_ms: 20,
            listeners: vec![Bound {
                transport: "http".to_owned(),
                address,
            }],
            ..Start::to_try(Role::Http, config)
        };
        let (ours, theirs) = socket_pair().unwrap();
        let (sender, receiver) = channel(ours).unwrap();
        let context = Context::for_test(start, vec![listener], theirs).unwrap();
        Self {
            address,
            sender,
            receiver,
            task: tokio::spawn(super::run(context)),
            links: 0,
        }
    }

    /// A gateway worker starts, and the worker gets a link to it.
    async fn link(&mut self) -> Gateway {
        let (ours, theirs) = socket_pair().unwrap();
        self.links += 1;
        self.sender
            .send(
                &ToWorker::Link {
                    edge: self.links,
                    peer: "gateway-0".to_owned(),
                },
                &[theirs.as_fd()],
            )
            .await
            .unwrap();
        Gateway::new(ours)
    }

    /// A gateway worker that answers each request with its own body.
    async fn echo(&mut self) -> JoinHandle<()> {
        tokio::spawn(self.link().await.echo())
    }

    async fn beat(&mut self) -> Beat {
        loop {
            let (message, _) = soon(self.receiver.receive::<ToSupervisor>())
                .await
                .unwrap()
                .unwrap();
            if let ToSupervisor::Beat(beat) = message {
                return beat;
            }
        }
    }

    /// The next beat's value of a metric without labels, or the sum over its labels.
    async fn metric(&mut self, name: &str) -> f64 {
        loop {
            let beat = self.beat().await;
            let Some(family) = beat.metrics.iter().find(|family| family.name == name) else {
                continue;
            };
            return family
                .samples
                .iter()
                .map(|sample| match sample.value {
                    crate::metrics::Value::Number(value) => value,
                    crate::metrics::Value::Histogram { .. } => 0.0,
                })
                .sum();
        }
    }

    async fn drain(&mut self) {
        self.sender
            .send(
                &ToWorker::Drain {
                    deadline_ms: 20_000,
                },
                &[],
            )
            .await
            .unwrap();
    }
}

/// A client on one connection, as simple as can be, so that every byte is the test's.
struct Client {
    socket: TcpStream,
    input: BytesMut,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Asserts the status and our code, and that the body is a JSON-RPC error.
    #[track_caller]
    fn is(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{} {}", self.head, self.text());
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(json["error"]["data"]["code"], code, "{json}");
        assert!(json["error"]["code"].is_i64() && json["jsonrpc"] == "2.0");
    }
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            socket: soon(TcpStream::connect(address)).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    async fn write(&mut self, text: &str) {
        soon(self.socket.write_all(text.as_bytes())).await.unwrap();
    }

    /// A POST to `/mcp` with the usual headers.
    async fn post(&mut self, body: &str) {
        let text = post(body, "");
        self.write(&text).await;
    }

    async fn more(&mut self) -> usize {
        soon(self.socket.read_buf(&mut self.input)).await.unwrap()
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self
                .input
                .windows(end.len())
                .position(|window| window == end.as_bytes())
            {
                return String::from_utf8(self.input.split_to(at + end.len()).to_vec()).unwrap();
            }
            assert!(
                self.more().await > 0,
                "closed before {end:?}: {:?}",
                self.input
            );
        }
    }

    async fn head(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        }
    }

    async fn exactly(&mut self, length: usize) -> BytesMut {
        while self.input.len() < length {
            assert!(self.more().await > 0, "closed early");
        }
        self.input.split_to(length)
    }

    /// The next chunk; empty at the end.
    async fn chunk(&mut self) -> BytesMut {
        let line = self.until("\r\n").await;
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let chunk = self.exactly(length).await;
        self.exactly(2).await;
        chunk
    }

    async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if answer.header("transfer-encoding").is_some() {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                answer.body.extend_from_slice(&chunk);
            }
        } else {
            let length = answer
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            answer.body = self.exactly(length).await.to_vec();
        }
        answer
    }

    /// Waits for the server to close.
    async fn closed(&mut self) {
        soon(async { while matches!(self.socket.read_buf(&mut self.input).await, Ok(1..)) {} })
            .await;
    }
}

fn post(body: &str, headers: &str) -> String {
    let mut text = String::from(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n",
    );
    write!(
        text,
        "Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .unwrap();
    text
}
