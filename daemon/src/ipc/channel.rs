//! The control channel: frames of JSON with descriptors beside them over a Unix stream socket.
//!
//! ```text
//! u32 LE length of the JSON   u8 number of descriptors   JSON
//! ```
//!
//! The descriptors travel with the frame's first byte (SCM_RIGHTS), so they have arrived when the
//! frame has. One form for tokio ([`channel`]) and a blocking one ([`Blocking`]) for the shim,
//! which has no event loop.

use crate::platform::{
    MAX_DESCRIPTORS, receive_with_descriptors, send_with_descriptors, set_nonblocking,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};
use tokio::{io::Interest, net::UnixStream};

/// Largest JSON of a frame, in bytes: room for the lists of thousands of tools.
pub const MAX_MESSAGE: usize = 16 << 20;

const HEADER: usize = 5;
const CHUNK: usize = 16 << 10;

/// A message and its descriptors.
pub type Received<T> = (T, Vec<OwnedFd>);

fn encode(message: &impl Serialize, descriptors: usize) -> io::Result<Vec<u8>> {
    let count = u8::try_from(descriptors)
        .ok()
        .filter(|count| usize::from(*count) <= MAX_DESCRIPTORS);
    let count = count.ok_or_else(|| invalid("too many descriptors for one frame"))?;
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - HEADER;
    if length > MAX_MESSAGE {
        return Err(invalid("message over the limit of the control channel"));
    }
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    frame[4] = count;
    Ok(frame)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Puts frames together from whatever pieces arrive.
#[derive(Default)]
struct Decoder {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Decoder {
    /// One read from the socket. `Ok(false)` at the end of the stream.
    fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let at = self.bytes.len();
        self.bytes.resize(at + CHUNK, 0);
        let result = receive_with_descriptors(socket, &mut self.bytes[at..], &mut self.descriptors);
        self.bytes
            .truncate(at + result.as_ref().copied().unwrap_or(0));
        match result? {
            0 if self.bytes.is_empty() => Ok(false),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(true),
        }
    }

    fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<Received<T>>> {
        let Some(length) = self
            .bytes
            .get(..4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
        else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(invalid("message over the limit of the control channel"));
        }
        let Some(frame) = self.bytes.get(..HEADER + length) else {
            return Ok(None);
        };
        let count = usize::from(frame[4]);
        if self.descriptors.len() < count {
            return Err(invalid("a frame came without its descriptors"));
        }
        let message = serde_json::from_slice(&frame[HEADER..])?;
        self.bytes.drain(..HEADER + length);
        if self.bytes.is_empty() && self.bytes.capacity() > 4 * CHUNK {
            self.bytes = Vec::new();
        }
        Ok(Some((message, self.descriptors.drain(..count).collect())))
    }
}

/// The sending half. Sends from several tasks must not overlap: it is owned by one.
pub struct Sender(Arc<UnixStream>);

/// The receiving half.
pub struct Receiver {
    socket: Arc<UnixStream>,
    decoder: Decoder,
}

/// Both halves of a channel over a connected Unix stream socket. The socket closes when both are
/// dropped.
///
/// # Errors
/// When the socket cannot be registered with the event loop.
pub fn channel(socket: OwnedFd) -> io::Result<(Sender, Receiver)> {
    set_nonblocking(&socket, true)?;
    let socket = Arc::new(UnixStream::from_std(socket.into())?);
    Ok((
        Sender(Arc::clone(&socket)),
        Receiver {
            socket,
            decoder: Decoder::default(),
        },
    ))
}

/// The same over a socket of which somebody else has read these bytes already, and no frame to its
/// end.
///
/// # Errors
/// As [`channel`].
pub fn resumed(socket: OwnedFd, unread: Vec<u8>) -> io::Result<(Sender, Receiver)> {
    let (sender, mut receiver) = channel(socket)?;
    receiver.decoder.bytes = unread;
    Ok((sender, receiver))
}

impl Sender {
    /// Sends one frame. Not cancel-safe: a send that is dropped half-way spoils the channel.
    ///
    /// # Errors
    /// `BrokenPipe` when the peer is gone; `InvalidData` for what does not fit in a frame.
    pub async fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let frame = encode(message, descriptors.len())?;
        let mut sent = 0;
        while sent < frame.len() {
            let attached = if sent == 0 { descriptors } else { &[] };
            self.0.writable().await?;
            match self.0.try_io(Interest::WRITABLE, || {
                send_with_descriptors(self.0.as_fd(), &frame[sent..], attached)
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => sent += taken?,
            }
        }
        Ok(())
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Receiver {
    /// What has been read and is no whole frame yet.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.decoder.bytes
    }

    /// The next frame; `None` when the peer has closed. Cancel-safe.
    ///
    /// # Errors
    /// When the peer's bytes are not frames, or the socket fails.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<Received<T>>> {
        loop {
            if let Some(found) = self.decoder.next()? {
                return Ok(Some(found));
            }
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || {
                self.decoder.fill(self.socket.as_fd())
            }) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The channel for a process without an event loop.
pub struct Blocking {
    socket: OwnedFd,
    decoder: Decoder,
}

impl Blocking {
    /// Over a connected Unix stream socket.
    ///
    /// # Errors
    /// When the socket cannot be set to blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&socket, false)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
        })
    }

    /// Sends one frame, waiting as long as it takes.
    ///
    /// # Errors
    /// `BrokenPipe` when the peer is gone.
    pub fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let frame = encode(message, descriptors.len())?;
        let mut sent = 0;
        while sent < frame.len() {
            let attached = if sent == 0 { descriptors } else { &[] };
            sent += send_with_descriptors(self.socket.as_fd(), &frame[sent..], attached)?;
        }
        Ok(())
    }

    /// Waits for the next frame; `None` when the peer has closed.
    ///
    /// # Errors
    /// When the peer's bytes are not frames, or the socket fails.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<Received<T>>> {
        loop {
            if let Some(found) = self.decoder.next()? {
                return Ok(Some(found));
            }
            if !self.decoder.fill(self.socket.as_fd())? {
                return Ok(None);
            }
        }
    }
}

