//! A client's request with everything that was found out about it.

use crate::access::policy::Access;
use crate::access::{AccessControl, Outcome};
use crate::api::{Micros, StreamKey};
use crate::client::view::View;
use crate::client::waiting::Attempt;
use crate::context::Context;
use crate::edge::Request;
use crate::observation::CallOutcome;
use crate::protocol::capabilities::Caps;
use crate::protocol::inbound::Claim;
use crate::protocol::method::{Legacy, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::trace::Trace;
use ggen_wire::Code;
use std::sync::Arc;

/// A client's request with everything that was found out about it.
pub(crate) struct RequestContext<'a> {
    pub(crate) key: StreamKey,
    pub(crate) request: &'a Request,
    pub(crate) arrived: Micros,
    pub(crate) attempt: &'a Attempt,
    pub(crate) view: View,
    /// What the client may do; `None`: everything.
    pub(crate) access: Option<Arc<Access>>,
    pub(crate) text: &'a str,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) method: Method,
    pub(crate) params: Option<&'a str>,
    pub(crate) era: ClientEra<'a>,
    /// The trace that it belongs to, if it says so.
    pub(crate) trace: Option<Arc<Trace>>,
}

/// The client's era.
#[derive(Clone)]
pub(crate) enum ClientEra<'a> {
    Modern(Claim<'a>),
    /// The session, and its revision.
    Legacy(Arc<str>, Legacy),
    /// A legacy client that names no session. It can be asked for nothing, and does not come back
    /// for an answer.
    Sessionless(Legacy),
}

impl ClientEra<'_> {
    /// The revision of a legacy client.
    pub(crate) const fn revision(&self) -> Option<Legacy> {
        match self {
            Self::Modern(_) => None,
            Self::Legacy(_, version) | Self::Sessionless(version) => Some(*version),
        }
    }
}

impl RequestContext<'_> {
    pub(crate) const fn is_modern(&self) -> bool {
        matches!(self.era, ClientEra::Modern(_))
    }

    pub(crate) const fn era_name(&self) -> &'static str {
        if self.is_modern() { "modern" } else { "legacy" }
    }

    /// What a modern client can be asked for in this request.
    pub(crate) fn caps(&self) -> Caps {
        match &self.era {
            ClientEra::Modern(claim) => claim.capabilities.map(Caps::read).unwrap_or_default(),
            ClientEra::Legacy(..) | ClientEra::Sessionless(_) => Caps::default(),
        }
    }

    /// The request goes no further: refused, or (without a refusal) answered by a built-in tool.
    /// Writes a record of it, if records are wanted.
    pub(crate) fn audit(
        &self,
        access: &AccessControl,
        cx: &mut Context,
        refusal: Option<&Refusal>,
    ) {
        let principal = &self.request.principal.id;
        if let Some(trail) = access.trail(principal, self.params, self.text.len()) {
            let outcome = Outcome {
                method: self.method,
                up: None,
                outcome: if refusal.is_some() {
                    CallOutcome::Refused
                } else {
                    CallOutcome::Ok
                },
                code: refusal.map(|refusal| refusal.code),
                arrived: self.arrived,
                bytes_out: 0,
                link: self.key.edge,
                id: self.id,
                trace: self.trace.as_ref().and_then(|trace| trace.id()),
            };
            trail.end(cx, &outcome);
        }
    }

    pub(crate) fn session(&self) -> Option<Arc<str>> {
        self.session_name().cloned()
    }

    pub(crate) const fn session_name(&self) -> Option<&Arc<str>> {
        match &self.era {
            ClientEra::Legacy(session, _) => Some(session),
            ClientEra::Modern(_) | ClientEra::Sessionless(_) => None,
        }
    }

    /// The refusal of a method that nobody knows.
    pub(crate) fn unknown_method(&self) -> Refusal {
        Refusal::new(
            if self.is_modern() { 404 } else { 200 },
            rpc::METHOD_NOT_FOUND,
            Code::MethodUnknown,
            self.name,
        )
    }

    /// Whether the request may still wait, if it may for so long from its arrival on.
    pub(crate) const fn may_wait(&self, now: Micros, limit: Micros) -> bool {
        now < self.arrived + limit
    }
}

/// What became of a request.
pub(crate) enum Flow {
    /// It was answered, or somebody will answer it.
    Done,
    /// It is to be tried again when an upstream changes, and then as if nothing more were to be
    /// hoped for.
    Wait,
}

/// What became of a request that need not be a message. The refusal comes with the request's id, if
/// that is known.
pub(crate) type Answer = Result<Flow, (Option<Box<str>>, Refusal)>;
