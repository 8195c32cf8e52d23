//! From the relay's spans to those of OTLP: names and attributes as the semantic conventions for
//! MCP want them
//! (<https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md>),
//! with what they leave to the implementation: `mcp.session.id` is a digest, because the id itself
//! lets one in, and the status tells our own words only, never a server's. Pure.

use super::messages::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Link, Resource,
    ResourceSpans, ScopeSpans, SpanKind, Status, Value,
};
use ggen_mcp::api::{CallOutcome, Micros};
use ggen_mcp::trace::span::{Failure, Side, Span};

/// `Status.StatusCode.STATUS_CODE_ERROR`
const ERROR: i32 = 2;
/// Sampled; and that it is known whether the parent is elsewhere, and that it is.
const SAMPLED: u32 = 0x001;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// What is shown of a session's digest, in characters.
const DIGEST: usize = 32;

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A stdio server.
    Pipe,
    /// A remote one: host and port.
    Http(String, u16),
}

/// Where a span was.
pub(super) enum SpanPeer<'a> {
    /// The transport that the client came by.
    Client(&'a str),
    /// The upstream's name, and how it is reached.
    Upstream(&'a str, Option<&'a Peer>),
}

/// A span. `offset`: what its times lack to microseconds since 1970.
pub(super) fn span(span: &Span, offset: Micros, peer: &SpanPeer<'_>) -> super::messages::Span {
    let nanos = |at: Micros| at.saturating_add(offset).saturating_mul(1000);
    let server = matches!(span.side, Side::Client(_));
    let remote = if server && span.parent.is_some() {
        IS_REMOTE
    } else {
        0
    };
    super::messages::Span {
        trace_id: span.trace.0.to_be_bytes().to_vec(),
        span_id: span.id.0.to_be_bytes().to_vec(),
        trace_state: span.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |parent| parent.0.to_be_bytes().to_vec()),
        flags: SAMPLED | HAS_IS_REMOTE | remote,
        name: span.target.as_ref().map_or_else(
            || span.method.to_owned(),
            |target| format!("{} {target}", span.method),
        ),
        kind: if server {
            SpanKind::Server
        } else {
            SpanKind::Client
        }
        .into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes(span, peer),
        links: span
            .link
            .iter()
            .map(|(trace, span)| Link {
                trace_id: trace.0.to_be_bytes().to_vec(),
                span_id: span.0.to_be_bytes().to_vec(),
            })
            .collect(),
        status: span.failure.map(|failure| Status {
            message: failure
                .code
                .map(|code| code.title().to_owned())
                .unwrap_or_default(),
            code: ERROR,
        }),
    }
}

fn attributes(span: &Span, peer: &SpanPeer<'_>) -> Vec<KeyValue> {
    let mut all = vec![text("mcp.method.name", span.method)];
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            all.push(text(key, value));
        }
    };
    let named = if span.method == "prompts/get" {
        "gen_ai.prompt.name"
    } else {
        "gen_ai.tool.name"
    };
    add(named, span.target.as_deref().unwrap_or_default());
    if span.method == "tools/call" {
        add("gen_ai.operation.name", "execute_tool");
    }
    // A text as itself, not as JSON writes it.
    let id =
        serde_json::from_str::<String>(&span.request).unwrap_or_else(|_| span.request.to_string());
    add("jsonrpc.request.id", &id);
    add("mcp.protocol.version", span.version);
    let session = span.session.as_deref().unwrap_or_default();
    add("mcp.session.id", session.get(..DIGEST).unwrap_or(session));
    let (transport, protocol, version) = network(peer);
    add("network.transport", transport);
    add("network.protocol.name", protocol);
    add("network.protocol.version", version);
    if let Some(failure) = &span.failure {
        add("error.type", &kind(failure));
        add(
            "rpc.response.status_code",
            &failure.rpc.map(|code| code.to_string()).unwrap_or_default(),
        );
        add(
            "ggend.code",
            failure.code.map_or("", ggen_wire::Code::as_str),
        );
    }
    if let SpanPeer::Upstream(name, peer) = peer {
        add("ggend.upstream", name);
        if let Some(Peer::Http(host, port)) = peer {
            add("server.address", host);
            all.push(KeyValue {
                key: "server.port".to_owned(),
                value: Some(AnyValue {
                    value: Some(Value::IntValue((*port).into())),
                }),
            });
        }
    }
    all
}

/// Transport, protocol and its version, as the conventions name them.
fn network(peer: &SpanPeer<'_>) -> (&'static str, &'static str, &'static str) {
    match peer {
        SpanPeer::Client("http") => ("tcp", "http", ""),
        SpanPeer::Client("quic") => ("quic", "http", "3"),
        SpanPeer::Client("websocket") => ("tcp", "websocket", ""),
        SpanPeer::Client(_) => ("unix", "", ""),
        SpanPeer::Upstream(_, Some(Peer::Http(..))) => ("tcp", "http", ""),
        SpanPeer::Upstream(_, Some(Peer::Pipe)) => ("pipe", "", ""),
        SpanPeer::Upstream(_, None) => ("", "", ""),
    }
}

/// `error.type`: the code that was answered, or what happened instead of an answer.
fn kind(failure: &Failure) -> String {
    match (failure.rpc, failure.outcome, failure.code) {
        (Some(code), ..) => code.to_string(),
        (None, CallOutcome::Error, Some(code)) => code.to_string(),
        (None, outcome, _) => outcome.as_str().to_owned(),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
    }
}

/// An export of these spans.
pub(super) fn request(
    spans: Vec<super::messages::Span>,
    service: &str,
) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            text("service.name", service),
            text("service.version", ggen_wire::VERSION),
        ],
    };
    let scope = InstrumentationScope {
        name: "ggend".to_owned(),
        version: ggen_wire::VERSION.to_owned(),
    };
    let scope_spans = vec![ScopeSpans {
        scope: Some(scope),
        spans,
    }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
        }],
    }
}
