//! The messages between our own processes: the control channel between supervisor and worker, and
//! between supervisor and shim. The hot path between edge and gateway worker is not here, it is
//! `ggen_mcp::edge::frame` over a socket pair. May not: use the supervisor or a worker.

pub mod channel;
pub mod http3_probe;
pub mod kept;
pub mod launch;
pub mod messages;
pub mod role;
pub mod seal;
pub mod secrets;
pub mod socket_slot;
