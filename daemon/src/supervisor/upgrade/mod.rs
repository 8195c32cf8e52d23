//! Another binary in the place of the running one: the same process, sockets, servers and sessions.
//! First it proves as a child that it can read the configuration and the state (`trial.rs`,
//! [`check`]); whatever fails up to then changes nothing. Then everything is saved ([`State`]), and
//! the binary is executed. What it does first is to replace the workers one by one.
//!
//! [`Upgrade`] is a machine: it takes what happens, and says when the loop is to end. The moment of
//! the handover is in `supervisor/handover.rs`, because all rooms take part in it.

mod binary;
mod check;
mod children;
mod counters;
mod fd_table;
mod handed;
mod sockets;
mod state;
mod trial;

pub(crate) use binary::Binary;
pub use check::check;
pub(crate) use handed::Handed;
pub(crate) use state::{Arrived, Rooms, State, arrived};
pub(crate) use trial::{Trial, files_in_force};

use super::{
    event::{Owner, PausedChannel},
    reply::{Reply, failure},
    signals::Asked,
};
use crate::platform::{self, Ended};
use ggen_wire::{
    Code,
    control::{Body, Failure},
};
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// How long the new binary may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far an upgrade has come.
#[derive(Default)]
enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The new binary proves itself.
    Checking(Box<Checking>),
    /// It has; the loop is to end.
    Due(Box<Successor>),
    /// Everything is being handed over to it.
    Handing,
}

struct Checking {
    successor: Successor,
    /// What only who has read the state can say.
    proof: String,
    pid: u32,
    until: Duration,
    ended: Option<Ended>,
    said: Option<(String, String)>,
}

impl Checking {
    /// Whether the binary has proved itself: its version, or why not. `None`: it is not over.
    fn verdict(&self) -> Option<Result<String, String>> {
        let (ended, (stdout, stderr)) = (self.ended?, self.said.as_ref()?);
        let path = self.successor.binary.path.display();
        if ended != Ended::Exited(0) {
            let colon = if stderr.is_empty() { "" } else { ": " };
            return Some(Err(format!("{path} upgrade-check: {ended}{colon}{stderr}")));
        }
        // Any program may end well and say something.
        let line = stdout.lines().next().and_then(|line| line.split_once(' '));
        let proved = line.filter(|(version, proof)| version.len() < 100 && *proof == self.proof);
        Some(match proved {
            Some((version, _)) => Ok(version.to_owned()),
            None => Err(format!(
                "{path} upgrade-check does not prove that it has read the state"
            )),
        })
    }
}

/// The binary that takes over, and who wants that.
pub(crate) struct Successor {
    pub(crate) binary: Binary,
    pub(crate) version: String,
    /// The texts of the configuration in force.
    pub(crate) files: Vec<(PathBuf, String)>,
    pub(crate) watcher: Reply,
    /// Lines of progress are wanted.
    pub(crate) more: bool,
}

/// What the new binary says once it has replaced the workers, and to whom.
pub(crate) struct TakenOver {
    pub(crate) outcome: String,
    pub(crate) watcher: Option<Reply>,
}

/// An upgrade, if one is under way.
#[derive(Default)]
pub(crate) struct Upgrade {
    stage: Stage,
    /// Channels that nobody reads during the handover.
    paused: BTreeMap<Owner, PausedChannel>,
    /// Signals that the new binary is to get.
    signals: Vec<Asked>,
    /// This binary has taken over.
    taken_over: Option<TakenOver>,
}

