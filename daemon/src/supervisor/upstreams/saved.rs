//! The upstreams on their way from one binary to the next. Their processes do not notice.

use super::{
    Upstreams,
    draining::Draining,
    leases::Lease,
    shims,
    upstream::{Pipes, Upstream},
};
use crate::{
    ipc::channel,
    supervisor::{
        channels::Reader,
        event::{PausedChannel, ShimId},
    },
};
use serde::{Deserialize, Serialize};
use std::{os::fd::OwnedFd, sync::Arc};
use tokio::sync::oneshot;

/// Pipes as places in the list of descriptors.
type SavedPipes = Option<(usize, usize)>;

/// Saved upstreams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) shims: Vec<shims::Facts>,
    pub(crate) last_shim: ShimId,
    pub(crate) upstreams: Vec<(Upstream, SavedPipes)>,
    #[serde(rename = "leaving")]
    pub(crate) draining: Vec<(Draining, SavedPipes)>,
    #[serde(rename = "leased")]
    pub(crate) leases: Vec<(Lease, SavedPipes)>,
    /// Places of the files that say whether a message was written in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) torn: Vec<(ShimId, usize)>,
}

impl Upstreams {
    /// Saves them. `put` takes a descriptor along and returns its place.
    pub(crate) fn saved(&self, put: &mut dyn FnMut(&OwnedFd) -> usize) -> Saved {
        let mut pipes =
            |pipes: Option<&Pipes>| pipes.map(|pipes| (put(&pipes.stdin), put(&pipes.stdout)));
        let upstreams = self
            .all
            .iter()
            .map(|it| (it.clone(), pipes(it.pipes.as_ref())))
            .collect();
        let draining = self
            .draining
            .iter()
            .map(|it| (it.clone(), pipes(it.upstream.pipes.as_ref())))
            .collect();
        let leases = self
            .leases
            .0
            .iter()
            .map(|it| (it.clone(), pipes(it.pipes.as_ref())))
            .collect();
        let torn = self.shims.all_torn();
        let torn = torn.map(|(id, file)| (id, put(file))).collect();
        let (shims, last_shim) = self.shims.saved();
        Saved {
            shims,
            last_shim,
            upstreams,
            draining,
            leases,
            torn,
        }
    }

    /// Takes them over, before their channels are. `share` finds a descriptor by its place.
    pub(crate) fn restore(&mut self, saved: Saved, share: &dyn Fn(usize) -> Option<Arc<OwnedFd>>) {
        let pipes = |places: SavedPipes| {
            let (stdin, stdout) = places?;
            Some(Pipes {
                stdin: share(stdin)?,
                stdout: share(stdout)?,
            })
        };
        self.shims.restore(saved.shims, saved.last_shim);
        for (id, place) in saved.torn {
            self.shims.restore_torn(id, share(place));
        }
        for (mut upstream, places) in saved.upstreams {
            upstream.pipes = pipes(places);
            self.all.push(upstream);
        }
        for (mut draining, places) in saved.draining {
            draining.upstream.pipes = pipes(places);
            self.draining.push(draining);
        }
        for (mut lease, places) in saved.leases {
            lease.pipes = pipes(places);
            self.leases.0.push(lease);
        }
    }

    /// Takes over the channel of a shim.
    pub(crate) fn resume_channel(
        &mut self,
        id: ShimId,
        sender: channel::Sender,
        channel: PausedChannel,
        reader: Reader,
    ) {
        self.shims.resume(id, sender, channel, reader);
    }

    /// Reads the channel of a shim again, which had paused.
    pub(crate) fn unpause(&mut self, id: ShimId, channel: PausedChannel, reader: Reader) {
        self.shims.unpause(id, channel, reader);
    }

    /// For each shim, what it is called, and what resolves when everything is written that waits
    /// for it; `None`: it does not read.
    pub(crate) fn flushed(&self) -> Vec<(String, Option<oneshot::Receiver<()>>)> {
        self.shims.flushed()
    }
}
