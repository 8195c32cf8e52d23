//! What edge workers are told to tell who asks, and to speak TLS: read from files here, sent at
//! their start and whenever it changes. What is wrong with a file changes nothing: the workers keep
//! what they have.

pub(in crate::supervisor) mod api_keys;

use crate::{
    config::Loaded,
    ipc::{
        messages::{Role, ToWorker},
        secrets::{AuthSecrets, Secrets},
    },
    supervisor::{Supervisor, event::Event, reload::Candidate},
    tls::{Unusable, files},
};
use ggen_wire::{Code, control::Failure};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The certificates in force.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// Which files they are from, and the state of these before they were read.
    seen: (files::Wanted, files::Stamps),
    pub(crate) found: files::Found,
    /// What the thread that looks at the files compares with.
    watched: Arc<Mutex<(files::Wanted, files::Stamps)>>,
}

impl Tls {
    /// Reads the files of a configuration.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(crate) fn read(loaded: &Loaded) -> Result<Self, Unusable> {
        let wanted = files::Wanted::of(loaded);
        Self::of(wanted)
    }

    /// Whether there is a certificate to serve with.
    pub(crate) const fn is_any(&self) -> bool {
        !self.found.certificates.is_empty()
    }

    fn of(wanted: files::Wanted) -> Result<Self, Unusable> {
        let stamps = wanted.stamps();
        let found = wanted.read()?;
        Ok(Self {
            seen: (wanted, stamps),
            found,
            ..Self::default()
        })
    }
}

/// Tells that files are not taken over.
pub(crate) fn refused(error: &Unusable) -> Failure {
    tracing::error!(target: "transport", code = %error.code, "certificates refused, the old ones stay in force: {}", error.what);
    crate::supervisor::control::calls::failure(
        error.code,
        &error.what,
        "ggen mcp config get transports.http.ssl",
    )
}

impl Supervisor {
    /// The message for a worker; `None` if its role is not to know. One that is to prove a
    /// configuration is told that one's.
    pub(crate) fn secrets_for(&self, name: &str, role: Role) -> Option<ToWorker> {
        let secrets = || {
            let mut secrets = self.secrets.clone();
            if let Some(Candidate {
                loaded,
                listeners,
                tls,
                ..
            }) = self.candidate_for(name)
            {
                secrets.tls = tls.found.secrets.clone();
                secrets.auth = AuthSecrets::of(
                    &loaded.config,
                    &loaded.auth_files,
                    &self.keys.known,
                    listeners.are_local(),
                );
            }
            if role == Role::Admin {
                // Judged by its own listener, and without TLS.
                let auth = &self
                    .candidate_for(name)
                    .map_or(&self.loaded, |candidate| &candidate.loaded)
                    .config;
                let open = auth.metrics.host.to_canonical().is_loopback();
                secrets = Secrets {
                    auth: AuthSecrets {
                        required: !open && auth.auth.is_required(open),
                        ..secrets.auth
                    },
                    ..Secrets::default()
                };
            }
            secrets
        };
        role.knows_secrets()
            .then(|| ToWorker::Secrets(Box::new(secrets())))
    }

    /// Changes the secrets, and tells every edge worker if that made a difference.
    pub(crate) fn change_secrets(&mut self, change: impl FnOnce(&mut Secrets)) {
        let before = self.secrets.clone();
        change(&mut self.secrets);
        if before == self.secrets {
            return;
        }
        let edges: Vec<_> = self
            .workers
            .procs
            .iter()
            .filter(|(_, proc)| proc.role.knows_secrets())
            .map(|(id, proc)| (*id, proc.name.clone(), proc.role))
            .collect();
        for (id, name, role) in edges {
            if let Some(message) = self.secrets_for(&name, role) {
                self.tell(id, message, Vec::new());
            }
        }
    }

    /// Puts certificates in force.
    pub(crate) fn take_tls(&mut self, tls: Tls) {
        for note in &tls.found.notes {
            tracing::warn!(target: "transport", code = %Code::CertificateSelfSigned, "{note}");
        }
        for warning in &tls.found.warnings {
            tracing::warn!(target: "transport", code = %Code::CertificateExpiring, "{warning}");
        }
        let watched = Arc::clone(&self.tls.watched);
        *watched.lock().unwrap_or_else(PoisonError::into_inner) = tls.seen.clone();
        if self.tls.is_any() && tls.found.secrets != self.secrets.tls {
            tracing::info!(target: "transport", "new certificates in force");
        }
        let secrets = tls.found.secrets.clone();
        self.tls = Tls { watched, ..tls };
        self.change_secrets(|all| all.tls = secrets);
    }

    /// The files have changed while nobody asked.
    pub(crate) fn tls_changed(&mut self, read: Result<Tls, Unusable>) {
        match read {
            // Not those of a configuration that is not in force any more.
            Ok(tls) if tls.seen.0 == self.tls.seen.0 => {
                self.take_tls(tls);
                // The first one is what workers of QUIC waited for.
                self.lay_out_slots();
            }
            Ok(_) => {}
            Err(error) => drop(refused(&error)),
        }
    }

    /// Looks at the files from a thread of its own: a file system may take its time.
    #[allow(
        clippy::disallowed_methods,
        reason = "the thread has no event loop that sleeping could block"
    )]
    pub(crate) fn watch_files(&self) {
        let (watched, events) = (Arc::clone(&self.tls.watched), self.events.clone());
        let look = move || {
            while !events.is_closed() {
                thread::sleep(LOOK);
                let lock = || watched.lock().unwrap_or_else(PoisonError::into_inner);
                let (wanted, before) = lock().clone();
                let now = wanted.stamps();
                if now == before {
                    continue;
                }
                let mut seen = lock();
                if seen.0 == wanted {
                    seen.1 = now;
                    drop(seen);
                    if events
                        .blocking_send(Event::Tls(Box::new(Tls::of(wanted))))
                        .is_err()
                    {
                        return;
                    }
                }
            }
        };
        if let Err(error) = thread::Builder::new()
            .name("files".to_owned())
            .stack_size(256 << 10)
            .spawn(look)
        {
            tracing::error!(target: "mcp_server", %error, "files of certificates are not watched");
        }
    }
}
