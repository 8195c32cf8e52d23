//! The moment of an upgrade. Before `execve`: calls at the control socket end, the channels of all
//! children pause between two frames, what is queued is written, sessions are stored, and the state
//! goes into sealed memory. After it: the same process takes up every channel where it was left.
//! What fails before it, `execve` included, is undone, and the daemon goes on.

use crate::platform;
use crate::supervisor::{
    Supervisor,
    control::socket,
    event::{self, Event, Owner},
    metrics::Metrics,
    processes::reaper::ChildKind,
    reply::Reply,
    secrets::ApiKeys,
    sessions::SessionStore,
    signals::{Asked, Signals},
    upgrade::{
        Arrived, Binary, Handed, Rooms, State, Successor, TakenOver, Trial, files_in_force, refused,
    },
};
use ggen_wire::control::Body;
use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};
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
    /// Has a binary prove that it can take over.
    pub(in crate::supervisor) fn begin_upgrade(
        &mut self,
        path: Option<String>,
        reply: Reply,
        more: bool,
    ) {
        let busy = if self.lifecycle.is_stopping() {
            Some("it is stopping")
        } else if !self.upgrade.is_idle() {
            Some("another upgrade is under way")
        } else if !self.reload.is_idle() {
            Some("a reload is under way")
        } else {
            self.workers
                .is_rolling()
                .then_some("workers are being replaced")
        };
        if let Some(why) = busy {
            return reply.last(Err(refused(why)));
        }
        match self.start_trial(path.as_deref()) {
            Ok(trial) => self.upgrade.begin(trial, reply, more, self.now()),
            Err(why) => reply.last(Err(refused(&why))),
        }
    }

    fn start_trial(&mut self, path: Option<&str>) -> Result<Trial, String> {
        let binary = Binary::find(path)?;
        let files = files_in_force(
            &self.settings.loaded,
            &self.settings.options,
            &self.settings.stopped,
        )?;
        let state = State::pack(&self.rooms(), files.clone(), &BTreeMap::new(), None);
        let (trial, words) = Trial::start(binary, files, &state)?;
        self.children.add(trial.pid, ChildKind::Check);
        let (pid, events) = (trial.pid, self.channels.events().clone());
        tokio::spawn(async move {
            let (stdout, stderr) = words.read().await;
            events.send(Event::Checked(pid, stdout, stderr)).await.ok();
        });
        Ok(trial)
    }

    /// Why there can be no upgrade just now.
    pub(in crate::supervisor) fn upgrade_is_late(&self) -> Option<&'static str> {
        let is_busy = !self.reload.is_idle() || self.workers.is_rolling();
        is_busy.then_some("a reload or a restart of workers has begun meanwhile")
    }

    /// What is handed over.
    fn rooms(&self) -> Rooms<'_> {
        Rooms {
            uptime: self.now(),
            started_ms: self.lifecycle.started_ms,
            generation: self.settings.generation,
            stopped: &self.settings.stopped,
            announced: self.lifecycle.announced,
            run_as: self.settings.run_as,
            refused: self.settings.refused.as_deref(),
            ring: &self.hub.ring,
            control: &self.control,
            children: &self.children,
            listeners: &self.listeners,
            service_manager: &self.service_manager,
            secrets: &self.secrets,
            sessions: &self.sessions,
            workers: &self.workers,
            upstreams: &self.upstreams,
            metrics: &self.metrics,
        }
    }

    /// Becomes the successor. Returns only if that fails, and goes on as before then; who waits has
    /// been told.
    pub(in crate::supervisor) async fn hand_over(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
        serving: socket::Serving,
    ) -> io::Result<socket::Serving> {
        let Some(successor) = self.upgrade.begin_handover() else {
            return Ok(serving);
        };
        let Successor {
            binary,
            version,
            files,
            watcher,
            more,
        } = successor;
        serving.stop();
        let now = self.now();
        self.service_manager.reloading(now);
        let from = ggen_wire::VERSION;
        tracing::info!(target: "mcp_server", event = "upgrading", from, to = version, "handing over to another binary");
        let (caller, why) = match self.come_to_rest(events, signals).await {
            Err(why) => (watcher.leave().await, why),
            Ok(()) => {
                self.secrets.finish_keys();
                self.sessions.finish(WRITE).await;
                if more {
                    watcher.progress(Body::Done(format!("handing over from {from} to {version}")));
                }
                let caller = watcher.leave().await;
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
        while !self.control.questions.is_empty() && self.now() < until {
            self.turn(events, signals, until).await?;
        }
        self.end_questions();
        self.channels.pause(true);
        let until = self.now() + REST;
        while let Some(open) = self.channels.first_open() {
            if self.now() >= until {
                return Err(format!("{open:?} does not come to rest"));
            }
            self.turn(events, signals, until).await?;
        }
        let children = self.workers.flushed().into_iter();
        let children = children.chain(self.upstreams.flushed());
        for (name, flushed) in children {
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
            Asked::Reload | Asked::Dump => self.upgrade.keep_signal(asked),
        }
        Ok(())
    }

    async fn exec(
        &mut self,
        binary: &Binary,
        files: Vec<(PathBuf, String)>,
        caller: Option<(&OwnedFd, bool)>,
        signals: &mut Signals,
    ) -> io::Error {
        // From here on, signals wait for the new binary. Those that came before are handled first:
        // a worker that is reaped after the state is packed would stay in the new binary's list.
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
        self.upgrade.raise_signals();
        let paused = self.upgrade.paused_channels();
        let state = State::pack(&self.rooms(), files, paused, caller);
        let text = serde_json::to_vec(&state)
            .map_err(io::Error::other)
            .and_then(|text| platform::sealed(&text));
        let text = match text {
            Ok(text) => text,
            Err(error) => return error,
        };
        self.service_manager.finish();
        self.hub.console.flush(LAST);
        if !binary.is_same() {
            return io::Error::other("it is not the file any more that was checked");
        }
        let arguments: Vec<_> = std::env::args_os().collect();
        platform::become_binary(binary, &arguments, &text, &state.descriptors)
    }

    /// Goes on as before.
    fn undo(&mut self, caller: Option<OwnedFd>, why: &str) -> io::Result<socket::Serving> {
        platform::release_signals();
        self.channels.pause(false);
        for (owner, channel) in self.upgrade.end_handover() {
            let reader = self.channels.reader(owner);
            match owner {
                Owner::Worker(id) => reader.worker(id, channel.receiver),
                Owner::Shim(id) => self.upstreams.unpause(id, channel, reader),
            }
        }
        // Nobody was late who could not be heard.
        let now = self.now();
        self.workers.begin_listening(now);
        let directory = crate::config::state::directory();
        if self.sessions.is_finished() {
            self.sessions = SessionStore::start(
                directory.clone(),
                Some(self.sessions.carried()),
                event::stored(self.channels.events()),
            );
            let report = event::keys_read(self.channels.events());
            self.secrets
                .resume_keys(|known| ApiKeys::start(directory, known, report));
        }
        let failure = refused(why);
        if let Some(caller) = caller {
            socket::resume(caller, self.channels.events().clone(), &self.hub)?.last(Err(failure));
        }
        self.upgrade.raise_signals();
        let status = self.status_line();
        self.service_manager.reloaded(&status, now);
        socket::serve(
            self.control.instance.listener()?,
            self.channels.events().clone(),
            Arc::clone(&self.hub),
        )
    }

    /// Takes up everything where the binary before us has left it, and replaces the workers.
    pub(in crate::supervisor) fn take_over(&mut self, handed: Handed) -> io::Result<()> {
        let Handed {
            arrived: Arrived { state, mut fds },
            quic_ports,
        } = handed;
        let State {
            version,
            children,
            counters,
            caller,
            ..
        } = state;
        let last_link = counters.last_link();
        let (channels, upstreams) = (&mut self.channels, &mut self.upstreams);
        (self.workers, self.children) =
            children.restore(&mut fds, &quic_ports, last_link, channels, upstreams)?;
        self.metrics = Metrics::resume(counters.metrics);
        self.control.logging.restore(counters.levels);
        self.control.questions.continue_from(counters.last_question);
        self.settings.refused = counters.refused;
        // Nobody was late who could not be heard.
        let now = self.now();
        self.workers.begin_listening(now);
        let to = ggen_wire::VERSION;
        tracing::info!(target: "mcp_server", event = "upgraded", from = version, to, "this binary has taken over");
        let (caller, more) = caller.map_or((None, false), |(place, more)| (fds.take(place), more));
        let events = self.channels.events().clone();
        let watcher = caller.and_then(|caller| socket::resume(caller, events, &self.hub).ok());
        if let Some(watcher) = watcher.as_ref().filter(|_| more) {
            watcher.progress(Body::Done(format!(
                "{to} has taken over, replacing the workers"
            )));
        }
        let outcome = format!("upgraded from {version} to {to}");
        self.upgrade.taken_over(TakenOver { outcome, watcher });
        Ok(())
    }

    /// Replaces the workers of the binary before us.
    pub(in crate::supervisor) fn replace_workers(&mut self) {
        let Some(TakenOver { outcome, watcher }) = self.upgrade.take_taken_over() else {
            return;
        };
        let names = self
            .workers
            .slots()
            .iter()
            .filter(|slot| !slot.prospective && slot.current.is_some())
            .map(|slot| slot.name.clone())
            .collect();
        self.roll_through(names, outcome, watcher);
        let (status, now) = (self.status_line(), self.now());
        self.service_manager.reloaded(&status, now);
    }
}
