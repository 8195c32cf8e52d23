//! A small blocking HTTP/1.1 client that keeps the layers apart: name, connection, exchange. One
//! connection for each request, everything bounded by a deadline. May not: know MCP.

use super::{
    credentials::{self, Credentials},
    stream::Stream,
};
use crate::tls::client::wants_certificate;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// Largest answer that is read.
const MOST: usize = 16 << 20;

/// Where a URL points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// `https`.
    pub tls: bool,
    /// What is shown to it.
    pub credentials: Arc<Credentials>,
}

/// The variable with the key for a daemon that wants one.
const API_KEY: &str = "GGEN_MCP_API_KEY";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    /// Nothing came in time.
    #[error("no answer within {}", ggen_wire::text::took(*.0))]
    Timeout(Duration),
    /// It wants to know us by a certificate.
    #[error("the server wants a client certificate, and none was shown")]
    Certificate,
    /// The connection ended before an answer.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// What came is no HTTP.
    #[error("what came is not HTTP: {0}")]
    Foreign(String),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Header names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub(crate) body: Vec<u8>,
}

impl Target {
    /// Takes a URL apart; `None`: it is not one that can be connected to.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let host = uri
            .host()?
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        (!host.is_empty()).then_some(Self {
            host,
            port,
            path,
            tls,
            credentials: Arc::default(),
        })
    }

    /// The target of an address.
    #[must_use]
    pub fn of(address: SocketAddr, path: &str) -> Self {
        let address = reachable(address);
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            path: path.to_owned(),
            tls: false,
            credentials: Arc::default(),
        }
    }

    /// `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether it is this host.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|host| host.to_canonical().is_loopback())
    }

    /// The same place with another path.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }
}

/// The key for a server that wants one: the one that was given for this connection, else that in
/// the environment. The latter is meant for the daemon of this host and goes nowhere else.
pub(crate) fn api_key(target: &Target, here: bool) -> Option<String> {
    let given = target.credentials.api_key.as_ref();
    given.map(|key| key.reveal().to_owned()).or_else(|| {
        std::env::var(API_KEY)
            .ok()
            .filter(|key| here && credentials::is_key(key))
    })
}

/// Where a client of this host finds a listener: one that is bound to every address is tried at
/// loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        other => other,
    }
}

/// Asks the system for a name's addresses. The system's resolver cannot be interrupted: it is left
/// behind in a thread of its own when it takes longer.
///
/// # Errors
/// The system's words, or that it did not answer.
pub(crate) fn resolve(
    host: &str,
    port: u16,
    patience: Duration,
) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = host.to_owned();
    let asking =
        move || drop(sender.send((name.as_str(), port).to_socket_addrs().map(Vec::from_iter)));
    std::thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(asking)
        .map_err(|error| error.to_string())?;
    match receiver.recv_timeout(patience) {
        Ok(Ok(found)) if found.is_empty() => Err("it has no address".to_owned()),
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "no answer within {}",
            ggen_wire::text::took(patience)
        )),
    }
}

