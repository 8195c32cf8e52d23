//! What edge workers are told to tell who asks: kept here, sent at their start and whenever it changes. Read from files by `crate::config` and
//! others, never here.

use super::Supervisor;
use crate::ipc::{
    messages::{Role, ToWorker},
    secrets::Secrets,
};

impl Supervisor {
    /// The message for a new worker of a role; `None` if it is not to know.
    pub(crate) fn secrets_for(&self, role: Role) -> Option<ToWorker> {
        role.is_edge().then(|| ToWorker::Secrets(Box::new(self.secrets.clone())))
    }

    /// Changes the secrets, and tells every edge worker if that made a difference.
    #[allow(dead_code, reason = "who reads secrets from files calls it")]
    pub(crate) fn change_secrets(&mut self, change: impl FnOnce(&mut Secrets)) {
        let before = self.secrets.clone();
        change(&mut self.secrets);
        if before == self.secrets {
            return;
        }
        let edges: Vec<_> = self.workers.procs.iter().filter(|(_, proc)| proc.role.is_edge()).map(|(id, proc)| (*id, proc.role)).collect();
        for (id, role) in edges {
            if let Some(message) = self.secrets_for(role) {
                self.tell(id, message, Vec::new());
            }
        }
    }
}
