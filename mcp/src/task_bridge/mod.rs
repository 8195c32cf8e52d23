//! Requests about tasks on their way to servers and back, with the two bridges between the eras: the
//! tasks of legacy servers for modern clients, and those of modern servers for legacy clients.

mod continuation;
mod legacy_to_modern;
pub(crate) mod modern_to_legacy;
mod requests;

use crate::access::AccessControl;
use crate::call::Calling;
use crate::client::Clients;
use crate::context::Context;
use crate::in_flight::Calls;
use crate::interactive::Questioning;
use crate::lease::Leases;
use crate::questions::Questions;
use crate::tasks::registry::Tasks;
use crate::trace::Spans;
use crate::upstream::{Connecting, Upstreams};

/// The room at work on one event: what it may use.
pub(crate) struct Bridging<'a> {
    pub(crate) cx: &'a mut Context,
    pub(crate) access: &'a mut AccessControl,
    pub(crate) spans: &'a mut Spans,
    pub(crate) clients: &'a mut Clients,
    pub(crate) ups: &'a mut Upstreams,
    pub(crate) calls: &'a mut Calls,
    pub(crate) leases: &'a mut Leases,
    pub(crate) tasks: &'a mut Tasks,
    pub(crate) questions: &'a mut Questions,
}

impl Bridging<'_> {
    /// The room of the upstreams.
    pub(crate) fn connecting(&mut self) -> Connecting<'_> {
        Connecting {
            cx: self.cx,
            clients: self.clients,
            ups: self.ups,
            calls: self.calls,
        }
    }

    /// The room of the calls.
    pub(crate) fn calling(&mut self) -> Calling<'_> {
        Calling {
            cx: self.cx,
            access: self.access,
            spans: self.spans,
            clients: self.clients,
            ups: self.ups,
            calls: self.calls,
            leases: self.leases,
            tasks: self.tasks,
            questions: self.questions,
        }
    }
    /// The room of the servers' questions.
    pub(crate) fn questioning(&mut self) -> Questioning<'_> {
        Questioning {
            cx: self.cx,
            access: self.access,
            spans: self.spans,
            clients: self.clients,
            ups: self.ups,
            calls: self.calls,
            leases: self.leases,
            tasks: self.tasks,
            questions: self.questions,
        }
    }
}
