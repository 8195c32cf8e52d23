//! Stopping and starting one transport or upstream by name. What is stopped is switched off over
//! the configuration (`config/switched_off.rs`), and the difference is put in force as a reload is:
//! listeners close, workers finish what they have and go.

use crate::{
    config::{Loaded, TRANSPORTS, is_on},
    ipc::messages::Role,
    supervisor::reply::failure,
};
use ggen_wire::{
    Code,
    control::{Body, Failure},
    status::Issue,
};

/// What is to become of one transport or upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) name: String,
    pub(crate) on: bool,
}

/// The role whose workers serve a transport.
pub(crate) fn role_of(transport: &str) -> Option<Role> {
    if transport == "https" {
        Some(Role::Http)
    } else {
        Role::named(transport).filter(|role| *role != Role::Gateway)
    }
}

/// Why there is nothing of that name to be stopped or started. `is_upstream`: an upstream has it.
pub(crate) fn unknown(name: &str, loaded: &Loaded, is_upstream: bool) -> Option<Failure> {
    if is_on(&loaded.config, name) || loaded.stopped.contains(name) {
        return None;
    }
    let failed = |code, message: &str, help: &str| Some(failure(code, message, help));
    if name == Role::Gateway.as_str() {
        return failed(
            Code::InvalidRequest,
            "the gateway is what all transports serve; the daemon stops with it",
            "ggen mcp server stop",
        );
    }
    if TRANSPORTS.contains(&name) {
        let key = match name {
            "https" => "transports.http.ssl.enabled".to_owned(),
            "admin" => "metrics.enabled".to_owned(),
            other => format!("transports.{other}.enabled"),
        };
        return failed(
            Code::InvalidRequest,
            &format!("{name} is switched off in the configuration"),
            &format!("ggen mcp config set {key}=true && ggen mcp server reload"),
        );
    }
    if is_upstream {
        return failed(
            Code::UpstreamDisabled,
            &format!("{name} is disabled in the configuration"),
            "ggen mcp list",
        );
    }
    failed(
        Code::ServerUnknown,
        &format!("no transport and no server is called `{name}`"),
        "ggen mcp server status",
    )
}

/// What the caller is told once the change is in force. `quic`: why QUIC is not served, if it is
/// not; `draining`: connections that its workers still have.
pub(crate) fn outcome(
    switch: &Switch,
    quic: Option<Issue>,
    draining: u64,
) -> Result<Body, Failure> {
    let name = &switch.name;
    if let Some(issue) = quic.filter(|_| switch.on && name == "quic") {
        return Err(failure(issue.code, &issue.message, &issue.help));
    }
    Ok(Body::Done(match (switch.on, draining) {
        (true, _) => format!("{name} started"),
        (false, 0) => format!("{name} stopped"),
        (false, 1) => format!("{name} stopped, 1 connection draining"),
        (false, many) => format!("{name} stopped, {many} connections draining"),
    }))
}
