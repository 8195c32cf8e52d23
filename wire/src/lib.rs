//! What the daemon and the control command share: the control interface, the status types, the framing and the table of error codes.
//! May use serde and std, nothing of ours.
