//! The keys and tokens that an edge worker accepts, and the check of a credential against them.
//! Pure: no clock, no network. The caller puts in the keys that it fetched from issuers.

use super::{
    key::{Digest, digest, hex, same},
    keys::Keys,
    store::{KeyRecord, KeyStatus, Snapshot},
    token::{Token, TokenError, Trust},
};
use crate::config::{self, Secret};
use ggen_mcp::edge::Principal;
use ggen_wire::Code;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

/// What the supervisor tells edge workers. It holds digests and keys, and travels over the control
/// channel only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthSecrets {
    /// Whether a request without a credential is refused.
    pub required: bool,
    /// Digest of `auth.api_key`.
    pub fixed: Option<FixedKey>,
    /// The keys of the store.
    pub keys: Vec<KeyRecord>,
    /// `auth.jwt`, if it has any key.
    pub jwt: Option<JwtSettings>,
    /// `auth.oauth2`, if it has an issuer.
    pub oauth2: Option<OAuthSettings>,
    /// Tokens (`jti`) that are not taken any more.
    pub revoked: Vec<String>,
}

/// The one key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedKey(#[serde(with = "hex")] Digest);

/// `auth.jwt` with its files read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the keys of the configuration")]
pub struct JwtSettings {
    #[serde(serialize_with = "config::exposed")]
    pub secret: Option<Secret>,
    pub public_key: Option<String>,
    pub jwks_url: Option<String>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub algorithm: Option<String>,
    pub leeway: u64,
}

/// `auth.oauth2`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the keys of the configuration")]
pub struct OAuthSettings {
    pub issuer: String,
    pub audience: Option<String>,
    pub scopes: Vec<String>,
    pub leeway: u64,
}

impl AuthSecrets {
    /// Whether keys come from an issuer, over the network.
    #[must_use]
    pub fn has_issuer(&self) -> bool {
        self.oauth2.is_some() || self.jwt.as_ref().is_some_and(|jwt| jwt.jwks_url.is_some())
    }

    /// From a configuration, what its files hold, and the store.
    #[must_use]
    pub fn of(
        config: &config::Config,
        files: &config::AuthFiles,
        store: &Snapshot,
        loopback: bool,
    ) -> Self {
        let auth = &config.auth;
        let api_key = files.api_key.as_ref().or(auth.api_key.as_ref());
        let jwt = &auth.jwt;
        Self {
            required: auth.is_required(loopback),
            fixed: api_key.map(|key| FixedKey(digest(key.expose()))),
            keys: store.keys.clone(),
            jwt: jwt.is_configured().then(|| JwtSettings {
                secret: files.jwt_secret.clone().or_else(|| jwt.secret.clone()),
                public_key: files.public_key.clone(),
                jwks_url: jwt.jwks_url.clone(),
                issuer: jwt.issuer.clone(),
                audience: jwt.audience.clone(),
                algorithm: jwt.algorithm.clone(),
                leeway: jwt.leeway,
            }),
            oauth2: auth.oauth2.issuer.clone().map(|issuer| OAuthSettings {
                issuer,
                audience: auth.oauth2.audience.clone(),
                scopes: auth.oauth2.scopes.clone(),
                leeway: jwt.leeway,
            }),
            revoked: store.revoked.clone(),
        }
    }
}

/// Where the keys of an issuer are fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A key set.
    Set(String),
    /// An issuer, whose metadata names its key set.
    Issuer(String),
}

/// How a credential was judged that is good.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Who presents it.
    pub principal: Principal,
    /// The key of the store that was used.
    pub key: Option<Arc<str>>,
}

/// Why a credential does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is none, and one is needed.
    #[error("no credential")]
    Missing,
    /// The connection's client certificate was not accepted: whatever else is shown, it is not
    /// heard.
    #[error("the certificate is not accepted")]
    Certificate,
    /// A header that cannot be read, or more than one credential.
    #[error("{0}")]
    Unreadable(&'static str),
    /// Not a key of ours; the reason is for the log.
    #[error("{0}")]
    Key(&'static str),
    /// Not a token that is taken.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Tokens are not configured.
    #[error("a token came, and neither auth.jwt nor auth.oauth2 is configured")]
    NoTokens,
    /// A token whose holder may not do this.
    #[error("the token lacks a scope of {0:?}")]
    Scope(Vec<String>),
}

impl Rejected {
    /// What the client is told.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Key(_) => Code::InvalidApiKey,
            Self::Token(error) => error.code(),
            Self::Scope(_) => Code::InsufficientScope,
            Self::Certificate => Code::CertificateVerifyFailed,
            Self::Missing | Self::Unreadable(_) | Self::NoTokens => Code::AuthenticationFailed,
        }
    }

    /// Whether newer keys of the issuer could change the judgement.
    #[must_use]
    pub const fn is_about_keys(&self) -> bool {
        matches!(self, Self::Token(TokenError::UnknownKey(_)))
    }
}

