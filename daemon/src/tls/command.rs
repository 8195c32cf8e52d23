//! `ggend auth generate-ca` and `generate-cert`: certificates as files. May not: talk to the
//! daemon, replace files unless told to.

use super::make::{self, Pair, Purpose};
use clap::{Args, Subcommand};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// EX_CANTCREAT and EX_NOINPUT of `sysexits.h`.
const CANNOT_CREATE: u8 = 73;
const NO_INPUT: u8 = 66;

/// What to make.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make an authority of your own: ca.pem and ca.key
    GenerateCa(Authority),
    /// Make a certificate signed by it, for a server or a client
    GenerateCert(Signed),
}

/// `generate-ca`
#[derive(Debug, Args)]
pub struct Authority {
    /// Its name
    #[arg(long, default_value = "ggend CA")]
    name: String,
    #[command(flatten)]
    output: OutputOptions,
    /// How long it is valid
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

/// `generate-cert`
#[derive(Debug, Args)]
pub struct Signed {
    /// A host name or address that it serves; may be repeated
    #[arg(long, value_name = "HOST", required_unless_present = "client")]
    server: Vec<String>,
    /// Whom it is for, as a client: a name, a host name, an e-mail address or a URI
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    #[command(flatten)]
    by: By,
}

/// Who signs, and where it goes.
#[derive(Debug, Args)]
#[group(skip)]
pub struct By {
    /// The authority's certificate
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    ca: PathBuf,
    /// The authority's key
    #[arg(long, value_name = "FILE", default_value = "ca.key")]
    ca_key: PathBuf,
    #[command(flatten)]
    output: OutputOptions,
    /// How long it is valid
    #[arg(long, value_name = "N", default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

/// Where the files go.
#[derive(Debug, Args)]
#[group(skip)]
pub struct OutputOptions {
    /// The folder for the files
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// Makes it, and says where it is.
#[must_use]
pub fn run(verb: &Verb) -> ExitCode {
    match make(verb) {
        Ok(text) => {
            io::stdout().write_all(text.as_bytes()).unwrap_or_default();
            ExitCode::SUCCESS
        }
        Err((code, text)) => {
            io::stderr()
                .write_all(format!("ggend: {text}\n").as_bytes())
                .unwrap_or_default();
            ExitCode::from(code)
        }
    }
}

fn make(verb: &Verb) -> Result<String, (u8, String)> {
    let (stem, pair, output) = match verb {
        Verb::GenerateCa(authority) => {
            let pair = make::authority(&authority.name, authority.days)
                .map_err(|error| (CANNOT_CREATE, error.to_string()))?;
            ("ca".to_owned(), pair, &authority.output)
        }
        Verb::GenerateCert(options) => {
            let (stem, pair) = sign(options)?;
            (stem, pair, &options.by.output)
        }
    };
    let (certificate, key) = (
        output.out.join(format!("{stem}.pem")),
        output.out.join(format!("{stem}.key")),
    );
    // Both or none: an old key beside a new certificate is of no use.
    if let Some(there) = [&certificate, &key]
        .into_iter()
        .find(|path| !output.force && path.exists())
    {
        return Err((
            CANNOT_CREATE,
            format!("{} exists; --force replaces it", there.display()),
        ));
    }
    let write = |path: &Path, text: &str, mode| {
        make::write(path, text, mode, output.force)
            .map_err(|error| (CANNOT_CREATE, format!("{}: {error}", path.display())))
    };
    write(&key, &pair.key, 0o600)?;
    write(&certificate, &pair.certificate, 0o644)?;
    Ok(format!("{}\n{}\n", certificate.display(), key.display()))
}

/// A certificate signed by an authority, and the name of its files without their ending.
fn sign(options: &Signed) -> Result<(String, Pair), (u8, String)> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| (NO_INPUT, format!("{}: {error}", path.display())))
    };
    let authority = Pair {
        certificate: read(&options.by.ca)?,
        key: read(&options.by.ca_key)?,
    };
    let name = options
        .client
        .as_ref()
        .or(options.server.first())
        .cloned()
        .unwrap_or_default();
    // A plain word is only a common name.
    let is_alternative = |name: &&String| name.contains(['.', '@', ':']);
    let names: Vec<String> = options
        .client
        .iter()
        .filter(is_alternative)
        .chain(&options.server)
        .cloned()
        .collect();
    let purpose = match (&options.client, options.server.is_empty()) {
        (Some(_), true) => Purpose::Client,
        (None, _) => Purpose::Server,
        (Some(_), false) => Purpose::Both,
    };
    let pair = make::signed(&name, &names, options.by.days, purpose, &authority)
        .map_err(|error| (CANNOT_CREATE, error.to_string()))?;
    let stem = name.replace(
        |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@')),
        "_",
    );
    Ok((stem.trim_start_matches('.').to_owned(), pair))
}
