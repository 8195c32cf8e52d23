//! Calls in flight: from a client to an upstream and back, with the translation between the eras.

pub(crate) mod again;
pub(crate) mod answer;
mod audit;
pub(crate) mod forward;
pub(crate) mod notifications;
mod route;
mod subscribe;
pub(crate) mod timeouts;

pub(crate) use route::Target;
