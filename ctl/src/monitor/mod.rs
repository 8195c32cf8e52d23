//! The live view. `source` asks the daemon in the background, `metrics` computes rates from two
//! answers, `state` holds what is shown and handles keys, `screen` draws.

pub(crate) mod metrics;
pub(crate) mod screen;
pub(crate) mod source;
pub(crate) mod state;
