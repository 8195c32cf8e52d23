//! Finds an upstream's command as execvp(3) would, without executing it.

use crate::config::{
    model::{Upstream, UpstreamTransport},
    problem::{Location, Problem, Severity},
};
use ggen_wire::Code;
use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// PATH of execvp(3) when there is none.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Looks a stdio entry's command up in its own PATH, else in the daemon's; also that its directory
/// exists. `here` is the daemon's directory, for relative commands of entries without `cwd`. `None`
/// for remote entries.
#[must_use]
pub fn find_command(
    name: &str,
    upstream: &Upstream,
    env: &BTreeMap<String, String>,
    here: &Path,
    place: Location,
) -> Option<Result<PathBuf, Problem>> {
    let UpstreamTransport::Stdio {
        command,
        env: own,
        cwd,
        ..
    } = &upstream.transport
    else {
        return None;
    };
    let problem = |code, key: &str, what: String| {
        Problem::new(
            Severity::Entry,
            code,
            place.clone(),
            format!("mcpServers.{name}.{key}"),
            what,
        )
        .of_server(name)
    };
    if let Some(cwd) = cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        return Some(Err(problem(
            Code::ConfigValue,
            "cwd",
            format!("No such directory: {}", cwd.display()),
        )
        .help(format!("mkdir -p {}", cwd.display()))));
    }
    let path = own
        .get("PATH")
        .or_else(|| env.get("PATH"))
        .map_or(DEFAULT_PATH, String::as_str);
    let here = cwd.as_deref().unwrap_or(here);
    Some(search(command, here, path).map_err(|unusable| {
        if let Some(file) = unusable {
            return problem(
                Code::CommandNotFound,
                "command",
                format!("Command is not executable: {}", file.display()),
            )
            .help(format!("chmod +x {}", file.display()));
        }
        problem(
            Code::CommandNotFound,
            "command",
            format!(
                "Command not found: {}",
                crate::config::secrets::redact::text(command)
            ),
        )
        .help(install_help(name, command))
    }))
}

/// The error is a file that was found and may not be executed.
fn search(command: &str, here: &Path, path: &str) -> Result<PathBuf, Option<PathBuf>> {
    let candidates: Vec<PathBuf> = if command.contains('/') {
        vec![here.join(command)]
    } else {
        path.split(':')
            .map(|folder| here.join(folder).join(command))
            .collect()
    };
    let mut unusable = None;
    for file in candidates {
        match std::fs::metadata(&file) {
            Ok(facts) if facts.is_file() && facts.permissions().mode() & 0o111 != 0 => {
                return Ok(file);
            }
            Ok(facts) if facts.is_file() => unusable = unusable.or(Some(file)),
            _ => {}
        }
    }
    Err(unusable)
}

fn install_help(name: &str, command: &str) -> String {
    match command {
        "npx" | "node" | "npm" => {
            "apt-get install nodejs npm   (or put Node.js into the PATH of the daemon)".to_owned()
        }
        "uvx" | "uv" => "pip install uv   (or put uv into the PATH of the daemon)".to_owned(),
        "docker" => {
            "apt-get install docker.io   (or put docker into the PATH of the daemon)".to_owned()
        }
        "python" => format!("ggen mcp config set mcpServers.{name}.command=python3"),
        _ => format!(
            "ggen mcp config set mcpServers.{name}.command=/full/path/to/{}",
            command.rsplit('/').next().unwrap_or(command)
        ),
    }
}
