//! The JSON Schema (draft 2020-12) of the file, for editors. Keys and defaults are those of
//! `Config`; the table adds what its types do not tell: meaning and range. A test holds both tables
//! to the model, the ranges to what `ranges.rs` refuses.

use crate::config::schema;
use serde_json::{Map, Value, json};

/// What a leaf takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// true or false
    Flag,
    /// true, false or one word.
    FlagOr(&'static str),
    /// A whole number, from and to.
    Number(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// Bytes from and to, or text with a unit.
    Size(u64, u64),
    /// An address to bind.
    Host,
    /// `false`, and no other value.
    Off,
    /// A list of texts.
    Texts,
    /// A text or a list of texts.
    OneOrMany,
    /// A list of policy rules.
    Rules,
    /// One of these.
    Choice(&'static [&'static str]),
}

const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const DAY: u64 = crate::config::servers::MAX_TIME;

/// Every leaf, as [`schema::leaves`] has them.
pub(crate) const LEAVES: &[(&str, Kind, &str)] = &[
    ("version", Kind::Text, "Version of the file format."),
    ("description", Kind::Text, "Free text."),
    (
        "server.workers",
        Kind::Number(1, 64),
        "Worker processes per edge transport.",
    ),
    (
        "server.connection_pool",
        Kind::Number(1, 1000),
        "Connections kept open to a remote server; children of a stdio server beside the shared one, at most.",
    ),
    (
        "server.buffer_size",
        Kind::Size(1 << 10, 16 << 20),
        "Size of a read buffer.",
    ),
    (
        "server.drain_timeout_ms",
        Kind::Number(1, DAY),
        "How long a worker may finish what is in flight, in milliseconds.",
    ),
    (
        "server.start_concurrency",
        Kind::Number(1, 64),
        "How many stdio servers may be in their start-up at once.",
    ),
    (
        "server.sandbox",
        Kind::Choice(&["auto", "required", "off"]),
        "Whether workers give up what they do not need.",
    ),
    (
        "server.user",
        Kind::Text,
        "The user that workers become when the daemon is started as root; none: ggen if there is one, otherwise nobody.",
    ),
    (
        "server.group",
        Kind::Text,
        "Their group; none: that user's own.",
    ),
    (
        "transports.http.enabled",
        Kind::Flag,
        "Whether HTTP/1.1 and HTTP/2 are served.",
    ),
    (
        "transports.http.host",
        Kind::Host,
        "Address to bind. Other than loopback needs authentication.",
    ),
    (
        "transports.http.port",
        Kind::Number(0, 65535),
        "Port to bind; 0 lets the system choose.",
    ),
    (
        "transports.http.timeout_ms",
        Kind::Number(1, DAY),
        "Time for a connection to send its request header, in milliseconds.",
    ),
    (
        "transports.http.request_timeout_ms",
        Kind::Number(1, DAY),
        "Time for a request until its answer begins, in milliseconds.",
    ),
    (
        "transports.http.stream_limit_ms",
        Kind::Number(0, DAY),
        "How long an event stream may last that brings the answer of a legacy client's call (from 2025-11-25 on), in milliseconds; then the client comes back for the rest. 0: till its end.",
    ),
    (
        "transports.http.compression",
        Kind::Flag,
        "gzip for answers that are worth it; never for event streams.",
    ),
    (
        "transports.http.max_body",
        Kind::Size(1 << 10, 1 << 30),
        "Largest request body.",
    ),
    (
        "transports.http.allowed_origins",
        Kind::Texts,
        "Origins that browsers may come from, as https://host[:port].",
    ),
    (
        "transports.http.allowed_hosts",
        Kind::Texts,
        "Names in Host that are answered.",
    ),
    (
        "transports.http.max_connections",
        Kind::Number(1, 1_000_000),
        "Open connections per worker, at most.",
    ),
    (
        "transports.websocket.enabled",
        Kind::Flag,
        "Whether WebSockets are served.",
    ),
    (
        "transports.websocket.path",
        Kind::Text,
        "Where WebSockets begin on the HTTP port, and on the port of their own.",
    ),
    (
        "transports.websocket.port",
        Kind::Number(0, 65535),
        "A listener of their own, on transports.http.host; 0 lets the system choose.",
    ),
    (
        "transports.websocket.message_timeout_ms",
        Kind::Number(1, DAY),
        "Time without a sign of life after which a client is closed, in milliseconds.",
    ),
    (
        "transports.websocket.max_message",
        Kind::Size(1 << 10, 64 << 20),
        "Largest message from a client.",
    ),
    (
        "transports.websocket.compression",
        Kind::Flag,
        "permessage-deflate; true is refused, there is none.",
    ),
    (
        "transports.websocket.max_connections",
        Kind::Number(1, 1_000_000),
        "Open connections per worker, at most.",
    ),
    (
        "transports.websocket.query_token",
        Kind::Choice(&["loopback", "always", "never"]),
        "Where ?token= stands for the header Authorization.",
    ),
    (
        "transports.http.ssl.enabled",
        Kind::Flag,
        "Whether HTTPS is served beside HTTP, on the same address.",
    ),
    (
        "transports.http.ssl.port",
        Kind::Number(0, 65535),
        "Port to bind; 0 lets the system choose.",
    ),
    (
        "transports.http.ssl.cert",
        Kind::OneOrMany,
        "Files with certificates and those that lead to their authorities, PEM; none: a self-signed one.",
    ),
    (
        "transports.http.ssl.key",
        Kind::OneOrMany,
        "Files with their private keys, PEM, in the same order.",
    ),
    (
        "transports.http.ssl.min_version",
        Kind::Choice(&["1.2", "1.3"]),
        "The oldest version of TLS that is spoken.",
    ),
    (
        "auth.mtls.enabled",
        Kind::Flag,
        "Whether clients of HTTPS are asked for a certificate.",
    ),
    (
        "auth.mtls.required",
        Kind::Flag,
        "Whether they must have one.",
    ),
    (
        "auth.mtls.ca_cert",
        Kind::Text,
        "File with the authorities whose client certificates are taken, PEM.",
    ),
    (
        "auth.mtls.crl",
        Kind::Text,
        "File with certificate revocation lists of these authorities, PEM.",
    ),
    (
        "auth.mtls.allowed_names",
        Kind::Texts,
        "Names of certificates that are taken; none: every certificate of these authorities.",
    ),
    (
        "transports.quic.enabled",
        Kind::Flag,
        "Whether HTTP/3 is served.",
    ),
    (
        "transports.quic.host",
        Kind::Host,
        "Address to bind. Other than loopback needs authentication.",
    ),
    (
        "transports.quic.port",
        Kind::Number(0, 65535),
        "UDP port to bind; 0 lets the system choose, as it does where transports.http.port is 0 and this is not set.",
    ),
    (
        "transports.quic.server_name",
        Kind::Text,
        "The name that clients ask for in their handshake; who asks for another one is answered 421.",
    ),
    (
        "transports.quic.idle_timeout_ms",
        Kind::Number(1, DAY),
        "A connection without traffic and requests is closed after so long, in milliseconds.",
    ),
    (
        "transports.quic.max_concurrent_streams",
        Kind::Number(1, 1000),
        "Requests that a connection may have open at once.",
    ),
    (
        "transports.quic.enable_zero_rtt",
        Kind::Off,
        "0-RTT cannot be served: true is refused.",
    ),
    (
        "auth.required",
        Kind::FlagOr("auto"),
        "Whether every request needs a credential; auto: unless bound to loopback.",
    ),
    (
        "auth.api_key",
        Kind::Text,
        "One key for everything, beside those of the key store. Also GGEN_MCP_API_KEY.",
    ),
    (
        "auth.api_key_file",
        Kind::Text,
        "A file that holds that key; an absolute path.",
    ),
    (
        "auth.jwt.secret",
        Kind::Text,
        "The secret of HS256, HS384 and HS512: at least 32 bytes.",
    ),
    (
        "auth.jwt.secret_file",
        Kind::Text,
        "A file that holds that secret; an absolute path.",
    ),
    (
        "auth.jwt.public_key",
        Kind::Text,
        "A file with the public key (PEM) of RS, PS, ES or EdDSA; an absolute path.",
    ),
    (
        "auth.jwt.jwks_url",
        Kind::Text,
        "Where the issuer publishes its keys: https, or http on loopback.",
    ),
    ("auth.jwt.issuer", Kind::Text, "What iss has to be."),
    ("auth.jwt.audience", Kind::Text, "What aud has to contain."),
    (
        "auth.jwt.expiration",
        Kind::Number(1, 315_360_000),
        "Life of tokens that generate-token makes, in seconds.",
    ),
    (
        "auth.jwt.algorithm",
        Kind::Choice(ALGORITHMS),
        "The only algorithm that is taken; otherwise every one that fits the key.",
    ),
    (
        "auth.jwt.leeway",
        Kind::Number(0, 600),
        "How far clocks may differ, in seconds.",
    ),
    (
        "auth.oauth2.issuer",
        Kind::Text,
        "The authorization server; its metadata names its keys.",
    ),
    (
        "auth.oauth2.audience",
        Kind::Text,
        "What aud has to contain: the address of this gateway as clients know it.",
    ),
    (
        "auth.oauth2.scopes",
        Kind::Texts,
        "What a token needs in scope to be heard at all.",
    ),
    (
        "transports.http.max_connections_per_address",
        Kind::Number(0, 1_000_000),
        "Open connections per worker from one address; 0: no bound of its own.",
    ),
    (
        "transports.http.max_headers",
        Kind::Number(10, 1000),
        "Fields in a request's header, at most.",
    ),
    (
        "transports.http.max_header_size",
        Kind::Size(8 << 10, 1 << 20),
        "Largest header of a request.",
    ),
    (
        "transports.http.max_uri",
        Kind::Size(64, 64 << 10),
        "Longest path with its query.",
    ),
    (
        "transports.http.idle_timeout_ms",
        Kind::Number(1, DAY),
        "A connection without a request for so long is closed, in milliseconds.",
    ),
    (
        "logging.audit",
        Kind::Flag,
        "A line for each call: who, what, outcome, duration, bytes.",
    ),
    (
        "logging.audit_arguments",
        Kind::Flag,
        "The arguments of calls in those lines, too.",
    ),
    (
        "policy.rules",
        Kind::Rules,
        "Who may see and call what; see docs/policy.md.",
    ),
    (
        "rate_limit.requests_per_second",
        Kind::Number(0, 1_000_000),
        "Requests of one principal in the long run; 0: no bound.",
    ),
    (
        "rate_limit.burst",
        Kind::Number(0, 1_000_000),
        "Requests of one principal at once; 0: as many as per second.",
    ),
    (
        "rate_limit.max_in_flight",
        Kind::Number(0, 1_000_000),
        "Requests of one principal without an answer; 0: no bound.",
    ),
    (
        "rate_limit.max_in_flight_per_upstream",
        Kind::Number(1, 1_000_000),
        "Calls in flight to one upstream.",
    ),
    (
        "rate_limit.max_sessions",
        Kind::Number(1, 1_000_000),
        "Legacy sessions in all.",
    ),
    (
        "rate_limit.max_sessions_per_principal",
        Kind::Number(0, 1_000_000),
        "Legacy sessions of one principal; 0: no bound.",
    ),
    (
        "tools.defaults.timeout_ms",
        Kind::Number(0, DAY),
        "Time for a call, in milliseconds; 0: that of its server.",
    ),
    (
        "tools.defaults.max_retries",
        Kind::Number(0, 10),
        "How often a call is sent once more when its server was lost; only for tools with readOnlyHint or idempotentHint.",
    ),
    (
        "tools.defaults.max_concurrent",
        Kind::Number(0, 1_000_000),
        "Calls of one tool in flight; 0: no bound.",
    ),
    (
        "tools.defaults.requests_per_second",
        Kind::Number(0, 1_000_000),
        "Calls of one tool by all principals in the long run; 0: no bound.",
    ),
    (
        "tools.defaults.burst",
        Kind::Number(0, 1_000_000),
        "Calls of one tool at once; 0: as many as per second.",
    ),
    ("logging.level", Kind::Choice(LEVELS), "What is logged."),
    (
        "logging.format",
        Kind::Choice(&["auto", "console", "json", "journald"]),
        "Where lines go and how they look.",
    ),
    (
        "logging.file.path",
        Kind::Text,
        "A file that the lines are written to as well.",
    ),
    (
        "logging.file.rotation",
        Kind::Choice(&["never", "hourly", "daily"]),
        "When a new file is begun, whatever its size.",
    ),
    (
        "logging.file.max_size",
        Kind::Size(64 << 10, 1 << 40),
        "A new file is begun before this is exceeded.",
    ),
    (
        "logging.file.keep",
        Kind::Number(0, 1000),
        "Earlier files that are kept.",
    ),
    (
        "logging.modules.mcp_server",
        Kind::Choice(LEVELS),
        "The level of one category: the daemon's own life.",
    ),
    (
        "logging.modules.transport",
        Kind::Choice(LEVELS),
        "The level of one category: connections and listeners.",
    ),
    (
        "logging.modules.auth",
        Kind::Choice(LEVELS),
        "The level of one category: who is let in.",
    ),
    (
        "logging.modules.tools",
        Kind::Choice(LEVELS),
        "The level of one category: tool calls.",
    ),
    (
        "logging.modules.protocol",
        Kind::Choice(LEVELS),
        "The level of one category: MCP messages.",
    ),
    (
        "metrics.enabled",
        Kind::Flag,
        "Whether the admin listener (/livez, /readyz, /health, /metrics) is served.",
    ),
    ("metrics.host", Kind::Host, "Address to bind."),
    (
        "metrics.port",
        Kind::Number(0, 65535),
        "Port to bind; 0 lets the system choose.",
    ),
    (
        "tracing.otlp.enabled",
        Kind::Flag,
        "Whether requests and calls become spans, and are sent to a collector (OTLP/HTTP).",
    ),
    (
        "tracing.otlp.endpoint",
        Kind::Text,
        "The collector's address, http or https; spans go to /v1/traces below it.",
    ),
    (
        "tracing.otlp.headers",
        Kind::Text,
        "Headers of each export, name=value,… with percent-encoded values; ${VAR} and ${credential:NAME} are expanded.",
    ),
    (
        "tracing.otlp.headers_file",
        Kind::Text,
        "A file that holds these headers; an absolute path.",
    ),
    (
        "tracing.otlp.timeout_ms",
        Kind::Number(100, 60_000),
        "Time for one export, in milliseconds.",
    ),
    (
        "tracing.otlp.sample_ratio",
        Kind::Share,
        "The share of traces that begin here and are recorded; a client's trace is if the client says so.",
    ),
    ("tracing.otlp.compression", Kind::Flag, "gzip for exports."),
    (
        "tracing.otlp.service_name",
        Kind::Text,
        "service.name of the spans.",
    ),
];

