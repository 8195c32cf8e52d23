//! Bytes of connections: buffers, lines, and the frames of a link to an edge worker. May not: look
//! into a message.

pub(super) mod buffers;
pub(super) mod lines;
pub(super) mod link;
