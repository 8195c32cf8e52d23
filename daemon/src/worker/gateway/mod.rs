//! Stand-in for the gateway worker: asks for every stdio server, takes it for ready as soon as it runs, and relays nothing.

use super::{Context, Incoming};
use crate::{
    config::UpstreamTransport,
    ipc::messages::{ToSupervisor, UpstreamReport},
};
use ggen_wire::status::UpstreamState;
use std::process::ExitCode;

/// Serves until drained.
pub async fn run(mut context: Context) -> ExitCode {
    let outbox = context.outbox();
    for (name, upstream) in &context.start.config.mcp_servers {
        if upstream.enabled && matches!(upstream.transport, UpstreamTransport::Stdio { .. }) {
            outbox.send(ToSupervisor::Want { upstream: name.clone() }).await.ok();
        }
    }
    context.ready().await;
    let drain = context.drain();
    let mut held = Vec::new();
    loop {
        tokio::select! {
            _ = drain.begun() => return ExitCode::SUCCESS,
            Some(incoming) = context.next() => if let Incoming::Child { child, stdin, stdout } = incoming {
                held.push((stdin, stdout));
                let report = UpstreamReport {
                    upstream: child.upstream,
                    incarnation: child.incarnation,
                    state: UpstreamState::Ready,
                    era: None,
                    protocol: None,
                    server: None,
                    tools: 0,
                    prompts: 0,
                    resources: 0,
                    code: None,
                    detail: None,
                    handoff: Some("greeted".to_owned()),
                };
                outbox.send(ToSupervisor::Upstream(report)).await.ok();
            }
        }
    }
}
