//! The daemon's status from the supervisor's state: what `ggen`, `/health` and the built-in tools
//! show. Reads, never changes anything.

use crate::{
    config::{Config, Size, UpstreamTransport},
    platform::Usage,
    supervisor::{
        Supervisor,
        upstreams::{self, Phase as UpstreamPhase},
        workers::{Proc, Slot, Stage},
    },
};
use ggen_wire::{
    Code,
    status::{Issue, Limit, Phase, Status, Upstream, UpstreamState, Worker},
};
use nix::sys::resource::{Resource, getrlimit};
use std::time::Duration;

impl Supervisor {
    /// The status as of now.
    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        let beats = || self.workers.procs.values().map(|proc| &proc.beat);
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let issues = self.issues(now);
        Status {
            version: ggen_wire::VERSION.to_owned(),
            pid: std::process::id(),
            phase: self.phase(!issues.is_empty()),
            started_ms: self.started_ms,
            uptime_ms: ms(now),
            generation: self.generation,
            config_file: self
                .loaded
                .file
                .as_ref()
                .map(|path| path.display().to_string()),
            config_version: self.loaded.config.version.clone(),
            transports: self.transports(),
            listeners: self.listeners.status(),
            workers: self.worker_rows(now),
            upstreams: self
                .upstreams
                .iter()
                .map(|upstream| {
                    let (row, (children, usage)) =
                        (row(upstream, now), self.leased_of(&upstream.name));
                    let Usage {
                        rss_bytes,
                        processes,
                        memory_bytes,
                        ..
                    } = upstream.usage.and(usage);
                    let row = Upstream {
                        in_flight: self.calls_of(&upstream.name),
                        children,
                        rss_bytes,
                        processes,
                        memory_bytes,
                        ..row
                    };
                    if self.is_stopped(&upstream.name) {
                        Upstream {
                            state: UpstreamState::Stopped,
                            code: None,
                            ..row
                        }
                    } else {
                        row
                    }
                })
                .collect(),
            tools: beats().map(|beat| beat.tools).max().unwrap_or(0),
            sessions: small(beats().map(|beat| beat.sessions).sum()),
            in_flight: self.in_flight(),
            slow: self.metrics.slow_calls().to_vec(),
            limits: limits(&self.loaded.config),
            cgroups: Some(self.cgroups.status()),
            log_levels: self.levels.status(now),
            issues,
        }
    }

    fn phase(&self, unwell: bool) -> Phase {
        if self.stop.is_stopping() {
            Phase::Draining
        } else if !self.announced {
            Phase::Starting
        } else if unwell {
            Phase::Degraded
        } else {
            Phase::Running
        }
    }

    /// Calls in flight: the gateway's count, and the edges' where there is no gateway to ask.
    fn in_flight(&self) -> u32 {
        let gateway = self
            .workers
            .gateway()
            .and_then(|id| self.workers.procs.get(&id));
        gateway.map_or(0, |proc| {
            u32::try_from(proc.beat.in_flight).unwrap_or(u32::MAX)
        })
    }

    /// Calls in flight to one upstream, as of the gateway's last beat.
    fn calls_of(&self, upstream: &str) -> u32 {
        let gateway = self
            .workers
            .gateway()
            .and_then(|id| self.workers.procs.get(&id));
        gateway
            .and_then(|proc| proc.beat.busy.iter().find(|(name, _)| name == upstream))
            .map_or(0, |(_, calls)| *calls)
    }

    fn worker_rows(&self, now: Duration) -> Vec<Worker> {
        let mut rows = Vec::new();
        for slot in &self.workers.slots {
            let mut shown = false;
            for proc in self
                .workers
                .procs
                .values()
                .filter(|proc| proc.name == slot.name)
            {
                shown |= proc.is_current();
                rows.push(worker_row(proc, Some(slot), now));
            }
            if !shown {
                rows.push(self.waiting_row(slot));
            }
        }
        // Of places that are not configured any more: they drain.
        let has_slot = |proc: &Proc| self.workers.slots.iter().any(|slot| slot.name == proc.name);
        rows.extend(
            self.workers
                .procs
                .values()
                .filter(|proc| !has_slot(proc))
                .map(|proc| worker_row(proc, None, now)),
        );
        rows
    }

    fn waiting_row(&self, slot: &Slot) -> Worker {
        Worker {
            name: slot.name.clone(),
            role: slot.role.as_str().to_owned(),
            pid: None,
            generation: self.generation,
            phase: if slot.failed {
                Phase::Failed
            } else {
                Phase::Backoff
            },
            restarts: slot.restarts,
            sandbox: None,
            open_files: None,
            connections: 0,
            rss_bytes: 0,
            beat_age_ms: 0,
            last_exit: slot.last_exit.clone(),
        }
    }

    pub(crate) fn issues(&self, now: Duration) -> Vec<Issue> {
        let mut issues: Vec<Issue> = self.sessions.issue().into_iter().collect();
        for slot in &self.workers.slots {
            let reason = slot.last_exit.clone().unwrap_or_default();
            if slot.failed {
                issues.push(Issue {
                    code: Code::TransportDegraded,
                    message: format!("{} does not accept its configuration: {reason}", slot.name),
                    help: "ggen mcp server reload".to_owned(),
                });
            } else if slot.life.is_unwell(now) {
                issues.push(Issue {
                    code: Code::TransportDegraded,
                    message: format!("{} dies again and again: {reason}", slot.name),
                    help: "ggen mcp server logs --level error".to_owned(),
                });
            }
        }
        issues.extend(self.listeners.quic_issue());
        if self.listeners.quic_port().is_some() && !self.tls.is_any() {
            issues.push(Issue {
                code: Code::CertificateUnusable,
                message: "QUIC is not served: there is no certificate to serve it with".to_owned(),
                help:
                    "ggen mcp config set transports.http.ssl.cert=FILE transports.http.ssl.key=FILE"
                        .to_owned(),
            });
        }
        for upstream in &self.upstreams {
            let reason = upstream
                .last_exit
                .clone()
                .or_else(|| upstream.report.as_ref()?.detail.clone())
                .unwrap_or_default();
            let name = &upstream.name;
            let (code, what) = match upstream.state(now) {
                UpstreamState::CrashLoop => (Code::UpstreamCrashLoop, "dies again and again"),
                UpstreamState::Degraded => {
                    (upstream.code.unwrap_or(Code::UpstreamExited), "is down")
                }
                UpstreamState::Stopped => {
                    (upstream.code.unwrap_or(Code::UpstreamExited), "is stopped")
                }
                UpstreamState::Disabled if upstream.config.enabled || upstream.code.is_some() => (
                    upstream.code.unwrap_or(Code::ConfigSelfReference),
                    "is not served",
                ),
                _ => continue,
            };
            let help = match code {
                Code::CommandNotFound => format!("ggen mcp test {name}"),
                _ => format!("ggen mcp server logs --upstream {name}"),
            };
            let message = if reason.is_empty() {
                format!("{name} {what}")
            } else {
                format!("{name} {what}: {reason}")
            };
            issues.push(Issue {
                code,
                message,
                help,
            });
        }
        issues
    }
}

