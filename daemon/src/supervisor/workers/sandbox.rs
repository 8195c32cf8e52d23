//! What the supervisor has to do with the workers' sandbox: who they become, that it is known how
//! much stands, and that those who may not call out are replaced when they have to. The walls
//! themselves are put up by each worker (`worker/sandbox.rs`).

use crate::{
    config::{Config, SandboxMode},
    ipc::messages::RunAs,
    platform,
    supervisor::{Supervisor, event::ProcId},
};
use ggen_wire::Code;

/// Who workers become if the configuration does not say, the first one that exists.
const USUAL: [&str; 2] = ["ggen", "nobody"];

/// What the configuration asks for cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct NoWalls {
    /// The stable code.
    pub(crate) code: Code,
    what: String,
}

fn no_user(what: String) -> NoWalls {
    NoWalls {
        code: Code::ConfigValue,
        what,
    }
}

/// Who the workers of a configuration become. May ask name services.
///
/// # Errors
/// When the configuration names a user or group that does not exist, or one that we cannot become;
/// when it requires a sandbox that the kernel does not have.
pub(crate) fn run_as(config: &Config) -> Result<Option<RunAs>, NoWalls> {
    let server = &config.server;
    let missing = if server.sandbox == SandboxMode::Required {
        platform::missing_sandbox_layers()
    } else {
        Vec::new()
    };
    if !missing.is_empty() {
        let what = format!(
            "server.sandbox is \"required\", and this kernel does not give {}",
            missing.join(" and ")
        );
        return Err(NoWalls {
            code: Code::SandboxUnavailable,
            what,
        });
    }
    let found = |name: &str| {
        platform::user(name).map_err(|error| no_user(format!("server.user {name:?}: {error}")))
    };
    let user = match &server.user {
        Some(name) => Some(
            found(name)?
                .ok_or_else(|| no_user(format!("server.user {name:?}: there is no such user")))?,
        ),
        None if platform::own_uid() == 0 && server.sandbox != SandboxMode::Off => USUAL
            .iter()
            .find_map(|name| platform::user(name).ok().flatten()),
        None => None,
    };
    let Some(user) = user else { return Ok(None) };
    let gid = match &server.group {
        Some(name) => platform::group(name)
            .map_err(|error| no_user(format!("server.group {name:?}: {error}")))?
            .ok_or_else(|| no_user(format!("server.group {name:?}: there is no such group")))?,
        None => user.gid,
    };
    let own = platform::own_uid();
    match own {
        0 => Ok(Some(RunAs {
            uid: user.uid,
            gid,
            asked: server.user.is_some(),
        })),
        _ if own == user.uid => Ok(None),
        _ => Err(no_user(
            "server.user: only a daemon that is started as root can become somebody else"
                .to_owned(),
        )),
    }
}

impl Supervisor {
    /// A worker says how much of its sandbox stands. What is missing is told once, not at each
    /// start.
    pub(crate) fn worker_sandboxed(&mut self, id: ProcId, standing: String) {
        let Some(proc) = self.workers.procs.get(&id) else {
            return;
        };
        let (name, role) = (proc.name.clone(), proc.role);
        if standing.starts_with("partial")
            && !self
                .workers
                .procs
                .values()
                .any(|other| other.role == role && other.sandbox == standing)
        {
            tracing::warn!(target: "mcp_server", code = %Code::SandboxUnavailable, worker = %name, "sandbox of the {} workers is {standing}", role.as_str());
        }
        if let Some(proc) = self.workers.procs.get_mut(&id) {
            proc.sandbox = standing;
        }
    }

    /// The first issuer of tokens has appeared: those who were walled in without the network cannot
    /// ask it for its keys, and are replaced one by one, each when its successor serves.
    pub(crate) fn let_call_out(&mut self, had_issuer: bool) {
        if had_issuer
            || !self.secrets.auth.has_issuer()
            || self.loaded.config.server.sandbox == SandboxMode::Off
        {
            return;
        }
        let slots = self
            .workers
            .slots
            .iter()
            .filter(|slot| slot.role.knows_secrets() && slot.current.is_some());
        let names: Vec<String> = slots.map(|slot| slot.name.clone()).collect();
        tracing::info!(target: "mcp_server", "workers are replaced, so that they can ask the issuer of tokens for its keys");
        self.roll_through(names, "workers replaced".to_owned(), None);
    }
}