/// One issuer.
#[derive(Debug)]
struct Issuer {
    trust: Trust,
    own: Keys,
    source: Option<Source>,
    fetched: RwLock<Option<Arc<Keys>>>,
    algorithm: Option<String>,
    scopes: Vec<String>,
}

/// Judges credentials.
#[derive(Debug, Default)]
pub struct Rulebook {
    required: bool,
    fixed: Option<Digest>,
    keys: HashMap<Digest, (KeyRecord, Principal, Arc<str>)>,
    issuers: Vec<Issuer>,
    revoked: HashSet<String>,
    oauth2: Option<OAuthSettings>,
}

impl Rulebook {
    /// Judges by these from now on; keys that were fetched stay, where their source does. Keys that
    /// cannot be read open nothing.
    #[must_use]
    pub fn new(secrets: AuthSecrets, before: Option<&Self>) -> Self {
        let own = secrets.jwt.map(Issuer::of_jwt);
        let foreign = secrets.oauth2.as_ref().map(Issuer::of_oauth2);
        let issuers: Vec<Issuer> = own.into_iter().chain(foreign).collect();
        for issuer in &issuers {
            issuer.keep_fetched(before);
        }
        let keys = secrets
            .keys
            .into_iter()
            .map(|key| (key.digest, (key.clone(), principal_of(&key), key.id.into())));
        Self {
            required: secrets.required,
            fixed: secrets.fixed.map(|key| key.0),
            keys: keys.collect(),
            issuers,
            revoked: secrets.revoked.into_iter().collect(),
            oauth2: secrets.oauth2,
        }
    }

    /// Whether a request without a credential is refused.
    #[must_use]
    pub const fn required(&self) -> bool {
        self.required
    }

    /// `auth.oauth2`
    #[must_use]
    pub const fn oauth2(&self) -> Option<&OAuthSettings> {
        self.oauth2.as_ref()
    }

    /// Where keys are to be fetched from.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.issuers
            .iter()
            .filter_map(|issuer| issuer.source.as_ref())
    }

    /// Takes over what was fetched.
    pub fn fetched(&self, source: &Source, keys: &Arc<Keys>) {
        for issuer in self
            .issuers
            .iter()
            .filter(|issuer| issuer.source.as_ref() == Some(source))
        {
            let fit = match &issuer.algorithm {
                Some(name) => Keys::clone(keys).only(name).unwrap_or_default().into(),
                None => Arc::clone(keys),
            };
            issuer
                .fetched
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(fit);
        }
    }

    /// Judges a credential at a time, in seconds since 1970.
    ///
    /// # Errors
    /// [`Rejected`]
    pub fn judge(&self, text: &str, now: u64) -> Result<Credential, Rejected> {
        self.judge_at(text, "", now)
    }

    /// The same at the view of one server, named as in the path. Tokens of the authorization server
    /// may be for that view alone.
    ///
    /// # Errors
    /// [`Rejected`]
    pub fn judge_at(&self, text: &str, view: &str, now: u64) -> Result<Credential, Rejected> {
        let digest = digest(text);
        if self.fixed.is_some_and(|fixed| same(&fixed, &digest)) {
            return Ok(Credential {
                principal: Principal::new("fixed-key"),
                key: None,
            });
        }
        // Found by its digest, which nobody can steer towards another; compared once more in
        // constant time.
        if let Some((key, principal, id)) = self
            .keys
            .get(&digest)
            .filter(|(key, ..)| same(&key.digest, &digest))
        {
            return match key.status(now) {
                KeyStatus::Active => Ok(Credential {
                    principal: principal.clone(),
                    key: Some(Arc::clone(id)),
                }),
                KeyStatus::Expired => Err(Rejected::Key("the key has expired")),
                KeyStatus::Revoked => Err(Rejected::Key("the key was revoked")),
            };
        }
        if !Token::is_like(text) {
            return Err(Rejected::Key("no such key"));
        }
        self.token(text, view, now)
    }

    fn token(&self, text: &str, view: &str, now: u64) -> Result<Credential, Rejected> {
        let token = Token::parse(text)?;
        let says = token.claims().text("iss");
        // Whose rules apply is the token's to say; whether it is from there, its signature's.
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| issuer.trust.issuer.is_some() && issuer.trust.issuer.as_deref() == says);
        let issuer = issuer
            .or_else(|| self.issuers.first())
            .ok_or(Rejected::NoTokens)?;
        let fetched = issuer.fetched();
        let mut keys = issuer.own.clone();
        keys.0
            .extend(fetched.iter().flat_map(|keys| keys.0.iter().cloned()));
        if keys.is_empty() {
            return Err(TokenError::UnknownKey("(none is known yet)".to_owned()).into());
        }
        let judge =
            |trust: &Trust| trust.judge(&token, &keys, now, |jti| self.revoked.contains(jti));
        match (judge(&issuer.trust), issuer.trust_at(view)) {
            (Err(TokenError::Audience { .. }), Some(trust)) => judge(&trust)?,
            (judged, _) => judged?,
        }
        let claims = token.claims();
        let granted = claims.scopes();
        let missing: Vec<String> = issuer
            .scopes
            .iter()
            .filter(|scope| !covers(&granted, scope))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Rejected::Scope(issuer.scopes.clone()));
        }
        let id = claims.principal().ok_or(TokenError::NoSubject)?;
        Ok(Credential {
            principal: Principal {
                id: id.into(),
                labels: claims.labels().ok_or(TokenError::Labels)?.into(),
            },
            key: None,
        })
    }
}

