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
    Some(search(command, here, path).map_err(|missing| {
        let shown = crate::config::secrets::redact::text(command);
        let (what, help) = match missing {
            Missing::NotExecutable(file) => (
                format!("Command is not executable: {}", file.display()),
                format!("chmod +x {}", file.display()),
            ),
            Missing::Closed(folder) => (
                format!(
                    "Command not found: {shown}; {} may not be searched (Permission denied)",
                    folder.display()
                ),
                install_help(name, command),
            ),
            Missing::Nowhere => (
                format!("Command not found: {shown}"),
                install_help(name, command),
            ),
        };
        problem(Code::CommandNotFound, "command", what).help(help)
    }))
}

/// Why a command is not found.
enum Missing {
    /// This file was found, and may not be executed.
    NotExecutable(PathBuf),
    /// It is nowhere else, and this folder may not be searched by this user.
    Closed(PathBuf),
    /// It is nowhere.
    Nowhere,
}

/// The files that a command may be.
fn candidates(command: &str, here: &Path, path: &str) -> Vec<PathBuf> {
    if command.contains('/') {
        vec![here.join(command)]
    } else {
        path.split(':')
            .map(|folder| here.join(folder).join(command))
            .collect()
    }
}

fn search(command: &str, here: &Path, path: &str) -> Result<PathBuf, Missing> {
    let (mut unusable, mut closed) = (None, None);
    for file in candidates(command, here, path) {
        match std::fs::metadata(&file) {
            Ok(facts) if facts.is_file() && facts.permissions().mode() & 0o111 != 0 => {
                return Ok(file);
            }
            Ok(facts) if facts.is_file() => unusable = unusable.or(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                closed = closed.or_else(|| file.parent().map(Path::to_owned));
            }
            _ => {}
        }
    }
    Err(match (unusable, closed) {
        (Some(file), _) => Missing::NotExecutable(file),
        (None, Some(folder)) => Missing::Closed(folder),
        (None, None) => Missing::Nowhere,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_may_not_be_searched_is_named() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("closed");
        // A file in the place of a folder gives another error than one that is closed.
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o000)).unwrap();
        let path = format!("/nowhere:{}", folder.display());
        match search("no-such-program", Path::new("/"), &path) {
            Err(Missing::Closed(found)) => assert_eq!(found, folder),
            // Root may search everything.
            Err(Missing::Nowhere) => {
                assert!(std::fs::read_dir(&folder).is_ok(), "{}", folder.display());
            }
            _ => panic!("it is not there"),
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}
