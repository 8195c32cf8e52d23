//! Authentication for all edge transports. A credential comes in `Authorization: Bearer` or
//! `X-API-Key`, or as a client certificate. A wrong one is refused, also where none is needed. The
//! keys of issuers are kept fresh. May not: open a file, log a credential.

pub(crate) mod guard;
pub(crate) mod issuer;

use super::peer::{Peer, PeerCertificate};
use crate::auth::{AuthSecrets, Rejected, Rulebook, Source, seconds};
use ggen_mcp::edge::Principal;
use ggen_wire::Code;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Notify;

/// Where some clients put their key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Keys of an issuer are fetched anew after this time.
const REFRESH: Duration = Duration::from_secs(600);
/// An unknown key's name has them fetched anew at most so often.
const UNKNOWN: Duration = Duration::from_secs(60);
/// Pauses after a failure: doubled from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Lines about refusals, at most one in this time; the others are counted.
const LINES: Duration = Duration::from_secs(1);

/// Why a request is not heard, and what its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// 401 or 403.
    pub(crate) status: StatusCode,
    /// Whose title is the message.
    pub(crate) code: Code,
    /// For `WWW-Authenticate`.
    pub(crate) challenge: HeaderValue,
    /// There was no credential at all, and one is needed.
    pub(crate) nothing_shown: bool,
    /// Newer keys of an issuer might change it.
    stale: bool,
}

/// Tells who is asking.
#[derive(Debug)]
pub(crate) struct Authenticator {
    rules: RwLock<Arc<Rulebook>>,
    used: Mutex<HashMap<Arc<str>, u64>>,
    issuers: Mutex<HashMap<Source, Fetching>>,
    /// One fetch at a time; whoever needs it waits for it.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
    said: Mutex<(Option<Instant>, u64)>,
}

/// How it goes with the keys of an issuer.
#[derive(Clone, Copy, Debug)]
struct Fetching {
    due: Instant,
    pause: Duration,
    /// When an unknown name had them fetched.
    asked: Option<Instant>,
}

impl Authenticator {
    /// Judges by these secrets. [`Self::keep_fresh`] has to run beside it.
    pub(crate) fn new(secrets: AuthSecrets) -> Self {
        Self {
            rules: RwLock::new(Arc::new(Rulebook::new(secrets, None))),
            used: Mutex::default(),
            issuers: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            said: Mutex::default(),
        }
    }

