//! `ggen mcp server upgrade`: the running daemon becomes another binary, and reports progress.

use crate::{
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::control::Call;
use std::path::PathBuf;

/// The binary at `path`, or what is installed now.
pub(crate) fn run(context: &mut Context, path: Option<PathBuf>) -> Result<Exit, Failed> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let call = Call::Upgrade {
        binary: path.map(absolute),
    };
    // That the versions differ is what this is for.
    let client = context.client()?.tolerant();
    super::progress::follow(
        client,
        context,
        "Upgrading MCP server...",
        &call,
        "Upgraded successfully",
    )
}
