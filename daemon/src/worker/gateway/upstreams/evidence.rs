//! What an HTTP response says that is no MCP message: its status, content type and first words, as
//! the text of an error. On one line, bounded, with nothing of the configured secrets in it.

use super::streamable_http::Failed;
use crate::worker::gateway::settings::Target;
use ggen_wire::{Code, escape};
use http::{
    HeaderMap, Response, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use std::time::{Duration, SystemTime};

/// Longest words of a body or a header, in characters.
const WORDS: usize = 160;
/// Bytes of a body that are looked at.
const LOOKED_AT: usize = 16 << 10;
/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Texts that are shorter are no secrets, and would hide too much.
const SHORTEST_SECRET: usize = 4;

/// The head of a response, as far as it tells what is wrong.
pub(super) struct Evidence {
    status: StatusCode,
    kind: Option<String>,
    location: Option<String>,
    challenge: Option<String>,
}

impl Evidence {
    /// Of that response.
    pub(super) fn of<B>(response: &Response<B>) -> Self {
        let headers = response.headers();
        Self {
            status: response.status(),
            kind: text(headers, &CONTENT_TYPE).map(|kind| {
                let essence = kind.split(';').next().unwrap_or_default();
                essence.trim().to_ascii_lowercase()
            }),
            location: text(headers, &LOCATION),
            challenge: text(headers, &WWW_AUTHENTICATE),
        }
    }

    /// The error: what was answered in the place of a message.
    pub(super) fn failed(&self, target: &Target, body: &[u8]) -> Failed {
        let code = if self.status.is_server_error() {
            Code::UpstreamUnreachable
        } else {
            Code::UpstreamRefused
        };
        let show = |text: &str| shown(&without_secrets(text, target));
        let words = self.words(body).map(|words| show(&words));
        let status = self.status.as_u16();
        let mut why = match status {
            401 | 403 | 407 => {
                let mut why = format!(
                    "HTTP {status}: the server wants other credentials; check its headers in the configuration"
                );
                if let Some(challenge) = &self.challenge {
                    why.push_str(&format!("; it says {}", show(challenge)));
                }
                why
            }
            300..=399 => match &self.location {
                Some(location) => format!(
                    "HTTP {status}: redirect to {}; no redirect is followed, give the new address as url",
                    show(&bare(location))
                ),
                None => format!("HTTP {status}: redirect to nowhere"),
            },
            429 => "HTTP 429: the server has too many requests".to_owned(),
            _ => match &self.kind {
                Some(kind) => format!("HTTP {status}, {}", show(kind)),
                None => format!("HTTP {status}, no content type"),
            },
        };
        match words {
            Some(words) => why.push_str(&format!(": {words}")),
            None if body.is_empty() => {}
            None => why.push_str(&format!(": {} bytes that are no text", body.len())),
        }
        if self.status.is_success() {
            why.push_str("; this is no MCP endpoint, check its url in the configuration");
        }
        (code, why)
    }

    /// The first words of a body; `None`: it has none.
    fn words(&self, body: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
        let text = text.trim_start_matches('\u{feff}').trim();
        let strange = text
            .chars()
            .filter(|c| matches!(c, '\0' | '\u{fffd}'))
            .count();
        if strange * 5 > text.chars().count() {
            return None;
        }
        let is_markup = self
            .kind
            .as_ref()
            .is_some_and(|kind| kind.contains("html") || kind.contains("xml"));
        let words = if is_markup || text.starts_with('<') {
            of_markup(text)
        } else {
            of_json(text).unwrap_or_else(|| text.to_owned())
        };
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        (!words.is_empty()).then_some(words)
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What a JSON body gives as its message.
fn of_json(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let member = |pointer: &str| value.pointer(pointer)?.as_str().map(str::to_owned);
    [
        "/error/message",
        "/error_description",
        "/message",
        "/detail",
        "/error",
        "/title",
        "",
    ]
    .into_iter()
    .find_map(member)
}

/// The title of a page, or its first text.
fn of_markup(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let from = at + lower[at..].find('>')? + 1;
        let to = from + lower[from..].find("</title")?;
        Some(entities(&text[from..to]))
    });
    title
        .filter(|title| !title.trim().is_empty())
        .unwrap_or_else(|| entities(&without_tags(text, &lower)))
}

/// The text between tags, without that of styles and scripts.
fn without_tags(text: &str, lower: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    while let Some(open) = text[at..].find('<').map(|offset| at + offset) {
        out.push_str(&text[at..open]);
        out.push(' ');
        let skipped = ["script", "style", "!--"]
            .into_iter()
            .find(|name| lower[open + 1..].starts_with(name));
        let end = match skipped {
            Some("!--") => "-->",
            Some("script") => "</script>",
            Some(_) => "</style>",
            None => ">",
        };
        match lower[open..].find(end) {
            Some(offset) => at = open + offset + end.len(),
            None => return out,
        }
    }
    out.push_str(&text[at..]);
    out
}

fn entities(text: &str) -> String {
    [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (entity, character)| {
        text.replace(entity, character)
    })
}

/// A text on one line, cut.
fn shown(text: &str) -> String {
    let mut cut: String = text.trim().chars().take(WORDS).collect();
    if cut.chars().count() < text.trim().chars().count() {
        cut.push('…');
    }
    escape::shown(&cut).into_owned()
}

/// An address without credentials, query and fragment, where secrets may stand.
fn bare(location: &str) -> String {
    match location.parse::<Uri>() {
        Ok(uri) => {
            let mut bare = String::new();
            if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) {
                let host = authority.as_str().rsplit('@').next().unwrap_or_default();
                bare = format!("{scheme}://{host}");
            }
            bare + uri.path()
        }
        Err(_) => location
            .split(['?', '#'])
            .next()
            .filter(|path| !path.contains('@'))
            .unwrap_or(HIDDEN)
            .to_owned(),
    }
}

