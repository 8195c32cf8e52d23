//! `ggen`: parses, asks the daemon, renders. May use wire, clap and the `ggend` binary beside it;
//! opens no configuration, holds no logic of the gateway, starts no event loop.

mod args;
mod client;
mod context;
mod daemon;
mod failed;
mod metrics;
mod monitor;
mod pager;
mod render;
mod verbs;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match args::Args::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and --version come this way too. There is nobody to tell when even this cannot
            // be written.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut context = context::Context::new(&arguments.global);
    let outcome = verbs::run(&mut context, arguments.noun)
        .and_then(|exit| context.out.flush().map(|()| exit).map_err(Into::into));
    outcome
        .unwrap_or_else(|failed| context.out.failed(&failed))
        .into()
}
