//! The moment itself. Before `execve`: calls at the control socket end, the channels of all
//! children pause between two frames, what is queued is written, sessions are stored, the state
//! goes into sealed memory. After it: the same process takes up every channel where it was left.
//! What fails before it, `execve` included, is undone, and the daemon goes on.

use crate::{
    platform,
    supervisor::{
        Supervisor,
        channels::Owner,
        control::{instance::Instance, socket},
        event::{Event, Reply},
        listeners::{Listeners, QuicPort},
        secrets::api_keys::Keys,
        sessions::SessionStore,
        signals::{Asked, Signals},
        upgrade::{Arrived, Stage, Successor, state::State},
        upstreams::shims,
    },
};
use ggen_wire::control::Body;
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// How long answers of workers to callers at the control socket are waited for.
const ANSWERS: Duration = Duration::from_secs(5);
/// How long the channels may take to come to rest, and then to be written empty.
const REST: Duration = Duration::from_secs(5);
/// How long sessions may take to be written.
const WRITE: Duration = Duration::from_secs(2);
/// How long the last answers at the control socket, and the last log lines, may take to leave.
const LAST: Duration = Duration::from_millis(200);

impl Supervisor {
    /// Becomes the successor. Returns only if that fails, and goes on as before then; who waits has
    /// been told.
    pub(crate) async fn hand_over(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
        serving: socket::Serving,
    ) -> io::Result<socket::Serving> {
        let Stage::Due(successor) = std::mem::replace(&mut self.upgrade.stage, Stage::Handing)
        else {
            return Ok(serving);
        };
        let Successor {
            binary,
            version,
            files,
            watcher,
            more,
        } = *successor;
        serving.stop();
        let now = self.now();
        self.service_manager.reloading(now);
        let from = ggen_wire::VERSION;
        tracing::info!(target: "mcp_server", event = "upgrading", from, to = version, "handing over to another binary");
        let (caller, why) = match self.come_to_rest(events, signals).await {
            Err(why) => (leave(watcher).await, why),
            Ok(()) => {
                self.keys.finish();
                self.sessions.finish(WRITE).await;
                if let Some(watcher) = watcher.as_ref().filter(|_| more) {
                    watcher.progress(Body::Done(format!("handing over from {from} to {version}")));
                }
                let caller = leave(watcher).await;
                serving.finish(LAST).await;
                let error = self
                    .exec(
                        &binary,
                        files,
                        caller.as_ref().map(|caller| (caller, more)),
                        signals,
                    )
                    .await;
                (
                    caller,
                    format!("{} could not be executed: {error}", binary.path.display()),
                )
            }
        };
        self.undo(caller, &why)
    }

    /// Waits until nobody is owed an answer, no channel is read, and everything queued is written.
    async fn come_to_rest(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
    ) -> Result<(), String> {
        let until = self.now() + ANSWERS;
        while !self.nothing_asked() && self.now() < until {
            self.turn(events, signals, until).await?;
        }
        self.end_questions();
        self.pause.send_replace(true);
        let until = self.now() + REST;
        while !self.heard.is_empty() {
            if self.now() >= until {
                return Err(format!("{:?} does not come to rest", self.heard.first()));
            }
            self.turn(events, signals, until).await?;
        }
        let workers = self
            .workers
            .procs
            .values()
            .map(|proc| (proc.name.clone(), proc.line.flushed()));
        let shims = self
            .shims
            .all
            .values()
            .map(|shim| (format!("the shim of {}", shim.name), shim.line.flushed()));
        for (name, flushed) in workers.chain(shims).collect::<Vec<_>>() {
            let left = until.saturating_sub(self.now());
            let Some(flushed) = flushed else {
                return Err(format!("{name} does not read its channel"));
            };
            // An error is the end of the channel: nothing is left to be said there.
            if tokio::time::timeout(left, flushed).await.is_err() {
                return Err(format!("{name} does not read its channel"));
            }
        }
        Ok(())
    }

    /// One turn of the loop while everything comes to rest.
    async fn turn(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
        until: Duration,
    ) -> Result<(), String> {
        tokio::select! {
            biased;
            asked = signals.next() => self.signalled(asked)?,
            Some(event) = events.recv() => self.event(event),
            () = tokio::time::sleep(until.saturating_sub(self.now())) => {}
        }
        Ok(())
    }

    /// A signal in between. A stop goes before an upgrade; what else is asked for, the new binary
    /// is asked.
    fn signalled(&mut self, asked: Asked) -> Result<(), String> {
        match asked {
            Asked::Reap => self.reap(),
            Asked::Stop => {
                self.begin_stop(false, None);
                return Err("it is to stop".to_owned());
            }
            Asked::Reload | Asked::Dump => self.again.push(asked),
        }
        Ok(())
    }

