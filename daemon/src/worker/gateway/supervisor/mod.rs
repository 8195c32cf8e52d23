//! What the gateway worker and the supervisor tell each other while clients are served: questions in
//! both directions, and sessions to store. May not: decide anything about MCP.

pub(super) mod questions;
pub(super) mod stored_sessions;
