//! What all child processes have in common, workers and servers alike: their environment, when one
//! that died is started again, and that every one is reaped.

pub(crate) mod environment;
pub(in crate::supervisor) mod reaper;
pub(in crate::supervisor) mod restart_backoff;
pub(in crate::supervisor) mod run_as;
