//! The check of `tracing`: a usable address, and a program that was built with the exporter.

use super::{Checker, is_loopback};
use crate::config::{model::Otlp, problem::Severity};
use ggen_wire::Code;
use std::net::IpAddr;

/// Longest `service_name`, in bytes.
const LONGEST: usize = 255;

impl Checker<'_> {
    /// `able`: whether this program was built with what it takes.
    pub(super) fn tracing(&mut self, otlp: &Otlp, able: bool) {
        if otlp.enabled && !able {
            let what = "spans are not sent: this ggend was built without the cargo feature `otlp`"
                .to_owned();
            self.add(
                Severity::Error,
                Code::ConfigUnserved,
                "tracing.otlp.enabled",
                what,
            );
            self.help_to_set("tracing.otlp.enabled", "false");
            self.help("cargo build --release -p ggend --features otlp".to_owned());
        }
        match kind(&otlp.endpoint) {
            None => {
                let what =
                    "must be an http or https address without user, query and fragment".to_owned();
                self.value("tracing.otlp.endpoint", what);
                self.help_to_set("tracing.otlp.endpoint", "http://127.0.0.1:4318");
            }
            Some(Way::Open) if otlp.headers.is_some() || otlp.headers_file.is_some() => {
                let what = "is plain http to another host: whoever is in between reads the headers"
                    .to_owned();
                self.add(
                    Severity::Warning,
                    Code::ConfigValue,
                    "tracing.otlp.endpoint",
                    what,
                );
            }
            Some(_) => {}
        }
        self.range(
            "tracing.otlp.timeout_ms",
            otlp.timeout_ms,
            100,
            60_000,
            "10000",
        );
        if !(0.0..=1.0).contains(&otlp.sample_ratio) {
            self.value(
                "tracing.otlp.sample_ratio",
                format!("must be from 0 to 1, is {}", otlp.sample_ratio),
            );
            self.help_to_set("tracing.otlp.sample_ratio", "1");
        }
        let name = &otlp.service_name;
        if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
            self.value(
                "tracing.otlp.service_name",
                format!("expected a text of 1 to {LONGEST} bytes"),
            );
            self.help_to_set("tracing.otlp.service_name", "ggend");
        }
    }
}

/// How an address is reached.
enum Way {
    /// Over TLS, or without a network.
    Closed,
    Open,
}

fn kind(endpoint: &str) -> Option<Way> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let plain = !uri.authority()?.as_str().contains('@')
        && uri.query().is_none()
        && !endpoint.contains('#')
        && !host.is_empty();
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(is_loopback);
    match uri.scheme_str().filter(|_| plain)? {
        "https" => Some(Way::Closed),
        "http" if local => Some(Way::Closed),
        "http" => Some(Way::Open),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Location;

    fn told(text: &str, able: bool) -> Vec<(Severity, Code, String)> {
        let otlp: Otlp = serde_json::from_str(text).unwrap_or_default();
        let place = |_: &str| Location {
            source: "/f".to_owned(),
            at: None,
        };
        let mut checker = Checker {
            place: &place,
            problems: Vec::new(),
        };
        checker.tracing(&otlp, able);
        checker
            .problems
            .into_iter()
            .map(|problem| {
                (
                    problem.severity,
                    problem.code,
                    problem.commands().join("; "),
                )
            })
            .collect()
    }

    #[test]
    fn a_program_that_cannot_export_refuses_to_be_told_to() {
        assert_eq!(told(r#"{"enabled":true}"#, true), []);
        assert_eq!(told("{}", false), []);
        let help = "ggen mcp config set tracing.otlp.enabled=false; cargo build --release -p ggend --features otlp".to_owned();
        assert_eq!(
            told(r#"{"enabled":true}"#, false),
            [(Severity::Error, Code::ConfigUnserved, help)]
        );
    }

    #[test]
    fn addresses_that_nothing_can_be_posted_to_are_refused() {
        for good in [
            "https://collector.example/otlp",
            "http://127.0.0.1:4318",
            "http://[::1]:4318/",
            "http://collector:4318",
        ] {
            assert_eq!(
                told(&format!(r#"{{"endpoint":"{good}"}}"#), true),
                [],
                "{good}"
            );
        }
        for bad in [
            "",
            "collector:4318",
            "grpc://h",
            "http://u:p@h",
            "http://h/?q",
            "http://h/#f",
            "/v1/traces",
        ] {
            assert_eq!(
                told(&format!(r#"{{"endpoint":"{bad}"}}"#), true).len(),
                1,
                "{bad}"
            );
        }
        let open = told(
            r#"{"endpoint":"http://collector:4318","headers":"a=b"}"#,
            true,
        );
        assert_eq!(
            open.iter().map(|problem| problem.0).collect::<Vec<_>>(),
            [Severity::Warning]
        );
    }
}
