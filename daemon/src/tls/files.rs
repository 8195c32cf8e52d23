//! The files that TLS needs: which ones, their contents, whether they can be used, and whether they
//! have changed. For the supervisor alone; workers get the contents as text.

use super::{Facts, Unusable, certificate, make, serve};
use crate::{
    config::{Loaded, Mtls, state},
    ipc::secrets::{Certificate, TlsSecrets},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Largest file that is read, in bytes: revocation lists may be long.
const MAX: u64 = 8 << 20;
/// A certificate that ends within so many days is warned of.
pub const SOON: i64 = 30;
/// How long a certificate of our own is valid, in days.
const OWN_DAYS: u32 = 397;

/// Which files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Certificates and their keys; none: our own.
    pairs: Vec<(PathBuf, PathBuf)>,
    own: Option<PathBuf>,
    /// QUIC alone would use our own, and can be left out.
    dispensable: bool,
    mtls: Option<Mtls>,
    authorities: Option<PathBuf>,
    revoked: Option<PathBuf>,
}

/// What they hold.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// For the workers.
    pub secrets: TlsSecrets,
    /// The certificates that are served, in the same order, and where they are.
    pub certificates: Vec<(PathBuf, Facts)>,
    /// What is worth a line in the log.
    pub notes: Vec<String>,
    /// What is worth a warning.
    pub warnings: Vec<String>,
}

/// What tells whether a file has changed: inode, size, and the time of its change.
pub type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

impl Wanted {
    /// Those of a configuration.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let (http, quic) = (
            &loaded.config.transports.http,
            &loaded.config.transports.quic,
        );
        let https = http.enabled && http.ssl.enabled;
        if !https && !quic.enabled {
            return Self::default();
        }
        let place = |key: &str, path: &PathBuf| loaded.path(key, path);
        let cert = http
            .ssl
            .cert
            .iter()
            .map(|path| place("transports.http.ssl.cert", path));
        let key = http
            .ssl
            .key
            .iter()
            .map(|path| place("transports.http.ssl.key", path));
        let pairs: Vec<_> = cert.zip(key).collect();
        let mtls = &loaded.config.auth.mtls;
        let asked = |key: &str, path: &Option<PathBuf>| {
            path.as_ref()
                .filter(|_| mtls.enabled)
                .map(|path| place(key, path))
        };
        Self {
            own: pairs.is_empty().then(|| state::directory().join("tls")),
            dispensable: !https,
            pairs,
            mtls: mtls.enabled.then(|| mtls.clone()),
            authorities: asked("auth.mtls.ca_cert", &mtls.ca_cert),
            revoked: asked("auth.mtls.crl", &mtls.crl),
        }
    }

    /// Whether TLS is served at all.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.own.is_some() || !self.pairs.is_empty()
    }

    /// The state of all files now.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        let own = self
            .own
            .iter()
            .map(|directory| directory.join("self-signed.pem"));
        let pairs = self
            .pairs
            .iter()
            .flat_map(|(cert, key)| [cert.clone(), key.clone()]);
        let all = own
            .chain(pairs)
            .chain(self.authorities.clone())
            .chain(self.revoked.clone());
        all.map(|path| {
            fs::metadata(path)
                .ok()
                .map(|facts| (facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
        })
        .collect()
    }

    /// Reads and judges them all; makes a certificate of our own if none is configured.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(&self) -> Result<Found, Unusable> {
        let mut found = Found::default();
        if let Some(directory) = &self.own {
            match own(directory, &mut found) {
                Err(error) if self.dispensable => found
                    .warnings
                    .push(format!("QUIC is not served: {}", error.what)),
                made => made?,
            }
        }
        for (cert, key) in &self.pairs {
            let pair = Certificate {
                chain: text(cert)?,
                key: text(key)?.into(),
            };
            let named = |error: Unusable| Unusable {
                what: format!("{} with {}: {}", cert.display(), key.display(), error.what),
                ..error
            };
            let (facts, _) = serve::certified(&pair).map_err(named)?;
            if fs::metadata(key).is_ok_and(|facts| facts.mode() & 0o077 != 0) {
                found.warnings.push(format!(
                    "{} can be read by others than its owner: chmod 600",
                    key.display()
                ));
            }
            found.take(cert, facts, pair);
        }
        if let Some(mtls) = &self.mtls {
            let Some(path) = &self.authorities else {
                return Err(Unusable::new(
                    "auth.mtls is enabled, and auth.mtls.ca_cert is not set",
                ));
            };
            let (authorities, revoked) =
                (text(path)?, self.revoked.as_deref().map(text).transpose()?);
            let named = |at: &Path| {
                let at = at.display().to_string();
                move |error: Unusable| Unusable {
                    what: format!("{at}: {}", error.what),
                    ..error
                }
            };
            serve::Judge::new(mtls, &authorities, None).map_err(named(path))?;
            serve::Judge::new(mtls, &authorities, revoked.as_deref())
                .map_err(named(self.revoked.as_deref().unwrap_or(path)))?;
            (found.secrets.client_ca, found.secrets.revoked) = (Some(authorities), revoked);
        }
        Ok(found)
    }
}

