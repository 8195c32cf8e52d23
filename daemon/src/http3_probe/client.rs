//! One HTTP/3 connection: handshake, requests, close. Errors name the layer that failed.

use crate::{
    http3::{self, code},
    ipc::http3_probe::{Destination, Failure, FromHttp3Probe, Kind, ProbeRequest, Shown},
    tls::client,
};
use bytes::{Buf, Bytes};
use h3::{client::SendRequest, error::StreamError, quic};
use http::{Request, Response, Uri, header::HeaderName};
use rustls::AlertDescription;
use s2n_quic::{
    client::Connect,
    connection::{Error, Handle},
    provider::{limits::Limits, tls::rustls as transport},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::time::timeout;

/// Largest body that is read, in bytes; a frame of the channel has room for it.
const MOST: usize = 4 << 20;
/// How long the CONNECTION_CLOSE may take to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// CRYPTO_ERROR (RFC 9000 §20.1): an alert of TLS is added to it.
const CRYPTO: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
/// `no_application_protocol` (RFC 7301 §3.2).
const NO_PROTOCOL: u64 = 0x178;

type Opener = <http3::Connection as quic::Connection<Bytes>>::OpenStreams;

/// A connection that was made.
pub(super) struct Client {
    endpoint: s2n_quic::Client,
    handle: Handle,
    requests: SendRequest<Opener, Bytes>,
    authority: String,
}

impl Client {
    /// Makes the handshake, and returns what the other side showed.
    pub(super) async fn connect(
        destination: &Destination,
        patience: Duration,
    ) -> Result<(Self, Shown), Failure> {
        let untried = |error: &dyn std::error::Error| Failure {
            kind: Kind::Untried,
            seen: error.to_string(),
        };
        let (config, witness) = client::for_http3(
            &destination.host,
            &destination.trusted,
            destination.identity.as_ref(),
        )
        .map_err(|error| untried(&error))?;
        let endpoint = endpoint(config, destination, patience).map_err(|error| untried(&*error))?;
        let late = || Failure {
            kind: Kind::Late,
            seen: "QUIC is answered, and the handshake is not finished".to_owned(),
        };
        let attempt = endpoint
            .connect(Connect::new(destination.address).with_server_name(destination.host.as_str()));
        let mut connection = match timeout(patience, attempt).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(
                Error::MaxHandshakeDurationExceeded { .. } | Error::IdleTimerExpired { .. },
            ))
            | Err(_) => return Err(late()),
            Ok(Err(error)) => return Err(unmade(&error)),
        };
        connection.keep_alive(true).unwrap_or_default();
        let handle = connection.handle();
        let (connection, _) = http3::Connection::new(connection);
        let mut builder = h3::client::builder();
        builder
            .max_field_section_size(http3::LARGEST_FRAME)
            .send_grease(false);
        let built = timeout(patience, builder.build(connection))
            .await
            .map_err(|_| late())?;
        let (mut driver, requests) = match built {
            Ok(built) => built,
            Err(error) => return Err(unanswered(&handle, &error).await),
        };
        // Reads what the other side says on its control stream; ends with the connection.
        tokio::spawn(async move { driver.wait_idle().await });
        let shown = witness.shown("TLSv1_3");
        Ok((
            Self {
                endpoint,
                handle,
                requests,
                authority: destination.authority.clone(),
            },
            shown,
        ))
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&mut self, request: ProbeRequest) -> Result<FromHttp3Probe, Failure> {
        let patience = Duration::from_millis(request.patience_ms);
        let handle = self.handle.clone();
        let outcome = timeout(patience, self.exchange(request)).await;
        match outcome {
            Err(_) => Err(Failure {
                kind: Kind::Late,
                seen: "no answer in time".to_owned(),
            }),
            Ok(Err(Unserved::Unaskable(seen))) => Err(Failure {
                kind: Kind::Untried,
                seen,
            }),
            Ok(Err(Unserved::TooLong)) => Err(Failure {
                kind: Kind::Foreign,
                seen: format!("an answer of more than {MOST} bytes"),
            }),
            Ok(Err(Unserved::Broken(error))) => Err(unanswered(&handle, &error).await),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    async fn exchange(&mut self, asked: ProbeRequest) -> Result<FromHttp3Probe, Unserved> {
        let uri = Uri::builder()
            .scheme("https")
            .authority(self.authority.as_str())
            .path_and_query(asked.path)
            .build();
        let mut request = Request::builder()
            .method(asked.method.as_str())
            .uri(uri.map_err(Unserved::unaskable)?);
        for (name, value) in asked.headers {
            request = request.header(
                HeaderName::try_from(name).map_err(Unserved::unaskable)?,
                value,
            );
        }
        let mut stream = self
            .requests
            .send_request(request.body(()).map_err(Unserved::unaskable)?)
            .await?;
        // A server that refuses early may have answered: what is read decides.
        let body = Bytes::from(asked.body);
        let sent = if body.is_empty() {
            Ok(())
        } else {
            stream.send_data(body).await
        };
        // Its end is not waited for: the server has it when it answers.
        let (mut send, mut receive) = stream.split();
        let ending = async {
            if sent.is_ok() {
                send.finish().await.unwrap_or_default();
            }
            std::future::pending().await
        };
        let reading = async {
            let (head, ()) = receive.recv_response().await?.into_parts();
            let mut body = Vec::new();
            while let Some(mut data) = if asked.head_only {
                None
            } else {
                receive.recv_data().await?
            } {
                if body.len() + data.remaining() > MOST {
                    return Err(Unserved::TooLong);
                }
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            Ok(answered(&Response::from_parts(head, ()), &body))
        };
        tokio::select! { answer = reading => answer, () = ending => Err(Unserved::TooLong) }
    }

    /// Closes the connection with a CONNECTION_CLOSE.
    pub(super) async fn leave(mut self) {
        self.handle.close(http3::application(code::NO_ERROR));
        drop(self.requests);
        let _ = timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

/// An endpoint at any address of the destination's family.
fn endpoint(
    config: rustls::ClientConfig,
    destination: &Destination,
    patience: Duration,
) -> Result<s2n_quic::Client, Box<dyn std::error::Error>> {
    let any: SocketAddr = if destination.address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let limits = Limits::new().with_max_handshake_duration(patience)?;
    Ok(s2n_quic::Client::builder()
        .with_io(any)?
        .with_tls(transport::Client::from(config))?
        .with_limits(limits)?
        .start()?)
}

fn answered(head: &Response<()>, body: &[u8]) -> FromHttp3Probe {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
    FromHttp3Probe::Answered {
        status: head.status().as_u16(),
        headers: headers.collect(),
        body: text(body),
    }
}

/// Why there is no answer.
enum Unserved {
    Unaskable(String),
    TooLong,
    Broken(StreamError),
}

impl Unserved {
    fn unaskable(error: impl std::fmt::Display) -> Self {
        Self::Unaskable(error.to_string())
    }
}

impl From<StreamError> for Unserved {
    fn from(error: StreamError) -> Self {
        Self::Broken(error)
    }
}

/// Why there is no connection.
fn unmade(error: &Error) -> Failure {
    let (kind, seen) = match error {
        Error::Transport { code, .. } if code.as_u64() == NO_PROTOCOL => (
            Kind::Protocol,
            "no common protocol (ALPN): h3 is not spoken".to_owned(),
        ),
        Error::Transport { code, .. } if CRYPTO.contains(&code.as_u64()) => {
            (Kind::Tls, alert(code.as_u64()))
        }
        error => (Kind::Closed, error.to_string()),
    };
    Failure { kind, seen }
}

/// Why there is no answer on a connection that was made.
async fn unanswered(handle: &Handle, error: &(dyn std::error::Error + Send + Sync)) -> Failure {
    // What h3 says of it hides what the transport knows, and that says so again to whoever wants
    // another stream.
    let mut handle = handle.clone();
    let transport = timeout(Duration::ZERO, handle.open_send_stream()).await;
    let (kind, seen) = match transport {
        // The only thing that TLS still waits for once a client is through (RFC 8446 §4.4.2.4).
        Ok(Err(Error::Transport { code, .. })) if CRYPTO.contains(&code.as_u64()) => {
            (Kind::Certificate, alert(code.as_u64()))
        }
        Ok(Err(Error::Application { error, .. })) if *error == code::NO_ERROR => {
            (Kind::Closed, "the connection was closed".to_owned())
        }
        Ok(Err(Error::Application { error, .. })) => (
            Kind::Closed,
            format!("the connection was closed with the code {:#x}", *error),
        ),
        Ok(Err(error)) => (Kind::Closed, error.to_string()),
        Ok(Ok(_)) | Err(_) => (Kind::Foreign, error.to_string()),
    };
    Failure { kind, seen }
}

/// `TLS alert HandshakeFailure`
fn alert(code: u64) -> String {
    let number = u8::try_from(code & 0xff).unwrap_or_default();
    format!("TLS alert {:?}", AlertDescription::from(number))
}
