//! The Model Context Protocol as pure state machines: envelope, era, session, catalogue, routing.
//! No sockets, no clock, no tokio: `input(event, now)` goes in, a list of outputs comes out.

pub mod api;
pub mod edge;
pub mod frame;
pub mod gateway;
pub mod sse;
