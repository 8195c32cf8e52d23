//! For the tests of edge workers: the gateway worker's end of a link.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use bytes::{Bytes, BytesMut};
use ggen_mcp::edge::frame::Frame;
use ggen_mcp::edge::{Reply, Request, frame};
use std::{future::Future, os::fd::OwnedFd, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("happens in time")
}

/// The gateway worker's end of a link.
pub(crate) struct Gateway {
    pub(crate) socket: UnixStream,
    input: BytesMut,
}

impl Gateway {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true).unwrap();
        Self {
            socket: UnixStream::from_std(socket).unwrap(),
            input: BytesMut::new(),
        }
    }

    pub(crate) async fn receive(&mut self) -> Option<(u32, Frame)> {
        loop {
            if let Some(frame) = frame::decode(&mut self.input).unwrap() {
                return Some(frame);
            }
            if self.socket.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> (u32, Frame) {
        soon(self.receive()).await.expect("the link is open")
    }

    pub(crate) async fn open(&mut self) -> (u32, Request) {
        match self.next().await {
            (stream, Frame::Open(request)) => (stream, request),
            other => panic!("expected a request, got {other:?}"),
        }
    }

    /// Answers each request with its own body, for as long as the link is open.
    pub(crate) async fn echo(mut self) {
        while let Some((stream, frame)) = self.receive().await {
            if let Frame::Open(request) = frame {
                self.reply(stream, full(200, request.body)).await;
            }
        }
    }

    pub(crate) async fn reply(&mut self, stream: u32, reply: Reply) {
        let mut out = BytesMut::new();
        frame::encode(stream, &Frame::Reply(reply), &mut out);
        self.socket.write_all(&out).await.unwrap();
    }
}

pub(crate) fn full(status: u16, body: impl Into<Bytes>) -> Reply {
    Reply::Full {
        status,
        session: None,
        retry_after: None,
        body: body.into(),
    }
}

pub(crate) fn event(data: impl Into<Bytes>) -> Reply {
    Reply::Event {
        id: None,
        retry_ms: None,
        data: data.into(),
    }
}
