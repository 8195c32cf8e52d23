//! The driver with real pipes and sockets, a scripted relay, and the test in the supervisor's place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use crate::{config::Config, ipc::messages::{Role, Start}};
pub(super) fn start(config: Config) -> Start {
    Start {
        name: "gateway-0".to_owned(),
        role: Role::Gateway,
        generation: 1,
        incarnation: 0,
        beat_ms: 1000,
        log_filter: "info".to_owned(),
        listeners: Vec::new(),
        config,
    }
}
