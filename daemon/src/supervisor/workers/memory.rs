//! What workers may hold in memory (`server.memory`), and what is said of those that hold more or
//! have had to refuse. Pure: sizes and time are arguments.

use super::{Proc, Workers};
use crate::{
    config::{Config, UpstreamTransport},
    ipc::messages::Role,
};
use ggen_wire::{Code, status::Issue};
use std::time::Duration;

/// For one connection of a client.
const CONNECTION: u64 = 32 << 10;
/// For the answers of one stdio server.
const SERVER: u64 = 64 << 20;
/// A refusal is shown for so long.
const SHOWN: Duration = Duration::from_secs(60);

/// The bytes that a worker of a role may have resident; `None`: none is stated.
pub(crate) fn bound(role: Role, config: &Config) -> Option<u64> {
    let memory = config.server.memory.0;
    let transports = &config.transports;
    let connections = |most: u32| memory + u64::from(most) * CONNECTION;
    match role {
        Role::Http | Role::Quic => Some(connections(transports.http.max_connections)),
        Role::Websocket => Some(connections(transports.websocket.max_connections)),
        Role::Gateway => {
            let stdio = config.mcp_servers.values().filter(|server| {
                server.enabled && matches!(server.transport, UpstreamTransport::Stdio { .. })
            });
            let servers = u64::try_from(stdio.count().max(1)).unwrap_or(u64::MAX);
            Some(4 * memory + SERVER.saturating_mul(servers))
        }
        Role::Admin => None,
    }
}

impl Workers {
    /// What is wrong with the memory of workers.
    pub(crate) fn shortages(&self, config: &Config, now: Duration) -> Vec<Issue> {
        let issue = |proc: &Proc| {
            let (name, role) = (&proc.name, proc.role);
            let most = bound(role, config).unwrap_or(u64::MAX);
            let (message, help) = if proc.usage.rss_bytes > most {
                let message = format!(
                    "{name} has {} MiB of memory, and is to have {} MiB at most (server.memory)",
                    proc.usage.rss_bytes >> 20,
                    most >> 20
                );
                (
                    message,
                    format!("ggen mcp server restart --server {}", role.as_str()),
                )
            } else if proc
                .shed_at
                .is_some_and(|at| now.saturating_sub(at) < SHOWN)
            {
                let message = format!(
                    "{name} holds as much for slow clients as it may: requests and answers were refused, or slow clients disconnected"
                );
                (message, "ggen mcp server status --verbose".to_owned())
            } else {
                return None;
            };
            Some(Issue {
                code: Code::Overloaded,
                message,
                help,
            })
        };
        self.procs
            .values()
            .filter(|proc| proc.is_current())
            .filter_map(issue)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Role, bound};

    #[test]
    fn bounds_are_those_of_the_documents() {
        let mut config = Config::default();
        let mib = |role| bound(role, &config).map(|bytes| bytes >> 20);
        assert_eq!(mib(Role::Http), Some(192));
        assert_eq!(mib(Role::Websocket), Some(192));
        assert_eq!(mib(Role::Gateway), Some(320));
        assert_eq!(mib(Role::Admin), None);
        config.transports.http.max_connections = 1024;
        assert_eq!(bound(Role::Quic, &config), Some(96 << 20));
    }
}