/// The schema of a whole file.
#[must_use]
pub fn json_schema() -> Value {
    let mut root = object(schema::template(), "");
    let properties = &mut root["properties"];
    properties["$schema"] = json!({"type": "string"});
    properties[schema::METADATA] = json!({"description": "Any JSON; ignored."});
    let servers = json!({"description": "The upstream servers, by name.", "type": "object", "additionalProperties": {"$ref": "#/$defs/server"}});
    schema::SERVERS
        .iter()
        .for_each(|key| properties[*key] = servers.clone());
    for key in schema::FOREIGN {
        properties[key] = json!({"description": "Belongs to another MCP client; not used."});
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "ggend configuration".into();
    root["patternProperties"] = json!({"^(_|x-|//)": true});
    root["$defs"] = json!({"server": server()});
    root
}

fn object(template: &Value, path: &str) -> Value {
    let mut properties = Map::new();
    if path == schema::MODULES {
        properties.extend(
            schema::CATEGORIES
                .iter()
                .map(|key| ((*key).to_owned(), leaf(&schema::join(path, key), None))),
        );
    }
    for (key, value) in template.as_object().into_iter().flatten() {
        let here = schema::join(path, key);
        let property = if value.is_object() {
            object(value, &here)
        } else {
            leaf(&here, Some(value))
        };
        properties.insert(key.clone(), property);
    }
    let others = if path == schema::TOOLS {
        properties["defaults"].clone()
    } else {
        json!(false)
    };
    json!({"type": "object", "properties": properties, "additionalProperties": others})
}

fn rule() -> Value {
    let globs = |meaning: &str| json!({"type": "array", "items": {"type": "string"}, "description": meaning});
    json!({
        "type": "object",
        "required": ["effect", "subjects"],
        "additionalProperties": false,
        "properties": {
            "effect": {"enum": ["allow", "deny"]},
            "subjects": globs("Ids and labels of principals, such as key:*, client:ci, scope:tools."),
            "servers": globs("Names of servers; core: the built-in tools. Absent: all."),
            "tools": globs("Tools by exposed name, or as server/name."),
            "prompts": globs("Prompts by exposed name, or as server/name."),
            "resources": globs("Resources by exposed URI.")
        }
    })
}

fn leaf(path: &str, default: Option<&Value>) -> Value {
    let Some((_, kind, meaning)) = LEAVES.iter().find(|(leaf, ..)| *leaf == path) else {
        return json!({});
    };
    let mut described = match *kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Off => json!({"const": false}),
        Kind::FlagOr(word) => json!({"enum": [true, false, word]}),
        Kind::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Kind::Size(least, most) => json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "string", "pattern": "^\\s*[0-9]+\\s*([kKmMgG]?[bB]?|[kKmMgG][iI][bB])\\s*$"}
        ]}),
        Kind::Host => json!({"type": "string", "examples": ["127.0.0.1", "::1", "localhost"]}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::OneOrMany => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        Kind::Rules => json!({"type": "array", "items": rule()}),
        Kind::Choice(choices) => json!({"enum": choices}),
    };
    described["description"] = (*meaning).into();
    match (path, default) {
        // The model's `null` is its way to say that there is none.
        ("description", _) => described["type"] = json!(["string", "null"]),
        ("version", _) => described["pattern"] = "^1(\\..*)?$".into(),
        _ => {}
    }
    if let Some(default) = default.filter(|default| !default.is_null()) {
        described["default"] = default.clone();
    }
    described
}

