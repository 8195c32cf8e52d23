//! One upstream server: its entry in the configuration, where it stands, and the record of its
//! lives.

use super::starting::{Standing, Turn};
use crate::{
    config::{self, UpstreamTransport},
    ipc::messages::{Child, ChildGone, UpstreamReport},
    platform::Usage,
    supervisor::{event::ShimId, processes::restart_backoff::Life, reload::Outcome},
};
use ggen_wire::{Code, status::UpstreamState, text};
use serde::{Deserialize, Serialize};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

/// Where an upstream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Nobody has asked for it yet.
    Idle,
    /// It waits for its turn to start.
    Queued,
    /// The shim has been told to start it; the start-up ends at that time at the latest.
    Starting(ShimId, Duration),
    /// It runs.
    Running(ShimId),
    /// It is being ended.
    Ending(ShimId),
    /// It waits for its next start.
    Backoff(Duration),
    /// It is not started again until a reload or a request.
    Stopped,
    /// It is not to be started.
    Disabled,
    /// It is a remote server, which the gateway worker reaches by itself.
    Remote,
}

/// The ends of a server's pipes that the gateway worker is given.
#[derive(Clone, Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: Arc<OwnedFd>,
    pub(crate) stdout: Arc<OwnedFd>,
}

/// An upstream server. Its form is that of the state that one binary hands to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upstream {
    pub(super) name: String,
    pub(super) config: config::Upstream,
    pub(super) phase: Phase,
    pub(super) life: Life,
    /// Number of its life, from 1.
    pub(super) incarnation: u64,
    pub(super) restarts: u64,
    pub(super) pid: Option<u32>,
    #[serde(skip)]
    pub(super) pipes: Option<Pipes>,
    /// What the gateway worker said of it last.
    pub(super) report: Option<UpstreamReport>,
    /// What the next gateway worker is to know of it; opaque here.
    pub(super) handoff: Option<String>,
    pub(super) last_exit: Option<String>,
    pub(super) code: Option<Code>,
    /// Of the shared child and its descendants.
    pub(super) usage: Usage,
    /// The present gateway worker has asked for it.
    pub(super) wanted: bool,
    /// It was sent to the present gateway worker.
    pub(super) delivered: bool,
    /// Why it is being ended, for the reason of its end.
    pub(super) complaint: Option<(Code, String)>,
    /// When its present life began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<Duration>,
    /// It has been starting for a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) slow: bool,
    /// Only the probe of its era has been sent to it: if it ends now, that is no failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) probed: bool,
    /// Its last life ended at the probe, which was not counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) spared: bool,
    /// It ended at the probe, and is to be started again without a delay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) at_once: bool,
    /// Its entry has changed: it restarts when its calls are answered, by that time at the latest.
    #[serde(rename = "leaving_by")]
    pub(super) drain_until: Option<Duration>,
}

impl Upstream {
    pub(super) fn new(name: &str, config: &config::Upstream) -> Self {
        let phase = match config.transport {
            _ if !config.enabled || config.is_self => Phase::Disabled,
            UpstreamTransport::Stdio { .. } => Phase::Idle,
            UpstreamTransport::Http { .. } => Phase::Remote,
        };
        Self {
            name: name.to_owned(),
            config: config.clone(),
            phase,
            life: Life::default(),
            incarnation: 0,
            restarts: 0,
            pid: None,
            pipes: None,
            report: None,
            handoff: None,
            last_exit: None,
            code: config.is_self.then_some(Code::ConfigSelfReference),
            usage: Usage::default(),
            wanted: false,
            delivered: false,
            complaint: None,
            started_at: None,
            slow: false,
            probed: false,
            spared: false,
            at_once: false,
            drain_until: None,
        }
    }

    /// Whether it is ready or on its way to be.
    pub(crate) fn is_up(&self, now: Duration) -> bool {
        matches!(
            self.state(now),
            UpstreamState::Ready | UpstreamState::Starting
        )
    }

    /// The shim that runs it.
    pub(super) const fn shim(&self) -> Option<ShimId> {
        match self.phase {
            Phase::Starting(shim, _) | Phase::Running(shim) | Phase::Ending(shim) => Some(shim),
            _ => None,
        }
    }

