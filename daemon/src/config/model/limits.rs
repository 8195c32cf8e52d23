//! `policy`, `rate_limit` and `tools`: who may use what, and how much. Definitions only.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `policy`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Who may see and call what; their order does not matter.
    pub rules: Vec<PolicyRule>,
}

/// One rule. Absent lists mean all; an empty one means none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// What it does; a `deny` always wins.
    pub effect: PolicyEffect,
    /// Globs over ids and labels of principals.
    pub subjects: Vec<String>,
    /// Globs over names of servers; `core`: the built-in tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<String>>,
    /// Globs over tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Globs over prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Vec<String>>,
    /// Globs over URIs of resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
}

/// `effect` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum PolicyEffect {
    Allow,
    Deny,
}

/// `rate_limit`; 0 is no bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Requests of one principal in the long run.
    pub requests_per_second: u32,
    /// Requests of one principal at once; 0: as many as per second.
    pub burst: u32,
    /// Requests of one principal without an answer, its `subscriptions/listen` included.
    pub max_in_flight: u32,
    /// Calls in flight to one upstream.
    pub max_in_flight_per_upstream: u32,
    /// Legacy sessions in all.
    pub max_sessions: u32,
    /// Legacy sessions of one principal.
    pub max_sessions_per_principal: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests_per_second: 0,
            burst: 0,
            max_in_flight: 0,
            max_in_flight_per_upstream: 1024,
            max_sessions: 10_000,
            max_sessions_per_principal: 0,
        }
    }
}

/// `tools`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tools {
    /// What holds for all tools.
    pub defaults: ToolLimits,
    /// What differs for single tools, by exposed name.
    #[serde(flatten)]
    pub named: BTreeMap<String, ToolOverride>,
}

/// `tools.defaults`; 0 is no bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolLimits {
    /// Time for a call, in milliseconds; 0: that of its server.
    pub timeout_ms: u64,
    /// How often a call is sent once more when its server was lost, for tools that say that this
    /// does no harm.
    pub max_retries: u32,
    /// Calls in flight.
    pub max_concurrent: u32,
    /// Calls of all principals in the long run.
    pub requests_per_second: u32,
    /// Calls at once; 0: as many as per second.
    pub burst: u32,
}

/// `tools.NAME`: what is absent is as in `tools.defaults`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "as in ToolLimits")]
pub struct ToolOverride {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}
