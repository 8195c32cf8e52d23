//! The opening handshake of a WebSocket, as far as the head of the request tells (RFC 6455 §4.2),
//! and where its credentials are. Pure. The caller has checked Host and Origin.

use crate::{config::QueryToken, worker::edge::peer::Peer};
use ggen_wire::Code;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};
use std::borrow::Cow;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The one subprotocol that is selected.
const MCP: &str = "mcp";
/// Entries of the subprotocol list that carry something else than a protocol (SEP-1288).
const TOKEN: &str = "mcp.auth.";
const REVISION: &str = "mcp.version.";

/// A handshake that may be completed.
#[derive(Debug)]
pub(crate) struct Opening {
    accept: String,
    selected: bool,
    /// The credentials, wherever they stood, as an `Authorization` header; the head's own if it has
    /// one.
    pub(crate) authorization: Option<HeaderValue>,
}

/// Why a handshake is not completed: HTTP status, code, and what is wrong with this very request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOpened(pub(crate) u16, pub(crate) Code, pub(crate) &'static str);

impl NotOpened {
    /// Headers that say what would be taken (RFC 9110 §15.5.22, RFC 6455 §4.4).
    pub(crate) fn explain(self, headers: &mut HeaderMap) {
        if self.0 == 426 {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
        }
    }
}

/// Reads the head of a request for a WebSocket.
///
/// # Errors
/// [`NotOpened`]
pub(crate) fn check(head: &Parts, tokens: QueryToken) -> Result<Opening, NotOpened> {
    let needed = |what| Err(NotOpened(426, Code::UpgradeNeeded, what));
    if head.method != Method::GET {
        return Err(NotOpened(
            405,
            Code::MethodNotAllowed,
            "a WebSocket begins with GET",
        ));
    }
    if head.version != Version::HTTP_11 {
        return needed("a WebSocket begins with HTTP/1.1");
    }
    if !has_word(&head.headers, header::UPGRADE, "websocket")
        || !has_word(&head.headers, header::CONNECTION, "upgrade")
    {
        return needed("");
    }
    if single(&head.headers, header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return needed("only version 13 is spoken");
    }
    let key = single(&head.headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let Some(key) = key else {
        return Err(NotOpened(
            400,
            Code::InvalidRequest,
            "Sec-WebSocket-Key is missing or not 16 bytes in base64",
        ));
    };
    let offered: Vec<&str> = words(&head.headers, header::SEC_WEBSOCKET_PROTOCOL).collect();
    let selected = offered.contains(&MCP);
    if !selected
        && offered
            .iter()
            .any(|name| !name.starts_with(TOKEN) && !name.starts_with(REVISION))
    {
        return Err(NotOpened(400, Code::SubprotocolUnknown, ""));
    }
    let token = offered
        .iter()
        .find_map(|name| name.strip_prefix(TOKEN))
        .map(Cow::Borrowed);
    let authorization = match (head.headers.get(header::AUTHORIZATION), token) {
        (Some(own), _) => Some(own.clone()),
        (None, Some(token)) => Some(bearer(&token)?),
        (None, None) => query_token(head, tokens)?
            .map(|token| bearer(&token))
            .transpose()?,
    };
    Ok(Opening {
        accept: derive_accept_key(key.as_bytes()),
        selected,
        authorization,
    })
}

impl Opening {
    /// The headers of the answer with status 101.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.selected {
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(MCP),
            );
        }
    }
}

/// `?token=`: for clients that can set no header. An address is written down in many places, so
/// only where nobody else reads it.
fn query_token(head: &Parts, tokens: QueryToken) -> Result<Option<Cow<'_, str>>, NotOpened> {
    let fields = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|field| field.split_once('='));
    let Some((_, token)) = { fields }.find(|(name, _)| *name == "token") else {
        return Ok(None);
    };
    let peer = head.extensions.get::<Peer>();
    let private =
        peer.is_some_and(|peer| peer.secure || peer.address.ip().to_canonical().is_loopback());
    if tokens == QueryToken::Always || tokens == QueryToken::Loopback && private {
        let bad = NotOpened(
            400,
            Code::InvalidRequest,
            "?token= is not valid percent-encoding",
        );
        return crate::worker::edge::percent::decode(token)
            .map(Some)
            .ok_or(bad);
    }
    Err(NotOpened(403, Code::QueryTokenRefused, ""))
}

