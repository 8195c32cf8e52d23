//! What is written down of calls that were sent to a server.

use crate::access::Outcome;
use crate::api::{About, Note, Output, UpId};
use crate::context::Context;
use crate::in_flight::record::{Call, ClientCall};
use crate::observation::CallOutcome;
use crate::protocol::excerpt::{LONGEST, cut};
use crate::protocol::refusal::Refusal;
use ggen_wire::log::Level;

impl ClientCall {
    /// The call is over: writes its record, if one was begun.
    pub(crate) fn audit(&self, cx: &mut Context, up: UpId, outcome: CallOutcome, bytes_out: usize) {
        if let Some(trail) = &self.trail {
            let outcome = Outcome {
                method: self.method,
                up: Some(up),
                outcome,
                code: None,
                arrived: self.arrived,
                bytes_out,
                link: self.key.edge,
                id: &self.id,
                trace: self.trace.as_ref().and_then(|trace| trace.id()),
            };
            trail.end(cx, &outcome);
        }
    }
}

impl Call {
    /// The call has failed for a reason of ours: a log line that finds it, whether or not calls are
    /// written down.
    pub(crate) fn note_failure(&self, cx: &mut Context, client: &ClientCall, refusal: &Refusal) {
        let about = About {
            principal: client.principal.clone(),
            request: cut(&client.id, LONGEST),
            method: client.method.name(),
            tool: client.tool.clone(),
            trace: client.trace.as_ref().and_then(|trace| trace.id()),
        };
        cx.emit(Output::Log(Note {
            level: Level::Warn,
            category: "tools",
            up: Some(self.up),
            code: Some(refusal.code),
            about: Some(Box::new(about)),
            text: refusal.message.clone(),
        }));
    }
}
