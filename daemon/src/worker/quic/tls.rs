//! Certificates for handshakes. What is in force can be replaced at any time; a handshake takes what is in force when it begins.

use crate::ipc::secrets::TlsSecrets;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use s2n_quic::provider::tls::{Provider, rustls as transport};
use s2n_quic_core::havoc::EncoderValue;
use s2n_quic_core::{application::ServerName, crypto::tls as core};
use std::{
    convert::Infallible,
    error::Error,
    sync::{Arc, PoisonError, RwLock},
};

/// The protocol that is spoken here (RFC 9114 §3.1).
const ALPN: &[u8] = b"h3";

/// What is in force.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<RwLock<Arc<ServerConfig>>>);

impl Keys {
    /// For QUIC: TLS 1.3 with `h3`, no tickets, which the transport could not use.
    pub(super) fn new(config: ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(fit(config)))))
    }

    /// From the next handshake on.
    pub(super) fn set(&self, config: ServerConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fit(config));
    }
}

/// Of the certificates that the supervisor has read.
///
/// # Errors
/// When they cannot be used; they have been checked before.
pub(super) fn config(secrets: &TlsSecrets) -> Result<ServerConfig, Box<dyn Error + Send + Sync>> {
    let first = secrets.certificates.first().ok_or("there is no certificate")?;
    let chain = CertificateDer::pem_slice_iter(first.chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(first.key.reveal().as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.with_no_client_auth().with_single_cert(chain, key)?)
}

fn fit(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

impl core::Endpoint for Keys {
    type Session = <transport::Server as core::Endpoint>::Session;

    fn new_server_session<P: EncoderValue>(&mut self, parameters: &P, info: core::ConnectionInfo) -> Self::Session {
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        transport::Server::from(config).new_server_session(parameters, info)
    }

    /// Never asked for: this end opens no connections.
    fn new_client_session<P: EncoderValue>(&mut self, parameters: &P, name: ServerName) -> Self::Session {
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        transport::Server::from(config).new_client_session(parameters, name)
    }

    fn max_tag_length(&self) -> usize {
        // AES-GCM and ChaCha20-Poly1305 (RFC 9001 §5.3).
        16
    }
}

impl Provider for Keys {
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
