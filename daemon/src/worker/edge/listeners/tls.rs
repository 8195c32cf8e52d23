//! The TLS handshake as a server, and what it tells about the client. May not: open a file; keys
//! come from the supervisor.

use super::accept::{Handler, Server};
use crate::{
    tls::serve::{self, Serving},
    worker::edge::peer::{Peer, PeerCertificate},
};
use ggen_wire::Code;
use rustls::pki_types::CertificateDer;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, rustls, server::TlsStream};

impl<H: Handler> Server<H> {
    /// Closes connections of clients whose certificate is not accepted any more.
    pub(crate) fn judge_again(&self) {
        let tls = self.tls();
        for (connection, task) in &*self.lock() {
            let Some(certificate) = connection.certificate.get() else {
                continue;
            };
            let still = tls
                .as_ref()
                .map_or_else(|| Ok(()), |tls| tls.still(&certificate.chain));
            if let Err(reason) = still {
                let code = Code::CertificateVerifyFailed;
                tracing::warn!(target: "auth", %code, name = certificate.name, "connection closed: {}: {reason}", code.title());
                task.abort();
            }
        }
    }
}

/// Shakes hands. What goes wrong has been logged; it is told as a word for the metric.
pub(crate) async fn accept(
    socket: TcpStream,
    address: SocketAddr,
    tls: &Serving,
) -> Result<(TlsStream<TcpStream>, Peer), &'static str> {
    let stream = match TlsAcceptor::from(Arc::clone(&tls.config))
        .accept(socket)
        .await
    {
        Ok(stream) => stream,
        Err(error) => return Err(failed(&error, address)),
    };
    let (_, session) = stream.get_ref();
    let peer = peer(address, session.peer_certificates(), tls);
    // It was resumed, and what was accepted then is not accepted now.
    if peer.refused.is_some() && tls.is_required() {
        Err("client_certificate")
    } else {
        Ok((stream, peer))
    }
}

/// Who is there, by the certificates that were shown in a handshake: the client's own first.
pub(crate) fn peer(
    address: SocketAddr,
    chain: Option<&[CertificateDer<'_>]>,
    tls: &Serving,
) -> Peer {
    let shown = || {
        chain
            .unwrap_or_default()
            .iter()
            .map(|der| der.to_vec())
            .collect()
    };
    let (certificate, refused) = match tls.judge(chain) {
        Ok(facts) => (
            facts.map(|facts| {
                Arc::new(PeerCertificate {
                    name: facts.name,
                    names: facts.names,
                    chain: shown(),
                })
            }),
            None,
        ),
        Err(reason) => {
            not_accepted(address, &reason);
            (None, Some(reason.into()))
        }
    };
    Peer {
        address,
        certificate,
        refused,
        secure: true,
    }
}

fn failed(error: &io::Error, address: SocketAddr) -> &'static str {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let reason = inner.map(serve::reason).unwrap_or_default();
    if !reason.is_empty() {
        not_accepted(address, &reason);
        return "client_certificate";
    }
    tracing::debug!(target: "transport", %address, %error, "TLS handshake failed");
    match inner {
        None => "closed",
        Some(rustls::Error::AlertReceived(_)) => "alert",
        Some(rustls::Error::PeerIncompatible(_)) => "incompatible",
        Some(_) => "not_tls",
    }
}

fn not_accepted(address: SocketAddr, reason: &str) {
    let code = Code::CertificateVerifyFailed;
    tracing::warn!(target: "auth", %code, %address, "{}: {reason}", code.title());
}