impl AsFd for Blocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{pipe, socket_pair};
    use std::io::{Read, Write};

    fn text(length: usize) -> String {
        "x".repeat(length)
    }

    #[tokio::test]
    async fn frames_of_every_size_arrive_with_their_own_descriptors() {
        let (left, right) = socket_pair().unwrap();
        let (mut sender, _keep) = channel(left).unwrap();
        let (_keep, mut receiver) = channel(right).unwrap();
        let sizes = [0, 1, 100, CHUNK, 3 * CHUNK + 1, 1 << 20, 2];
        let mut readers = Vec::new();
        let mut writers = Vec::new();
        for _ in &sizes {
            let (reader, writer) = pipe().unwrap();
            readers.push(std::fs::File::from(reader));
            writers.push(writer);
        }
        let send = async {
            for (index, size) in sizes.iter().enumerate() {
                let all = [writers[index].as_fd(), writers[index].as_fd()];
                sender.send(&text(*size), &all[..index % 3]).await.unwrap();
            }
        };
        let receive = async {
            for (index, size) in sizes.iter().enumerate() {
                let (message, descriptors): Received<String> =
                    receiver.receive().await.unwrap().unwrap();
                assert_eq!(message.len(), *size);
                assert_eq!(descriptors.len(), index % 3);
                if let Some(first) = descriptors.into_iter().next() {
                    std::fs::File::from(first)
                        .write_all(&[u8::try_from(index).unwrap()])
                        .unwrap();
                    let mut byte = [0];
                    readers[index].read_exact(&mut byte).unwrap();
                    assert_eq!(usize::from(byte[0]), index);
                }
            }
        };
        tokio::join!(send, receive);
        drop((sender, _keep));
    }

    #[tokio::test]
    async fn the_end_is_told_apart_from_a_frame_that_was_cut() {
        let (left, right) = socket_pair().unwrap();
        let (_keep, mut receiver) = channel(right).unwrap();
        let mut blocking = Blocking::new(left).unwrap();
        blocking.send(&7, &[]).unwrap();
        assert_eq!(receiver.receive::<u32>().await.unwrap().unwrap().0, 7);
        drop(blocking);
        assert!(receiver.receive::<u32>().await.unwrap().is_none());

        let (left, right) = socket_pair().unwrap();
        let (_keep, mut receiver) = channel(right).unwrap();
        std::fs::File::from(left)
            .write_all(&[9, 0, 0, 0, 0, b'1'])
            .unwrap();
        assert_eq!(
            receiver
                .receive::<u32>()
                .await
                .err()
                .map(|error| error.kind()),
            Some(io::ErrorKind::UnexpectedEof)
        );
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_before_anything_is_read() {
        let (left, right) = socket_pair().unwrap();
        let (_keep, mut receiver) = channel(right).unwrap();
        std::fs::File::from(left).write_all(&[255; 5]).unwrap();
        assert_eq!(
            receiver
                .receive::<u32>()
                .await
                .err()
                .map(|error| error.kind()),
            Some(io::ErrorKind::InvalidData)
        );
    }
}
