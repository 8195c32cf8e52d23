//! Performs the relay's outputs. Replies and lines are queued and written once in a turn;
//! everything else is passed on.

use super::{Connection, Core, Driver, events::Sink, ready::Token};
use crate::{
    ipc::messages::{ToSupervisor, UpstreamReport},
    worker::{
        Outbox,
        gateway::{
            supervisor::questions::{OWN_EDGE, to_supervisor},
            upstreams::{sse::SseChannels, stdio::Accepted},
        },
    },
};
use bytes::Bytes;
use ggen_mcp::api::{
    Input, Lease, Micros, Observation, Output, Question, Report, SHARED, StreamKey, UpId,
};
use ggen_mcp::edge::{Reply, Request};
use ggen_mcp::protocol::json::{Envelope, Kind};
use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;
use std::time::Duration;

/// Questions of the relay to the supervisor that may be open at once.
const ASKED: usize = 64;

impl<C: Core> Driver<C> {
    /// Performs all outputs, and those that follow from them.
    pub(crate) fn perform(&mut self) {
        while !self.relay.out.is_empty() {
            let mut outputs = std::mem::take(&mut self.relay.out);
            outputs.drain(..).for_each(|output| self.output(output));
            if self.relay.out.is_empty() {
                // Keeps the memory for the next turn.
                self.relay.out = outputs;
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Reply(key, reply) => self.reply(key, reply),
            Output::Write(up, lease, line) => self.write(up, lease, &line),
            Output::Observe(Observation::Span(span)) => {
                self.otlp
                    .take(&span, self.relay.now, &self.observer, &self.names)
            }
            Output::Observe(observation) => self.observer.observe(observation),
            Output::Log(note) => self.observer.log(&note),
            Output::Http(up, request) => {
                if let Some(Connection::Remote(remote)) = self.upstreams.get_mut(up.0 as usize)
                    && let Some(refused) = remote.begin(request)
                {
                    self.relay.give(Input::Up(up, refused));
                }
            }
            Output::Abort(up, exchange) => {
                if let Some(Connection::Remote(remote)) = self.upstreams.get_mut(up.0 as usize) {
                    remote.abort(exchange);
                }
            }
            Output::Pause(up, lease, time) => self.pause(up, lease, time),
            Output::Want(up) if self.channels(up).is_some() => self.open_channel(up, SHARED),
            Output::Lease(up, lease) if self.channels(up).is_some() => self.open_channel(up, lease),
            Output::Want(up) => {
                if let Some(upstream) = self.name(up) {
                    self.send(ToSupervisor::Want {
                        upstream,
                        lease: SHARED,
                    });
                }
            }
            Output::Lease(up, lease) => {
                if let Some(upstream) = self.name(up) {
                    self.send(ToSupervisor::Want { upstream, lease });
                }
            }
            Output::Unlease { up, lease, kill } => self.unlease(up, lease, kill),
            Output::Recycle {
                up,
                incarnation,
                code,
                detail,
            } => self.recycle(up, incarnation, code, detail),
            Output::Probe {
                up,
                incarnation,
                outstanding,
            } => self.probe(up, incarnation, outstanding),
            Output::Report(up, report) => {
                if let Some(upstream) = self.name(up) {
                    self.send(ToSupervisor::Upstream(told(upstream, report)));
                }
            }
            Output::Ask(id, question) => self.ask(id, question),
            Output::Keep(keep) => self.keep(keep),
        }
    }

    fn probe(&mut self, up: UpId, incarnation: u64, outstanding: bool) {
        if let Some(upstream) = self.name(up) {
            self.send(ToSupervisor::Probe {
                upstream,
                incarnation,
                outstanding,
            });
        }
    }

    fn reply(&mut self, key: StreamKey, reply: Reply) {
        if key.edge == OWN_EDGE {
            let (answer, credit) = self.questions.reply(key.stream, reply);
            if let Some((id, result)) = answer {
                self.send(ToSupervisor::Answer { id, result });
            }
            if let Some(credit) = credit {
                self.relay.give(credit);
            }
            return;
        }
        let Some(link) = self.links.get_mut(&key.edge) else {
            return;
        };
        link.send(key.stream, reply);
        if !std::mem::replace(&mut link.output.listed, true) {
            self.dirty.push(Token::Link(key.edge));
        }
    }

    fn write(&mut self, up: UpId, lease: Lease, line: &[u8]) {
        if let Some(channels) = self.channels(up) {
            if !channels.write(lease, line) {
                let life = channels.life(lease);
                self.replace(
                    up,
                    lease,
                    life,
                    Code::UpstreamBusy,
                    "it does not take its messages",
                );
            }
            return;
        }
        let Some(child) = self.child(up, lease) else {
            return;
        };
        match child.write(line) {
            Accepted::Queued => {
                if !std::mem::replace(&mut child.output.listed, true) {
                    self.dirty.push(Token::Child(up.0, lease));
                }
            }
            Accepted::Dropped => {}
            Accepted::Overflow => {
                let incarnation = child.incarnation;
                self.replace(
                    up,
                    lease,
                    incarnation,
                    Code::UpstreamBusy,
                    "it does not read its stdin",
                );
            }
        }
    }

    fn pause(&mut self, up: UpId, lease: Lease, time: Micros) {
        if let Some(channels) = self.channels(up) {
            return channels.pause(lease, Duration::from_micros(time));
        }
        let now = self.relay.now;
        if let Some(child) = self.child(up, lease) {
            child.pause(now.saturating_add(time));
            self.arm(time.min(ggen_mcp::api::TICK));
        }
    }

    fn ask(&mut self, id: u64, question: Question) {
        if self.asked >= ASKED {
            return self
                .relay
                .give(Input::Answer(id, Err(Code::Overloaded.title().to_owned())));
        }
        self.asked += 1;
        tokio::spawn(asked(self.outbox(), self.sink.clone(), id, question));
    }

    /// The channels of an upstream that is reached over HTTP+SSE.
    fn channels(&mut self, up: UpId) -> Option<&mut SseChannels> {
        match self.upstreams.get_mut(up.0 as usize) {
            Some(Connection::Sse(channels)) => Some(channels),
            _ => None,
        }
    }

    fn open_channel(&mut self, up: UpId, lease: Lease) {
        if let Some(refused) = self.channels(up).and_then(|channels| channels.open(lease)) {
            self.relay.give(if lease == SHARED {
                Input::Up(up, refused)
            } else {
                Input::Leased(up, lease, refused)
            });
        }
    }

    /// Has the supervisor replace a stdio server; a channel is opened anew.
    pub(crate) fn recycle(&mut self, up: UpId, incarnation: u64, code: Code, detail: String) {
        if let Some(channels) = self.channels(up) {
            if let Some(lost) = channels.recycle(incarnation, code, detail) {
                self.relay.give(Input::Up(up, lost));
            }
            return;
        }
        if let Some(upstream) = self.name(up) {
            self.send(ToSupervisor::Recycle {
                upstream,
                incarnation,
                code,
                detail,
            });
        }
    }

    /// Sends to the supervisor, in order. The queue only fills when the supervisor hangs; then its
    /// own watchdog ends it.
    pub(crate) fn send(&self, message: ToSupervisor) {
        if self.outbox.try_send(message).is_err() {
            tracing::error!(target: "mcp_server", "the supervisor takes no messages");
        }
    }

    pub(crate) fn name(&self, up: UpId) -> Option<String> {
        self.names.get(up.0 as usize).map(|name| name.to_string())
    }

    /// Writes to every connection that has something to send, once.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for token in dirty.drain(..) {
            match token {
                Token::Link(edge) => {
                    let Some(link) = self.links.get_mut(&edge) else {
                        continue;
                    };
                    link.output.listed = false;
                    match link.flush() {
                        Ok(true) => self.ready.mark(Token::Link(edge)),
                        Ok(false) => {}
                        Err(_) => {
                            self.lose_link(edge);
                            self.ready.mark(Token::Link(edge));
                        }
                    }
                }
                Token::Child(up, lease) => {
                    let now = self.relay.now;
                    if let Some(child) = self.child(UpId(up), lease) {
                        child.output.listed = false;
                        child.flush(now);
                    }
                }
                _ => {}
            }
        }
        // What a lost link made the relay say is performed now and written in the next turn.
        self.dirty = dirty;
        self.perform();
    }
}

