//! `ggen mcp server restart`: the daemon replaces workers or an upstream, and reports progress.

use super::progress;
use crate::{
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::control::Call;

/// Replaces all workers, those of one role, or one upstream.
pub(crate) fn run(context: &mut Context, target: Option<String>) -> Result<Exit, Failed> {
    let heading = target.as_ref().map_or_else(
        || "Restarting MCP server...".to_owned(),
        |name| format!("Restarting {name}..."),
    );
    progress::follow(
        context.client()?,
        context,
        &heading,
        &Call::Restart { target },
        "Restarted successfully",
    )
}
