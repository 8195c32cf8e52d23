//! Stand-in for the http worker: ready at once, drains at once.

use super::Context;
use std::process::ExitCode;

/// Serves until drained.
pub async fn run(mut context: Context) -> ExitCode {
    context.ready().await;
    let drain = context.drain();
    loop {
        tokio::select! {
            _ = drain.begun() => return ExitCode::SUCCESS,
            Some(_) = context.next() => {}
        }
    }
}
