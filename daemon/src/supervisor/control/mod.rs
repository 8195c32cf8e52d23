//! The control socket: who holds it, the calls that come in at it, and what they show and change.

pub(in crate::supervisor) mod calls;
pub(in crate::supervisor) mod instance;
pub(in crate::supervisor) mod log_levels;
pub(in crate::supervisor) mod socket;
pub(in crate::supervisor) mod status;
