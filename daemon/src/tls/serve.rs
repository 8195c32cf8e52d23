//! TLS as a server: which certificate for which name, which versions, and whose client certificates
//! are taken. Built from PEM texts; opens no file.
//!
//! A client certificate is judged after every handshake, resumed ones included, so that one that
//! has been revoked since is not heard. Where certificates are required the handshake itself fails;
//! where they are optional the connection is served, and each of its requests refused.

use super::{Facts, Unusable, certificate, provider};
use crate::{
    config::{Mtls, Ssl, TlsVersion},
    ipc::secrets::{Certificate, TlsSecrets},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem::PemObject,
    },
    server::{
        ClientHello, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use std::sync::Arc;

/// Names of a client certificate, at most.
const MAX_NAMES: usize = 63;

/// What connections are served with.
#[derive(Clone, Debug)]
pub struct Serving {
    /// For TCP: ALPN `h2` and `http/1.1`.
    pub config: Arc<ServerConfig>,
    certificates: Arc<Choice>,
    judge: Option<Arc<Judge>>,
    required: bool,
}

impl Serving {
    /// Whether a client without a good certificate is not served at all.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.required
    }

    /// `None` if there is no certificate to serve with.
    ///
    /// # Errors
    /// What was handed over does not fit together.
    pub fn new(ssl: &Ssl, mtls: &Mtls, secrets: &TlsSecrets) -> Result<Option<Self>, Unusable> {
        if secrets.certificates.is_empty() {
            return Ok(None);
        }
        let certificates = secrets
            .certificates
            .iter()
            .map(certified)
            .collect::<Result<Vec<_>, _>>()?;
        let versions: &[_] = match ssl.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| Unusable::new(format!("TLS versions: {error}")))?;
        let judge = match &secrets.client_ca {
            _ if !mtls.enabled => None,
            Some(authorities) => Some(Arc::new(Judge::new(
                mtls,
                authorities,
                secrets.revoked.as_deref(),
            )?)),
            // Never without them: that would let in who is to be kept out.
            None => {
                return Err(Unusable::new(
                    "client certificates are wanted, and there are no authorities to judge them by",
                ));
            }
        };
        let builder = match &judge {
            Some(judge) => builder.with_client_cert_verifier(Arc::new(Asking {
                judge: Arc::clone(judge),
                required: mtls.required,
            })),
            None => builder.with_no_client_auth(),
        };
        let certificates = Arc::new(Choice(certificates));
        let mut config =
            builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self {
            config: Arc::new(config),
            certificates,
            required: judge.is_some() && mtls.required,
            judge,
        }))
    }

    /// Whether one of the certificates is made for that host.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.certificates
            .0
            .iter()
            .any(|(facts, _)| facts.serves(host))
    }

    /// What a client's certificate says if it is accepted now; `None` if the client showed none.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Option<Facts>, String> {
        match (&self.judge, chain) {
            (Some(judge), Some([own, above @ ..])) => judge
                .check(own, above, UnixTime::now())
                .map(Some)
                .map_err(|error| reason(&error)),
            _ => Ok(None),
        }
    }

    /// Whether a client that was let in by these certificates would still be.
    ///
    /// # Errors
    /// Why not.
    pub fn still(&self, shown: &[Vec<u8>]) -> Result<(), String> {
        match &self.judge {
            _ if shown.is_empty() => Ok(()),
            Some(judge) => judge.still(shown),
            None => Err("client certificates are not asked for any more".to_owned()),
        }
    }
}

/// What is wrong with a client's certificate, in few words; empty for errors about something else.
#[must_use]
pub fn reason(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "no client certificate".to_owned(),
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "signed by an unknown authority".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "not yet valid".to_owned()
            }
            CertificateError::Revoked => "revoked".to_owned(),
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                "its authority's revocation list (auth.mtls.crl) is out of date".to_owned()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "not made for clients".to_owned()
            }
            CertificateError::Other(error) => error.to_string(),
            error => format!("{error:?}"),
        },
        _ => String::new(),
    }
}

