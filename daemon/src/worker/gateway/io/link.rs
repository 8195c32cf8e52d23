//! A link to an edge worker: frames in and out, many exchanges on one socket. May not: look into a
//! message.

use super::buffers::{Incoming, Outgoing, TURN, Turn};
use crate::worker::link_socket::{self, Reading, Writing};
use ggen_mcp::api::{Input, StreamKey};
use ggen_mcp::edge::frame::Frame;
use ggen_mcp::edge::{Reply, frame};
use std::{
    io,
    os::fd::OwnedFd,
    os::unix::net::UnixStream,
    task::{Context, Poll, Waker},
};

/// While more than this waits for the edge, nothing is read from it.
const HIGH_WATER: usize = 8 << 20;
/// An edge that lets more than this wait is given up: the relay's own bounds keep honest edges far
/// below.
const GIVE_UP: usize = 512 << 20;

/// One link.
pub(crate) struct Link {
    edge: u32,
    reading: Reading,
    writing: Writing,
    waker: Waker,
    input: Incoming,
    pub(crate) output: Outgoing,
    held: bool,
    /// The edge has another link for new exchanges.
    pub(crate) moved: bool,
}

impl Link {
    /// Takes over the socket. `chunk` is the size of a read to begin with.
    ///
    /// # Errors
    /// When the descriptor is not a socket, or cannot be registered.
    pub(crate) fn new(edge: u32, socket: OwnedFd, waker: Waker, chunk: usize) -> io::Result<Self> {
        let (reading, writing) = link_socket::split(UnixStream::from(socket))?;
        Ok(Self {
            edge,
            reading,
            writing,
            waker,
            input: Incoming::new(chunk),
            output: Outgoing::default(),
            held: false,
            moved: false,
        })
    }

    /// Reads what is there, up to its share of the turn.
    pub(crate) fn read(&mut self, take: &mut impl FnMut(Input)) -> Turn {
        let mut cx = Context::from_waker(&self.waker);
        let mut count = 0;
        while count < TURN {
            self.held = self.output.bytes.len() > HIGH_WATER;
            if self.held {
                return Turn::Waiting;
            }
            match self.input.fill(&mut self.reading, &mut cx) {
                Poll::Pending => return Turn::Waiting,
                Poll::Ready(Ok(0) | Err(_)) => return Turn::Closed,
                Poll::Ready(Ok(more)) => count += more,
            }
            loop {
                match frame::decode(&mut self.input.bytes) {
                    Ok(Some((stream, frame))) => {
                        let key = StreamKey {
                            edge: self.edge,
                            stream,
                        };
                        take(match frame {
                            Frame::Open(request) => Input::Open(key, request),
                            Frame::Gone => Input::Gone(key),
                            Frame::Credit(events) => Input::Credit(key, events),
                            Frame::Moved => {
                                self.moved = true;
                                continue;
                            }
                            Frame::Reply(_) => return self.refuse("it sent a reply"),
                        });
                    }
                    Ok(None) => break,
                    Err(error) => return self.refuse(&error.to_string()),
                }
            }
        }
        Turn::More
    }

    fn refuse(&self, why: &str) -> Turn {
        tracing::error!(target: "transport", edge = self.edge, "link to an edge worker closed: {why}");
        Turn::Closed
    }

    /// Queues a reply for the next flush.
    pub(crate) fn send(&mut self, stream: u32, reply: Reply) {
        frame::encode(stream, &Frame::Reply(reply), &mut self.output.bytes);
    }

    /// Writes what is queued. `Ok(true)`: reading may go on.
    ///
    /// # Errors
    /// The edge is gone, or so slow that it is given up.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let mut cx = Context::from_waker(&self.waker);
        if let Poll::Ready(result) = self.output.flush(&mut self.writing, &mut cx) {
            result?;
        }
        if self.output.bytes.len() > GIVE_UP {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(self.held && self.output.bytes.len() <= HIGH_WATER)
    }
}
