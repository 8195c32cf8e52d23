//! The socket to the gateway worker: one reader task and one writer task for each link. What is
//! queued during a write leaves with the next one, so that a busy worker makes one system call for
//! many frames in each direction.

use super::{
    Shared,
    table::{LinkId, StreamId},
};
use crate::worker::link_socket::{self, Reading, Writing};
use bytes::BytesMut;
use ggen_mcp::edge::frame;
use ggen_mcp::edge::frame::Frame;
use std::{future::poll_fn, io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
};

/// Bytes asked for in one read.
const READ: usize = 64 << 10;
/// Buffers that grew beyond this for a large message are not kept.
const KEEP: usize = 256 << 10;
/// No new exchange is written while so many bytes wait for the socket.
pub(crate) const HIGH_WATER: usize = 1 << 20;

/// What is queued for one link.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: LinkId,
    pub(crate) buffer: BytesMut,
    /// Wakes the writer.
    pub(crate) ready: Arc<Notify>,
}

impl Outgoing {
    pub(crate) fn push(&mut self, stream: StreamId, frame: &Frame) {
        if self.buffer.is_empty() {
            self.ready.notify_one();
        }
        frame::encode(stream.0, frame, &mut self.buffer);
    }
}

/// Serves a link until it ends. Afterwards its unfinished exchanges are lost and it takes no new
/// ones.
pub(crate) async fn serve(shared: Arc<Shared>, id: LinkId, socket: UnixStream, ready: Arc<Notify>) {
    let ended = match socket.into_std().and_then(link_socket::split) {
        Ok((reading, writing)) => tokio::select! {
            ended = read(&shared, id, reading) => ended,
            ended = write(&shared, id, writing, &ready) => ended,
        },
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => {
            tracing::debug!(target: "transport", link = id.0, "the gateway worker closed the link")
        }
        Err(error) => {
            tracing::warn!(target: "transport", link = id.0, %error, "the link to the gateway worker broke")
        }
    }
    shared.lost(id);
}

async fn read(shared: &Shared, id: LinkId, mut socket: Reading) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(READ);
    let mut replies = Vec::new();
    loop {
        // By then those who got the last replies have used them, and their memory is used again.
        poll_fn(|cx| socket.poll_read_ready(cx)).await?;
        input.reserve(READ / 4);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some((stream, frame)) = frame::decode(&mut input).map_err(io::Error::other)? {
            let Frame::Reply(reply) = frame else {
                return Err(io::Error::other("a frame that only an edge may send"));
            };
            replies.push((stream, reply));
        }
        shared.deliver(id, &mut replies).map_err(io::Error::other)?;
    }
}

async fn write(shared: &Shared, id: LinkId, mut socket: Writing, ready: &Notify) -> io::Result<()> {
    let mut batch = BytesMut::new();
    loop {
        shared.swap(id, &mut batch);
        if batch.is_empty() {
            ready.notified().await;
            continue;
        }
        socket.write_all(&batch).await?;
        if batch.capacity() > KEEP {
            batch = BytesMut::new();
        }
        batch.clear();
    }
}
