//! `ggen mcp server stdio`: becomes `ggend stdio`, because ggen has no HTTP client.

use crate::{context::Context, daemon, failed::Failed};
use std::ffi::OsString;

/// Returns only when it fails.
pub(crate) fn run(context: &Context, server: Option<String>) -> Failed {
    // The socket was found by the client's rule, which may be the service's; the relay takes it as
    // it is.
    let mut arguments: Vec<OsString> = vec![
        "--socket".into(),
        context.socket.clone().into(),
        "stdio".into(),
    ];
    if let Some(server) = server {
        arguments.extend(["--server".into(), server.into()]);
    }
    if context.global.debug {
        arguments.push("--debug".into());
    }
    context.say_program(&arguments);
    daemon::become_daemon(&arguments)
}
