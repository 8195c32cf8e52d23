//! The socket of a link between an edge worker and the gateway worker, used at both ends.
//! Writability is asked for only while a write waits. Otherwise the event loop would wake a worker
//! each time its peer has read something, a second time for every message at low load. May not:
//! know frames.

use nix::sys::socket::{MsgFlags, send};
use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{io::AsyncWrite, net::unix::pipe};

/// What the peer writes. The event loop's reader of pipes: it asks for readability alone, and reads
/// with `read(2)`, which is all that a stream socket needs.
pub(super) type Reading = pipe::Receiver;

/// The two directions of a socket.
///
/// # Errors
/// When the socket cannot be registered with the event loop.
pub(super) fn split(socket: UnixStream) -> io::Result<(Reading, Writing)> {
    socket.set_nonblocking(true)?;
    let reading = pipe::Receiver::from_owned_fd_unchecked(socket.try_clone()?.into())?;
    Ok((reading, Writing { socket, room: None }))
}

/// What we write.
pub(super) struct Writing {
    socket: UnixStream,
    /// There while a write waits: a registration of its own, hence a descriptor of its own.
    room: Option<pipe::Sender>,
}

impl AsyncWrite for Writing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(room) = &mut self.room {
                let written = ready!(Pin::new(room).poll_write(cx, bytes));
                self.room = None;
                return Poll::Ready(written);
            }
            // No flag against the signal: every Rust program ignores SIGPIPE.
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(nix::Error::EAGAIN) => {
                    let socket = OwnedFd::from(self.socket.try_clone()?);
                    self.room = Some(pipe::Sender::from_owned_fd_unchecked(socket)?);
                }
                Err(nix::Error::EINTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use std::{future::poll_fn, io::Read, time::Duration};
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
        time::timeout,
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn more_than_the_socket_holds_arrives_whole_and_then_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reading, _kept) = split(theirs).unwrap();
        let (own_reading, mut writing) = split(ours).unwrap();
        let sent: Vec<u8> = (0..4_000_000u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let expected = sent.clone();
        let writer = async move {
            writing.write_all(&sent).await.unwrap();
            assert!(writing.room.is_none());
            drop((writing, own_reading));
        };
        let reader = async {
            let mut got = Vec::new();
            reading.read_to_end(&mut got).await.unwrap();
            got
        };
        let ((), got) = timeout(PATIENCE, async { tokio::join!(writer, reader) })
            .await
            .unwrap();
        assert!(got == expected);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_also_for_a_write_that_waits() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_reading, mut writing) = split(ours).unwrap();
        let writer = async { while writing.write_all(&[0; 100_000]).await.is_ok() {} };
        let leaver = async {
            tokio::task::yield_now().await;
            drop(theirs);
        };
        timeout(PATIENCE, async { tokio::join!(writer, leaver) })
            .await
            .unwrap();
        assert!(writing.write_all(b"more").await.is_err());
    }

    #[tokio::test]
    async fn a_reader_is_not_woken_when_its_peer_reads() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reading, mut writing) = split(ours).unwrap();
        let mut room = [0; 16];
        let mut buffer = ReadBuf::new(&mut room);
        let mut peer = &theirs;
        writing.write_all(b"question").await.unwrap();
        let mut polls = 0;
        let waiting = poll_fn(|cx| {
            polls += 1;
            Pin::new(&mut reading).poll_read(cx, &mut buffer)
        });
        let taking = async {
            peer.read_exact(&mut [0; 8]).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::io::Write::write_all(&mut peer, b"answer").unwrap();
        };
        let (read, ()) = timeout(PATIENCE, async { tokio::join!(waiting, taking) })
            .await
            .unwrap();
        read.unwrap();
        assert_eq!(buffer.filled(), b"answer");
        assert!(polls <= 3, "{polls} polls");
    }
}
