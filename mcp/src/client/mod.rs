//! The side of clients: sessions, exchanges, event streams, subscriptions, and what is answered
//! without an upstream.

pub(crate) mod builtin;
pub mod exchange;
pub(crate) mod inspect;
pub(crate) mod listen;
pub(crate) mod local;
pub(crate) mod request;
pub mod session;
pub(crate) mod session_store;
pub(crate) mod streams;
pub(crate) mod waiting;