impl Found {
    fn take(&mut self, path: &Path, facts: Facts, pair: Certificate) {
        let days = days_left(&facts, SystemTime::now());
        if days < 0 {
            self.warnings.push(format!(
                "the certificate {} has expired {} days ago",
                path.display(),
                -days
            ));
        } else if days < SOON {
            self.warnings.push(format!(
                "the certificate {} expires in {days} days",
                path.display()
            ));
        }
        self.certificates.push((path.to_path_buf(), facts));
        self.secrets.certificates.push(pair);
    }
}

/// Whole days until a certificate's end; negative after it.
#[must_use]
pub fn days_left(facts: &Facts, now: SystemTime) -> i64 {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    (facts.not_after - now).div_euclid(Duration::from_secs(24 * 3600).as_secs().cast_signed())
}

/// The certificate that signs itself: the one of an earlier start while it is good, else a new one.
fn own(directory: &Path, found: &mut Found) -> Result<(), Unusable> {
    let (cert, key) = (
        directory.join("self-signed.pem"),
        directory.join("self-signed.key"),
    );
    let old = || {
        let pair = Certificate {
            chain: text(&cert).ok()?,
            key: text(&key).ok()?.into(),
        };
        let (facts, _) = serve::certified(&pair).ok()?;
        (days_left(&facts, SystemTime::now()) >= SOON).then_some((facts, pair))
    };
    if let Some((facts, pair)) = old() {
        found.take(&cert, facts, pair);
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Unusable::new(format!(
            "no certificate can be kept in {}: {error}",
            directory.display()
        ))
    };
    state::make(directory).map_err(failed)?;
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    names.extend(
        fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned())
            .filter(|name| is_host(name)),
    );
    let made = make::self_signed(&names, OWN_DAYS)?;
    make::write(&key, &made.key, 0o600, true)
        .and_then(|()| state::keep_owner(&key))
        .map_err(failed)?;
    make::write(&cert, &made.certificate, 0o644, true)
        .and_then(|()| state::keep_owner(&cert))
        .map_err(failed)?;
    let pair = Certificate {
        chain: made.certificate,
        key: made.key.into(),
    };
    let (facts, _) = serve::certified(&pair)?;
    found.notes.push(format!(
        "no certificate is configured: made a self-signed one, {}; clients have to be told to trust it (curl --cacert {0}), or set transports.http.ssl.cert and .key",
        cert.display()
    ));
    found.take(&cert, facts, pair);
    Ok(())
}

fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name != "localhost"
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// A PEM file.
fn text(path: &Path) -> Result<String, Unusable> {
    let named = |what: String| Unusable::new(format!("{}: {what}", path.display()));
    let facts = fs::metadata(path).map_err(|error| named(error.to_string()))?;
    if !facts.is_file() || facts.len() > MAX {
        return Err(named(format!("not a file of at most {MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| named(error.to_string()))
}

/// The certificates of a file, for who looks at them only.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn look(path: &Path) -> Result<Vec<Facts>, Unusable> {
    certificate::chain(&text(path)?)?
        .iter()
        .map(|der| certificate::facts(der))
        .collect()
}
