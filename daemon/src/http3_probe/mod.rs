//! `ggend http3-probe`: the HTTP/3 client of the probe, which talks to it over standard input. QUIC
//! needs an event loop and the probe has none, so each connection has a process of its own, which
//! ends with the channel. It shares the transport's adapter (`http3`) with the quic workers and
//! nothing of what serves. May not: open a file, decide what is good or bad, know MCP.

mod client;

use crate::{
    ipc::{
        channel::channel,
        http3_probe::{Failure, FromHttp3Probe, Kind, ToHttp3Probe},
    },
    platform,
};
use client::Client;
use std::{io, os::fd::OwnedFd, process::ExitCode, time::Duration};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Runs this process as the HTTP/3 client, with its channel on standard input.
pub(crate) fn main() -> ExitCode {
    // Keys of clients pass through our memory.
    platform::hide_memory().unwrap_or_default();
    let runtime = platform::standard_input().and_then(|socket| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(serve(socket))
    });
    if runtime.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOFTWARE)
    }
}

/// Does what is asked, one thing after the other, until the channel ends. What is under way then is
/// dropped.
async fn serve(socket: OwnedFd) -> io::Result<()> {
    let (mut sender, mut receiver) = channel(socket)?;
    let mut client = None;
    while let Some((message, _)) = receiver.receive().await? {
        let answer = tokio::select! {
            answer = act(&mut client, message) => answer,
            // The channel ended, or the probe sent a request before the answer: nobody waits for
            // this answer.
            _ = receiver.receive::<ToHttp3Probe>() => break,
        };
        sender.send(&answer, &[]).await?;
    }
    if let Some(client) = client {
        client.leave().await;
    }
    Ok(())
}

async fn act(client: &mut Option<Client>, message: ToHttp3Probe) -> FromHttp3Probe {
    let outcome = match message {
        ToHttp3Probe::Connect(destination) => {
            let patience = Duration::from_millis(destination.patience_ms);
            Client::connect(&destination, patience)
                .await
                .map(|(connected, shown)| {
                    *client = Some(connected);
                    FromHttp3Probe::Connected(shown)
                })
        }
        ToHttp3Probe::Ask(request) => match client {
            Some(client) => client.ask(request).await,
            None => Err(Failure {
                kind: Kind::Untried,
                seen: "there is no connection".to_owned(),
            }),
        },
    };
    outcome.unwrap_or_else(FromHttp3Probe::Failed)
}