    /// Judges by other secrets from now on.
    pub(crate) fn set(&self, secrets: AuthSecrets) {
        let before = self.rules();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Rulebook::new(secrets, Some(&before)));
        self.changed.notify_one();
    }

    fn rules(&self) -> Arc<Rulebook> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a request without a credential is refused.
    pub(crate) fn required(&self) -> bool {
        self.rules().required()
    }

    /// The keys that were used since the last call, for the beat.
    pub(crate) fn take_used(&self) -> Vec<(String, u64)> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        used.into_iter()
            .map(|(id, at)| (id.to_string(), at))
            .collect()
    }

    /// Who is asking. A client whose certificate was refused is not heard, whatever else it shows.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) fn check(
        &self,
        head: &Parts,
        peer: &Peer,
        now: SystemTime,
    ) -> Result<Principal, Denied> {
        let rules = self.rules();
        let view = view(head);
        let found = match credential(&head.headers, rules.required()) {
            _ if peer.refused.is_some() => Err(Rejected::Certificate),
            Ok(Some(text)) => self
                .known(&rules, text, view, seconds(now))
                .map(|principal| with_certificate(principal, peer)),
            Ok(None) => match &peer.certificate {
                Some(certificate) => Ok(of_certificate(certificate)),
                None if rules.required() => Err(Rejected::Missing),
                None => Ok("anonymous".into()),
            },
            Err(rejected) => Err(rejected),
        };
        found.map_err(|rejected| self.deny(&rules, &rejected, view, peer))
    }

    /// Whether somebody who was let in would still be, for connections that outlive their request.
    /// `text` is the credential that was shown, if any. An issuer's key that is not known here says
    /// nothing against a token that was good; certificates are not looked at here.
    pub(crate) fn still(
        &self,
        text: Option<&str>,
        principal: &Principal,
        now: SystemTime,
    ) -> Result<(), Rejected> {
        let rules = self.rules();
        match text.map(|text| rules.judge(text, seconds(now))) {
            Some(Ok(credential)) if credential.principal.id == principal.id => Ok(()),
            Some(Ok(_)) => Err(Rejected::Key("the key is somebody else's now")),
            Some(Err(rejected)) if rejected.is_about_keys() => Ok(()),
            Some(Err(rejected)) => Err(rejected),
            None if &*principal.id == "anonymous" && rules.required() => Err(Rejected::Missing),
            None => Ok(()),
        }
    }

    /// As [`Self::check`], and if the keys of an issuer may be too old, has them fetched (bounded
    /// in time and number) and checks again.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) async fn admit(&self, head: &Parts, peer: &Peer) -> Result<Principal, Denied> {
        let first = self.check(head, peer, SystemTime::now());
        match first {
            Err(Denied { stale: true, .. }) => {}
            known => return known,
        }
        let _turn = self.turn.lock().await;
        let again = self.check(head, peer, SystemTime::now());
        if !matches!(again, Err(Denied { stale: true, .. })) {
            return again;
        }
        let now = Instant::now();
        let rules = self.rules();
        let asking: Vec<Source> = rules
            .sources()
            .filter(|source| self.may_ask(source, now))
            .cloned()
            .collect();
        if asking.is_empty() {
            return again;
        }
        for source in asking {
            self.fetch(&rules, &source).await;
        }
        self.check(head, peer, SystemTime::now())
    }

    /// Fetches the keys of issuers when they are due; never returns.
    pub(crate) async fn keep_fresh(&self) {
        loop {
            let now = Instant::now();
            let rules = self.rules();
            let due: Vec<Source> = rules
                .sources()
                .filter(|source| self.due(source, now) <= now)
                .cloned()
                .collect();
            for source in due {
                let _turn = self.turn.lock().await;
                self.fetch(&rules, &source).await;
            }
            let next = rules.sources().map(|source| self.due(source, now)).min();
            let sleep = next.map_or(REFRESH, |next| {
                next.saturating_duration_since(Instant::now())
            });
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    async fn fetch(&self, rules: &Rulebook, source: &Source) {
        let outcome = issuer::fetch(source).await;
        let mut fetching = self.fetching();
        let state = fetching
            .entry(source.clone())
            .or_insert_with(|| Fetching::new(Instant::now()));
        match outcome {
            Ok(keys) => {
                rules.fetched(source, &Arc::new(keys));
                (state.due, state.pause) = (Instant::now() + REFRESH, RETRY.0);
                tracing::debug!(target: "auth", ?source, "keys of the issuer fetched");
            }
            Err(why) => {
                state.due = Instant::now() + state.pause;
                state.pause = (state.pause * 2).min(RETRY.1);
                tracing::warn!(target: "auth", code = %Code::IssuerUnreachable, "keys of a token issuer cannot be fetched: {why}");
            }
        }
    }

    fn fetching(&self) -> MutexGuard<'_, HashMap<Source, Fetching>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, source: &Source, now: Instant) -> Instant {
        self.fetching()
            .entry(source.clone())
            .or_insert_with(|| Fetching::new(now))
            .due
    }

    fn may_ask(&self, source: &Source, now: Instant) -> bool {
        let mut fetching = self.fetching();
        let state = fetching
            .entry(source.clone())
            .or_insert_with(|| Fetching::new(now));
        let may = state
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= UNKNOWN);
        if may {
            state.asked = Some(now);
        }
        may
    }

    fn known(
        &self,
        rules: &Rulebook,
        text: &str,
        view: &str,
        now: u64,
    ) -> Result<Principal, Rejected> {
        let credential = rules.judge_at(text, view, now)?;
        if let Some(key) = credential.key {
            self.used
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, now);
        }
        Ok(credential.principal)
    }

    fn deny(&self, rules: &Rulebook, rejected: &Rejected, view: &str, peer: &Peer) -> Denied {
        // What is wrong with a certificate was said when the connection was made.
        if !matches!(rejected, Rejected::Missing | Rejected::Certificate) {
            self.say(rejected, peer);
        }
        let status = if matches!(rejected, Rejected::Scope(_)) {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::UNAUTHORIZED
        };
        Denied {
            status,
            code: rejected.code(),
            challenge: challenge(rules, rejected, view),
            nothing_shown: *rejected == Rejected::Missing,
            stale: rejected.is_about_keys(),
        }
    }

    /// One line a second: nobody is to fill the log with guesses.
    fn say(&self, rejected: &Rejected, peer: &Peer) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.0.is_some_and(|at| at.elapsed() < LINES) {
            said.1 += 1;
            return;
        }
        let more = std::mem::take(&mut said.1);
        said.0 = Some(Instant::now());
        tracing::warn!(target: "auth", code = %rejected.code(), address = %peer.address, suppressed = more, "refused: {rejected}");
    }

    /// A protected resource's metadata (RFC 9728 §2). `path` is what stands behind the well-known
    /// part: nothing, or the path of `/mcp` or of a view, as clients have it, that is with a prefix
    /// which a proxy takes away. `None` where no authorization server is configured, and for other
    /// paths.
    pub(crate) fn metadata(&self, path: &str) -> Option<String> {
        let rules = self.rules();
        let oauth2 = rules.oauth2()?;
        let outside = oauth2.audience.as_deref().and_then(split_address);
        let outside = outside.map_or("", |(_, path)| path.trim_end_matches('/'));
        let below = [outside, "/mcp"]
            .iter()
            .find_map(|own| path.strip_prefix(own))
            .filter(|below| below.is_empty() || below.starts_with('/'));
        let view = match below {
            Some(below) => below.trim_start_matches('/'),
            None if path.is_empty() => "",
            None => return None,
        };
        if view.contains('/') {
            return None;
        }
        Some(
            serde_json::json!({
                "resource": oauth2.resource(view),
                "authorization_servers": [oauth2.issuer],
                "scopes_supported": oauth2.scopes.iter().filter(|scope| *scope != "offline_access").collect::<Vec<_>>(),
                "bearer_methods_supported": ["header"],
                "resource_name": "ggen MCP gateway",
            })
            .to_string(),
        )
    }
}

