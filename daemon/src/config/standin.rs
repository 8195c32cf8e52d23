//! Stand-in for the loader: reads one JSON file, without layers or positions.

use super::Config;
use ggen_wire::Code;
use std::{collections::BTreeMap, path::PathBuf};

/// What the loader may look at.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Values of command-line flags; later ones win.
    pub flags: Vec<Flag>,
    /// `--config`
    pub config_path: Option<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The system's folder.
    pub etc: PathBuf,
    /// Run by a person.
    pub user_mode: bool,
}

/// A value from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// How it is shown: `--port`.
    pub name: String,
    /// The leaf that it sets: `transports.http.port`.
    pub path: String,
    /// Its value.
    pub value: serde_json::Value,
}

/// A configuration in force.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Warnings.
    pub warnings: Vec<Problem>,
    /// Why an entry is disabled that nobody switched off.
    pub blocked: BTreeMap<String, Problem>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} [{code}]")]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What is wrong.
    pub what: String,
    /// Commands that mend it.
    pub help: Vec<String>,
}

impl Problem {
    /// Whether it refuses the configuration.
    #[must_use]
    pub fn is_error(&self) -> bool {
        true
    }
}

/// Loads and checks.
///
/// # Errors
/// All problems, if any is an error.
pub fn load(options: &LoadOptions) -> Result<Loaded, Vec<Problem>> {
    let fail = |code, what: String| vec![Problem { code, what, help: Vec::new() }];
    let mut config: Config = match &options.config_path {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| fail(Code::ConfigUnreadable, format!("{}: {error}", path.display())))?;
            serde_json::from_slice(&text).map_err(|error| fail(Code::ConfigSyntax, format!("{}: {error}", path.display())))?
        }
        None => Config::default(),
    };
    for flag in &options.flags {
        if flag.path == "transports.http.port" {
            config.transports.http.port = flag.value.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        }
    }
    config.order = config.mcp_servers.keys().cloned().collect();
    Ok(Loaded { config, warnings: Vec::new(), blocked: BTreeMap::new(), file: options.config_path.clone() })
}

/// The configuration without its secrets.
#[must_use]
pub fn redacted(config: &Config) -> serde_json::Value {
    let mut shown = config.clone();
    shown.mcp_servers.clear();
    serde_json::to_value(shown).unwrap_or_default()
}