    /// The shim that runs it, unless it is being ended.
    pub(super) const fn live_shim(&self) -> Option<ShimId> {
        match self.phase {
            Phase::Starting(shim, _) | Phase::Running(shim) => Some(shim),
            _ => None,
        }
    }

    /// What it has to do with the slots of servers that start.
    pub(super) fn standing(&self) -> Standing {
        let turn = match self.life.failures() {
            _ if self.at_once => Turn::AtOnce,
            0 if self.incarnation == 0 => Turn::First,
            0 => Turn::Again,
            failures => Turn::Retry(failures),
        };
        match self.phase {
            Phase::Queued => Standing::Waits(turn),
            Phase::Starting(..) => Standing::Holds {
                turn,
                slow: self.slow,
            },
            _ => Standing::Apart,
        }
    }

    /// Counts as one that had served well, so that it is started again at once.
    pub(super) fn forgive(&mut self, now: Duration) {
        self.life = Life::default();
        self.life.ready(now);
    }

    /// Its state, as it is shown.
    pub(super) fn state(&self, now: Duration) -> UpstreamState {
        let reported = || {
            self.report
                .as_ref()
                .map_or(UpstreamState::Starting, |report| report.state)
        };
        let is_unwell = self.life.is_unwell(now);
        match self.phase {
            Phase::Remote => reported(),
            Phase::Stopped => UpstreamState::Stopped,
            Phase::Disabled => UpstreamState::Disabled,
            _ if is_unwell => UpstreamState::CrashLoop,
            Phase::Idle | Phase::Queued | Phase::Starting(..) => UpstreamState::Starting,
            Phase::Running(_) => reported(),
            Phase::Ending(_) | Phase::Backoff(_) => UpstreamState::Degraded,
        }
    }

    /// Whether it is known how it stands: up, or known not to be.
    pub(super) fn is_settled(&self) -> bool {
        let reported = self
            .report
            .as_ref()
            .is_some_and(|report| report.state != UpstreamState::Starting);
        match self.phase {
            Phase::Idle | Phase::Queued | Phase::Starting(..) => self.life.quick() > 0,
            Phase::Running(_) | Phase::Remote => reported,
            Phase::Ending(_) | Phase::Backoff(_) | Phase::Stopped | Phase::Disabled => true,
        }
    }

    /// What has become of it after a reload, for a person; `None` while that is not known.
    pub(super) fn outcome(&self, now: Duration) -> Option<Outcome> {
        if self.drain_until.is_some() {
            return None;
        }
        let reported = self.report.as_ref().filter(|report| {
            !matches!(
                report.state,
                UpstreamState::Starting | UpstreamState::Disabled
            )
        });
        let is_known = match self.phase {
            Phase::Ending(_) => false,
            Phase::Running(_) | Phase::Remote => reported.is_some(),
            // The first end may have been asked for, by a change of its entry.
            Phase::Idle | Phase::Queued | Phase::Starting(..) | Phase::Backoff(_) => {
                self.life.quick() > 1
            }
            Phase::Stopped | Phase::Disabled => true,
        };
        if !is_known {
            return None;
        }
        let tools = reported.map_or(0, |report| report.tools);
        let state = self.state(now);
        let text = match (state, self.last_exit.as_ref()) {
            (UpstreamState::Ready, _) => format!("ready, {}", text::count(tools as usize, "tool")),
            (state, Some(reason)) => format!("{}: {reason}", state.as_str()),
            (state, None) => state.as_str().to_owned(),
        };
        let is_as_wanted = matches!(state, UpstreamState::Ready | UpstreamState::Disabled);
        Some(Outcome { text, is_as_wanted })
    }

    /// What the gateway worker is told with the pipes.
    pub(super) fn child(&self, pid: u32) -> Child {
        Child {
            upstream: self.name.clone(),
            lease: 0,
            incarnation: self.incarnation,
            pid,
            handoff: self.handoff.clone(),
        }
    }

    /// What the gateway worker is told when the child is gone. `wait`: when the next one starts.
    pub(super) fn gone(
        &self,
        code: Code,
        reason: &str,
        wait: Option<Duration>,
        now: Duration,
    ) -> ChildGone {
        ChildGone {
            upstream: self.name.clone(),
            lease: 0,
            incarnation: self.incarnation,
            state: self.state(now),
            code,
            reason: reason.to_owned(),
            next_start_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}
