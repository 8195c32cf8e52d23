//! Passes a WebSocket from the http worker that made its handshake to the websocket worker that
//! serves it: the descriptor, what is known about the client, and what was read already. A
//! websocket worker says `Accepted` before it reads from a connection; if it dies first, the
//! connection goes to another one. A websocket worker that drains says `Stop`, and still serves
//! what was sent before. An http worker that drains says `Draining`, because connections that it
//! relays end with it.

use crate::ipc::{
    channel::{Receiver, Sender, channel},
    secrets::Sensitive,
};
use ggen_mcp::edge::Principal;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

/// How long an upgrade waits for a websocket worker.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Upgrades that may wait.
const MAX_WAITING: usize = 1_024;
/// Connections on their way to one worker.
const QUEUE: usize = 256;

/// A connection whose opening handshake is complete.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// Empty for the view of all servers, else the server's name.
    pub(crate) view: String,
    /// Who opened it.
    pub(crate) principal: String,
    /// What else is known of them.
    pub(crate) labels: Vec<String>,
    /// What they showed, to be judged again while the connection lives.
    pub(crate) credential: Option<Sensitive>,
    /// The certificates that they showed, DER, for the same purpose.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// Where they are.
    pub(crate) peer: SocketAddr,
    /// The descriptor is one end of a socket pair whose other end is relayed, not the client's own
    /// connection.
    pub(crate) relayed: bool,
    /// Bytes that came behind the handshake.
    pub(crate) buffered: Vec<u8>,
}

impl Handover {
    /// Who opened it.
    pub(crate) fn principal(&self) -> Principal {
        Principal {
            id: self.principal.as_str().into(),
            labels: self
                .labels
                .iter()
                .map(|label| label.as_str().into())
                .collect(),
        }
    }
}

/// What passes over the link between two workers.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    /// To the websocket worker. Descriptors: the connection.
    Connection(Box<Handover>),
    /// To the http worker: the first of those that are on their way has arrived.
    #[serde(rename = "Taken")]
    Accepted,
    /// To the http worker: no more of them.
    Stop,
    /// To the websocket worker: what is relayed, and what still comes, ends after so many
    /// milliseconds.
    #[serde(rename = "Going")]
    Draining {
        /// Until the drain's deadline.
        left_ms: u64,
    },
}

/// How a relayed connection hears of the worker that relays it.
#[derive(Clone, Debug)]
pub(crate) struct RelayGuard(watch::Receiver<Option<Instant>>);

impl RelayGuard {
    /// Returns when that worker drains, with its deadline. Cancel-safe.
    pub(crate) async fn drain_deadline(&self) -> Instant {
        drain_begun(&mut self.0.clone()).await
    }
}

/// The websocket workers as an http worker sees them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebsocketWorkers(Arc<Shared>);

/// A worker that takes connections, by its number.
type WebsocketWorker = (usize, mpsc::Sender<(Box<Handover>, OwnedFd)>);

#[derive(Debug, Default)]
struct Shared {
    websocket_workers: Mutex<Vec<WebsocketWorker>>,
    last: AtomicUsize,
    turn: AtomicUsize,
    waiting: AtomicUsize,
    changed: Notify,
    /// The deadline of our own drain.
    going: watch::Sender<Option<Instant>>,
}

impl WebsocketWorkers {
    /// A link to a websocket worker.
    ///
    /// # Errors
    /// When the socket cannot be registered with the event loop.
    pub(crate) fn attach(&self, socket: OwnedFd) -> io::Result<()> {
        let (sender, receiver) = channel(socket)?;
        let (queue, connections) = mpsc::channel(QUEUE);
        let id = self.0.last.fetch_add(1, Ordering::Relaxed);
        self.0.lock().push((id, queue));
        self.0.changed.notify_waiters();
        let websocket_workers = self.clone();
        tokio::spawn(async move {
            websocket_workers
                .serve(id, sender, receiver, connections)
                .await
        });
        Ok(())
    }

    /// Tells the websocket workers that what is relayed from here ends at that time.
    pub(crate) fn drain(&self, deadline: Instant) {
        self.0.going.send_replace(Some(deadline));
    }

    /// Whether a websocket worker serves, or comes to serve within a bounded time.
    pub(crate) async fn ready(&self) -> bool {
        if !self.0.lock().is_empty() {
            return true;
        }
        let place = self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let found = if place < MAX_WAITING {
            tokio::time::timeout(MAX_WAIT, self.appear()).await.is_ok()
        } else {
            false
        };
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        found
    }

