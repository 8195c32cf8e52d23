//! What kind of message a client sent: the era ladder. Body first, headers second (MCP 2026-07-28,
//! Versioning, "dual-era server").

use crate::edge::Request;
use crate::protocol::json;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::method::{Legacy, LogLevel, MODERN, Method, SUPPORTED};
use crate::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;

/// The reserved `_meta` keys of modern requests.
pub mod key {
    /// The revision.
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// The client's name and version.
    pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    /// The client's capabilities.
    pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// The log level asked for.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// The server's name and version, in results.
    pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
    /// The id of a subscription.
    pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// What is never passed to a legacy upstream.
    pub const RESERVED: [&str; 4] = [VERSION, CLIENT, CAPABILITIES, LOG_LEVEL];
}

/// How a message is to be treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEra<'a> {
    /// A stateless request (or a notification) of 2026-07-28.
    Modern(Claim<'a>),
    /// `initialize`.
    Handshake,
    /// A message of the session of that id.
    Session(&'a str),
    /// A legacy message that names no session, and that needs none.
    Sessionless(Legacy),
}

/// What a modern request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim<'a> {
    /// `clientCapabilities` as it stands.
    pub capabilities: Option<&'a str>,
    /// The log level asked for.
    pub log_level: Option<LogLevel>,
    /// `progressToken` as it stands.
    pub progress: Option<&'a str>,
}

/// Classifies a message, and checks what a modern one must carry except for its headers
/// ([`crate::protocol::header::check`]).
///
/// # Errors
/// The refusal that the client gets.
pub fn classify<'a>(
    request: &'a Request,
    envelope: &Envelope<'a>,
) -> Result<RequestEra<'a>, Refusal> {
    classify_by(request, envelope, meta_of(envelope))
}

/// `params._meta` as it stands.
#[must_use]
pub fn meta_of<'a>(envelope: &Envelope<'a>) -> Option<&'a str> {
    envelope
        .params
        .and_then(|params| json::pick(params, ["_meta"]))
        .and_then(|[meta]| meta)
}

/// Checks the revision that a modern message names. A mismatch with the header comes before the
/// question whether the revision is known.
fn check_version(request: &Request, envelope: &Envelope<'_>, version: &str) -> Result<(), Refusal> {
    let header = request.header("mcp-protocol-version");
    if matches!(envelope.kind, Kind::Request(..))
        && header != Some(version)
        && !request.verb.is_socket()
    {
        let detail = match header {
            Some(header) => {
                format!("MCP-Protocol-Version is {header}, the body says {version}")
            }
            None => "MCP-Protocol-Version is missing".to_owned(),
        };
        return Err(Refusal::new(
            400,
            rpc::HEADER_MISMATCH,
            Code::HeaderMismatch,
            &detail,
        ));
    }
    if version == MODERN {
        Ok(())
    } else {
        Err(unsupported(version))
    }
}

/// What a modern message says of itself.
fn claim<'a>(
    envelope: &Envelope<'_>,
    capabilities: Option<&'a str>,
    log_level: Option<&str>,
    progress: Option<&'a str>,
) -> Result<Claim<'a>, Refusal> {
    if matches!(envelope.kind, Kind::Request(..))
        && !capabilities.is_some_and(|raw| raw.starts_with('{'))
    {
        return Err(missing_meta(key::CAPABILITIES));
    }
    let level = log_level.map(|raw| json::string(raw).and_then(|name| LogLevel::parse(&name)));
    if level == Some(None) {
        return Err(Refusal::new(
            200,
            rpc::INVALID_PARAMS,
            Code::InvalidRequest,
            "unknown log level",
        ));
    }
    check_progress_token(progress)?;
    Ok(Claim {
        capabilities,
        log_level: level.flatten(),
        progress,
    })
}

