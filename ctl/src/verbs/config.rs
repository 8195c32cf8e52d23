//! `ggen mcp config …`: hands over to `ggend check`, which shares the daemon's own code and works without a running daemon.

use crate::{args::Config, context::Context, daemon, failed::Failed};
use std::ffi::OsString;

/// Returns only when ggend cannot be run.
pub(crate) fn run(context: &Context, verb: Config) -> Failed {
    let mut arguments: Vec<OsString> = vec!["check".into()];
    match verb {
        Config::Validate { file } => arguments.extend(file.or_else(|| context.global.config.clone()).map(Into::into)),
        Config::Path => {
            arguments.push("--path".into());
            arguments.extend(context.global.config.clone().map(Into::into));
        }
    }
    let flags = [("--json", context.out.json), ("--verbose", context.out.verbose), ("--quiet", context.out.quiet)];
    arguments.extend(flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.into()));
    daemon::become_daemon(&arguments)
}
