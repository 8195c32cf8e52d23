//! One keep-alive HTTP/1.1 connection with one request in flight. Knows just enough HTTP for the
//! two servers that it talks to, so that the driver takes little of the machine that it measures;
//! anything unexpected is a failed call.

use serde::Deserialize;
use std::{
    io::{self, Write},
    net::SocketAddr,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection.
pub(crate) struct Client {
    socket: TcpStream,
    request: Vec<u8>,
    input: Vec<u8>,
}

/// What is looked at in an answer.
#[derive(Deserialize)]
pub(crate) struct Answer<'a> {
    /// The request's id.
    pub(crate) id: u64,
    #[serde(borrow)]
    result: CallResult<'a>,
}

#[derive(Deserialize)]
struct CallResult<'a> {
    #[serde(borrow)]
    content: [Content<'a>; 1],
}

#[derive(Deserialize)]
struct Content<'a> {
    text: &'a str,
}

impl Answer<'_> {
    /// The text that the tool gave back.
    pub(crate) const fn text(&self) -> &str {
        self.result.content[0].text
    }
}

/// A response's place in the connection's buffer.
struct Head {
    status: u16,
    session: Option<String>,
    body: usize,
    end: usize,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            request: Vec::with_capacity(1024),
            input: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and gives the answer's status, session header and body. `headers` are full
    /// lines.
    ///
    /// # Errors
    /// The connection broke, or the answer is not the HTTP that is understood here.
    pub(crate) async fn post(
        &mut self,
        headers: &str,
        body: &[u8],
    ) -> io::Result<(u16, Option<String>, &[u8])> {
        self.request.clear();
        write!(
            self.request,
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )?;
        self.request.extend_from_slice(body);
        self.socket.write_all(&self.request).await?;
        self.input.clear();
        let head = loop {
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = parse(&self.input)?
                && head.end <= self.input.len()
            {
                break head;
            }
        };
        if self.input.len() > head.end {
            return Err(io::Error::other("more than one answer"));
        }
        Ok((head.status, head.session, &self.input[head.body..head.end]))
    }
}

fn parse(input: &[u8]) -> io::Result<Option<Head>> {
    let Some(body) = memchr::memmem::find(input, b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let bad = |what: &str| io::Error::other(format!("{what}: {}", String::from_utf8_lossy(input)));
    let text = std::str::from_utf8(&input[..body]).map_err(|_| bad("not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let (mut length, mut session) = (None, None);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name {
            "content-length" => length = value.parse::<usize>().ok(),
            "mcp-session-id" => session = Some(value.to_owned()),
            _ => {}
        }
    }
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some(Head {
            status,
            session,
            body,
            end: body + length,
        })),
        _ => Err(bad("no status or no length")),
    }
}
