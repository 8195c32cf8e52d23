//! A new list of upstreams while clients are being served: what stays is not touched, what goes
//! ends with a clear error, what comes is reached for.

use crate::api::{UpId, UpstreamSettings};
use crate::protocol::name;
use crate::upstream::view::Table;
use crate::upstream::{Upstream, Upstreams};

impl Upstreams {
    /// Adds an upstream, which is not in the order yet.
    pub(crate) fn add(&mut self, settings: UpstreamSettings) -> UpId {
        let up = UpId(u32::try_from(self.ups.len()).unwrap_or(u32::MAX));
        self.ups.push(Upstream::new(up, settings));
        self.ones.push(<[Table; 4]>::default());
        up
    }

    /// Says which upstreams are configured now, and returns which were before.
    pub(crate) fn set_order(&mut self, order: Vec<UpId>) -> Vec<UpId> {
        let before = std::mem::replace(&mut self.order, order);
        self.assign_keys();
        before
    }

    /// Gives every configured upstream its key in exposed names.
    pub(super) fn assign_keys(&mut self) {
        let names: Vec<_> = self
            .configured()
            .map(|up| up.settings.name.as_str())
            .collect();
        let keys = name::keys(&names);
        for (up, key) in self.order.clone().into_iter().zip(keys) {
            self.get_mut(up).key = key;
        }
    }

    /// New calls wait for these upstreams, and only for these.
    pub(crate) fn hold_back(&mut self, held: &[UpId]) {
        for up in &mut self.ups {
            up.held = held.contains(&up.id);
        }
    }
}
