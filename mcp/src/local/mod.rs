//! What ggend answers itself: the handshake of legacy clients, discovery, lists, subscriptions, the
//! built-in tools, and the views for people and probes.

pub(crate) mod builtin;
mod inspect;
mod listen;
mod protocol;
mod restore;
mod rules;
mod streams;

use crate::access::AccessControl;
use crate::client::Clients;
use crate::context::Context;
use crate::in_flight::Calls;
use crate::tasks::registry::Tasks;
use crate::trace::Spans;
use crate::upstream::{Connecting, Upstreams};

/// The room at work on one event: what it may use.
pub(crate) struct Serving<'a> {
    pub(crate) cx: &'a mut Context,
    pub(crate) access: &'a mut AccessControl,
    pub(crate) spans: &'a mut Spans,
    pub(crate) clients: &'a mut Clients,
    pub(crate) ups: &'a mut Upstreams,
    pub(crate) calls: &'a mut Calls,
    pub(crate) tasks: &'a mut Tasks,
}

impl Serving<'_> {
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
