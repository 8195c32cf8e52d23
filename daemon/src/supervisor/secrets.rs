//! What edge workers are told to tell who asks: kept here, sent at their start and whenever it changes. Read from files by `crate::config` and
//! others, never here.

use super::{Supervisor, reload::Candidate};
use crate::ipc::{
    messages::{Role, ToWorker},
    secrets::{AuthSecrets, Secrets},
};

impl Supervisor {
    /// The message for a worker; `None` if its role is not to know. One that is to prove a configuration is told that one's.
    pub(crate) fn secrets_for(&self, name: &str, role: Role) -> Option<ToWorker> {
        let secrets = || {
            let mut secrets = self.secrets.clone();
            if let Some(Candidate { loaded, listeners, .. }) = self.candidate_for(name) {
                secrets.auth = AuthSecrets::of(&loaded.config, &loaded.auth_files, &self.keys.known, listeners.are_local());
            }
            if role == Role::Admin {
                // Judged by its own listener, and without TLS.
                let auth = &self.candidate_for(name).map_or(&self.loaded, |candidate| &candidate.loaded).config;
                let open = auth.metrics.host.to_canonical().is_loopback();
                secrets =
                    Secrets { auth: AuthSecrets { required: !open && auth.auth.is_required(open), ..secrets.auth }, ..Secrets::default() };
            }
            secrets
        };
        role.has_secrets().then(|| ToWorker::Secrets(Box::new(secrets())))
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
            .filter(|(_, proc)| proc.role.has_secrets())
            .map(|(id, proc)| (*id, proc.name.clone(), proc.role))
            .collect();
        for (id, name, role) in edges {
            if let Some(message) = self.secrets_for(&name, role) {
                self.tell(id, message, Vec::new());
            }
        }
    }
}
