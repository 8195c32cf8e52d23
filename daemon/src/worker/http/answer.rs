//! Answers of the http worker itself: refusals as JSON-RPC errors with a stable code and the
//! command that helps, and the heads of answers from the gateway worker. An error that belongs to
//! no known request has no `id`, as in the newest schema.

use super::body::Body;
use crate::worker::edge::auth::{self, guard::Denied};
use bytes::Bytes;
use ggen_wire::Code;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// nginx: do not buffer this answer.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// JSON-RPC 2.0 §5.1.
const INVALID_REQUEST: i32 = -32600;
const INTERNAL_ERROR: i32 = -32603;

/// A request that is not passed on, or whose answer cannot be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: Code,
    /// What is wrong with this very request; empty if the code's title says it all.
    pub(super) detail: Cow<'static, str>,
    /// For the `Allow` header.
    pub(super) allow: Option<&'static str>,
    /// For the `WWW-Authenticate` header.
    pub(super) challenge: Option<HeaderValue>,
}

impl Refusal {
    pub(crate) const fn new(status: StatusCode, code: Code, detail: &'static str) -> Self {
        Self {
            status,
            code,
            detail: Cow::Borrowed(detail),
            allow: None,
            challenge: None,
        }
    }

    /// The JSON-RPC error, as a response to the request in `origin` if that has an id that can be
    /// read.
    pub(super) fn body(&self, origin: &[u8]) -> Bytes {
        let title = self.code.title();
        let error = ErrorObject {
            code: if self.status.is_server_error() {
                INTERNAL_ERROR
            } else {
                INVALID_REQUEST
            },
            message: if self.detail.is_empty() {
                title.into()
            } else {
                format!("{title}: {}", self.detail).into()
            },
            data: Data {
                code: self.code,
                help: help(self.code),
            },
        };
        serde_json::to_vec(&ErrorResponse {
            jsonrpc: "2.0",
            id: id_of(origin),
            error,
        })
        .unwrap_or_default()
        .into()
    }

    /// The answer, without regard to what the client is still sending.
    pub(crate) fn response(&self, origin: &[u8]) -> Response<Body> {
        self.with(Body::full(self.body(origin)))
    }

    pub(super) fn with(&self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(challenge) = &self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoHost => Self::new(
                StatusCode::BAD_REQUEST,
                Code::InvalidRequest,
                "exactly one Host header is needed",
            ),
            Denied::Host => Self::new(StatusCode::FORBIDDEN, Code::HostRefused, ""),
            Denied::Origin => Self::new(StatusCode::FORBIDDEN, Code::OriginRefused, ""),
        }
    }
}

impl From<auth::Denied> for Refusal {
    fn from(denied: auth::Denied) -> Self {
        Self {
            challenge: Some(denied.challenge),
            ..Self::new(denied.status, denied.code, "")
        }
    }
}

/// A message with nothing but the id of the request in `origin`.
pub(super) fn envelope(origin: &[u8]) -> Bytes {
    serde_json::to_vec(&Envelope { id: id_of(origin) })
        .unwrap_or_default()
        .into()
}

fn id_of(origin: &[u8]) -> Option<&RawValue> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(origin).ok()?;
    envelope.id.filter(|id| *id.get() != *"null")
}

/// What a connection over the limit is told.
pub(crate) fn too_many_connections() -> Bytes {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Code::Overloaded,
        "too many connections",
    )
    .body(b"")
}

/// Of `/health`, no more than whether all is well.
pub(super) fn brief(body: &[u8]) -> Bytes {
    let status = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|health| health.get("status").cloned());
    serde_json::json!({ "status": status }).to_string().into()
}

