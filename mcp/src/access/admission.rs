//! Whether there is room for one more: rates and places per principal and per tool. Refusals carry
//! `Retry-After`.

use crate::access::rate_limit::Keyed;
use crate::access::rules::{Rules, ToolRule};
use crate::api::{Micros, Observation, Output, StreamKey, UpId};
use crate::call::record::{Again, Call, Held, Purpose};
use crate::client::request::Ctx;
use crate::client::waiting::{Attempt, Waiting};
use crate::edge::{Principal, Request};
use crate::gateway::Gateway;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, rpc};
use crate::trace::Tracing;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use ggen_wire::Code;
use std::collections::HashMap;
use std::sync::Arc;

/// What is remembered of requests for the rules in force.
#[derive(Default)]
pub(crate) struct Admission {
    principals: Keyed,
    /// Tools that have no rate of their own.
    tools: Keyed,
    own: HashMap<String, Keyed>,
    /// Places taken, by principal and by exposed name.
    in_flight: HashMap<Arc<str>, usize>,
    in_tool: HashMap<Arc<str>, usize>,
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

impl Gateway {
    /// Puts other rules in force. What is in flight keeps its place and goes on.
    pub(crate) fn enforce(&mut self, rules: Rules) {
        self.set_policy(&rules.policy);
        self.admission.principals.set(rules.rate);
        self.admission.tools.set(rules.tool.rate);
        let own = rules
            .tools
            .iter()
            .filter(|(_, rule)| rule.rate != rules.tool.rate);
        let mut kept = std::mem::take(&mut self.admission.own);
        self.admission.own = own
            .map(|(name, rule)| {
                let mut keyed = kept.remove(name).unwrap_or_default();
                keyed.set(rule.rate);
                (name.clone(), keyed)
            })
            .collect();
        self.spans.set_ratio(rules.spans);
        self.rules = rules;
    }

    /// Counts a request that was one too many.
    pub(crate) fn limited(&mut self, limit: &'static str, wait: Micros) -> Refusal {
        self.cx.emit(Output::Observe(Observation::Limited(limit)));
        let seconds = u32::try_from(wait.div_ceil(1_000_000))
            .unwrap_or(u32::MAX)
            .max(1);
        let refusal = Refusal::new(429, rpc::INTERNAL, Code::RateLimited, "")
            .with("limit", &json::quote(limit))
            .retry(seconds);
        // The other limits have no one value that would be right.
        if limit == "principal_rate" {
            refusal.with("help", &json::quote(RAISE))
        } else {
            refusal
        }
    }

