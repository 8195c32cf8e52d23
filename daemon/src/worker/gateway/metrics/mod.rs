//! Metrics of the gateway worker: observations of the relay become metrics and the list of slow
//! calls, notes become log events. Every label is bounded: upstreams by the configuration, methods
//! and outcomes by the relay, tools here. May not: look at a message.

mod notes;
mod series;
mod shared;

pub(super) use shared::Shared;

use crate::log::now_us;
use ggen_mcp::access::rules::Audited;
use ggen_mcp::api::{CallOutcome, Micros, Observation, UpId};
use ggen_wire::status::SlowCall;
use prometheus::{IntCounterVec, Registry};
use series::{Counted, Declare, Series, counted, seconds};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Distinct tools that are counted under their own name; later ones are `other`.
const TOOLS: usize = 500;
/// A call is slow from here on, in microseconds.
const SLOW_FROM: Micros = 1_000_000;
/// Counts; owned by the driver. What the beat needs of it is in [`Shared`].
pub(crate) struct Observer {
    names: Vec<Arc<str>>,
    requests: Series,
    calls: Series,
    tools: Series,
    dropped: IntCounterVec,
    limited: IntCounterVec,
    denied: IntCounterVec,
    spans: IntCounterVec,
    /// Transports of links, by number.
    transports: BTreeMap<u32, Box<str>>,
    by_method: Vec<((&'static str, &'static str), Counted)>,
    by_upstream: Vec<Option<Counted>>,
    by_tool: HashMap<(u32, Arc<str>), Counted>,
    other: HashMap<u32, Counted>,
    shared: Arc<Shared>,
}

impl Observer {
    /// Declares the metrics. `names` are the upstreams in the settings' order.
    ///
    /// # Errors
    /// A name is not valid or appears twice: a mistake in this file.
    pub(crate) fn new(names: Vec<Arc<str>>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let declared = Declare(&registry);
        let by_upstream = names.iter().map(|_| None).collect();
        Ok(Self {
            names,
            requests: declared.requests()?,
            calls: declared.calls()?,
            tools: declared.tools()?,
            dropped: declared.counter(
                "ggend_dropped_total",
                "Messages that were dropped.",
                &["upstream", "reason"],
            )?,
            limited: declared.counter(
                "ggend_rate_limited_total",
                "Requests that were one too many.",
                &["limit"],
            )?,
            spans: declared.counter(
                "ggend_otlp_spans_total",
                "Spans for the collector.",
                &["outcome"],
            )?,
            denied: declared.counter(
                "ggend_denied_total",
                "Requests for what the policy hides from the client.",
                &["what"],
            )?,
            transports: BTreeMap::new(),
            by_method: Vec::new(),
            by_upstream,
            by_tool: HashMap::new(),
            other: HashMap::new(),
            shared: Arc::new(Shared::new(&declared, registry.clone())?),
        })
    }

    /// One more upstream, with the next number.
    pub(crate) fn add(&mut self, name: Arc<str>) {
        self.names.push(name);
        self.by_upstream.push(None);
    }

    /// What the beat reads.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Counts.
    pub(crate) fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Request {
                method,
                era,
                outcome,
                duration,
                trace,
            } => {
                if let Some(trace) = trace {
                    self.shared
                        .exemplar(method, seconds(duration), trace.to_string());
                }
                let at = self
                    .by_method
                    .iter()
                    .position(|(known, _)| *known == (method, era))
                    .unwrap_or_else(|| {
                        self.by_method
                            .push(((method, era), counted(&self.requests, &[method])));
                        self.by_method.len() - 1
                    });
                self.by_method[at]
                    .1
                    .count(&self.requests, &[method, era], outcome, duration);
            }
            Observation::Call {
                up,
                tool,
                outcome,
                duration,
            } => self.call(up, tool, outcome, duration),
            Observation::Limited(limit) => self.limited.with_label_values(&[limit.as_str()]).inc(),
            Observation::Denied(what) => self.denied.with_label_values(&[what.as_str()]).inc(),
            Observation::Audit(audited) => self.audit(&audited),
            // The driver has it.
            Observation::Span(_) => {}
            Observation::Dropped { up, reason } => {
                let name = up.and_then(|up| self.name(up)).unwrap_or_default();
                self.dropped
                    .with_label_values(&[&*name, reason.as_str()])
                    .inc();
            }
        }
    }

    /// A link is there, from a worker of that name (`http-0`).
    pub(crate) fn link(&mut self, edge: u32, peer: &str) {
        self.transports
            .insert(edge, peer.split('-').next().unwrap_or(peer).into());
    }

    /// A link is gone.
    pub(crate) fn unlink(&mut self, edge: u32) {
        self.transports.remove(&edge);
    }

    /// Where spans are counted.
    pub(crate) fn spans(&self) -> IntCounterVec {
        self.spans.clone()
    }

    /// The transport of a link.
    pub(crate) fn transport(&self, edge: u32) -> &str {
        self.transports
            .get(&edge)
            .map_or("control", |transport| &**transport)
    }

    /// One line of the category `auth`.
    fn audit(&self, audited: &Audited) {
        let upstream = audited.up.and_then(|up| self.name(up));
        let transport = self.transport(audited.edge);
        tracing::info!(
            target: "auth",
            principal = &*audited.principal,
            method = audited.method,
            name = &*audited.name,
            tool = (audited.method == "tools/call").then_some(&*audited.name),
            upstream = upstream.as_deref(),
            outcome = audited.outcome.as_str(),
            code = audited.code.map(ggen_wire::Code::as_str),
            duration_us = audited.duration,
            bytes_in = audited.bytes_in,
            bytes_out = audited.bytes_out,
            transport,
            request = &*audited.id,
            trace_id = audited.trace.map(|trace| trace.to_string()),
            arguments = audited.arguments.as_deref(),
            "call"
        );
    }

    fn call(&mut self, up: UpId, tool: Option<Arc<str>>, outcome: CallOutcome, duration: Micros) {
        let Some(name) = self.name(up) else { return };
        if let Some(slot) = self.by_upstream.get_mut(up.0 as usize) {
            slot.get_or_insert_with(|| counted(&self.calls, &[&name]))
                .count(&self.calls, &[&name], outcome, duration);
        }
        if duration >= SLOW_FROM {
            self.shared.slow(SlowCall {
                what: tool
                    .as_ref()
                    .map_or_else(|| "request".to_owned(), |tool| format!("tools/call {tool}")),
                upstream: name.to_string(),
                duration_ms: duration / 1000,
                ended_ms: now_us() / 1000,
            });
        }
        let Some(tool) = tool else { return };
        let room = self.by_tool.len() < TOOLS;
        let key = (up.0, tool);
        if !room && !self.by_tool.contains_key(&key) {
            let other = self
                .other
                .entry(up.0)
                .or_insert_with(|| counted(&self.tools, &[&name, "other"]));
            return other.count(&self.tools, &[&name, "other"], outcome, duration);
        }
        let tool = Arc::clone(&key.1);
        let known = self
            .by_tool
            .entry(key)
            .or_insert_with(|| counted(&self.tools, &[&name, &tool]));
        known.count(&self.tools, &[&name, &tool], outcome, duration);
    }

    fn name(&self, up: UpId) -> Option<Arc<str>> {
        self.names.get(up.0 as usize).cloned()
    }
}

#[cfg(test)]
mod tests;
