//! `ggend visit`: a client over HTTP/3 for the probe, at the other end of its standard input. QUIC
//! needs an event loop, which the probe does not have; so one look is a process of its own, which
//! ends with the channel. It shares the transport's adapter (`http3`) with the quic workers and
//! nothing of what serves. May not: open a file, decide what is good or bad, know MCP.

mod client;

use crate::{
    ipc::{
        channel::channel,
        http3_probe::{Failure, FromVisitor, Kind, ToVisitor},
    },
    platform,
};
use client::Client;
use std::{io, os::fd::OwnedFd, process::ExitCode, time::Duration};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Plays the visitor, with its channel on standard input.
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
            // Its end, or a question before the answer: nobody waits for this one.
            _ = receiver.receive::<ToVisitor>() => break,
        };
        sender.send(&answer, &[]).await?;
    }
    if let Some(client) = client {
        client.leave().await;
    }
    Ok(())
}

async fn act(client: &mut Option<Client>, message: ToVisitor) -> FromVisitor {
    let outcome = match message {
        ToVisitor::Connect(place) => {
            let patience = Duration::from_millis(place.patience_ms);
            Client::connect(&place, patience)
                .await
                .map(|(connected, shown)| {
                    *client = Some(connected);
                    FromVisitor::Connected(shown)
                })
        }
        ToVisitor::Ask(question) => match client {
            Some(client) => client.ask(question).await,
            None => Err(Failure {
                kind: Kind::Untried,
                seen: "there is no connection".to_owned(),
            }),
        },
    };
    outcome.unwrap_or_else(FromVisitor::Failed)
}
