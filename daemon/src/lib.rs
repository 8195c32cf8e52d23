//! The daemon in all its roles: supervisor, workers and shim.

pub mod config;
pub mod ipc;
pub mod log;
pub mod metrics;
pub mod platform;
pub mod worker;
