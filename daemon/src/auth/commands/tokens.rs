//! `ggend auth generate-jwt-secret`, `generate-token`, `verify-token`, `decode-token` and
//! `revoke-token`.

use super::{Answer, BAD, CONFIG, Environment, Refusal, USAGE, when};
use crate::{
    auth::{
        duration, key,
        rulebook::{AuthSecrets, Credential, Rejected, Rulebook},
        store::{Revoked, Snapshot},
        token::{Token, TokenError, sign},
    },
    config::{self, Jwt, Loaded},
};
use clap::Args;
use ggen_wire::{Code, escape};
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, sync::Arc};

/// What a token is to say.
#[derive(Debug, Args)]
pub(super) struct New {
    /// Whose it is (sub).
    #[arg(long, value_name = "NAME", default_value = "ggen")]
    subject: String,
    /// The client that it is for (client_id).
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Scopes, separated by spaces or commas.
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scope: Vec<String>,
    /// Another claim: a value that is JSON is taken as such, anything else as text.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// Instead of auth.jwt.audience (aud).
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Instead of auth.jwt.expiration: 30m, 12h, 90d, …
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires_in: Option<u64>,
}

/// Claims that the other options say.
const OURS: [&str; 8] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "jti",
    "scope",
    "client_id",
];

pub(super) fn secret() -> Result<Answer, Refusal> {
    let secret = key::secret().map_err(Refusal::random)?;
    let text = format!(
        "JWT secret: {}\n\nPut it into a file that only the daemon may read, and name that: ggen mcp config set auth.jwt.secret_file=/path\n",
        secret.expose()
    );
    Ok(Answer {
        text,
        value: format!("{}\n", secret.expose()),
        json: json!({"secret": secret.expose()}),
        exit: 0,
    })
}

fn loaded(environment: &Environment<'_>) -> Result<Loaded, Refusal> {
    config::load(environment.load).map_err(|problems| Refusal::of(&problems))
}

pub(super) fn generate(environment: &Environment<'_>, new: &New) -> Result<Answer, Refusal> {
    let loaded = loaded(environment)?;
    let jwt = &loaded.config.auth.jwt;
    let Some(secret) = loaded
        .auth_files
        .jwt_secret
        .as_ref()
        .or(jwt.secret.as_ref())
    else {
        return Err(Refusal::new(
            CONFIG,
            Code::AuthenticationFailed,
            "auth.jwt.secret is not set: there is nothing to sign with",
        )
        .help("ggen mcp auth generate-jwt-secret"));
    };
    let name = jwt.algorithm.as_deref().unwrap_or("HS256");
    let now = environment.seconds();
    let expires = now + new.expires_in.unwrap_or(jwt.expiration);
    let jti = key::id().map_err(Refusal::random)?;
    let mut claims = Map::from_iter([
        ("sub".to_owned(), json!(new.subject)),
        ("iat".to_owned(), json!(now)),
        ("exp".to_owned(), json!(expires)),
        ("jti".to_owned(), json!(jti)),
    ]);
    claims.extend(optional_claims(jwt, new));
    claims.extend(given_claims(&new.claims)?);
    let token = sign(&Value::Object(claims), secret, name).map_err(|_| {
        Refusal::new(
            CONFIG,
            None,
            format!("{name} needs a private key, which this gateway does not have"),
        )
    })?;
    let text = format!(
        "Token:   {}\nID:      {jti}\nSubject: {}\nExpires: {}\n",
        token.expose(),
        new.subject,
        when(Some(expires), now, "")
    );
    let json = json!({"token": token.expose(), "jti": jti, "subject": new.subject, "expires": duration::date(expires)});
    Ok(Answer {
        text,
        value: format!("{}\n", token.expose()),
        json,
        exit: 0,
    })
}

/// Claims that stand in the token only where they have a value.
fn optional_claims(jwt: &Jwt, new: &New) -> impl Iterator<Item = (String, Value)> {
    let scope = new
        .scope
        .iter()
        .flat_map(|scope| scope.split_whitespace())
        .collect::<Vec<_>>()
        .join(" ");
    let optional = [
        ("iss", jwt.issuer.clone()),
        ("aud", new.audience.clone().or_else(|| jwt.audience.clone())),
        ("client_id", new.client_id.clone()),
        ("scope", Some(scope).filter(|scope| !scope.is_empty())),
    ];
    optional
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
}

/// The claims of `--claim NAME=VALUE`; a value that is JSON is taken as such.
fn given_claims(claims: &[String]) -> Result<Vec<(String, Value)>, Refusal> {
    let parse = |claim: &String| {
        let (name, value) = claim
            .split_once('=')
            .filter(|(name, _)| !name.is_empty() && !OURS.contains(name))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Some((name.to_owned(), value))
    };
    let wrong = || {
        Refusal::new(
            USAGE,
            None,
            "expected --claim NAME=VALUE, and a name that no other option stands for",
        )
    };
    claims
        .iter()
        .map(|claim| parse(claim).ok_or_else(wrong))
        .collect()
}

