//! The shims: one process per running stdio server, which runs it and leaves nothing of it behind (see `shim/`).

use super::{
    event::Event,
    reaper::{Owner, Pids},
    stderr,
    upstreams::Pipes,
};
use crate::{
    ipc::{
        channel,
        launch::{FromShim, Launch, ToShim},
    },
    platform,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// Number of a shim, unique over the daemon's life.
pub(crate) type ShimId = u64;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long a shim may take beyond that before it is killed itself.
const SLACK: Duration = Duration::from_secs(7);
/// How long the last lines of stderr may take to be read after the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A shim.
pub(crate) struct Shim {
    /// Its process id.
    pub(crate) pid: u32,
    /// The server's process id, which is its process group as well.
    pub(crate) child: Option<u32>,
    /// What it said at last.
    pub(crate) verdict: Option<FromShim>,
    queue: mpsc::Sender<(ToShim, Vec<OwnedFd>)>,
    /// When SIGTERM is due.
    stop_at: Option<Duration>,
    /// When the shim itself is killed.
    kill_at: Option<Duration>,
}

/// All shims that live.
#[derive(Default)]
pub(crate) struct Shims {
    last: ShimId,
    pub(crate) all: BTreeMap<ShimId, Shim>,
}

impl Shims {
    /// Starts a shim with a server in it.
    pub(crate) fn start(
        &mut self,
        name: &str,
        launch: Launch,
        events: &mpsc::Sender<Event>,
        hub: &Arc<super::Hub>,
        pids: &mut Pids,
    ) -> io::Result<(ShimId, Pipes)> {
        let (stdin_theirs, stdin) = platform::pipe()?;
        let (stdout, stdout_theirs) = platform::pipe()?;
        let (errors, errors_theirs) = platform::pipe()?;
        let (ours, theirs) = platform::socket_pair()?;
        let (mut sender, mut receiver) = channel::channel(ours)?;
        let pid = platform::spawn_self(&["shim"], theirs, super::environment::of_worker())?;
        self.last += 1;
        let id = self.last;
        pids.insert(pid, Owner::Shim(id));

        let (queue, mut outgoing) = mpsc::channel::<(ToShim, Vec<OwnedFd>)>(8);
        tokio::spawn(async move {
            while let Some((message, descriptors)) = outgoing.recv().await {
                let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                if sender.send(&message, &borrowed).await.is_err() {
                    return;
                }
            }
        });
        let last_line = Arc::new(Mutex::new(String::new()));
        let reading = tokio::spawn(stderr::read(errors, name.to_owned(), Arc::clone(hub), Arc::clone(&last_line)));
        let events = events.clone();
        tokio::spawn(async move {
            while let Ok(Some((message, _))) = receiver.receive::<FromShim>().await {
                events.send(Event::Shim(id, message)).await.ok();
            }
            let abort = reading.abort_handle();
            if tokio::time::timeout(LAST_WORDS, reading).await.is_err() {
                abort.abort();
            }
            let words = last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
            events.send(Event::ShimClosed(id, words)).await.ok();
        });
        queue.try_send((ToShim::Launch(launch), vec![stdin_theirs, stdout_theirs, errors_theirs])).map_err(io::Error::other)?;
        self.all.insert(id, Shim { pid, child: None, verdict: None, queue, stop_at: None, kill_at: None });
        Ok((id, Pipes { stdin: Arc::new(stdin), stdout: Arc::new(stdout) }))
    }

    /// Ends a server: SIGTERM after `patience` (in which the end of its stdin may do it), SIGKILL later.
    pub(crate) fn end(&mut self, id: ShimId, patience: Duration, now: Duration) {
        if let Some(shim) = self.all.get_mut(&id) {
            shim.stop_at = Some(shim.stop_at.unwrap_or(now + patience).min(now + patience));
        }
        self.on_time(now);
    }

    /// Ends all servers without any grace.
    pub(crate) fn kill_all(&mut self, now: Duration) {
        for shim in self.all.values_mut() {
            shim.queue.try_send((ToShim::Stop { grace_ms: 0 }, Vec::new())).unwrap_or_default();
            (shim.stop_at, shim.kill_at) = (None, Some(now + Duration::from_secs(1)));
        }
    }

    /// What is due by now.
    pub(crate) fn on_time(&mut self, now: Duration) {
        for shim in self.all.values_mut() {
            if shim.stop_at.is_some_and(|at| at <= now) {
                let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
                shim.queue.try_send((ToShim::Stop { grace_ms }, Vec::new())).unwrap_or_default();
                (shim.stop_at, shim.kill_at) = (None, Some(now + GRACE + SLACK));
            }
            if shim.kill_at.is_some_and(|at| at <= now) {
                shim.kill_at = None;
                platform::signal_process(shim.pid, Signal::SIGKILL);
            }
        }
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.all.values().flat_map(|shim| [shim.stop_at, shim.kill_at]).flatten().min()
    }
}
