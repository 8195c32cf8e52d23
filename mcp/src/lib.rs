//! The Model Context Protocol as pure state machines: envelope, era, session, catalogue, routing.
//! No sockets, no clock, no tokio: `input(event, now)` goes in, a list of outputs comes out.

pub mod access;
pub mod api;
pub(crate) mod call;
pub mod client;
pub(crate) mod context;
pub mod edge;
pub mod gateway;
pub(crate) mod in_flight;
pub(crate) mod interactive;
pub(crate) mod lease;
pub(crate) mod local;
mod observation;
pub mod persisted;
pub mod protocol;
pub mod questions;
pub(crate) mod task_bridge;
pub(crate) mod tasks;
pub mod trace;
pub(crate) mod translation;
pub mod upstream;
