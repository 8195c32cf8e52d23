//! The router of the relay, behind [`Gateway::input`]. It takes events to the rooms that they
//! concern and answers nothing itself. A client's request: `post` (may it, what is it) → `local`
//! (answered here), `pass_on` (to an upstream) or `task_bridge`. What comes from an upstream:
//! `upstream_events` and `upstream_http` → by the purpose of the request, `responses`. Time:
//! `timeouts`. The end of a session or of a client: `sessions`. Another list of servers:
//! `reconfigure`. A room that needs one above it says so as a follow-up, which the gateway sees to
//! after the event.

mod batch;
mod leftovers;
mod pass_on;
mod post;
mod reconfigure;
mod responses;
mod sessions;
mod timeouts;
mod upstream_events;
mod upstream_http;

use crate::access::AccessControl;
use crate::access::rules::Rules;
use crate::api::{Input, Micros, Output, Settings, UpId};
use crate::call::Calling;
use crate::client::Clients;
use crate::client::waiting::Attempt;
use crate::context::Context;
use crate::context::FollowUp;
pub use crate::context::Random;
use crate::in_flight::Calls;
use crate::interactive::Questioning;
use crate::lease::Leases;
use crate::local::Serving;
use crate::questions::Questions;
use crate::questions::request_state::Key;
use crate::task_bridge::Bridging;
use crate::tasks::registry::Tasks;
use crate::trace::Spans;
use crate::upstream::Connecting;
use crate::upstream::Upstreams;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
#[doc(hidden)]
pub use leftovers::Leftovers;

/// The relay.
pub struct Gateway {
    pub(crate) cx: Context,
    pub(crate) ups: Upstreams,
    pub(crate) clients: Clients,
    pub(crate) calls: Calls,
    /// What servers ask of clients.
    pub(crate) questions: Questions,
    /// Tasks of servers that clients made.
    pub(crate) tasks: Tasks,
    /// Children of stdio servers that are leased to calls.
    pub(crate) leases: Leases,
    pub(crate) started: bool,
    pub(crate) scanned: Micros,
    pub(crate) access: AccessControl,
    pub(crate) spans: Spans,
}

/// Figures for the worker's beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Legacy sessions.
    pub sessions: u64,
    /// Client requests without an answer, waiting ones included.
    pub in_flight: u64,
    /// Tools in the view of all.
    pub tools: u32,
}

impl Gateway {
    /// A relay without clients. `input` must be called with [`Input::Tick`] once to make it reach
    /// for its upstreams.
    #[must_use]
    pub fn new(settings: Settings, mut random: Random) -> Self {
        let key = settings.key.unwrap_or_else(|| {
            let mut key = Key([0; 32]);
            random(&mut key.0);
            key
        });
        Self {
            cx: Context::new(
                settings.limits,
                settings.keeps,
                settings.incarnation,
                random,
            ),
            ups: Upstreams::new(settings.upstreams, crate::local::builtin::items()),
            clients: Clients::new(settings.epoch),
            calls: Calls::default(),
            questions: Questions::new(&key),
            tasks: Tasks::default(),
            leases: Leases::default(),
            started: false,
            scanned: 0,
            access: AccessControl::default(),
            spans: Spans::default(),
        }
    }

