//! What the service manager is told, from the supervisor's state: the line that `systemctl status`
//! shows, and which listening sockets it is to keep for the next start. How it is said is
//! `sd_notify.rs`.

pub(in crate::supervisor) mod sd_notify;

use crate::supervisor::Supervisor;
use ggen_wire::status::UpstreamState;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

/// Sockets that are kept are named with this before their transport, and so told from those of
/// socket units.
pub(crate) const KEPT: &str = "kept-";
/// Problems that the line of status names.
const PROBLEMS: usize = 2;

/// What the manager keeps, by name.
#[derive(Debug, Default)]
pub(crate) struct KeptSockets(pub(crate) BTreeMap<String, Arc<OwnedFd>>);

impl KeptSockets {
    /// Names of what an earlier process had the manager keep.
    pub(crate) fn inherited(names: impl Iterator<Item = String>) -> Vec<String> {
        names.filter(|name| name.starts_with(KEPT)).collect()
    }
}

impl Supervisor {
    /// Has the manager keep our own listening sockets, and no others. Sockets of socket units it
    /// has anyhow. `inherited`: names of those that came with this start and may not be wanted any
    /// more.
    pub(crate) fn keep_listeners(&mut self, inherited: &[String]) {
        if !self.notify.is_managed() {
            return;
        }
        let mut wanted = BTreeMap::new();
        for (own, socket, has_it) in self.listeners.own() {
            let name = format!("{KEPT}{own}");
            if has_it {
                self.kept
                    .0
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(&socket));
            }
            wanted.insert(name, socket);
        }
        let stale = |name: &String| match (self.kept.0.get(name), wanted.get(name)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            _ => true,
        };
        let gone: Vec<String> = self
            .kept
            .0
            .keys()
            .chain(inherited)
            .filter(|name| stale(name))
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let fresh: Vec<_> = wanted
            .iter()
            .filter(|(name, _)| stale(name))
            .map(|(name, fd)| (name.clone(), Arc::clone(fd)))
            .collect();
        for name in gone {
            self.notify.forget(&name);
        }
        for (name, socket) in fresh {
            self.notify.keep(&name, socket);
        }
        self.kept = KeptSockets(wanted);
    }

    /// The line of status: where it serves, how the servers are, what is wrong.
    pub(crate) fn status_line(&self) -> String {
        let now = self.now();
        let mut parts = vec![match self.listeners.address("http") {
            Some(address) => format!("serving MCP on http://{address}/mcp"),
            None => "running without an HTTP listener".to_owned(),
        }];
        let served = || {
            self.upstreams
                .iter()
                .filter(|upstream| upstream.config.enabled && !upstream.config.is_self)
        };
        let total = served().count();
        if total > 0 {
            let ready = served()
                .filter(|upstream| upstream.state(now) == UpstreamState::Ready)
                .count();
            parts.push(format!("{ready} of {total} servers ready"));
        }
        parts.push(format!("generation {}", self.generation));
        if let Some(refused) = &self.refused {
            parts.push(format!("reload refused: {refused}"));
        }
        let issues = self.issues(now);
        let say = |issue: &ggen_wire::status::Issue| {
            let code = issue.code.as_str();
            if issue.message.contains(code) {
                issue.message.clone()
            } else {
                format!("{} [{code}]", issue.message)
            }
        };
        parts.extend(issues.iter().take(PROBLEMS).map(say));
        if issues.len() > PROBLEMS {
            parts.push(format!("{} more problems", issues.len() - PROBLEMS));
        }
        parts.join("; ")
    }

    /// Says what has changed, at most once a second.
    pub(crate) fn tell_manager(&mut self, now: Duration) {
        if self.notify.may_tell(now) {
            let line = self.status_line();
            self.notify.status(&line, now);
        }
    }
}
