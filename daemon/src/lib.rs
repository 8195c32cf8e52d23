//! The daemon in all its roles: supervisor, workers and shim.

pub mod check;
pub mod config;
pub mod ipc;
pub mod metrics;
