//! Children of a stdio server that are leased to calls: which one a call gets, and when one ends.
//! Decides; what has to be sent or failed is done by [`crate::call::children`].

pub(crate) mod allocation;
pub(crate) mod lifecycle;
pub(crate) mod remote;

use crate::api::UpId;

/// What the room keeps between inputs. The children themselves are connections of their upstream.
#[derive(Default)]
pub(crate) struct Leases {
    /// Upstreams where something has changed for calls that wait for a child.
    changed: Vec<UpId>,
}

impl Leases {
    /// Something has changed for those who wait for a child of this upstream.
    pub(crate) fn touch(&mut self, up: UpId) {
        if !self.changed.contains(&up) {
            self.changed.push(up);
        }
    }

    /// An upstream whose waiting calls are to be looked at.
    pub(crate) fn next_changed(&mut self) -> Option<UpId> {
        self.changed.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_looked_at_once() {
        let mut leases = Leases::default();
        for up in [1, 2, 1] {
            leases.touch(UpId(up));
        }
        assert_eq!(leases.next_changed(), Some(UpId(2)));
        assert_eq!(leases.next_changed(), Some(UpId(1)));
        assert_eq!(leases.next_changed(), None);
    }
}
