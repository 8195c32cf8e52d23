//! The control socket: Varlink connections (<https://varlink.org/Method-Call>), each in a task of
//! its own. Reads local bytes only, decides nothing but how a call is framed; what is done about it
//! is the loop's (`calls.rs`).

use super::places::Places;
use crate::{
    log::{self, now_us},
    platform::{self, Peer},
    supervisor::{
        event::Event,
        hub::Hub,
        reply::{Answer, Incoming, Reply, failure},
    },
};
use ggen_wire::{
    Code,
    control::{self, Body, Call, Failure, LogQuery},
    varlink::{self, Request, Splitter},
};
use serde_json::json;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{broadcast::error::RecvError, mpsc},
    time::Instant,
};

/// How long a connection may take to its first call, and a call that has begun to its end.
const CALL: Duration = Duration::from_secs(10);
/// Replies of one call that may wait for its reader.
const REPLIES: usize = 64;
/// Largest call.
const MAX_CALL: usize = 4 << 20;
/// How long a caller may take to read a reply.
const WRITE: Duration = Duration::from_secs(10);

/// The interface description that the daemon publishes.
const DESCRIPTION: &str = include_str!("../../../../wire/src/ggend.varlink");

/// The running server.
pub(crate) struct Serving {
    task: tokio::task::JoinHandle<()>,
    places: Arc<Places>,
}

impl Serving {
    /// Takes no more connections.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    /// Takes no more connections and lets the open ones finish writing, up to `most`.
    pub(crate) async fn finish(self, most: Duration) {
        self.task.abort();
        // Connections that only wait for their next call hold a place as well: then the time-out
        // decides.
        tokio::time::timeout(most, self.places.empty()).await.ok();
    }
}

/// Goes on with a call that somebody else has begun to answer, and with the connection after it.
///
/// # Errors
/// When the socket cannot be registered with the event loop.
pub(crate) fn resume(
    socket: OwnedFd,
    events: mpsc::Sender<Event>,
    hub: &Arc<Hub>,
) -> io::Result<Reply> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    let stream = UnixStream::from_std(socket)?;
    let peer = platform::peer(&stream)?;
    let (sender, answers) = mpsc::channel(REPLIES);
    let mut connection = Connection {
        stream,
        peer,
        events,
        hub: Arc::downgrade(hub),
    };
    tokio::spawn(async move {
        if connection.pass(answers, false).await.is_ok() {
            connection.run().await.ok();
        }
    });
    Ok(Reply(sender))
}

/// Serves the socket until it is dropped.
///
/// # Errors
/// When the socket cannot be registered with the event loop.
pub(crate) fn serve(
    socket: std::os::unix::net::UnixListener,
    events: mpsc::Sender<Event>,
    hub: Arc<Hub>,
) -> io::Result<Serving> {
    let socket = UnixListener::from_std(socket)?;
    let places = Arc::new(Places::default());
    let shared = Arc::clone(&places);
    let task = tokio::spawn(async move {
        loop {
            let stream = match socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(target: "mcp_server", error = %error, "control connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(peer) = platform::peer(&stream) else {
                continue;
            };
            let Some(place) = shared.take(&peer) else {
                tracing::warn!(target: "mcp_server", code = %Code::Overloaded, uid = peer.uid, pid = peer.pid, "too many control connections of this user");
                continue;
            };
            let (events, hub) = (events.clone(), Arc::downgrade(&hub));
            tokio::spawn(async move {
                // The end of a connection, however it comes, is the caller's affair.
                Connection {
                    stream,
                    peer,
                    events,
                    hub,
                }
                .run()
                .await
                .ok();
                drop(place);
            });
        }
    });
    Ok(Serving { task, places })
}

struct Connection {
    stream: UnixStream,
    peer: Peer,
    events: mpsc::Sender<Event>,
    hub: std::sync::Weak<Hub>,
}

impl Connection {
    async fn run(mut self) -> io::Result<()> {
        let mut splitter = Splitter::new(MAX_CALL);
        let mut chunk = vec![0; 4096];
        // When a call has to be there as a whole; `None`: none has begun.
        let mut until = Some(Instant::now() + CALL);
        loop {
            while let Some(message) = splitter.next().map_err(io::Error::other)? {
                let request: Request = serde_json::from_slice(&message)?;
                self.answer(request).await?;
                until = None;
            }
            let read = self.stream.read(&mut chunk);
            let count = match until {
                Some(until) => tokio::time::timeout_at(until, read)
                    .await
                    .map_err(|_| io::ErrorKind::TimedOut)??,
                None => read.await?,
            };
            until.get_or_insert_with(|| Instant::now() + CALL);
            if count == 0 {
                return Ok(());
            }
            splitter.push(&chunk[..count]);
        }
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        let more = request.more;
        let silent = request.oneway;
        let reply = match request.method.as_str() {
            "org.varlink.service.GetInfo" => Some(info()),
            "org.varlink.service.GetInterfaceDescription" => Some(description(&request)),
            method if !method.starts_with(control::INTERFACE) => {
                let interface = method
                    .rsplit_once('.')
                    .map_or(method, |(interface, _)| interface);
                Some(varlink::Reply::error(
                    varlink::errors::INTERFACE_NOT_FOUND,
                    json!({ "interface": interface }),
                ))
            }
            _ => None,
        };
        let call = match reply {
            Some(reply) => return self.send(&reply, silent).await,
            None => match request.call::<Call>() {
                Ok(call) => call,
                Err(reply) => return self.send(&reply, silent).await,
            },
        };
        match call {
            Call::GetLogs(query) if query.follow && more && !silent => self.follow(query).await,
            call => self.relay(call, more, silent).await,
        }
    }

