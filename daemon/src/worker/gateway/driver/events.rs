//! The queue from tasks (exchanges with remote servers, questions to the supervisor) to the driver.
//! It is bounded in entries and in bytes: a task that is ahead of the relay waits here, and so does
//! its socket.

use bytes::Bytes;
use ggen_mcp::api::{Lease, UpId, UpInput};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Entries that may wait.
const ENTRIES: usize = 256;
/// KiB of messages that may wait.
const KIB: u32 = 128 << 10;

/// What a task reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something about a remote upstream.
    Up(UpId, UpInput, Option<OwnedSemaphorePermit>),
    /// Something about a channel of an upstream, in that life of it.
    Channel(UpId, Lease, u64, UpInput, Option<OwnedSemaphorePermit>),
    /// The supervisor's answer to the relay.
    Answer(u64, Result<Bytes, String>),
}

/// The tasks' end.
#[derive(Clone)]
pub(crate) struct Sink {
    queue: mpsc::Sender<Event>,
    budget: Arc<Semaphore>,
}

/// A queue.
pub(crate) fn queue() -> (Sink, mpsc::Receiver<Event>) {
    let (queue, events) = mpsc::channel(ENTRIES);
    (
        Sink {
            queue,
            budget: Arc::new(Semaphore::new(KIB as usize)),
        },
        events,
    )
}

impl Sink {
    /// Reports what happened at an upstream. Errors (the driver is gone) are left out: the process
    /// is ending.
    pub(crate) async fn up(&self, up: UpId, input: UpInput) {
        let permit = self.permit(&input).await;
        self.queue.send(Event::Up(up, input, permit)).await.ok();
    }

    /// Reports what happened on a channel.
    pub(crate) async fn channel(&self, up: UpId, lease: Lease, life: u64, input: UpInput) {
        let permit = self.permit(&input).await;
        self.queue
            .send(Event::Channel(up, lease, life, input, permit))
            .await
            .ok();
    }

    async fn permit(&self, input: &UpInput) -> Option<OwnedSemaphorePermit> {
        let size = match input {
            UpInput::Message { data, .. } | UpInput::Line(data) => {
                u32::try_from(data.len() >> 10).unwrap_or(KIB).min(KIB)
            }
            _ => 0,
        };
        if size > 0 {
            Arc::clone(&self.budget).acquire_many_owned(size).await.ok()
        } else {
            None
        }
    }

    /// Reports the supervisor's answer.
    pub(crate) async fn answer(&self, id: u64, answer: Result<Bytes, String>) {
        self.queue.send(Event::Answer(id, answer)).await.ok();
    }
}
