//! Calls of clients: from a client to an upstream and back, the children that they need, and what
//! becomes of them when somebody is lost.

mod again;
mod answer;
mod audit;
mod cancel;
pub(crate) mod children;
mod continuation;
mod failure;
pub(crate) mod forward;
mod notifications;
mod pending;
mod route;
mod subscribe;
mod tasks;
mod timeouts;

use crate::access::AccessControl;
use crate::client::Clients;
use crate::context::Context;
use crate::in_flight::Calls;
use crate::lease::Leases;
use crate::questions::Questions;
use crate::tasks::registry::Tasks;
use crate::trace::Spans;
use crate::upstream::{Connecting, Upstreams};
pub(crate) use route::{Route, Target};

/// The room at work on one event: what it may use.
pub(crate) struct Calling<'a> {
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

impl Calling<'_> {
    /// The room of the upstreams.
    pub(crate) fn connecting(&mut self) -> Connecting<'_> {
        Connecting {
            cx: self.cx,
            clients: self.clients,
            ups: self.ups,
            calls: self.calls,
        }
    }
}
