//! Another binary in the place of the running one: the same process, sockets, servers and sessions.
//! It proves first, as a child, that it can read the configuration and the state ([`check`]);
//! whatever fails up to then changes nothing. Then everything is handed over (`exec.rs`), and
//! what the new binary does first is to replace the workers one by one, by the way of `Restart`
//! (`workers/rolling_restart.rs`).

mod binary;
mod check;
mod children;
mod counters;
mod exec;
mod fd_table;
mod sockets;
mod state;

pub use check::check;
pub(super) use exec::Handed;
pub(crate) use state::{Arrived, arrived};

use crate::{
    config::{self, Loaded},
    platform::{self, Ended},
    supervisor::{
        Supervisor,
        channels::{Owner, PausedChannel},
        control::calls::failure,
        event::{Event, Reply},
        processes::reaper::ChildKind,
        reload,
    },
};
use binary::Binary;
use ggen_wire::{
    Code,
    control::{Body, Failure},
};
use nix::sys::signal::Signal;
use state::State;
use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// How long the new binary may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of what it says is kept, in bytes.
const WORDS: u64 = 1 << 10;

/// How far it has come.
#[derive(Default)]
enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The new binary proves itself.
    Checking(Box<Checking>),
    /// It has; the loop is to end.
    Due(Box<Successor>),
    /// Everything is being put together for it.
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

/// Who takes over, and who wants that.
pub(super) struct Successor {
    binary: Binary,
    version: String,
    files: Vec<(PathBuf, String)>,
    watcher: Option<Reply>,
    /// Lines of progress are wanted.
    more: bool,
}

/// An upgrade, if one is under way.
#[derive(Default)]
pub(crate) struct Upgrade {
    stage: Stage,
    rests: BTreeMap<Owner, PausedChannel>,
}

impl Upgrade {
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
        if let Stage::Checking(checking) = &self.stage {
            Some(checking.until)
        } else {
            None
        }
    }
}

/// Says that nothing has changed, and why.
fn refused(why: &str) -> Failure {
    let message = format!("the running binary goes on: {why}");
    tracing::error!(target: "mcp_server", event = "upgrade_refused", code = %Code::UpgradeRefused, "{message}");
    failure(
        Code::UpgradeRefused,
        &message,
        "ggen mcp explain GGEN-E6013",
    )
}

impl Supervisor {
    /// Has a binary prove that it can take over.
    pub(crate) fn begin_upgrade(&mut self, path: Option<String>, reply: Reply, more: bool) {
        if let Some(why) = self.not_now() {
            return reply.last(Err(refused(why)));
        }
        match self.start_check(path.as_deref()) {
            Ok((successor, proof, pid)) => {
                let path = successor.binary.path.display().to_string();
                tracing::info!(target: "mcp_server", event = "upgrading", binary = path, pid, "a new binary is checked");
                if more {
                    reply.progress(Body::Done(format!("checking {path}")));
                }
                let successor = Successor {
                    watcher: Some(reply),
                    more,
                    ..successor
                };
                let until = self.now() + PATIENCE;
                self.upgrade.stage = Stage::Checking(Box::new(Checking {
                    successor,
                    proof,
                    pid,
                    until,
                    ended: None,
                    said: None,
                }));
            }
            Err(why) => reply.last(Err(refused(&why))),
        }
    }

