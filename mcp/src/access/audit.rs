//! What is written down of calls: who, what, with which outcome and how much of it. While it is off,
//! nothing is allocated.

use crate::access::AccessControl;
use crate::access::rules::{Audit, Audited};
use crate::api::{Micros, Observation, Output, UpId};
use crate::context::Context;
use crate::observation::CallOutcome;
use crate::protocol::excerpt::{LONGEST, LONGEST_ARGUMENTS, cut};
use crate::protocol::json;
use crate::protocol::method::Method;
use crate::trace::TraceId;
use ggen_wire::Code;
use std::sync::Arc;

/// The beginning of a call's record: what is known before its outcome.
#[derive(Debug)]
pub(crate) struct Trail {
    principal: Arc<str>,
    name: Box<str>,
    bytes_in: usize,
    arguments: Option<Box<str>>,
}

/// The rest of a call's record.
pub(crate) struct Outcome<'a> {
    pub(crate) method: Method,
    pub(crate) up: Option<UpId>,
    /// See [`Audited::outcome`].
    pub(crate) outcome: CallOutcome,
    pub(crate) code: Option<Code>,
    pub(crate) arrived: Micros,
    pub(crate) bytes_out: usize,
    pub(crate) link: u32,
    /// The client's own request id.
    pub(crate) id: &'a str,
    pub(crate) trace: Option<TraceId>,
}

impl AccessControl {
    /// The beginning of a record, if records are wanted.
    pub(crate) fn trail(
        &self,
        principal: &Arc<str>,
        params: Option<&str>,
        bytes_in: usize,
    ) -> Option<Box<Trail>> {
        if self.rules.audit == Audit::Off {
            return None;
        }
        let [name, uri, arguments] = params
            .and_then(|params| json::pick(params, ["name", "uri", "arguments"]))
            .unwrap_or_default();
        let name = name.or(uri).and_then(json::string).unwrap_or_default();
        Some(Box::new(Trail {
            principal: principal.clone(),
            name: cut(&name, LONGEST),
            bytes_in,
            arguments: arguments
                .filter(|_| self.rules.audit == Audit::Arguments)
                .map(|raw| cut(raw, LONGEST_ARGUMENTS)),
        }))
    }
}

impl Trail {
    /// Writes the record.
    pub(crate) fn end(&self, cx: &mut Context, outcome: &Outcome<'_>) {
        let audited = Audited {
            principal: self.principal.clone(),
            method: outcome.method.name(),
            name: self.name.clone(),
            up: outcome.up,
            outcome: outcome.outcome,
            code: outcome.code,
            duration: cx.now.saturating_sub(outcome.arrived),
            bytes_in: self.bytes_in,
            bytes_out: outcome.bytes_out,
            edge: outcome.link,
            id: cut(outcome.id, LONGEST),
            trace: outcome.trace,
            arguments: self.arguments.clone(),
        };
        cx.emit(Output::Observe(Observation::Audit(Box::new(audited))));
    }
}
