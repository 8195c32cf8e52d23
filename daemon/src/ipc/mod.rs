//! How our own processes speak: the control channel between supervisor and worker. Used by both
//! sides, knows neither. The hot path between edge and gateway worker is `ggen_mcp::edge::frame` over a
//! socket pair of its own.

pub mod channel;
pub mod http3_probe;
pub mod kept;
pub mod launch;
pub mod messages;
pub mod role;
pub mod seal;
pub mod secrets;
pub mod socket_slot;
