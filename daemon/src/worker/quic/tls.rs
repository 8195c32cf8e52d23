//! TLS of QUIC handshakes: which certificate is served, and whose are accepted. It can be replaced
//! at any time; a handshake uses what is in force when it begins. May not: open a file; keys come
//! from the supervisor.

use super::{identity::Tokens, parameters};
use crate::{
    config::{Config, Ssl, TlsVersion},
    ipc::secrets::TlsSecrets,
    tls::{Unusable, serve::Serving},
    worker::edge::{listeners::tls, peer::Peer},
};
use ggen_wire::Code;
use rustls::{ServerConfig, pki_types::CertificateDer};
use s2n_quic::provider::tls::{Provider, rustls as transport};
use s2n_quic_core::havoc::EncoderValue;
use s2n_quic_core::{application::ServerName, crypto::tls as core};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::sync::watch;

/// The protocol that is spoken here (RFC 9114 §3.1).
const ALPN: &[u8] = b"h3";

/// What is in force.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<watch::Sender<Arc<InForce>>>);

#[derive(Debug)]
struct InForce {
    serving: Serving,
    /// That of `serving`, fit for QUIC.
    config: Arc<ServerConfig>,
}

impl Keys {
    /// Of a configuration, and what the supervisor has read for it.
    ///
    /// # Errors
    /// There is no certificate, or it cannot be used; it has been checked before.
    pub(super) fn new(config: &Config, secrets: &TlsSecrets) -> Result<Self, Unusable> {
        Ok(Self(Arc::new(watch::Sender::new(in_force(
            config, secrets,
        )?))))
    }

    /// Puts another one in force, from the next handshake on. What serves goes on serving if that
    /// cannot be used.
    pub(super) fn set(&self, config: &Config, secrets: &TlsSecrets) {
        match in_force(config, secrets) {
            Ok(next) => drop(self.0.send_replace(next)),
            Err(error) => {
                tracing::warn!(target: "transport", code = %error.code, "QUIC keeps the certificates that it has: {}", error.what)
            }
        }
    }

    /// Who is at the other end of a connection, by the certificates (DER) that it has proved to
    /// have; `None`: nobody who is served at all.
    pub(super) fn peer(&self, address: SocketAddr, chain: Vec<Vec<u8>>) -> Option<Peer> {
        let now = self.now();
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let peer = tls::peer(
            address,
            Some(&chain)
                .filter(|chain| !chain.is_empty())
                .map(Vec::as_slice),
            &now.serving,
        );
        // Its handshake was one of before; what was accepted then is not accepted now.
        (!now.serving.is_required() || peer.certificate.is_some()).then_some(peer)
    }

    /// Returns when a client that was let in would not be any more.
    pub(super) async fn denied(&self, peer: &Peer) {
        let Some(certificate) = &peer.certificate else {
            return std::future::pending().await;
        };
        // The sender is part of what `self` is.
        let mut changes = self.0.subscribe();
        loop {
            if let Err(reason) = self.now().serving.still(&certificate.chain) {
                let (code, address) = (Code::CertificateVerifyFailed, peer.address);
                tracing::warn!(target: "auth", %code, %address, name = certificate.name, "QUIC connection closed: {}: {reason}", code.title());
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether a certificate in force is made for that host.
    pub(super) fn serves(&self, host: &str) -> bool {
        self.now().serving.serves(host)
    }

    fn now(&self) -> Arc<InForce> {
        Arc::clone(&self.0.borrow())
    }
}

/// For QUIC: TLS 1.3 (RFC 9001 §4.2) with `h3`, and no tickets, which the transport could not use.
fn in_force(config: &Config, secrets: &TlsSecrets) -> Result<Arc<InForce>, Unusable> {
    let ssl = Ssl {
        min_version: TlsVersion::V1_3,
        ..config.transports.http.ssl.clone()
    };
    let serving = Serving::new(&ssl, &config.auth.mtls, secrets)?
        .ok_or_else(|| Unusable::new("there is none"))?;
    let mut tls = ServerConfig::clone(&serving.config);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(Arc::new(InForce {
        serving,
        config: Arc::new(tls),
    }))
}

/// Begins TLS for the transport.
#[derive(Clone, Debug)]
pub(super) struct Handshakes {
    keys: Keys,
    tokens: Tokens,
}

impl Handshakes {
    /// With the keys in force at each handshake, for connections whose ids have these tokens.
    pub(super) const fn new(keys: Keys, tokens: Tokens) -> Self {
        Self { keys, tokens }
    }
}

impl core::Endpoint for Handshakes {
    type Session = <transport::Server as core::Endpoint>::Session;

    fn new_server_session<P: EncoderValue>(
        &mut self,
        parameters: &P,
        info: core::ConnectionInfo,
    ) -> Self::Session {
        let config = Arc::clone(&self.keys.now().config);
        let parameters =
            parameters::with_token(parameters.encode_to_vec(), |id| self.tokens.token(id));
        transport::Server::from(config).new_server_session(&parameters.as_slice(), info)
    }

    /// Never asked for: this end opens no connections.
    fn new_client_session<P: EncoderValue>(
        &mut self,
        parameters: &P,
        name: ServerName,
    ) -> Self::Session {
        let config = Arc::clone(&self.keys.now().config);
        transport::Server::from(config).new_client_session(parameters, name)
    }

    fn max_tag_length(&self) -> usize {
        // AES-GCM and ChaCha20-Poly1305 (RFC 9001 §5.3).
        16
    }
}

impl Provider for Handshakes {
    type Server = Self;
    type Client = transport::Client;
    type Error = Infallible;

    fn start_server(self) -> Result<Self, Infallible> {
        Ok(self)
    }

    /// Never asked for.
    fn start_client(self) -> Result<transport::Client, Infallible> {
        Ok(transport::Client::default())
    }
}
