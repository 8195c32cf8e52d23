//! What the driver reads in a turn: frames of edge workers, lines of servers, reports of tasks, and
//! messages of the supervisor. Each becomes an input of the relay. May not: write, decide anything
//! about MCP.

use super::{BATCH, Connection, Core, Driver, events::Event, perform, ready::Token};
use crate::{
    ipc::messages::{Child as RunningChild, ChildGone, ToSupervisor},
    worker::{
        Incoming,
        gateway::{
            io::{buffers::Turn, link::Link},
            supervisor::questions::OWN_EDGE,
            upstreams::stdio::{Child, Torn},
        },
    },
};
use ggen_mcp::api::{Input, Lease, SHARED, UpId, UpInput};
use std::{
    future::Future,
    os::fd::OwnedFd,
    pin::pin,
    task::{self, Poll},
};

impl<C: Core> Driver<C> {
    pub(super) fn read_link(&mut self, edge: u32) {
        let takes = self.takes();
        let Some(link) = self.links.get_mut(&edge) else {
            return;
        };
        let relay = &mut self.relay;
        let mut refused = Vec::new();
        let turn = link.read(&mut |input| match input {
            Input::Open(key, request) if !takes => {
                refused.push((key.stream, perform::replaced(&request)))
            }
            input => relay.give(input),
        });
        for (stream, reply) in refused {
            link.send(stream, reply);
        }
        if !link.output.bytes.is_empty() && !std::mem::replace(&mut link.output.listed, true) {
            self.dirty.push(Token::Link(edge));
        }
        match turn {
            Turn::Waiting => {}
            Turn::More => self.ready.mark(Token::Link(edge)),
            Turn::Closed => self.lose_link(edge),
        }
    }

    pub(crate) fn lose_link(&mut self, edge: u32) {
        self.observer.unlink(edge);
        if self.links.remove(&edge).is_some() {
            self.relay.give(Input::EdgeLost(edge));
        }
    }

    pub(super) fn read_child(&mut self, up: UpId, lease: Lease) {
        let child = match self.upstreams.get_mut(up.0 as usize) {
            Some(Connection::Child(child)) if lease == SHARED => child,
            _ => match self.leases.get_mut(&(up.0, lease)) {
                Some(child) => child,
                None => return,
            },
        };
        let relay = &mut self.relay;
        if !child.output.bytes.is_empty() && !std::mem::replace(&mut child.output.listed, true) {
            self.dirty.push(Token::Child(up.0, lease));
        }
        let now = relay.now;
        let mut take = |input| {
            relay.give(if lease == SHARED {
                Input::Up(up, input)
            } else {
                Input::Leased(up, lease, input)
            })
        };
        if child.read(now, &mut take) == Turn::More {
            self.ready.mark(Token::Child(up.0, lease));
        }
    }

    pub(super) fn read_events(&mut self) {
        let mut cx = task::Context::from_waker(&self.events_waker);
        let Poll::Ready(count) = self
            .events
            .poll_recv_many(&mut cx, &mut self.arrived, BATCH)
        else {
            return;
        };
        if count > 0 {
            self.ready.mark(Token::Events);
        }
        for event in self.arrived.drain(..) {
            match event {
                Event::Answer(id, answer) => {
                    self.asked = self.asked.saturating_sub(1);
                    self.relay.give(Input::Answer(id, answer));
                }
                Event::Channel(up, lease, life, input, _permit) => {
                    if let Some(Connection::Sse(channels)) = self.upstreams.get_mut(up.0 as usize)
                        && let Some(input) = channels.reported(lease, life, input)
                    {
                        if let UpInput::Lost { reason, .. } = &input {
                            let upstream = self.names.get(up.0 as usize).map(|name| &**name);
                            tracing::warn!(target: "mcp_server", upstream, "its event stream is not there: {reason}");
                        }
                        self.relay.give(if lease == SHARED {
                            Input::Up(up, input)
                        } else {
                            Input::Leased(up, lease, input)
                        });
                    }
                }
                Event::Up(up, input, _permit) => {
                    if let Some(Connection::Remote(remote)) = self.upstreams.get_mut(up.0 as usize)
                        && remote.wanted(&input)
                    {
                        self.relay.give(Input::Up(up, input));
                    }
                }
            }
        }
    }

    pub(super) fn read_inbox(&mut self) {
        for _ in 0..BATCH {
            let waker = self.inbox_waker.clone();
            let mut cx = task::Context::from_waker(&waker);
            let next = pin!(self.context.next()).poll(&mut cx);
            let Poll::Ready(Some(message)) = next else {
                return;
            };
            self.message(message);
            // The children's next life must not meet outputs for their last one.
            self.perform();
        }
        self.ready.mark(Token::Inbox);
    }

