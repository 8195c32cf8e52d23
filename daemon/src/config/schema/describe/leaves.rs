//! Leaves of the configuration file for its JSON Schema: server, auth and limits. Data only.

use super::{ALGORITHMS, DAY, Kind, Leaf};

/// The file itself and `server`.
pub(super) const SERVER: &[Leaf] = &[
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
        "Connections kept open to a remote server; processes of a stdio server, or sessions of a remote one, beside the shared one, at most.",
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
        "How many stdio servers may be in their start-up at once; none: as many as there are processors, 2 to 16.",
    ),
    (
        "server.memory",
        Kind::Size(16 << 20, 64 << 30),
        "What an edge worker may hold for its clients, beside 32 kB for each connection; the gateway worker may hold four times as much, and 64 MB for each stdio server.",
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
        "server.upstream_user",
        Kind::Text,
        "The user that stdio servers run as, where sandbox.user says nothing else; none: the daemon's own.",
    ),
];

/// `auth`.
pub(super) const AUTH: &[Leaf] = &[
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
];

/// `policy`, `rate_limit` and `tools`.
pub(super) const LIMITS: &[Leaf] = &[
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
        "Legacy sessions in all; for one more, the principal's session ends that is idle for the longest time.",
    ),
    (
        "rate_limit.max_sessions_per_principal",
        Kind::Number(0, 1_000_000),
        "Legacy sessions of one principal; for one more, the oldest idle one ends. 0: half of max_sessions for a principal with credentials.",
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
];
