//! The output of `ggen mcp doctor`: the layout of the user's guide first, then each issue. May not:
//! examine anything.

pub(super) mod bundle;
pub(super) mod finding;

use super::{client::control::Daemon, context::Context, doctor::Outcome};
use finding::{Finding, Severity};
use ggen_wire::status::Phase;
use ggen_wire::text;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What came out of all checks.
pub(crate) struct Report<'a> {
    context: &'a Context,
    outcomes: Vec<Outcome>,
    /// Check and place of each issue, errors first, each told once.
    issues: Vec<(&'static str, Finding)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(context: &'a Context, outcomes: Vec<Outcome>) -> Self {
        let mut issues: Vec<(&'static str, Finding)> = Vec::new();
        for outcome in &outcomes {
            for finding in outcome.findings.iter().filter(|finding| finding.is_issue()) {
                // One dead listener is met by several checks.
                if !issues
                    .iter()
                    .any(|(_, known)| known.code == finding.code && known.what == finding.what)
                {
                    issues.push((outcome.name, finding.clone()));
                }
            }
        }
        // What the daemon says of itself and no check has seen.
        for issue in context
            .status()
            .into_iter()
            .flat_map(|status| &status.issues)
        {
            let known = outcomes
                .iter()
                .flat_map(|outcome| &outcome.findings)
                .any(|finding| finding.code == Some(issue.code));
            let name = issue.message.split(' ').next().unwrap_or_default();
            let named = issues
                .iter()
                .any(|(_, finding)| finding.what.split(' ').any(|word| word == name));
            if !known && !named {
                issues.push((
                    "daemon-running",
                    Finding::error(issue.code, text::line(&issue.message)).help(&issue.help),
                ));
            }
        }
        issues.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
        Self {
            context,
            outcomes,
            issues,
        }
    }

    /// Errors first.
    pub(crate) fn issues(&self) -> impl Iterator<Item = &Finding> {
        self.issues.iter().map(|(_, finding)| finding)
    }

    fn count(&self, severity: Severity) -> usize {
        self.issues
            .iter()
            .filter(|(_, finding)| finding.severity == severity)
            .count()
    }

    /// 0 none found, 1 warnings, 2 errors.
    pub(crate) fn exit(&self) -> u8 {
        match (self.count(Severity::Error), self.count(Severity::Warning)) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 2,
        }
    }

    fn server(&self) -> &'static str {
        match &self.context.daemon {
            Daemon::Answers(status) => match status.phase {
                Phase::Running => "Running",
                Phase::Starting => "Starting",
                Phase::Draining => "Stopping",
                _ => "Degraded",
            },
            Daemon::Absent | Daemon::Deserted => "Stopped",
            Daemon::Denied => "Unknown (permission denied)",
            Daemon::Mute { .. } | Daemon::Unusable(_) => "Not answering",
        }
    }

    /// Where MCP is served over HTTP.
    fn addresses(&self) -> Vec<String> {
        let listeners = self.context.listeners().into_iter();
        let http = listeners.filter(|(name, _)| *name == "http");
        http.map(|(_, address)| address.to_string()).collect()
    }

    fn address(&self) -> Option<String> {
        self.addresses().into_iter().next()
    }

    fn configuration(&self) -> (&'static str, String, String) {
        let status = self.context.status();
        let none = || "none, built-in defaults".to_owned();
        match &self.context.config {
            _ if self.context.hidden => {
                let file = status
                    .and_then(|status| status.config_file.clone())
                    .unwrap_or_else(none);
                (
                    "In force (the file is closed to this user)",
                    file,
                    status.map_or_else(String::new, |status| status.config_version.clone()),
                )
            }
            Ok(loaded) => {
                let entries = loaded.warnings.iter().any(crate::config::Problem::is_error);
                let file = loaded
                    .file
                    .as_ref()
                    .map_or_else(none, |file| file.display().to_string());
                (
                    if entries { "Has errors" } else { "Valid" },
                    file,
                    loaded.config.version.clone(),
                )
            }
            Err(problems) => {
                let named = self
                    .context
                    .load
                    .config_path
                    .as_ref()
                    .map(|file| file.display().to_string());
                let found = problems
                    .iter()
                    .find(|problem| problem.is_error())
                    .map(|problem| problem.place.source.clone());
                (
                    "Invalid",
                    named
                        .or(found)
                        .filter(|file| !file.is_empty())
                        .unwrap_or_else(none),
                    "unknown".to_owned(),
                )
            }
        }
    }

    /// Connectivity as a whole, HTTP, tools.
    fn connectivity(&self) -> (&'static str, String, String) {
        let tools = self.context.tools.get().map_or_else(
            || "Not available".to_owned(),
            |tools| format!("{tools} available"),
        );
        match (self.context.http.get(), self.address()) {
            (Some(Ok(())), _) if matches!(self.context.websocket.get(), Some(Err(_))) => {
                ("Failed", "Connected".to_owned(), tools)
            }
            (Some(Ok(())), _) if self.context.tools.get().is_some() => {
                ("OK", "Connected".to_owned(), tools)
            }
            (Some(Ok(())), _) => ("Failed", "Connected".to_owned(), tools),
            (Some(Err(why)), _) => ("Failed", why.clone(), tools),
            (None, None) if self.context.status().is_some() => {
                ("OK", "Not served".to_owned(), tools)
            }
            _ if self.context.is_down() => (
                "Failed",
                "Not connected (the daemon is not running)".to_owned(),
                tools,
            ),
            _ => (
                "Failed",
                "Not tested (the daemon does not answer)".to_owned(),
                tools,
            ),
        }
    }

    /// The line about WebSocket.
    fn websocket(&self) -> String {
        match self.context.websocket.get() {
            Some(Ok(())) => "Connected".to_owned(),
            Some(Err(why)) => why.clone(),
            None if self.context.status().is_some() && self.context.websocket().is_none() => {
                "Not served".to_owned()
            }
            None if self.context.is_down() => {
                "Not connected (the daemon is not running)".to_owned()
            }
            None => "Not tested (the daemon does not answer)".to_owned(),
        }
    }

    /// For people.
    pub(crate) fn human(&self, paint: &Paint, verbose: bool) -> String {
        let mut out = String::from("MCP Connection Diagnostics\n==========================\n\n");
        self.summary(&mut out);
        if verbose {
            out.push_str("Checks:\n");
            for outcome in &self.outcomes {
                let worst = outcome
                    .findings
                    .iter()
                    .map(|finding| finding.severity)
                    .max()
                    .unwrap_or(Severity::Note);
                let took = outcome
                    .took
                    .map_or_else(|| "not finished".to_owned(), text::took);
                let _ = writeln!(out, "  {} {} ({took})", paint.mark(worst), outcome.name);
                for finding in &outcome.findings {
                    let _ = writeln!(out, "      {}", finding.what);
                }
            }
            out.push('\n');
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        if errors + warnings == 0 {
            out.push_str("Issues: None found\n");
            return out;
        }
        let _ = writeln!(
            out,
            "Issues: {} ({}, {})",
            errors + warnings,
            text::count(errors, "error"),
            text::count(warnings, "warning")
        );
        for (_, finding) in &self.issues {
            let code = finding
                .code
                .map_or_else(String::new, |code| format!("{code}: "));
            let _ = writeln!(
                out,
                "\n  {} {code}{}",
                paint.mark(finding.severity),
                finding.what
            );
            for (label, text) in [("seen", &finding.evidence), ("help", &finding.help)] {
                if !text.is_empty() {
                    let _ = writeln!(out, "    {label}: {text}");
                }
            }
        }
        out
    }

    fn summary(&self, out: &mut String) {
        let _ = writeln!(out, "Server Status: {}", self.server());
        match self.context.status() {
            Some(status) => {
                let _ = writeln!(out, "  PID: {}", status.pid);
                let _ = writeln!(out, "  Uptime: {}", text::uptime(status.uptime_ms));
                let addresses = match self.addresses() {
                    none if none.is_empty() => "none".to_owned(),
                    some => some.join(", "),
                };
                let _ = writeln!(out, "  Address: {addresses}");
            }
            None => {
                let _ = writeln!(out, "  Socket: {}", self.context.socket.display());
            }
        }
        let (valid, file, version) = self.configuration();
        let _ = writeln!(
            out,
            "\nConfiguration: {valid}\n  Config file: {file}\n  Version: {version}"
        );
        let (whole, http, tools) = self.connectivity();
        let _ = writeln!(
            out,
            "\nConnectivity: {whole}\n  HTTP: {http}\n  WebSocket: {}\n  Tools: {tools}\n",
            self.websocket()
        );
    }

    /// The same for programs; documented in `docs/troubleshooting.md`.
    pub(crate) fn json(&self) -> Value {
        let status = self.context.status();
        let (valid, file, config_version) = self.configuration();
        let (whole, http, _) = self.connectivity();
        let issues: Vec<Value> = self
            .issues
            .iter()
            .map(|(check, finding)| with(json!(finding), "check", json!(check)))
            .collect();
        let checks: Vec<Value> = self
            .outcomes
            .iter()
            .map(|outcome| {
                let us = outcome
                    .took
                    .map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                json!({ "name": outcome.name, "duration_us": us, "findings": outcome.findings })
            })
            .collect();
        json!({
            "server": {
                "status": self.server(),
                "pid": status.map(|status| status.pid),
                "uptime_ms": status.map(|status| status.uptime_ms),
                "address": self.address(),
                "version": status.map(|status| &status.version),
                "socket": self.context.socket,
            },
            "configuration": { "status": valid, "file": file, "version": config_version },
            "connectivity": { "status": whole, "http": http, "websocket": self.websocket(), "tools": self.context.tools.get() },
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "issues": issues,
            "checks": checks,
        })
    }
}

fn with(mut value: Value, key: &str, member: Value) -> Value {
    value[key] = member;
    value
}

/// The marks, coloured on a terminal.
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn mark(&self, severity: Severity) -> &'static str {
        match (severity, self.0) {
            (Severity::Note, true) => "\x1b[32m✓\x1b[0m",
            (Severity::Note, false) => "✓",
            (Severity::Warning, true) => "\x1b[33m!\x1b[0m",
            (Severity::Warning, false) => "!",
            (Severity::Error, true) => "\x1b[31m✗\x1b[0m",
            (Severity::Error, false) => "✗",
        }
    }
}
