//! The worker's view of its supervisor: the `Start` message, further messages with their
//! descriptors, and the drain signal.

use super::{
    beat::{self, BeatSource},
    outbox::{self, Outbox, Pending},
};
use crate::{
    ipc::{
        channel::{Receiver, Sender, channel},
        kept::{KeptCatalogue, KeptSession},
        messages::{Beat, Child, ChildGone, Question, Start, ToSupervisor, ToWorker},
        secrets::Secrets,
    },
    log,
};
use std::{
    io,
    net::TcpListener,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// Messages that may wait for the worker's body.
const INBOX: usize = 1024;
/// How long a worker may finish its work when the supervisor is gone.
const ORPHAN_DRAIN: Duration = Duration::from_secs(2);
/// How long the last log lines may take.
const FLUSH: Duration = Duration::from_millis(500);

/// A message from the supervisor that the body of a worker has to act on, with its descriptors.
#[derive(Debug)]
pub enum Incoming {
    /// See [`ToWorker::Link`].
    Link {
        /// Number of the link.
        edge: u32,
        /// Name of the worker at the other end.
        peer: String,
        /// The stream socket for `ggen_mcp::edge::frame`, blocking as it came.
        socket: OwnedFd,
    },
    /// See [`ToWorker::Handover`].
    Handover {
        /// Name of the worker at the other end.
        peer: String,
        /// For [`crate::ipc::channel`].
        socket: OwnedFd,
    },
    /// See [`ToWorker::Child`].
    Child {
        /// Which child.
        child: Child,
        /// Write end of its stdin.
        stdin: OwnedFd,
        /// Read end of its stdout.
        stdout: OwnedFd,
        /// Says whether a message has been written to it in part.
        torn: Option<OwnedFd>,
    },
    /// See [`ToWorker::ChildGone`].
    ChildGone(ChildGone),
    /// See [`ToWorker::Ask`]; to be answered with [`Outbox::answer`].
    Ask {
        /// To be repeated in the answer.
        id: u64,
        /// The question.
        question: Question,
    },
    /// See [`ToWorker::Reconfigure`]; to be answered with [`Context::reconfigured`]. The sockets
    /// are non-blocking.
    Reconfigure(Box<Start>, Vec<TcpListener>),
    /// See [`ToWorker::Secrets`]; the first ones are in [`Context::secrets`].
    Secrets(Box<Secrets>),
    /// See [`ToWorker::Retire`].
    Retire {
        /// Names of upstreams.
        upstreams: Vec<String>,
        /// Time to finish what is in flight.
        within: Duration,
    },
    /// See [`ToWorker::Recall`].
    Recall(Vec<KeptCatalogue>),
    /// See [`ToWorker::Restore`].
    Restore(Vec<KeptSession>),
    /// See [`ToWorker::Kept`].
    Kept(Vec<u64>),
}

/// What a worker's body works with.
pub struct Context {
    /// The first message.
    pub start: Start,
    /// The listening sockets, non-blocking, in the order of `start.listeners`.
    pub listeners: Vec<TcpListener>,
    /// What an edge worker begins with; of other workers, empty.
    pub secrets: Secrets,
    inbox: mpsc::Receiver<Incoming>,
    outbox: Outbox,
    drain: Drain,
    beats: BeatSource,
}

/// The tasks around a worker's body; kept by [`super::main`].
pub(super) struct Frame {
    /// Sends beats while it is polled; never returns. Not a task: the event loop polls it before all
    /// tasks that are ready, however many there are.
    pub(super) beats: Pin<Box<dyn Future<Output = ()> + Send>>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Frame {
    /// Lets the last lines out, bounded in time.
    pub(super) async fn finish(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(FLUSH, self.writer).await.ok();
        self.reader.abort();
    }
}

impl Context {
    /// Reads the first message, installs logging and starts the tasks of the frame.
    pub(super) async fn open(socket: OwnedFd) -> io::Result<(Self, Frame)> {
        let (sender, mut receiver) = channel(socket)?;
        let (start, descriptors) = match receiver.receive().await? {
            Some((ToWorker::Start(start), descriptors)) => (*start, descriptors),
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let listeners: Vec<TcpListener> = descriptors.into_iter().map(TcpListener::from).collect();
        listeners
            .iter()
            .try_for_each(|socket| socket.set_nonblocking(true))?;
        let secrets = match start.role.knows_secrets() {
            true => match receiver.receive().await? {
                Some((ToWorker::Secrets(secrets), _)) => *secrets,
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            },
            false => Secrets::default(),
        };

        let (queue, lines) = log::Queue::new();
        let filter = log::install(
            &start.name,
            &start.log_filter,
            Arc::clone(&queue) as Arc<dyn log::Sink>,
        );
        let (mut context, frame) = Self::assemble(
            start,
            listeners,
            sender,
            receiver,
            (queue, lines),
            Some(filter),
        );
        context.secrets = secrets;
        Ok((context, frame))
    }

    fn assemble(
        start: Start,
        listeners: Vec<TcpListener>,
        sender: Sender,
        receiver: Receiver,
        (queue, lines): (Arc<log::Queue>, mpsc::Receiver<ggen_wire::log::LogLine>),
        filter: Option<log::Control>,
    ) -> (Self, Frame) {
        let (stop, stopped) = watch::channel(false);
        let pending = Pending::default();
        let (outbox, writer) = outbox::start(sender, lines, pending.clone(), stopped);
        let (signal, drain) = watch::channel(None);
        let (inbox_sender, inbox) = mpsc::channel(INBOX);
        let reader = tokio::spawn(read(receiver, inbox_sender, signal, pending, filter));
        let beats = BeatSource::default();
        let period = Duration::from_millis(start.beat_ms.max(10));
        // Opened now: the sandbox closes the way to this folder, not the folder itself.
        let files = crate::platform::OwnFiles::open();
        let beating = beat::run(period, beats.clone(), outbox.clone(), queue, files);
        let context = Self {
            start,
            listeners,
            secrets: Secrets::default(),
            inbox,
            outbox,
            drain: Drain(drain),
            beats,
        };
        (
            context,
            Frame {
                beats: Box::pin(beating),
                reader,
                writer,
                stop,
            },
        )
    }

    /// A context over one end of a socket pair, for tests that play the supervisor; does not touch
    /// the process's logging.
    ///
    /// # Errors
    /// When the socket cannot be registered with the event loop.
    #[cfg(test)]
    pub(crate) fn for_test(
        start: Start,
        listeners: Vec<TcpListener>,
        socket: OwnedFd,
    ) -> io::Result<Self> {
        let (context, frame) = Self::with_frame(start, listeners, socket)?;
        tokio::spawn(async move {
            // All of it is held for as long as the test's event loop runs.
            let mut frame = frame;
            let all = &mut frame;
            all.beats.as_mut().await;
        });
        Ok(context)
    }

    /// The same with what is around it, whose beats have to be polled.
    #[cfg(test)]
    pub(super) fn with_frame(
        start: Start,
        listeners: Vec<TcpListener>,
        socket: OwnedFd,
    ) -> io::Result<(Self, Frame)> {
        let (sender, receiver) = channel(socket)?;
        Ok(Self::assemble(
            start,
            listeners,
            sender,
            receiver,
            log::Queue::new(),
            None,
        ))
    }

    /// The next message. `None` only when the supervisor is gone: the drain has begun then, too.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.inbox.recv().await
    }

    /// The way to the supervisor; cheap to clone.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// The drain signal; cheap to clone.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Tells the supervisor that this worker serves. To be called once.
    pub async fn ready(&self) {
        self.outbox.send(ToSupervisor::Ready).await.ok();
    }

    /// What fills each beat: everything but `seq` and `lag_us`, which the frame adds. Until this is
    /// called, beats are empty. The closure must be quick: it runs on the event loop once a second.
    pub fn on_beat(&self, source: impl FnMut() -> Beat + Send + 'static) {
        *self.beats.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(source));
    }

    /// Tells the supervisor that the configuration of this generation is in force here.
    pub async fn reconfigured(&self, generation: u32) {
        self.outbox
            .send(ToSupervisor::Reconfigured { generation })
            .await
            .ok();
    }

    /// The sockets of a transport, taken out of the context.
    pub fn take_listeners(&mut self, transport: &str) -> Vec<TcpListener> {
        let sockets = std::mem::take(&mut self.listeners);
        let bounds = std::mem::take(&mut self.start.listeners);
        let mut taken = Vec::new();
        for (bound, socket) in bounds.into_iter().zip(sockets) {
            if bound.transport == transport {
                taken.push(socket);
            } else {
                self.start.listeners.push(bound);
                self.listeners.push(socket);
            }
        }
        taken
    }
}

/// The drain signal: take nothing new, finish, return.
#[derive(Clone)]
pub struct Drain(watch::Receiver<Option<Instant>>);

impl Drain {
    /// Whether the drain has begun.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the drain to begin; returns its deadline. Cancel-safe.
    pub async fn begun(&self) -> Instant {
        let mut signal = self.0.clone();
        let found = signal
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|deadline| *deadline);
        // The sender lives as long as the reader task, which ends only after it has set a deadline.
        found.unwrap_or_else(Instant::now)
    }

    /// Waits until the deadline of a drain has passed (the earliest, if several were set).
    pub async fn expired(&self) {
        let mut signal = self.0.clone();
        loop {
            let deadline = *signal.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
                changed = signal.changed() => if changed.is_err() {
                    tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await;
                    return;
                },
            }
        }
    }
}

