//! An HTTP/3 client over quinn, which is another implementation than the daemon's. It believes any
//! certificate and shows it.

use crate::tls::{Identity, believing};
use bytes::{Buf, Bytes};
use h3_quinn::quinn::{self, crypto::rustls::QuicClientConfig};
use http::{HeaderMap, Request, StatusCode};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::{
    future::poll_fn,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

const HANDSHAKE: Duration = Duration::from_secs(15);

/// Whatever went wrong.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
/// A request whose answer is still to come.
pub type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// One connection.
pub struct Client {
    /// The QUIC connection.
    pub quic: quinn::Connection,
    /// Where requests are sent.
    pub send: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    endpoint: quinn::Endpoint,
}

/// A whole answer.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, as far as it has been read.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, or the last event of a stream, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = std::str::from_utf8(&self.body).unwrap();
        let text = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .next_back()
            .unwrap_or(text);
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Client {
    /// Asks for `localhost`, and shows no certificate.
    ///
    /// # Errors
    /// When there is no connection, or no handshake in time.
    pub async fn connect(address: SocketAddr) -> Result<Self, Fault> {
        Self::connect_as(address, "localhost", None).await
    }

    /// Asks for that name, and shows that certificate of its own.
    ///
    /// # Errors
    /// When there is no connection, or no handshake in time.
    pub async fn connect_as(
        address: SocketAddr,
        name: &str,
        own: Option<&Identity>,
    ) -> Result<Self, Fault> {
        let mut tls = believing(own)?;
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let own = if address.is_ipv4() {
            SocketAddr::from(([127, 0, 0, 1], 0))
        } else {
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0))
        };
        let mut endpoint = quinn::Endpoint::client(own)?;
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        // Who waits for an answer sends nothing, and hears of a server that died at the idle
        // time-out, or by the stateless reset (RFC 9000 §10.3) that its next packet gets.
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let quic = tokio::time::timeout(HANDSHAKE, endpoint.connect(address, name)?).await??;
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self {
            quic,
            send,
            endpoint,
        })
    }

    /// Closes the connection, and waits until the server was told.
    pub async fn close(self) {
        self.quic.close(0_u32.into(), b"");
        self.endpoint.wait_idle().await;
    }

    /// The same connection once more.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            quic: self.quic.clone(),
            send: self.send.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    /// The certificate that the server showed.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let chain = self
            .quic
            .peer_identity()
            .unwrap()
            .downcast::<Vec<CertificateDer<'static>>>()
            .unwrap();
        chain[0].to_vec()
    }

    /// Sends a request; its answer's body is still to come.
    ///
    /// # Errors
    /// When the stream or the connection breaks.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(Answer, Stream), Fault> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut stream = self.send.send_request(request.body(())?).await?;
        if !body.is_empty() {
            stream
                .send_data(Bytes::copy_from_slice(body.as_bytes()))
                .await?;
        }
        stream.finish().await?;
        let head = stream.recv_response().await?;
        Ok((
            Answer {
                status: head.status(),
                headers: head.headers().clone(),
                body: Vec::new(),
            },
            stream,
        ))
    }

    /// A whole request and its whole answer.
    ///
    /// # Errors
    /// When the stream or the connection breaks.
    pub async fn answer(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Fault> {
        let (mut answer, mut stream) = self.ask(method, path, headers, body).await?;
        while let Some(mut data) = stream.recv_data().await? {
            answer
                .body
                .extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Ok(answer)
    }

    /// A tool call of the newest revision.
    ///
    /// # Errors
    /// When the stream or the connection breaks.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Result<Answer, Fault> {
        let version = crate::mcp::MODERN;
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "ggend-tests", "version": "1" },
        });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })
            .to_string();
        let headers = [
            ("mcp-protocol-version", version),
            ("mcp-method", "tools/call"),
            ("mcp-name", tool),
        ];
        self.answer(
            "POST",
            "/mcp/fixture",
            &[&JSON[..], &headers].concat(),
            &body,
        )
        .await
    }
}

/// What each message is sent with.
pub const JSON: [(&str, &str); 2] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
];
