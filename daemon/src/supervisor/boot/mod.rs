//! From nothing to the loop: configuration, the single instance, listeners, logging. What fails
//! here fails with an exit code of `sysexits.h`, one clear line, and nothing left behind.

mod refusal;
mod start;

use crate::{
    config::{LoadOptions, LogLevel},
    platform,
};
use refusal::{Refusal, SOFTWARE};
use start::Start;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// How long sessions may take to be written at the end.
const WRITE: Duration = Duration::from_secs(2);
/// How long the last answers at the control socket may take to leave.
const ANSWERS: Duration = Duration::from_millis(200);
/// How long the last log lines may take to leave.
const LINES: Duration = Duration::from_millis(500);
/// How long tasks may take to end.
const TASKS: Duration = Duration::from_millis(100);

/// How the supervisor is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the configuration comes from.
    pub load: LoadOptions,
    /// A level from a flag, over the configuration's.
    pub level: Option<LogLevel>,
    /// `--socket`
    pub socket: Option<PathBuf>,
}

/// Runs this process as the supervisor until it has stopped.
pub fn main(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::from(SOFTWARE),
    };
    let code = match runtime.block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => refusal.print(),
    };
    runtime.shutdown_timeout(TASKS);
    code
}

async fn serve(options: Options) -> Result<(), Refusal> {
    let start = Start::prepare(&options)?;
    let (mut supervisor, mut attached) = start.attach(options)?;
    loop {
        supervisor
            .run(&mut attached.events, &mut attached.signals)
            .await;
        if supervisor.lifecycle.stop.is_done() {
            break;
        }
        attached.serving = supervisor
            .hand_over(
                &mut attached.events,
                &mut attached.signals,
                attached.serving,
            )
            .await
            .map_err(Refusal::internal)?;
    }
    supervisor.upstreams.leave_cgroups();
    supervisor.lifecycle.stop.finish();
    supervisor.sessions.finish(WRITE).await;
    let hub = std::sync::Arc::clone(&supervisor.hub);
    // The last answers get a moment to leave; nobody is waited for longer.
    drop(supervisor);
    attached.serving.finish(ANSWERS).await;
    hub.console.flush(LINES);
    Ok(())
}

/// What the process itself is to be like, before anything is started.
fn harden() -> Result<(), Refusal> {
    platform::become_subreaper().map_err(Refusal::internal)?;
    // After an upgrade the kernel would show the number of a descriptor.
    platform::name_process(c"ggend");
    // The daemon of a person is that person's to look into, with `ggen mcp doctor` for example.
    let is_system = std::env::var_os("NOTIFY_SOCKET")
        .is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"/run/systemd/"));
    if platform::own_uid() == 0 || is_system {
        platform::hide_memory().map_err(Refusal::internal)?;
    }
    Ok(())
}
