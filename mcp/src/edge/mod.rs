//! What an edge worker passes to the gateway worker and gets back: one HTTP exchange, or one
//! message of a WebSocket, stripped of its transport. The edge has already checked Host, Origin,
//! authentication, Content-Type, Accept and the size of the body.

pub mod frame;

use bytes::Bytes;
use std::sync::Arc;

/// What an exchange is: an HTTP method, or something on a channel without headers, where the rules
/// of the stdio binding hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A message from the client.
    Post,
    /// A legacy client's stream for what the server sends by itself.
    Get,
    /// The end of a legacy session.
    Delete,
    /// A message from the client on a socket. The only header is the `mcp-session-id` of the
    /// socket's legacy session, which the edge keeps.
    Message,
    /// A socket's stream for what the server sends by itself in its legacy session. Its end is the
    /// session's end.
    Attach,
}

impl Verb {
    /// Whether it came on a channel without headers.
    #[must_use]
    pub const fn is_socket(self) -> bool {
        matches!(self, Self::Message | Self::Attach)
    }
}

/// Who is calling, as the edge found out. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Stable over requests and over the daemon's life: `anonymous`, `key:<id>`,
    /// `jwt:<issuer>|<subject>`, `cert:<name>`. What one principal began (a session, a waiting
    /// call), no other may use.
    pub id: Arc<str>,
    /// What else is known of it and rules may name: `client:<id>`, `scope:<scope>`,
    /// `claim:<name>=<value>`, `cert:<name>`, …; at most 255.
    pub labels: Arc<[Box<str>]>,
}

impl Principal {
    /// A principal of whom nothing but its id is known.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            labels: Arc::default(),
        }
    }

    /// Whether these are all who show no credential: not one client, but perhaps every one.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        &*self.id == "anonymous"
    }
}

impl From<&str> for Principal {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

/// One exchange as the edge read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is.
    pub verb: Verb,
    /// Whether the client takes `application/json`.
    pub accept_json: bool,
    /// Whether the client takes `text/event-stream`.
    pub accept_sse: bool,
    /// Empty for the view of all servers (`/mcp`), else the server's name (`/mcp/<server>`).
    pub view: Box<str>,
    /// Who is calling.
    pub principal: Principal,
    /// The headers that the relay needs (see [`is_relayed`]), names in lower case, values as they
    /// came, repeated ones repeated.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    /// The body as it came.
    pub body: Bytes,
}

/// Whether the edge passes a header on: `mcp-*`, `last-event-id` and the W3C trace context. `name`
/// is in lower case.
#[must_use]
pub fn is_relayed(name: &str) -> bool {
    name.starts_with("mcp-")
        || matches!(
            name,
            "last-event-id" | "traceparent" | "tracestate" | "baggage"
        )
}

impl Request {
    /// The value of a header that came exactly once and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| &**key == name);
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        std::str::from_utf8(&value.1)
            .ok()
            .map(|text| text.trim_matches([' ', '\t']))
    }

    /// How often a header came.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.headers
            .iter()
            .filter(|(key, _)| &**key == name)
            .count()
    }
}

/// What the gateway worker answers on an exchange: either one `Full`, or `Start`, any number of
/// `Event`, and `End`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The whole answer.
    Full {
        /// HTTP status.
        status: u16,
        /// For the `Mcp-Session-Id` header.
        session: Option<Box<str>>,
        /// For the `Retry-After` header, in seconds.
        retry_after: Option<u32>,
        /// `application/json`; empty means no body.
        body: Bytes,
    },
    /// An event stream begins (status 200, `text/event-stream`).
    Start {
        /// For the `Mcp-Session-Id` header.
        session: Option<Box<str>>,
    },
    /// One event of the stream.
    Event {
        /// The `id:` field.
        id: Option<Box<str>>,
        /// The `retry:` field, in milliseconds.
        retry_ms: Option<u32>,
        /// The `data:` field, one JSON-RPC message without line breaks; empty for a priming event.
        data: Bytes,
    },
    /// The stream ends.
    End,
}