/// Reads the supervisor's messages and hands each to where it belongs.
async fn read(
    mut receiver: Receiver,
    inbox: mpsc::Sender<Incoming>,
    drain: watch::Sender<Option<Instant>>,
    pending: Pending,
    filter: Option<log::Control>,
) {
    let set = |after: Duration| {
        let deadline = Instant::now() + after;
        drain.send_modify(|current| {
            *current = Some(current.map_or(deadline, |earlier| earlier.min(deadline)))
        });
    };
    while let Ok(Some((message, descriptors))) = receiver.receive::<ToWorker>().await {
        let new_filter = match &message {
            ToWorker::LogFilter { filter } => Some(filter),
            ToWorker::Reconfigure(start) => Some(&start.log_filter),
            _ => None,
        };
        if let (Some(filter), Some(text)) = (&filter, new_filter) {
            filter.set(text);
        }
        match message {
            ToWorker::Drain { deadline_ms } => set(Duration::from_millis(deadline_ms)),
            ToWorker::Answer { id, result } => pending.resolve(id, result),
            message => {
                if let Some(incoming) = incoming(message, descriptors) {
                    // Fails once the body has dropped its end (it is draining); the channel is read
                    // on, to see its end.
                    inbox.send(incoming).await.ok();
                }
            }
        }
    }
    pending.close();
    set(ORPHAN_DRAIN);
}

