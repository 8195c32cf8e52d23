//! Signed tokens (RFC 7515, 7519, 8725): parsed and verified. Each check that can fail has a name.
//! Pure: the time is an argument.

use super::{
    claims::Claims,
    duration,
    keys::{Key, Keys, algorithm},
};
use crate::config::Secret;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ggen_wire::Code;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;

/// Bytes of a token, at most: hyper would take more in a header, and nobody needs it.
const MAX_TOKEN: usize = 16 << 10;
/// Keys that a signature is tried with, at most, if the token names none.
const MAX_TRIES: usize = 8;

/// Why a token is not taken. The texts name the check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with JSON objects in them.
    #[error("not a JSON Web Token")]
    Malformed,
    /// `alg` is not one of those that the key is for.
    #[error("Invalid signature: the token says algorithm {0:?}, which the key is not for")]
    Algorithm(String),
    /// No key has the name that the token gives.
    #[error("Invalid signature: no key is named {0:?}")]
    UnknownKey(String),
    /// The signature is not that of the key.
    #[error("Invalid signature")]
    Signature,
    /// `exp` is over.
    #[error("Token expired {} ago", duration::show(*.0))]
    Expired(u64),
    /// `nbf` is to come.
    #[error("Token is not valid yet: it will be in {} (or the clocks differ)", duration::show(*.0))]
    Early(u64),
    /// There is no `exp`, or a time that is none.
    #[error("Token has no usable {0:?}")]
    NoTime(&'static str),
    /// `iss` is not the issuer that is configured.
    #[error("Wrong issuer: expected {expected:?}, found {found:?}")]
    Issuer {
        /// As configured.
        expected: String,
        /// As the token says.
        found: String,
    },
    /// `aud` does not contain what is configured.
    #[error("Wrong audience: expected {expected:?}, found {found}")]
    Audience {
        /// As configured.
        expected: String,
        /// As the token says, JSON.
        found: String,
    },
    /// Neither `sub` nor `client_id`.
    #[error("Token does not say whose it is: it has no \"sub\"")]
    NoSubject,
    /// Scopes and claims become labels, which rules may name. None is left out.
    #[error("Token has more scopes and claims than 190, or one over 4096 bytes")]
    Labels,
    /// Revoked by its `jti`.
    #[error("Token was revoked")]
    Revoked,
}

impl TokenError {
    /// What the client is told.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Expired(_) => Code::TokenExpired,
            Self::Algorithm(_) | Self::UnknownKey(_) | Self::Signature => Code::InvalidSignature,
            _ => Code::AuthenticationFailed,
        }
    }
}

