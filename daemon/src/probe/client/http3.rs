//! Requests over HTTP/3. The client is `ggend http3-probe`, a process of its own, because QUIC needs
//! an event loop and the probe has none. Every call is bounded by a deadline; the process ends with
//! the connection.

use super::{
    http::{self, Answer, Target, Unserved},
    mcp::Fault,
};
use crate::{
    ipc::{
        channel::Blocking,
        http3_probe::{
            Destination, Failure, FromHttp3Probe, Kind, ProbeRequest, Shown, ToHttp3Probe,
        },
    },
    platform,
    supervisor::processes::environment,
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// How much longer than the deadline the process may take to report that it gave up.
const REPORT: Duration = Duration::from_millis(500);
/// How long it may take to exit.
const EXIT: Duration = Duration::from_secs(1);

/// A connection over HTTP/3.
pub(crate) struct Http3Client {
    /// Closed before the process is waited for.
    channel: Option<Blocking>,
    /// The same socket, for its time-outs.
    socket: UnixStream,
    pid: u32,
    /// The other side is this host.
    here: bool,
}

impl Http3Client {
    /// Makes the handshake with `target` at that address as a client that trusts these certificates (PEM).
    ///
    /// # Errors
    /// There is no connection; what is wrong with the certificate is no error here.
    pub(crate) fn open(
        target: &Target,
        address: SocketAddr,
        deadline: Instant,
        trusted: Vec<String>,
    ) -> Result<(Self, Shown), Fault> {
        let fault = |code, what: &str, seen: String| Fault {
            layer: "TLS over QUIC",
            code,
            what: format!("{what}: {address} (UDP)"),
            seen,
        };
        let untried =
            |error: io::Error| fault(Code::Internal, "HTTP/3 cannot be tried", error.to_string());
        let mut http3 = Self::start(address).map_err(untried)?;
        let (host, authority) = (target.host.clone(), target.authority());
        let destination = Destination {
            address,
            host,
            authority,
            trusted,
            identity: target.credentials.certificate.clone(),
            patience_ms: left(deadline),
        };
        match http3.ask(&ToHttp3Probe::Connect(destination), deadline) {
            Ok(FromHttp3Probe::Connected(shown)) => Ok((http3, shown)),
            Ok(FromHttp3Probe::Failed(Failure { kind, seen })) => Err(match kind {
                Kind::Late => fault(Code::ConnectionTimeout, "Connection timeout", seen),
                Kind::Tls | Kind::Certificate => {
                    fault(Code::CertificateVerifyFailed, "TLS handshake failed", seen)
                }
                Kind::Protocol => fault(Code::AnswerUnusable, "Not HTTP/3", seen),
                Kind::Closed => fault(Code::ConnectionRefused, "Connection closed", seen),
                Kind::Foreign => fault(Code::AnswerUnusable, "Not HTTP/3", seen),
                Kind::Untried => fault(Code::Internal, "HTTP/3 cannot be tried", seen),
            }),
            Ok(FromHttp3Probe::Answered { .. }) => Err(untried(io::ErrorKind::InvalidData.into())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(fault(
                Code::ConnectionTimeout,
                "Connection timeout",
                "no answer in time".to_owned(),
            )),
            Err(error) => Err(untried(error)),
        }
    }

    /// Asks on the connection.
    ///
    /// # Errors
    /// [`Unserved`]
    pub(crate) fn exchange(
        &mut self,
        target: &Target,
        method: &str,
        headers: &[(&str, &str)],
        body: &str,
        deadline: Instant,
    ) -> Result<Answer, Unserved> {
        let began = Instant::now();
        let key = http::api_key(target, self.here).map(|key| ("x-api-key".to_owned(), key));
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()))
            .chain(key)
            .collect();
        let request = ProbeRequest {
            method: method.to_owned(),
            path: target.path.clone(),
            headers,
            body: body.to_owned(),
            // What a plain GET is answered with may have no end.
            head_only: method != "POST",
            patience_ms: left(deadline),
        };
        match self.ask(&ToHttp3Probe::Ask(request), deadline) {
            Ok(FromHttp3Probe::Answered {
                status,
                headers,
                body,
            }) => Ok(Answer {
                status,
                headers,
                body: body.into_bytes(),
            }),
            Ok(FromHttp3Probe::Failed(Failure { kind, seen })) => Err(match kind {
                Kind::Late => Unserved::Timeout(began.elapsed()),
                Kind::Certificate => Unserved::Certificate,
                Kind::Foreign => Unserved::Foreign(seen),
                Kind::Tls | Kind::Protocol | Kind::Closed | Kind::Untried => {
                    Unserved::Io(io::Error::other(seen))
                }
            }),
            Ok(FromHttp3Probe::Connected(_)) => {
                Err(Unserved::Io(io::ErrorKind::InvalidData.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Unserved::Timeout(began.elapsed()))
            }
            Err(error) => Err(Unserved::Io(error)),
        }
    }

    fn start(address: SocketAddr) -> io::Result<Self> {
        let (ours, theirs) = platform::socket_pair()?;
        let socket = UnixStream::from(ours.try_clone()?);
        let channel = Some(Blocking::new(ours)?);
        let pid = platform::spawn_self(&["http3-probe"], theirs, environment::of_worker())?;
        Ok(Self {
            channel,
            socket,
            pid,
            here: address.ip().to_canonical().is_loopback(),
        })
    }

    /// Sends the process a request and waits for its answer. [`io::ErrorKind::TimedOut`]: it gave none
    /// by the deadline, as on a very busy machine.
    fn ask(&mut self, message: &ToHttp3Probe, deadline: Instant) -> io::Result<FromHttp3Probe> {
        let channel = self.channel.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let end = deadline + REPORT;
        let patience = |socket: &UnixStream| {
            let left = end
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            socket
                .set_read_timeout(Some(left))
                .and_then(|()| socket.set_write_timeout(Some(left)))
        };
        patience(&self.socket)?;
        channel.send(message, &[])?;
        loop {
            patience(&self.socket)?;
            match channel.receive() {
                Ok(Some((answer, _))) => return Ok(answer),
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= end {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Http3Client {
    fn drop(&mut self) {
        drop(self.channel.take());
        // The clone of the socket would keep the channel open.
        self.socket
            .shutdown(std::net::Shutdown::Both)
            .unwrap_or_default();
        if !platform::reap_one(self.pid, EXIT) {
            platform::signal_process(self.pid, Signal::SIGKILL);
            let _ = platform::reap_one(self.pid, EXIT);
        }
    }
}

/// Until then, in milliseconds; one at least.
fn left(deadline: Instant) -> u64 {
    u64::try_from(
        deadline
            .saturating_duration_since(Instant::now())
            .as_millis(),
    )
    .unwrap_or(u64::MAX)
    .max(1)
}
