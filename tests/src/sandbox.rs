//! The place that a daemon of a test lives in (its own home, runtime directory, working directory and
//! ports), and the programs of this workspace that run there.

use crate::process::{self, Process};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A binary of this workspace, beside the test executable's directory.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let place = test
        .ancestors()
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    place.unwrap_or_else(|| {
        panic!("{name} is not built: `cargo build --workspace` makes what these tests drive (looked above {})", test.display())
    })
}

/// The configuration entry of a stdio fixture.
#[must_use]
pub fn fixture(arguments: &[&str]) -> Value {
    json!({ "command": binary("ggend-fixture"), "args": arguments })
}

/// The place that a daemon lives in.
#[derive(Debug)]
pub struct Sandbox {
    // Removed with everything in it when dropped.
    #[allow(dead_code, reason = "kept for its destructor")]
    directory: TempDir,
    root: PathBuf,
}

impl Sandbox {
    /// A new one, with this configuration file, if any.
    pub(crate) fn new(config: Option<&Value>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ggend-test-")
            .tempdir()
            .unwrap();
        // As the kernel shows it in links.
        let root = directory.path().canonicalize().unwrap();
        for name in ["home", "run", "work", "tmp", "output"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let mut sandbox = Self { directory, root };
        if let Some(config) = config {
            sandbox.write_config(config);
        }
        sandbox
    }

    /// Its top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("mcp.json")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("run/ggend.sock")
    }

    /// Replaces the configuration file.
    pub fn write_config(&mut self, config: &Value) {
        fs::write(self.config(), serde_json::to_vec_pretty(config).unwrap()).unwrap();
    }

    /// A program of this workspace that knows this sandbox only. Ports are the system's to choose.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command
            .env_clear()
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("GGEN_RUNTIME_DIR", self.path("run"));
        command.env("GGEN_STATE_DIR", self.path("state"));
        command
            .env("GGEN_MCP_TRANSPORTS_HTTP_PORT", "0")
            .env("GGEN_MCP_METRICS_PORT", "0");
        command
    }

    /// Starts a program whose output is appended to files of this sandbox.
    pub(crate) fn spawn(&self, command: &mut Command) -> Child {
        let output = |name| {
            File::options()
                .create(true)
                .append(true)
                .open(self.path(name))
                .unwrap()
        };
        command
            .stdout(output("output/stdout"))
            .stderr(output("output/stderr"))
            .spawn()
            .unwrap()
    }

    /// The processes that live here.
    #[must_use]
    pub fn processes(&self, root: Option<u32>) -> Vec<Process> {
        process::of_sandbox(&self.path("home"), root)
    }
}

/// A finished program.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it wrote on stdout.
    pub stdout: String,
    /// What it wrote on stderr.
    pub stderr: String,
}

/// Reads a whole file, for tests that look into a sandbox.
///
/// # Errors
/// Those of the file system.
pub fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}
