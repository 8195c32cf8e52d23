//! What a connection tells about its other end. Edge transports put it into the extensions of each
//! request.

use std::{net::SocketAddr, sync::Arc};

/// The other end of a connection. Cheap to clone.
#[derive(Clone, Debug)]
#[allow(
    dead_code,
    reason = "who asks is told apart by it; not every transport needs each member"
)]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// The client certificate that it has proved to be its own, that an accepted authority has
    /// signed, and that is neither expired nor revoked.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// It presented a certificate that is not accepted, and why: whatever else it shows, it is not
    /// heard.
    pub(crate) refused: Option<Arc<str>>,
    /// Nobody on the way can read along: TLS.
    pub(crate) secure: bool,
}

impl Peer {
    /// Of a connection without TLS.
    pub(crate) const fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            certificate: None,
            refused: None,
            secure: false,
        }
    }
}

/// A client certificate that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "who asks is told apart by it; not every transport needs each member"
)]
pub(crate) struct PeerCertificate {
    /// What its principal is called, `cert:<name>`: the first DNS name, URI or e-mail address among
    /// its alternative names, else its common name.
    pub(crate) name: String,
    /// All its names.
    pub(crate) names: Vec<String>,
    /// What was shown, DER: the certificate itself, then those above it.
    pub(crate) chain: Vec<Vec<u8>>,
}