fn bearer(token: &str) -> Result<HeaderValue, NotOpened> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
        NotOpened(
            400,
            Code::InvalidRequest,
            "the token has characters that no header may have",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim())
}

fn is_key(key: &str) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

    fn head(uri: &str, from: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::get(uri).extension(Peer::plain(from.parse().unwrap()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn usual<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            KEY,
        ];
        all.extend(more);
        all
    }

    #[test]
    fn a_handshake_is_completed_and_mcp_selected() {
        for (offered, selected) in [
            ("", None),
            ("mcp", Some("mcp")),
            ("mcp.version.2025-11-25, mcp", Some("mcp")),
            ("mcp.auth.x", None),
        ] {
            let more = [("sec-websocket-protocol", offered)];
            let head = head(
                "/ws",
                "127.0.0.1:9",
                &usual(if offered.is_empty() { &[] } else { &more }),
            );
            let mut headers = HeaderMap::new();
            check(&head, QueryToken::Loopback)
                .unwrap()
                .answer(&mut headers);
            assert_eq!(
                headers["sec-websocket-accept"],
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            );
            assert_eq!(
                headers
                    .get("sec-websocket-protocol")
                    .map(|value| value.to_str().unwrap()),
                selected,
                "{offered}"
            );
        }
    }

    #[test]
    fn what_is_no_handshake_is_told_why() {
        let without = |name: &str| {
            usual(&[])
                .into_iter()
                .filter(|(key, _)| *key != name)
                .collect::<Vec<_>>()
        };
        for (headers, status) in [
            (without("upgrade"), 426),
            (without("connection"), 426),
            (without("sec-websocket-version"), 426),
            (without("sec-websocket-key"), 400),
            (usual(&[KEY]), 400),
            (usual(&[("sec-websocket-protocol", "chat")]), 400),
        ] {
            assert_eq!(
                check(&head("/ws", "127.0.0.1:9", &headers), QueryToken::Loopback)
                    .unwrap_err()
                    .0,
                status,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_token_is_taken_from_where_nobody_else_reads_it() {
        let of = |uri: &str, from: &str, tokens, more: &[(&str, &str)]| {
            let opened = check(&head(uri, from, &usual(more)), tokens);
            opened.map(|opened| {
                opened
                    .authorization
                    .map(|value| value.to_str().unwrap().to_owned())
            })
        };
        let bearer = |token: &str| Ok(Some(format!("Bearer {token}")));
        let refused = Err(NotOpened(403, Code::QueryTokenRefused, ""));
        let (near, far) = ("127.0.0.1:9", "192.0.2.1:9");
        assert_eq!(
            of("/ws?a=b&token=x%2Fy", near, QueryToken::Loopback, &[]),
            bearer("x/y")
        );
        assert_eq!(of("/ws?token=x", far, QueryToken::Loopback, &[]), refused);
        assert_eq!(of("/ws?token=x", near, QueryToken::Never, &[]), refused);
        assert_eq!(of("/ws?token=x", far, QueryToken::Always, &[]), bearer("x"));
        assert_eq!(
            of(
                "/ws",
                far,
                QueryToken::Loopback,
                &[("sec-websocket-protocol", "mcp, mcp.auth.z")]
            ),
            bearer("z")
        );
        assert_eq!(
            of(
                "/ws?token=x",
                far,
                QueryToken::Loopback,
                &[("authorization", "Bearer own")]
            ),
            bearer("own")
        );
        assert_eq!(of("/ws", far, QueryToken::Loopback, &[]), Ok(None));
    }
}