/// An entry of `mcpServers`. Keys of other clients may stand in it; null means that a key is
/// absent.
fn server() -> Value {
    let text = |meaning: &str| json!({"type": ["string", "null"], "description": meaning});
    let texts = |meaning: &str| {
        let one = json!({"type": ["string", "number", "boolean"]});
        json!({"type": ["object", "null"], "additionalProperties": one, "description": meaning})
    };
    let flag = |meaning: &str| json!({"type": ["boolean", "null"], "description": meaning});
    let time = json!({"type": ["integer", "null"], "minimum": 1, "maximum": DAY, "default": 60_000, "description": "Time for one call, in milliseconds."});
    json!({
        "type": "object",
        "properties": {
            "command": text("The program of a stdio server, looked up in PATH."),
            "args": {"type": ["array", "null"], "items": {"type": ["string", "number", "boolean"]}, "description": "Its arguments."},
            "env": texts("Its environment, on top of a small clean one."),
            "cwd": text("Its working directory; a relative one is meant from the folder of the file."),
            "type": {"enum": ["stdio", "http", "streamable-http", "streamableHttp", "streamable_http", "sse", null], "description": "How it is reached; sse is the deprecated HTTP+SSE of 2024-11-05."},
            "url": text("The MCP endpoint of a remote server over Streamable HTTP."),
            "headers": texts("Headers sent to it with every request."),
            "enabled": flag("Whether it is served."),
            "disabled": flag("The opposite of enabled."),
            "timeout": time.clone(),
            "timeout_ms": time,
            "max_restarts": {"type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX, "description": "Restarts before it is given up; none: for ever, with backoff."},
            "era": {"enum": ["auto", "legacy", "modern", null], "default": "auto", "description": "Which protocol era it speaks."},
            "isolation": {"enum": ["shared", "single", "per-session", "per-call", null], "default": "shared", "description": "Which calls may meet in one child of a stdio server."},
            "sandbox": sandbox()
        },
        "anyOf": [{"required": ["command"]}, {"required": ["url"]}]
    })
}

fn sandbox() -> Value {
    let size = |meaning: &str| json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "description": meaning});
    let paths = |meaning: &str| json!({"type": "array", "items": {"type": "string"}, "description": meaning});
    let number = |meaning: &str| json!({"type": "integer", "minimum": 1, "description": meaning});
    json!({
        "description": "What a stdio server may do less than the daemon; refused where the kernel cannot hold it.",
        "anyOf": [{"enum": [null, false, "none"]}, {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "user": {"type": "string", "description": "The user that it runs as; for daemons that are started as root."},
                "read": paths("Files and folders that it may read, beside the system's."),
                "write": paths("Files and folders that it may read and write."),
                "network": {"enum": ["full", "none"], "default": "full", "description": "Whether it reaches the network."},
                "limits": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "memory": size("Memory of one process for its data, in bytes or as text such as 512M."),
                        "cpu_seconds": number("Processor time of one process."),
                        "open_files": number("Descriptors of one process."),
                        "processes": number("Processes and threads of its user; needs user."),
                        "file_size": size("Largest file that it may write."),
                        "family": {
                            "type": "object",
                            "additionalProperties": false,
                            "properties": {
                                "memory": size("Memory of the server and whatever it starts, together."),
                                "processes": number("Processes and threads of the server and whatever it starts."),
                                "cpu_percent": number("Processor time of all of them; 100 is one processor.")
                            }
                        }
                    }
                }
            }
        }]
    })
}
