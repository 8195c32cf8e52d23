//! Paths, and what a client accepts. Pure.

use crate::worker::edge::percent;
use http::{HeaderMap, header};
use std::borrow::Cow;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/mcp` (empty name: all servers) or `/mcp/<server>`.
    Mcp(Cow<'a, str>),
    /// `/tools`
    Tools,
    /// `/health`
    Health,
    /// The metadata of this resource for OAuth clients (RFC 9728): at the root, or with the path of
    /// an endpoint behind it, which is given here as it came.
    Metadata(&'a str),
    /// Where an authorization server would be, or what else clients look for (RFC 8615). Not being
    /// here is no secret.
    NotOurs,
    /// `/mcp/…`, but no server can have that name.
    NoServer,
    /// Everything else.
    Unknown,
}

impl<'a> Route<'a> {
    /// Of a path as it came; a slash at the end does not matter.
    pub(crate) fn of(path: &'a str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        match path {
            "/mcp" => Self::Mcp(Cow::Borrowed("")),
            "/tools" => Self::Tools,
            "/health" => Self::Health,
            "/register" | "/authorize" | "/token" => Self::NotOurs,
            _ if let Some(resource) = path
                .strip_prefix(METADATA)
                .filter(|resource| resource.is_empty() || resource.starts_with('/')) =>
            {
                Self::Metadata(resource)
            }
            // Some clients put it behind the path of the endpoint.
            _ if path.contains("/.well-known/") => Self::NotOurs,
            _ => path.strip_prefix("/mcp/").map_or(Self::Unknown, |name| {
                server(name).map_or(Self::NoServer, Self::Mcp)
            }),
        }
    }

    /// Index into [`CLASSES`].
    pub(crate) fn class(&self) -> usize {
        match self {
            Self::Mcp(server) if server.is_empty() => 0,
            Self::Mcp(_) | Self::NoServer => 1,
            Self::Tools => 2,
            Self::Health => 3,
            Self::Metadata(_) => 4,
            Self::NotOurs | Self::Unknown => 5,
        }
    }
}

/// The name of a server, from a path's last segment: a slash in it is percent-encoded. Names that
/// begin with a slash are views of our own.
pub(crate) fn server(segment: &str) -> Option<Cow<'_, str>> {
    percent::decode(segment)
        .filter(|name| !name.is_empty() && !name.starts_with('/') && !segment.contains('/'))
}

/// RFC 9728 §3
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The paths as metrics name them.
pub(crate) const CLASSES: [&str; 7] = [
    "/mcp",
    "/mcp/{server}",
    "/tools",
    "/health",
    "/.well-known",
    "other",
    "websocket",
];
/// Index of upgrades to WebSocket, whose path is configured.
pub(crate) const WEBSOCKET: usize = 6;

/// What a client takes, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) json: bool,
    pub(crate) sse: bool,
}

impl Accept {
    /// JSON and event streams.
    pub(crate) const BOTH: Self = Self {
        json: true,
        sse: true,
    };

    /// From all `Accept` headers (RFC 9110 §12.5.1). None at all means everything.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self {
            json: false,
            sse: false,
        };
        let mut values = headers.get_all(header::ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Self {
                json: true,
                sse: true,
            };
        }
        for range in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            if parts
                .filter_map(|part| part.split_once('='))
                .any(|(name, q)| name.eq_ignore_ascii_case("q") && q.parse() == Ok(0.0_f32))
            {
                continue;
            }
            let is = |names: [&str; 3]| names.iter().any(|name| name.eq_ignore_ascii_case(kind));
            accept.json |= is(["application/json", "application/*", "*/*"]);
            accept.sse |= is(["text/event-stream", "text/*", "*/*"]);
        }
        accept
    }
}

/// Whether the body is announced as JSON; parameters do not matter.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    kind.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::{Accept, Route, is_json};
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn paths_find_their_route() {
        let mcp = |name: &'static str| Route::Mcp(name.into());
        for (path, route) in [
            ("/mcp", mcp("")),
            ("/mcp/", mcp("")),
            ("/mcp/files", mcp("files")),
            ("/mcp/files/", mcp("files")),
            ("/mcp/my%20files", mcp("my files")),
            ("/tools", Route::Tools),
            ("/health/", Route::Health),
            ("/.well-known/oauth-protected-resource", Route::Metadata("")),
            (
                "/.well-known/oauth-protected-resource/mcp/",
                Route::Metadata("/mcp"),
            ),
            (
                "/.well-known/oauth-protected-resource/mcp/a%20b",
                Route::Metadata("/mcp/a%20b"),
            ),
            ("/.well-known/oauth-protected-resourceful", Route::NotOurs),
            ("/.well-known/oauth-authorization-server", Route::NotOurs),
            ("/.well-known/openid-configuration/mcp", Route::NotOurs),
            ("/mcp/.well-known/openid-configuration", Route::NotOurs),
            ("/register", Route::NotOurs),
            ("/registers", Route::Unknown),
            (
                "/mcp/io.github.owner%2Fserver",
                mcp("io.github.owner/server"),
            ),
            ("/mcp/%C3%A9t%C3%A9", mcp("\u{e9}t\u{e9}")),
            ("/mcp/%2Ftools", Route::NoServer),
            ("/mcp/a/b", Route::NoServer),
            ("/mcp/%zz", Route::NoServer),
            ("/mcp/%ff", Route::NoServer),
            ("/mcp//", Route::NoServer),
            ("/mcpx", Route::Unknown),
            ("/", Route::Unknown),
            ("*", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn accept_is_read_leniently() {
        for (value, json, sse) in [
            ("application/json, text/event-stream", true, true),
            ("text/event-stream", false, true),
            ("APPLICATION/JSON;q=0.5", true, false),
            ("application/json;q=0, */*;q=0.1", true, true),
            ("text/event-stream;q=0.000", false, false),
            ("text/html", false, false),
            ("text/html, */*;q=0.8", true, true),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]);
            assert_eq!(Accept::of(&headers), Accept { json, sse }, "{value}");
        }
        assert_eq!(
            Accept::of(&HeaderMap::new()),
            Accept {
                json: true,
                sse: true
            }
        );
    }

    #[test]
    fn content_type_may_have_parameters() {
        for (value, json) in [
            ("application/json; charset=utf-8", true),
            ("Application/JSON", true),
            ("text/json", false),
            ("application/jsonx", false),
        ] {
            assert_eq!(
                is_json(&HeaderMap::from_iter([(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(value)
                )])),
                json,
                "{value}"
            );
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
