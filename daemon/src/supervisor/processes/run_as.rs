//! The user that worker processes run as.

use crate::{
    config::{Config, SandboxMode},
    ipc::messages::RunAs,
    platform,
};
use ggen_wire::Code;

/// The users that workers run as if the configuration names none: the first one that exists.
const USUAL: [&str; 2] = ["ggen", "nobody"];

/// What the configuration asks for is not possible here.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct CannotRunAs {
    /// The stable code.
    pub(crate) code: Code,
    what: String,
}

fn no_user(what: String) -> CannotRunAs {
    CannotRunAs {
        code: Code::ConfigValue,
        what,
    }
}

/// The user that the workers of a configuration run as; `None`: the daemon's own. May ask name
/// services.
///
/// # Errors
/// When the configuration names a user or group that does not exist, or one that we cannot become;
/// when it requires a sandbox that the kernel does not have.
pub(crate) fn run_as(config: &Config) -> Result<Option<RunAs>, CannotRunAs> {
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
        return Err(CannotRunAs {
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
