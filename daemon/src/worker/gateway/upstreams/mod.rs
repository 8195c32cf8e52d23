//! Connections to upstreams, one file for each transport. May not: know more of MCP than bodies, lines
//! and the ids of requests; start processes.

mod evidence;
pub(super) mod leases;
mod response;
pub(super) mod sse;
mod sse_channel;
pub(super) mod stdio;
pub(super) mod streamable_http;
