//! Applies a new configuration while clients are served. Upstreams get the same numbers as in the
//! relay ([`ggen_mcp::api::Input::Reconfigure`]); one that is removed or changed stays as it was
//! while calls are in flight there.

use super::{Connection, Core, Driver, connection};
use crate::{
    ipc::messages::{Start, ToSupervisor},
    worker::gateway::{
        settings::{self, Reach},
        upstreams::streamable_http::Clients,
    },
};
use ggen_mcp::api::{Input, Micros, Transport, UpId, UpstreamSettings};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What is in force, and what is still to come.
pub(crate) struct Configuration {
    /// In the configuration's order.
    upstreams: Vec<(UpId, UpstreamSettings)>,
    pool: u16,
    clients: Arc<Clients>,
    /// The newest configuration.
    next: Option<Start>,
    /// Upstreams whose connection is to end, and until when their calls may finish.
    retiring: BTreeMap<String, Micros>,
    /// Stdio servers that have been released and have not ended yet.
    ending: BTreeSet<UpId>,
}

impl Configuration {
    /// That of the start.
    pub(crate) fn new(upstreams: Vec<UpstreamSettings>, pool: u16, clients: Arc<Clients>) -> Self {
        let upstreams = (0..).map(UpId).zip(upstreams).collect();
        Self {
            upstreams,
            pool,
            clients,
            next: None,
            retiring: BTreeMap::new(),
            ending: BTreeSet::new(),
        }
    }

    /// The number of a configured upstream.
    pub(crate) fn find(&self, name: &str) -> Option<UpId> {
        self.known(name).map(|(up, _)| *up)
    }

    fn known(&self, name: &str) -> Option<&(UpId, UpstreamSettings)> {
        self.upstreams
            .iter()
            .find(|(_, settings)| settings.name == name)
    }

    /// A server has ended or is reached anew: it is not held back any more.
    pub(crate) fn reached(&mut self, up: UpId) {
        self.ending.remove(&up);
    }

    /// With the next configuration, the connections of these end. Replaces an earlier list.
    pub(crate) fn retire(&mut self, names: Vec<String>, until: Micros) {
        self.retiring = names.into_iter().map(|name| (name, until)).collect();
    }

    /// Whether calls are waited for.
    pub(crate) fn is_retiring(&self) -> bool {
        self.next.is_some() && !self.retiring.is_empty()
    }
}

impl<C: Core> Driver<C> {
    /// Puts a configuration in force.
    pub(crate) fn reconfigure(&mut self, start: Start) {
        let server = &start.config.server;
        self.chunk = usize::try_from(server.buffer_size.0).unwrap_or(usize::MAX);
        if server.connection_pool != self.configuration.pool {
            self.configuration.pool = server.connection_pool;
            self.configuration.clients = Arc::new(Clients::new(server.connection_pool));
            for connection in &mut self.upstreams {
                match connection {
                    Connection::Remote(remote) => {
                        remote.set_clients(Arc::clone(&self.configuration.clients))
                    }
                    Connection::Sse(channels) => {
                        channels.set_clients(Arc::clone(&self.configuration.clients))
                    }
                    Connection::None | Connection::Child(_) => {}
                }
            }
        }
        self.otlp.set(&start, &self.configuration.clients);
        let generation = start.generation;
        self.relay
            .give(Input::Rules(Box::new(settings::rules::rules(
                &start.config,
            ))));
        self.configuration.next = Some(start);
        self.settle(true);
        self.send(ToSupervisor::Reconfigured { generation });
    }

    /// Has upstreams go whose calls are over, or whose time is; `fresh`: there is a new
    /// configuration to put in force in any case.
    pub(crate) fn settle(&mut self, fresh: bool) {
        let now = self.relay.now;
        let is_busy = |name: &str, until: Micros| {
            now < until
                && self
                    .configuration
                    .find(name)
                    .is_some_and(|up| self.relay.core.in_flight_of(up) > 0)
        };
        let (busy, over): (Vec<_>, Vec<_>) = self
            .configuration
            .retiring
            .clone()
            .into_iter()
            .partition(|(name, until)| is_busy(name, *until));
        if over.is_empty() && !fresh {
            return;
        }
        let busy: Vec<String> = busy.into_iter().map(|(name, _)| name).collect();
        self.apply(&busy);
        for (name, _) in over {
            self.configuration.retiring.remove(&name);
            if let Some(up) = self.configuration.find(&name) {
                self.end_leases(up);
                if let Some(Connection::Child(child)) = self.upstreams.get_mut(up.0 as usize) {
                    child.finish();
                    self.configuration.ending.insert(up);
                }
            }
            self.send(ToSupervisor::Released { upstream: name });
        }
        let held = busy
            .iter()
            .filter_map(|name| self.configuration.find(name))
            .chain(self.configuration.ending.iter().copied());
        self.relay.give(Input::Hold(held.collect()));
    }

    /// Gives the relay the new list, in which upstreams that are `busy` stand as they were.
    fn apply(&mut self, busy: &[String]) {
        let Some(next) = &self.configuration.next else {
            return;
        };
        let (settings, targets) = settings::settings(next);
        let mut list: Vec<(UpstreamSettings, Option<Reach>)> = settings
            .upstreams
            .into_iter()
            .zip(targets.into_iter().map(Some))
            .collect();
        for name in busy {
            let Some((_, old)) = self.configuration.known(name).cloned() else {
                continue;
            };
            // Without a target: the connection stays whatever it is.
            match list.iter_mut().find(|(settings, _)| settings.name == *name) {
                Some(entry) => *entry = (old, None),
                None => list.push((old, None)),
            }
        }
        let mut now = Vec::with_capacity(list.len());
        for (settings, reach) in list {
            let known = self
                .configuration
                .known(&settings.name)
                .filter(|(_, old)| old.transport == settings.transport)
                .cloned();
            let up = match (known, reach) {
                (Some((up, old)), Some(Some(target))) if is_other(&old, &settings) => {
                    self.upstreams[up.0 as usize] = self.anew(up, settings.transport, Some(target));
                    up
                }
                (Some((up, _)), _) => up,
                (None, reach) => self.add(&settings, reach.flatten()),
            };
            now.push((up, settings));
        }
        self.relay.give(Input::Reconfigure(
            now.iter().map(|(_, settings)| settings.clone()).collect(),
        ));
        let serves = |up: UpId| {
            now.iter()
                .any(|(other, settings)| *other == up && settings.enabled)
        };
        for (up, settings) in std::mem::take(&mut self.configuration.upstreams) {
            let is_remote =
                now.iter().any(|(other, _)| *other == up) && settings.transport != Transport::Stdio;
            if !serves(up) && !is_remote {
                self.upstreams[up.0 as usize] = Connection::None;
                self.end_leases(up);
                self.configuration.ending.remove(&up);
            }
        }
        self.configuration.upstreams = now;
    }

    fn add(&mut self, settings: &UpstreamSettings, reach: Reach) -> UpId {
        let up = UpId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = settings.name.as_str().into();
        self.observer.add(Arc::clone(&name));
        self.names.push(name);
        let connection = self.anew(up, settings.transport, reach);
        self.upstreams.push(connection);
        up
    }

    fn anew(&self, up: UpId, transport: Transport, reach: Reach) -> Connection {
        connection(
            up,
            transport,
            reach,
            &self.configuration.clients,
            &self.sink,
        )
    }
}

/// Whether a remote server is to be reached anew, or not at all any more: its exchanges end.
fn is_other(old: &UpstreamSettings, new: &UpstreamSettings) -> bool {
    old.revision != new.revision || old.era != new.era || old.enabled != new.enabled
}
