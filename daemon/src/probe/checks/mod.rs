//! The table of checks. A check is a function from the gathered context to findings. It is bounded
//! by the context's deadline, changes nothing, and returns nothing, or a note, when all is well.

mod collector;
mod configuration;
mod daemon;
mod host;
mod listeners;
mod protocol;
mod secure;
mod service;
mod tool_names;
mod upstreams;
mod workers;

use super::{context::Context, report::finding::Finding};

/// A check.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, in kebab case; stable.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Context) -> Vec<Finding>,
}

/// Every check, in the order in which findings are shown: what explains the others comes first.
pub const ALL: &[Check] = &[
    Check {
        name: "daemon-running",
        run: daemon::running,
    },
    Check {
        name: "control-socket",
        run: daemon::socket,
    },
    Check {
        name: "runtime-leftovers",
        run: daemon::leftovers,
    },
    Check {
        name: "versions",
        run: daemon::versions,
    },
    Check {
        name: "configuration",
        run: configuration::valid,
    },
    Check {
        name: "config-modes",
        run: configuration::modes,
    },
    Check {
        name: "config-variables",
        run: configuration::variables,
    },
    Check {
        name: "config-drift",
        run: configuration::drift,
    },
    Check {
        name: "workers",
        run: workers::workers,
    },
    Check {
        name: "open-files",
        run: workers::open_files,
    },
    Check {
        name: "sandbox",
        run: workers::sandbox,
    },
    Check {
        name: "cgroups",
        run: workers::cgroups,
    },
    Check {
        name: "ports-free",
        run: listeners::free,
    },
    Check {
        name: "listeners",
        run: listeners::reachable,
    },
    Check {
        name: "http",
        run: protocol::http,
    },
    Check {
        name: "https",
        run: secure::https,
    },
    Check {
        name: "mcp-modern",
        run: protocol::modern,
    },
    Check {
        name: "mcp-legacy",
        run: protocol::legacy,
    },
    Check {
        name: "websocket",
        run: protocol::websocket,
    },
    Check {
        name: "quic",
        run: secure::quic,
    },
    Check {
        name: "metrics",
        run: protocol::metrics,
    },
    Check {
        name: "limits",
        run: protocol::limits,
    },
    Check {
        name: "upstreams",
        run: upstreams::states,
    },
    Check {
        name: "upstream-launch",
        run: upstreams::launch,
    },
    Check {
        name: "upstream-urls",
        run: upstreams::remote,
    },
    Check {
        name: "tool-names",
        run: tool_names::names,
    },
    Check {
        name: "collector",
        run: collector::spans,
    },
    Check {
        name: "localhost",
        run: host::localhost,
    },
    Check {
        name: "disk",
        run: host::disk,
    },
    Check {
        name: "clock",
        run: host::clock,
    },
    Check {
        name: "service",
        run: service::unit,
    },
];
