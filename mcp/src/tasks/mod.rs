//! Tasks of servers: whose they are, and the two bridges between the eras.

pub(crate) mod continuation;
pub(crate) mod legacy_to_modern;
pub(crate) mod list;
pub(crate) mod modern_to_legacy;
pub(crate) mod passthrough;
pub(crate) mod registry;
pub(crate) mod updates;
pub(crate) mod watch;
