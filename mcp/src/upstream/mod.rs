//! The upstream servers: their settings, states, lists and connections, and the views that are made
//! of their lists.

mod availability;
pub(crate) mod catalogue;
pub(crate) mod connection;
mod describe;
pub mod list;
mod own;
mod reconfigure;
mod repair;
mod server;
mod subscriptions;
pub mod view;
mod views;
pub(crate) mod visibility;

use crate::access::policy::Access;
use crate::api::{Micros, Output, UpId, UpstreamSettings};
use crate::context::Context;
pub use crate::protocol::capabilities::Caps;
use crate::upstream::list::{Item, ListKind};
use crate::upstream::view::{Table, View};
pub(crate) use connection::Connecting;
use ggen_wire::status::UpstreamState;
use own::OwnLists;
pub use server::{Conn, ConnState, Lent, ServerInfo, UpEra, Upstream, User};
use std::collections::HashMap;
use std::sync::Arc;
pub(crate) use views::Rebuilt;

/// All upstream servers.
pub(crate) struct Upstreams {
    /// Every upstream that ever was; those that were removed keep their place.
    ups: Vec<Upstream>,
    /// Those that are configured now, in the configuration's order.
    order: Vec<UpId>,
    /// The built-in tools.
    built_in: Vec<Item>,
    /// The lists of `/mcp`, of each `/mcp/<server>`, and of `/mcp/core`, by [`ListKind`].
    all: [Table; 4],
    ones: Vec<[Table; 4]>,
    core: [Table; 4],
    /// What sessions see that have a child for themselves.
    own: OwnLists,
    /// Lists as restricted principals see them, by what they may do and what there is.
    seen: HashMap<(u64, View, ListKind, u64), Arc<Table>>,
    /// Broken streams of HTTP servers: when to resume, whose, which call.
    resumes: Vec<(Micros, UpId, u64)>,
}

impl Upstreams {
    /// The configured upstreams, and the built-in tools.
    pub(crate) fn new(settings: Vec<UpstreamSettings>, built_in: Vec<Item>) -> Self {
        let ups: Vec<_> = (0u32..)
            .zip(settings)
            .map(|(at, settings)| Upstream::new(UpId(at), settings))
            .collect();
        let mut core = <[Table; 4]>::default();
        core[ListKind::Tools as usize] =
            Table::build(ListKind::Tools, &built_in, std::iter::empty(), false);
        let mut upstreams = Self {
            order: ups.iter().map(|up| up.id).collect(),
            all: <[Table; 4]>::default(),
            ones: ups.iter().map(|_| <[Table; 4]>::default()).collect(),
            ups,
            built_in,
            core,
            own: OwnLists::default(),
            seen: HashMap::new(),
            resumes: Vec::new(),
        };
        upstreams.assign_keys();
        upstreams.rebuild_all();
        upstreams
    }

    pub(crate) fn get(&self, up: UpId) -> &Upstream {
        &self.ups[up.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, up: UpId) -> &mut Upstream {
        &mut self.ups[up.0 as usize]
    }

    /// Whether there ever was such an upstream.
    pub(crate) fn contains(&self, up: UpId) -> bool {
        (up.0 as usize) < self.ups.len()
    }

    /// Every upstream that ever was.
    pub(crate) fn ever(&self) -> impl Iterator<Item = &Upstream> {
        self.ups.iter()
    }

    /// The ids of every upstream that ever was.
    pub(crate) fn ids(&self) -> impl Iterator<Item = UpId> + use<> {
        (0u32..).take(self.ups.len()).map(UpId)
    }

    /// The ids of those that are configured now, in the configuration's order.
    pub(crate) fn order(&self) -> Vec<UpId> {
        self.order.clone()
    }

    /// The upstreams that are configured now, in the configuration's order.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &Upstream> {
        self.order.iter().map(|up| self.get(*up))
    }

    /// The upstreams of a view that a principal may see.
    pub(crate) fn of_view(
        &self,
        view: View,
        access: Option<&Access>,
    ) -> impl Iterator<Item = &Upstream> {
        self.configured().filter(move |up| match view {
            View::All => up.state != UpstreamState::Disabled && self.may_see(access, up),
            View::One(one) => up.id == one,
            View::Core => false,
        })
    }

    /// Whether an upstream of the view is expected to become ready soon.
    pub(crate) fn is_unsettled(&self, view: View) -> bool {
        match view {
            View::All => self.configured().any(|up| up.unsettled.is_some()),
            View::One(up) => self.get(up).unsettled.is_some(),
            View::Core => false,
        }
    }

    /// Whether an upstream of the view is expected to say soon what it gives, and has not said so
    /// in an earlier life either.
    pub(crate) fn is_unknown(&self, view: View) -> bool {
        let unknown = |up: &Upstream| up.unsettled.is_some() && !up.recalled;
        match view {
            View::All => self.configured().any(unknown),
            View::One(up) => unknown(self.get(up)),
            View::Core => false,
        }
    }

    /// Whether an upstream has said who it is, now or before.
    pub(crate) fn is_known(&self, up: UpId) -> bool {
        let up = self.get(up);
        up.era.is_some() && !matches!(up.state, UpstreamState::Disabled)
    }

    /// Tells the supervisor how an upstream stands, if that changed.
    pub(crate) fn report(&mut self, cx: &mut Context, up: UpId) {
        let upstream = self.get_mut(up);
        let report = upstream.report();
        if upstream.reported.as_ref() != Some(&report) {
            upstream.reported = Some(report.clone());
            cx.emit(Output::Report(up, report));
        }
    }

    /// Has a broken stream resumed at that time.
    pub(crate) fn resume_at(&mut self, cx: &mut Context, time: Micros, up: UpId, exchange: u64) {
        self.resumes.push((time, up, exchange));
        cx.wake_at(time);
    }

    /// The broken streams to be resumed now: whose, and which call.
    pub(crate) fn due_resumes(&mut self, now: Micros) -> Vec<(UpId, u64)> {
        self.resumes
            .extract_if(.., |(at, ..)| *at <= now)
            .map(|(_, up, exchange)| (up, exchange))
            .collect()
    }

    /// The number of streams that are to be resumed.
    pub(crate) const fn resumes(&self) -> usize {
        self.resumes.len()
    }
}
