//! Ranges of `policy`, `rate_limit` and `tools`.

use super::{Config, Judge};
use crate::config::{
    model::{PolicyEffect, PolicyRule},
    problem::Severity,
    servers::MAX_TIME,
};
use ggen_wire::Code;

/// Most requests per second, and most of anything else that is counted.
const MOST: u64 = 1_000_000;
/// Most rules.
const RULES: usize = 1000;

impl Judge<'_> {
    pub(super) fn limits(&mut self, config: &Config) {
        let rate = &config.rate_limit;
        self.range(
            "rate_limit.requests_per_second",
            rate.requests_per_second.into(),
            0,
            MOST,
            "100",
        );
        self.range("rate_limit.burst", rate.burst.into(), 0, MOST, "200");
        self.range(
            "rate_limit.max_in_flight",
            rate.max_in_flight.into(),
            0,
            MOST,
            "100",
        );
        self.range(
            "rate_limit.max_in_flight_per_upstream",
            rate.max_in_flight_per_upstream.into(),
            1,
            MOST,
            "1024",
        );
        self.range(
            "rate_limit.max_sessions",
            rate.max_sessions.into(),
            1,
            MOST,
            "10000",
        );
        self.range(
            "rate_limit.max_sessions_per_principal",
            rate.max_sessions_per_principal.into(),
            0,
            MOST,
            "100",
        );
        let defaults = &config.tools.defaults;
        self.range(
            "tools.defaults.timeout_ms",
            defaults.timeout_ms,
            0,
            MAX_TIME,
            "30000",
        );
        self.range(
            "tools.defaults.max_retries",
            defaults.max_retries.into(),
            0,
            10,
            "1",
        );
        self.range(
            "tools.defaults.max_concurrent",
            defaults.max_concurrent.into(),
            0,
            MOST,
            "10",
        );
        self.range(
            "tools.defaults.requests_per_second",
            defaults.requests_per_second.into(),
            0,
            MOST,
            "10",
        );
        self.range("tools.defaults.burst", defaults.burst.into(), 0, MOST, "20");
        for (name, tool) in &config.tools.named {
            let path = |key: &str| format!("tools.{name}.{key}");
            self.range(
                &path("timeout_ms"),
                tool.timeout_ms.unwrap_or_default(),
                0,
                MAX_TIME,
                "30000",
            );
            self.range(
                &path("max_retries"),
                tool.max_retries.unwrap_or_default().into(),
                0,
                10,
                "1",
            );
            for (key, value) in [
                ("max_concurrent", tool.max_concurrent),
                ("requests_per_second", tool.requests_per_second),
                ("burst", tool.burst),
            ] {
                self.range(&path(key), value.unwrap_or_default().into(), 0, MOST, "10");
            }
        }
        self.rules(&config.policy.rules);
    }

    fn rules(&mut self, rules: &[PolicyRule]) {
        const PATH: &str = "policy.rules";
        if rules.len() > RULES {
            self.value(PATH, format!("has {} rules, at most {RULES}", rules.len()));
        }
        for (at, rule) in rules.iter().enumerate() {
            if rule.subjects.is_empty() {
                self.value(
                    PATH,
                    format!("rule {} names nobody: `subjects` is empty", at + 1),
                );
            }
            let lists = [
                Some(&rule.subjects),
                rule.servers.as_ref(),
                rule.tools.as_ref(),
                rule.prompts.as_ref(),
                rule.resources.as_ref(),
            ];
            for glob in lists.into_iter().flatten().flatten() {
                if glob.is_empty() || glob.len() > 1024 || glob.contains(char::is_control) {
                    self.value(PATH, format!("rule {} has a pattern that is empty, longer than 1024, or has control characters", at + 1));
                }
            }
            let allowed = |subject: &String| {
                let of = |other: &&PolicyRule| {
                    other
                        .subjects
                        .iter()
                        .any(|other| other == subject || other == "*")
                };
                rules
                    .iter()
                    .filter(|other| other.effect == PolicyEffect::Allow)
                    .any(|other| of(&other))
            };
            if rule.effect == PolicyEffect::Deny
                && let Some(subject) = rule.subjects.iter().find(|subject| !allowed(subject))
            {
                let what = format!(
                    "rule {} names {subject:?}, and no rule allows it anything: who is named by a rule may only do what one allows",
                    at + 1
                );
                self.add(Severity::Warning, Code::ConfigValue, PATH, what);
            }
        }
    }
}
