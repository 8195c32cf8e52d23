//! CORS for the origins that the guard admits
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>). Pure.

use ggen_mcp::edge::is_relayed;
use http::{HeaderMap, HeaderValue, header, request::Parts};

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Mcp-Session-Id, Retry-After, WWW-Authenticate");
const TWO_HOURS: HeaderValue = HeaderValue::from_static("7200");

/// Lets pages of `origin` read the answer.
pub(super) fn expose(origin: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// The headers of an answer to OPTIONS.
pub(super) fn preflight(head: &Parts, headers: &mut HeaderMap) {
    headers.insert(header::ALLOW, ALLOWED);
    if !head.headers.contains_key(header::ORIGIN) {
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, TWO_HOURS);
    let wanted = head
        .headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|names| names.to_str().ok())
        .unwrap_or_default();
    let names: Vec<String> = wanted
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| may_send(name))
        .collect();
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
}

fn may_send(name: &str) -> bool {
    is_relayed(name)
        || matches!(
            name,
            "accept" | "authorization" | "content-type" | "x-api-key"
        )
}
