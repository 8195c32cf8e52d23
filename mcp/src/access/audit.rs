//! What is written down of calls: who, what, with which outcome and how much of it. Costs nothing
//! while it is off.

use crate::access::rules::{Audit, Audited};
use crate::api::{About, Note, Observation, Output, UpId};
use crate::call::record::{Call, ClientCall, Trail};
use crate::client::request::Ctx;
use crate::gateway::Gateway;
use crate::protocol::excerpt::{LONGEST, LONGEST_ARGUMENTS, cut};
use crate::protocol::json;
use crate::protocol::refusal::Refusal;
use ggen_wire::log::Level;

impl Gateway {
    /// The beginning of a call's record, if records are wanted.
    pub(crate) fn trail(&self, ctx: &Ctx<'_>) -> Option<Box<Trail>> {
        if self.rules.audit == Audit::Off {
            return None;
        }
        let [name, uri, arguments] = ctx
            .params
            .and_then(|params| json::pick(params, ["name", "uri", "arguments"]))
            .unwrap_or_default();
        let name = name.or(uri).and_then(json::string).unwrap_or_default();
        Some(Box::new(Trail {
            principal: ctx.request.principal.id.clone(),
            name: cut(&name, LONGEST),
            bytes_in: ctx.text.len(),
            arguments: arguments
                .filter(|_| self.rules.audit == Audit::Arguments)
                .map(|raw| cut(raw, LONGEST_ARGUMENTS)),
        }))
    }

    /// A call is over.
    pub(crate) fn audit_call(
        &mut self,
        up: UpId,
        client: &ClientCall,
        outcome: &'static str,
        bytes_out: usize,
    ) {
        let Some(trail) = &client.trail else { return };
        let audited = Audited {
            principal: trail.principal.clone(),
            method: client.method.name(),
            name: trail.name.clone(),
            up: Some(up),
            outcome,
            code: None,
            duration: self.cx.now.saturating_sub(client.arrived),
            bytes_in: trail.bytes_in,
            bytes_out,
            edge: client.key.edge,
            id: cut(&client.id, LONGEST),
            trace: client.trace.as_ref().and_then(|trace| trace.id()),
            arguments: trail.arguments.clone(),
        };
        self.cx
            .emit(Output::Observe(Observation::Audit(Box::new(audited))));
    }

    /// A call has failed for a reason of ours: a line that finds it, whether or not calls are
    /// written down.
    pub(crate) fn note_failure(&mut self, call: &Call, client: &ClientCall, refusal: &Refusal) {
        let about = About {
            principal: client.principal.clone(),
            request: cut(&client.id, LONGEST),
            method: client.method.name(),
            tool: client.tool.clone(),
            trace: client.trace.as_ref().and_then(|trace| trace.id()),
        };
        self.cx.emit(Output::Log(Note {
            level: Level::Warn,
            category: "tools",
            up: Some(call.up),
            code: Some(refusal.code),
            about: Some(Box::new(about)),
            text: refusal.message.clone(),
        }));
    }

    /// A request that goes no further: refused, or (without a refusal) answered by a built-in tool.
    pub(crate) fn audit_local(&mut self, ctx: &Ctx<'_>, refusal: Option<&Refusal>) {
        let Some(trail) = self.trail(ctx) else { return };
        let Trail {
            principal,
            name,
            bytes_in,
            arguments,
        } = *trail;
        let audited = Audited {
            principal,
            method: ctx.method.name(),
            name,
            up: None,
            outcome: if refusal.is_some() { "refused" } else { "ok" },
            code: refusal.map(|refusal| refusal.code),
            duration: self.cx.now.saturating_sub(ctx.arrived),
            bytes_in,
            bytes_out: 0,
            edge: ctx.key.edge,
            id: cut(ctx.id, LONGEST),
            trace: ctx.trace.as_ref().and_then(|trace| trace.id()),
            arguments,
        };
        self.cx
            .emit(Output::Observe(Observation::Audit(Box::new(audited))));
    }
}
