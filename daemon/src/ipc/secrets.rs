//! The secrets that edge workers need for authentication and TLS. The supervisor reads the files
//! and sends them; no worker opens one. Data only.

pub use crate::auth::AuthSecrets;

use serde::{Deserialize, Serialize};
use std::fmt;

/// All secrets of a configuration, to edge workers right after `Start` and again, whole, on each
/// change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secrets {
    /// Who may ask.
    pub auth: AuthSecrets,
    /// Certificates.
    pub tls: TlsSecrets,
}

/// What TLS serves with, for TCP and QUIC alike. All of it has been checked: it can be parsed, and
/// keys fit their certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSecrets {
    /// Certificates with their keys; the first one is for clients that name no host, or one that
    /// none fits. Empty: no TLS.
    pub certificates: Vec<Certificate>,
    /// PEM: the authorities whose client certificates are taken. None: clients are not asked for
    /// one.
    pub client_ca: Option<String>,
    /// PEM: certificate revocation lists (RFC 5280 §5) of those authorities.
    pub revoked: Option<String>,
}

/// A certificate to serve with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM: the certificate, then those that lead to its authority.
    pub chain: String,
    /// PEM: its private key.
    pub key: Sensitive,
}

/// Text that is never shown: not by `Debug`, and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Sensitive {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificate, Secrets, Sensitive, TlsSecrets};

    #[test]
    fn secrets_travel_and_are_not_shown() {
        let certificates = vec![Certificate {
            chain: "c".to_owned(),
            key: Sensitive::from("hush".to_owned()),
        }];
        let secrets = Secrets {
            tls: TlsSecrets {
                certificates,
                ..TlsSecrets::default()
            },
            ..Secrets::default()
        };
        let text = serde_json::to_string(&secrets).unwrap_or_default();
        assert!(
            text.contains("hush")
                && serde_json::from_str::<Secrets>(&text).is_ok_and(|same| same == secrets)
        );
        assert!(!format!("{secrets:?}").contains("hush"));
        assert!(serde_json::from_str::<Secrets>("{}").is_ok_and(|none| none == Secrets::default()));
    }
}
