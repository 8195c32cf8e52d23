//! Certificates for tests, made by the product's own `ggen mcp auth generate-ca` and `generate-cert`, and a client that shows them: curl.

use crate::{
    Daemon, Ran,
    daemon::{Sandbox, binary},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder with an authority in it.
#[derive(Debug)]
pub struct Pki {
    /// Where the files are.
    pub folder: PathBuf,
}

impl Pki {
    /// A new authority in a folder of the sandbox.
    #[must_use]
    pub fn new(sandbox: &Sandbox, folder: &str) -> Self {
        let folder = sandbox.path(folder);
        fs::create_dir(&folder).unwrap();
        let made = Self { folder };
        made.ggen(sandbox, &["generate-ca", "--name", &format!("CA {}", made.folder.display())]);
        made
    }

    /// A file of the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a certificate, `NAME.pem` and `NAME.key`; `kind`: `--server` or `--client`.
    #[track_caller]
    pub fn make(&self, sandbox: &Sandbox, kind: &str, name: &str) -> (PathBuf, PathBuf) {
        self.ggen(sandbox, &["generate-cert", kind, name, "--force"]);
        (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")))
    }

    #[track_caller]
    fn ggen(&self, sandbox: &Sandbox, arguments: &[&str]) {
        let output = sandbox.command("ggen").args(["mcp", "auth"]).args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

/// What curl made of a request.
#[derive(Debug)]
pub struct Curled {
    /// Its exit code: 0, or why there is no answer (35, 56: the handshake; 60: the server's certificate).
    pub exit: i32,
    /// The HTTP status; 0: none.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Runs curl with these arguments.
#[must_use]
pub fn curl(arguments: &[&str]) -> Curled {
    let output = Command::new("curl")
        .args(["-s", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .env_remove("HOME")
        .stdin(Stdio::null())
        .output()
        .expect("curl is needed for these tests");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
    Curled { exit: output.status.code().unwrap_or(-1), status: status.parse().unwrap_or(0), body: body.to_owned() }
}

/// Types a printed command into a shell of the daemon's sandbox, with its configuration and more variables, in a folder.
#[must_use]
pub fn shell(daemon: &Daemon, folder: &Path, more: &[(&str, &str)], command: &str) -> Ran {
    let ours = daemon.sandbox.command("ggen");
    let mut bash = Command::new("bash");
    bash.env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(folder);
    bash.env("PATH", format!("{}:{}", binary("ggen").parent().unwrap().display(), std::env::var("PATH").unwrap_or_default()));
    let output = bash
        .env("GGEN_MCP_CONFIG", daemon.sandbox.config())
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .arg("-c")
        .arg(command)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