/// Checks that a certificate can be served with: it parses, and the key is its own.
///
/// # Errors
/// What is wrong.
pub fn certified(certificate: &Certificate) -> Result<(Facts, Arc<CertifiedKey>), Unusable> {
    let chain = certificate::chain(&certificate.chain)?;
    let facts = certificate::facts(&chain[0])?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes())
        .map_err(|_| Unusable::new("the key file holds no private key in PEM (-----BEGIN PRIVATE KEY-----), or an encrypted one"))?;
    let certified =
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                Unusable::new("the key is not the certificate's: their public keys differ")
            }
            error => Unusable::new(format!("the key cannot be used: {error}")),
        })?;
    Ok((facts, Arc::new(certified)))
}

/// The certificate for a name: the first one that fits and that the client can verify, else the
/// first one.
#[derive(Debug)]
struct Choice(Vec<(Facts, Arc<CertifiedKey>)>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable =
            |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|host| {
            self.0
                .iter()
                .find(|(facts, key)| facts.serves(host) && usable(key))
        });
        named
            .or_else(|| self.0.iter().find(|(_, key)| usable(key)))
            .or(self.0.first())
            .map(|(_, key)| Arc::clone(key))
    }
}

/// Whose certificates are taken.
#[derive(Debug)]
pub(crate) struct Judge {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl Judge {
    /// # Errors
    /// The authorities or the revocation lists cannot be used.
    pub(crate) fn new(
        mtls: &Mtls,
        authorities: &str,
        revoked: Option<&str>,
    ) -> Result<Self, Unusable> {
        let mut roots = RootCertStore::empty();
        for authority in certificate::chain(authorities)? {
            roots.add(authority).map_err(|error| {
                Unusable::new(format!("not an authority's certificate: {error}"))
            })?;
        }
        let lists: Vec<_> =
            CertificateRevocationListDer::pem_slice_iter(revoked.unwrap_or_default().as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| Unusable::new(format!("revocation list: {error}")))?;
        if revoked.is_some() && lists.is_empty() {
            return Err(Unusable::new(
                "holds no PEM revocation list (-----BEGIN X509 CRL-----)",
            ));
        }
        // An authority without a list of its own has revoked nobody; one whose list is out of date may
        // have.
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(lists)
            .allow_unknown_revocation_status()
            .enforce_revocation_expiration();
        let inner = builder
            .build()
            .map_err(|error| Unusable::new(format!("client authorities: {error}")))?;
        Ok(Self {
            inner,
            names: mtls.allowed_names.clone(),
        })
    }

    /// The authorities in force, if clients are asked for certificates.
    ///
    /// # Errors
    /// What was handed over cannot be used.
    pub(crate) fn of(mtls: &Mtls, secrets: &TlsSecrets) -> Result<Option<Self>, Unusable> {
        let authorities = secrets.client_ca.as_ref().filter(|_| mtls.enabled);
        authorities
            .map(|authorities| Self::new(mtls, authorities, secrets.revoked.as_deref()))
            .transpose()
    }

    /// Whether certificates that were accepted would still be.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn still(&self, shown: &[Vec<u8>]) -> Result<(), String> {
        let chain: Vec<CertificateDer<'_>> = shown
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let Some((own, above)) = chain.split_first() else {
            return Ok(());
        };
        self.check(own, above, UnixTime::now())
            .map(|_| ())
            .map_err(|error| reason(&error))
    }

    fn check(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Facts, Error> {
        self.inner.verify_client_cert(own, above, now)?;
        let facts = certificate::facts(own).map_err(other)?;
        if facts.name.is_empty() {
            return Err(other(Unusable::new("it names nobody")));
        }
        // Each becomes a label, by which a rule could deny; none is left out.
        if facts.names.len() > MAX_NAMES {
            return Err(other(Unusable::new(format!(
                "it has more than {MAX_NAMES} names"
            ))));
        }
        if !self.names.is_empty() && !facts.names.iter().any(|name| self.names.contains(name)) {
            return Err(other(Unusable::new(format!(
                "{} is not among auth.mtls.allowed_names",
                facts.name
            ))));
        }
        Ok(facts)
    }
}

fn other(error: Unusable) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Plain(String);
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Plain(
        error.what,
    )))))
}

/// Asks clients for their certificate during the handshake.
#[derive(Debug)]
struct Asking {
    judge: Arc<Judge>,
    required: bool,
}

impl ClientCertVerifier for Asking {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.judge.inner.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.judge.check(own, above, now) {
            Err(error) if self.required => Err(error),
            // Judged again after the handshake, where the client can be told what is wrong.
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge
            .inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge
            .inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.inner.supported_verify_schemes()
    }
}
