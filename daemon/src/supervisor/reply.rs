//! Calls at the control socket as the supervisor's loop sees them, and the way back to the caller.

use crate::platform::Peer;
use ggen_wire::{
    Code,
    control::{Body, Call, Failure},
};
use tokio::sync::mpsc;

/// A failure with the daemon's version.
pub(crate) fn failure(code: Code, message: &str, help: &str) -> Failure {
    Failure {
        version: ggen_wire::VERSION.to_owned(),
        code,
        message: message.to_owned(),
        help: help.to_owned(),
    }
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

/// The way back to a caller. It never blocks: a caller that does not read loses lines of progress,
/// not the last reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply(pub(crate) mpsc::Sender<Answer>);

/// One reply.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Another one follows.
    Progress(Body),
    /// The last one.
    Last(Result<Body, Failure>),
    /// The connection is wanted: another process answers the caller.
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

    /// Takes the connection over, once all replies before this are written. `None`: the caller has
    /// gone away.
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
