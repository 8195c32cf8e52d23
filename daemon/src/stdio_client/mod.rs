//! `ggend stdio`: standard input and output for one client, Streamable HTTP to the running daemon.
//! A client of the daemon like any other: it knows its control socket (for the address) and its MCP
//! endpoint, and nothing of supervisor, workers or configuration.
//!
//! The way of a line: `lines` (a thread reads) → `message` (what is it, which headers) → `exchange`
//! (HTTP) → `lines` (a thread writes).

mod address;
mod exchange;
mod lines;
mod message;
mod open;
mod session;

#[cfg(test)]
mod tests;

use address::Endpoint;
use exchange::Http;
use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_wire::{Code, paths::Host};
use lines::Output;
use message::{Line, Message};
use open::Open;
use session::Session;
use std::{path::PathBuf, process::ExitCode, rc::Rc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

/// Requests in flight; further ones are refused, so that a cancellation never waits behind them.
const OPEN: usize = 256;
/// After the end of the input, what is in flight may take so long.
const FINISH: Duration = Duration::from_secs(60);
/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Arguments of `ggend stdio`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Only one upstream server, under its own names.
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Say on standard error what passes: methods, statuses and times, never contents.
    #[arg(long = "debug", id = "relay_debug")]
    pub debug: bool,
}

/// Relays until the input ends, the output closes, or a signal comes.
#[must_use]
pub fn main(options: &Options, socket: Option<PathBuf>) -> ExitCode {
    let env = |name: &str| std::env::var_os(name);
    let host = Host {
        env: &env,
        root: crate::platform::own_uid() == 0,
    };
    let socket = host.client_socket(socket.as_deref(), &|path| path.exists());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return ExitCode::from(SOFTWARE);
    };
    let endpoint = Endpoint::new(socket, options.server.as_deref());
    let outcome = LocalSet::new().block_on(&runtime, run(endpoint, options.debug));
    // The reading thread may stand in a read that nothing ends; the process's end does.
    runtime.shutdown_timeout(Duration::from_millis(100));
    if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOFTWARE)
    }
}

async fn run(endpoint: Endpoint, debug: bool) -> std::io::Result<()> {
    let mut input = lines::read()?;
    let output = lines::write()?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let relay = Rc::new(Relay {
        http: Http::new(endpoint, debug),
        session: Session::default(),
        output,
        open: Open::default(),
    });
    loop {
        let line = tokio::select! {
            line = input.recv() => line,
            () = relay.output.closed() => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        match line {
            Some(line) => relay.take(line).await,
            None => {
                tokio::select! {
                    _ = tokio::time::timeout(FINISH, relay.open.all_over()) => {}
                    () = relay.output.closed() => {}
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                break;
            }
        }
    }
    relay.open.abort_all();
    relay.session.end(&relay.http).await;
    relay.output.finish().await;
    Ok(())
}

/// Everything that one client's relay holds.
struct Relay {
    http: Http,
    session: Session,
    output: Output,
    open: Open,
}

impl Relay {
    /// Does what a line of the client asks for. Waits only where the order matters: a handshake and
    /// notifications come before what follows them.
    async fn take(self: &Rc<Self>, line: Line) {
        let message = match line {
            Line::Whole(bytes) => Message::read(bytes),
            Line::TooLong => Err(Refusal::new(
                413,
                rpc::INVALID_REQUEST,
                Code::BodyTooLarge,
                "",
            )),
        };
        let message = match message {
            Ok(message) => message,
            Err(refusal) => return self.output.line(refusal.body(None)).await,
        };
        if let Some(id) = message.cancels()
            && self.open.abort_modern(&id)
        {
            return;
        }
        let Some(id) = message.id.clone() else {
            return self.session.pass_on(self, message).await;
        };
        if message.is_handshake() {
            return self.session.begin(self, message).await;
        }
        if self.open.len() >= OPEN {
            return self
                .output
                .line(Refusal::new(429, rpc::INTERNAL, Code::Overloaded, "").body(Some(&id)))
                .await;
        }
        let (relay, number, modern, own) = (
            Rc::clone(self),
            self.open.next(),
            message.is_modern(),
            id.clone(),
        );
        let task = tokio::task::spawn_local(async move {
            if let Err(refusal) = relay.session.request(&relay, &message).await {
                relay.output.line(refusal.body(Some(&id))).await;
            }
            relay.open.over(number);
        });
        self.open.insert(number, own, modern, task.abort_handle());
    }
}
