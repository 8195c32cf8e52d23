//! `ggen mcp import` and `ggen mcp install`: become `ggend config`, which reads and writes the files
//! of client programs. And the names that other tools of this family have for starting.

use super::{config::Line, server};
use crate::{
    args::{Import, Install, Server, Start},
    context::Context,
    daemon,
    failed::{Exit, Failed},
};

/// Becomes `ggend`; returns only when that fails.
pub(crate) fn import(context: &Context, import: Import) -> Failed {
    let mut line = Line::of_config(context);
    line.word("import");
    line.flag("--yes", import.yes);
    line.flag("--dry-run", import.dry_run);
    line.flag("--replace", import.replace);
    line.rest(import.what);
    context.say_program(&line.0);
    daemon::become_daemon(&line.0)
}

/// Likewise.
pub(crate) fn install(context: &Context, install: Install) -> Failed {
    let mut line = Line::of_config(context);
    line.word("install");
    line.flag("--print", install.print);
    line.flag("--remove", install.remove);
    line.flag("--stdio", install.stdio);
    line.option("--url", install.url.map(Into::into));
    line.option("--file", install.file);
    line.rest([install.client]);
    context.say_program(&line.0);
    daemon::become_daemon(&line.0)
}

/// `ggen mcp start-server`: the transport decides what runs.
pub(crate) fn start_server(
    context: &mut Context,
    transport: &str,
    port: Option<u16>,
) -> Result<Exit, Failed> {
    match transport {
        "stdio" => server::run(context, Server::Stdio { server: None }),
        "http" | "https" | "streamable-http" | "websocket" | "quic" => {
            let start = Start {
                foreground: false,
                port,
                server: None,
            };
            server::run(context, Server::Start(start))
        }
        _ => Err(Failed::plain(
            Exit::Usage,
            format!("{transport}: no such transport"),
            "ggen mcp server start",
        )),
    }
}
