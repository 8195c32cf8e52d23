//! Who is at the other end of a connection, as far as the connection itself tells. Edge transports put it into each request's extensions.

use ggen_mcp::edge::Principal;
use std::{net::SocketAddr, sync::Arc};

/// Names of a certificate that rules may name, at most.
const LABELS: usize = 100;

/// The other end of a connection. Cheap to clone.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "who asks is told apart by it; not every transport needs each member")]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// The client certificate that it has proved to be its own, that an accepted authority has signed, and that is neither expired nor revoked.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// It presented a certificate that is not accepted, and why: whatever else it shows, it is not heard.
    pub(crate) refused: Option<Arc<str>>,
    /// Nobody on the way can read along: TLS.
    pub(crate) secure: bool,
}

impl Peer {
    /// Of a connection without TLS.
    pub(crate) const fn plain(address: SocketAddr) -> Self {
        Self { address, certificate: None, refused: None, secure: false }
    }

    /// Who it is by its connection alone: `cert:<name>`, labelled with every name of the certificate, or `anonymous`.
    pub(crate) fn principal(&self) -> Principal {
        let Some(certificate) = &self.certificate else { return "anonymous".into() };
        let label = |name: &String| format!("cert:{name}").into_boxed_str();
        Principal { id: format!("cert:{}", certificate.name).into(), labels: certificate.names.iter().take(LABELS).map(label).collect() }
    }
}

/// A client certificate that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(dead_code, reason = "who asks is told apart by it; not every transport needs each member")]
pub(crate) struct PeerCertificate {
    /// What its principal is called, `cert:<name>`: the first DNS name, URI or e-mail address among its alternative names, else its common name.
    pub(crate) name: String,
    /// All its names.
    pub(crate) names: Vec<String>,
}
