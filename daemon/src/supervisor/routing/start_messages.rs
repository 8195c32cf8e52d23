//! What workers are told when they start, and when the configuration changes: put together from
//! the rooms that know the parts.

use crate::ipc::messages::{Role, Start, ToWorker};
use crate::supervisor::{
    control::Logging,
    listeners::Listeners,
    processes::environment,
    reload::candidate::Candidate,
    secrets::WorkerSecrets,
    settings::Settings,
    workers::{Launch, Workers},
};
use std::{sync::Arc, time::Duration};

/// Between two beats of a worker.
const BEAT: Duration = Duration::from_secs(1);

/// What messages to workers are made from.
pub(in crate::supervisor) struct View<'a> {
    pub(in crate::supervisor) settings: &'a Settings,
    pub(in crate::supervisor) listeners: &'a Listeners,
    pub(in crate::supervisor) secrets: &'a WorkerSecrets,
    pub(in crate::supervisor) logging: &'a Logging,
    pub(in crate::supervisor) workers: &'a Workers,
    /// The configuration that additional workers are to prove.
    pub(in crate::supervisor) candidate: Option<&'a Candidate>,
}

impl<'a> View<'a> {
    /// What a new worker is told and given, apart from what the session store and the secrets add.
    pub(in crate::supervisor) fn launch(&self, name: &str, role: Role) -> Launch {
        let listeners = self.listeners_for(name);
        let port = listeners.quic_port().filter(|_| role == Role::Quic);
        Launch {
            start: self.start_message(name, role),
            sockets: listeners.sockets_for(role),
            quic: port.map(|port| (Arc::clone(port), self.listeners.reset_key())),
            messages: Vec::new(),
        }
    }

    /// The configuration in force as a worker of that name is told it, or the one that it is to
    /// prove.
    pub(in crate::supervisor) fn start_message(&self, name: &str, role: Role) -> Start {
        let (settings, candidate) = (self.settings, self.candidate_for(name));
        let loaded = candidate.map_or(&settings.loaded, |candidate| &candidate.loaded);
        let listeners = self.listeners_for(name);
        let (config, is_gateway) = (&loaded.config, role == Role::Gateway);
        let starts = self.workers.slot(name).map_or(0, |slot| slot.starts);
        let quic_port = listeners.quic_port().filter(|_| role == Role::Http);
        let headers = config.tracing.otlp.headers.clone();
        Start {
            name: name.to_owned(),
            role,
            generation: candidate.map_or(settings.generation, |candidate| candidate.generation),
            incarnation: starts.saturating_sub(1),
            beat_ms: u64::try_from(BEAT.as_millis()).unwrap_or(1000),
            log_filter: candidate.map_or_else(
                || self.logging.filter(),
                |candidate| self.logging.over(&candidate.log_filter),
            ),
            listeners: listeners.bound_for(role),
            socket_slot: None,
            quic_port: quic_port.map(|port| port.number()),
            seal: is_gateway.then(|| self.secrets.seal().clone()),
            collector_headers: headers.filter(|_| is_gateway && config.tracing.otlp.enabled),
            run_as: candidate.map_or(settings.run_as, |candidate| candidate.run_as),
            config: environment::config_for(role, config),
        }
    }

    /// The message with the secrets that a worker of that name has to know; `None`: its role is
    /// not to know any.
    pub(in crate::supervisor) fn secrets_message(
        &self,
        name: &str,
        role: Role,
    ) -> Option<ToWorker> {
        match self.candidate_for(name) {
            Some(candidate) => self.secrets.prospective_message(
                role,
                &candidate.loaded,
                &candidate.tls,
                candidate.listeners.are_local(),
                &candidate.listeners.addresses("admin"),
            ),
            None => {
                let admin = self.listeners.addresses("admin");
                self.secrets.message(role, &self.settings.loaded, &admin)
            }
        }
    }

    fn listeners_for(&self, name: &str) -> &'a Listeners {
        self.candidate_for(name)
            .map_or(self.listeners, |candidate| &candidate.listeners)
    }

    /// The configuration that a worker is to prove; `None`: it gets the one in force.
    fn candidate_for(&self, name: &str) -> Option<&'a Candidate> {
        let slot = self.workers.slot(name)?;
        self.candidate.filter(|_| slot.prospective)
    }
}
