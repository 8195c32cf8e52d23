//! A control group for each server, where a part of the hierarchy is ours (`platform/cgroup`): made
//! before the server is started, looked at while it runs, ended and removed after its shim has
//! swept - also what an earlier life of ours has left. Where there is none, everything works
//! without, but for a server that has a limit which only a group can hold.

use crate::{
    config::{FamilyLimits, Size},
    platform::{Controller, Group, GroupLimits, Tree, safe_name},
    supervisor::{event::ShimId, processes::restart_backoff::EX_CONFIG},
};
use ggen_wire::{Code, status};
use std::{io, time::Duration};

/// How long what is killed may take to end before its group is left behind.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a group that is ending.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// A group whose server is over.
struct Ending {
    group: Group,
    until: Duration,
}

/// The groups.
pub(crate) struct Cgroups {
    /// Or why there is none.
    tree: Result<Tree, String>,
    ending: Vec<Ending>,
    check_at: Duration,
}

/// Why a server was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    /// The system did not want to.
    #[error("{0}")]
    System(#[from] io::Error),
    /// What its entry asks for cannot be held.
    #[error("its sandbox cannot be had: {0}")]
    Unheld(String),
}

impl NotStarted {
    /// Its code, and the exit status that stands for it: what cannot be held now cannot be held at
    /// the next try.
    pub(crate) const fn verdict(&self) -> (Code, Option<i32>) {
        match self {
            Self::System(_) => (Code::Internal, None),
            Self::Unheld(_) => (Code::SandboxUnavailable, Some(EX_CONFIG)),
        }
    }
}

impl Cgroups {
    /// Finds what is ours. `moved`: the binary before us has put this process into its group.
    pub(super) fn start(moved: bool) -> Self {
        let mut tree = Tree::take();
        if let Ok(tree) = &mut tree {
            tree.resume(moved);
        }
        Self {
            tree,
            ending: Vec::new(),
            check_at: Duration::ZERO,
        }
    }

    /// There are none.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            tree: Err("this is a test".to_owned()),
            ending: Vec::new(),
            check_at: Duration::ZERO,
        }
    }

    /// Logs what there is.
    pub(super) fn log_place(&self) {
        match &self.tree {
            Ok(tree) => {
                let missing = tree
                    .missing()
                    .map_or_else(String::new, |why| format!("; not {why}"));
                tracing::info!(target: "mcp_server", "each server has a control group of its own below {} ({}){missing}", tree.path(), self.given());
            }
            Err(why) => {
                tracing::debug!(target: "mcp_server", "servers have no control groups of their own: {why}")
            }
        }
    }

    /// Whether [`Tree::has_moved`].
    pub(super) fn has_moved(&self) -> bool {
        self.tree.as_ref().is_ok_and(Tree::has_moved)
    }

    fn given(&self) -> String {
        let names: Vec<&str> = self
            .tree
            .iter()
            .flat_map(Tree::controllers)
            .map(Controller::as_str)
            .collect();
        if names.is_empty() {
            "no controllers".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// For the status.
    pub(super) fn status(&self) -> status::Cgroups {
        match &self.tree {
            Ok(tree) => status::Cgroups {
                place: Some(tree.path().to_owned()),
                controllers: tree
                    .controllers()
                    .map(|controller| controller.as_str().to_owned())
                    .collect(),
                reason: tree.missing().map(str::to_owned),
            },
            Err(why) => status::Cgroups {
                reason: Some(why.clone()),
                ..status::Cgroups::default()
            },
        }
    }

    /// A group for a server's life, with its limits in force. `None`: there are no groups, and none
    /// is needed.
    pub(super) fn make(
        &self,
        server: &str,
        life: &str,
        shim: ShimId,
        limits: FamilyLimits,
    ) -> Result<Option<Group>, NotStarted> {
        let wanted = !limits.is_none();
        let tree = match &self.tree {
            Ok(tree) => tree,
            Err(why) if wanted => {
                return Err(NotStarted::Unheld(format!(
                    "limits.family takes a control group: {why}"
                )));
            }
            Err(_) => return Ok(None),
        };
        let name = format!("{}-{life}", safe_name(server));
        // Another server's of the same name, or one of before that could not be removed.
        let made = tree.make(&name).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => tree.make(&format!("{name}-{shim}")),
            _ => Err(error),
        });
        let group = match made {
            Ok(group) => group,
            Err(error) if wanted => {
                return Err(NotStarted::Unheld(format!(
                    "limits.family takes a control group: {error}"
                )));
            }
            Err(error) => {
                tracing::warn!(target: "tools", upstream = server, error = %error, "no control group can be made; it runs without");
                return Ok(None);
            }
        };
        let bytes = |size: Size| size.0;
        let limits = GroupLimits {
            memory: limits.memory.map(bytes),
            processes: limits.processes,
            cpu_percent: limits.cpu_percent,
        };
        match group.limit(limits) {
            Ok(()) => Ok(Some(group)),
            Err(why) => {
                group.remove().unwrap_or_default();
                Err(NotStarted::Unheld(why))
            }
        }
    }

    /// Has whoever is left in a group killed, and the group removed.
    pub(super) fn end(&mut self, group: Group, now: Duration) {
        group.kill();
        if group.remove().is_err() {
            self.ending.push(Ending {
                group,
                until: now + PATIENCE,
            });
            self.check_at = now + CHECK_EVERY;
        }
    }

    /// What is due by now.
    pub(super) fn on_time(&mut self, now: Duration) {
        if self.ending.is_empty() || now < self.check_at {
            return;
        }
        self.check_at = now + CHECK_EVERY;
        self.ending.retain(|ending| {
            if ending.group.remove().is_ok() {
                return false;
            }
            if ending.until <= now {
                let name = ending.group.name();
                tracing::warn!(target: "tools", group = name, "a control group cannot be removed; what is in it cannot be killed");
                return false;
            }
            if !ending.group.is_empty() {
                ending.group.kill();
            }
            true
        });
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.ending.is_empty()).then_some(self.check_at)
    }

    /// Whether no group is still ending.
    pub(super) fn is_quiet(&self) -> bool {
        self.ending.is_empty()
    }

    /// Ends the groups of servers that are none of ours: an earlier life of the daemon has left
    /// them. `known`: the names of ours.
    pub(super) fn end_others(&mut self, known: &[String], now: Duration) {
        let Ok(tree) = &self.tree else { return };
        let groups = tree.groups();
        let is_other = |group: &Group| !known.iter().any(|name| name == group.name());
        for group in groups.into_iter().filter(is_other) {
            tracing::info!(target: "tools", group = group.name(), "a server's control group is left from before; it is ended");
            self.end(group, now);
        }
    }

    /// Leaves the hierarchy as it was found.
    pub(super) fn leave(&mut self) {
        if let Ok(tree) =
            std::mem::replace(&mut self.tree, Err("the daemon is stopping".to_owned()))
        {
            tree.leave();
        }
    }
}