    fn message(&mut self, message: Incoming) {
        match message {
            Incoming::Link { edge, socket, peer } => self.add_link(edge, socket, &peer),
            Incoming::Child {
                child,
                stdin,
                stdout,
                torn,
            } => self.child_runs(child, (stdin, stdout), torn),
            Incoming::ChildGone(gone) => self.child_gone(gone),
            Incoming::Ask { id, question } => match self.questions.ask(id, question) {
                Ok(input) => self.relay.give(input),
                Err((id, result)) => self.send(ToSupervisor::Answer { id, result }),
            },
            Incoming::Retire { upstreams, within } => {
                let within = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
                self.configuration
                    .retire(upstreams, self.relay.now.saturating_add(within));
            }
            Incoming::Recall(catalogue) => self.recall(catalogue),
            Incoming::Restore(sessions) => self.restore(sessions),
            Incoming::Kept(tickets) => tickets
                .into_iter()
                .for_each(|ticket| self.relay.give(Input::Kept(ticket))),
            Incoming::Reconfigure(start, _) => self.reconfigure(*start),
            // The gateway worker authenticates nobody and serves no connections of clients.
            Incoming::Secrets(_) | Incoming::Handover { .. } => {}
        }
    }

    fn add_link(&mut self, edge: u32, socket: OwnedFd, peer: &str) {
        let waker = self.ready.waker(Token::Link(edge));
        let link = if edge == OWN_EDGE {
            Err(std::io::ErrorKind::InvalidInput.into())
        } else {
            Link::new(edge, socket, waker, self.chunk)
        };
        match link {
            Ok(link) => {
                self.lose_link(edge);
                self.observer.link(edge, peer);
                self.links.insert(edge, link);
                self.ready.mark(Token::Link(edge));
            }
            Err(error) => {
                tracing::error!(target: "transport", edge, peer, "link cannot be taken: {error}")
            }
        }
    }

    fn child_runs(
        &mut self,
        child: RunningChild,
        (stdin, stdout): (OwnedFd, OwnedFd),
        torn: Option<OwnedFd>,
    ) {
        let Some(up) = self.upstream(&child.upstream) else {
            return;
        };
        if child.lease != SHARED {
            return self.lease_runs(up, child.lease, stdin, stdout);
        }
        let waker = self.ready.waker(Token::Child(up.0, SHARED));
        let torn = torn.map(Torn::new);
        if torn.as_ref().is_some_and(Torn::is_set) {
            // The rest of that message died with the worker that wrote its beginning. Whatever is
            // written now, the server would take for a part of it.
            let detail = "the gateway worker died in the middle of a message to it".to_owned();
            tracing::warn!(target: "mcp_server", upstream = child.upstream, "{detail}");
            let code = ggen_wire::Code::UpstreamExited;
            return self.recycle(up, child.incarnation, code, detail);
        }
        match Child::new(child.incarnation, stdin, stdout, torn, waker, self.chunk) {
            Ok(pipes) => {
                self.configuration.reached(up);
                self.upstreams[up.0 as usize] = Connection::Child(Box::new(pipes));
                let connected = UpInput::Connected {
                    incarnation: child.incarnation,
                    handoff: child.handoff,
                };
                self.relay.give(Input::Up(up, connected));
                self.ready.mark(Token::Child(up.0, SHARED));
            }
            Err(error) => {
                tracing::error!(target: "mcp_server", upstream = child.upstream, "its pipes cannot be taken: {error}");
                let code = ggen_wire::Code::Internal;
                self.recycle(up, child.incarnation, code, error.to_string());
            }
        }
    }

    fn child_gone(&mut self, gone: ChildGone) {
        let Some(up) = self.upstream(&gone.upstream) else {
            return;
        };
        if gone.lease != SHARED {
            return self.lease_gone(up, gone);
        }
        let relay = &mut self.relay;
        if let Connection::Child(child) = &mut self.upstreams[up.0 as usize] {
            if gone.incarnation != 0 && child.incarnation != gone.incarnation {
                return;
            }
            let now = relay.now;
            child.last_words(now, &mut |input| relay.give(Input::Up(up, input)));
            self.upstreams[up.0 as usize] = Connection::None;
        }
        self.configuration.reached(up);
        let next_start = gone.next_start_ms.map(|ms| ms.saturating_mul(1000));
        relay.give(Input::Up(
            up,
            UpInput::Lost {
                state: gone.state,
                code: gone.code,
                reason: gone.reason,
                next_start,
            },
        ));
    }

    /// A stdio upstream by its name.
    fn upstream(&self, name: &str) -> Option<UpId> {
        let up = self.configuration.find(name)?;
        let stdio = !matches!(
            self.upstreams.get(up.0 as usize)?,
            Connection::Remote(_) | Connection::Sse(_)
        );
        stdio.then_some(up)
    }
}
