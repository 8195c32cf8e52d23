//! The gateway worker: the I/O around the relay (`ggen_mcp::gateway`). Edge links, stdio servers,
//! remote servers and the supervisor on one side, the sans-IO relay on the other. May not decide
//! anything about MCP, open files, or spawn processes.
//!
//! One task owns the relay and every socket ([`driver`]): no lock, no channel and no task switch
//! between a client's frame and the line to its server. Sources wake it through [`ready`]; a turn
//! takes all that are ready, feeds the relay, and then writes once per connection that has
//! something to send. Only what is not on the hot path has tasks of its own: HTTP exchanges with
//! remote servers, questions to the supervisor.

mod driver;
mod io;
mod metrics;
#[cfg_attr(not(feature = "otlp"), path = "otlp/off.rs")]
mod otlp;
mod settings;
mod supervisor;
mod upstreams;

#[cfg(test)]
mod tests;

use super::Context;
use driver::Driver;
use ggen_mcp::gateway::Gateway;
use std::process::ExitCode;

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Serves until drained.
pub(crate) async fn run(context: Context) -> ExitCode {
    let (settings, targets) = settings::settings(&context.start);
    let random = Box::new(|bytes: &mut [u8]| {
        // Every platform that we run on has a generator that does not fail once the system is up;
        // ids that are not random must never be used.
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system gives no random bytes: {error}");
        }
    });
    let upstreams = settings.upstreams.clone();
    let core = Gateway::new(settings, random);
    match Driver::new(context, core, upstreams, targets) {
        Ok(driver) => driver.run().await,
        Err(error) => {
            tracing::error!(target: "mcp_server", "the metrics cannot be declared: {error}");
            ExitCode::from(SOFTWARE)
        }
    }
}
