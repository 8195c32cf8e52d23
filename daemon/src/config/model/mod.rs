//! The configuration's structure; doc comments are the reference. Durations are milliseconds, sizes
//! are bytes unless a unit is written (`"4MB"`).

mod auth;
mod host;
mod limits;
mod logging;
mod quic;
mod sandbox;
mod server;
mod tls;
mod tracing;
mod websocket;

pub use auth::{Auth, Jwt, OAuth2, Required};
pub use host::Host;
pub use limits::*;
pub use logging::{LogFile, LogFormat, Rotation};
pub use quic::Quic;
pub use sandbox::{FamilyLimits, ServerLimits, ServerNetwork, ServerSandbox};
pub use server::{SandboxMode, Server};
pub use tls::{Mtls, Ssl, TlsVersion};
pub use tracing::{Otlp, Tracing};
pub use websocket::{QueryToken, Websocket};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `.mcp.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Version of the file format.
    pub version: String,
    /// Free text.
    pub description: Option<String>,
    /// Free JSON, ignored.
    pub metadata: Option<serde_json::Value>,
    /// The daemon itself.
    pub server: Server,
    /// The transports that clients use.
    pub transports: Transports,
    /// Who may ask.
    pub auth: Auth,
    /// What is logged, and how.
    pub logging: Logging,
    /// The admin listener.
    pub metrics: Metrics,
    /// Where spans go.
    pub tracing: Tracing,
    /// Who may see and call what.
    pub policy: Policy,
    /// How much one principal may ask for.
    pub rate_limit: RateLimit,
    /// How much may be asked of single tools.
    pub tools: Tools,
    /// The upstream servers, by name.
    #[serde(rename = "mcpServers", alias = "mcp_servers")]
    pub mcp_servers: BTreeMap<String, Upstream>,
    /// Names of `mcp_servers` in the order of the file (filled by the loader; not a key of the
    /// file).
    #[serde(rename = "__order", skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
}

/// `transports`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transports {
    /// HTTP/1.1 and HTTP/2.
    pub http: Http,
    /// MCP over WebSocket.
    pub websocket: Websocket,
    /// HTTP/3.
    pub quic: Quic,
}

/// `transports.http`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Whether it is served.
    pub enabled: bool,
    /// Address to bind.
    pub host: Host,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// Time for a connection to send its request header, in milliseconds.
    pub timeout_ms: u64,
    /// Time for a request as a whole until its answer begins, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long an event stream may last that brings the answer of a legacy client's call, in
    /// milliseconds; then the client comes back for the rest. 0: till its end.
    pub stream_limit_ms: u64,
    /// gzip for responses that are worth it; never for event streams.
    pub compression: bool,
    /// Largest request body.
    pub max_body: Size,
    /// Origins that browsers may come from, as `https://host[:port]`. Loopback origins are allowed
    /// when bound to loopback.
    pub allowed_origins: Vec<String>,
    /// Names in `Host` that are answered. Empty: loopback names when bound to loopback, every name
    /// otherwise.
    pub allowed_hosts: Vec<String>,
    /// Open connections per worker, at most.
    pub max_connections: u32,
    /// Open connections per worker from one address, at most; 0: as many as there may be.
    pub max_connections_per_address: u32,
    /// Fields in a request's header, at most.
    pub max_headers: u32,
    /// Largest header of a request.
    pub max_header_size: Size,
    /// Longest path with its query, in bytes.
    pub max_uri: Size,
    /// A connection without a request for so long is closed, in milliseconds.
    pub idle_timeout_ms: u64,
    /// A connection whose client takes nothing of what waits for it for so long is closed, in
    /// milliseconds.
    pub send_timeout_ms: u64,
    /// HTTPS.
    pub ssl: Ssl,
}

/// `logging`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
    /// `auto`, `console`, `json` or `journald`.
    pub format: LogFormat,
    /// A file beside that.
    pub file: LogFile,
    /// Levels of single categories: `mcp_server`, `transport`, `auth`, `tools`, `protocol`.
    pub modules: BTreeMap<String, LogLevel>,
    /// A line for each call: who, what, outcome, duration, bytes.
    pub audit: bool,
    /// The arguments of calls in those lines, too.
    pub audit_arguments: bool,
}

/// A log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// `metrics`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether the admin listener is served.
    pub enabled: bool,
    /// Address to bind.
    pub host: Host,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
}

