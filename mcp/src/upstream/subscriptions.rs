//! Subscriptions to resources: how many clients have one, and whose a URI is.

use crate::access::policy::Access;
use crate::api::UpId;
use crate::client::view::View;
use crate::protocol::list_kind::ListKind;
use crate::protocol::name;
use crate::upstream::Upstreams;
use std::sync::Arc;

impl Upstreams {
    /// One more subscriber of a URI; true for the first.
    pub(crate) fn add_subscriber(&mut self, up: UpId, uri: &Arc<str>) -> bool {
        let count = self
            .get_mut(up)
            .subscriptions
            .entry(uri.clone())
            .or_default();
        *count += 1;
        *count == 1
    }

    /// One subscriber less; true for the last.
    pub(crate) fn remove_subscriber(&mut self, up: UpId, uri: &Arc<str>) -> bool {
        let subscriptions = &mut self.get_mut(up).subscriptions;
        match subscriptions.get_mut(uri) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            Some(_) => subscriptions.remove(uri).is_some(),
            None => false,
        }
    }

    /// Whose an exposed URI is that a session is subscribed to, and its original.
    pub(crate) fn subscribed_at(&self, view: View, exposed: &str) -> Option<(UpId, Arc<str>)> {
        match view {
            View::One(up) => Some((up, exposed.into())),
            _ => {
                let (key, original) = crate::protocol::name::original_uri(exposed)?;
                self.configured()
                    .find(|up| up.key == key)
                    .map(|up| (up.id, original.into()))
            }
        }
    }

    /// Whether changes of a list can be told: the gateway refreshes all of them, so every list that
    /// is offered.
    pub(crate) fn offers_changes(
        &self,
        view: View,
        access: Option<&Access>,
        kind: ListKind,
    ) -> bool {
        match view {
            View::One(up) => self.get(up).info.has(kind.capability()),
            View::All => {
                kind == ListKind::Tools
                    || self
                        .configured()
                        .any(|up| self.may_see(access, up) && up.info.has(kind.capability()))
            }
            View::Core => kind == ListKind::Tools,
        }
    }

    /// Whose a URI is, if its server lets one subscribe.
    pub(crate) fn subscribable(&self, view: View, uri: &str) -> Option<(UpId, Arc<str>)> {
        let (up, original) = match view {
            View::One(up) => (self.get(up), uri.to_owned()),
            View::All => {
                let (key, original) = name::original_uri(uri)?;
                (self.configured().find(|up| up.key == key)?, original)
            }
            View::Core => return None,
        };
        up.info
            .flag("resources", "subscribe")
            .then(|| (up.id, original.into()))
    }
}