    async fn appear(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if !self.0.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Passes a connection on, to each worker in turn. False: there is none any more, and the
    /// connection is closed.
    pub(crate) fn try_pass(&self, handover: Box<Handover>, connection: OwnedFd) -> bool {
        let websocket_workers = self.0.lock();
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let mut item = (handover, connection);
        for at in 0..websocket_workers.len() {
            match websocket_workers[(turn + at) % websocket_workers.len()]
                .1
                .try_send(item)
            {
                Ok(()) => return true,
                Err(
                    mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
                ) => item = back,
            }
        }
        false
    }

    /// The same, and where there is none, waits for one: its client has been told that the
    /// WebSocket is open.
    pub(crate) async fn pass(&self, handover: Box<Handover>, connection: OwnedFd) -> bool {
        self.ready().await && self.try_pass(handover, connection)
    }

    async fn serve(
        &self,
        id: usize,
        mut sender: Sender,
        mut receiver: Receiver,
        mut connections: mpsc::Receiver<(Box<Handover>, OwnedFd)>,
    ) {
        // Sent, and not known to have arrived.
        let mut sent = VecDeque::new();
        let (mut last, mut said) = (false, false);
        let mut going = self.0.going.subscribe();
        while !(last && sent.is_empty()) {
            let next = tokio::select! {
                deadline = drain_begun(&mut going), if !said => {
                    said = true;
                    let left = deadline.saturating_duration_since(Instant::now());
                    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    // One that is gone has nothing to be told; the next turn finds it.
                    sender.send(&Message::Draining { left_ms }, &[]).await.unwrap_or_default();
                    continue;
                }
                next = connections.recv(), if !last && sent.len() < QUEUE => next,
                said = receiver.receive::<Message>() => match said {
                    Ok(Some((Message::Accepted, _))) => {
                        sent.pop_front();
                        continue;
                    }
                    // Those that are in the queue still go to it.
                    Ok(Some(_)) => {
                        self.forget(id);
                        connections.close();
                        continue;
                    }
                    Ok(None) | Err(_) => break,
                }
            };
            let Some((handover, connection)) = next else {
                last = true;
                continue;
            };
            let message = Message::Connection(handover);
            let arrives = sender.send(&message, &[connection.as_fd()]).await.is_ok();
            if let Message::Connection(handover) = message {
                sent.push_back((handover, connection));
            }
            if !arrives {
                break;
            }
        }
        // It is gone: what it did not take goes to another one.
        self.forget(id);
        connections.close();
        for (handover, connection) in sent {
            self.pass(handover, connection).await;
        }
        while let Some((handover, connection)) = connections.recv().await {
            self.pass(handover, connection).await;
        }
    }

    fn forget(&self, id: usize) {
        self.0.lock().retain(|(other, _)| *other != id);
    }
}

/// The deadline, once there is one.
async fn drain_begun(going: &mut watch::Receiver<Option<Instant>>) -> Instant {
    let found = going
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|found| *found);
    match found {
        Some(deadline) => deadline,
        // The link is gone, and with it whatever could be said.
        None => std::future::pending().await,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<WebsocketWorker>> {
        self.websocket_workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The websocket worker's end of a link: gives each connection to `take` until the http worker
/// closes it. Once `stop` returns, the http worker is told to pass no more.
///
/// # Errors
/// When the socket fails, or what comes over it is no message.
pub(crate) async fn receive(
    socket: OwnedFd,
    mut take: impl FnMut(Handover, OwnedFd, RelayGuard),
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut sender, mut receiver) = channel(socket)?;
    let going = watch::Sender::new(None);
    let mut stop = std::pin::pin!(stop);
    let mut stopped = false;
    loop {
        tokio::select! {
            () = &mut stop, if !stopped => {
                stopped = true;
                // An http worker that is gone needs no word.
                sender.send(&Message::Stop, &[]).await.unwrap_or_default();
            }
            passed = receiver.receive::<Message>() => match passed? {
                None => return Ok(()),
                Some((Message::Connection(handover), descriptors)) => {
                    // An http worker that is gone needs no word.
                    sender.send(&Message::Accepted, &[]).await.unwrap_or_default();
                    if let Some(connection) = descriptors.into_iter().next() {
                        take(*handover, connection, RelayGuard(going.subscribe()));
                    }
                }
                Some((Message::Draining { left_ms }, _)) => {
                    going.send_replace(Some(Instant::now() + Duration::from_millis(left_ms)));
                }
                Some((Message::Stop | Message::Accepted, _)) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use std::{io::Write, os::unix::net::UnixStream};
    use tokio::sync::oneshot;

    fn handover(view: &str) -> Box<Handover> {
        let peer = "127.0.0.1:1".parse().unwrap();
        let (view, principal) = (view.to_owned(), "anonymous".to_owned());
        Box::new(Handover {
            view,
            principal,
            labels: Vec::new(),
            credential: None,
            certificates: Vec::new(),
            peer,
            relayed: true,
            buffered: vec![7],
        })
    }

    #[tokio::test]
    async fn connections_arrive_and_none_is_lost_when_the_worker_stops() {
        let websocket_workers = WebsocketWorkers::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        websocket_workers.attach(ours.into()).unwrap();
        assert!(websocket_workers.ready().await);
        let (stop, stopped) = oneshot::channel::<()>();
        let taking = tokio::spawn(async move {
            let mut taken = Vec::new();
            receive(
                theirs.into(),
                |handover, fd, _| taken.push((handover, fd)),
                async { stopped.await.unwrap() },
            )
            .await
            .unwrap();
            taken
        });
        let mut peers = Vec::new();
        for at in 0..20 {
            let (one, other) = UnixStream::pair().unwrap();
            assert!(websocket_workers.try_pass(handover(&at.to_string()), other.into()));
            peers.push(one);
        }
        stop.send(()).unwrap();
        let mut taken = taking.await.unwrap();
        assert_eq!(
            taken
                .iter()
                .map(|(handover, _)| handover.view.parse::<usize>().unwrap())
                .collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
        assert_eq!(taken[3].0.buffered, [7]);
        UnixStream::from(taken.remove(3).1).write_all(b"x").unwrap();
        assert!(
            !websocket_workers.try_pass(handover(""), UnixStream::pair().unwrap().0.into()),
            "nobody takes it"
        );
    }

    #[tokio::test]
    async fn a_relayed_connection_hears_of_the_drain_before_and_after_it_begins() {
        let websocket_workers = WebsocketWorkers::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        websocket_workers.attach(ours.into()).unwrap();
        let (arrived, mut guards) = mpsc::channel(4);
        let take = move |_, _, relay_guard| arrived.try_send(relay_guard).unwrap();
        let taking =
            tokio::spawn(async move { receive(theirs.into(), take, std::future::pending()).await });
        let give =
            || websocket_workers.try_pass(handover(""), UnixStream::pair().unwrap().0.into());
        assert!(give());
        let before: RelayGuard = guards.recv().await.unwrap();
        let soon = Duration::from_millis(20);
        assert!(
            tokio::time::timeout(soon, before.drain_deadline())
                .await
                .is_err(),
            "nothing is said yet"
        );
        let deadline = Instant::now() + Duration::from_secs(100);
        websocket_workers.drain(deadline);
        let heard = before.drain_deadline().await;
        assert!(
            heard <= Instant::now() + Duration::from_secs(100)
                && heard > deadline - Duration::from_secs(50)
        );
        assert!(give());
        guards.recv().await.unwrap().drain_deadline().await;
        taking.abort();
    }

    #[tokio::test]
    async fn what_a_worker_did_not_accept_before_it_died_goes_to_another_one() {
        let websocket_workers = WebsocketWorkers::default();
        let (ours, dying) = UnixStream::pair().unwrap();
        websocket_workers.attach(ours.into()).unwrap();
        assert!(websocket_workers.try_pass(handover("kept"), UnixStream::pair().unwrap().0.into()));
        // It has arrived in the dead one's queue, and nobody has read it.
        let mut first = [0; 1];
        while nix::sys::socket::recv(
            std::os::fd::AsRawFd::as_raw_fd(&dying),
            &mut first,
            nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT,
        )
        .is_err()
        {
            tokio::task::yield_now().await;
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        websocket_workers.attach(ours.into()).unwrap();
        let (arrived, arrives) = oneshot::channel();
        let mut arrived = Some(arrived);
        tokio::spawn(async move {
            let take = |handover: Handover, _, _| {
                arrived
                    .take()
                    .into_iter()
                    .for_each(|arrived| arrived.send(handover.view.clone()).unwrap())
            };
            receive(theirs.into(), take, std::future::pending()).await
        });
        drop(dying);
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(10), arrives)
                .await
                .unwrap()
                .unwrap(),
            "kept"
        );
    }

    #[tokio::test]
    async fn a_dead_taker_is_forgotten() {
        let websocket_workers = WebsocketWorkers::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        websocket_workers.attach(ours.into()).unwrap();
        drop(theirs);
        tokio::time::timeout(Duration::from_secs(10), async {
            while !websocket_workers.0.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
