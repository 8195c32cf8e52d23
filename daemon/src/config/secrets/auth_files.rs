//! The files that `auth` names: a fixed key, the secret of signed tokens, a public key. The loader
//! reads them, so that a reload takes new contents; workers never do.

use super::secret::Secret;
use crate::config::{
    model::Config,
    problem::{Location, Problem, Severity},
};
use ggen_wire::Code;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// The key store's file in the state directory. Here, because the loader has to know whether there
/// is one.
pub const KEY_STORE: &str = "auth.sqlite";

/// Bytes of such a file, at most.
const MOST: u64 = 64 << 10;
/// As `auth.jwt.secret`.
const LEAST_SECRET: usize = 32;

/// What they hold, without the line break at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthFiles {
    /// `auth.api_key_file`
    pub api_key: Option<Secret>,
    /// `auth.jwt.secret_file`
    pub jwt_secret: Option<Secret>,
    /// `auth.jwt.public_key`
    pub public_key: Option<String>,
}

/// Reads them.
pub(crate) fn read(
    config: &Config,
    place: &dyn Fn(&str) -> Location,
    problems: &mut Vec<Problem>,
) -> AuthFiles {
    let mut text = |path: &str, file: Option<&Path>, secret: bool| {
        let file = file.filter(|file| file.is_absolute())?;
        read_one(path, file, secret, place, problems)
    };
    let auth = &config.auth;
    let files = AuthFiles {
        api_key: text("auth.api_key_file", auth.api_key_file.as_deref(), true).map(Secret::new),
        jwt_secret: text(
            "auth.jwt.secret_file",
            auth.jwt.secret_file.as_deref(),
            true,
        )
        .map(Secret::new),
        public_key: text("auth.jwt.public_key", auth.jwt.public_key.as_deref(), false),
    };
    if files
        .jwt_secret
        .as_ref()
        .is_some_and(|secret| secret.expose().len() < LEAST_SECRET)
    {
        let path = "auth.jwt.secret_file";
        let what = format!("holds fewer than {LEAST_SECRET} bytes");
        let problem = Problem::new(Severity::Error, Code::ConfigValue, place(path), path, what);
        problems.push(problem.help("ggen mcp auth generate-jwt-secret"));
    }
    if files.public_key.as_ref().is_some_and(|text| {
        text.contains("PRIVATE KEY")
            || !text.contains("PUBLIC KEY") && !text.contains("CERTIFICATE")
    }) {
        let path = "auth.jwt.public_key";
        problems.push(Problem::new(
            Severity::Error,
            Code::ConfigValue,
            place(path),
            path,
            "must name a file with a public key in PEM format",
        ));
    }
    files
}

/// Reads one file. An empty or unreadable one is an error; a secret that others may read, a warning.
fn read_one(
    path: &str,
    file: &Path,
    secret: bool,
    place: &dyn Fn(&str) -> Location,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let name = file.display();
    let problem =
        |severity, code, what: String| Problem::new(severity, code, place(path), path, what);
    match contents(file) {
        Ok(Held { text, .. }) if text.is_empty() => {
            let what = format!("{name} is empty");
            problems.push(problem(Severity::Error, Code::ConfigValue, what));
            None
        }
        Ok(Held { others, text }) => {
            if secret && others {
                let what = format!("{name} may be read by others");
                let warning = problem(Severity::Warning, Code::ConfigMode, what);
                problems.push(warning.help(format!("chmod 600 {name}")));
            }
            Some(text)
        }
        Err(error) => {
            let what = format!("{name}: {error}");
            problems.push(problem(Severity::Error, Code::ConfigUnreadable, what));
            None
        }
    }
}

/// A file with something secret in it.
pub(crate) struct Held {
    /// Whether others than its owner may do anything with it.
    pub(crate) others: bool,
    /// What it holds, without the line break at its end.
    pub(crate) text: String,
}

/// Reads a small file.
pub(crate) fn contents(file: &Path) -> io::Result<Held> {
    let opened = File::open(file)?;
    let facts = opened.metadata()?;
    if !facts.is_file() || facts.len() > MOST {
        return Err(io::Error::other("not a small file"));
    }
    let mut text = String::new();
    opened.take(MOST).read_to_string(&mut text)?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(Held {
        others: facts.mode() & 0o077 != 0,
        text,
    })
}
