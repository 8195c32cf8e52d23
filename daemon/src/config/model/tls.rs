//! TLS of the HTTP transport, and client certificates. Definitions only.

use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// `transports.http.ssl`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ssl {
    /// Whether HTTPS is served beside HTTP.
    pub enabled: bool,
    /// Port to bind, on `transports.http.host`; 0 lets the system choose.
    pub port: u16,
    /// File with the certificate and those that lead to its authority, PEM; a list for several host
    /// names. None: a self-signed one is made.
    #[serde(deserialize_with = "one_or_many")]
    pub cert: Vec<PathBuf>,
    /// File with the certificate's private key, PEM; a list if `cert` is one, in the same order.
    #[serde(deserialize_with = "one_or_many")]
    pub key: Vec<PathBuf>,
    /// The oldest version of TLS that is spoken: `"1.2"` or `"1.3"`.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2", alias = "TLS1.2", alias = "TLSv1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3", alias = "TLS1.3", alias = "TLSv1.3")]
    V1_3,
}

/// `auth.mtls`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mtls {
    /// Whether clients of HTTPS are asked for a certificate.
    pub enabled: bool,
    /// Whether they must have one: without it, no connection. Otherwise it is one way of several to
    /// say who one is.
    pub required: bool,
    /// File with the authorities whose client certificates are taken, PEM.
    pub ca_cert: Option<PathBuf>,
    /// File with these authorities' certificate revocation lists, PEM.
    pub crl: Option<PathBuf>,
    /// Names of certificates that are taken (an alternative name or the common name, whole). None:
    /// every certificate of these authorities.
    pub allowed_names: Vec<String>,
}

impl Default for Ssl {
    fn default() -> Self {
        Self {
            enabled: true,
            port: Self::PORT,
            cert: Vec::new(),
            key: Vec::new(),
            min_version: TlsVersion::V1_2,
        }
    }
}

impl Ssl {
    /// The usual port.
    pub(crate) const PORT: u16 = 3443;
}

impl Default for Mtls {
    fn default() -> Self {
        Self {
            enabled: false,
            required: true,
            ca_cert: None,
            crl: None,
            allowed_names: Vec::new(),
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    struct Form;
    impl<'de> serde::de::Visitor<'de> for Form {
        type Value = Vec<PathBuf>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the path of a file, or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(if text.is_empty() {
                Vec::new()
            } else {
                vec![text.into()]
            })
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut items: A,
        ) -> Result<Self::Value, A::Error> {
            let mut paths = Vec::new();
            while let Some(path) = items.next_element()? {
                paths.push(path);
            }
            Ok(paths)
        }
    }
    deserializer.deserialize_any(Form)
}