/// `/health` while there is no gateway worker to ask.
pub(super) fn unhealthy() -> Response<Body> {
    let body = serde_json::json!({
        "status": "unavailable",
        "version": ggen_wire::VERSION,
        "code": Code::GatewayUnavailable,
        "message": Code::GatewayUnavailable.title(),
        "help": help(Code::GatewayUnavailable),
    });
    let mut response = Response::new(Body::full(body.to_string().into()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The command that fixes it, or says more.
fn help(code: Code) -> Cow<'static, str> {
    let text = match code {
        Code::CertificateVerifyFailed => {
            "show another certificate, or none; ggen mcp auth generate-cert --client NAME makes one"
        }
        Code::HostRefused => {
            "add the name to transports.http.allowed_hosts, or use http://localhost"
        }
        Code::OriginRefused => "add the origin to transports.http.allowed_origins",
        Code::BodyTooLarge => "send less, or raise transports.http.max_body",
        Code::WrongContentType => "send the header Content-Type: application/json",
        Code::NotAcceptable => "send the header Accept: application/json, text/event-stream",
        Code::MethodNotAllowed | Code::PathUnknown => "POST to /mcp or /mcp/<server>",
        Code::RequestTimeout => {
            "ggen mcp server status shows slow calls; transports.http.request_timeout_ms is the limit"
        }
        Code::GatewayLost | Code::GatewayUnavailable | Code::Internal => {
            "ggen mcp server wait, then send the request again; ggen mcp server logs says why"
        }
        Code::InvalidApiKey => {
            "ggen mcp auth list-api-keys shows which keys are good, ggen mcp auth generate-api-key makes one"
        }
        Code::TokenExpired => {
            "fetch a new token from its issuer; ggen mcp auth generate-token makes one"
        }
        Code::InvalidSignature => {
            "ggen mcp auth generate-token makes a token with the secret in force; ggen mcp auth verify-token says which check fails"
        }
        Code::AuthenticationFailed => {
            "send the header Authorization: Bearer <key or token>; ggen mcp auth generate-api-key makes a key"
        }
        Code::InsufficientScope => "fetch a token with the scopes that WWW-Authenticate names",
        Code::Overloaded => "send the request again later; ggen mcp server status shows the load",
        _ => return format!("ggen mcp explain {code}").into(),
    };
    text.into()
}

#[derive(serde::Deserialize, Serialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    error: ErrorObject,
}

#[derive(Serialize)]
struct ErrorObject {
    code: i32,
    message: Cow<'static, str>,
    data: Data,
}

#[derive(Serialize)]
struct Data {
    code: Code,
    help: Cow<'static, str>,
}

/// The answer that is an event stream.
pub(super) fn event_stream(body: Body, session: Option<&str>) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    set_session(&mut response, session);
    response
}

/// A whole answer.
pub(super) fn full(
    status: u16,
    session: Option<&str>,
    retry_after: Option<u32>,
    body: Bytes,
) -> Response<Body> {
    let typed = !body.is_empty();
    let mut response = Response::new(Body::full(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if typed {
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    if status == 405 {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    set_session(&mut response, session);
    response
}

fn set_session(response: &mut Response<Body>, session: Option<&str>) {
    if let Some(Ok(session)) = session.map(HeaderValue::from_str) {
        response.headers_mut().insert(SESSION, session);
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Refusal, StatusCode};

    #[test]
    fn the_id_of_the_request_is_repeated_as_it_was_written_or_left_out() {
        let refusal = Refusal::new(StatusCode::BAD_GATEWAY, Code::GatewayLost, "");
        let text = |origin: &str| {
            String::from_utf8(refusal.body(origin.as_bytes()).to_vec()).expect("text")
        };
        assert!(
            text(r#"{"jsonrpc":"2.0","id":"a\u0062","method":"x"}"#)
                .contains(r#""id":"a\u0062","error":{"code":-32603,"#)
        );
        for origin in ["", "[]", "{\"id\":null}", "{\"method\":\"x\"}", "{\"id\":1"] {
            assert!(!text(origin).contains("\"id\""), "{origin}");
        }
        assert!(text("").contains("\"data\":{\"code\":\"GGEN-E1204\",\"help\":\""));
    }
}