/// An entry of `mcpServers`. Keys that other MCP clients own are kept out of it and only warned of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// How it is reached.
    #[serde(flatten)]
    pub transport: UpstreamTransport,
    /// Whether it is served.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Time for one call, in milliseconds.
    #[serde(default = "Upstream::default_timeout", alias = "timeout_ms")]
    pub timeout: u64,
    /// Time from its start until it has answered the handshake, in milliseconds. A server that
    /// downloads or compiles at its first start needs more than a call does.
    #[serde(
        default = "Upstream::default_startup_timeout",
        skip_serializing_if = "Upstream::is_default_startup_timeout"
    )]
    pub startup_timeout: u64,
    /// Restarts before it is given up; none: for ever, with backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
    /// Which protocol era it speaks.
    #[serde(default)]
    pub era: EraChoice,
    /// The revision that it is offered, and no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// Which calls may meet in one child, or in one session.
    #[serde(default)]
    pub isolation: IsolationChoice,
    /// It remembers something from call to call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stateful: bool,
    /// Set by the loader when the entry would call the gateway itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_self: bool,
}

impl Upstream {
    pub(crate) const fn default_timeout() -> u64 {
        60_000
    }

    pub(crate) const fn default_startup_timeout() -> u64 {
        120_000
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    const fn is_default_startup_timeout(timeout: &u64) -> bool {
        *timeout == Self::default_startup_timeout()
    }
}

const fn yes() -> bool {
    true
}

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum UpstreamTransport {
    /// A command whose stdin and stdout speak MCP.
    Stdio {
        /// The program, looked up in PATH.
        command: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// Its environment, on top of a small clean one.
        #[serde(default)]
        env: BTreeMap<String, String>,
        /// Its working directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<std::path::PathBuf>,
        /// What it may do less than the daemon.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sandbox: Option<Box<ServerSandbox>>,
    },
    /// A remote server.
    Http {
        /// Its MCP endpoint; with [`RemoteKind::Sse`] that of its event stream.
        url: String,
        /// What is spoken there.
        #[serde(rename = "type", default, skip_serializing_if = "RemoteKind::is_http")]
        kind: RemoteKind,
        /// Headers sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
}

/// What a remote server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteKind {
    /// Streamable HTTP.
    #[default]
    Http,
    /// HTTP+SSE of revision 2024-11-05, which is deprecated.
    Sse,
}

impl RemoteKind {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_http(&self) -> bool {
        *self == Self::Http
    }

    /// As in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
        }
    }
}

/// `era` of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EraChoice {
    /// Probe it.
    #[default]
    Auto,
    /// `initialize` at once.
    Legacy,
    /// Never `initialize`.
    Modern,
}

/// `isolation` of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationChoice {
    /// `shared`, or for a server that has state `per-session`.
    #[default]
    Auto,
    /// Those of all who declare nothing; the others as with `per-session`.
    Shared,
    /// All, always; no client is asked for anything.
    Single,
    /// Those of one session, or without a session those of one principal that declare the same.
    PerSession,
    /// Those of one principal that declare the same.
    PerPrincipal,
    /// None.
    PerCall,
}

/// A number of bytes, written as a number or as text with KB, MB or GB (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Default for Config {
    fn default() -> Self {
        Self {
            version: "1.0".to_owned(),
            description: None,
            metadata: None,
            server: Server::default(),
            transports: Transports::default(),
            auth: Auth::default(),
            logging: Logging::default(),
            metrics: Metrics::default(),
            tracing: Tracing::default(),
            policy: Policy::default(),
            rate_limit: RateLimit::default(),
            tools: Tools::default(),
            mcp_servers: BTreeMap::new(),
            order: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            enabled: true,
            host: Host::loopback(),
            port: 3000,
            timeout_ms: 10_000,
            request_timeout_ms: 60_000,
            stream_limit_ms: 0,
            compression: false,
            max_body: Size(4 << 20),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_connections: 4096,
            max_connections_per_address: 0,
            max_headers: 100,
            max_header_size: Size(64 << 10),
            max_uri: Size(8 << 10),
            idle_timeout_ms: 300_000,
            send_timeout_ms: 30_000,
            ssl: Ssl::default(),
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Auto,
            file: LogFile::default(),
            modules: BTreeMap::new(),
            audit: false,
            audit_arguments: false,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            host: Host::loopback(),
            port: 9464,
        }
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl serde::de::Visitor<'_> for Form {
            type Value = Size;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a size such as 65536, \"64KB\" or \"4MB\"")
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl std::str::FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| BadSize)?;
        let shift = match text[digits..].trim().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            _ => return Err(BadSize),
        };
        number.checked_mul(1 << shift).map(Self).ok_or(BadSize)
    }
}

/// The text is not a size.
#[derive(Debug, thiserror::Error)]
#[error("expected a size such as 65536, \"64KB\" or \"4MB\"")]
pub struct BadSize;
