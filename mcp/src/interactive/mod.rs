//! What servers ask of clients during a call, in both eras. A legacy client is asked on the stream
//! of its call; a modern one gets the questions as the call's result and comes back with answers.

mod input_required_loop;
mod pending_input;
pub(crate) mod retry;
mod server_requests;

use crate::access::AccessControl;
use crate::call::Calling;
use crate::client::Clients;
use crate::context::Context;
use crate::in_flight::Calls;
use crate::lease::Leases;
use crate::questions::Questions;
use crate::tasks::registry::Tasks;
use crate::trace::Spans;
use crate::upstream::{Connecting, Upstreams};

/// The room at work on one event: what it may use.
pub(crate) struct Questioning<'a> {
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

impl Questioning<'_> {
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
}
