//! The check of `transports` and `metrics`: limits, names, ports that collide, certificates.

use super::Checker;
use crate::config::{
    model::{Config, Http, Quic, Required},
    problem::Severity,
    servers::MAX_TIME,
};
use ggen_wire::Code;

impl Checker<'_> {
    pub(super) fn http(&mut self, http: &Http) {
        const SECTION: &str = "transports.http";
        self.time("transports.http.timeout_ms", http.timeout_ms, "10000");
        self.time(
            "transports.http.request_timeout_ms",
            http.request_timeout_ms,
            "60000",
        );
        let connections = u64::from(http.max_connections);
        let per_address = u64::from(http.max_connections_per_address);
        let ranges = [
            (
                "stream_limit_ms",
                http.stream_limit_ms,
                0,
                MAX_TIME,
                "25000",
            ),
            ("max_body", http.max_body.0, 1 << 10, 1 << 30, "4MB"),
            ("max_connections", connections, 1, 1_000_000, "4096"),
            (
                "max_connections_per_address",
                per_address,
                0,
                1_000_000,
                "256",
            ),
            ("max_headers", http.max_headers.into(), 10, 1000, "100"),
            (
                "max_header_size",
                http.max_header_size.0,
                8 << 10,
                1 << 20,
                "64KB",
            ),
            ("max_uri", http.max_uri.0, 64, 64 << 10, "8KB"),
        ];
        self.ranges(SECTION, &ranges);
        self.time(
            "transports.http.idle_timeout_ms",
            http.idle_timeout_ms,
            "300000",
        );
        self.time(
            "transports.http.send_timeout_ms",
            http.send_timeout_ms,
            "30000",
        );
    }

    /// Origins and names of hosts that are allowed.
    pub(super) fn names(&mut self, http: &Http) {
        for origin in http
            .allowed_origins
            .iter()
            .filter(|origin| !is_origin(origin))
        {
            self.value(
                "transports.http.allowed_origins",
                format!("expected `https://host[:port]`, found {origin:?}"),
            );
        }
        for host in &http.allowed_hosts {
            if host.is_empty() || host.contains(['/', ' ', '*', '@']) {
                self.value(
                    "transports.http.allowed_hosts",
                    format!("expected a host name, found {host:?}"),
                );
            }
        }
    }

    pub(super) fn websocket(&mut self, config: &Config) {
        let websocket = &config.transports.websocket;
        check_path(self, &websocket.path);
        self.time(
            "transports.websocket.message_timeout_ms",
            websocket.message_timeout_ms,
            "30000",
        );
        self.range(
            "transports.websocket.max_message",
            websocket.max_message.0,
            1 << 10,
            64 << 20,
            "4MB",
        );
        self.range(
            "transports.websocket.max_connections",
            u64::from(websocket.max_connections),
            1,
            1_000_000,
            "4096",
        );
        if websocket.enabled && websocket.compression {
            let what =
                "WebSocket messages are not compressed: the library that ggend keeps has no permessage-deflate (RFC 7692)".to_owned();
            self.add(
                Severity::Error,
                Code::ConfigUnserved,
                "transports.websocket.compression",
                what,
            );
            self.help_to_set("transports.websocket.compression", "false");
        }
        let (http, metrics) = (&config.transports.http, &config.metrics);
        let others = [
            http.enabled.then_some(http.port),
            (http.enabled && http.ssl.enabled).then_some(http.ssl.port),
            metrics.enabled.then_some(metrics.port),
        ];
        if let Some(port) = websocket
            .port
            .filter(|port| websocket.enabled && *port != 0 && others.contains(&Some(*port)))
        {
            self.value(
                "transports.websocket.port",
                format!("{port} is the port of another listener"),
            );
            self.help_to_set("transports.websocket.port", "3002");
        }
    }

    pub(super) fn quic(&mut self, quic: &Quic) {
        self.time(
            "transports.quic.idle_timeout_ms",
            quic.idle_timeout_ms,
            "30000",
        );
        self.range(
            "transports.quic.max_concurrent_streams",
            u64::from(quic.max_concurrent_streams),
            1,
            1000,
            "100",
        );
        if quic.server_name.is_empty() || quic.server_name.contains(['/', ' ', '*', '@', ':']) {
            self.value(
                "transports.quic.server_name",
                format!("expected a host name, found {:?}", quic.server_name),
            );
            self.help_to_set("transports.quic.server_name", "localhost");
        }
        if quic.enable_zero_rtt {
            let what = "0-RTT cannot be served: the QUIC library has none, and a replayed first packet would run a tool twice";
            self.value("transports.quic.enable_zero_rtt", what.to_owned());
            self.help_to_set("transports.quic.enable_zero_rtt", "false");
        }
    }

    pub(super) fn tls(&mut self, config: &Config) {
        let (ssl, mtls) = (&config.transports.http.ssl, &config.auth.mtls);
        if ssl.cert.len() != ssl.key.len() {
            let path = if ssl.cert.len() > ssl.key.len() {
                "transports.http.ssl.key"
            } else {
                "transports.http.ssl.cert"
            };
            self.value(
                path,
                format!(
                    "each certificate needs its key: {} of cert, {} of key",
                    ssl.cert.len(),
                    ssl.key.len()
                ),
            );
        }
        if mtls.enabled && mtls.ca_cert.is_none() {
            self.value(
                "auth.mtls.enabled",
                "needs auth.mtls.ca_cert, the authorities whose client certificates are taken"
                    .to_owned(),
            );
            self.help("ggen mcp auth generate-ca".to_owned());
        }
        let served = if config.transports.http.enabled {
            ssl.enabled
        } else {
            config.transports.quic.enabled
        };
        if mtls.enabled && !served {
            self.value(
                "auth.mtls.enabled",
                "needs transports.http.ssl.enabled: certificates are shown over TLS only"
                    .to_owned(),
            );
            self.help_to_set("transports.http.ssl.enabled", "true");
        }
    }

    pub(super) fn listeners(&mut self, config: &Config, keys_made: bool) {
        let (http, metrics) = (&config.transports.http, &config.metrics);
        if metrics.enabled && !metrics.host.is_loopback() {
            self.open_metrics(config, keys_made);
        }
        let overlap = http.host.overlaps(metrics.host);
        if http.enabled && metrics.enabled && http.port != 0 && http.port == metrics.port && overlap
        {
            self.value(
                "metrics.port",
                format!("{} is also transports.http.port", metrics.port),
            );
            let free = if http.port == 9464 { "9465" } else { "9464" };
            self.help_to_set("metrics.port", free);
        }
        let ssl = &http.ssl;
        if !http.enabled || !ssl.enabled || ssl.port == 0 {
            return;
        }
        const PATH: &str = "transports.http.ssl.port";
        if ssl.port == http.port {
            self.value(PATH, format!("{} is also transports.http.port", ssl.port));
            self.help_to_set(PATH, if http.port == 3443 { "3444" } else { "3443" });
        } else if metrics.enabled && ssl.port == metrics.port && overlap {
            self.value(PATH, format!("{} is also metrics.port", ssl.port));
            self.help_to_set(PATH, "3443");
        }
    }

    /// Warns of metrics that other hosts can read without a credential.
    fn open_metrics(&mut self, config: &Config, keys_made: bool) {
        let (joint, what) = match config.auth.required {
            Required::No => (":", "whoever reaches the port reads the metrics"),
            _ if config.auth.names_credentials() || keys_made => return,
            _ => (
                ", and",
                "nobody could show who they are to read the metrics",
            ),
        };
        let host = config.metrics.host;
        let what = format!("{host} is reachable from other hosts{joint} {what}");
        self.add(
            Severity::Warning,
            Code::OpenWithoutAuth,
            "metrics.host",
            what,
        );
        self.help_to_set("metrics.host", "127.0.0.1");
    }
}

fn check_path(checker: &mut Checker<'_>, path: &str) {
    const TAKEN: [&str; 3] = ["/mcp", "/tools", "/health"];
    let plain = path.starts_with('/')
        && path.len() > 1
        && !path.ends_with('/')
        && path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"?#%".contains(&b));
    let taken = TAKEN
        .iter()
        .any(|own| path == *own || path.starts_with(&format!("{own}/")));
    if !plain || taken {
        let why = if taken {
            "which is served already"
        } else {
            "found"
        };
        checker.value(
            "transports.websocket.path",
            format!("expected a path such as \"/ws\", {why}: {path:?}"),
        );
        checker.help_to_set("transports.websocket.path", "/ws");
    }
}

fn is_origin(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<http::Uri>() else {
        return false;
    };
    let plain = uri.path_and_query().is_none_or(|path| path.as_str() == "/")
        && !origin.ends_with('/')
        && !origin.contains(['*', '@', '?', '#']);
    plain
        && matches!(uri.scheme_str(), Some(scheme) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
        && uri.host().is_some()
}
