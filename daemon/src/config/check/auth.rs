//! The check of `auth`: secrets that cannot be guessed, safe addresses of issuers, audiences.

use super::{Checker, is_loopback};
use crate::config::{
    model::{Auth, Config, Host, Required, Transports},
    problem::Severity,
    secrets::secret::Secret,
};
use ggen_wire::Code;
use std::{net::IpAddr, path::Path};

/// RFC 7518 §3.2 for the shortest of the algorithms.
const LEAST_SECRET: usize = 32;
/// A shorter fixed key may be guessed by somebody with time.
const SHORT_KEY: usize = 20;
const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

impl Checker<'_> {
    pub(super) fn auth(&mut self, config: &Config) {
        let auth = &config.auth;
        self.fixed_secrets(auth);
        self.secret_files(auth);
        let jwt = &auth.jwt;
        self.range(
            "auth.jwt.expiration",
            jwt.expiration,
            1,
            10 * 365 * 86_400,
            "3600",
        );
        self.range("auth.jwt.leeway", jwt.leeway, 0, 600, "30");
        if let Some(name) = jwt
            .algorithm
            .as_deref()
            .filter(|name| !ALGORITHMS.contains(name))
        {
            self.value(
                "auth.jwt.algorithm",
                format!("expected one of {}, found {name:?}", ALGORITHMS.join(", ")),
            );
            self.help_to_set("auth.jwt.algorithm", "HS256");
        }
        self.issuers(auth);
        self.scopes(&auth.oauth2.scopes);
    }

    /// Secrets in the file itself must not be guessable.
    fn fixed_secrets(&mut self, auth: &Auth) {
        let length = |secret: &Option<Secret>| secret.as_ref().map(|text| text.expose().len());
        match length(&auth.api_key) {
            Some(0) => self.value("auth.api_key", "must not be empty".to_owned()),
            Some(1..SHORT_KEY) => {
                let what =
                    format!("is short enough to be guessed: fewer than {SHORT_KEY} characters");
                self.add(Severity::Warning, Code::ConfigValue, "auth.api_key", what);
                self.help("ggen mcp auth generate-api-key".to_owned());
            }
            _ => {}
        }
        if length(&auth.jwt.secret).is_some_and(|length| length < LEAST_SECRET) {
            self.value(
                "auth.jwt.secret",
                format!("must have at least {LEAST_SECRET} bytes"),
            );
            self.help("ggen mcp auth generate-jwt-secret".to_owned());
        }
    }

    /// Files with secrets have absolute paths, and stand in for a value instead of beside it.
    fn secret_files(&mut self, auth: &Auth) {
        let jwt = &auth.jwt;
        let files = [
            ("auth.api_key_file", &auth.api_key_file),
            ("auth.jwt.secret_file", &jwt.secret_file),
            ("auth.jwt.public_key", &jwt.public_key),
        ];
        for (path, file) in files {
            if file.as_deref().is_some_and(|file| !Path::is_absolute(file)) {
                self.value(path, "must be an absolute path".to_owned());
            }
        }
        let pairs = [
            ("auth.api_key_file", &auth.api_key, &auth.api_key_file),
            ("auth.jwt.secret_file", &jwt.secret, &jwt.secret_file),
        ];
        for (path, value, file) in pairs {
            if value.is_some() && file.is_some() {
                let other = path.trim_end_matches("_file");
                self.value(path, format!("stands beside {other}: one of them only"));
                self.help(format!("ggen mcp config unset {path}"));
            }
        }
    }

    /// Issuers are reached safely, and their tokens are meant for this gateway.
    fn issuers(&mut self, auth: &Auth) {
        let (jwt, oauth2) = (&auth.jwt, &auth.oauth2);
        for (path, address) in [
            ("auth.jwt.jwks_url", &jwt.jwks_url),
            ("auth.oauth2.issuer", &oauth2.issuer),
        ] {
            if let Some(what) = address.as_deref().and_then(|address| not_safe(address)) {
                self.value(path, what.to_owned());
            }
        }
        if oauth2.issuer.is_some() && oauth2.audience.is_none() {
            let what = "must be set beside auth.oauth2.issuer: without it, tokens that were made for other services would be taken";
            self.value("auth.oauth2.audience", what.to_owned());
            self.help("ggen mcp config set auth.oauth2.audience=https://HOST/mcp".to_owned());
        }
        if (jwt.jwks_url.is_some() || jwt.public_key.is_some()) && jwt.audience.is_none() {
            let what = "is not set: tokens that the issuer made for other services are taken too";
            self.add(
                Severity::Warning,
                Code::ConfigValue,
                "auth.jwt.audience",
                what.to_owned(),
            );
            self.help("ggen mcp config set auth.jwt.audience=ggen".to_owned());
        }
    }

    /// RFC 6749 §3.3
    fn scopes(&mut self, scopes: &[String]) {
        let is_wrong = |scope: &String| {
            scope.is_empty()
                || scope.contains(|c: char| !c.is_ascii_graphic() || "\"\\".contains(c))
        };
        if scopes.iter().any(is_wrong) {
            self.value(
                "auth.oauth2.scopes",
                "holds something that is no scope: visible ASCII without quotes and backslashes"
                    .to_owned(),
            );
        }
    }

    /// An address that others can reach needs somebody who asks who they are, and somebody who
    /// could answer.
    pub(super) fn openness(&mut self, config: &Config, keys_made: bool) {
        let Transports {
            http,
            websocket,
            quic,
        } = &config.transports;
        let tcp = http.enabled || websocket.enabled && websocket.port.is_some();
        for (path, enabled, host) in [
            ("transports.http.host", tcp, http.host),
            ("transports.quic.host", quic.enabled, quic.host),
        ] {
            if enabled && !host.is_loopback() {
                self.open_address(config, keys_made, path, host);
            }
        }
    }

    fn open_address(&mut self, config: &Config, keys_made: bool, path: &str, host: Host) {
        let what = match config.auth.required {
            Required::No => {
                format!("{host} is reachable from other hosts, and auth.required is false")
            }
            _ if config.auth.names_credentials() || keys_made => return,
            _ => format!(
                "{host} is reachable from other hosts, and there is no key that anybody could be known by"
            ),
        };
        self.add(Severity::Error, Code::OpenWithoutAuth, path, what);
        if config.auth.required == Required::No {
            self.help("ggen mcp config set auth.required=auto".to_owned());
        } else {
            self.help("ggen mcp auth generate-api-key".to_owned());
        }
        self.help_to_set(path, "127.0.0.1");
    }
}

/// Keys that come over a network that others write to are nobody's keys.
fn not_safe(address: &str) -> Option<&'static str> {
    let wrong =
        Some("must be an https address without user, query and fragment; http on loopback only");
    let Ok(uri) = address.parse::<http::Uri>() else {
        return wrong;
    };
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(is_loopback);
    let plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none()
        && !address.contains('#');
    match uri.scheme_str() {
        Some("https") if plain => None,
        Some("http") if plain && local => None,
        _ => wrong,
    }
}
