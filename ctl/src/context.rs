//! What every verb is given: the global flags, the path of the socket, and the output.

use crate::{
    args::{Format, Global},
    client::{Client, ClientOptions},
    daemon,
    failed::Failed,
    render::{Out, note},
};
use ggen_wire::paths::Host;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// The surroundings of one command.
pub(crate) struct Context {
    /// Flags of every command.
    pub(crate) global: Global,
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// Where to print.
    pub(crate) out: Out,
}

impl Context {
    /// Looks at the environment once.
    pub(crate) fn new(global: &Global) -> Self {
        let env = |name: &str| std::env::var_os(name);
        let host = Host {
            env: &env,
            root: nix::unistd::geteuid().is_root(),
        };
        let socket = host.client_socket(global.socket.as_deref(), &|path| path.exists());
        let json = global.json || global.format == Some(Format::Json);
        Self {
            global: global.clone(),
            socket,
            out: Out::new(json, global.quiet, global.verbose),
        }
    }

    /// The time-out: the flag, or what suits the verb.
    pub(crate) fn timeout(&self, default: Duration) -> Duration {
        self.global.timeout.unwrap_or(default)
    }

    /// Connects to the daemon; an answer may take as long as `--timeout`, 10 s without it.
    ///
    /// # Errors
    /// Not running, not allowed.
    pub(crate) fn client(&self) -> Result<Client, Failed> {
        Client::connect(
            &self.socket,
            self.timeout(Duration::from_secs(10)),
            self.client_options(),
        )
    }

    /// With `--debug`, says which ggend is run how.
    pub(crate) fn say_program(&self, arguments: &[OsString]) {
        if self.global.debug {
            let line: Vec<_> = arguments
                .iter()
                .map(|argument| argument.to_string_lossy())
                .collect();
            let program = daemon::find()
                .map_or_else(|_| "ggend".to_owned(), |path| path.display().to_string());
            note(&format!("debug: runs {program} {}", line.join(" ")));
        }
    }

    /// How clients behave under the global flags.
    pub(crate) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            debug: self.global.debug,
            quiet: self.global.quiet,
            clean: !self.out.json,
        }
    }
}
