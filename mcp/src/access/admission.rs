//! Whether there is room for one more: rates and places per principal and per tool. Refusals carry
//! `Retry-After`.

use crate::access::AccessControl;
use crate::access::rate_limit::Keyed;
use crate::access::rules::{Rules, ToolRule};
use crate::api::{Micros, Observation, Output, StreamKey};
use crate::context::Context;
use crate::edge::Principal;
use crate::observation::Limit;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;
use std::collections::HashMap;
use std::sync::Arc;

/// What is remembered of requests for the rules in force.
#[derive(Default)]
pub(super) struct Admission {
    principals: Keyed,
    /// Tools that have no rate of their own.
    tools: Keyed,
    own: HashMap<String, Keyed>,
    /// Places taken, by principal and by exposed name.
    in_flight: HashMap<Arc<str>, usize>,
    in_tool: HashMap<Arc<str>, usize>,
}

/// The places that a call takes until it is settled.
#[derive(Debug, Default)]
pub(crate) struct Held {
    principal: Option<Arc<str>>,
    tool: Option<Arc<str>>,
}

/// What lifts the limit on a principal's requests.
const RAISE: &str = "wait as Retry-After says, or ggen mcp config set rate_limit.requests_per_second=100 && ggen mcp server reload";

fn take(places: &mut HashMap<Arc<str>, usize>, key: &Arc<str>) {
    *places.entry(key.clone()).or_default() += 1;
}

fn leave(places: &mut HashMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = places.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            places.remove(key);
        }
    }
}

/// Counts a request that was one too many, and makes its refusal: there may be room in a second.
pub(crate) fn one_too_many(cx: &mut Context, limit: Limit) -> Refusal {
    limited(cx, limit, 1)
}

/// Counts a request that was one too many, and makes its refusal.
fn limited(cx: &mut Context, limit: Limit, wait: Micros) -> Refusal {
    cx.emit(Output::Observe(Observation::Limited(limit)));
    let seconds = u32::try_from(wait.div_ceil(1_000_000))
        .unwrap_or(u32::MAX)
        .max(1);
    let refusal = Refusal::new(429, rpc::INTERNAL, Code::RateLimited, "")
        .with("limit", &json::quote(limit.as_str()))
        .retry(seconds);
    // The other limits have no one value that would be right.
    if limit == Limit::PrincipalRate {
        refusal.with("help", &json::quote(RAISE))
    } else {
        refusal
    }
}

impl Admission {
    /// Puts other rates in force. A tool that keeps its rate keeps its count.
    pub(super) fn set_rates(&mut self, rules: &Rules) {
        self.principals.set(rules.rate);
        self.tools.set(rules.tool.rate);
        let own = rules
            .tools
            .iter()
            .filter(|(_, rule)| rule.rate != rules.tool.rate);
        let mut kept = std::mem::take(&mut self.own);
        self.own = own
            .map(|(name, rule)| {
                let mut keyed = kept.remove(name).unwrap_or_default();
                keyed.set(rule.rate);
                (name.clone(), keyed)
            })
            .collect();
    }
}

impl AccessControl {
    /// Admits one more request of a principal. Requests of the control command are not counted.
    pub(crate) fn admit(
        &mut self,
        cx: &mut Context,
        key: StreamKey,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        if key.edge == 0 {
            return Ok(());
        }
        self.admission
            .principals
            .check(&principal.id, cx.now)
            .map_err(|wait| limited(cx, Limit::PrincipalRate, wait))
    }

    /// Whether a principal may have one more request without an answer. `others` counts its
    /// requests that wait or listen.
    pub(crate) fn admit_in_flight(
        &self,
        cx: &mut Context,
        key: StreamKey,
        principal: &Principal,
        others: impl FnOnce() -> usize,
    ) -> Result<(), Refusal> {
        let most = self.rules.in_flight;
        if most == 0 || key.edge == 0 {
            return Ok(());
        }
        let calls = self
            .admission
            .in_flight
            .get(&principal.id)
            .copied()
            .unwrap_or_default();
        if calls + others() < most {
            Ok(())
        } else {
            Err(limited(cx, Limit::PrincipalInFlight, 1))
        }
    }

    /// The limit that one more session beside `in_all` would be over. `own` counts those of the
    /// principal.
    pub(crate) fn over_sessions(
        &self,
        cx: &Context,
        key: StreamKey,
        principal: &Principal,
        in_all: usize,
        own: impl FnOnce() -> usize,
    ) -> Option<Limit> {
        let whole = self.sessions_in_all(&cx.limits);
        if in_all >= whole {
            return Some(Limit::Sessions);
        }
        let most = match self.rules.sessions {
            0 if principal.is_anonymous() => whole,
            // Nobody has more than half of them.
            0 => whole.div_ceil(2),
            most => most,
        };
        let is_over = in_all >= most && key.edge != 0 && own() >= most;
        is_over.then_some(Limit::PrincipalSessions)
    }

    /// The refusal of a session that would be over a limit.
    pub(crate) fn refuse_session(&self, cx: &mut Context, limit: Limit) -> Refusal {
        if limit == Limit::PrincipalSessions {
            return limited(cx, limit, 10_000_000);
        }
        cx.emit(Output::Observe(Observation::Limited(limit)));
        Refusal::new(503, rpc::INTERNAL, Code::TooManySessions, "").retry(10)
    }

    /// Whether there is room for a call of a tool, and the tool's rule. `again`: the call was sent
    /// before and counted then.
    pub(crate) fn admit_tool(
        &mut self,
        cx: &mut Context,
        tool: Option<&Arc<str>>,
        again: bool,
    ) -> Result<ToolRule, Refusal> {
        let Some(tool) = tool else {
            return Ok(ToolRule::default());
        };
        let rule = self.tool_rule(tool);
        if rule.concurrent > 0
            && self
                .admission
                .in_tool
                .get(tool)
                .is_some_and(|calls| *calls >= rule.concurrent)
        {
            return Err(limited(cx, Limit::ToolConcurrent, 1));
        }
        if again {
            return Ok(rule);
        }
        self.admission
            .own
            .get_mut(&**tool)
            .unwrap_or(&mut self.admission.tools)
            .check(tool, cx.now)
            .map_err(|wait| limited(cx, Limit::ToolRate, wait))?;
        Ok(rule)
    }

    /// Takes the places of a call that is about to be written.
    pub(crate) fn hold_places(
        &mut self,
        key: StreamKey,
        principal: &Principal,
        tool: Option<&Arc<str>>,
        rule: ToolRule,
    ) -> Held {
        let principal = (self.rules.in_flight > 0 && key.edge != 0).then(|| principal.id.clone());
        let tool = tool.filter(|_| rule.concurrent > 0).cloned();
        if let Some(principal) = &principal {
            take(&mut self.admission.in_flight, principal);
        }
        if let Some(tool) = &tool {
            take(&mut self.admission.in_tool, tool);
        }
        Held { principal, tool }
    }

    /// A call is settled: its places are free.
    pub(crate) fn leave_places(&mut self, held: &Held) {
        if let Some(principal) = &held.principal {
            leave(&mut self.admission.in_flight, principal);
        }
        if let Some(tool) = &held.tool {
            leave(&mut self.admission.in_tool, tool);
        }
    }

    /// Places taken now, by principals and in tools.
    pub(crate) fn places(&self) -> usize {
        self.admission.in_flight.values().sum::<usize>()
            + self.admission.in_tool.values().sum::<usize>()
    }
}
