//! The Model Context Protocol as pure state machines: envelope, era, session, catalogue, routing.
//! No sockets, no clock, no tokio: `input(event, now)` goes in, a list of outputs comes out.

pub mod api;
pub mod edge;
pub mod exchange;
pub mod frame;
pub mod gateway;
pub mod header;
pub mod inbound;
pub mod json;
pub mod keep;
pub mod limit;
pub mod list;
pub mod method;
pub mod name;
pub mod policy;
pub mod refusal;
pub mod rules;
pub mod seal;
pub mod session;
pub mod span;
pub mod splice;
pub mod sse;
pub mod trace;
pub mod upstream;
pub mod view;
