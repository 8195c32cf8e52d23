//! The check of what types cannot say: ranges, and rules between values. The daemon, the reload and
//! `ggend check` call the same function. May not: read files, change values.

mod auth;
mod limits;
mod tracing;
mod transports;

use super::{
    model::{Config, LogFile, Server},
    problem::{Location, Problem, Severity},
};
use ggen_wire::Code;
use std::net::IpAddr;

/// Time-outs below this, in milliseconds, are probably meant in seconds.
pub(crate) const LOW_TIMEOUT: u64 = 1000;

/// Judges a configuration whose types are right. `place` tells where the value of a leaf came from,
/// `keys_made` whether there is a key store, so that somebody might be known.
#[must_use]
pub fn check(config: &Config, place: &dyn Fn(&str) -> Location, keys_made: bool) -> Vec<Problem> {
    let mut checker = Checker {
        place,
        problems: Vec::new(),
    };
    checker.version(&config.version);
    checker.server(&config.server);
    checker.http(&config.transports.http);
    checker.limits(config);
    checker.names(&config.transports.http);
    checker.quic(&config.transports.quic);
    checker.log_file(&config.logging.file);
    checker.websocket(config);
    checker.tracing(&config.tracing.otlp, cfg!(feature = "otlp"));
    checker.auth(config);
    checker.openness(config, keys_made);
    checker.tls(config);
    checker.listeners(config, keys_made);
    checker.problems
}

struct Checker<'a> {
    place: &'a dyn Fn(&str) -> Location,
    problems: Vec<Problem>,
}

impl Checker<'_> {
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

    /// Adds the command that fixes the last problem where its value came from.
    fn help_to_set(&mut self, path: &str, example: &str) {
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
            self.help_to_set(path, example);
        }
    }

    /// The ranges of keys below `section`: key, value, least, most, example.
    fn ranges(&mut self, section: &str, ranges: &[(&str, u64, u64, u64, &str)]) {
        for (key, value, least, most, example) in ranges {
            self.range(&format!("{section}.{key}"), *value, *least, *most, example);
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
            self.help_to_set(path, example);
        }
    }

    fn version(&mut self, version: &str) {
        let major = version.split('.').next().unwrap_or_default();
        if major != "1" {
            self.value(
                "version",
                format!("this version of ggend reads file format 1.0, found {version:?}"),
            );
            self.help_to_set("version", "1.0");
        }
    }

    fn server(&mut self, server: &Server) {
        let ranges = [
            ("workers", u64::from(server.workers), 1, 64, "2"),
            (
                "connection_pool",
                server.connection_pool.into(),
                1,
                1000,
                "10",
            ),
            (
                "start_concurrency",
                server.start_concurrency.map_or(1, u64::from),
                1,
                64,
                "4",
            ),
            (
                "buffer_size",
                server.buffer_size.0,
                1 << 10,
                16 << 20,
                "8KB",
            ),
            ("memory", server.memory.0, 16 << 20, 64 << 30, "64MB"),
        ];
        self.ranges("server", &ranges);
        self.time("server.drain_timeout_ms", server.drain_timeout_ms, "30000");
    }

    fn log_file(&mut self, file: &LogFile) {
        self.range(
            "logging.file.max_size",
            file.max_size.0,
            64 << 10,
            1 << 40,
            "100MB",
        );
        if file.path.as_ref().is_some_and(|path| !path.is_absolute()) {
            self.value("logging.file.path", "expected an absolute path".to_owned());
        }
        self.range("logging.file.keep", file.keep.into(), 0, 1000, "7");
    }
}

/// `::ffff:127.0.0.1` is loopback too.
fn is_loopback(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}
