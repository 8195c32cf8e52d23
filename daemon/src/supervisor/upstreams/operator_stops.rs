//! Stopping and starting one transport or upstream by name. What is stopped is switched off over
//! the configuration (`config/switched_off.rs`), and the difference is put in force as a reload is:
//! listeners close, workers finish what they have and go.

use crate::{
    config::{TRANSPORTS, is_on},
    ipc::messages::Role,
    platform,
    supervisor::{Supervisor, event::Reply, workers::Stage},
};
use ggen_wire::{
    Code,
    control::{Body, Failure},
    status::{self, Phase as Shown},
};

/// What is to become of one transport or upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) name: String,
    pub(crate) on: bool,
}

/// The role whose workers serve a transport.
fn role_of(transport: &str) -> Option<Role> {
    if transport == "https" {
        Some(Role::Http)
    } else {
        Role::named(transport).filter(|role| *role != Role::Gateway)
    }
}

impl Supervisor {
    /// Stops a transport or an upstream until it is started again.
    pub(crate) fn stop_named(&mut self, name: &str, reply: Reply, more: bool) {
        if self.stopped.contains(name) {
            return reply.last(Ok(Body::Done(format!("{name} is stopped already"))));
        }
        if let Some(failure) = self.unknown(name) {
            return reply.last(Err(failure));
        }
        self.stopped.insert(name.to_owned());
        self.put_switches(
            Switch {
                name: name.to_owned(),
                on: false,
            },
            reply,
            more,
        );
    }

    /// Starts what was stopped; what was not, and does not run, is started anew.
    pub(crate) fn start_named(&mut self, name: &str, reply: Reply, more: bool) {
        if self.stopped.remove(name) {
            return self.put_switches(
                Switch {
                    name: name.to_owned(),
                    on: true,
                },
                reply,
                more,
            );
        }
        if let Some(failure) = self.unknown(name) {
            return reply.last(Err(failure));
        }
        let now = self.now();
        let runs = match role_of(name) {
            Some(role) => {
                let ready = |id| {
                    self.workers
                        .procs
                        .get(&id)
                        .is_some_and(|proc| proc.stage == Stage::Ready)
                };
                let mut slots = self
                    .workers
                    .slots
                    .iter()
                    .filter(|slot| slot.role == role)
                    .peekable();
                slots.peek().is_some() && slots.all(|slot| slot.current.is_some_and(ready))
            }
            None => self.upstreams.iter().any(|upstream| {
                upstream.name == name
                    && matches!(upstream.state(now).as_str(), "ready" | "starting")
            }),
        };
        if runs {
            return reply.last(Ok(Body::Done(format!("{name} is already running"))));
        }
        if let Some(issue) = self.listeners.quic_issue().filter(|_| name == "quic") {
            // Its port may be free now.
            self.retry_quic();
            if self.listeners.quic_issue().is_some() {
                return reply.last(Err(crate::supervisor::control::calls::failure(
                    issue.code,
                    &issue.message,
                    &issue.help,
                )));
            }
            return reply.last(Ok(Body::Done("quic started".to_owned())));
        }
        let target = role_of(name).map_or_else(|| name.to_owned(), |role| role.as_str().to_owned());
        self.restart(Some(&target), reply);
    }

    /// Why there is nothing of that name to be stopped or started.
    fn unknown(&self, name: &str) -> Option<Failure> {
        if is_on(&self.loaded.config, name) || self.loaded.stopped.contains(name) {
            return None;
        }
        let failed = |code, message: &str, help: &str| {
            Some(crate::supervisor::control::calls::failure(
                code, message, help,
            ))
        };
        if name == Role::Gateway.as_str() {
            return failed(
                Code::InvalidRequest,
                "the gateway is what all transports serve; the daemon stops with it",
                "ggen mcp server stop",
            );
        }
        if TRANSPORTS.contains(&name) {
            let key = match name {
                "https" => "transports.http.ssl.enabled".to_owned(),
                "admin" => "metrics.enabled".to_owned(),
                other => format!("transports.{other}.enabled"),
            };
            return failed(
                Code::InvalidRequest,
                &format!("{name} is switched off in the configuration"),
                &format!("ggen mcp config set {key}=true && ggen mcp server reload"),
            );
        }
        if self.upstreams.iter().any(|upstream| upstream.name == name) {
            return failed(
                Code::UpstreamDisabled,
                &format!("{name} is disabled in the configuration"),
                "ggen mcp list",
            );
        }
        failed(
            Code::ServerUnknown,
            &format!("no transport and no server is called `{name}`"),
            "ggen mcp server status",
        )
    }

