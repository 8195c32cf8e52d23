//! TLS as a client that examines the server rather than trusts it, for the probe. Blocking; the
//! socket's time-outs bound it.

use super::{Facts, certificate, provider, serve::certified};
use crate::ipc::secrets::Certificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    Error, RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
};

/// A connection that was made, whatever its certificate is.
pub struct Secure {
    /// Reads and writes plain text.
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    /// What the server showed.
    pub shown: Shown,
}

/// Where systems keep the authorities that they trust; `SSL_CERT_FILE` goes before them, as with
/// other clients.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The authorities that clients of this host trust, PEM.
#[must_use]
pub fn system() -> Vec<String> {
    let named =
        std::env::var_os("SSL_CERT_FILE").and_then(|path| std::fs::read_to_string(path).ok());
    named
        .or_else(|| {
            SYSTEM
                .iter()
                .find_map(|path| std::fs::read_to_string(path).ok())
        })
        .into_iter()
        .collect()
}

/// Whether an error is the server's word that it wants a client certificate, or another one than
/// was shown.
#[must_use]
pub fn wants_certificate(error: &io::Error) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA,
    };
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::AlertReceived(alert)) = inner else {
        return false;
    };
    let about = [
        AccessDenied,
        BadCertificate,
        CertificateExpired,
        CertificateRequired,
        CertificateRevoked,
        CertificateUnknown,
        UnknownCA,
    ];
    about.contains(alert)
}

/// What a handshake showed of the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its certificate.
    pub facts: Option<Facts>,
    /// Why a client that knows only the given authorities would refuse it.
    pub refused: Option<String>,
    /// `TLSv1_3`
    pub version: String,
}

/// Sees the certificate while hands are shaken.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Shown>>);

impl Witness {
    /// What it saw, on a connection of that version.
    #[must_use]
    pub fn shown(&self, version: impl Into<String>) -> Shown {
        Shown {
            version: version.into(),
            ..self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        }
    }

    fn note(&self, facts: Facts, refused: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Shown {
            facts: Some(facts),
            refused,
            version: String::new(),
        };
    }
}

/// Makes the handshake as a client of `host` that trusts these certificates (PEM) and shows
/// `identity` where a certificate is asked for.
///
/// # Errors
/// No TLS is spoken there, or the server refuses us.
pub fn connect(
    mut socket: TcpStream,
    host: &str,
    trusted: &[String],
    identity: Option<&Certificate>,
) -> io::Result<Secure> {
    let (config, witness) = looking(trusted, rustls::DEFAULT_VERSIONS, identity)?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name(host)?).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    let version = connection
        .protocol_version()
        .map(|version| format!("{version:?}"))
        .unwrap_or_default();
    Ok(Secure {
        stream: StreamOwned::new(connection, socket),
        shown: witness.shown(version),
    })
}

/// The same for HTTP/3, whose handshakes are the transport's to make: TLS 1.3 with `h3` (RFC 9114
/// §3.1).
///
/// # Errors
/// `host` is neither a name nor an address.
pub fn for_http3(
    host: &str,
    trusted: &[String],
    identity: Option<&Certificate>,
) -> io::Result<(ClientConfig, Witness)> {
    name(host)?;
    let (mut config, witness) = looking(trusted, &[&rustls::version::TLS13], identity)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok((config, witness))
}

fn name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn looking(
    trusted: &[String],
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Certificate>,
) -> io::Result<(ClientConfig, Witness)> {
    let mut roots = RootCertStore::empty();
    let mut plain = Vec::new();
    for der in trusted
        .iter()
        .filter_map(|pem| certificate::chain(pem).ok())
        .flatten()
    {
        plain.push(der.clone());
        roots.add(der).unwrap_or_default();
    }
    let witness = Witness::default();
    // A client that believes nobody is none to rustls; here it is one that has something to say
    // about every certificate.
    let inner = if roots.is_empty() {
        None
    } else {
        Some(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(io::Error::other)?,
        )
    };
    let verified = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looking {
            inner,
            provider: provider(),
            plain,
            witness: witness.clone(),
        }));
    let config = match identity {
        None => verified.with_no_client_auth(),
        Some(identity) => {
            let (_, key) = certified(identity).map_err(io::Error::other)?;
            verified.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
    };
    Ok((config, witness))
}

/// Notes what is wrong with a certificate, and goes on.
#[derive(Debug)]
struct Looking {
    /// `None`: no authority is known.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    /// Trusted as they are, and not only as authorities.
    plain: Vec<CertificateDer<'static>>,
    witness: Witness,
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
            expired.or_else(|| {
                (!facts.serves(&host)).then(|| {
                    format!(
                        "it is not made for {host}, but for {}",
                        facts.hosts.join(", ")
                    )
                })
            })
        } else {
            let unknown = || format!("its authority is not known: {}", facts.issuer);
            let Some(inner) = &self.inner else {
                let reason = unknown();
                self.witness.note(facts, Some(reason));
                return Ok(ServerCertVerified::assertion());
            };
            inner
                .verify_server_cert(own, above, name, ocsp, now)
                .err()
                .map(|error| match error {
                    Error::InvalidCertificate(CertificateError::UnknownIssuer) => unknown(),
                    Error::InvalidCertificate(
                        CertificateError::Expired | CertificateError::ExpiredContext { .. },
                    ) => "it has expired".to_owned(),
                    Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    ) => {
                        format!(
                            "it is not made for {host}, but for {}",
                            facts.hosts.join(", ")
                        )
                    }
                    error => error.to_string(),
                })
        };
        self.witness.note(facts, reason);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
