//! Upstreams over the deprecated HTTP+SSE of 2024-11-05 ("HTTP with SSE" there). For the relay, a
//! channel carries lines as the pipes of a server do. One shared channel is kept open, with
//! backoff; each lease has one more, which is opened once. Messages are posted to no other origin
//! than the configured one, and no redirect is followed. [`super::sse_channel`] is one channel. May
//! not: log a secret.

use super::{sse_channel::SseChannel, streamable_http::Clients};
use crate::worker::gateway::{driver::events::Sink, settings::Target};
use bytes::Bytes;
use ggen_mcp::api::{Lease, SHARED, UpId, UpInput};
use ggen_wire::{Code, status::UpstreamState};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::Instant,
};

/// Messages that may wait for one channel, and their bytes.
const MESSAGES: usize = 4096;
const BACKLOG: usize = 128 << 20;
/// The first wait before a channel is opened again, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A channel that was open for so long is opened again as if it had been the first time.
const HEALTHY: Duration = Duration::from_secs(10);

/// The channels of one upstream.
pub(crate) struct SseChannels {
    up: UpId,
    target: Result<Arc<Target>, String>,
    clients: Arc<Clients>,
    sink: Sink,
    open: BTreeMap<Lease, Channel>,
    /// Lives of channels so far; each has its number.
    lives: u64,
    /// Failures in a row of the shared channel.
    failures: u32,
}

/// One channel, open or being opened.
struct Channel {
    life: u64,
    messages: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    pause: watch::Sender<Option<Instant>>,
    open_since: Option<Instant>,
    task: AbortHandle,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SseChannels {
    /// An upstream that nobody has asked for.
    pub(crate) fn new(
        up: UpId,
        target: Result<Arc<Target>, String>,
        clients: Arc<Clients>,
        sink: Sink,
    ) -> Self {
        Self {
            up,
            target,
            clients,
            sink,
            open: BTreeMap::new(),
            lives: 0,
            failures: 0,
        }
    }

    /// Uses other connection pools from now on.
    pub(crate) fn set_clients(&mut self, clients: Arc<Clients>) {
        self.clients = clients;
    }

    /// Opens a channel, if it is not. What is returned is to be told to the relay at once.
    pub(crate) fn open(&mut self, lease: Lease) -> Option<UpInput> {
        if self.open.contains_key(&lease) {
            None
        } else {
            self.open_after(lease, Duration::ZERO)
        }
    }

    fn open_after(&mut self, lease: Lease, wait: Duration) -> Option<UpInput> {
        let target = match &self.target {
            Ok(target) => Arc::clone(target),
            Err(why) => return Some(lost(Code::UpstreamUnreachable, why.clone(), None)),
        };
        self.lives += 1;
        let (messages, incoming) = mpsc::channel(MESSAGES);
        let (pause, paused) = watch::channel(None);
        let waiting = Arc::<AtomicUsize>::default();
        let channel = SseChannel {
            up: self.up,
            lease,
            life: self.lives,
            sink: self.sink.clone(),
            target,
            clients: Arc::clone(&self.clients),
            incoming,
            waiting: Arc::clone(&waiting),
            paused,
        };
        let task = tokio::spawn(channel.run(wait)).abort_handle();
        self.open.insert(
            lease,
            Channel {
                life: self.lives,
                messages,
                waiting,
                pause,
                open_since: None,
                task,
            },
        );
        None
    }

    /// Queues a message. False: too many wait; the channel is no good.
    pub(crate) fn write(&mut self, lease: Lease, message: &[u8]) -> bool {
        let Some(channel) = self.open.get(&lease) else {
            return true;
        };
        if channel.waiting.fetch_add(message.len(), Ordering::Relaxed) + message.len() > BACKLOG {
            return false;
        }
        !matches!(
            channel.messages.try_send(Bytes::copy_from_slice(message)),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// Nothing is read from a channel for so long.
    pub(crate) fn pause(&mut self, lease: Lease, time: Duration) {
        if let Some(channel) = self.open.get(&lease) {
            channel.pause.send_replace(Some(Instant::now() + time));
        }
    }

    /// Closes a channel for good.
    pub(crate) fn close(&mut self, lease: Lease) {
        self.open.remove(&lease);
    }

    /// The shared channel is no good: it is opened anew after a while. What is returned is to be
    /// told to the relay.
    pub(crate) fn recycle(&mut self, life: u64, code: Code, detail: String) -> Option<UpInput> {
        self.open
            .get(&SHARED)
            .filter(|channel| channel.life == life)?;
        Some(self.reopen(code, detail))
    }

    /// The number of a channel's life.
    pub(crate) fn life(&self, lease: Lease) -> u64 {
        self.open.get(&lease).map_or(0, |channel| channel.life)
    }

    /// What a channel reports, as the relay is to hear it; `None` if it is from an earlier life.
    pub(crate) fn reported(&mut self, lease: Lease, life: u64, input: UpInput) -> Option<UpInput> {
        let channel = self
            .open
            .get_mut(&lease)
            .filter(|channel| channel.life == life)?;
        match input {
            UpInput::Connected { .. } => channel.open_since = Some(Instant::now()),
            UpInput::Lost { code, reason, .. } if lease == SHARED => {
                return Some(self.reopen(code, reason));
            }
            UpInput::Lost { .. } => self.close(lease),
            _ => {}
        }
        Some(input)
    }

    fn reopen(&mut self, code: Code, reason: String) -> UpInput {
        let open_since = self
            .open
            .remove(&SHARED)
            .and_then(|channel| channel.open_since);
        if open_since.is_some_and(|since| since.elapsed() >= HEALTHY) {
            self.failures = 0;
        }
        let wait = BACKOFF.1.min(BACKOFF.0 * (1 << self.failures.min(10)));
        let mut byte = [0u8];
        // Without randomness they come a little more often at once, nothing worse.
        let _ = getrandom::fill(&mut byte);
        let wait = wait.mul_f64(0.8 + 0.4 * f64::from(byte[0]) / 255.0);
        self.failures += 1;
        self.open_after(SHARED, wait);
        lost(code, reason, Some(wait))
    }
}

/// What the relay is told of a channel that ended, or that could not be opened.
pub(crate) fn lost(code: Code, reason: String, next: Option<Duration>) -> UpInput {
    let next_start = next.map(|wait| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
    UpInput::Lost {
        state: UpstreamState::Degraded,
        code,
        reason,
        next_start,
    }
}
