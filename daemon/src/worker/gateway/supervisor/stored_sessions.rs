//! Sessions and catalogues that outlive this worker: given to the supervisor to store, and received
//! from it. Upstreams have names there and numbers here. May not: read what is stored.

use crate::{
    ipc::{
        kept::{self, KeptCatalogue, KeptSession},
        messages::ToSupervisor,
    },
    worker::gateway::driver::{Core, Driver},
};
use ggen_mcp::api::Input;
use ggen_mcp::persisted::{self, Keep};

impl<C: Core> Driver<C> {
    /// Has the supervisor keep something.
    pub(crate) fn keep(&self, keep: Keep) {
        let keep = match keep {
            Keep::Session {
                digest,
                record,
                ticket,
            } => kept::Keep::Session {
                digest: digest.into(),
                record,
                ticket,
            },
            Keep::Ended(digest) => kept::Keep::Ended {
                digest: digest.into(),
            },
            Keep::Used(digests) => kept::Keep::Used {
                digests: digests.into_iter().map(String::from).collect(),
            },
            Keep::Catalogue(up, text) => match self.name(up) {
                Some(upstream) => kept::Keep::Catalogue { upstream, text },
                None => return,
            },
        };
        self.send(ToSupervisor::Keep(keep));
    }

    /// What upstreams gave before this worker.
    pub(crate) fn recall(&mut self, catalogue: Vec<KeptCatalogue>) {
        let known = catalogue
            .into_iter()
            .filter_map(|kept| Some((self.configuration.find(&kept.upstream)?, kept.text)));
        let known = known.collect();
        self.relay.give(Input::Recall(known));
    }

    /// Sessions that go on.
    pub(crate) fn restore(&mut self, sessions: Vec<KeptSession>) {
        let kept = |one: KeptSession| persisted::KeptSession {
            digest: one.digest.into(),
            record: one.record,
            idle: one.idle.saturating_mul(1_000_000),
        };
        self.relay
            .give(Input::Restore(sessions.into_iter().map(kept).collect()));
    }
}
