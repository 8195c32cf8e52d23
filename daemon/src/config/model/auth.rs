//! `auth`: who may use the gateway. Every text that grants access is a [`Secret`]. Definitions
//! only.

use super::tls::Mtls;
use crate::config::secrets::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::PathBuf;

/// `auth`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether every request needs a credential: `true`, `false`, or `"auto"`: unless bound to
    /// loopback. A wrong credential is refused in any case.
    pub required: Required,
    /// One key for everything, beside those that `ggen mcp auth generate-api-key` makes. Also
    /// GGEN_MCP_API_KEY.
    pub api_key: Option<Secret>,
    /// A file that holds that key; an absolute path.
    pub api_key_file: Option<PathBuf>,
    /// Client certificates.
    pub mtls: Mtls,
    /// Signed tokens.
    pub jwt: Jwt,
    /// Tokens of an OAuth 2.1 authorization server.
    pub oauth2: OAuth2,
}

/// `auth.required`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Required {
    /// Unless all MCP listeners are bound to loopback.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// `auth.jwt`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// The secret of HS256, HS384 and HS512: at least 32 bytes.
    pub secret: Option<Secret>,
    /// A file that holds that secret; an absolute path.
    pub secret_file: Option<PathBuf>,
    /// A file with the public key (PEM) of RS, PS, ES or EdDSA; an absolute path.
    pub public_key: Option<PathBuf>,
    /// Where the issuer publishes its keys (RFC 7517 §5): https, or http on loopback.
    pub jwks_url: Option<String>,
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to contain.
    pub audience: Option<String>,
    /// Life of tokens that `ggen mcp auth generate-token` makes, in seconds.
    pub expiration: u64,
    /// The only algorithm that is taken; otherwise every one that fits the key. The key decides,
    /// never the token.
    pub algorithm: Option<String>,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
}

/// `auth.oauth2`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2 {
    /// The authorization server. Its keys are found by its metadata (RFC 8414 or OpenID Connect
    /// Discovery).
    pub issuer: Option<String>,
    /// What `aud` has to contain: the address of this gateway as clients know it, such as
    /// `https://mcp.example.org/mcp` (RFC 8707).
    pub audience: Option<String>,
    /// What a token needs in `scope` to be heard at all; clients are told to ask for it.
    pub scopes: Vec<String>,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            secret: None,
            secret_file: None,
            public_key: None,
            jwks_url: None,
            issuer: None,
            audience: None,
            expiration: 3600,
            algorithm: None,
            leeway: 30,
        }
    }
}

impl Auth {
    /// Whether the configuration itself names a credential. The keys of the store come on top.
    #[must_use]
    pub const fn names_credentials(&self) -> bool {
        self.api_key.is_some()
            || self.api_key_file.is_some()
            || self.jwt.is_configured()
            || self.oauth2.issuer.is_some()
    }

    /// Whether every request needs a credential, for listeners that are all bound to loopback or
    /// not.
    #[must_use]
    pub const fn is_required(&self, loopback: bool) -> bool {
        match self.required {
            Required::Auto => !loopback,
            Required::Yes => true,
            Required::No => false,
        }
    }
}

impl Jwt {
    /// Whether there is a key that tokens could be judged by.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.secret.is_some()
            || self.secret_file.is_some()
            || self.public_key.is_some()
            || self.jwks_url.is_some()
    }
}

impl Serialize for Required {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Yes => serializer.serialize_bool(true),
            Self::No => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Required {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl serde::de::Visitor<'_> for Form {
            type Value = Required;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or \"auto\"")
            }

            fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<Required, E> {
                Ok(if yes { Required::Yes } else { Required::No })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Required, E> {
                match text {
                    "auto" => Ok(Required::Auto),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}
