//! What the probe shows of itself to a server: an API key, a client certificate. They are read from
//! files, so that no command line holds a secret. May not: send anything.

use super::mcp::Fault;
use crate::ipc::secrets::{Certificate, Sensitive};
use crate::{probe::Connection, tls::serve};
use ggen_wire::Code;
use std::{fs::File, io::Read, path::Path};

/// The layers that a credential that cannot be used fails at.
pub(crate) const API_KEY: &str = "API key";
pub(crate) const CERTIFICATE: &str = "Client certificate";
/// Most bytes of a file that is read.
const MOST: u64 = 1 << 20;

/// What is shown to one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Goes out as `X-API-Key`.
    pub(crate) api_key: Option<Sensitive>,
    /// Shown where the server asks for one.
    pub(crate) certificate: Option<Certificate>,
}

impl Credentials {
    /// Reads those that the command line names.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn read(options: &Connection) -> Result<Self, Fault> {
        let api_key = match &options.api_key_file {
            None => None,
            Some(file) => {
                let key = text(API_KEY, file)?.trim().to_owned();
                if !is_key(&key) {
                    return Err(unusable(
                        API_KEY,
                        file,
                        "it holds no key: one line without spaces",
                    ));
                }
                Some(Sensitive::from(key))
            }
        };
        let certificate = match &options.client_cert {
            None => None,
            Some(file) => {
                let chain = text(CERTIFICATE, file)?;
                let key = match &options.client_key {
                    Some(file) => text(CERTIFICATE, file)?,
                    None => chain.clone(),
                };
                let certificate = Certificate {
                    chain,
                    key: key.into(),
                };
                serve::certified(&certificate)
                    .map_err(|error| unusable(CERTIFICATE, file, &error.to_string()))?;
                Some(certificate)
            }
        };
        Ok(Self {
            api_key,
            certificate,
        })
    }
}

/// Whether a text can be sent as a key.
pub(crate) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn text(layer: &'static str, file: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    File::open(file)
        .and_then(|open| open.take(MOST).read_to_string(&mut text))
        .map_err(|error| unusable(layer, file, &error.to_string()))?;
    Ok(text)
}

fn unusable(layer: &'static str, file: &Path, seen: &str) -> Fault {
    Fault {
        layer,
        code: Code::ConfigValue,
        what: format!("{} cannot be used", file.display()),
        seen: seen.to_owned(),
    }
}