    async fn exec(
        &mut self,
        binary: &super::Binary,
        files: Vec<(std::path::PathBuf, String)>,
        caller: Option<(&OwnedFd, bool)>,
        signals: &mut Signals,
    ) -> io::Error {
        let rests = std::mem::take(&mut self.upgrade.rests);
        let state = State::pack(self, files, &rests, caller);
        self.upgrade.rests = rests;
        let text = serde_json::to_vec(&state)
            .map_err(io::Error::other)
            .and_then(|text| platform::sealed(&text));
        let text = match text {
            Ok(text) => text,
            Err(error) => return error,
        };
        self.service_manager.finish();
        self.hub.console.flush(LAST);
        // From here on, signals wait for the new binary. What came before is looked at once more.
        platform::hold_signals();
        loop {
            let asked = tokio::select! {
                biased;
                asked = signals.next() => asked,
                // Not at once: the event loop has to have looked.
                () = tokio::time::sleep(Duration::from_millis(1)) => break,
            };
            if let Err(why) = self.signalled(asked) {
                return io::Error::other(why);
            }
        }
        self.again.drain(..).for_each(Asked::raise);
        if !binary.is_same() {
            return io::Error::other("it is not the file any more that was checked");
        }
        let arguments: Vec<_> = std::env::args_os().collect();
        platform::become_binary(&binary.path, &arguments, &text, &state.descriptors)
    }

    /// Goes on as before.
    fn undo(&mut self, caller: Option<OwnedFd>, why: &str) -> io::Result<socket::Serving> {
        platform::release_signals();
        self.upgrade.stage = Stage::Idle;
        self.pause.send_replace(false);
        for (whose, rest) in std::mem::take(&mut self.upgrade.rests) {
            self.heard.insert(whose);
            match whose {
                Owner::Worker(id) => self.reader().worker(id, rest.receiver),
                Owner::Shim(id) => {
                    let name = self
                        .shims
                        .all
                        .get(&id)
                        .map_or("", |shim| shim.name.as_str());
                    shims::listen(
                        id,
                        name,
                        rest.receiver,
                        rest.stderr,
                        rest.last_line,
                        self.reader(),
                        &self.hub,
                    );
                }
            }
        }
        // Nobody was late who could not be heard.
        let now = self.now();
        self.workers
            .procs
            .values_mut()
            .for_each(|proc| proc.beat_at = now);
        let directory = crate::config::state::directory();
        if self.sessions.is_finished() {
            self.sessions = SessionStore::start(
                directory.clone(),
                Some(self.sessions.carried()),
                crate::supervisor::event::stored(&self.events),
            );
            self.keys = Keys::start(directory, self.events.clone(), self.keys.known.clone());
        }
        let failure = super::refused(why);
        if let Some(caller) = caller {
            socket::resume(caller, self.events.clone(), &self.hub)?.last(Err(failure));
        }
        self.again.drain(..).for_each(Asked::raise);
        let status = self.status_line();
        self.service_manager.reloaded(&status, now);
        socket::serve(
            self.instance.socket.try_clone()?,
            self.events.clone(),
            Arc::clone(&self.hub),
        )
    }

    /// Takes up everything where the binary before us has left it, and replaces the workers.
    pub(crate) fn take_over(&mut self, handed: Handed) -> io::Result<()> {
        let Handed {
            arrived: Arrived { state, mut fds },
            quic_ports,
        } = handed;
        let State {
            version,
            family,
            books,
            caller,
            ..
        } = state;
        family.unpack(self, &mut fds, &quic_ports)?;
        books.unpack(self);
        // Nobody was late who could not be heard.
        let now = self.now();
        self.workers
            .procs
            .values_mut()
            .for_each(|proc| proc.beat_at = now);
        let to = ggen_wire::VERSION;
        tracing::info!(target: "mcp_server", event = "upgraded", from = version, to, "this binary has taken over");
        let (caller, more) = caller.map_or((None, false), |(place, more)| (fds.take(place), more));
        let reply =
            caller.and_then(|caller| socket::resume(caller, self.events.clone(), &self.hub).ok());
        if let Some(reply) = reply.as_ref().filter(|_| more) {
            reply.progress(Body::Done(format!(
                "{to} has taken over, replacing the workers"
            )));
        }
        self.upgrade_reply = Some((format!("upgraded from {version} to {to}"), reply));
        Ok(())
    }

    /// Replaces the workers of the binary before us.
    pub(crate) fn replace_workers(&mut self) {
        let Some((outcome, reply)) = self.upgrade_reply.take() else {
            return;
        };
        let names = self
            .workers
            .slots
            .iter()
            .filter(|slot| !slot.prospective && slot.current.is_some())
            .map(|slot| slot.name.clone())
            .collect();
        self.roll_through(names, outcome, reply);
        let (status, now) = (self.status_line(), self.now());
        self.service_manager.reloaded(&status, now);
    }
}

async fn leave(watcher: Option<Reply>) -> Option<OwnedFd> {
    match watcher {
        Some(watcher) => watcher.leave().await,
        None => None,
    }
}

/// What has been handed over, as far as it is needed before there is a supervisor.
pub(crate) struct Handed {
    pub(crate) arrived: Arrived,
    quic_ports: Vec<Arc<QuicPort>>,
}

impl Handed {
    /// What the service manager keeps, by name.
    pub(crate) fn kept_names(&self) -> Vec<String> {
        self.arrived.state.ports.kept_names().to_vec()
    }

    /// The control socket, and the listeners as they were.
    ///
    /// # Errors
    /// When the state names what has not come along.
    pub(crate) fn open(
        mut arrived: Arrived,
    ) -> io::Result<(Self, Instance, UnixListener, Listeners)> {
        let (instance, control) = arrived.state.ports.instance(&mut arrived.fds)?;
        let (quic_ports, listeners) = arrived.state.ports.listeners(&arrived.fds)?;
        Ok((
            Self {
                arrived,
                quic_ports,
            },
            instance,
            control,
            listeners,
        ))
    }
}