impl Upgrade {
    /// Whether none is under way.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Whether the loop is to end for it.
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self.stage, Stage::Due(_))
    }

    /// Whether nothing new may begin.
    pub(crate) const fn is_handing(&self) -> bool {
        matches!(self.stage, Stage::Handing)
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Checking(checking) => Some(checking.until),
            _ => None,
        }
    }

    /// A binary is being tried.
    pub(crate) fn begin(&mut self, trial: Trial, watcher: Reply, more: bool, now: Duration) {
        let Trial {
            binary,
            files,
            proof,
            pid,
        } = trial;
        let path = binary.path.display().to_string();
        tracing::info!(target: "mcp_server", event = "upgrading", binary = path, pid, "a new binary is checked");
        if more {
            watcher.progress(Body::Done(format!("checking {path}")));
        }
        let successor = Successor {
            binary,
            version: String::new(),
            files,
            watcher,
            more,
        };
        self.stage = Stage::Checking(Box::new(Checking {
            successor,
            proof,
            pid,
            until: now + PATIENCE,
            ended: None,
            said: None,
        }));
    }

    /// The binary that is checked has ended. `busy`: why there can be no upgrade just now.
    pub(crate) fn ended(&mut self, ended: Ended, busy: Option<&str>) {
        if let Stage::Checking(checking) = &mut self.stage {
            // It may have left others, who hold its output open.
            platform::signal_group(checking.pid, Signal::SIGKILL);
            checking.ended = Some(ended);
            self.judge(busy);
        }
    }

    /// Everything that it has written to standard output and standard error.
    pub(crate) fn said(&mut self, pid: u32, stdout: String, stderr: String, busy: Option<&str>) {
        if let Stage::Checking(checking) = &mut self.stage
            && checking.pid == pid
        {
            checking.said = Some((stdout, stderr));
            self.judge(busy);
        }
    }

    fn judge(&mut self, busy: Option<&str>) {
        let Stage::Checking(checking) = &self.stage else {
            return;
        };
        let version = match (checking.verdict(), busy) {
            (None, _) => return,
            (Some(Err(why)), _) => return self.refuse(&why),
            // It took its time.
            (Some(Ok(_)), Some(busy)) => return self.refuse(busy),
            (Some(Ok(version)), None) => version,
        };
        if let Stage::Checking(checking) = std::mem::take(&mut self.stage) {
            self.stage = Stage::Due(Box::new(Successor {
                version,
                ..checking.successor
            }));
        }
    }

    /// Ends the check if its time is up, or if the daemon is stopping.
    pub(crate) fn on_time(&mut self, now: Duration, stopping: bool) {
        if let Stage::Checking(checking) = &self.stage
            && (checking.until <= now || stopping)
        {
            platform::signal_group(checking.pid, Signal::SIGKILL);
            self.refuse(if stopping {
                "it is stopping"
            } else {
                "the new binary did not prove in time that it can take over"
            });
        }
    }

    fn refuse(&mut self, why: &str) {
        if let Stage::Checking(checking) = std::mem::take(&mut self.stage) {
            checking.successor.watcher.last(Err(refused(why)));
        }
    }

    /// The handover begins, if it is due.
    pub(crate) fn begin_handover(&mut self) -> Option<Successor> {
        match std::mem::take(&mut self.stage) {
            Stage::Due(successor) => {
                self.stage = Stage::Handing;
                Some(*successor)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// A channel is not read any more.
    pub(crate) fn paused(&mut self, owner: Owner, channel: PausedChannel) {
        self.paused.insert(owner, channel);
    }

    /// The channels that nobody reads.
    pub(crate) const fn paused_channels(&self) -> &BTreeMap<Owner, PausedChannel> {
        &self.paused
    }

    /// Keeps a signal for the new binary.
    pub(crate) fn keep_signal(&mut self, asked: Asked) {
        self.signals.push(asked);
    }

    /// Raises the signals that were kept.
    pub(crate) fn raise_signals(&mut self) {
        self.signals.drain(..).for_each(Asked::raise);
    }

    /// The handover has failed. Returns the channels that are to be read again.
    pub(crate) fn end_handover(&mut self) -> BTreeMap<Owner, PausedChannel> {
        self.stage = Stage::Idle;
        std::mem::take(&mut self.paused)
    }

    /// This binary has taken over.
    pub(crate) fn taken_over(&mut self, taken_over: TakenOver) {
        self.taken_over = Some(taken_over);
    }

    /// What there is to say once the workers are replaced.
    pub(crate) fn take_taken_over(&mut self) -> Option<TakenOver> {
        self.taken_over.take()
    }
}

/// Says that nothing has changed, and why.
pub(crate) fn refused(why: &str) -> Failure {
    let message = format!("the running binary goes on: {why}");
    tracing::error!(target: "mcp_server", event = "upgrade_refused", code = %Code::UpgradeRefused, "{message}");
    failure(
        Code::UpgradeRefused,
        &message,
        "ggen mcp explain GGEN-E6013",
    )
}

#[cfg(test)]
mod tests;
