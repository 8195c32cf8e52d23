//! The check of `policy`, `rate_limit` and `tools`.

use super::{Checker, Config};
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

impl Checker<'_> {
    pub(super) fn limits(&mut self, config: &Config) {
        let rate = &config.rate_limit;
        let per_second = u64::from(rate.requests_per_second);
        let per_upstream = u64::from(rate.max_in_flight_per_upstream);
        let per_principal = u64::from(rate.max_sessions_per_principal);
        let ranges = [
            ("requests_per_second", per_second, 0, MOST, "100"),
            ("burst", rate.burst.into(), 0, MOST, "200"),
            ("max_in_flight", rate.max_in_flight.into(), 0, MOST, "100"),
            ("max_in_flight_per_upstream", per_upstream, 1, MOST, "1024"),
            ("max_sessions", rate.max_sessions.into(), 1, MOST, "10000"),
            ("max_sessions_per_principal", per_principal, 0, MOST, "100"),
        ];
        self.ranges("rate_limit", &ranges);
        let tools = &config.tools.defaults;
        let per_second = u64::from(tools.requests_per_second);
        let ranges = [
            ("timeout_ms", tools.timeout_ms, 0, MAX_TIME, "30000"),
            ("max_retries", tools.max_retries.into(), 0, 10, "1"),
            ("max_concurrent", tools.max_concurrent.into(), 0, MOST, "10"),
            ("requests_per_second", per_second, 0, MOST, "10"),
            ("burst", tools.burst.into(), 0, MOST, "20"),
        ];
        self.ranges("tools.defaults", &ranges);
        for (name, tool) in &config.tools.named {
            let count = |value: Option<u32>| u64::from(value.unwrap_or_default());
            let timeout = tool.timeout_ms.unwrap_or_default();
            let retries = u64::from(tool.max_retries.unwrap_or_default());
            let ranges = [
                ("timeout_ms", timeout, 0, MAX_TIME, "30000"),
                ("max_retries", retries, 0, 10, "1"),
                ("max_concurrent", count(tool.max_concurrent), 0, MOST, "10"),
                (
                    "requests_per_second",
                    count(tool.requests_per_second),
                    0,
                    MOST,
                    "10",
                ),
                ("burst", count(tool.burst), 0, MOST, "10"),
            ];
            self.ranges(&format!("tools.{name}"), &ranges);
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
