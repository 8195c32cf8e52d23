//! The check of `Host` and `Origin` against DNS rebinding (MCP transports, "Security Warning").
//! Pure.

use http::{HeaderValue, Method, Version, header, request::Parts};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why a request is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// No `Host`, or several.
    #[error("exactly one Host header is needed")]
    NoHost,
    /// Not a name of ours.
    #[error("Host is not allowed")]
    Host,
    /// A page from elsewhere.
    #[error("Origin is not allowed")]
    Origin,
}

/// Whether a request that is refused for its `Host` may be told in one word how the daemon is. A
/// prober names a pod's address, or speaks HTTP/1.0 and names nothing. Pages of browsers, against
/// which `Host` is checked, are told nothing.
pub(crate) fn is_probe(head: &Parts, denied: Denied) -> bool {
    let names_nothing =
        head.version == Version::HTTP_10 && !head.headers.contains_key(header::HOST);
    matches!(head.method, Method::GET | Method::HEAD)
        && !head.headers.contains_key(header::ORIGIN)
        && (denied == Denied::Host || (denied == Denied::NoHost && names_nothing))
}

/// The allow-lists of a listener.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<Authority>,
    any_host: bool,
    origins: Vec<String>,
    any_origin: bool,
    /// Bound to loopback: pages from loopback origins may ask.
    loopback: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Authority {
    name: String,
    port: Option<u16>,
}

impl Guard {
    /// For a listener that is bound to a loopback address or not. No hosts: the loopback names if
    /// it is, every name otherwise.
    pub(crate) fn new(hosts: &[String], origins: &[String], loopback: bool) -> Self {
        let names: Vec<&str> = match hosts.is_empty() {
            true if loopback => LOOPBACK.to_vec(),
            _ => hosts.iter().map(String::as_str).collect(),
        };
        Self {
            any_host: names.is_empty() || names.contains(&"*"),
            hosts: names.into_iter().filter_map(Authority::parse).collect(),
            any_origin: origins.iter().any(|origin| origin == "*"),
            origins: origins.iter().map(|origin| normal(origin)).collect(),
            loopback,
        }
    }

    /// Checks both. Gives the origin if there is one: it may read the answer.
    pub(crate) fn admit<'a>(&self, head: &'a Parts) -> Result<Option<&'a HeaderValue>, Denied> {
        self.host(head)?;
        let mut origins = head.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(None);
        };
        if origins.next().is_none()
            && origin
                .to_str()
                .is_ok_and(|origin| self.allows_origin(origin))
        {
            return Ok(Some(origin));
        }
        Err(Denied::Origin)
    }

    /// RFC 9112 §3.2: exactly one `Host`; HTTP/2 has `:authority`, and where both are given both
    /// must be allowed.
    fn host(&self, head: &Parts) -> Result<(), Denied> {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        if hosts.next().is_some() || (host.is_none() && authority.is_none()) {
            return Err(Denied::NoHost);
        }
        let allowed = host
            .is_none_or(|host| host.to_str().is_ok_and(|host| self.allows_host(host)))
            && authority.is_none_or(|authority| self.allows_host(authority));
        if allowed { Ok(()) } else { Err(Denied::Host) }
    }

    fn allows_host(&self, host: &str) -> bool {
        self.any_host
            || split(host).is_some_and(|(name, port)| {
                self.hosts.iter().any(|allowed| {
                    allowed.name.eq_ignore_ascii_case(name)
                        && (allowed.port.is_none() || allowed.port == port)
                })
            })
    }

    fn allows_origin(&self, origin: &str) -> bool {
        let local = || {
            let rest = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            rest.and_then(split).is_some_and(|(name, _)| {
                LOOPBACK
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(name))
            })
        };
        self.any_origin
            || (self.loopback && local())
            || (!self.origins.is_empty() && self.origins.contains(&normal(origin)))
    }
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = split(text)?;
        Some(Self {
            name: name.to_owned(),
            port,
        })
    }
}

/// Name without brackets, and port. A bare IPv6 address (as in a configuration) is taken as a name.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None if authority.matches(':').count() > 1 => (authority, ""),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match port.strip_prefix(':') {
        Some(digits) => Some((name, Some(digits.parse().ok()?))),
        None if port.is_empty() => Some((name, None)),
        None => None,
    }
}

/// An origin in lower case, without the default port (RFC 6454 §6).
fn normal(origin: &str) -> String {
    let origin = origin.trim().trim_end_matches('/').to_ascii_lowercase();
    let default = if origin.starts_with("https:") {
        ":443"
    } else {
        ":80"
    };
    origin
        .strip_suffix(default)
        .map(str::to_owned)
        .unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::{Guard, normal};

    #[test]
    fn loopback_answers_to_its_names_only_and_any_port() {
        let guard = Guard::new(&[], &[], true);
        for host in [
            "localhost",
            "LocalHost:3000",
            "127.0.0.1:1",
            "[::1]:9",
            "[::1]",
        ] {
            assert!(guard.allows_host(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
            "localhost:x",
            "[::1",
            "user@localhost",
            "localhost:70000",
        ] {
            assert!(!guard.allows_host(host), "{host}");
        }
        assert!(
            guard.allows_origin("http://localhost:5173") && guard.allows_origin("https://[::1]")
        );
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost.evil.example",
            "file://localhost",
            "http://localhost/x",
            "",
        ] {
            assert!(!guard.allows_origin(origin), "{origin}");
        }
    }

    #[test]
    fn lists_replace_the_defaults() {
        let hosts = ["mcp.example", "other.example:8443", "::1"].map(str::to_owned);
        let guard = Guard::new(&hosts, &["https://App.example".to_owned()], false);
        assert!(
            guard.allows_host("MCP.example:1")
                && guard.allows_host("other.example:8443")
                && guard.allows_host("[::1]:3000")
        );
        assert!(!guard.allows_host("other.example") && !guard.allows_host("localhost"));
        assert!(
            guard.allows_origin("https://app.example:443")
                && !guard.allows_origin("http://app.example")
        );
        assert!(!guard.allows_origin("http://localhost"));
        assert!(Guard::new(&[], &[], false).allows_host("whatever.example"));
        assert_eq!(normal("HTTPS://A.example:8443/"), "https://a.example:8443");
    }
}
