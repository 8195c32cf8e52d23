//! A TCP connection, with or without TLS, and what the handshake showed. May not: speak HTTP.

use super::{
    http::Target,
    mcp::{self, Fault},
};
use crate::tls::{
    client::{self, Secure, Shown},
    files,
};
use ggen_wire::Code;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant, SystemTime},
};

/// Bytes to and from a server.
pub(crate) enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// TLS.
    Secure(Box<Secure>),
}

impl Stream {
    /// Connects to one address, with TLS if the target wants it; whether its certificate is good is
    /// not asked here.
    pub(crate) fn open(
        target: &Target,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Self, Fault> {
        let (_, socket) = mcp::connect(target, &[address], deadline)?;
        if target.tls {
            secure(socket, target, deadline, &[]).map(|secure| Self::Secure(Box::new(secure)))
        } else {
            Ok(Self::Plain(socket))
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(secure) => &secure.stream.sock,
        }
    }

    /// How long a read or a write may take.
    pub(crate) fn patience(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket()
            .set_read_timeout(time)
            .and_then(|()| self.socket().set_write_timeout(time))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            // Many servers end the connection without a word of TLS: what was to be read says how
            // long it is.
            Self::Secure(secure) => match secure.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Secure(secure) => secure.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Secure(secure) => secure.stream.flush(),
        }
    }
}

/// Makes the handshake, and verifies the certificate as a client would that trusts these authorities
/// (PEM).
pub(crate) fn secure(
    socket: TcpStream,
    target: &Target,
    deadline: Instant,
    trusted: &[String],
) -> Result<Secure, Fault> {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1));
    let made = socket
        .set_read_timeout(Some(left))
        .and_then(|()| socket.set_write_timeout(Some(left)))
        .and_then(|()| {
            let identity = target.credentials.certificate.as_ref();
            client::connect(socket, &target.host, trusted, identity)
        });
    made.map_err(|error| {
        let (code, word) = match error.kind() {
            _ if client::wants_certificate(&error) => {
                (Code::CertificateVerifyFailed, "Certificate verify failed")
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                (Code::ConnectionTimeout, "Connection timeout")
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                (Code::ConnectionRefused, "Connection closed")
            }
            _ => (Code::AnswerUnusable, "No TLS"),
        };
        Fault {
            layer: "TLS",
            code,
            what: format!("{word}: {}", target.authority()),
            seen: error.to_string(),
        }
    })
}

/// What a client of this host would make of the certificate: in words, or why it refuses. One that
/// signs itself is how a daemon on this host (`here`) begins.
pub(crate) fn verdict(shown: &Shown, target: &Target, here: bool) -> Result<String, Fault> {
    let self_signed = shown.facts.as_ref().is_some_and(|facts| facts.self_issued);
    // Nobody can be told to trust that.
    let unfit = shown.facts.as_ref().and_then(|facts| {
        let expired = files::days_left(facts, SystemTime::now()) < 0;
        let foreign = || {
            format!(
                "it is not made for {}, but for {}",
                target.host,
                facts.hosts.join(", ")
            )
        };
        if expired {
            Some("it has expired".to_owned())
        } else {
            (!facts.serves(&target.host)).then(foreign)
        }
    });
    match &shown.refused {
        None => Ok(shown.version.clone()),
        Some(_) if self_signed && here && unfit.is_none() => Ok(format!(
            "{}, self-signed: clients have to be told to trust it",
            shown.version
        )),
        Some(reason) => Err(Fault {
            layer: "TLS",
            code: Code::CertificateVerifyFailed,
            what: format!("Certificate verify failed: {}", target.authority()),
            seen: unfit
                .filter(|_| self_signed)
                .unwrap_or_else(|| reason.clone()),
        }),
    }
}