    /// Why an upgrade cannot begin now.
    fn not_now(&self) -> Option<&'static str> {
        if self.stop.is_stopping() {
            return Some("it is stopping");
        }
        if !matches!(self.upgrade.stage, Stage::Idle) {
            return Some("another upgrade is under way");
        }
        if !matches!(self.reload.stage, reload::Stage::Idle) {
            return Some("a reload is under way");
        }
        (!self.workers.rolling.is_empty()).then_some("workers are being replaced")
    }

    fn start_check(&mut self, path: Option<&str>) -> Result<(Successor, String, u32), String> {
        let binary = Binary::find(path)?;
        let files = self.files_in_force()?;
        let state = State::pack(self, files.clone(), &BTreeMap::new(), None);
        let text = serde_json::to_vec(&state).map_err(|error| error.to_string())?;
        let proof = check::proof(&text);
        let text = platform::sealed(&text).map_err(|error| error.to_string())?;
        let arguments = std::env::args_os().skip(1).chain(["upgrade-check".into()]);
        let mut command = Command::new(&binary.path);
        command
            .arg0("ggend")
            .args(arguments)
            .stdin(Stdio::from(text))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| format!("{} cannot be executed: {error}", binary.path.display()))?;
        let pid = child.id();
        self.pids.insert(pid, ChildKind::Check);
        let (stdout, stderr) = (
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        );
        let events = self.events.clone();
        tokio::spawn(async move {
            let said = tokio::join!(words(stdout), words(stderr));
            events.send(Event::Checked(pid, said.0, said.1)).await.ok();
        });
        let successor = Successor {
            binary,
            version: String::new(),
            files,
            watcher: None,
            more: false,
        };
        Ok((successor, proof, pid))
    }

    /// The texts of the files of the configuration in force. What they say now has to be that
    /// configuration: an upgrade puts no other one in force.
    fn files_in_force(&self) -> Result<Vec<(PathBuf, String)>, String> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((path.clone(), text))
        };
        let files = self
            .loaded
            .files
            .iter()
            .map(read)
            .collect::<Result<Vec<_>, String>>()?;
        let options = config::LoadOptions {
            instead: files.clone(),
            ..self.load_options.clone()
        };
        let problems = |problems: Vec<config::Problem>| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let Loaded {
            config, stopped, ..
        } = config::load(&options)
            .map_err(problems)?
            .with_stopped(&self.stopped);
        if config != self.loaded.config || stopped != self.loaded.stopped {
            return Err("the configuration files have changed since they were read: ggen mcp server reload comes first".to_owned());
        }
        Ok(files)
    }

    /// The binary that is checked has ended.
    pub(crate) fn upgrade_checked(&mut self, ended: Ended) {
        if let Stage::Checking(checking) = &mut self.upgrade.stage {
            // It may have left others, who hold its output open.
            platform::signal_group(checking.pid, Signal::SIGKILL);
            checking.ended = Some(ended);
            self.judge();
        }
    }

    /// Everything that it had to say.
    pub(crate) fn upgrade_said(&mut self, pid: u32, stdout: String, stderr: String) {
        if let Stage::Checking(checking) = &mut self.upgrade.stage
            && checking.pid == pid
        {
            checking.said = Some((stdout, stderr));
            self.judge();
        }
    }

    /// What is due by now.
    pub(crate) fn upgrade_on_time(&mut self, now: Duration) {
        if let Stage::Checking(checking) = &self.upgrade.stage
            && (checking.until <= now || self.stop.is_stopping())
        {
            platform::signal_group(checking.pid, Signal::SIGKILL);
            let why = if self.stop.is_stopping() {
                "it is stopping"
            } else {
                "the new binary did not prove in time that it can take over"
            };
            self.end_check(why);
        }
    }

    fn end_check(&mut self, why: &str) {
        if let Stage::Checking(checking) = std::mem::take(&mut self.upgrade.stage) {
            let failure = refused(why);
            checking
                .successor
                .watcher
                .into_iter()
                .for_each(|watcher| watcher.last(Err(failure.clone())));
        }
    }

    fn judge(&mut self) {
        let Stage::Checking(checking) = &self.upgrade.stage else {
            return;
        };
        let (Some(ended), Some((stdout, stderr))) = (checking.ended, &checking.said) else {
            return;
        };
        let path = checking.successor.binary.path.display();
        if ended != Ended::Exited(0) {
            let words = if stderr.is_empty() {
                String::new()
            } else {
                format!(": {stderr}")
            };
            let why = format!("{path} upgrade-check: {ended}{words}");
            return self.end_check(&why);
        }
        // Any program may end well and say something.
        let line = stdout.lines().next().and_then(|line| line.split_once(' '));
        let Some((version, _)) =
            line.filter(|(version, proof)| version.len() < 100 && *proof == checking.proof)
        else {
            let why = format!("{path} upgrade-check does not prove that it has read the state");
            return self.end_check(&why);
        };
        let version = version.to_owned();
        // It took its time.
        if let Some(why) = self.reload_or_roll() {
            return self.end_check(why);
        }
        if let Stage::Checking(checking) = std::mem::take(&mut self.upgrade.stage) {
            self.upgrade.stage = Stage::Due(Box::new(Successor {
                version,
                ..checking.successor
            }));
        }
    }

    fn reload_or_roll(&self) -> Option<&'static str> {
        let busy =
            !matches!(self.reload.stage, reload::Stage::Idle) || !self.workers.rolling.is_empty();
        busy.then_some("a reload or a restart of workers has begun meanwhile")
    }

    /// A channel is heard by nobody any more.
    pub(crate) fn paused(&mut self, whose: Owner, rest: PausedChannel) {
        self.heard.remove(&whose);
        self.upgrade.rests.insert(whose, rest);
    }
}

/// What a child says, up to [`WORDS`]; what is more keeps it waiting for nobody.
async fn words(pipe: Option<OwnedFd>) -> String {
    let Some(mut pipe) = pipe.and_then(|pipe| pipe::Receiver::from_owned_fd(pipe).ok()) else {
        return String::new();
    };
    let mut text = Vec::new();
    (&mut pipe).take(WORDS).read_to_end(&mut text).await.ok();
    String::from_utf8_lossy(&text).trim().to_owned()
}
