//! The messages between the probe and its HTTP/3 client (`ggend http3-probe`), over the same frames
//! as the workers' control channel.

pub use crate::tls::client::Shown;

use super::secrets::Certificate;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Probe → HTTP/3 client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToHttp3Probe {
    /// The first message, once.
    Connect(Destination),
    /// Sends a request; not before the last one is answered.
    Ask(ProbeRequest),
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Where it is (UDP).
    pub address: SocketAddr,
    /// The name that is asked for in the handshake and looked for in the certificate; it may be an
    /// address.
    pub host: String,
    /// `:authority` of the requests.
    pub authority: String,
    /// Certificates (PEM) that are believed.
    pub trusted: Vec<String>,
    /// The client certificate to show.
    #[serde(default)]
    pub identity: Option<Certificate>,
    /// How long the handshake may take, in milliseconds.
    pub patience_ms: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body; nothing for most.
    pub body: String,
    /// The head of the answer is all that is wanted.
    pub head_only: bool,
    /// How long the answer may take, in milliseconds.
    pub patience_ms: u64,
}

/// HTTP/3 client → probe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromHttp3Probe {
    /// The handshake was made, whatever the certificate is.
    Connected(Shown),
    /// An answer came.
    Answered {
        /// HTTP status.
        status: u16,
        /// Names in lower case, and values.
        headers: Vec<(String, String)>,
        /// The body, as text.
        body: String,
    },
    /// None came.
    Failed(Failure),
}

/// Why there is no connection, or no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// At which point.
    pub kind: Kind,
    /// What was seen.
    pub seen: String,
}

/// At which point a connection or a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing came in time.
    Late,
    /// TLS ended the handshake.
    Tls,
    /// `h3` is not spoken there (RFC 9001 §8.1).
    Protocol,
    /// A client certificate is wanted.
    Certificate,
    /// The other side ended the connection.
    Closed,
    /// What came is not HTTP/3, or more than is read.
    Foreign,
    /// We cannot try.
    Untried,
}
