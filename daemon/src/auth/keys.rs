//! The keys that verify tokens. The key decides which algorithms it may be used with; what the
//! token claims does not (RFC 8725 §3.1). Pure.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;

/// Keys taken of one set, at most.
const MAX_KEYS: usize = 64;
/// A secret shorter than its own digest could be guessed (RFC 7518 §3.2).
const LEAST_SECRET: usize = 32;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too short to be safe.
    #[error("a secret for signed tokens has at least {LEAST_SECRET} bytes, this one has {0}")]
    Short(usize),
    /// Not a public key of a kind that is known.
    #[error("not a public key in PEM format: RSA, P-256, P-384 or Ed25519")]
    Pem,
    /// Not a key set.
    #[error("not a JSON Web Key Set")]
    Set,
    /// A key set without a key that could be used.
    #[error("the key set has no key for signatures of a kind that is known")]
    Empty,
    /// The algorithm that is configured does not fit the key.
    #[error("{0} does not fit the key")]
    Algorithm(String),
}

/// One key, and what it may be used with.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct Keys(pub(super) Vec<Key>);

/// An algorithm's name.
#[must_use]
pub fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse().ok()
}

impl Keys {
    /// A secret for HS256, HS384, HS512.
    ///
    /// # Errors
    /// [`KeyError::Short`]
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < LEAST_SECRET {
            return Err(KeyError::Short(secret.len()));
        }
        Ok(Self(vec![Key {
            id: None,
            algorithms: HMAC.to_vec(),
            key: DecodingKey::from_secret(secret),
        }]))
    }

    /// A public key.
    ///
    /// # Errors
    /// [`KeyError::Pem`]
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        // A private key opens more than is asked for, and has no place here.
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::Pem);
        }
        let pem = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem));
        let key = key.map_err(|_| KeyError::Pem)?;
        let algorithms = match key.family() {
            AlgorithmFamily::Rsa => RSA.to_vec(),
            AlgorithmFamily::Ed => vec![Algorithm::EdDSA],
            // An uncompressed point: 1 + 2 · 32 or 2 · 48 bytes.
            AlgorithmFamily::Ec => match key.try_get_as_bytes().map(<[u8]>::len) {
                Ok(65) => vec![Algorithm::ES256],
                Ok(97) => vec![Algorithm::ES384],
                _ => return Err(KeyError::Pem),
            },
            AlgorithmFamily::Hmac => return Err(KeyError::Pem),
        };
        Ok(Self(vec![Key {
            id: None,
            algorithms,
            key,
        }]))
    }

    /// A key set (RFC 7517 §5). Secrets in it and keys for encryption are left out: what is
    /// published is no secret.
    ///
    /// # Errors
    /// [`KeyError::Set`], [`KeyError::Empty`]
    pub fn from_set(text: &str) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(text).map_err(|_| KeyError::Set)?;
        let keys: Vec<Key> = set
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(|key| of_jwk(&key))
            .collect();
        if keys.is_empty() {
            Err(KeyError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// The same keys for one algorithm only.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`]: no key is left.
    pub fn only(mut self, name: &str) -> Result<Self, KeyError> {
        let wanted = algorithm(name);
        self.0.retain_mut(|key| {
            key.algorithms
                .retain(|algorithm| Some(*algorithm) == wanted);
            !key.algorithms.is_empty()
        });
        if self.0.is_empty() {
            Err(KeyError::Algorithm(name.to_owned()))
        } else {
            Ok(self)
        }
    }

    /// Whether there is any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn of_jwk(jwk: &Jwk) -> Option<Key> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA.to_vec(),
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(parameters)
            if parameters.curve == EllipticCurve::Ed25519 =>
        {
            vec![Algorithm::EdDSA]
        }
        _ => return None,
    };
    if let Some(stated) = jwk.common.key_algorithm {
        let stated = algorithm(&stated.to_string());
        algorithms.retain(|algorithm| Some(*algorithm) == stated);
    }
    let key = DecodingKey::from_jwk(jwk)
        .ok()
        .filter(|_| !algorithms.is_empty())?;
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithms,
        key,
    })
}
