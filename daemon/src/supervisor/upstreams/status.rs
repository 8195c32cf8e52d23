//! How upstreams are shown: their rows in the status, what is wrong with them, and what metrics tell
//! of them. Reads, never changes anything.

use super::{
    Upstreams,
    upstream::{Phase, Upstream},
};
use crate::{config::UpstreamTransport, platform::Usage, supervisor::metrics::UpstreamFacts};
use ggen_wire::{
    Code,
    status::{self, Issue, UpstreamState},
};
use std::time::Duration;

impl Upstreams {
    /// The rows of the status. `in_flight`: the calls to an upstream. `is_stopped`: an operator has
    /// stopped it.
    pub(crate) fn rows(
        &self,
        now: Duration,
        in_flight: impl Fn(&str) -> u32,
        is_stopped: impl Fn(&str) -> bool,
    ) -> Vec<status::Upstream> {
        let row = |upstream: &Upstream| {
            let name = upstream.name.as_str();
            let (children, leased) = self.leased_of(name);
            let Usage {
                rss_bytes,
                processes,
                memory_bytes,
                ..
            } = upstream.usage.and(leased);
            let mut row = status::Upstream {
                in_flight: in_flight(name),
                children,
                rss_bytes,
                processes,
                memory_bytes,
                ..upstream.row(now)
            };
            if row.state != UpstreamState::Ready {
                let shim = upstream.shim();
                row.last_line = shim.and_then(|shim| self.shims.last_line(shim));
            }
            if is_stopped(name) {
                (row.state, row.code) = (UpstreamState::Stopped, None);
            }
            row
        };
        self.all.iter().map(row).collect()
    }

    /// What is wrong with upstreams.
    pub(crate) fn issues(&self, now: Duration) -> impl Iterator<Item = Issue> {
        self.all.iter().filter_map(move |it| it.issue(now))
    }

    /// What metrics show of upstreams.
    pub(crate) fn facts(&self, now: Duration) -> Vec<UpstreamFacts<'_>> {
        self.all
            .iter()
            .map(|upstream| {
                let (children, leased) = self.leased_of(&upstream.name);
                UpstreamFacts {
                    name: &upstream.name,
                    is_ready: upstream.state(now) == UpstreamState::Ready,
                    is_remote: upstream.phase == Phase::Remote,
                    restarts: upstream.restarts,
                    children,
                    usage: upstream.usage.and(leased),
                }
            })
            .collect()
    }

    /// Of the upstreams that are to be served, how many are ready, and how many there are.
    pub(crate) fn ready_and_served(&self, now: Duration) -> (usize, usize) {
        let is_served = |upstream: &&Upstream| upstream.config.enabled && !upstream.config.is_self;
        let served = self.all.iter().filter(is_served);
        let is_ready = |upstream: &&Upstream| upstream.state(now) == UpstreamState::Ready;
        (served.clone().filter(is_ready).count(), served.count())
    }
}

impl Upstream {
    fn row(&self, now: Duration) -> status::Upstream {
        let report = self.report.as_ref();
        let transport = match self.config.transport {
            UpstreamTransport::Stdio { .. } => "stdio",
            UpstreamTransport::Http { kind, .. } => kind.as_str(),
        };
        let next_start_ms = match self.phase {
            Phase::Backoff(until) => {
                let left = until.saturating_sub(now).as_millis();
                Some(u64::try_from(left).unwrap_or(u64::MAX))
            }
            _ => None,
        };
        status::Upstream {
            name: self.name.clone(),
            transport: transport.to_owned(),
            state: self.state(now),
            pid: self.pid,
            era: report.and_then(|report| report.era.clone()),
            protocol: report.and_then(|report| report.protocol.clone()),
            server: report.and_then(|report| report.server.clone()),
            tools: report.map_or(0, |report| report.tools),
            prompts: report.map_or(0, |report| report.prompts),
            resources: report.map_or(0, |report| report.resources),
            restarts: self.restarts,
            last_exit: self.failing_list().or_else(|| self.last_exit.clone()),
            code: self.code,
            next_start_ms,
            starting_ms: self.starting_ms(now),
            ..status::Upstream::default()
        }
    }

    /// What the gateway worker says of a list that it does not get, while the server runs.
    fn failing_list(&self) -> Option<String> {
        let report = self.report.as_ref()?;
        let is_running = matches!(self.phase, Phase::Running(_));
        let fails = is_running && report.code == Some(Code::UpstreamListFailed);
        report.detail.clone().filter(|_| fails)
    }

    /// Milliseconds since its start, while it starts.
    fn starting_ms(&self, now: Duration) -> Option<u64> {
        if self.state(now) != UpstreamState::Starting {
            return None;
        }
        self.shim()?;
        let since = now.saturating_sub(self.started_at?);
        u64::try_from(since.as_millis()).ok()
    }

    fn issue(&self, now: Duration) -> Option<Issue> {
        let down = self.code.unwrap_or(Code::UpstreamExited);
        let (code, what) = match self.state(now) {
            UpstreamState::CrashLoop => (Code::UpstreamCrashLoop, "dies again and again"),
            UpstreamState::Degraded if down == Code::UpstreamListFailed => {
                (down, "does not give all its lists")
            }
            UpstreamState::Degraded => (down, "is down"),
            UpstreamState::Stopped => (down, "is stopped"),
            UpstreamState::Disabled if self.config.enabled || self.code.is_some() => {
                let code = self.code.unwrap_or(Code::ConfigSelfReference);
                (code, "is not served")
            }
            _ => return None,
        };
        let name = &self.name;
        let help = match code {
            Code::CommandNotFound => format!("ggen mcp test {name}"),
            _ => format!("ggen mcp server logs --upstream {name}"),
        };
        let reason = self
            .failing_list()
            .or_else(|| self.last_exit.clone())
            .or_else(|| self.report.as_ref()?.detail.clone())
            .unwrap_or_default();
        let message = if reason.is_empty() {
            format!("{name} {what}")
        } else {
            format!("{name} {what}: {reason}")
        };
        Some(Issue {
            code,
            message,
            help,
        })
    }
}