/// [`classify`] for who has the message's `_meta` already.
///
/// # Errors
/// As [`classify`].
pub fn classify_by<'a>(
    request: &'a Request,
    envelope: &Envelope<'a>,
    meta: Option<&'a str>,
) -> Result<RequestEra<'a>, Refusal> {
    let found = meta.and_then(|meta| {
        json::pick(
            meta,
            [
                key::VERSION,
                key::CAPABILITIES,
                key::LOG_LEVEL,
                "progressToken",
            ],
        )
    });
    let [version, capabilities, log_level, progress] = found.unwrap_or_default();
    let version = version.and_then(json::string);
    let method = match &envelope.kind {
        Kind::Request(_, method) | Kind::Notification(method) => Some(&**method),
        Kind::Result(..) | Kind::Error(..) => None,
    };
    let header = request.header("mcp-protocol-version");
    if let Some(version) = version {
        check_version(request, envelope, &version)?;
        let claim = claim(envelope, capabilities, log_level, progress)?;
        return Ok(RequestEra::Modern(claim));
    }
    if method == Some("initialize") {
        return Ok(RequestEra::Handshake);
    }
    if header == Some(MODERN) {
        return match envelope.kind {
            Kind::Notification(_) => Ok(RequestEra::Modern(Claim::default())),
            Kind::Request(..) => Err(missing_meta(key::VERSION)),
            _ => Err(Refusal::new(
                400,
                rpc::INVALID_REQUEST,
                Code::InvalidRequest,
                "a modern client sends no responses",
            )),
        };
    }
    match request.header("mcp-session-id") {
        Some(session) => Ok(RequestEra::Session(session)),
        None if header.is_some_and(|version| !SUPPORTED.contains(&version)) => {
            Err(unsupported_header(header.unwrap_or_default()))
        }
        None if needs_no_session(request, envelope) => {
            Ok(RequestEra::Sessionless(revision_of(header)))
        }
        None => Err(Refusal::new(
            400,
            rpc::INVALID_REQUEST,
            Code::SessionMissing,
            &format!("send initialize first, or use revision {MODERN} with its _meta"),
        )),
    }
}

/// The revision of a legacy message that names no session: without the header 2025-03-26
/// (2025-06-18, transports, "Protocol Version Header").
fn revision_of(header: Option<&str>) -> Legacy {
    header
        .and_then(Legacy::parse)
        .unwrap_or(Legacy::L2025_03_26)
}

/// Whether a legacy message makes sense without its session: some hosts never name it. On a socket,
/// the session is the socket's.
fn needs_no_session(request: &Request, envelope: &Envelope<'_>) -> bool {
    let makes_sense = match &envelope.kind {
        Kind::Request(_, name) => Method::parse(name).needs_no_session(),
        Kind::Notification(_) => true,
        Kind::Result(..) | Kind::Error(..) => false,
    };
    makes_sense && !request.verb.is_socket()
}

/// Whether a message says of itself that it is modern, as each one must on a channel without
/// headers.
#[must_use]
pub fn is_claimed(envelope: &Envelope<'_>) -> bool {
    meta_of(envelope)
        .and_then(|meta| json::pick(meta, [key::VERSION]))
        .is_some_and(|[version]| version.is_some())
}

/// The refusal of a revision. Only the modern one is named as supported: the legacy ones need a
/// handshake, not another claim.
#[must_use]
pub fn unsupported(requested: &str) -> Refusal {
    unsupported_of(requested, &json::quote(MODERN))
}

fn unsupported_of(requested: &str, supported: &str) -> Refusal {
    Refusal::new(
        400,
        rpc::UNSUPPORTED_VERSION,
        Code::VersionUnsupported,
        requested,
    )
    .with("supported", &format!("[{supported}]"))
    .with("requested", &json::quote(requested))
}

/// The refusal of a revision that a header names without a claim in the body: it may mean any.
#[must_use]
pub fn unsupported_header(requested: &str) -> Refusal {
    unsupported_of(requested, &SUPPORTED.map(json::quote).join(","))
}

/// Checks the type of a progress token as it stands: a string or an integer (schema,
/// "ProgressToken").
///
/// # Errors
/// -32602 for anything else.
pub fn check_progress_token(token: Option<&str>) -> Result<(), Refusal> {
    let is_right = |raw: &str| {
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        raw.starts_with('"') || digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if token.is_none_or(is_right) {
        return Ok(());
    }
    Err(Refusal::new(
        200,
        rpc::INVALID_PARAMS,
        Code::InvalidRequest,
        "_meta.progressToken is neither a string nor an integer",
    ))
}

fn missing_meta(key: &str) -> Refusal {
    Refusal::new(
        400,
        rpc::INVALID_PARAMS,
        Code::InvalidRequest,
        &format!("params._meta lacks {key}"),
    )
}
