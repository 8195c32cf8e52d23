//! What the parts of a quic worker share, and what a new configuration replaces.

use super::{admission::Bounds, counts::Counts, exchange::SEND_BUFFER, tls::Keys};
use crate::{
    config::{self, Config},
    worker::http::{Http, Rules},
};
use s2n_quic::provider::limits;
use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Streams of the client's that carry no request: control and QPACK. Some clients open one or two
/// that mean nothing.
const OTHER_STREAMS: u64 = 8;

/// Limits of a connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionLimits {
    /// Names that clients may ask for in their handshake, beside none and those of the
    /// certificates.
    names: Vec<String>,
    idle: Duration,
    streams: u64,
}

/// The parts of the worker.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) http: Http,
    pub(super) counts: Arc<Counts>,
    pub(super) keys: Keys,
    pub(super) bounds: Arc<Bounds>,
    connection_limits: RwLock<ConnectionLimits>,
}

impl Shared {
    /// Of a configuration, for a listener at that address.
    pub(super) fn new(http: Http, counts: Counts, keys: Keys, config: &Config) -> Self {
        let config = &config.transports;
        let shared = Self {
            http,
            counts: Arc::new(counts),
            keys,
            bounds: Arc::default(),
            connection_limits: RwLock::new(connection_limits(config)),
        };
        shared.bounds.connections.store(limit(config), Relaxed);
        shared
    }

    /// Puts another configuration in force: for requests at once, for connections from the next one
    /// on.
    pub(super) fn reconfigure(&self, config: &Config, addresses: &[SocketAddr]) {
        self.http.set_rules(rules(config, addresses));
        let config = &config.transports;
        self.bounds.connections.store(limit(config), Relaxed);
        *self
            .connection_limits
            .write()
            .unwrap_or_else(PoisonError::into_inner) = connection_limits(config);
    }

    /// Whether a client that asked for this name in its handshake has come to the right place.
    pub(super) fn serves(&self, name: Option<&str>) -> bool {
        let known = |name: &str| {
            let connection_limits = self
                .connection_limits
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            connection_limits
                .names
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        name.is_none_or(|name| known(name) || self.keys.serves(name))
    }
}

/// The rules of requests: those of `transports.http`, and the server's own name is one of ours.
pub(super) fn rules(config: &Config, addresses: &[SocketAddr]) -> Rules {
    let is_local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    let loopback = addresses.iter().all(is_local);
    let mut config = config.clone();
    let (hosts, name) = (
        &mut config.transports.http.allowed_hosts,
        config.transports.quic.server_name.clone(),
    );
    if !hosts.is_empty() {
        hosts.push(name);
    } else if loopback {
        *hosts = ["localhost", "127.0.0.1", "::1", &name]
            .map(str::to_owned)
            .to_vec();
    }
    Rules::new(&config, loopback)
}

fn connection_limits(config: &config::Transports) -> ConnectionLimits {
    let mut names = config.http.allowed_hosts.clone();
    names.push(config.quic.server_name.clone());
    ConnectionLimits {
        names,
        idle: Duration::from_millis(config.quic.idle_timeout_ms),
        streams: config.quic.max_concurrent_streams.into(),
    }
}

fn limit(config: &config::Transports) -> usize {
    usize::try_from(config.http.max_connections).unwrap_or(usize::MAX)
}

/// Asked by the transport for each connection.
#[derive(Debug)]
pub(super) struct Limits(pub(super) Arc<Shared>);

impl limits::Limiter for Limits {
    fn on_connection(&mut self, _: &limits::ConnectionInfo<'_>) -> limits::Limits {
        let connection_limits = self
            .0
            .connection_limits
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let limits = limits::Limits::new()
            .with_max_idle_timeout(connection_limits.idle)
            // While requests are in flight (`serve`): a client that waits for an event is not gone.
            .and_then(|limits| limits.with_max_keep_alive_period(connection_limits.idle / 3))
            .and_then(|limits| {
                limits.with_max_open_remote_bidirectional_streams(connection_limits.streams)
            })
            .and_then(|limits| limits.with_max_open_local_bidirectional_streams(0))
            .and_then(|limits| limits.with_max_open_remote_unidirectional_streams(OTHER_STREAMS))
            .and_then(|limits| limits.with_bidirectional_remote_data_window(1 << 20))
            .and_then(|limits| limits.with_max_send_buffer_size(SEND_BUFFER));
        limits.unwrap_or_default()
    }
}
