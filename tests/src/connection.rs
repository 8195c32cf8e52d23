//! HTTP/1.1 by hand: what is sent is exactly what the test says, what is received is taken apart as
//! RFC 9112 says. Event streams are read as the HTML standard says (§9.2.6).

use crate::DEADLINE;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

/// A connection to the daemon.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: VecDeque<u8>,
    framing: Framing,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length(usize),
    // Bytes left of the chunk that has begun.
    Chunked(usize),
    Close,
    Done,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// `id:`
    pub id: Option<String>,
    /// `data:` lines, joined.
    pub data: String,
}

impl Head {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of the socket; `ConnectionRefused` is what must never happen to a daemon's listener.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::Plain(socket(address)?),
            buffer: VecDeque::new(),
            framing: Framing::Done,
        })
    }

    /// Connects for TLS with a server called localhost. The handshake comes with what is sent
    /// first.
    ///
    /// # Errors
    /// Those of the socket, and of a configuration that makes no sense.
    pub fn secure(address: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        let stream = Stream::Tls(Box::new(StreamOwned::new(session, socket(address)?)));
        Ok(Self {
            stream,
            buffer: VecDeque::new(),
            framing: Framing::Done,
        })
    }

    /// How long a read may take.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn patience(&self, time: Duration) -> io::Result<()> {
        self.stream.socket().set_read_timeout(Some(time))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request with `Host`, `Content-Length` and the given headers.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n",
            self.stream.socket().peer_addr()?
        )
        .into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        self.send(&bytes)
    }

    /// Whether the next request may use this connection: the last answer has been read to its end.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.framing == Framing::Done
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 65536];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend(&chunk[..count]);
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self
                .buffer
                .iter()
                .skip(seen)
                .position(|byte| *byte == b'\n')
            {
                let line: Vec<u8> = self.buffer.drain(..=seen + at).collect();
                return Ok(String::from_utf8_lossy(&line)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned());
            }
            seen = self.buffer.len();
            self.fill()?;
        }
    }

    /// Reads the head of the answer.
    ///
    /// # Errors
    /// Those of the socket; `UnexpectedEof` when the daemon closed.
    ///
    /// # Panics
    /// When it is not HTTP/1.1.
    pub fn head(&mut self) -> io::Result<Head> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {first}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { status, headers };
        let length = head
            .header("content-length")
            .and_then(|length| length.parse().ok());
        self.framing = match (head.header("transfer-encoding"), length) {
            _ if status == 204 || status == 304 => Framing::Done,
            (Some(_), _) => Framing::Chunked(0),
            (None, Some(0)) => Framing::Done,
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::Close,
        };
        Ok(head)
    }

    /// The next bytes of the body as they come; `None` at its end.
    ///
    /// # Errors
    /// Those of the socket; `UnexpectedEof` when the daemon closed in the middle.
    pub fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let limit = match self.framing {
            Framing::Done => return Ok(None),
            Framing::Length(left) => left,
            Framing::Chunked(0) => {
                let line = self.line()?;
                let size =
                    usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.map_err(|_| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("not a chunk size: {line:?}"),
                    )
                })?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                self.framing = Framing::Chunked(size);
                size
            }
            Framing::Chunked(left) => left,
            Framing::Close => usize::MAX,
        };
        if self.buffer.is_empty()
            && let Err(error) = self.fill()
        {
            if error.kind() == io::ErrorKind::UnexpectedEof && self.framing == Framing::Close {
                self.framing = Framing::Done;
                return Ok(None);
            }
            return Err(error);
        }
        let piece: Vec<u8> = self.buffer.drain(..self.buffer.len().min(limit)).collect();
        let left = limit - piece.len();
        match self.framing {
            Framing::Length(_) if left == 0 => self.framing = Framing::Done,
            Framing::Length(_) => self.framing = Framing::Length(left),
            Framing::Chunked(_) => {
                self.framing = Framing::Chunked(left);
                if left == 0 {
                    self.line()?;
                }
            }
            Framing::Close | Framing::Done => {}
        }
        Ok(Some(piece))
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head()?;
        let mut body = Vec::new();
        while let Some(piece) = self.piece()? {
            body.extend_from_slice(&piece);
        }
        Ok(Answer { head, body })
    }

    /// Reads the rest of an answer, plain or an event stream, and gives the HTTP status and the
    /// last message in it.
    ///
    /// # Panics
    /// When the daemon closes early or sends no JSON.
    #[track_caller]
    pub fn last_message(&mut self) -> (u16, serde_json::Value) {
        // A stream whose head has been read is one that began well.
        let head = if self.framing == Framing::Done {
            Some(self.head().expect("an answer"))
        } else {
            None
        };
        let (mut body, mut events, mut last) = (Vec::new(), Events::default(), None);
        let is_stream = head.as_ref().is_none_or(|head| {
            head.header("content-type")
                .is_some_and(|kind| kind.starts_with("text/event-stream"))
        });
        while let Some(piece) = self.piece().expect("the rest of the answer") {
            if is_stream {
                events.push(&piece);
                last = std::iter::from_fn(|| events.take())
                    .filter(|event| !event.data.is_empty())
                    .last()
                    .or(last);
            } else {
                body.extend_from_slice(&piece);
            }
        }
        let text = if is_stream {
            last.expect("a message").data.into_bytes()
        } else {
            body
        };
        let message = serde_json::from_slice(&text)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
        (head.map_or(200, |head| head.status), message)
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn once(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut connection = Self::open(address)?;
        connection.request(method, path, headers, body)?;
        connection.answer()
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, DEADLINE)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub struct Events {
    text: Vec<u8>,
    /// Comment lines so far (keep-alives).
    pub comments: usize,
}

impl Events {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    /// The next whole event that has data.
    pub fn take(&mut self) -> Option<Event> {
        loop {
            let end = self.text.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("an event stream is UTF-8");
            let mut event = Event::default();
            let mut data = Vec::new();
            for line in block.lines() {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match name {
                    "" if !line.is_empty() => self.comments += 1,
                    "id" => event.id = Some(value.to_owned()),
                    "data" => data.push(value),
                    _ => {}
                }
            }
            event.data = data.join("\n");
            if !event.data.is_empty() || event.id.is_some() {
                return Some(event);
            }
        }
    }
}
