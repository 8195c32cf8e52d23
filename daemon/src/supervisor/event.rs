//! What reaches the supervisor's loop from the tasks around it, through one bounded queue.

use crate::{
    ipc::{launch::FromShim, messages::ToSupervisor},
    platform::Peer,
};
use ggen_wire::control::{Body, Call, Failure};
use tokio::sync::mpsc;

/// Number of a worker process, unique over the daemon's life.
pub(crate) type ProcId = u64;

/// One event.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker said something.
    Worker(ProcId, ToSupervisor),
    /// A worker's channel has closed; nothing more comes from it.
    WorkerClosed(ProcId),
    /// That channel is not heard any more, until it is again.
    Paused(super::channels::Owner, Box<super::channels::PausedChannel>),
    /// A worker does not read its channel: its queue is full.
    WorkerStuck(ProcId),
    /// A shim said something.
    Shim(u64, FromShim),
    /// A shim's channel has closed and its server's stderr has been read; `0` of the pair is the
    /// shim's number, the text the last line of stderr.
    ShimClosed(u64, String),
    /// The key store has changed.
    Keys(Box<crate::auth::Snapshot>),
    /// Something about the file with what has to outlive the daemon.
    Store(super::sessions::Outcome),
    /// The files of certificates have changed, and this is in them.
    Tls(Box<Result<super::secrets::Tls, crate::tls::Unusable>>),
    /// What the binary that is checked has said, on standard output and standard error.
    Checked(u32, String, String),
    /// Somebody at the control socket.
    Call(Incoming),
}

/// For the thread of the session store: passes on what it reports, and says whether anybody hears.
pub(crate) fn stored(
    events: &mpsc::Sender<Event>,
) -> impl Fn(super::sessions::Outcome) -> bool + Send + 'static {
    let events = events.clone();
    move |outcome| events.blocking_send(Event::Store(outcome)).is_ok()
}

/// A call at the control socket.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What is wanted.
    pub(crate) call: Call,
    /// Whether the caller takes several replies.
    pub(crate) more: bool,
    /// Who is asking.
    pub(crate) peer: Peer,
    /// Where the replies go; dropped when there are no more.
    pub(crate) reply: Reply,
}

/// The way back to a caller. Never blocks: a caller who does not read loses progress lines, not the
/// answer's end.
#[derive(Clone, Debug)]
pub(crate) struct Reply(pub(crate) mpsc::Sender<Answer>);

/// One reply.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Another one follows.
    Progress(Body),
    /// The last one.
    Last(Result<Body, Failure>),
    /// Give the connection away: somebody else answers.
    Leave(tokio::sync::oneshot::Sender<std::os::fd::OwnedFd>),
}

impl Reply {
    /// One of several replies.
    pub(crate) fn progress(&self, body: Body) {
        self.0.try_send(Answer::Progress(body)).unwrap_or_default();
    }

    /// The last reply.
    pub(crate) fn last(&self, result: Result<Body, Failure>) {
        self.0.try_send(Answer::Last(result)).unwrap_or_default();
    }

    /// Takes the connection away from who passes the answers on, once all before this are written.
    /// `None`: the caller has gone away.
    pub(crate) async fn leave(self) -> Option<std::os::fd::OwnedFd> {
        let (taker, taken) = tokio::sync::oneshot::channel();
        self.0.try_send(Answer::Leave(taker)).ok()?;
        taken.await.ok()
    }

    /// Whether the caller has gone away.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}
