//! Derives from the configuration what the relay is told ([`Settings`]) and what stays with the I/O
//! around it ([`Target`]: addresses and secrets).

pub(super) mod rules;

use crate::{
    config::{Config, EraChoice, IsolationChoice, RemoteKind, Upstream, UpstreamTransport},
    ipc::messages::Start,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ggen_mcp::api::{EraSetting, Isolation, Limits, Settings, Transport, UpstreamSettings};
use ggen_mcp::protocol::method::{Legacy, MODERN};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::AUTHORIZATION};
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

/// An HTTP upstream's private part. Has no `Debug`: its headers are secret.
pub(crate) struct Target {
    /// `https://host:port`: what may be shown.
    pub(crate) origin: String,
    /// The MCP endpoint, without credentials.
    pub(crate) uri: Uri,
    /// The configured headers, marked as sensitive.
    pub(crate) headers: HeaderMap,
}

/// How an upstream is reached: `None` over pipes, else its target, or what is wrong with its
/// address.
pub(crate) type Reach = Option<Result<Arc<Target>, String>>;

/// The relay's settings, and how each upstream is reached.
pub(crate) fn settings(start: &Start) -> (Settings, Vec<Reach>) {
    let pool = usize::from(start.config.server.connection_pool);
    let (upstreams, targets) = in_order(&start.config)
        .map(|(name, upstream)| upstream_settings(name, upstream, pool))
        .unzip();
    let key = start
        .seal
        .as_ref()
        .map(|seal| ggen_mcp::questions::request_state::Key(seal.0));
    // A clock that was set back only has clients miss events that came while they were away.
    let epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let epoch = u64::try_from(epoch).unwrap_or(0);
    (
        Settings {
            upstreams,
            incarnation: start.incarnation,
            limits: Limits::default(),
            key,
            keeps: true,
            epoch,
        },
        targets,
    )
}

fn upstream_settings(name: &str, upstream: &Upstream, pool: usize) -> (UpstreamSettings, Reach) {
    let (transport, target) = match &upstream.transport {
        UpstreamTransport::Stdio { .. } => (Transport::Stdio, None),
        UpstreamTransport::Http { url, kind, headers } => {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let transport = if *kind == RemoteKind::Sse {
                Transport::Events
            } else {
                Transport::Http
            };
            (transport, Some(target(url, headers).map(Arc::new)))
        }
    };
    let revision = upstream.protocol_version.as_deref();
    let pinned = revision.and_then(Legacy::parse);
    let settings = UpstreamSettings {
        name: name.to_owned(),
        transport,
        pinned,
        era: match upstream.era {
            // Its revision has no other one.
            _ if transport == Transport::Events || pinned.is_some() => EraSetting::Legacy,
            _ if revision == Some(MODERN) => EraSetting::Modern,
            EraChoice::Auto => EraSetting::Auto,
            EraChoice::Legacy => EraSetting::Legacy,
            EraChoice::Modern => EraSetting::Modern,
        },
        isolation: match upstream.isolation {
            IsolationChoice::Auto => Isolation::Auto,
            IsolationChoice::Shared => Isolation::Shared,
            IsolationChoice::Single => Isolation::Single,
            IsolationChoice::PerSession => Isolation::PerSession,
            IsolationChoice::PerPrincipal => Isolation::PerPrincipal,
            IsolationChoice::PerCall => Isolation::PerCall,
        },
        stateful: upstream.stateful,
        pool,
        startup: upstream.startup_timeout.saturating_mul(1000),
        timeout: upstream.timeout.saturating_mul(1000),
        enabled: upstream.enabled && !upstream.is_self,
        revision: fingerprint(&upstream.transport),
    };
    (settings, target)
}

/// Differs when an address or its headers differ. Never leaves the process, so that it says nothing
/// of the secrets in it.
fn fingerprint(transport: &UpstreamTransport) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let UpstreamTransport::Http { url, kind, headers } = transport {
        (url, kind, headers).hash(&mut hasher);
    }
    hasher.finish()
}