pub(super) fn verify(environment: &Environment<'_>, given: &str) -> Result<Answer, Refusal> {
    let text = environment.text(given)?;
    let loaded = loaded(environment)?;
    let snapshot = snapshot(environment)?;
    let (rulebook, unknown) = rulebook(environment, &loaded, &snapshot, &text);
    let now = environment.seconds();
    let credential = match rulebook.judge(&text, now) {
        Ok(credential) => credential,
        Err(rejected) => return Err(refusal(&rejected, &unknown)),
    };
    let token = Token::parse(&text).ok();
    let expires = match (&credential.key, &token) {
        (Some(id), _) => snapshot
            .keys
            .iter()
            .find(|key| *key.id == **id)
            .and_then(|key| key.expires),
        (None, Some(token)) => token.claims().all().get("exp").and_then(Value::as_u64),
        _ => None,
    };
    let labels: Vec<&str> = credential
        .principal
        .labels
        .iter()
        .map(|label| &**label)
        .collect();
    let mut shown = format!(
        "Valid: {}\nExpires: {}\n",
        credential.principal.id,
        when(expires, now, "never")
    );
    if !labels.is_empty() {
        let _ = writeln!(shown, "Labels: {}", labels.join(", "));
    }
    let json = json!({"valid": true, "principal": &*credential.principal.id, "labels": labels, "expires": expires.map(duration::date)});
    Ok(Answer {
        text: shown,
        json,
        ..Answer::default()
    })
}

fn snapshot(environment: &Environment<'_>) -> Result<Snapshot, Refusal> {
    let store = environment.known_store()?;
    Ok(store
        .map(|store| store.snapshot())
        .transpose()?
        .unwrap_or_default())
}

/// What a worker judges by, with the keys of the issuers if the text is a token, and why keys could
/// not be fetched.
fn rulebook(
    environment: &Environment<'_>,
    loaded: &Loaded,
    snapshot: &Snapshot,
    text: &str,
) -> (Rulebook, Vec<String>) {
    let secrets = AuthSecrets::of(&loaded.config, &loaded.auth_files, snapshot, true);
    let rulebook = Rulebook::new(secrets, None);
    let mut unknown = Vec::new();
    if Token::is_like(text) {
        for source in rulebook.sources() {
            match (environment.fetch)(source) {
                Ok(keys) => rulebook.fetched(source, &Arc::new(keys)),
                Err(why) => unknown.push(why),
            }
        }
    }
    (rulebook, unknown)
}

/// Why a token or key is refused; `unknown`: why keys of issuers could not be fetched.
fn refusal(rejected: &Rejected, unknown: &[String]) -> Refusal {
    let code = rejected.code();
    let (title, why) = (code.title(), rejected.to_string());
    let message = if why.starts_with(title) {
        why
    } else {
        format!("{title}: {why}")
    };
    let message = unknown
        .iter()
        .fold(message, |message, why| format!("{message} ({why})"));
    let help = match code {
        Code::InvalidApiKey => "ggen mcp auth list-api-keys",
        Code::TokenExpired => "ggen mcp auth generate-token",
        Code::InvalidSignature => "ggen mcp config get auth.jwt",
        _ => "ggen mcp auth decode-token -",
    };
    Refusal::new(BAD, code, message).help(help)
}

pub(super) fn decode(environment: &Environment<'_>, given: &str) -> Result<Answer, Refusal> {
    let text = environment.text(given)?;
    let token = Token::parse(&text).map_err(|error| {
        Refusal::new(BAD, Code::AuthenticationFailed, error.to_string())
            .help("ggen mcp auth verify-token -")
    })?;
    let now = environment.seconds();
    let claims = token.claims().all();
    let mut shown = format!(
        "Header: {}\nClaims: {}\n",
        escape::pretty_json(token.header()),
        escape::pretty_json(claims)
    );
    for (name, what) in [("iat", "Issued"), ("nbf", "Valid from"), ("exp", "Expires")] {
        if let Some(time) = claims.get(name).and_then(Value::as_u64) {
            let _ = writeln!(shown, "{what}: {}", when(Some(time), now, ""));
        }
    }
    shown.push_str("Nothing of this was checked: ggen mcp auth verify-token does.\n");
    let json = json!({"header": token.header(), "claims": claims, "verified": false});
    Ok(Answer {
        text: shown,
        json,
        ..Answer::default()
    })
}

