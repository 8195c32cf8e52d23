//! A client over quinn, and its requests.

use super::{PATIENCE, soon};
use bytes::{Buf, Bytes, BytesMut};
use h3::{client::SendRequest, error::StreamError};
use h3_quinn::quinn::{self, crypto::rustls::QuicClientConfig};
use http::{HeaderMap, Request, Response, request::Builder};
use rustls::pki_types::CertificateDer;
use std::{net::SocketAddr, sync::Arc};
use tokio::task::JoinHandle;

pub(super) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// One connection.
pub(super) struct Client {
    pub(super) send: SendRequest<h3_quinn::OpenStreams, Bytes>,
    pub(super) quic: quinn::Connection,
    pub(super) driver: JoinHandle<h3::error::ConnectionError>,
    _endpoint: quinn::Endpoint,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json["error"]["data"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// QUIC alone.
pub(super) async fn quic(
    address: SocketAddr,
    authority: &CertificateDer<'static>,
    name: &str,
) -> (quinn::Endpoint, quinn::Connection) {
    quic_with(address, authority, name, quinn::TransportConfig::default()).await
}

/// The same, with settings of its own.
pub(super) async fn quic_with(
    address: SocketAddr,
    authority: &CertificateDer<'static>,
    name: &str,
    transport: quinn::TransportConfig,
) -> (quinn::Endpoint, quinn::Connection) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let tls = QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    let connection = soon(endpoint.connect(address, name).unwrap())
        .await
        .expect("a handshake");
    (endpoint, connection)
}

impl Client {
    pub(super) async fn connect(
        address: SocketAddr,
        authority: &CertificateDer<'static>,
        name: &str,
    ) -> Self {
        Self::over(quic(address, authority, name).await).await
    }

    pub(super) async fn over((endpoint, quic): (quinn::Endpoint, quinn::Connection)) -> Self {
        let (mut driver, send) = soon(h3::client::new(h3_quinn::Connection::new(quic.clone())))
            .await
            .unwrap();
        let driver =
            tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Self {
            send,
            quic,
            driver,
            _endpoint: endpoint,
        }
    }

    /// Sends a request and its body, and not the end of it.
    pub(super) async fn begin(
        &mut self,
        request: Builder,
        body: impl Into<Bytes>,
    ) -> Result<Stream, StreamError> {
        let mut stream = self.send.send_request(request.body(()).unwrap()).await?;
        let body = body.into();
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        Ok(stream)
    }

    /// Sends a whole request and gives the head of its answer.
    pub(super) async fn ask(
        &mut self,
        request: Builder,
        body: impl Into<Bytes>,
    ) -> Result<(Response<()>, Stream), StreamError> {
        let mut stream = self.begin(request, body).await?;
        stream.finish().await?;
        let head = stream.recv_response().await?;
        Ok((head, stream))
    }

    /// A whole request and its whole answer.
    pub(super) async fn answer(&mut self, request: Builder, body: impl Into<Bytes>) -> Answer {
        soon(async {
            let (head, mut stream) = self.ask(request, body).await.expect("an answer");
            let body = rest(&mut stream).await.expect("a whole body");
            Answer {
                status: head.status().as_u16(),
                headers: head.headers().clone(),
                body,
            }
        })
        .await
    }

    pub(super) async fn post(&mut self, body: impl Into<Bytes>) -> Answer {
        self.answer(post(), body).await
    }
}

/// What is left of an answer.
pub(super) async fn rest(stream: &mut Stream) -> Result<Vec<u8>, StreamError> {
    let mut body = BytesMut::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(body.to_vec())
}

/// The next piece of an answer.
pub(super) async fn piece(stream: &mut Stream) -> Option<Bytes> {
    let mut data = tokio::time::timeout(PATIENCE, stream.recv_data())
        .await
        .expect("in time")
        .expect("no error")?;
    Some(data.copy_to_bytes(data.remaining()))
}

pub(super) fn post() -> Builder {
    let request = Request::post("https://localhost/mcp").header("content-type", "application/json");
    request.header("accept", "application/json, text/event-stream")
}