impl Fetching {
    const fn new(now: Instant) -> Self {
        Self {
            due: now,
            pause: RETRY.0,
            asked: None,
        }
    }
}

/// The view that a request is for, as it stands in its path; empty: that of all servers.
fn view(head: &Parts) -> &str {
    let name = head.uri.path().strip_prefix("/mcp/").unwrap_or_default();
    name.strip_suffix('/').unwrap_or(name)
}

/// The one credential of a request. Two of them might be meant for two different readers. Where
/// none is needed, one that is meant for somebody else (a proxy's Basic) is left alone.
fn credential(headers: &HeaderMap, required: bool) -> Result<Option<&str>, Rejected> {
    let bearer = |value: &'_ HeaderValue| -> Option<usize> {
        let (scheme, _) = value.to_str().ok()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(scheme.len())
    };
    let mut found = None;
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| **name == header::AUTHORIZATION || **name == X_API_KEY)
    {
        let text = value
            .to_str()
            .map_err(|_| Rejected::Unreadable("a credential that is not ASCII"))?;
        let text = if *name == header::AUTHORIZATION {
            let scheme = bearer(value);
            if scheme.is_none() && !required && text.contains(' ') {
                continue;
            }
            let scheme = scheme.ok_or(Rejected::Unreadable(
                "Authorization has another scheme than Bearer",
            ))?;
            text[scheme..].trim()
        } else {
            text.trim()
        };
        if text.is_empty() {
            return Err(Rejected::Unreadable("an empty credential"));
        }
        if found.replace(text).is_some_and(|before| before != text) {
            return Err(Rejected::Unreadable("two credentials at once"));
        }
    }
    Ok(found)
}

/// The credential of a request that was let in.
pub(crate) fn shown(head: &Parts) -> Option<&str> {
    credential(&head.headers, false).ok().flatten()
}

fn of_certificate(certificate: &PeerCertificate) -> Principal {
    let labels = certificate
        .names
        .iter()
        .chain([&certificate.name])
        .map(|name| Box::from(format!("cert:{name}")));
    let mut labels: Vec<Box<str>> = labels.take(64).collect();
    labels.sort();
    labels.dedup();
    Principal {
        id: format!("cert:{}", certificate.name).into(),
        labels: labels.into(),
    }
}

/// What a certificate says on top of a key or token.
fn with_certificate(principal: Principal, peer: &Peer) -> Principal {
    let Some(certificate) = &peer.certificate else {
        return principal;
    };
    let more = of_certificate(certificate);
    let room = 255_usize.saturating_sub(principal.labels.len());
    Principal {
        id: principal.id,
        labels: principal
            .labels
            .iter()
            .chain(more.labels.iter().take(room))
            .cloned()
            .collect(),
    }
}

/// `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1).
fn challenge(rules: &Rulebook, rejected: &Rejected, view: &str) -> HeaderValue {
    let mut parts = Vec::new();
    match rejected {
        Rejected::Missing | Rejected::Certificate => {}
        Rejected::Scope(_) => parts.push(r#"error="insufficient_scope""#.to_owned()),
        other => parts.push(format!(
            r#"error="invalid_token", error_description="{}""#,
            other.code().title()
        )),
    }
    if let Some(oauth2) = rules.oauth2() {
        if !oauth2.scopes.is_empty() {
            parts.push(format!(r#"scope="{}""#, oauth2.scopes.join(" ")));
        }
        parts.extend(
            oauth2
                .resource(view)
                .as_deref()
                .and_then(metadata_address)
                .map(|address| format!(r#"resource_metadata="{address}""#)),
        );
    }
    let text = if parts.is_empty() {
        "Bearer".to_owned()
    } else {
        format!("Bearer {}", parts.join(", "))
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// RFC 9728 §3.1: the well-known part goes between host and path. From the configured address,
/// never from what a client says in `Host`.
fn metadata_address(resource: &str) -> Option<String> {
    let (origin, path) = split_address(resource)?;
    Some(format!(
        "{origin}/.well-known/oauth-protected-resource{}",
        path.trim_end_matches('/')
    ))
}

/// Origin and path of an address.
fn split_address(address: &str) -> Option<(&str, &str)> {
    let after = address.find("://")? + 3;
    let slash = address[after..].find('/');
    Some(address.split_at(slash.map_or(address.len(), |slash| after + slash)))
}

#[cfg(test)]
mod tests;
