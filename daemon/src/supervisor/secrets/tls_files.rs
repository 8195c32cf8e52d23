//! The files of certificates: read here, and looked at by a thread, because a file system may take
//! its time.

use crate::{
    config::Loaded,
    ipc::secrets::Secrets,
    supervisor::reply::failure,
    tls::{Unusable, files},
};
use ggen_wire::{Code, control::Failure};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How often files are looked at.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Which files, and the state that they were in.
type Seen = (files::Wanted, files::Stamps);

/// The certificates that were read.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// Which files they are from, and the state of these before they were read.
    seen: Seen,
    pub(super) found: files::Found,
}

impl Tls {
    /// Reads the files of a configuration.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(crate) fn read(loaded: &Loaded) -> Result<Self, Unusable> {
        Self::of(files::Wanted::of(loaded))
    }

    /// Whether there is a certificate to serve with.
    pub(crate) const fn is_any(&self) -> bool {
        !self.found.certificates.is_empty()
    }

    /// Certificates that are served: file, name, and when it expires, in seconds since 1970.
    pub(crate) fn facts(&self) -> Vec<(String, String, i64)> {
        let facts = self.found.certificates.iter().map(|(path, facts)| {
            let path = path.display().to_string();
            (path, facts.name.clone(), facts.not_after)
        });
        facts.collect()
    }

    /// Whether others were read from the same files.
    pub(super) fn is_of_same_files(&self, other: &Self) -> bool {
        self.seen.0 == other.seen.0
    }

    /// Logs that they come into force, and what is to be said about them.
    pub(super) fn log(&self, before: &Self, secrets: &Secrets) {
        for note in &self.found.notes {
            tracing::warn!(target: "transport", code = %Code::CertificateSelfSigned, "{note}");
        }
        for warning in &self.found.warnings {
            tracing::warn!(target: "transport", code = %Code::CertificateExpiring, "{warning}");
        }
        if before.is_any() && self.found.secrets != secrets.tls {
            tracing::info!(target: "transport", "new certificates in force");
        }
    }

    fn of(wanted: files::Wanted) -> Result<Self, Unusable> {
        let stamps = wanted.stamps();
        let found = wanted.read()?;
        Ok(Self {
            seen: (wanted, stamps),
            found,
        })
    }
}

/// Logs that files are not taken over.
pub(crate) fn refused(error: &Unusable) -> Failure {
    tracing::error!(target: "transport", code = %error.code, "certificates refused, the old ones stay in force: {}", error.what);
    failure(
        error.code,
        &error.what,
        "ggen mcp config get transports.http.ssl",
    )
}

/// The files that the thread looks at, and the state that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<Seen>>);

impl Watched {
    /// These are in force now.
    pub(super) fn set(&self, tls: &Tls) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tls.seen.clone();
    }

    /// What has changed since the files were looked at last.
    fn changed(&self) -> Option<files::Wanted> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (wanted, before) = lock().clone();
        let now = wanted.stamps();
        if now == before {
            return None;
        }
        let mut seen = lock();
        // Another configuration may have come into force meanwhile.
        (seen.0 == wanted).then(|| {
            seen.1 = now;
            wanted
        })
    }

    /// Starts the thread. `report` takes what was read anew; `false` from it: nobody listens any
    /// more. With `None` it is only asked that.
    #[allow(
        clippy::disallowed_methods,
        reason = "the thread has no event loop that sleeping could block"
    )]
    pub(super) fn watch(
        &self,
        report: impl Fn(Option<Result<Tls, Unusable>>) -> bool + Send + 'static,
    ) {
        let watched = self.clone();
        let watch = move || {
            while report(None) {
                thread::sleep(CHECK_EVERY);
                if let Some(wanted) = watched.changed()
                    && !report(Some(Tls::of(wanted)))
                {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("files".to_owned())
            .stack_size(256 << 10);
        if let Err(error) = thread.spawn(watch) {
            tracing::error!(target: "mcp_server", %error, "files of certificates are not watched");
        }
    }
}