impl Issuer {
    /// The keys of `auth.jwt`: a secret, a public key, or those at an address. Keys that cannot be
    /// read open nothing.
    fn of_jwt(jwt: JwtSettings) -> Self {
        let secret = jwt
            .secret
            .as_ref()
            .and_then(|secret| Keys::from_secret(secret.expose().as_bytes()).ok());
        let public = jwt
            .public_key
            .as_deref()
            .and_then(|pem| Keys::from_pem(pem).ok());
        let mut own = Keys::default();
        own.0.extend(
            [secret, public]
                .into_iter()
                .flatten()
                .flat_map(|keys| keys.0),
        );
        if let Some(name) = &jwt.algorithm {
            own = own.only(name).unwrap_or_default();
        }
        Self {
            trust: Trust {
                issuer: jwt.issuer,
                audience: jwt.audience,
                leeway: jwt.leeway,
            },
            own,
            source: jwt.jwks_url.map(Source::Set),
            fetched: RwLock::default(),
            algorithm: jwt.algorithm,
            scopes: Vec::new(),
        }
    }

    /// The authorization server of `auth.oauth2`.
    fn of_oauth2(oauth2: &OAuthSettings) -> Self {
        Self {
            trust: Trust {
                issuer: Some(oauth2.issuer.clone()),
                audience: oauth2.audience.clone(),
                leeway: oauth2.leeway,
            },
            own: Keys::default(),
            source: Some(Source::Issuer(oauth2.issuer.clone())),
            fetched: RwLock::default(),
            algorithm: None,
            scopes: oauth2.scopes.clone(),
        }
    }

    /// What is trusted at the view of one server, if that is a resource of its own.
    fn trust_at(&self, view: &str) -> Option<Trust> {
        let is_oauth2 = matches!(self.source, Some(Source::Issuer(_)));
        let audience = self.trust.audience.as_deref().filter(|_| is_oauth2);
        let resource = resource_at(audience?, view)?;
        Some(Trust {
            audience: Some(resource),
            ..self.trust.clone()
        })
    }

    /// Keeps the keys that were fetched from the same source before.
    fn keep_fetched(&self, before: Option<&Rulebook>) {
        let old = before.and_then(|before| {
            before
                .issuers
                .iter()
                .find(|old| old.source.is_some() && old.source == self.source)
        });
        if let Some(keys) = old.and_then(Self::fetched) {
            self.fetched
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(keys);
        }
    }

    fn fetched(&self) -> Option<Arc<Keys>> {
        self.fetched
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl OAuthSettings {
    /// The resource that a view is (RFC 8707): that of all servers is the audience.
    #[must_use]
    pub fn resource(&self, view: &str) -> Option<String> {
        let audience = self.audience.as_deref()?;
        Some(resource_at(audience, view).unwrap_or_else(|| audience.to_owned()))
    }
}

/// The address of a view below that of all servers; `None` if there is none.
fn resource_at(audience: &str, view: &str) -> Option<String> {
    let base = audience.trim_end_matches('/');
    let has_views = base.contains("://") && base.ends_with("/mcp") && !view.is_empty();
    has_views.then(|| format!("{base}/{view}"))
}

/// Whether a scope is granted: itself, or all below it by `…:*`.
#[must_use]
pub fn covers(granted: &[&str], scope: &str) -> bool {
    granted.iter().any(|one| {
        *one == scope
            || one
                .strip_suffix('*')
                .is_some_and(|above| above.ends_with(':') && scope.starts_with(above))
    })
}

fn principal_of(key: &KeyRecord) -> Principal {
    let mut labels: Vec<Box<str>> = vec![format!("key:{}", key.id).into()];
    labels.extend(
        key.client
            .iter()
            .map(|client| format!("client:{client}").into()),
    );
    labels.extend(
        key.permissions
            .iter()
            .map(|permission| format!("role:{permission}").into()),
    );
    labels.extend(
        key.tools
            .iter()
            .map(|tool| format!("only-tool:{tool}").into()),
    );
    Principal {
        id: format!("key:{}", key.id).into(),
        labels: labels.into(),
    }
}