    /// Hands the call to the loop and passes its answers on.
    async fn relay(&mut self, call: Call, more: bool, silent: bool) -> io::Result<()> {
        let (sender, answers) = mpsc::channel(REPLIES);
        let incoming = Incoming {
            call,
            more: more && !silent,
            peer: self.peer,
            reply: Reply(sender),
        };
        if self.events.send(Event::Call(incoming)).await.is_err() {
            return self.fail(&stopping(), silent).await;
        }
        self.pass(answers, silent).await
    }

    /// Passes answers on, the last one included.
    async fn pass(&mut self, mut answers: mpsc::Receiver<Answer>, silent: bool) -> io::Result<()> {
        loop {
            let answer = tokio::select! {
                answer = answers.recv() => answer,
                () = hung_up(&self.stream) => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            match answer {
                Some(Answer::Progress(body)) => self.body(body, true, silent).await?,
                Some(Answer::Last(Ok(body))) => return self.body(body, false, silent).await,
                Some(Answer::Last(Err(failure))) => return self.fail(&failure, silent).await,
                Some(Answer::Leave(taker)) => {
                    taker
                        .send(self.stream.as_fd().try_clone_to_owned()?)
                        .unwrap_or_default();
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                None => return self.fail(&stopping(), silent).await,
            }
        }
    }

    /// Log lines, those of the ring first, then further ones as they come.
    async fn follow(&mut self, query: LogQuery) -> io::Result<()> {
        let Some(hub) = self.hub.upgrade() else {
            return self.fail(&stopping(), false).await;
        };
        let mut following = hub.ring.follow();
        let lines = hub.ring.query(&query, now_us());
        drop(hub);
        let mut last = lines.last().map_or(0, |line| line.seq);
        self.body(Body::Lines(lines), true, false).await?;
        loop {
            let line = tokio::select! {
                line = following.recv() => line,
                () = hung_up(&self.stream) => return Ok(()),
            };
            match line {
                Ok(line) if line.seq > last && log::matches(&query, &line, now_us()) => {
                    last = line.seq;
                    self.body(Body::Lines(vec![(*line).clone()]), true, false)
                        .await?;
                }
                // Lines that it was too slow for are missing: their numbers show it.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => {
                    return self.body(Body::Lines(Vec::new()), false, false).await;
                }
            }
        }
    }

    async fn body(&mut self, body: Body, continues: bool, silent: bool) -> io::Result<()> {
        let answer = control::Answer {
            version: ggen_wire::VERSION.to_owned(),
            body,
        };
        let reply = varlink::Reply::ok(&answer, continues)?;
        self.send(&reply, silent).await
    }

    async fn fail(&mut self, failure: &Failure, silent: bool) -> io::Result<()> {
        self.send(
            &varlink::Reply::error(control::FAILED, serde_json::to_value(failure)?),
            silent,
        )
        .await
    }

    async fn send(&mut self, reply: &varlink::Reply, silent: bool) -> io::Result<()> {
        if silent {
            return Ok(());
        }
        let bytes = varlink::encode(reply)?;
        tokio::time::timeout(WRITE, self.stream.write_all(&bytes))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }
}

/// Returns when the caller has gone away. Calls that it has sent ahead stay unread.
async fn hung_up(stream: &UnixStream) {
    loop {
        let Ok(ready) = stream
            .ready(tokio::io::Interest::READABLE | tokio::io::Interest::ERROR)
            .await
        else {
            return;
        };
        if ready.is_read_closed() || ready.is_error() {
            return;
        }
        // Readable, but not closed: a call sent ahead. It cannot be waited past without reading it,
        // so now and then it is looked again.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn stopping() -> Failure {
    failure(
        Code::NotRunning,
        "the daemon is stopping",
        "ggen mcp server status",
    )
}

fn info() -> varlink::Reply {
    let parameters = json!({
        "vendor": "ggen",
        "product": "ggend",
        "version": ggen_wire::VERSION,
        "url": "",
        "interfaces": ["org.varlink.service", control::INTERFACE],
    });
    varlink::Reply {
        parameters,
        continues: false,
        error: None,
    }
}

fn description(request: &Request) -> varlink::Reply {
    match request
        .parameters
        .get("interface")
        .and_then(serde_json::Value::as_str)
    {
        Some(control::INTERFACE) => varlink::Reply {
            parameters: json!({ "description": DESCRIPTION }),
            continues: false,
            error: None,
        },
        Some(other) => varlink::Reply::error(
            varlink::errors::INTERFACE_NOT_FOUND,
            json!({ "interface": other }),
        ),
        None => varlink::Reply::error(
            varlink::errors::INVALID_PARAMETER,
            json!({ "parameter": "interface" }),
        ),
    }
}
