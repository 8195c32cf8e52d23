//! What a principal may do and how much of it: policy, admission, rate limits, audit. Uses the
//! protocol and the context, no other room.

mod admission;
mod audit;
pub mod policy;
pub mod rate_limit;
pub mod rules;

use crate::access::admission::Admission;
use crate::access::policy::{Access, Policy};
use crate::access::rules::{Rules, ToolRule};
use crate::api::{Limits, Micros, Observation, Output, StreamKey};
use crate::context::Context;
use crate::edge::Principal;
use crate::observation::Hidden;
pub(crate) use admission::{Held, one_too_many};
pub(crate) use audit::{Outcome, Trail};
use std::sync::Arc;

/// The rules in force, and what is remembered for them.
#[derive(Default)]
pub(crate) struct AccessControl {
    rules: Rules,
    policy: Policy,
    admission: Admission,
}

impl AccessControl {
    /// Puts other rules in force. Requests in flight keep their places and go on. True: the policy
    /// is another one, so what [`Self::of`] and [`Self::of_principal`] gave before is out of date.
    pub(crate) fn set_rules(&mut self, rules: Rules) -> bool {
        let other = self.policy.rules() != rules.policy;
        if other {
            self.policy.replace(rules.policy.clone());
        }
        self.admission.set_rates(&rules);
        self.rules = rules;
        other
    }

    /// What the principal of a request may do; `None`: everything. Link 0 is the worker's own: the
    /// control command is the administrator's.
    pub(crate) fn of(&mut self, key: StreamKey, principal: &Principal) -> Option<Arc<Access>> {
        if key.edge == 0 {
            None
        } else {
            self.policy.access(principal)
        }
    }

    /// What a principal may do; `None`: everything.
    pub(crate) fn of_principal(&mut self, principal: &Principal) -> Option<Arc<Access>> {
        self.policy.access(principal)
    }

    /// Whether there are rules about who may see what.
    pub(crate) fn has_policy(&self) -> bool {
        !self.policy.rules().is_empty()
    }

    /// See [`Rules::stream_limit`].
    pub(crate) const fn stream_limit(&self) -> Micros {
        self.rules.stream_limit
    }

    /// Most legacy sessions of all principals.
    pub(crate) const fn sessions_in_all(&self, limits: &Limits) -> usize {
        if self.rules.sessions_in_all > 0 {
            self.rules.sessions_in_all
        } else {
            limits.sessions
        }
    }

    /// Most calls in flight to one upstream.
    pub(crate) const fn calls_per_upstream(&self, limits: &Limits) -> usize {
        if self.rules.calls_per_upstream > 0 {
            self.rules.calls_per_upstream
        } else {
            limits.calls_per_upstream
        }
    }

    /// Whether there is a rule for this one tool.
    pub(crate) fn has_tool_rule(&self, tool: &str) -> bool {
        self.rules.tools.contains_key(tool)
    }

    fn tool_rule(&self, tool: &str) -> ToolRule {
        self.rules
            .tools
            .get(tool)
            .copied()
            .unwrap_or(self.rules.tool)
    }
}

/// Counts something that the policy hid.
pub(crate) fn denied(cx: &mut Context, what: Hidden) {
    cx.emit(Output::Observe(Observation::Denied(what)));
}
