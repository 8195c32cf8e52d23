//! The trial of a new binary: it is started as a child with the state on its standard input, and
//! has to prove that it can read it.

use super::{Binary, State, check};
use crate::{
    config::{self, LoadOptions, Loaded, Problem},
    platform,
};
use std::{
    collections::BTreeSet,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// So much of what it says is kept, in bytes.
const WORDS: u64 = 1 << 10;

/// A binary that has been started to prove itself.
pub(crate) struct Trial {
    pub(super) binary: Binary,
    pub(super) files: Vec<(PathBuf, String)>,
    /// What it has to say.
    pub(super) proof: String,
    pub(crate) pid: u32,
}

impl Trial {
    /// Starts it.
    ///
    /// # Errors
    /// Why it cannot be started, for a person.
    pub(crate) fn start(
        binary: Binary,
        files: Vec<(PathBuf, String)>,
        state: &State,
    ) -> Result<(Self, Words), String> {
        let text = serde_json::to_vec(state).map_err(|error| error.to_string())?;
        let proof = check::proof(&text);
        let text = platform::sealed(&text).map_err(|error| error.to_string())?;
        let mut child = spawn(&binary, text)
            .map_err(|error| format!("{} cannot be executed: {error}", binary.path.display()))?;
        let pid = child.id();
        let (stdout, stderr) = (
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        );
        let trial = Self {
            binary,
            files,
            proof,
            pid,
        };
        Ok((trial, Words { stdout, stderr }))
    }
}

/// What it writes.
pub(crate) struct Words {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Words {
    /// Everything that it writes to standard output and standard error.
    pub(crate) async fn read(self) -> (String, String) {
        tokio::join!(words(self.stdout), words(self.stderr))
    }
}

fn spawn(binary: &Binary, state: OwnedFd) -> std::io::Result<Child> {
    let arguments = std::env::args_os().skip(1).chain(["upgrade-check".into()]);
    let file = binary.for_child()?;
    let mut command = Command::new(file.path());
    // Whatever the binary is, it finds nothing of ours in its working directory.
    command
        .arg0("ggend")
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .envs(platform::plain_environment())
        .envs(std::env::current_dir().map(|cwd| (check::WORKING_DIRECTORY, cwd)))
        .stdin(Stdio::from(state))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// The texts of the files of the configuration in force. What they say now has to be that
/// configuration: an upgrade puts no other one in force.
///
/// # Errors
/// Why that is not so, for a person.
pub(crate) fn files_in_force(
    loaded: &Loaded,
    options: &LoadOptions,
    stopped: &BTreeSet<String>,
) -> Result<Vec<(PathBuf, String)>, String> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((path.clone(), text))
    };
    let files = loaded.files.iter().map(read);
    let files = files.collect::<Result<Vec<_>, String>>()?;
    let options = LoadOptions {
        instead: files.clone(),
        ..options.clone()
    };
    let problems = |problems: Vec<Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let now = config::load(&options)
        .map_err(problems)?
        .with_stopped(stopped);
    if now.config != loaded.config || now.stopped != loaded.stopped {
        return Err("the configuration files have changed since they were read: ggen mcp server reload comes first".to_owned());
    }
    Ok(files)
}

/// What a child says, up to [`WORDS`]; what is more keeps it waiting for nobody.
async fn words(pipe: Option<OwnedFd>) -> String {
    let Some(mut pipe) = pipe.and_then(|pipe| pipe::Receiver::from_owned_fd(pipe).ok()) else {
        return String::new();
    };
    let mut text = Vec::new();
    (&mut pipe).take(WORDS).read_to_end(&mut text).await.ok();
    String::from_utf8_lossy(&text).trim().to_owned()
}
