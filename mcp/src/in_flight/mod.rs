//! The table of requests to upstreams that have no answer yet: the relay's own and those of clients.
//! It only keeps records; what an answer or its absence means is decided by the rooms that send.

pub(crate) mod record;

use crate::api::{Micros, StreamKey, UpId};
use crate::in_flight::record::{Call, Purpose};
use std::collections::{HashMap, HashSet};

/// Requests to upstreams that have no answer yet, by the id that they were sent with.
#[derive(Default)]
pub(crate) struct Calls {
    calls: HashMap<u64, Call>,
}

impl Calls {
    pub(crate) fn get(&self, number: &u64) -> Option<&Call> {
        self.calls.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: &u64) -> Option<&mut Call> {
        self.calls.get_mut(number)
    }

    pub(crate) fn contains_key(&self, number: &u64) -> bool {
        self.calls.contains_key(number)
    }

    pub(crate) fn insert(&mut self, number: u64, call: Call) {
        self.calls.insert(number, call);
    }

    pub(crate) fn remove(&mut self, number: &u64) -> Option<Call> {
        self.calls.remove(number)
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&u64, &mut Call) -> bool) {
        self.calls.retain(keep);
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&u64, &Call)> {
        self.calls.iter()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// Calls that were made for clients.
    pub(crate) fn of_clients(&self) -> impl Iterator<Item = &Call> {
        self.values()
            .filter(|call| matches!(call.purpose, Purpose::Client(_)))
    }

    /// Calls of a principal at an upstream, and how many other principals have some there.
    pub(crate) fn shares(&self, up: UpId, principal: &str) -> (usize, usize) {
        let (mut own, mut others) = (0, HashSet::new());
        for call in self.values().filter(|call| call.up == up) {
            if let Purpose::Client(client) = &call.purpose {
                if *client.principal == *principal {
                    own += 1;
                } else {
                    others.insert(&client.principal);
                }
            }
        }
        (own, others.len())
    }

    /// The calls of a connection (or, with `None`, of the upstream), in order.
    pub(crate) fn of_conn(&self, up: UpId, conn: Option<usize>) -> Vec<u64> {
        let of = |call: &Call| call.up == up && conn.is_none_or(|conn| call.conn == conn);
        let mut numbers: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| of(call))
            .map(|(number, _)| *number)
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// The calls whose time is over, in order, and whose they are.
    pub(crate) fn overdue(&self, now: Micros) -> Vec<(u64, UpId)> {
        let mut due: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline <= now)
            .map(|(number, call)| (*number, call.up))
            .collect();
        due.sort_unstable();
        due
    }

    /// The exchanges of clients whose requests came before that time, in order.
    pub(crate) fn waiting_since(&self, time: Micros) -> Vec<StreamKey> {
        let mut keys: Vec<_> = self
            .calls
            .values()
            .filter_map(|call| match &call.purpose {
                Purpose::Client(client) if client.arrived <= time => Some(client.key),
                _ => None,
            })
            .collect();
        keys.sort_unstable();
        keys
    }
}
