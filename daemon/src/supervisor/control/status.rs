//! Parts of the daemon's status: what `ggen`, `/health` and the built-in tools show. Reads, and
//! never changes anything.

use crate::{
    config::{Config, Loaded, Size, TRANSPORTS, is_on},
    supervisor::{listeners::Listeners, reload::operator_stops::role_of, workers::Workers},
};
use ggen_wire::{
    Code,
    status::{Issue, Limit, Phase, Transport},
};
use nix::sys::resource::{Resource, getrlimit};
use std::time::Duration;

/// Each transport that is configured.
pub(crate) fn transports(
    loaded: &Loaded,
    listeners: &Listeners,
    workers: &Workers,
    now: Duration,
) -> Vec<Transport> {
    let row = |name: &str| {
        let role = role_of(name)?;
        let stopped = loaded.stopped.contains(name);
        if !stopped && !is_on(&loaded.config, name) {
            return None;
        }
        let service = workers.service(role, now);
        let (phase, detail) = match (stopped, listeners.why_not(name), service.ready) {
            (true, ..) => (Phase::Stopped, Some("stopped on request".to_owned())),
            (_, Some(why), _) => (Phase::Degraded, Some(why)),
            (_, None, 0) if !service.unwell => (Phase::Starting, None),
            (_, None, _) if service.unwell => (
                Phase::Degraded,
                Some("workers die again and again".to_owned()),
            ),
            _ => (Phase::Running, None),
        };
        let rows = listeners.status();
        let listener = rows.into_iter().find(|row| row.transport == name);
        Some(Transport {
            name: name.to_owned(),
            phase,
            address: listener
                .filter(|_| !stopped)
                .map(|listener| listener.address),
            workers: if stopped { 0 } else { service.ready },
            detail,
        })
    };
    TRANSPORTS.into_iter().filter_map(row).collect()
}

/// QUIC has its port and no certificate to serve it with.
pub(crate) fn no_certificate() -> Issue {
    Issue {
        code: Code::CertificateUnusable,
        message: "QUIC is not served: there is no certificate to serve it with".to_owned(),
        help: "ggen mcp config set transports.http.ssl.cert=FILE transports.http.ssl.key=FILE"
            .to_owned(),
    }
}

/// What bounds clients and calls, in the order of the configuration's page.
pub(crate) fn limits(config: &Config) -> Vec<Limit> {
    let (server, http, websocket) = (
        &config.server,
        &config.transports.http,
        &config.transports.websocket,
    );
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or_else(|_| "unknown".to_owned(), |(soft, _)| soft.to_string());
    let bytes = |size: Size| format!("{} bytes", size.0);
    let all = [
        ("server.workers", server.workers.to_string()),
        ("server.connection_pool", server.connection_pool.to_string()),
        ("server.buffer_size", bytes(server.buffer_size)),
        (
            "server.drain_timeout_ms",
            server.drain_timeout_ms.to_string(),
        ),
        (
            "server.start_concurrency",
            server.starts_at_once().to_string(),
        ),
        ("server.memory", bytes(server.memory)),
        ("transports.http.timeout_ms", http.timeout_ms.to_string()),
        (
            "transports.http.request_timeout_ms",
            http.request_timeout_ms.to_string(),
        ),
        ("transports.http.compression", http.compression.to_string()),
        ("transports.http.max_body", bytes(http.max_body)),
        (
            "transports.http.max_connections",
            format!("{} per worker", http.max_connections),
        ),
        (
            "transports.websocket.message_timeout_ms",
            websocket.message_timeout_ms.to_string(),
        ),
        (
            "transports.websocket.max_message",
            bytes(websocket.max_message),
        ),
        (
            "transports.websocket.max_connections",
            format!("{} per worker", websocket.max_connections),
        ),
        ("rlimit.nofile", files),
    ];
    all.map(|(name, value)| Limit {
        name: name.to_owned(),
        value,
    })
    .to_vec()
}