    fn put_switches(&mut self, switch: Switch, reply: Reply, more: bool) {
        let (event, name) = if switch.on {
            ("starting", &switch.name)
        } else {
            ("stopping", &switch.name)
        };
        tracing::info!(target: "transport", event, name, "{name} is {event} on request");
        self.switch_and_reload(switch, reply, more);
    }

    /// What the caller is told once the change is in force.
    pub(crate) fn switched(&self, switch: &Switch) -> Result<Body, Failure> {
        let name = &switch.name;
        if switch.on
            && name == "quic"
            && let Some(issue) = self.listeners.quic_issue()
        {
            return Err(crate::supervisor::control::calls::failure(
                issue.code,
                &issue.message,
                &issue.help,
            ));
        }
        if switch.on {
            return Ok(Body::Done(format!("{name} started")));
        }
        let draining = self.workers.procs.values().filter(|proc| {
            Some(proc.role) == role_of(name) && matches!(proc.stage, Stage::Draining(_))
        });
        let open: u64 = draining.map(|proc| proc.beat.connections).sum();
        Ok(Body::Done(match open {
            0 => format!("{name} stopped"),
            1 => format!("{name} stopped, 1 connection draining"),
            many => format!("{name} stopped, {many} connections draining"),
        }))
    }

    /// A change that could not be put in force was none.
    pub(crate) fn unswitch(&mut self, switch: &Switch) {
        if switch.on {
            self.stopped.insert(switch.name.clone());
        } else {
            self.stopped.remove(&switch.name);
        }
    }

    /// Each transport that is configured.
    pub(crate) fn transports(&self) -> Vec<status::Transport> {
        let now = self.now();
        let row = |name: &str| {
            let role = role_of(name)?;
            let stopped = self.loaded.stopped.contains(name);
            if !stopped && !is_on(&self.loaded.config, name) {
                return None;
            }
            let listener = self
                .listeners
                .status()
                .into_iter()
                .find(|listener| listener.transport == name);
            let slots = || {
                self.workers
                    .slots
                    .iter()
                    .filter(|slot| slot.role == role && !slot.prospective)
            };
            let ready = slots().filter(|slot| {
                slot.current
                    .and_then(|id| self.workers.procs.get(&id))
                    .is_some_and(|proc| proc.stage == Stage::Ready)
            });
            let workers = u32::try_from(ready.count()).unwrap_or(u32::MAX);
            let unwell = slots().any(|slot| slot.failed || slot.life.is_unwell(now));
            let away = self.listeners.why_not(name);
            let (phase, detail) = match (stopped, away, workers) {
                (true, ..) => (Shown::Stopped, Some("stopped on request".to_owned())),
                (_, Some(why), _) => (Shown::Degraded, Some(why)),
                (_, None, 0) if !unwell => (Shown::Starting, None),
                (_, None, _) if unwell => (
                    Shown::Degraded,
                    Some("workers die again and again".to_owned()),
                ),
                _ => (Shown::Running, None),
            };
            let address = listener
                .filter(|_| !stopped)
                .map(|listener| listener.address);
            Some(status::Transport {
                name: name.to_owned(),
                phase,
                address,
                workers: if stopped { 0 } else { workers },
                detail,
            })
        };
        TRANSPORTS.into_iter().filter_map(row).collect()
    }

    /// The listeners that a new configuration may go on with: those in force, and the QUIC port
    /// that workers still drain at. Sockets of it are bound to it as long as one of them lives, and
    /// nobody else gets it.
    pub(crate) fn usable_listeners(&self) -> crate::supervisor::listeners::Listeners {
        let mut usable = self.listeners.clone();
        if let (Some(port), true) = (self.workers.quic_ports().next(), platform::STEERS) {
            usable.go_on_with(port);
        }
        usable
    }

    /// Whether an upstream is down because somebody wanted it so.
    pub(crate) fn is_stopped(&self, upstream: &str) -> bool {
        self.loaded.stopped.contains(upstream) && !TRANSPORTS.contains(&upstream)
    }
}