    /// Takes an event and appends what is to be done, in an order that depends on nothing but the
    /// events before.
    pub fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        self.cx.swap_outputs(out);
        self.cx.now = now;
        if !self.started {
            self.started = true;
            self.connecting().reach_for_all();
        }
        match input {
            Input::Open(key, request) => self.open(key, request, Attempt::first(now)),
            Input::Gone(key) => self.gone(key),
            Input::Credit(key, events) => self.clients.credit(&mut self.cx, key, events),
            Input::EdgeLost(edge) => {
                for key in self.clients.of_link(edge) {
                    self.gone(key);
                }
            }
            Input::Up(up, event) if self.ups.contains(up) => self.up(up, event),
            Input::Leased(up, lease, event) if self.ups.contains(up) => {
                self.leased(up, lease, event)
            }
            Input::Up(..) | Input::Leased(..) => {}
            Input::Answer(id, answer) => self.serving().answered(id, answer),
            Input::Reconfigure(list) => self.reconfigure(list),
            Input::Rules(rules) => self.enforce(*rules),
            Input::Hold(ups) => self.hold_back(&ups),
            Input::Restore(sessions) => self.restore(sessions),
            Input::Recall(catalogue) => {
                self.ups.recall(&catalogue);
                self.wake();
            }
            Input::Kept(ticket) => self.clients.say(&mut self.cx, &mut self.spans, ticket),
            Input::Drain => {
                self.cx.draining = true;
                // The next worker does not know these calls: their clients could not go on with them.
                self.questioning().cancel_pending();
                self.clients.end_streams(&mut self.cx, &mut self.spans);
            }
            Input::Tick => self.tick(),
        }
        while self.follow_up() || self.calling().lend() {}
        self.cx.swap_outputs(out);
    }

    /// Does the next thing that has to follow the event. False: there is nothing.
    fn follow_up(&mut self) -> bool {
        match self.cx.next_follow_up() {
            None => return false,
            Some(FollowUp::TryWaiting) => self.wake(),
            Some(FollowUp::HandshakeFailed {
                up,
                conn,
                code,
                detail,
            }) => self.calling().handshake_over(up, conn, code, detail),
            Some(FollowUp::ChildrenChanged(up)) => self.leases.touch(up),
            Some(FollowUp::EndSession(name)) => self.end_session(&name),
        }
        true
    }

    /// When [`Input::Tick`] is due, if sooner than the next one after [`crate::api::TICK`].
    #[must_use]
    pub fn next_due(&self) -> Option<Micros> {
        self.cx.next_timer()
    }

    /// Figures for the beat.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.clients.sessions().count() as u64,
            in_flight: self.clients.in_flight() as u64,
            tools: u32::try_from(self.ups.table(View::All, ListKind::Tools).entries.len())
                .unwrap_or(u32::MAX),
        }
    }

    /// Upstreams with calls in flight or waiting for a connection, with their number.
    #[must_use]
    pub fn busy(&self) -> Vec<(String, u32)> {
        let each = self.ups.configured().map(|up| {
            (
                up.settings.name.clone(),
                u32::try_from(up.in_flight()).unwrap_or(u32::MAX),
            )
        });
        each.filter(|(_, calls)| *calls > 0).collect()
    }

    /// Requests of clients that an upstream has not answered yet; 0 for an unknown one.
    #[must_use]
    pub fn in_flight_of(&self, up: UpId) -> usize {
        self.calls.of_clients().filter(|call| call.up == up).count()
    }

    /// The room of the upstreams, for one event.
    pub(crate) fn connecting(&mut self) -> Connecting<'_> {
        Connecting {
            cx: &mut self.cx,
            clients: &mut self.clients,
            ups: &mut self.ups,
            calls: &mut self.calls,
        }
    }

    /// The room of the calls, for one event.
    pub(crate) fn calling(&mut self) -> Calling<'_> {
        Calling {
            cx: &mut self.cx,
            access: &mut self.access,
            spans: &mut self.spans,
            clients: &mut self.clients,
            ups: &mut self.ups,
            calls: &mut self.calls,
            leases: &mut self.leases,
            tasks: &mut self.tasks,
            questions: &mut self.questions,
        }
    }

    /// The room of the servers' questions, for one event.
    pub(crate) fn questioning(&mut self) -> Questioning<'_> {
        Questioning {
            cx: &mut self.cx,
            access: &mut self.access,
            spans: &mut self.spans,
            clients: &mut self.clients,
            ups: &mut self.ups,
            calls: &mut self.calls,
            leases: &mut self.leases,
            tasks: &mut self.tasks,
            questions: &mut self.questions,
        }
    }

    /// The room of what is answered here, for one event.
    pub(crate) fn serving(&mut self) -> Serving<'_> {
        Serving {
            cx: &mut self.cx,
            access: &mut self.access,
            spans: &mut self.spans,
            clients: &mut self.clients,
            ups: &mut self.ups,
            calls: &mut self.calls,
            tasks: &mut self.tasks,
        }
    }

    /// The room of tasks between the eras, for one event.
    pub(crate) fn bridging(&mut self) -> Bridging<'_> {
        Bridging {
            cx: &mut self.cx,
            access: &mut self.access,
            spans: &mut self.spans,
            clients: &mut self.clients,
            ups: &mut self.ups,
            calls: &mut self.calls,
            leases: &mut self.leases,
            tasks: &mut self.tasks,
            questions: &mut self.questions,
        }
    }

    /// Puts other rules in force.
    pub(crate) fn enforce(&mut self, rules: Rules) {
        self.spans.set_ratio(rules.spans);
        if self.access.set_rules(rules) {
            self.serving().policy_changed();
        }
    }
}
