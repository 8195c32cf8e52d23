//! The control socket: the process that holds it, its connections, who may call what, and what the
//! gateway is asked for callers.

mod instance;
mod log_levels;
mod logging;
pub(crate) mod permissions;
mod places;
pub(crate) mod questions;
pub(crate) mod socket;
pub(crate) mod status;

pub(crate) use instance::{Instance, InstanceError};
pub(crate) use logging::Logging;
pub(crate) use questions::Questions;

/// What the supervisor keeps for its control socket.
pub(crate) struct Control {
    pub(crate) instance: Instance,
    pub(crate) questions: Questions,
    pub(crate) logging: Logging,
}