/// The upstreams in the order of the file; what the file's order does not name comes last.
fn in_order(config: &Config) -> impl Iterator<Item = (&String, &Upstream)> {
    let named: BTreeSet<&String> = config.order.iter().collect();
    let rest = config
        .mcp_servers
        .keys()
        .filter(move |name| !named.contains(name));
    config
        .order
        .iter()
        .chain(rest)
        .filter_map(|name| config.mcp_servers.get_key_value(name))
}

/// The private part of an address.
pub(crate) fn target<'a>(
    url: &str,
    configured: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Target, String> {
    let uri: Uri = url.parse().map_err(|_| "its url is not valid".to_owned())?;
    let mut parts = uri.into_parts();
    let scheme = parts
        .scheme
        .as_ref()
        .map(http::uri::Scheme::as_str)
        .unwrap_or_default()
        .to_owned();
    let Some(authority) = parts
        .authority
        .as_ref()
        .filter(|_| matches!(scheme.as_str(), "http" | "https"))
    else {
        return Err("its url must begin with http:// or https://".to_owned());
    };
    let mut headers = HeaderMap::new();
    // RFC 7617: credentials in the address travel in a header, and are kept out of everything that
    // is shown.
    let bare = match authority.as_str().rsplit_once('@') {
        Some((credentials, host)) => {
            let value = HeaderValue::try_from(format!(
                "Basic {}",
                STANDARD.encode(percent_decoded(credentials))
            ));
            headers.insert(
                AUTHORIZATION,
                value.map_err(|_| "its url is not valid".to_owned())?,
            );
            host.to_owned()
        }
        None => authority.to_string(),
    };
    let origin = format!("{scheme}://{bare}");
    parts.authority = Some(
        bare.parse()
            .map_err(|_| "its url is not valid".to_owned())?,
    );
    let uri = Uri::from_parts(parts).map_err(|_| "its url is not valid".to_owned())?;
    for (name, value) in configured {
        let name = HeaderName::try_from(name)
            .map_err(|_| format!("the name of its header {name:?} is not valid"))?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of its header {name} is not valid"))?;
        headers.insert(name, value);
    }
    headers
        .values_mut()
        .for_each(|value| value.set_sensitive(true));
    Ok(Target {
        origin,
        uri,
        headers,
    })
}

/// RFC 3986 §2.1; what is not a valid escape stays as it is.
fn percent_decoded(text: &str) -> Vec<u8> {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%')
            .then(|| {
                text.get(at + 1..at + 3)
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            })
            .flatten();
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;

    #[test]
    fn credentials_move_from_the_address_to_a_header() {
        let target = target(
            "https://me:s%65cret@example.test/mcp?x=1",
            [("X-Key", "k")].into_iter(),
        )
        .ok()
        .unwrap();
        assert_eq!(
            (target.origin.as_str(), target.uri.to_string().as_str()),
            ("https://example.test", "https://example.test/mcp?x=1")
        );
        assert_eq!(target.headers[AUTHORIZATION], "Basic bWU6c2VjcmV0");
        assert!(target.headers.values().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn a_bad_address_is_reported_without_its_text() {
        for url in [
            "ftp://host/secret",
            "/secret",
            "http://",
            "not a url secret",
        ] {
            assert!(
                !target(url, std::iter::empty())
                    .err()
                    .unwrap()
                    .contains("secret")
            );
        }
    }

    #[test]
    fn upstreams_keep_the_order_of_the_file() {
        let mut config = Config::default();
        for name in ["a", "b", "c"] {
            let upstream =
                serde_json::json!({"command": "true", "timeout": 5, "is_self": name == "b"});
            config
                .mcp_servers
                .insert(name.to_owned(), serde_json::from_value(upstream).unwrap());
        }
        config.order = vec!["c".to_owned(), "a".to_owned()];
        let start = crate::worker::gateway::tests::start(config);
        let (settings, targets) = settings(&start);
        let found: Vec<_> = settings
            .upstreams
            .iter()
            .map(|upstream| (upstream.name.as_str(), upstream.enabled))
            .collect();
        assert_eq!(
            (found, targets.len()),
            (vec![("c", true), ("a", true), ("b", false)], 3)
        );
        assert_eq!(settings.upstreams[0].timeout, 5000);
    }
}
