//! Certificates for tests, made by the product's own `ggen mcp auth generate-ca` and
//! `generate-cert`, and a client that shows them: curl.

use crate::{
    Daemon, Ran,
    sandbox::{Sandbox, binary},
};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, Issuer, KeyIdMethod, KeyPair,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

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
        made.ggen(
            sandbox,
            &[
                "generate-ca",
                "--name",
                &format!("CA {}", made.folder.display()),
            ],
        );
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
        (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        )
    }

    #[track_caller]
    fn ggen(&self, sandbox: &Sandbox, arguments: &[&str]) {
        let output = sandbox
            .command("ggen")
            .args(["mcp", "auth"])
            .args(arguments)
            .current_dir(&self.folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

/// Certificates that the product would not make: expired, or with a serial number that a revocation
/// list can name.
#[derive(Debug)]
pub struct Forge {
    ca: String,
    ca_key: String,
    folder: PathBuf,
}

impl Forge {
    /// With the key of that authority.
    #[must_use]
    pub fn new(pki: &Pki) -> Self {
        let text = |name| fs::read_to_string(pki.file(name)).unwrap();
        Self {
            ca: text("ca.pem"),
            ca_key: text("ca.key"),
            folder: pki.folder.clone(),
        }
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        Issuer::from_ca_cert_pem(&self.ca, KeyPair::from_pem(&self.ca_key).unwrap()).unwrap()
    }

    /// `NAME.pem` and `NAME.key` of a client, with that serial number, valid from ten days ago
    /// until then.
    pub fn client(&self, name: &str, serial: u64, until: SystemTime) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - 10 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        fs::write(
            self.folder.join(format!("{name}.pem")),
            params.signed_by(&key, &self.issuer()).unwrap().pem(),
        )
        .unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A revocation list of these serial numbers, PEM.
    #[must_use]
    pub fn revoke(&self, serials: &[u64]) -> String {
        self.revoke_until(serials, SystemTime::now() + 30 * DAY)
    }

    /// A revocation list that is good until then.
    #[must_use]
    pub fn revoke_until(&self, serials: &[u64], next_update: SystemTime) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: (SystemTime::now() - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (SystemTime::now() - 5 * DAY).into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(u64::try_from(serials.len()).unwrap()),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().pem().unwrap()
    }
}

/// What curl made of a request.
#[derive(Debug)]
pub struct Curled {
    /// Its exit code: 0, or why there is no answer (35, 56: the handshake; 60: the server's
    /// certificate).
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
    Curled {
        exit: output.status.code().unwrap_or(-1),
        status: status.parse().unwrap_or(0),
        body: body.to_owned(),
    }
}

/// Types a printed command into a shell of the daemon's sandbox, with its configuration and more
/// variables, in a folder.
#[must_use]
pub fn shell(daemon: &Daemon, folder: &Path, more: &[(&str, &str)], command: &str) -> Ran {
    let ours = daemon.sandbox.command("ggen");
    let mut bash = Command::new("bash");
    bash.env_clear()
        .envs(
            ours.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(folder);
    bash.env(
        "PATH",
        format!(
            "{}:{}",
            binary("ggen").parent().unwrap().display(),
            std::env::var("PATH").unwrap_or_default()
        ),
    );
    let output = bash
        .env("GGEN_MCP_CONFIG", daemon.sandbox.config())
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .arg("-c")
        .arg(command)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
