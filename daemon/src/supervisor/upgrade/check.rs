//! `ggend upgrade-check`: the binary that is to take over proves that it can, as a child of the one
//! that runs: it reads the configuration and the state, from standard input, and does nothing. Not
//! a verb for people.

use crate::{
    auth::hex,
    config::{self, LoadOptions},
    platform,
    supervisor::{
        processes::run_as::run_as,
        secrets::Tls,
        upgrade::state::{self, State, Unreadable},
    },
};
use sha2::{Digest, Sha256};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// EX_DATAERR and EX_CONFIG of `sysexits.h`.
const DATA: u8 = 65;
const CONFIG: u8 = 78;

/// The working directory of the daemon, for relative paths of its command line. The check runs in
/// another one.
pub(super) const WORKING_DIRECTORY: &str = "GGEND_UPGRADE_DIRECTORY";

/// What proves that a state was read: its digest.
pub(super) fn proof(text: &[u8]) -> String {
    hex::encode(&Sha256::digest(text).into())
}

/// Says this binary's version and the proof on standard output, or on standard error what is in the
/// way.
#[must_use]
pub fn check(options: &LoadOptions) -> ExitCode {
    // The state holds what a daemon keeps to itself.
    platform::hide_memory().unwrap_or_default();
    match prove(options) {
        Ok(proof) => {
            let line = format!("{} {proof}\n", ggen_wire::VERSION);
            std::io::stdout()
                .write_all(line.as_bytes())
                .map_or(ExitCode::from(DATA), |()| ExitCode::SUCCESS)
        }
        Err((code, text)) => {
            std::io::stderr()
                .write_all(format!("{text}\n").as_bytes())
                .unwrap_or_default();
            ExitCode::from(code)
        }
    }
}

fn prove(options: &LoadOptions) -> Result<String, (u8, String)> {
    let unreadable = |error: Unreadable| (DATA, error.to_string());
    let text = platform::standard_input().and_then(|input| platform::unsealed(&input, state::MAX));
    let text = text.map_err(|error| unreadable(error.into()))?;
    let state = State::read(&text).map_err(unreadable)?;
    let cwd = std::env::var_os(WORKING_DIRECTORY).map(PathBuf::from);
    let options = LoadOptions {
        instead: state.files,
        cwd: cwd.unwrap_or_else(|| options.cwd.clone()),
        ..options.clone()
    };
    let loaded = config::load(&options)
        .map_err(|problems| {
            (
                CONFIG,
                problems
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n"),
            )
        })?
        .with_stopped(&state.stopped);
    Tls::read(&loaded).map_err(|error| (CONFIG, error.to_string()))?;
    run_as(&loaded.config).map_err(|error| (CONFIG, error.to_string()))?;
    Ok(proof(&text))
}