/// Connects to the first address that takes the connection.
///
/// # Errors
/// The last address's; `TimedOut` when the time is over.
pub(crate) fn connect(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> io::Result<(SocketAddr, TcpStream)> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(1);
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok((*address, stream)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends one request to a daemon, with its key if that is here, and reads the answer.
///
/// # Errors
/// [`Unserved`]
pub(crate) fn exchange(
    stream: Stream,
    target: &Target,
    method: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    deadline: Instant,
    enough: &dyn Fn(&Answer) -> bool,
) -> Result<Answer, Unserved> {
    let key = api_key(target, target.is_here());
    let mut headers = headers.to_vec();
    headers.extend(key.iter().map(|key| ("X-API-Key", key.as_str())));
    ask(stream, target, method, &headers, body, deadline, enough)
}

/// Sends one request and reads the answer: to its end, or until `enough` says that the body holds
/// what is wanted (event streams may stay open).
///
/// # Errors
/// [`Unserved`]
pub(crate) fn ask(
    mut stream: Stream,
    target: &Target,
    method: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    deadline: Instant,
    enough: &dyn Fn(&Answer) -> bool,
) -> Result<Answer, Unserved> {
    let began = Instant::now();
    let late = || Unserved::Timeout(began.elapsed());
    let request = encode(target, method, headers, body);
    let left = |late: &dyn Fn() -> Unserved| {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(late())
        } else {
            Ok(Some(left))
        }
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
        _ if wants_certificate(&error) => Unserved::Certificate,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Unserved::Closed,
        _ => Unserved::Io(error),
    };
    stream.patience(left(&late)?).map_err(failed)?;
    // A server that refuses early may have answered: what is read decides.
    let written = stream.write_all(&request);
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        stream.patience(left(&late)?).map_err(failed)?;
        let count = match stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
            Ok(count) => count,
        };
        bytes.extend_from_slice(&chunk[..count]);
        match parse(&bytes)? {
            Some((answer, whole))
                if whole || count == 0 || bytes.len() > MOST || enough(&answer) =>
            {
                return Ok(answer);
            }
            None if count == 0 => {
                return Err(written
                    .as_ref()
                    .err()
                    .map_or(Unserved::Closed, |error| failed(error.kind().into())));
            }
            _ => {}
        }
    }
}

fn encode(target: &Target, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        target.path,
        target.authority()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    request
}

/// The answer as far as it has come, and whether that is all; `None`: its head is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, bool)>, Unserved> {
    let begins = bytes.get(..5).is_none_or(|start| start == b"HTTP/");
    let foreign = || {
        Unserved::Foreign(format!(
            "{:?}",
            ggen_wire::text::line(&String::from_utf8_lossy(&bytes[..bytes.len().min(60)]))
        ))
    };
    if !begins {
        return Err(foreign());
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(foreign)?;
    let field = |line: &str| {
        line.split_once(':')
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let mut answer = Answer {
        status,
        headers: lines.filter_map(field).collect(),
        body: Vec::new(),
    };
    let rest = &bytes[end + 4..];
    if answer
        .header("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    {
        let (body, whole) = unchunk(rest);
        answer.body = body;
        return Ok(Some((answer, whole)));
    }
    let length = answer
        .header("content-length")
        .and_then(|value| value.parse::<usize>().ok());
    let whole = length.is_some_and(|length| rest.len() >= length) || matches!(status, 204 | 304);
    answer.body = rest.to_vec();
    Ok(Some((answer, whole)))
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = String::from_utf8_lossy(&rest[..end]);
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
        else {
            return (body, true);
        };
        let data = &rest[end + 2..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&data[..size.min(data.len())]);
        let Some(next) = data.get(size + 2..) else {
            return (body, false);
        };
        rest = next;
    }
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("http://[::1]:3000/mcp?x=1").unwrap();
        assert_eq!(
            (
                target.host.as_str(),
                target.port,
                target.path.as_str(),
                target.tls
            ),
            ("::1", 3000, "/mcp?x=1", false)
        );
        assert_eq!(target.authority(), "[::1]:3000");
        assert_eq!(
            Target::parse("https://example.org/mcp").map(|target| (target.port, target.tls)),
            Some((443, true))
        );
        assert!(
            ["ftp://x/", "nonsense", "/mcp", "http://"]
                .iter()
                .all(|url| Target::parse(url).is_none())
        );
    }

    #[test]
    fn bodies_are_put_together() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let (answer, whole) = parse(chunked).unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice(), whole),
            (200, b"abcde".as_slice(), true)
        );
        let (answer, whole) = parse(&chunked[..chunked.len() - 6]).unwrap().unwrap();
        assert_eq!(
            (answer.body.as_slice(), whole),
            (b"abcde".as_slice(), false)
        );
        assert!(
            parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
                .unwrap()
                .is_none()
        );
        assert!(parse(b"SSH-2.0-x\r\n").is_err());
    }
}
