//! The worker's own frames with an echo behind them instead of MCP: what a suite of the protocol
//! drives (`tests/interop/autobahn`).

use super::super::codec::{Codec, Frame};
use std::{future::poll_fn, task::Poll, time::Instant};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use tokio_tungstenite::tungstenite::{Message, handshake::derive_accept_key};

const LARGEST: usize = 32 << 20;

/// Gives back what comes, until either side closes.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut codec: Codec<S>) {
    poll_fn(|cx| {
        loop {
            let now = Instant::now();
            let flushed = codec.poll_flush(cx, now).is_ready();
            if codec.end(now).is_some() {
                return Poll::Ready(());
            }
            if !flushed {
                return Poll::Pending;
            }
            match codec.poll_read(cx) {
                Poll::Ready(Frame::Text(text)) => codec.text(text.into()),
                Poll::Ready(Frame::Binary(bytes)) => codec.write(Message::Binary(bytes)),
                Poll::Ready(Frame::Sign) => {}
                Poll::Pending if codec.is_unflushed() || codec.end(Instant::now()).is_some() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    codec.farewell().await;
}

#[tokio::test]
#[ignore = "a server for tests/interop/autobahn, which ends it; listens at GGEND_ECHO"]
async fn serves_echo() {
    let address = std::env::var("GGEND_ECHO").expect("an address");
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut socket = BufReader::new(socket);
            let mut key = String::new();
            loop {
                let mut line = String::new();
                if socket.read_line(&mut line).await.unwrap_or(0) <= 2 {
                    break;
                }
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("sec-websocket-key")
                {
                    value.trim().clone_into(&mut key);
                }
            }
            let accept = derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            socket
                .get_mut()
                .write_all(answer.as_bytes())
                .await
                .unwrap_or_default();
            let buffered = socket.buffer().to_vec();
            echo(Codec::new(socket.into_inner(), buffered, LARGEST).await).await;
        });
    }
}
