//! What `ggen mcp test-connection` prints: lines for people, JSON for programs, and the command that
//! helps. May not: connect.

use super::{Outcome, Step};
use crate::probe::{
    client::{credentials, http::Target, mcp::Fault},
    report::{Paint, finding::Severity},
};
use ggen_wire::Code;
use ggen_wire::text;
use serde_json::{Value, json};
use std::{fmt::Write as _, time::Duration};

impl Outcome {
    /// For people.
    pub(in crate::probe) fn human(&self, paint: &Paint) -> String {
        let mut out = format!("Testing MCP connection: {}\n\n", self.url);
        for step in &self.steps {
            let _ = match (&step.outcome, step.skipped) {
                (Ok(seen), false) => writeln!(
                    out,
                    "  {} {}: {seen} ({})",
                    paint.mark(Severity::Note),
                    step.layer,
                    text::took(step.took)
                ),
                (Ok(why), true) => writeln!(out, "  - {}: {why}", step.layer),
                (Err(fault), true) => {
                    writeln!(out, "  - {}: not spoken ({})", step.layer, fault.seen)
                }
                (Err(fault), false) => {
                    let mark = paint.mark(Severity::Error);
                    writeln!(
                        out,
                        "  {mark} {}: {}  [{}] ({})\n    seen: {}",
                        step.layer,
                        fault.what,
                        fault.code,
                        text::took(step.took),
                        fault.seen
                    )
                }
            };
        }
        let _ = match self.failure() {
            None => {
                let all: Duration = self.steps.iter().map(|step| step.took).sum();
                writeln!(out, "\nConnection OK ({})", text::took(all))
            }
            Some((step, fault)) => writeln!(
                out,
                "\nConnection failed at {}\n  help: {}",
                step.layer,
                self.help(fault)
            ),
        };
        out
    }

    /// The command that fixes it, or the next one that tells more.
    fn help(&self, fault: &Fault) -> String {
        let target = Target::parse(&self.url);
        let host = target.as_ref().map_or("", |target| target.host.as_str());
        let port = target.as_ref().map_or(0, |target| target.port);
        let here = target.as_ref().is_some_and(Target::is_here);
        match (fault.layer, fault.code) {
            (_, Code::ToolNotFound) => "ggen mcp list --refresh".to_owned(),
            (_, Code::ConfigUnserved) => "ggen mcp test-connection --transport http".to_owned(),
            (credentials::API_KEY, _) => "ggen mcp auth generate-api-key".to_owned(),
            (credentials::CERTIFICATE, _) => "ggen mcp auth generate-cert --client NAME".to_owned(),
            (_, Code::ConfigValue) => {
                "ggen mcp test-connection http://127.0.0.1:3000/mcp".to_owned()
            }
            ("TLS over QUIC", Code::CertificateVerifyFailed) if self.own => {
                "ggen mcp explain GGEN-E4030".to_owned()
            }
            ("TLS" | "TLS over QUIC", Code::CertificateVerifyFailed) => {
                format!("openssl s_client -connect {host}:{port} -showcerts")
            }
            (_, Code::CertificateVerifyFailed) => {
                "ggen mcp auth generate-cert --client NAME".to_owned()
            }
            (_, Code::InvalidApiKey | Code::AuthenticationFailed) => {
                "ggen mcp auth generate-api-key".to_owned()
            }
            (_, Code::TokenExpired | Code::InvalidSignature) => {
                "ggen mcp auth generate-token".to_owned()
            }
            (_, Code::RateLimited) => {
                "ggen mcp config set rate_limit.requests_per_second=100 && ggen mcp server reload"
                    .to_owned()
            }
            ("DNS", _) => format!("getent hosts {host}"),
            (
                "QUIC" | "TLS over QUIC" | "HTTP/3",
                Code::ConnectionRefused | Code::ConnectionTimeout | Code::AnswerUnusable,
            ) if self.own => "ggen mcp server restart --server quic".to_owned(),
            ("QUIC", Code::ConnectionTimeout) if !here => {
                format!("sudo iptables -L -n | grep udp | grep {port}")
            }
            (_, Code::ConnectionRefused) if here && self.running => {
                "ggen mcp server status".to_owned()
            }
            (_, Code::ConnectionRefused) if here && fault.layer == "TCP connect" => {
                "ggen mcp server start".to_owned()
            }
            (_, Code::ConnectionRefused) => format!("nc -zv {host} {port}"),
            // What answers on its control socket has workers that do not.
            (_, Code::ConnectionTimeout) if self.own => {
                "ggen mcp server restart --server http".to_owned()
            }
            (_, Code::ConnectionTimeout) if here => "ggen mcp doctor".to_owned(),
            (_, Code::ConnectionTimeout) => format!("sudo iptables -L -n | grep {port}"),
            _ if here => "ggen mcp server logs --tail 20".to_owned(),
            _ => format!("curl -v {}", self.url),
        }
    }

    /// For programs.
    pub(in crate::probe) fn json(&self) -> Value {
        let step = |step: &Step| {
            let us = u64::try_from(step.took.as_micros()).unwrap_or(u64::MAX);
            let word = match (&step.outcome, step.skipped) {
                (_, true) => "skipped",
                (Ok(_), false) => "ok",
                (Err(_), false) => "failed",
            };
            let (seen, code, message) = match &step.outcome {
                Ok(seen) => (seen, None, None),
                Err(fault) => (&fault.seen, Some(fault.code), Some(&fault.what)),
            };
            json!({ "layer": step.layer, "status": word, "duration_us": us, "seen": seen, "code": code, "message": message })
        };
        let failure = self.failure();
        json!({
            "url": self.url,
            "ok": failure.is_none(),
            "failed_layer": failure.map(|(step, _)| step.layer),
            "code": failure.map(|(_, fault)| fault.code),
            "message": failure.map(|(_, fault)| &fault.what),
            "help": failure.map(|(_, fault)| self.help(fault)),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}
