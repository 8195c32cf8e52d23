//! Derives from the configuration the rules that the relay enforces.

use crate::config::{Config, PolicyEffect, PolicyRule, ToolLimits, ToolOverride};
use ggen_mcp::access::policy::{Effect, Glob, Rule};
use ggen_mcp::access::rules::{Audit, Rate, Rules, ToolRule};
use ggen_mcp::trace::span::Ratio;

/// What a configuration has the relay enforce.
pub(crate) fn rules(config: &Config) -> Rules {
    let (rate, tools) = (&config.rate_limit, &config.tools);
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Rules {
        policy: config.policy.rules.iter().map(rule).collect(),
        rate: Rate {
            per_second: rate.requests_per_second,
            burst: rate.burst,
        },
        in_flight: count(rate.max_in_flight),
        sessions: count(rate.max_sessions_per_principal),
        sessions_in_all: count(rate.max_sessions),
        calls_per_upstream: count(rate.max_in_flight_per_upstream),
        stream_limit: config.transports.http.stream_limit_ms.saturating_mul(1000),
        tool: tool(&tools.defaults, &ToolOverride::default()),
        tools: tools
            .named
            .iter()
            .map(|(name, own)| (name.clone(), tool(&tools.defaults, own)))
            .collect(),
        audit: match (config.logging.audit, config.logging.audit_arguments) {
            (false, _) => Audit::Off,
            (true, false) => Audit::Calls,
            (true, true) => Audit::Arguments,
        },
        spans: config
            .tracing
            .otlp
            .enabled
            .then(|| Ratio::new(config.tracing.otlp.sample_ratio)),
    }
}

fn rule(rule: &PolicyRule) -> Rule {
    let globs = |list: &Vec<String>| list.iter().map(|text| Glob::new(text)).collect::<Vec<_>>();
    Rule {
        effect: match rule.effect {
            PolicyEffect::Allow => Effect::Allow,
            PolicyEffect::Deny => Effect::Deny,
        },
        subjects: globs(&rule.subjects),
        servers: rule.servers.as_ref().map(globs),
        tools: rule.tools.as_ref().map(globs),
        prompts: rule.prompts.as_ref().map(globs),
        resources: rule.resources.as_ref().map(globs),
    }
}

fn tool(defaults: &ToolLimits, own: &ToolOverride) -> ToolRule {
    ToolRule {
        timeout: own
            .timeout_ms
            .unwrap_or(defaults.timeout_ms)
            .saturating_mul(1000),
        retries: own.max_retries.unwrap_or(defaults.max_retries),
        concurrent: usize::try_from(own.max_concurrent.unwrap_or(defaults.max_concurrent))
            .unwrap_or(usize::MAX),
        rate: Rate {
            per_second: own
                .requests_per_second
                .unwrap_or(defaults.requests_per_second),
            burst: own.burst.unwrap_or(defaults.burst),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_takes_from_the_defaults_what_it_does_not_say() {
        let text = r#"{"tools":{"defaults":{"timeout_ms":5,"max_retries":2},"a__b":{"timeout_ms":7}},
            "policy":{"rules":[{"effect":"deny","subjects":["*"],"tools":[]}]}}"#;
        let rules = rules(&serde_json::from_str(text).unwrap());
        assert_eq!((rules.tool.timeout, rules.tool.retries), (5000, 2));
        assert_eq!(
            (rules.tools["a__b"].timeout, rules.tools["a__b"].retries),
            (7000, 2)
        );
        assert_eq!(
            (
                rules.policy[0].tools.clone(),
                rules.policy[0].servers.clone()
            ),
            (Some(Vec::new()), None)
        );
    }
}
