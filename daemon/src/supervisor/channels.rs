//! The tasks at the supervisor's ends of its children's channels: one writes what is queued, one
//! reads what comes and passes it to the loop. Reading can be paused between two frames, so that
//! the channels can be handed to another binary (`upgrade/`).

use crate::{
    ipc::{
        channel::{Receiver, Sender},
        launch::FromShim,
        messages::ToSupervisor,
    },
    supervisor::event::{Event, Owner, PausedChannel, PausedStderr, ProcId, ShimId},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// How long the last lines of stderr may take to be read after a shim's end.
const LAST_WORDS: Duration = Duration::from_millis(200);

enum Item<T> {
    Send(T, Vec<Arc<OwnedFd>>),
    Flush(oneshot::Sender<()>),
}

/// The queue of messages to a child.
pub(crate) struct Writer<T>(mpsc::Sender<Item<T>>);

/// Why something could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The queue is full: the child does not read.
    Full,
    /// The channel is closed.
    Closed,
}

impl<T: Serialize + Send + Sync + 'static> Writer<T> {
    /// Starts the task that writes.
    pub(crate) fn start(mut sender: Sender, most: usize) -> Self {
        let (queue, mut outgoing) = mpsc::channel(most);
        tokio::spawn(async move {
            while let Some(item) = outgoing.recv().await {
                match item {
                    Item::Send(message, descriptors) => {
                        let borrowed: Vec<_> = descriptors
                            .iter()
                            .map(|fd: &Arc<OwnedFd>| fd.as_fd())
                            .collect();
                        if sender.send(&message, &borrowed).await.is_err() {
                            return;
                        }
                    }
                    Item::Flush(done) => done.send(()).unwrap_or_default(),
                }
            }
        });
        Self(queue)
    }

    /// One whose channel is closed.
    pub(crate) fn closed() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Queues a message; never waits.
    pub(crate) fn send(&self, message: T, descriptors: Vec<Arc<OwnedFd>>) -> Result<(), SendError> {
        self.0
            .try_send(Item::Send(message, descriptors))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Closed,
            })
    }

    /// Resolves when everything before it is written; with an error when the channel is gone.
    /// `None`: it does not read.
    pub(crate) fn flushed(&self) -> Option<oneshot::Receiver<()>> {
        let (done, flushed) = oneshot::channel();
        match self.0.try_send(Item::Flush(done)) {
            Err(mpsc::error::TrySendError::Full(_)) => None,
            _ => Some(flushed),
        }
    }
}

/// What the tasks that read a channel need: where to pass what comes, and when to pause.
#[derive(Clone)]
pub(crate) struct Reader {
    events: mpsc::Sender<Event>,
    paused: watch::Receiver<bool>,
}

/// The channels of all children: which of them a task reads, and how those tasks are paused.
pub(crate) struct Channels {
    events: mpsc::Sender<Event>,
    open: BTreeSet<Owner>,
    pause: watch::Sender<bool>,
}

impl Channels {
    /// None yet. `events`: where what comes is passed to.
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            open: BTreeSet::new(),
            pause: watch::Sender::new(false),
        }
    }

    /// The queue of the supervisor's loop.
    pub(crate) const fn events(&self) -> &mpsc::Sender<Event> {
        &self.events
    }

    /// A reader for one more channel, which counts as read from now on.
    pub(crate) fn reader(&mut self, owner: Owner) -> Reader {
        self.open.insert(owner);
        Reader {
            events: self.events.clone(),
            paused: self.pause.subscribe(),
        }
    }

    /// A channel is not read any more: it has closed, or its task has paused.
    pub(crate) fn closed(&mut self, owner: Owner) {
        self.open.remove(&owner);
    }

    /// One of those that are still read.
    pub(crate) fn first_open(&self) -> Option<Owner> {
        self.open.first().copied()
    }

    /// Has the tasks that read pause (`true`), or lets new ones read again.
    pub(crate) fn pause(&self, on: bool) {
        self.pause.send_replace(on);
    }
}

/// Resolves when it is time to pause.
pub(crate) async fn is_paused(paused: &mut watch::Receiver<bool>) {
    let is_over = paused.wait_for(|on| *on).await.is_err();
    if is_over {
        std::future::pending::<()>().await;
    }
}

impl Reader {
    /// Resolves when this reader is to pause.
    pub(crate) fn paused(&self) -> watch::Receiver<bool> {
        self.paused.clone()
    }

    /// Reads from a worker.
    pub(crate) fn worker(mut self, id: ProcId, mut receiver: Receiver) {
        tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    biased;
                    () = is_paused(&mut self.paused) => break,
                    received = receiver.receive::<ToSupervisor>() => received,
                };
                // A message that cannot be parsed closes the channel too, which ends the worker.
                let Ok(Some((message, _))) = received else {
                    self.events.send(Event::WorkerClosed(id)).await.ok();
                    return;
                };
                self.events.send(Event::Worker(id, message)).await.ok();
            }
            let paused = PausedChannel {
                receiver,
                stderr: None,
                last_line: String::new(),
            };
            self.events
                .send(Event::Paused(Owner::Worker(id), Box::new(paused)))
                .await
                .ok();
        });
    }

    /// Reads from a shim. `reading` is the task that reads its server's stderr, `words` gives the
    /// line of it that says why the server ended.
    pub(crate) fn shim(
        mut self,
        id: ShimId,
        mut receiver: Receiver,
        reading: JoinHandle<Option<PausedStderr>>,
        words: impl Fn() -> String + Send + 'static,
    ) {
        tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    biased;
                    () = is_paused(&mut self.paused) => break,
                    received = receiver.receive::<FromShim>() => received,
                };
                let Ok(Some((message, _))) = received else {
                    let abort = reading.abort_handle();
                    if tokio::time::timeout(LAST_WORDS, reading).await.is_err() {
                        abort.abort();
                    }
                    self.events.send(Event::ShimClosed(id, words())).await.ok();
                    return;
                };
                self.events.send(Event::Shim(id, message)).await.ok();
            }
            let stderr = reading.await.ok().flatten();
            let paused = PausedChannel {
                receiver,
                stderr,
                last_line: words(),
            };
            self.events
                .send(Event::Paused(Owner::Shim(id), Box::new(paused)))
                .await
                .ok();
        });
    }
}