fn worker_row(proc: &Proc, slot: Option<&Slot>, now: Duration) -> Worker {
    Worker {
        name: proc.name.clone(),
        role: proc.role.as_str().to_owned(),
        pid: Some(proc.pid),
        generation: proc.generation,
        phase: match proc.stage {
            Stage::Starting => Phase::Starting,
            Stage::Ready if slot.is_some_and(|slot| slot.life.is_unwell(now)) => Phase::Degraded,
            Stage::Ready => Phase::Running,
            Stage::Draining(_) => Phase::Draining,
            Stage::Aborted(_) | Stage::Killed => Phase::Degraded,
        },
        restarts: slot.map_or(0, |slot| slot.restarts),
        sandbox: (!proc.sandbox.is_empty()).then(|| proc.sandbox.clone()),
        open_files: proc.beat.files,
        connections: proc.beat.connections,
        rss_bytes: proc.usage.rss_bytes,
        beat_age_ms: ms(now.saturating_sub(proc.beat_at)),
        last_exit: slot.and_then(|slot| slot.last_exit.clone()),
    }
}

/// What bounds clients and calls, in the order of the configuration's page.
fn limits(config: &Config) -> Vec<Limit> {
    let (server, http, websocket) = (
        &config.server,
        &config.transports.http,
        &config.transports.websocket,
    );
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or_else(|_| "unknown".to_owned(), |(soft, _)| soft.to_string());
    let bytes = |size: Size| format!("{} bytes", size.0);
    let all = [
        ("server.workers", server.workers.to_string()),
        ("server.connection_pool", server.connection_pool.to_string()),
        ("server.buffer_size", bytes(server.buffer_size)),
        (
            "server.drain_timeout_ms",
            server.drain_timeout_ms.to_string(),
        ),
        (
            "server.start_concurrency",
            server.start_concurrency.to_string(),
        ),
        ("transports.http.timeout_ms", http.timeout_ms.to_string()),
        (
            "transports.http.request_timeout_ms",
            http.request_timeout_ms.to_string(),
        ),
        ("transports.http.compression", http.compression.to_string()),
        ("transports.http.max_body", bytes(http.max_body)),
        (
            "transports.http.max_connections",
            format!("{} per worker", http.max_connections),
        ),
        (
            "transports.websocket.message_timeout_ms",
            websocket.message_timeout_ms.to_string(),
        ),
        (
            "transports.websocket.max_message",
            bytes(websocket.max_message),
        ),
        (
            "transports.websocket.max_connections",
            format!("{} per worker", websocket.max_connections),
        ),
        ("rlimit.nofile", files),
    ];
    all.map(|(name, value)| Limit {
        name: name.to_owned(),
        value,
    })
    .to_vec()
}

fn row(upstream: &upstreams::Upstream, now: Duration) -> Upstream {
    let report = upstream.report.as_ref();
    let transport = match upstream.config.transport {
        UpstreamTransport::Stdio { .. } => "stdio",
        UpstreamTransport::Http { kind, .. } => kind.as_str(),
    };
    let next_start = if let UpstreamPhase::Backoff(until) = upstream.phase {
        Some(ms(until.saturating_sub(now)))
    } else {
        None
    };
    Upstream {
        name: upstream.name.clone(),
        transport: transport.to_owned(),
        state: upstream.state(now),
        pid: upstream.pid,
        era: report.and_then(|report| report.era.clone()),
        protocol: report.and_then(|report| report.protocol.clone()),
        server: report.and_then(|report| report.server.clone()),
        tools: report.map_or(0, |report| report.tools),
        prompts: report.map_or(0, |report| report.prompts),
        resources: report.map_or(0, |report| report.resources),
        restarts: upstream.restarts,
        last_exit: upstream.last_exit.clone(),
        code: upstream.code,
        next_start_ms: next_start,
        ..Upstream::default()
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
