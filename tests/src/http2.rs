//! An HTTP/2 client that does exactly what it is told, frame by frame, and opens no window by
//! itself.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest frame that the other side has to take (RFC 9113 §4.2).
const FRAME: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub struct Frames(pub TcpStream);

/// One frame (RFC 9113 §4.1).
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it is about.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether the other side ends a stream with it.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        self.kind == RST_STREAM
            || matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// The bytes of a frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header without indexing and without Huffman coding (RFC 7541 §6.2.2).
#[must_use]
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = text.len();
        if length < 127 {
            [&[u8::try_from(length).unwrap()], text.as_bytes()].concat()
        } else {
            let (mut bytes, mut rest) = (vec![127], length - 127);
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
            [&bytes, text.as_bytes()].concat()
        }
    };
    [vec![0], text(name), text(value)].concat()
}

impl Frames {
    /// Opens a connection whose streams may be sent so many bytes at first.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(address: SocketAddr, window: u32) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        let initial = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        socket.write_all(&frame(SETTINGS, 0, 0, &initial))?;
        Ok(Self(socket))
    }

    /// Sends a whole request.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn request(
        &mut self,
        stream: u32,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut head = [
            field(":method", method),
            field(":scheme", "http"),
            field(":authority", "localhost"),
            field(":path", path),
        ]
        .concat();
        for (name, value) in headers {
            head.extend(field(&name.to_ascii_lowercase(), value));
        }
        let last = if body.is_empty() { END_STREAM } else { 0 };
        let mut frames = frame(HEADERS, END_HEADERS | last, stream, &head);
        let mut rest = body;
        while let Some((piece, more)) = rest.split_at_checked(rest.len().min(FRAME))
            && !piece.is_empty()
        {
            rest = more;
            let last = if rest.is_empty() { END_STREAM } else { 0 };
            frames.extend(frame(DATA, last, stream, piece));
        }
        self.0.write_all(&frames)
    }

    /// Gives a stream up.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn reset(&mut self, stream: u32) -> io::Result<()> {
        self.0
            .write_all(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection has ended, or nothing comes in time.
    pub fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// Reads until the connection or that stream ends; gives what has come on the stream. `None`:
    /// nothing ended in time.
    pub fn rest(&mut self, stream: u32) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            match self.read() {
                Ok(frame) if frame.stream == stream => {
                    if frame.kind == DATA {
                        data.extend_from_slice(&frame.payload);
                    }
                    if frame.is_end() {
                        return Some(data);
                    }
                }
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return None;
                }
                Err(_) => return Some(data),
            }
        }
    }
}
