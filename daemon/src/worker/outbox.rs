//! Messages to the supervisor: one bounded queue, one task that writes, log lines in batches.

use crate::ipc::{
    channel::Sender,
    messages::{Question, ToSupervisor},
};
use ggen_wire::{Code, control::Failure, log::LogLine};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Messages that may wait for the supervisor.
const QUEUE: usize = 256;
/// Log lines in one frame.
const BATCH: usize = 64;

/// The supervisor is gone; the worker is about to be drained.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor is gone")]
pub struct Closed;

/// Sends messages to the supervisor; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::Sender<ToSupervisor>,
    pending: Pending,
}

impl Outbox {
    /// Sends a message, waiting for room in the queue.
    ///
    /// # Errors
    /// [`Closed`]
    pub async fn send(&self, message: ToSupervisor) -> Result<(), Closed> {
        self.queue.send(message).await.map_err(|_| Closed)
    }

    /// Sends a message if there is room; for what may be left out.
    pub fn offer(&self, message: ToSupervisor) -> bool {
        self.queue.try_send(message).is_ok()
    }

    /// Answers a question of the supervisor.
    ///
    /// # Errors
    /// [`Closed`]
    pub async fn answer(
        &self,
        id: u64,
        result: Result<serde_json::Value, Failure>,
    ) -> Result<(), Closed> {
        self.send(ToSupervisor::Answer { id, result }).await
    }

    /// Asks the supervisor and waits for its answer.
    ///
    /// # Errors
    /// The supervisor's own failure, or `Internal` when it is gone.
    pub async fn ask(&self, question: Question) -> Result<serde_json::Value, Failure> {
        let (id, answer) = self.pending.open();
        let asked = self.send(ToSupervisor::Ask { id, question }).await;
        let gone = || Failure {
            version: ggen_wire::VERSION.to_owned(),
            code: Code::Internal,
            message: "the supervisor is gone".to_owned(),
            help: "ggen mcp server status".to_owned(),
        };
        if asked.is_err() {
            self.pending.forget(id);
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

type Answer = Result<serde_json::Value, Failure>;

/// Questions that wait for their answer.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    last: u64,
    closed: bool,
    open: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl Pending {
    fn open(&self) -> (u64, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.last += 1;
        let id = waiting.last;
        if !waiting.closed {
            waiting.open.retain(|_, sender| !sender.is_closed());
            waiting.open.insert(id, sender);
        }
        (id, receiver)
    }

    fn forget(&self, id: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .remove(&id);
    }

    pub(super) fn resolve(&self, id: u64, result: Answer) {
        if let Some(sender) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .remove(&id)
        {
            sender.send(result).unwrap_or_default();
        }
    }

    pub(super) fn close(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.closed = true;
        waiting.open.clear();
    }
}

/// Starts the writing task. It ends when the supervisor is gone, or, once `stopped` says so, when
/// nothing is waiting any more.
pub(super) fn start(
    sender: Sender,
    lines: mpsc::Receiver<LogLine>,
    pending: Pending,
    stopped: watch::Receiver<bool>,
) -> (Outbox, JoinHandle<()>) {
    let (queue, messages) = mpsc::channel(QUEUE);
    let writer = tokio::spawn(write(sender, messages, lines, stopped));
    (Outbox { queue, pending }, writer)
}

async fn write(
    mut sender: Sender,
    mut messages: mpsc::Receiver<ToSupervisor>,
    mut lines: mpsc::Receiver<LogLine>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut batch = Vec::new();
    loop {
        let message = tokio::select! {
            biased;
            Some(message) = messages.recv() => message,
            1.. = lines.recv_many(&mut batch, BATCH) => ToSupervisor::Log(std::mem::take(&mut batch)),
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if sender.send(&message, &[]).await.is_err() {
            messages.close();
            return;
        }
    }
}
