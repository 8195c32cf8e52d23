//! WebSocket connections before they are served: the opening handshake, and the hand-over from the
//! worker that accepted the connection to the one that serves it.

pub(crate) mod handover;
pub(crate) mod handshake;
