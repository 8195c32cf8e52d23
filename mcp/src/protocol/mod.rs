//! The Model Context Protocol as texts: envelopes, methods, headers, names, errors. Stateless; may
//! use nothing else of the crate.

pub mod capabilities;
pub(crate) mod era;
pub mod excerpt;
pub(crate) mod extensions;
pub mod header;
pub mod inbound;
pub mod json;
pub mod list_kind;
pub mod method;
pub mod name;
pub(crate) mod notification;
pub mod refusal;
pub mod splice;
pub mod sse;
pub(crate) mod task;
