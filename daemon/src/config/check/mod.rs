//! What types cannot say: ranges, and what must hold between values. One function for the daemon,
//! the reload and `ggend check`.

mod auth;
mod limits;
mod tracing;

use super::{
    model::{Config, Quic, Required},
    problem::{Place, Problem, Severity},
};
use ggen_wire::Code;
use std::net::IpAddr;

/// Time-outs below this, in milliseconds, are probably meant in seconds.
pub(crate) const LOW_TIMEOUT: u64 = 1000;

/// Judges a configuration whose types are right. `place` tells where the value of a leaf came from,
/// `keys_made` whether there is a key store, so that somebody might be known.
#[must_use]
pub fn check(config: &Config, place: &dyn Fn(&str) -> Place, keys_made: bool) -> Vec<Problem> {
    let mut judge = Judge {
        place,
        problems: Vec::new(),
    };
    judge.version(&config.version);
    let server = &config.server;
    judge.range("server.workers", u64::from(server.workers), 1, 64, "2");
    judge.range(
        "server.connection_pool",
        u64::from(server.connection_pool),
        1,
        1000,
        "10",
    );
    judge.range(
        "server.start_concurrency",
        u64::from(server.start_concurrency),
        1,
        64,
        "4",
    );
    judge.range(
        "server.buffer_size",
        server.buffer_size.0,
        1 << 10,
        16 << 20,
        "8KB",
    );
    judge.time("server.drain_timeout_ms", server.drain_timeout_ms, "30000");
    let http = &config.transports.http;
    judge.time("transports.http.timeout_ms", http.timeout_ms, "10000");
    judge.time(
        "transports.http.request_timeout_ms",
        http.request_timeout_ms,
        "60000",
    );
    judge.range(
        "transports.http.stream_limit_ms",
        http.stream_limit_ms,
        0,
        super::servers::MAX_TIME,
        "25000",
    );
    judge.range(
        "transports.http.max_body",
        http.max_body.0,
        1 << 10,
        1 << 30,
        "4MB",
    );
    judge.range(
        "transports.http.max_connections",
        u64::from(http.max_connections),
        1,
        1_000_000,
        "4096",
    );
    judge.range(
        "transports.http.max_connections_per_address",
        u64::from(http.max_connections_per_address),
        0,
        1_000_000,
        "256",
    );
    judge.range(
        "transports.http.max_headers",
        u64::from(http.max_headers),
        10,
        1000,
        "100",
    );
    judge.range(
        "transports.http.max_header_size",
        http.max_header_size.0,
        8 << 10,
        1 << 20,
        "64KB",
    );
    judge.range(
        "transports.http.max_uri",
        http.max_uri.0,
        64,
        64 << 10,
        "8KB",
    );
    judge.time(
        "transports.http.idle_timeout_ms",
        http.idle_timeout_ms,
        "300000",
    );
    judge.limits(config);
    for origin in &http.allowed_origins {
        if !is_origin(origin) {
            judge.value(
                "transports.http.allowed_origins",
                format!("expected `https://host[:port]`, found {origin:?}"),
            );
        }
    }
    for host in &http.allowed_hosts {
        if host.is_empty() || host.contains(['/', ' ', '*', '@']) {
            judge.value(
                "transports.http.allowed_hosts",
                format!("expected a host name, found {host:?}"),
            );
        }
    }
    judge.quic(&config.transports.quic);
    let file = &config.logging.file;
    judge.range(
        "logging.file.max_size",
        file.max_size.0,
        64 << 10,
        1 << 40,
        "100MB",
    );
    if file.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        judge.value("logging.file.path", "expected an absolute path".to_owned());
    }
    judge.range("logging.file.keep", u64::from(file.keep), 0, 1000, "7");
    judge.websocket(config);
    judge.tracing(&config.tracing.otlp, cfg!(feature = "otlp"));
    judge.auth(config);
    judge.openness(config, keys_made);
    judge.tls(config);
    judge.listeners(config, keys_made);
    judge.problems
}