pub(super) fn revoke(
    environment: &Environment<'_>,
    given: &str,
    jti: Option<&str>,
) -> Result<Answer, Refusal> {
    let (text, is_jti) = match jti {
        Some(jti) => (jti.trim().to_owned(), true),
        None => (environment.text(given)?, false),
    };
    let snapshot = snapshot(environment)?;
    // An emergency must not wait for a configuration that is right again.
    let rules = loaded(environment)
        .map(|loaded| rulebook(environment, &loaded, &snapshot, &text))
        .map_err(|refusal| refusal.message);
    if is_api_key(
        &text,
        &snapshot,
        rules.as_ref().ok().map(|(rulebook, _)| rulebook),
    ) {
        return Err(Refusal::new(
            BAD,
            None,
            "this is an API key, or the id of one, and no token",
        )
        .help("ggen mcp auth revoke-api-key -"));
    }
    let now = environment.seconds();
    let target = if is_jti {
        Target::of_jti(text)
    } else if Token::is_like(&text) {
        let judged = rules.map(|(rulebook, unknown)| (rulebook.judge(&text, now), unknown));
        match Target::of_token(&text, judged)? {
            Ok(target) => target,
            Err(expired) => return Ok(nothing_to_revoke(&expired)),
        }
    } else if key::is_id(&text) {
        Target::of_jti(text)
    } else {
        // What was typed may be a secret: it is not repeated.
        return Err(Refusal::new(
            BAD,
            None,
            "this is neither a token nor the id of one that was made here",
        )
        .help("ggen mcp auth revoke-token --jti ID   (for a jti of another issuer)"));
    };
    target.revoke(environment, now)
}

/// Whether a text opens as an API key, could do so, or names one.
fn is_api_key(text: &str, snapshot: &Snapshot, rulebook: Option<&Rulebook>) -> bool {
    let digest = key::digest(text);
    text.starts_with(key::PREFIX)
        || snapshot
            .keys
            .iter()
            .any(|record| record.id == text || key::same(&record.digest, &digest))
        || rulebook.is_some_and(|rulebook| !Token::is_like(text) && rulebook.judge(text, 0).is_ok())
}

fn nothing_to_revoke(expired: &TokenError) -> Answer {
    Answer {
        text: format!("Nothing to revoke: {expired}.\n"),
        json: json!({"revoked": false, "reason": expired.to_string()}),
        ..Answer::default()
    }
}

/// What is revoked.
struct Target {
    jti: String,
    /// When the token ends by itself; only where its signature says so. Without it the revocation
    /// is kept for good.
    expires: Option<u64>,
    /// What a person should know beside it.
    remark: String,
}

impl Target {
    fn of_jti(jti: String) -> Self {
        Self {
            jti,
            expires: None,
            remark: " Whether there is such a token is not known here.".to_owned(),
        }
    }

    /// The inner error: it has expired. Where the configuration or the keys of an issuer cannot be
    /// had, the token is revoked by its jti, and nothing else that it says is believed.
    fn of_token(
        text: &str,
        judged: Result<(Result<Credential, Rejected>, Vec<String>), String>,
    ) -> Result<Result<Self, TokenError>, Refusal> {
        let (verified, why) = match judged {
            Ok((Err(Rejected::Token(expired @ TokenError::Expired(_))), _)) => {
                return Ok(Err(expired));
            }
            Ok((Ok(_), _)) => (true, String::new()),
            Ok((Err(rejected), unknown)) => match rejected {
                Rejected::Token(
                    TokenError::Revoked
                    | TokenError::Early(_)
                    | TokenError::Issuer { .. }
                    | TokenError::Audience { .. },
                )
                | Rejected::Scope(_) => (true, String::new()),
                Rejected::Token(TokenError::UnknownKey(_)) if !unknown.is_empty() => {
                    (false, unknown.join(", "))
                }
                rejected => return Err(refusal(&rejected, &unknown)),
            },
            Err(configuration) => (false, configuration),
        };
        let token = Token::parse(text)
            .map_err(|error| Refusal::new(BAD, Code::AuthenticationFailed, error.to_string()))?;
        let jti = token.claims().text("jti").ok_or_else(|| {
            Refusal::new(
                BAD,
                None,
                "the token has no jti that it could be revoked by; change auth.jwt.secret instead",
            )
            .help("ggen mcp auth generate-jwt-secret")
        })?;
        let expires = token.claims().all().get("exp").and_then(Value::as_u64);
        Ok(Ok(Self {
            jti: jti.to_owned(),
            expires: expires.filter(|_| verified),
            remark: if verified {
                String::new()
            } else {
                format!(" Its signature could not be verified: {why}.")
            },
        }))
    }

    fn revoke(self, environment: &Environment<'_>, now: u64) -> Result<Answer, Refusal> {
        let Self {
            jti,
            expires,
            remark,
        } = self;
        if jti.is_empty() || jti.len() > 256 || jti.contains(char::is_control) {
            return Err(Refusal::new(USAGE, None, "a jti has 1 to 256 bytes"));
        }
        let store = environment.store()?;
        store.forget(now)?;
        let fresh = store.revoke_token(&Revoked {
            jti: jti.clone(),
            revoked: now,
            expires,
        })?;
        let text = if fresh {
            format!("Revoked {jti}. Every worker refuses it within a second.{remark}\n")
        } else {
            format!("{jti} was revoked before.\n")
        };
        Ok(Answer {
            text,
            json: json!({"jti": jti, "revoked": true}),
            ..Answer::default()
        })
    }
}
