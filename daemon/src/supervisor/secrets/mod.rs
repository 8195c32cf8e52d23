//! What edge workers are told to authenticate callers and to speak TLS: read from files here, sent
//! at their start and whenever it changes. A file that cannot be used changes nothing: the workers
//! keep what they have.

mod api_keys;
mod tls_files;

pub(crate) use api_keys::ApiKeys;
pub(crate) use tls_files::{Tls, refused};

use crate::{
    auth::Snapshot,
    config::Loaded,
    ipc::{
        messages::{Role, ToWorker},
        seal::SealKey,
        secrets::{AuthSecrets, Secrets},
    },
    tls::Unusable,
};
use std::net::SocketAddr;
use tls_files::Watched;

/// The secrets in force.
pub(crate) struct WorkerSecrets {
    /// What edge workers know.
    secrets: Secrets,
    /// The certificates that part of it was read from.
    tls: Tls,
    watched: Watched,
    keys: ApiKeys,
    /// What gateway workers seal `requestState` with.
    seal: SealKey,
}

impl WorkerSecrets {
    /// Those that are known at the start.
    pub(crate) fn new(secrets: Secrets, keys: ApiKeys, seal: SealKey) -> Self {
        Self {
            secrets,
            tls: Tls::default(),
            watched: Watched::default(),
            keys,
            seal,
        }
    }

    /// The message for a worker of the configuration in force; `None`: its role is not to know.
    pub(crate) fn message(
        &self,
        role: Role,
        loaded: &Loaded,
        admin: &[SocketAddr],
    ) -> Option<ToWorker> {
        told(role, loaded, admin, || self.secrets.clone())
    }

    /// The message for a worker of a configuration that is not in force yet.
    pub(crate) fn prospective_message(
        &self,
        role: Role,
        loaded: &Loaded,
        tls: &Tls,
        local: bool,
        admin: &[SocketAddr],
    ) -> Option<ToWorker> {
        told(role, loaded, admin, || Secrets {
            tls: tls.found.secrets.clone(),
            auth: self.auth_of(loaded, local),
        })
    }

    /// Brings what is known of callers up to date. `local`: all listeners are on loopback. Says
    /// whether that made a difference.
    pub(crate) fn refresh_auth(&mut self, loaded: &Loaded, local: bool) -> bool {
        let auth = self.auth_of(loaded, local);
        let differs = self.secrets.auth != auth;
        self.secrets.auth = auth;
        differs
    }

    /// Puts certificates in force. Says whether that made a difference.
    pub(crate) fn put_tls(&mut self, tls: Tls) -> bool {
        tls.log(&self.tls, &self.secrets);
        self.watched.set(&tls);
        let differs = self.secrets.tls != tls.found.secrets;
        self.secrets.tls = tls.found.secrets.clone();
        self.tls = tls;
        differs
    }

    /// The files have changed while nobody asked. `None`: nothing is to be put in force.
    pub(crate) fn changed_tls(&self, read: Result<Tls, Unusable>) -> Option<Tls> {
        match read {
            // Not those of a configuration that is not in force any more.
            Ok(tls) => tls.is_of_same_files(&self.tls).then_some(tls),
            Err(error) => {
                refused(&error);
                None
            }
        }
    }

    /// The key store has changed.
    pub(crate) fn keys_changed(&mut self, keys: Snapshot) {
        tracing::info!(target: "auth", keys = keys.keys.len(), revoked_tokens = keys.revoked.len(), "key store read");
        self.keys.known = keys;
    }

    /// Keys were used.
    pub(crate) fn keys_used(&self, used: Vec<(String, u64)>) {
        self.keys.used(used);
    }

    /// Has the thread write what is to be written to the key store, and end.
    pub(crate) fn finish_keys(&mut self) {
        self.keys.finish();
    }

    /// Watches the key store again.
    pub(crate) fn resume_keys(&mut self, start: impl FnOnce(Snapshot) -> ApiKeys) {
        self.keys = start(self.keys.known.clone());
    }

    /// Watches the files of certificates.
    pub(crate) fn watch_files(
        &self,
        report: impl Fn(Option<Result<Tls, Unusable>>) -> bool + Send + 'static,
    ) {
        self.watched.watch(report);
    }

    /// The certificates in force.
    pub(crate) const fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Whether tokens of some issuer are accepted, whose keys workers have to ask for.
    pub(crate) fn has_issuer(&self) -> bool {
        self.secrets.auth.has_issuer()
    }

    /// What gateway workers seal `requestState` with.
    pub(crate) const fn seal(&self) -> &SealKey {
        &self.seal
    }

    /// What edge workers know, for the next binary.
    pub(crate) const fn known(&self) -> &Secrets {
        &self.secrets
    }

    /// The key store as it was read last, for the next binary.
    pub(crate) const fn known_keys(&self) -> &Snapshot {
        &self.keys.known
    }

    fn auth_of(&self, loaded: &Loaded, local: bool) -> AuthSecrets {
        AuthSecrets::of(&loaded.config, &loaded.auth_files, &self.keys.known, local)
    }
}

/// What a role is told. `admin`: where the admin listener really is; empty: it is not open.
fn told(
    role: Role,
    loaded: &Loaded,
    admin: &[SocketAddr],
    secrets: impl FnOnce() -> Secrets,
) -> Option<ToWorker> {
    if !role.knows_secrets() {
        return None;
    }
    let mut secrets = secrets();
    if role == Role::Admin {
        // Judged by its own listener, and without TLS. The socket counts: a service manager may have
        // given another one than is configured.
        let config = &loaded.config;
        let is_local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        let open = config.metrics.host.is_loopback() && admin.iter().all(is_local);
        secrets = Secrets {
            auth: AuthSecrets {
                required: !open && config.auth.is_required(open),
                ..secrets.auth
            },
            ..Secrets::default()
        };
    }
    Some(ToWorker::Secrets(Box::new(secrets)))
}