struct Judge<'a> {
    place: &'a dyn Fn(&str) -> Place,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    fn add(&mut self, severity: Severity, code: Code, path: &str, what: String) {
        self.problems
            .push(Problem::new(severity, code, (self.place)(path), path, what));
    }

    fn value(&mut self, path: &str, what: String) {
        self.add(Severity::Error, Code::ConfigValue, path, what);
    }

    fn help(&mut self, command: String) {
        if let Some(last) = self.problems.last_mut() {
            last.help.push(command);
        }
    }

    /// The command that mends the last problem, where its value came from.
    fn mend(&mut self, path: &str, example: &str) {
        let source = (self.place)(path).source;
        self.help(if source.starts_with(super::layers::PREFIX) {
            format!("unset {source}")
        } else if source.starts_with("--") {
            format!("ggend …   (without {source})")
        } else {
            format!("ggen mcp config set {path}={example}")
        });
    }

    fn range(&mut self, path: &str, value: u64, least: u64, most: u64, example: &str) {
        if !(least..=most).contains(&value) {
            self.value(path, format!("must be from {least} to {most}, is {value}"));
            self.mend(path, example);
        }
    }

    fn time(&mut self, path: &str, value: u64, example: &str) {
        self.range(path, value, 1, super::servers::MAX_TIME, example);
        if (1..LOW_TIMEOUT).contains(&value) {
            self.add(
                Severity::Warning,
                Code::ConfigValue,
                path,
                format!("is very low: {value} ms (milliseconds, not seconds)"),
            );
            self.mend(path, example);
        }
    }

    fn version(&mut self, version: &str) {
        let major = version.split('.').next().unwrap_or_default();
        if major != "1" {
            self.value(
                "version",
                format!("this version of ggend reads file format 1.0, found {version:?}"),
            );
            self.mend("version", "1.0");
        }
    }

    fn websocket(&mut self, config: &Config) {
        let websocket = &config.transports.websocket;
        judge_path(self, &websocket.path);
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
            self.mend("transports.websocket.compression", "false");
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
            self.mend("transports.websocket.port", "3002");
        }
    }

    fn quic(&mut self, quic: &Quic) {
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
            self.mend("transports.quic.server_name", "localhost");
        }
        if quic.enable_zero_rtt {
            let what = "0-RTT cannot be served: the QUIC library has none, and a replayed first packet would run a tool twice";
            self.value("transports.quic.enable_zero_rtt", what.to_owned());
            self.mend("transports.quic.enable_zero_rtt", "false");
        }
    }

    fn tls(&mut self, config: &Config) {
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
            self.mend("transports.http.ssl.enabled", "true");
        }
    }

    fn listeners(&mut self, config: &Config, keys_made: bool) {
        let (http, metrics) = (&config.transports.http, &config.metrics);
        if metrics.enabled && !is_loopback(metrics.host) {
            let what = match config.auth.required {
                Required::No => Some("whoever reaches the port reads the metrics"),
                _ if config.auth.names_credentials() || keys_made => None,
                _ => Some("nobody could show who they are to read the metrics"),
            };
            if let Some(what) = what {
                let joint = if config.auth.required == Required::No {
                    ":"
                } else {
                    ", and"
                };
                let what = format!(
                    "{} is reachable from other hosts{joint} {what}",
                    metrics.host
                );
                self.add(
                    Severity::Warning,
                    Code::OpenWithoutAuth,
                    "metrics.host",
                    what,
                );
                self.mend("metrics.host", "127.0.0.1");
            }
        }
        let overlap = http.host == metrics.host
            || http.host.is_unspecified()
            || metrics.host.is_unspecified();
        if http.enabled && metrics.enabled && http.port != 0 && http.port == metrics.port && overlap
        {
            self.value(
                "metrics.port",
                format!("{} is also transports.http.port", metrics.port),
            );
            self.mend(
                "metrics.port",
                if http.port == 9464 { "9465" } else { "9464" },
            );
        }
        let ssl = &http.ssl;
        if http.enabled && ssl.enabled && ssl.port != 0 {
            if ssl.port == http.port {
                self.value(
                    "transports.http.ssl.port",
                    format!("{} is also transports.http.port", ssl.port),
                );
                self.mend(
                    "transports.http.ssl.port",
                    if http.port == 3443 { "3444" } else { "3443" },
                );
            } else if metrics.enabled && ssl.port == metrics.port && overlap {
                self.value(
                    "transports.http.ssl.port",
                    format!("{} is also metrics.port", ssl.port),
                );
                self.mend("transports.http.ssl.port", "3443");
            }
        }
    }
}

fn judge_path(judge: &mut Judge<'_>, path: &str) {
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
        judge.value(
            "transports.websocket.path",
            format!("expected a path such as \"/ws\", {why}: {path:?}"),
        );
        judge.mend("transports.websocket.path", "/ws");
    }
}

/// `::ffff:127.0.0.1` is loopback too.
fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
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
