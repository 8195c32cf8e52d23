//! A place at the QUIC port: which of the port's UDP sockets a worker reads, and how connection ids
//! say whose they are. The supervisor steers datagrams by it, the worker writes it; both know only
//! this. Pure.
//!
//! A connection id of ours: `[socket slot][MAGIC][random]`. The socket slot is also the index of
//! its socket among those that share the port.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Length of our connection ids, in bytes (RFC 9000 §5.1 allows up to 20).
pub const ID_LENGTH: usize = 16;
/// Bytes 1 and 2 of our connection ids, to tell them from those that clients choose for their first
/// packet.
pub const MAGIC: [u8; 2] = [0x67, 0xe4];
/// Socket slots that a QUIC port may have: what one byte can say.
pub const MAX_SLOTS: usize = 256;

/// A worker's place.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketSlot {
    /// Which socket, from 0.
    pub index: u8,
    /// What stateless reset tokens are made with (RFC 9000 §10.3); the same for every worker, so
    /// that a dead worker's successor can tell its clients, and over the daemon's death.
    pub reset_key: [u8; 32],
}

impl fmt::Debug for SocketSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketSlot")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// The socket slot that a connection id names, if it is one of ours.
#[must_use]
pub fn slot_of(id: &[u8]) -> Option<u8> {
    match id {
        [slot, one, two, ..] if [*one, *two] == MAGIC && id.len() >= ID_LENGTH => Some(*slot),
        _ => None,
    }
}