/// Hides the configured headers and the query of the address: some servers repeat what they were
/// sent.
fn without_secrets(text: &str, target: &Target) -> String {
    let values = target
        .headers
        .values()
        .filter_map(|value| value.to_str().ok());
    let mut secrets: Vec<&str> = values
        .flat_map(|value| [Some(value), value.split_whitespace().next_back()])
        .flatten()
        .collect();
    let query = target.uri.query().unwrap_or_default();
    secrets.push(query);
    let parts = query.split('&').filter_map(|part| part.split_once('='));
    secrets.extend(parts.map(|(_, value)| value));
    secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
        .into_iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}

/// `Retry-After`: seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(
        date.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::worker::gateway::settings::target;

    fn said(status: u16, headers: &[(&str, &str)], body: &str) -> String {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let target = target(
            "https://host/mcp?key=querysecret",
            [("Authorization", "Bearer s3cret-token")].into_iter(),
        )
        .ok()
        .unwrap();
        let (_, why) = Evidence::of(&response.body(()).unwrap()).failed(&target, body.as_bytes());
        assert!(
            !why.contains("s3cret") && !why.contains("querysecret"),
            "{why}"
        );
        assert!(!why.contains(['\u{1b}', '\n']) && why.len() < 700, "{why}");
        why
    }

    #[test]
    fn status_type_and_first_words_are_named() {
        let html = [("content-type", "text/html; charset=utf-8")];
        let long = "x".repeat(5000);
        for (status, headers, body, expected) in [
            (
                502,
                &html[..],
                "<!doctype html><html><head><title>502 Bad\n Gateway</title><body>nginx",
                "HTTP 502, text/html: 502 Bad Gateway",
            ),
            (
                500,
                &html,
                "<html><style>a{}</style><script>x<y</script><h1>Oh&nbsp;no</h1>",
                "HTTP 500, text/html: Oh no",
            ),
            (
                503,
                &[],
                "<Error><Code>SlowDown</Code></Error>",
                "HTTP 503, no content type: SlowDown",
            ),
            (
                400,
                &[("content-type", "text/plain")],
                "bad\u{1b}[31m key s3cret-token\u{202e}",
                "HTTP 400, text/plain: bad\\u{1b}[31m key ***\\u{202e}",
            ),
            (
                404,
                &[("content-type", "application/json")],
                r#"{"detail":"Not Found"}"#,
                "HTTP 404, application/json: Not Found",
            ),
            (
                500,
                &[("content-type", "application/json")],
                r#"{"a":1}"#,
                "HTTP 500, application/json: {\"a\":1}",
            ),
            (405, &[], "", "HTTP 405, no content type"),
            (
                500,
                &[],
                "\0\0\0\0",
                "HTTP 500, no content type: 4 bytes that are no text",
            ),
            (
                200,
                &html,
                "<title>Sign in</title>",
                "HTTP 200, text/html: Sign in; this is no MCP endpoint, check its url in the configuration",
            ),
            (
                429,
                &[],
                "slow down",
                "HTTP 429: the server has too many requests: slow down",
            ),
            (
                307,
                &[("location", "https://me:pw@other/mcp/?token=querysecret#x")],
                "",
                "HTTP 307: redirect to https://other/mcp/; no redirect is followed, give the new address as url",
            ),
            (
                308,
                &[("location", "/mcp/")],
                "",
                "HTTP 308: redirect to /mcp/; no redirect is followed, give the new address as url",
            ),
        ] {
            assert_eq!(said(status, headers, body), expected);
        }
        assert!(said(500, &[], &long).ends_with("xxx…"));
        let challenge =
            r#"Bearer realm="x", error="invalid_token", error_description="Expired: s3cret-token""#;
        assert_eq!(
            said(
                401,
                &[("www-authenticate", challenge)],
                r#"{"error":"invalid_token"}"#
            ),
            "HTTP 401: the server wants other credentials; check its headers in the configuration; it says Bearer realm=\"x\", error=\"invalid_token\", error_description=\"Expired: ***\": invalid_token"
        );
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let parsed = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            parsed("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(parsed("soon"), None);
    }
}
