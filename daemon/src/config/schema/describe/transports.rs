//! Leaves of the configuration file for its JSON Schema: transports. Data only.

use super::{DAY, Kind, Leaf};

/// `transports`.
pub(super) const TRANSPORTS: &[Leaf] = &[
    (
        "transports.http.enabled",
        Kind::Flag,
        "Whether HTTP/1.1 and HTTP/2 are served.",
    ),
    (
        "transports.http.host",
        Kind::Host,
        "Address to bind; localhost is both loopback addresses. Other than loopback needs authentication.",
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
        "transports.quic.enabled",
        Kind::Flag,
        "Whether HTTP/3 is served.",
    ),
    (
        "transports.quic.host",
        Kind::Host,
        "Address to bind; localhost is both loopback addresses. Other than loopback needs authentication.",
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
        "transports.http.send_timeout_ms",
        Kind::Number(1, DAY),
        "A connection whose client takes nothing of what waits for it for so long is closed, over HTTP/1.1, HTTP/2 and HTTP/3, in milliseconds.",
    ),
];
