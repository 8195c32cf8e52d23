//! What types cannot say: ranges, and what must hold between values. One function for the daemon, the reload and `ggend check`.

mod auth;

use super::{
    model::{Config, Quic, Required},
    problem::{Place, Problem, Severity},
};
use ggen_wire::Code;
use std::net::IpAddr;

/// Time-outs below this, in milliseconds, are probably meant in seconds.
pub(super) const LOW_TIMEOUT: u64 = 1000;

/// Judges a configuration whose types are right. `place` tells where the value of a leaf came from, `keys_made` whether there is a
/// key store, so that somebody might be known.
#[must_use]
pub fn check(config: &Config, place: &dyn Fn(&str) -> Place, keys_made: bool) -> Vec<Problem> {
    let mut judge = Judge { place, problems: Vec::new() };
    judge.version(&config.version);
    let server = &config.server;
    judge.range("server.workers", u64::from(server.workers), 1, 64, "2");
    judge.range("server.connection_pool", u64::from(server.connection_pool), 1, 1000, "10");
    judge.range("server.start_concurrency", u64::from(server.start_concurrency), 1, 64, "4");
    judge.range("server.buffer_size", server.buffer_size.0, 1 << 10, 16 << 20, "8KB");
    judge.time("server.drain_timeout_ms", server.drain_timeout_ms, "30000");
    let http = &config.transports.http;
    judge.time("transports.http.timeout_ms", http.timeout_ms, "10000");
    judge.time("transports.http.request_timeout_ms", http.request_timeout_ms, "60000");
    judge.range("transports.http.max_body", http.max_body.0, 1 << 10, 1 << 30, "4MB");
    judge.range("transports.http.max_connections", u64::from(http.max_connections), 1, 1_000_000, "4096");
    for origin in &http.allowed_origins {
        if !is_origin(origin) {
            judge.value("transports.http.allowed_origins", format!("expected `https://host[:port]`, found {origin:?}"));
        }
    }
    for host in &http.allowed_hosts {
        if host.is_empty() || host.contains(['/', ' ', '*', '@']) {
            judge.value("transports.http.allowed_hosts", format!("expected a host name, found {host:?}"));
        }
    }
    judge.quic(&config.transports.quic);
    judge.auth(config);
    judge.openness(config, keys_made);
    judge.listeners(config);
    judge.problems
}

struct Judge<'a> {
    place: &'a dyn Fn(&str) -> Place,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    fn add(&mut self, severity: Severity, code: Code, path: &str, what: String) {
        self.problems.push(Problem::new(severity, code, (self.place)(path), path, what));
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
            self.add(Severity::Warning, Code::ConfigValue, path, format!("is very low: {value} ms (milliseconds, not seconds)"));
            self.mend(path, example);
        }
    }

    fn version(&mut self, version: &str) {
        let major = version.split('.').next().unwrap_or_default();
        if major != "1" {
            self.value("version", format!("this version of ggend reads file format 1.0, found {version:?}"));
            self.mend("version", "1.0");
        }
    }

    fn quic(&mut self, quic: &Quic) {
        self.time("transports.quic.idle_timeout_ms", quic.idle_timeout_ms, "30000");
        self.range("transports.quic.max_concurrent_streams", u64::from(quic.max_concurrent_streams), 1, 1000, "100");
        if quic.server_name.is_empty() || quic.server_name.contains(['/', ' ', '*', '@', ':']) {
            self.value("transports.quic.server_name", format!("expected a host name, found {:?}", quic.server_name));
            self.mend("transports.quic.server_name", "localhost");
        }
        if quic.enable_zero_rtt {
            let what = "0-RTT cannot be served: the QUIC library has none, and a replayed first packet would run a tool twice";
            self.value("transports.quic.enable_zero_rtt", what.to_owned());
            self.mend("transports.quic.enable_zero_rtt", "false");
        }
    }

    fn listeners(&mut self, config: &Config) {
        let (http, metrics) = (&config.transports.http, &config.metrics);
        if metrics.enabled && !is_loopback(metrics.host) && config.auth.required == Required::No {
            let what = format!("{} is reachable from other hosts: whoever reaches the port reads the metrics", metrics.host);
            self.add(Severity::Warning, Code::OpenWithoutAuth, "metrics.host", what);
            self.mend("metrics.host", "127.0.0.1");
        }
        let overlap = http.host == metrics.host || http.host.is_unspecified() || metrics.host.is_unspecified();
        if http.enabled && metrics.enabled && http.port != 0 && http.port == metrics.port && overlap {
            self.value("metrics.port", format!("{} is also transports.http.port", metrics.port));
            self.mend("metrics.port", if http.port == 9464 { "9465" } else { "9464" });
        }
    }
}

/// `::ffff:127.0.0.1` is loopback too.
fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}

fn is_origin(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<http::Uri>() else { return false };
    let plain =
        uri.path_and_query().is_none_or(|path| path.as_str() == "/") && !origin.ends_with('/') && !origin.contains(['*', '@', '?', '#']);
    plain
        && matches!(uri.scheme_str(), Some(scheme) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
        && uri.host().is_some()
}