/// A token taken apart; nothing is believed yet.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    /// What is signed.
    message: &'a str,
    signature: &'a str,
    header: Value,
    algorithm: String,
    key: Option<String>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`]. Extensions that have to be understood (`crit`, RFC 7515 §4.1.11)
    /// are not.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        let read = || {
            let (message, signature) = text.rsplit_once('.').filter(|_| text.len() <= MAX_TOKEN)?;
            let (header, payload) = message
                .split_once('.')
                .filter(|(_, payload)| !payload.contains('.'))?;
            let header = BASE64.decode(header).ok()?;
            let Header {
                alg,
                kid,
                crit,
                b64,
            } = serde_json::from_slice(&header).ok()?;
            if crit.is_some() || b64.is_some() {
                return None;
            }
            let claims = Claims::parse(&BASE64.decode(payload).ok()?)?;
            Some(Self {
                message,
                signature,
                header: serde_json::from_slice(&header).ok()?,
                algorithm: alg,
                key: kid,
                claims,
            })
        };
        read().ok_or(TokenError::Malformed)
    }

    /// Whether a text looks like a token, so that it is judged as one.
    #[must_use]
    pub fn is_like(text: &str) -> bool {
        text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Its header, as it says.
    #[must_use]
    pub const fn header(&self) -> &Value {
        &self.header
    }

    /// Its claims, as it says.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    fn signature(&self, keys: &Keys) -> Result<(), TokenError> {
        let bad_algorithm = || TokenError::Algorithm(short(&self.algorithm));
        let wanted: Algorithm = algorithm(&self.algorithm).ok_or_else(bad_algorithm)?;
        let is_meant = |key: &&Key| match (&self.key, &key.id) {
            (Some(meant), Some(id)) => meant == id,
            _ => true,
        };
        let mut fitting = keys
            .0
            .iter()
            .filter(is_meant)
            .filter(|key| key.algorithms.contains(&wanted))
            .take(MAX_TRIES)
            .peekable();
        if fitting.peek().is_none() {
            // A name that is not known may be that of a newer key; a known one with another
            // algorithm is an attack or a mistake.
            let is_known = |meant: &String| keys.0.iter().any(|key| key.id.as_ref() == Some(meant));
            let may_be_newer = keys.0.is_empty() || keys.0.iter().any(|key| key.id.is_some());
            return Err(
                match self
                    .key
                    .as_ref()
                    .filter(|meant| may_be_newer && !is_known(meant))
                {
                    Some(meant) => TokenError::UnknownKey(short(meant)),
                    None => bad_algorithm(),
                },
            );
        }
        let good = fitting.any(|key| {
            crypto::verify(self.signature, self.message.as_bytes(), &key.key, wanted)
                .unwrap_or(false)
        });
        if good {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }
}

/// Which issuers' tokens are accepted, and under which conditions.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to contain.
    pub audience: Option<String>,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
}

impl Trust {
    /// Judges a token at a time (seconds since 1970): signature first, because nothing else may be
    /// believed before it.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn judge(
        &self,
        token: &Token<'_>,
        keys: &Keys,
        now: u64,
        is_revoked: impl Fn(&str) -> bool,
    ) -> Result<(), TokenError> {
        token.signature(keys)?;
        let claims = &token.claims;
        let expires = claims
            .time("exp")
            .ok()
            .flatten()
            .ok_or(TokenError::NoTime("exp"))?;
        if expires.saturating_add(self.leeway) <= now {
            return Err(TokenError::Expired(now.saturating_sub(expires)));
        }
        if let Some(begins) = claims.time("nbf").map_err(|()| TokenError::NoTime("nbf"))?
            && begins > now.saturating_add(self.leeway)
        {
            return Err(TokenError::Early(begins.saturating_sub(now)));
        }
        if let Some(expected) = &self.issuer
            && claims.text("iss") != Some(expected)
        {
            let found = short(claims.text("iss").unwrap_or_default());
            return Err(TokenError::Issuer {
                expected: expected.clone(),
                found,
            });
        }
        if let Some(expected) = &self.audience
            && !claims.is_for(expected)
        {
            let found = claims
                .all()
                .get("aud")
                .map_or_else(|| "none".to_owned(), |aud| short(&aud.to_string()));
            return Err(TokenError::Audience {
                expected: expected.clone(),
                found,
            });
        }
        if claims.text("jti").is_some_and(is_revoked) {
            return Err(TokenError::Revoked);
        }
        claims.principal().map(|_| ()).ok_or(TokenError::NoSubject)
    }
}

/// Signs claims with a secret.
///
/// # Errors
/// When the algorithm is not HS256, HS384 or HS512.
pub fn sign(claims: &Value, secret: &Secret, name: &str) -> Result<Secret, TokenError> {
    let wrong = || TokenError::Algorithm(name.to_owned());
    let algorithm = algorithm(name).filter(|algorithm| {
        matches!(
            algorithm,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
        )
    });
    let algorithm = algorithm.ok_or_else(wrong)?;
    let header = serde_json::json!({"alg": name, "typ": "JWT"});
    let message = format!(
        "{}.{}",
        BASE64.encode(header.to_string()),
        BASE64.encode(claims.to_string())
    );
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, algorithm).map_err(|_| wrong())?;
    Ok(Secret::new(format!("{message}.{signature}")))
}

/// What a stranger wrote, short enough for a line.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
