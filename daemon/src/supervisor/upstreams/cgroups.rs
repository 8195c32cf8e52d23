//! A control group for each server, where a part of the hierarchy is ours (`platform/cgroup`): made
//! before the server is started, looked at while it runs, ended and removed after its shim has
//! swept - also what an earlier life of ours has left. Where there is none, everything works
//! without, but for a server that has a limit which only a group can hold.

use crate::{
    config::{FamilyLimits, Size},
    ipc::launch::Launch,
    platform::{Controller, Group, GroupLimits, GroupUse, Tree, safe_name},
    supervisor::{Supervisor, upstreams::shims::ShimId},
};
use ggen_wire::{Code, status};
use std::{io, time::Duration};

/// How long what is killed may take to end before its group is left behind.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a group that is ending.
const LOOK: Duration = Duration::from_millis(20);

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
    look_at: Duration,
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
            Self::Unheld(_) => (
                Code::SandboxUnavailable,
                Some(crate::supervisor::processes::restart_backoff::EX_CONFIG),
            ),
        }
    }
}

impl Cgroups {
    /// Finds what is ours. `moved`: the binary before us has put this process into its group.
    pub(crate) fn start(moved: bool) -> Self {
        let mut tree = Tree::take();
        if let Ok(tree) = &mut tree {
            tree.resume(moved);
        }
        Self {
            tree,
            ending: Vec::new(),
            look_at: Duration::ZERO,
        }
    }

    /// Says what there is.
    pub(crate) fn tell(&self) {
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
    pub(crate) fn has_moved(&self) -> bool {
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
    pub(crate) fn status(&self) -> status::Cgroups {
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
    fn make(
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
    fn end(&mut self, group: Group, now: Duration) {
        group.kill();
        if group.remove().is_err() {
            self.ending.push(Ending {
                group,
                until: now + PATIENCE,
            });
            self.look_at = now + LOOK;
        }
    }

    /// What is due by now.
    pub(crate) fn on_time(&mut self, now: Duration) {
        if self.ending.is_empty() || now < self.look_at {
            return;
        }
        self.look_at = now + LOOK;
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
    pub(crate) fn deadline(&self) -> Option<Duration> {
        (!self.ending.is_empty()).then_some(self.look_at)
    }

    /// Whether no group is still ending.
    pub(crate) fn is_quiet(&self) -> bool {
        self.ending.is_empty()
    }

    /// Leaves the hierarchy as it was found.
    pub(crate) fn leave(&mut self) {
        if let Ok(tree) =
            std::mem::replace(&mut self.tree, Err("the daemon is stopping".to_owned()))
        {
            tree.leave();
        }
    }
}

impl Supervisor {
    /// A place for a server that is about to be started: number `life` of its lives.
    pub(crate) fn place(
        &self,
        server: &str,
        life: &str,
        launch: &mut Launch,
    ) -> Result<(), NotStarted> {
        let family = launch
            .sandbox
            .as_ref()
            .map(|sandbox| sandbox.limits.family)
            .unwrap_or_default();
        launch.group = self
            .cgroups
            .make(server, life, self.shims.last + 1, family)?;
        Ok(())
    }

    /// Ends the groups of servers that are none of ours: an earlier life of the daemon has left
    /// them.
    pub(crate) fn clear_cgroups(&mut self) {
        let Ok(tree) = &self.cgroups.tree else { return };
        let known: Vec<String> = self
            .shims
            .all
            .values()
            .filter_map(|shim| shim.group.as_ref())
            .map(|group| group.name().to_owned())
            .collect();
        let now = self.now();
        for group in tree
            .groups()
            .into_iter()
            .filter(|group| !known.iter().any(|name| name == group.name()))
        {
            tracing::info!(target: "tools", group = group.name(), "a server's control group is left from before; it is ended");
            self.cgroups.end(group, now);
        }
    }

    /// The servers' groups, by shim: what they have, and who was killed for want of memory since
    /// the last look.
    pub(crate) fn look_at_cgroups(&mut self) -> Vec<(ShimId, GroupUse)> {
        let mut found = Vec::new();
        for (id, shim) in &mut self.shims.all {
            let Some(group) = &shim.group else { continue };
            found.push((*id, group.usage()));
            let (killed, met) = group.killed_for_memory();
            if killed > shim.killed_for_memory {
                let why = starved(killed - shim.killed_for_memory, met);
                tracing::warn!(target: "tools", upstream = %shim.name, code = %Code::UpstreamOutOfMemory, "{why}");
                shim.killed_for_memory = killed;
            }
        }
        found
    }

    /// A server is over, and its shim has swept: the last word on what it used, then its group
    /// goes. Returns what the kernel killed it for, if it did.
    pub(crate) fn end_cgroup(&mut self, id: ShimId, group: Group, told: u64) -> Option<String> {
        let now = self.now();
        let (usage, (killed, met)) = (group.usage(), group.killed_for_memory());
        if let Some(ms) = usage.cpu_ms {
            self.last_usage(id, ms);
        }
        self.cgroups.end(group, now);
        (killed > told).then(|| starved(killed - told, met))
    }

    fn last_usage(&mut self, id: ShimId, ms: u64) {
        if let Some(upstream) = self
            .upstreams
            .iter()
            .find(|upstream| upstream.shim() == Some(id))
        {
            let name = upstream.name.clone();
            self.metrics.cpu_of_shared_child(&name, ms);
        } else {
            self.last_lease_usage(id, ms);
        }
    }
}

fn starved(count: u64, met: bool) -> String {
    let limit = if met {
        "sandbox.limits.family.memory was reached"
    } else {
        "the host ran out of memory"
    };
    let who = if count == 1 {
        "1 process".to_owned()
    } else {
        format!("{count} processes")
    };
    format!("{limit}, and the kernel killed {who}")
}
