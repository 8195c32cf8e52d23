//! What all workers share: the frame of the process (event loop, control channel, logging, beats,
//! drain) and the dispatch to the body of the role. May not: open a configuration file, bind, spawn
//! a process, use the supervisor other than by messages.
//!
//! A role's body is `pub async fn run(context: Context) -> ExitCode` in `worker/<role>/mod.rs`. It
//! calls [`Context::on_beat`] and [`Context::ready`], serves, reads [`Context::next`], and returns
//! when [`Drain::begun`] has told it to and its work is done. The frame ends the process at the
//! drain's deadline in any case.

mod beat;
mod context;
mod link_socket;
mod outbox;
mod sandbox;

pub mod admin;
pub(crate) mod edge;
pub mod gateway;
pub mod http;
pub(crate) mod quic;
pub mod websocket;

#[cfg(test)]
mod tests;

pub use context::{Context, Drain, Incoming};
pub use outbox::{Closed, Outbox};

use crate::{
    config::SandboxMode,
    ipc::messages::{Role, ToSupervisor},
    platform,
};
use ggen_wire::Code;
use std::{process::ExitCode, time::Duration};

/// EX_SOFTWARE of `sysexits.h`: the frame itself failed.
const SOFTWARE: u8 = 70;
/// EX_CONFIG of `sysexits.h`: not to be tried again with the same configuration.
const CONFIG: u8 = 78;

/// Runs this process as a worker, with the control channel on its standard input, until it is
/// drained.
pub fn main(role: Role) -> ExitCode {
    platform::close_inherited();
    platform::return_large_memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::from(SOFTWARE);
    };
    let code = runtime.block_on(serve(role));
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// Applies the sandbox of a role to this process and tells on standard output what it refuses.
pub fn try_sandbox(role: Role, mode: SandboxMode) -> ExitCode {
    match sandbox::try_out(role, mode, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(SOFTWARE),
    }
}

/// Fetches the keys of a token issuer as an edge worker does, for `ggend auth verify-token`.
///
/// # Errors
/// What went wrong, in words.
pub fn fetch_keys(source: &crate::auth::Source) -> Result<crate::auth::Keys, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(edge::auth::issuer::fetch(source))
}

async fn serve(role: Role) -> ExitCode {
    let opened = match platform::standard_input() {
        Ok(socket) => Context::open(socket).await,
        Err(error) => Err(error),
    };
    let (context, mut frame) = match opened {
        Ok(opened) => opened,
        // The supervisor is gone before it could say anything, or somebody started a worker by
        // hand.
        Err(_) => return ExitCode::from(SOFTWARE),
    };
    if context.start.role != role {
        return ExitCode::from(SOFTWARE);
    }
    match sandbox::apply(&context.start, &context.secrets) {
        Ok(enforced) => {
            if !enforced.missing.is_empty() {
                tracing::debug!(target: "mcp_server", "sandbox {}", enforced.text);
            }
            context
                .outbox()
                .send(ToSupervisor::Sandboxed(enforced.text))
                .await
                .ok();
        }
        Err(error) => {
            tracing::error!(target: "mcp_server", code = %Code::SandboxUnavailable, "{error}");
            frame.finish().await;
            return ExitCode::from(CONFIG);
        }
    }
    let drain = context.drain();
    let body = async {
        match role {
            Role::Gateway => gateway::run(context).await,
            Role::Http => http::run(context).await,
            Role::Websocket => websocket::run(context).await,
            Role::Quic => quic::run(context).await,
            Role::Admin => admin::run(context).await,
        }
    };
    let code = tokio::select! {
        biased;
        () = frame.beats.as_mut() => ExitCode::from(SOFTWARE),
        code = body => code,
        () = drain.expired() => {
            tracing::warn!(target: "mcp_server", "drain deadline passed with work in flight");
            ExitCode::SUCCESS
        }
    };
    frame.finish().await;
    code
}