async fn asked(outbox: Outbox, sink: Sink, id: u64, question: Question) {
    let answer = match outbox.ask(to_supervisor(question)).await {
        Ok(value) => serde_json::to_vec(&value)
            .map(Bytes::from)
            .map_err(|error| error.to_string()),
        Err(failure) => Err(failure.message),
    };
    sink.answer(id, answer).await;
}

fn told(upstream: String, report: Report) -> UpstreamReport {
    let Report {
        incarnation,
        state,
        era,
        protocol,
        server,
        tools,
        prompts,
        resources,
        code,
        detail,
        handoff,
    } = report;
    UpstreamReport {
        upstream,
        incarnation,
        state,
        era,
        protocol,
        server,
        tools,
        prompts,
        resources,
        code,
        detail,
        handoff,
    }
}

/// The answer to what arrives while this worker is being replaced. It has the request's id, if the
/// request has one.
pub(crate) fn replaced(request: &Request) -> Reply {
    let text = std::str::from_utf8(&request.body).unwrap_or_default();
    let id = match Envelope::parse(text).map(|envelope| envelope.kind) {
        Ok(Kind::Request(id, _)) => Some(id),
        _ => None,
    };
    let refusal = Refusal::new(503, rpc::INTERNAL, Code::GatewayUnavailable, "")
        .with("help", "\"send the request again\"");
    Reply::Full {
        status: refusal.status,
        session: None,
        retry_after: Some(1),
        body: refusal.body(id),
    }
}