/// What the worker's body has to act on. `None`: nothing, or a descriptor is missing.
fn incoming(message: ToWorker, descriptors: Vec<OwnedFd>) -> Option<Incoming> {
    let mut descriptors = descriptors.into_iter();
    Some(match message {
        ToWorker::Link { edge, peer } => Incoming::Link {
            edge,
            peer,
            socket: descriptors.next()?,
        },
        ToWorker::Handover { peer } => Incoming::Handover {
            peer,
            socket: descriptors.next()?,
        },
        ToWorker::Child(child) => Incoming::Child {
            child,
            stdin: descriptors.next()?,
            stdout: descriptors.next()?,
            torn: descriptors.next(),
        },
        ToWorker::ChildGone(gone) => Incoming::ChildGone(gone),
        ToWorker::Ask { id, question } => Incoming::Ask { id, question },
        ToWorker::Reconfigure(start) => {
            let sockets = descriptors
                .map(TcpListener::from)
                .filter(|socket| socket.set_nonblocking(true).is_ok());
            Incoming::Reconfigure(start, sockets.collect())
        }
        ToWorker::Secrets(secrets) => Incoming::Secrets(secrets),
        ToWorker::Recall { catalogue } => Incoming::Recall(catalogue),
        ToWorker::Restore { sessions } => Incoming::Restore(sessions),
        ToWorker::Kept { tickets } => Incoming::Kept(tickets),
        ToWorker::Retire {
            upstreams,
            within_ms,
        } => Incoming::Retire {
            upstreams,
            within: Duration::from_millis(within_ms),
        },
        ToWorker::Start(_)
        | ToWorker::Drain { .. }
        | ToWorker::Answer { .. }
        | ToWorker::LogFilter { .. } => return None,
    })
}

/// Shared with the beat task.
pub(super) type Source = Arc<Mutex<Option<Box<dyn FnMut() -> Beat + Send>>>>;
