//! HTTP/3 (`h3`) over QUIC (`s2n-quic`): the traits of the one for the types of the other, and what
//! neither does: a send stream that is dropped unfinished is reset and never looks complete; a
//! receive stream that is dropped unread is refused without an error; `finish` waits until the peer
//! has everything; frames that h3 would buffer whole are bounded; after GOAWAY no further request
//! is taken. Used by the quic workers and by `http3_probe`. May not: know HTTP semantics or the
//! gateway.

mod connection;
mod error;
mod receive;
mod send;
mod walk;

pub(crate) use connection::Connection;
pub(crate) use receive::LARGEST_FRAME;

/// RFC 9114 §8.1, the codes that are used here.
pub(crate) mod code {
    /// The peer did nothing wrong; nothing more is wanted.
    pub(crate) const NO_ERROR: u64 = 0x100;
    /// We failed.
    pub(crate) const INTERNAL_ERROR: u64 = 0x102;
    /// The peer asks for more than is reasonable.
    pub(crate) const EXCESSIVE_LOAD: u64 = 0x107;
    /// The request was not processed at all and may be sent again.
    pub(crate) const REQUEST_REJECTED: u64 = 0x10b;
    /// The request or its answer is no longer wanted, or cannot be completed.
    pub(crate) const REQUEST_CANCELLED: u64 = 0x10c;
}

/// A code as the transport takes it.
pub(crate) fn application(code: u64) -> s2n_quic::application::Error {
    s2n_quic::application::Error::new(code).unwrap_or(s2n_quic::application::Error::UNKNOWN)
}
