//! Connections to upstreams: handshakes, requests of the relay itself, lists, streams, and what is
//! heard of changes. The room at work; its state is [`Upstreams`].

mod changes;
mod child;
mod due;
pub(crate) mod handshake;
mod header_mismatch;
pub(crate) mod http;
mod lifecycle;
mod listen;
mod lists;
pub(crate) mod offers;
pub(crate) mod outbound;
mod receive;
mod refresh;
mod send;

use crate::api::Micros;
use crate::client::Clients;
use crate::context::Context;
use crate::in_flight::Calls;
use crate::upstream::Upstreams;

/// How long a call that was given up may still write log messages to a pipe that it shares with
/// others.
pub(crate) const UNSURE: Micros = 30_000_000;

/// The room at work on one event: its state, and what it may use.
pub(crate) struct Connecting<'a> {
    pub(crate) cx: &'a mut Context,
    pub(crate) clients: &'a mut Clients,
    pub(crate) ups: &'a mut Upstreams,
    pub(crate) calls: &'a mut Calls,
}
