//! The tasks at the supervisor's ends of its children's channels: one writes what is queued, one
//! hears what comes and passes it to the loop. They can be made to pause between two frames, so
//! that the channels can be handed to another binary in the middle of everything (`upgrade/`).

use crate::{
    ipc::{
        channel::{Receiver, Sender},
        launch::FromShim,
        messages::ToSupervisor,
    },
    supervisor::{
        Supervisor,
        event::{Event, ProcId},
        upstreams::{shims::ShimId, stderr},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// How long the last lines of stderr may take to be read after a shim's end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The child at the other end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// A worker's.
    Worker(ProcId),
    /// A shim's.
    Shim(ShimId),
}

/// A channel that nobody hears any more, with what has been heard of it so far.
pub(crate) struct PausedChannel {
    pub(crate) receiver: Receiver,
    /// A shim's: its server's stderr, if that is still open.
    pub(crate) stderr: Option<stderr::PausedStderr>,
    /// The last line of it.
    pub(crate) last_line: String,
}

impl std::fmt::Debug for PausedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PausedChannel")
            .field("last_line", &self.last_line)
            .finish_non_exhaustive()
    }
}

enum Item<T> {
    Say(T, Vec<Arc<OwnedFd>>),
    Flush(oneshot::Sender<()>),
}

/// The queue of what is to be said to a child.
pub(crate) struct Writer<T>(mpsc::Sender<Item<T>>);

/// Why something could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// So much waits already that it does not read.
    Full,
    /// Its channel is gone.
    Closed,
}

impl<T: Serialize + Send + Sync + 'static> Writer<T> {
    /// Starts the task that writes.
    pub(crate) fn start(mut sender: Sender, most: usize) -> Self {
        let (queue, mut outgoing) = mpsc::channel(most);
        tokio::spawn(async move {
            while let Some(item) = outgoing.recv().await {
                match item {
                    Item::Say(message, descriptors) => {
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

    /// One that leads nowhere.
    pub(crate) fn closed() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Queues a message; never waits.
    pub(crate) fn say(&self, message: T, descriptors: Vec<Arc<OwnedFd>>) -> Result<(), SendError> {
        self.0
            .try_send(Item::Say(message, descriptors))
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

/// What the tasks that hear need: where to pass it, and when to pause.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) paused: watch::Receiver<bool>,
}

/// Resolves when it is time to pause.
pub(crate) async fn is_paused(paused: &mut watch::Receiver<bool>) {
    let is_over = paused.wait_for(|on| *on).await.is_err();
    if is_over {
        std::future::pending::<()>().await;
    }
}

impl Reader {
    /// Hears a worker.
    pub(crate) fn worker(mut self, id: ProcId, mut receiver: Receiver) {
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! {
                    biased;
                    () = is_paused(&mut self.paused) => break,
                    heard = receiver.receive::<ToSupervisor>() => heard,
                };
                // What does not parse ends the channel as well: the worker is told by the end of
                // it.
                let Ok(Some((message, _))) = heard else {
                    self.events.send(Event::WorkerClosed(id)).await.ok();
                    return;
                };
                self.events.send(Event::Worker(id, message)).await.ok();
            }
            let rest = PausedChannel {
                receiver,
                stderr: None,
                last_line: String::new(),
            };
            self.events
                .send(Event::Paused(Owner::Worker(id), Box::new(rest)))
                .await
                .ok();
        });
    }

    /// Hears a shim, and its server's stderr, which `reading` reads.
    pub(crate) fn shim(
        mut self,
        id: ShimId,
        mut receiver: Receiver,
        reading: JoinHandle<Option<stderr::PausedStderr>>,
        last: Arc<Mutex<String>>,
    ) {
        let words = move || last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! {
                    biased;
                    () = is_paused(&mut self.paused) => break,
                    heard = receiver.receive::<FromShim>() => heard,
                };
                let Ok(Some((message, _))) = heard else {
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
            let rest = PausedChannel {
                receiver,
                stderr,
                last_line: words(),
            };
            self.events
                .send(Event::Paused(Owner::Shim(id), Box::new(rest)))
                .await
                .ok();
        });
    }
}

impl Supervisor {
    /// For a task that hears.
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            events: self.events.clone(),
            paused: self.pause.subscribe(),
        }
    }
}