    /// One more request of a principal.
    pub(crate) fn admit(
        &mut self,
        key: StreamKey,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<(), Refusal> {
        if !attempt.fresh || key.edge == 0 {
            return Ok(());
        }
        let now = self.cx.now;
        self.admission
            .principals
            .check(&request.principal.id, now)
            .map_err(|wait| self.limited("principal_rate", wait))
    }

    /// Whether a principal may have one more request without an answer.
    pub(crate) fn admit_in_flight(
        &mut self,
        key: StreamKey,
        principal: &Principal,
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
        let waiting = self
            .waiting
            .iter()
            .filter(|waiting| waiting.request.principal.id == principal.id)
            .count();
        let listens = self
            .listens
            .values()
            .filter(|listen| listen.principal.id == principal.id)
            .count();
        if calls + waiting + listens < most {
            Ok(())
        } else {
            Err(self.limited("principal_in_flight", 1))
        }
    }

    /// Whether there may be one more session.
    pub(crate) fn admit_session(
        &mut self,
        key: StreamKey,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        let in_all = if self.rules.sessions_in_all > 0 {
            self.rules.sessions_in_all
        } else {
            self.cx.limits.sessions
        };
        if self.sessions.len() >= in_all {
            self.cx
                .emit(Output::Observe(Observation::Limited("sessions")));
            return Err(Refusal::new(503, rpc::INTERNAL, Code::TooManySessions, "").retry(10));
        }
        let own = || {
            self.sessions
                .values()
                .filter(|session| session.principal.id == principal.id)
                .count()
        };
        if self.rules.sessions > 0 && key.edge != 0 && own() >= self.rules.sessions {
            return Err(self.limited("principal_sessions", 10_000_000));
        }
        Ok(())
    }

    /// Calls in flight to one upstream, at most.
    pub(crate) const fn calls_per_upstream(&self) -> usize {
        if self.rules.calls_per_upstream > 0 {
            self.rules.calls_per_upstream
        } else {
            self.cx.limits.calls_per_upstream
        }
    }

    pub(crate) fn tool_rule(&self, tool: &str) -> ToolRule {
        self.rules
            .tools
            .get(tool)
            .copied()
            .unwrap_or(self.rules.tool)
    }

    /// Whether there is room for a call, and the rule of its tool.
    pub(crate) fn admit_call(
        &mut self,
        ctx: &Ctx<'_>,
        tool: Option<&Arc<str>>,
    ) -> Result<ToolRule, Refusal> {
        self.admit_in_flight(ctx.key, &ctx.request.principal)?;
        let Some(tool) = tool else {
            return Ok(ToolRule::default());
        };
        let (rule, now) = (self.tool_rule(tool), self.cx.now);
        if rule.concurrent > 0
            && self
                .admission
                .in_tool
                .get(tool)
                .is_some_and(|calls| *calls >= rule.concurrent)
        {
            return Err(self.limited("tool_concurrent", 1));
        }
        if ctx.attempt.tries > 0 {
            return Ok(rule);
        }
        let keyed = self
            .admission
            .own
            .get_mut(&**tool)
            .unwrap_or(&mut self.admission.tools);
        keyed
            .check(tool, now)
            .map_err(|wait| self.limited("tool_rate", wait))?;
        Ok(rule)
    }

    /// The places of a call that is about to be written.
    pub(crate) fn hold_places(
        &mut self,
        ctx: &Ctx<'_>,
        tool: Option<&Arc<str>>,
        rule: ToolRule,
    ) -> Held {
        let principal = (self.rules.in_flight > 0 && ctx.key.edge != 0)
            .then(|| ctx.request.principal.id.clone());
        let tool = tool.filter(|_| rule.concurrent > 0).cloned();
        principal
            .iter()
            .for_each(|principal| take(&mut self.admission.in_flight, principal));
        tool.iter()
            .for_each(|tool| take(&mut self.admission.in_tool, tool));
        Held { principal, tool }
    }

    /// A call is settled: its places are free.
    pub(crate) fn leave_places(&mut self, held: &Held) {
        held.principal
            .iter()
            .for_each(|principal| leave(&mut self.admission.in_flight, principal));
        held.tool
            .iter()
            .for_each(|tool| leave(&mut self.admission.in_tool, tool));
    }

    /// Places taken now, by principals and in tools.
    pub(crate) fn places(&self) -> usize {
        self.admission.in_flight.values().sum::<usize>()
            + self.admission.in_tool.values().sum::<usize>()
    }

    /// What it takes to send a call once more, if its tool says that this does no harm (tools,
    /// "Tool annotations").
    pub(crate) fn again(
        &self,
        ctx: &Ctx<'_>,
        up: UpId,
        original: &str,
        rule: ToolRule,
    ) -> Option<Box<Again>> {
        let tries = ctx.attempt.tries;
        if rule.retries <= tries
            || self
                .exchanges
                .get(&ctx.key)
                .is_some_and(crate::client::exchange::Exchange::is_batch)
        {
            return None;
        }
        let text = std::str::from_utf8(
            &self
                .table(View::One(up), ListKind::Tools)
                .get(original)?
                .text,
        )
        .ok()?;
        let [read_only, idempotent] = json::pick(text, ["annotations"])
            .and_then(|[raw]| json::pick(raw?, ["readOnlyHint", "idempotentHint"]))
            .unwrap_or_default();
        (read_only == Some("true") || idempotent == Some("true")).then(|| {
            Box::new(Again {
                request: ctx.request.clone(),
                tries: tries + 1,
            })
        })
    }

    /// Has a call wait for its server, which was lost, to be sent again. False: it is not to be.
    pub(crate) fn retry(&mut self, number: u64, call: &mut Call) -> bool {
        let arrived = self.cx.now;
        let Purpose::Client(client) = &mut call.purpose else {
            return false;
        };
        let Some(again) = client.again.take() else {
            return false;
        };
        let key = client.key;
        let Some(exchange) = self
            .exchanges
            .get_mut(&key)
            .filter(|exchange| exchange.connected || exchange.ring.is_some())
        else {
            return false;
        };
        if self.waiting.len() >= self.cx.limits.calls {
            return false;
        }
        exchange.calls.retain(|other| *other != number);
        let Again { request, tries } = *again;
        self.spans
            .pause_call(&mut self.cx, client.sent.as_deref_mut(), "lost");
        let tracing = client
            .span
            .take()
            .map(|span| Tracing::new(client.trace.clone(), Some(span)));
        self.waiting.push(Waiting {
            key,
            request,
            attempt: Attempt {
                arrived,
                fresh: false,
                tries,
                tracing,
            },
        });
        true
    }
}
