//! TLS as a client that looks at the server rather than trusts it: for the probe. Blocking; the socket's time-outs bound it.

use super::{Facts, certificate, provider};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io,
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
};

/// A connection that was made, whatever its certificate is.
pub struct Secure {
    /// Reads and writes plain text.
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    /// The certificate that the server showed.
    pub facts: Option<Facts>,
    /// Why a client that knows only these authorities would refuse it.
    pub refused: Option<String>,
    /// `TLSv1_3`
    pub version: String,
}

/// Shakes hands as a client of `host` that trusts these certificates (PEM).
///
/// # Errors
/// No TLS is spoken there, or the server refuses us.
pub fn connect(mut socket: TcpStream, host: &str, trusted: &[String]) -> io::Result<Secure> {
    let mut roots = RootCertStore::empty();
    let mut plain = Vec::new();
    for der in trusted.iter().filter_map(|pem| certificate::chain(pem).ok()).flatten() {
        plain.push(der.clone());
        roots.add(der).unwrap_or_default();
    }
    let verdict = Arc::new(Mutex::new(None));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looking { inner: verifier, plain, verdict: Arc::clone(&verdict) }))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    let facts = connection.peer_certificates().and_then(|chain| certificate::facts(chain.first()?).ok());
    let version = connection.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
    let refused = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(Secure { stream: StreamOwned::new(connection, socket), facts, refused, version })
}

/// Notes what is wrong with a certificate, and goes on.
#[derive(Debug)]
struct Looking {
    inner: Arc<WebPkiServerVerifier>,
    /// Trusted as they are, and not only as authorities.
    plain: Vec<CertificateDer<'static>>,
    verdict: Arc<Mutex<Option<String>>>,
}

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = certificate::facts(own).unwrap_or_default();
        let host = name.to_str();
        let reason = if self.plain.iter().any(|known| known == own) {
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let expired = (facts.not_after < seconds).then(|| "it has expired".to_owned());
            expired.or_else(|| (!facts.serves(&host)).then(|| format!("it is not made for {host}, but for {}", facts.hosts.join(", "))))
        } else {
            self.inner.verify_server_cert(own, above, name, ocsp, now).err().map(|error| match error {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!("its authority is not known: {}", facts.issuer),
                Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                    "it has expired".to_owned()
                }
                Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                    format!("it is not made for {host}, but for {}", facts.hosts.join(", "))
                }
                error => error.to_string(),
            })
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
