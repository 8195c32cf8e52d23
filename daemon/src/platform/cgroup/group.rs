//! One control group in each hierarchy: who is in it, what it uses, its limits, and its end. Files
//! are read and written as `cgroups(7)` and the kernel's `cgroup-v2.rst` say.

use super::{Version, read};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Rounds of killing in one go, where the kernel does not kill a whole group by itself: what forks
/// meanwhile is in the next round.
const ROUNDS: usize = 16;
/// Groups within a group are gone into so deep.
const DEPTH: usize = 8;
/// So near to its limit of memory a group has met it, in bytes: the kernel counts in larger pieces
/// than pages.
const NEAR: u64 = 2 << 20;
/// `cpu.max` is told for a tenth of a second.
const PERIOD_US: u64 = 100_000;

/// The controllers that we have a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// Bytes.
    Memory,
    /// Processes and threads.
    Pids,
    /// Processor time.
    Cpu,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// As the kernel names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// What a whole group may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of memory, files in the cache and the kernel's own included.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processor time, in hundredths of one processor.
    pub cpu_percent: Option<u64>,
}

/// What a whole group has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupUse {
    /// Bytes of memory, where somebody counts them.
    pub memory_bytes: Option<u64>,
    /// Processor time in milliseconds, of who has ended too, where somebody counts it.
    pub cpu_ms: Option<u64>,
    /// Processes.
    pub processes: u32,
}

/// The group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    folder: PathBuf,
    version: Version,
    /// Those that it has there.
    controllers: Vec<Controller>,
}

/// A group of ours. The first part tells who is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    parts: Vec<Part>,
}

impl Group {
    pub(super) const fn none() -> Self {
        Self { parts: Vec::new() }
    }

    /// Makes it in one more hierarchy.
    pub(super) fn make_in(
        &mut self,
        folder: PathBuf,
        version: Version,
        controllers: Vec<Controller>,
    ) -> io::Result<()> {
        fs::create_dir(&folder)?;
        self.parts.push(Part {
            folder,
            version,
            controllers,
        });
        Ok(())
    }

    /// One that is there already.
    pub(super) fn found_in(&mut self, folder: PathBuf, version: Version) {
        self.parts.push(Part {
            folder,
            version,
            controllers: Vec::new(),
        });
    }

    /// Its last name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts
            .first()
            .and_then(|part| part.folder.file_name()?.to_str())
            .unwrap_or_default()
    }

    /// The files by which a process enters it, open for writing.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn membership_files(&self) -> io::Result<MembershipFiles> {
        let open = |part: &Part| {
            OpenOptions::new()
                .write(true)
                .open(part.folder.join("cgroup.procs"))
        };
        Ok(MembershipFiles(
            self.parts.iter().map(open).collect::<io::Result<_>>()?,
        ))
    }

    /// Puts limits in force for all who are and will be in it.
    ///
    /// # Errors
    /// Which limit cannot be held, and why.
    pub fn limit(&self, limits: GroupLimits) -> Result<(), String> {
        if let Some(bytes) = limits.memory {
            let part = self
                .part(Controller::Memory)
                .ok_or("limits.family.memory: there is no memory controller for us")?;
            let failed = |error| format!("limits.family.memory: {error}");
            match part.version {
                Version::V2 => {
                    write(&part.folder, "memory.max", &bytes.to_string()).map_err(failed)?;
                    // Otherwise it would be the host's swap that it uses up. Kernels without swap
                    // have no such file.
                    optional(write(&part.folder, "memory.swap.max", "0")).map_err(failed)?;
                    // Half of a server is no server.
                    optional(write(&part.folder, "memory.oom.group", "1")).map_err(failed)?;
                }
                Version::V1 => {
                    write(&part.folder, "memory.limit_in_bytes", &bytes.to_string())
                        .map_err(failed)?;
                    optional(write(
                        &part.folder,
                        "memory.memsw.limit_in_bytes",
                        &bytes.to_string(),
                    ))
                    .map_err(failed)?;
                }
            }
        }
        if let Some(count) = limits.processes {
            let part = self
                .part(Controller::Pids)
                .ok_or("limits.family.processes: there is no pids controller for us")?;
            write(&part.folder, "pids.max", &count.to_string())
                .map_err(|error| format!("limits.family.processes: {error}"))?;
        }
        if let Some(percent) = limits.cpu_percent {
            let part = self
                .part(Controller::Cpu)
                .ok_or("limits.family.cpu_percent: there is no cpu controller for us")?;
            let quota = percent.saturating_mul(PERIOD_US / 100);
            match part.version {
                Version::V2 => write(&part.folder, "cpu.max", &format!("{quota} {PERIOD_US}")),
                Version::V1 => write(&part.folder, "cpu.cfs_period_us", &PERIOD_US.to_string())
                    .and_then(|()| write(&part.folder, "cpu.cfs_quota_us", &quota.to_string())),
            }
            .map_err(|error| format!("limits.family.cpu_percent: {error}"))?;
        }
        Ok(())
    }

    /// What it has now.
    #[must_use]
    pub fn usage(&self) -> GroupUse {
        let memory = self
            .part(Controller::Memory)
            .and_then(|part| match part.version {
                Version::V2 => number(&part.folder, "memory.current"),
                Version::V1 => number(&part.folder, "memory.usage_in_bytes"),
            });
        // V2 counts time in every group, whatever controllers it has.
        let cpu = self.parts.iter().find_map(|part| match part.version {
            Version::V2 => Some(fields(&part.folder, "cpu.stat").get("usage_usec")? / 1000),
            Version::V1 => Some(number(&part.folder, "cpuacct.usage")? / 1_000_000),
        });
        let processes = u32::try_from(self.processes().len()).unwrap_or(u32::MAX);
        GroupUse {
            memory_bytes: memory,
            cpu_ms: cpu,
            processes,
        }
    }

    /// How many of its processes the kernel has killed for want of memory, and whether it was its
    /// own limit that they met.
    #[must_use]
    pub fn killed_for_memory(&self) -> (u64, bool) {
        let Some(part) = self.part(Controller::Memory) else {
            return (0, false);
        };
        let (file, met) = match part.version {
            Version::V2 => ("memory.events", "oom"),
            Version::V1 => ("memory.oom_control", ""),
        };
        let fields = fields(&part.folder, file);
        let killed = fields.get("oom_kill").copied().unwrap_or(0);
        let met = match part.version {
            Version::V2 => fields.get(met).is_some_and(|count| *count > 0),
            // Its counters of failures are not kept for every kind of limit; how far it came is.
            Version::V1 => {
                let (most, limit) = (
                    number(&part.folder, "memory.max_usage_in_bytes"),
                    number(&part.folder, "memory.limit_in_bytes"),
                );
                most.zip(limit)
                    .is_some_and(|(most, limit)| most.saturating_add(NEAR) >= limit)
            }
        };
        (killed, met)
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes().is_empty()
    }

    /// Kills whoever is in it. Returns at once; who cannot be killed now, a later call may find.
    pub fn kill(&self) {
        let Some(main) = self.parts.first() else {
            return;
        };
        if main.version == Version::V2 && write(&main.folder, "cgroup.kill", "1").is_ok() {
            return;
        }
        // Kernels before 5.14: nobody forks who is frozen, and a frozen process can be killed.
        let frozen =
            main.version == Version::V2 && write(&main.folder, "cgroup.freeze", "1").is_ok();
        for _ in 0..ROUNDS {
            let found = self.processes();
            if found.is_empty() {
                break;
            }
            found
                .into_iter()
                .for_each(|pid| crate::platform::signal_process(pid, Signal::SIGKILL));
        }
        if frozen {
            write(&main.folder, "cgroup.freeze", "0").unwrap_or_default();
        }
    }

    /// Removes its folders, and what was made in them.
    ///
    /// # Errors
    /// `ResourceBusy` while somebody is in it.
    pub fn remove(&self) -> io::Result<()> {
        self.parts
            .iter()
            .rev()
            .try_for_each(|part| remove(&part.folder, DEPTH))
    }

    fn part(&self, controller: Controller) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| part.controllers.contains(&controller))
    }

    fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        if let Some(main) = self.parts.first() {
            gather(&main.folder, DEPTH, &mut found);
        }
        found
    }
}

/// The way into a group, for a child between fork and exec.
pub struct MembershipFiles(Vec<File>);

impl MembershipFiles {
    /// Puts this process into the group. Makes one system call for each hierarchy and needs no
    /// memory.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|file| file.write_all(b"0"))
    }
}

/// Writes one of a group's files. Who is in the group may be of our own user and have taken the
/// right from us; we own the file, and take it back.
pub(super) fn write(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    let path = folder.join(file);
    // Never creates: what is not there, the kernel does not have.
    let open = || OpenOptions::new().write(true).open(&path);
    let opened = match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let give =
                |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
            give(folder, 0o755)
                .and_then(|()| give(&path, 0o644))
                .map_err(|_| error)?;
            open()
        }
        opened => opened,
    };
    opened?.write_all(text.as_bytes())
}

fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    read(&folder.join(file)).trim().parse().ok()
}

/// A file of lines `name number`.
fn fields(folder: &Path, file: &str) -> BTreeMap<String, u64> {
    let field = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    read(&folder.join(file)).lines().filter_map(field).collect()
}

fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(is_folder)
        .map(|entry| entry.path())
}

fn gather(folder: &Path, depth: usize, found: &mut Vec<u32>) {
    found.extend(
        read(&folder.join("cgroup.procs"))
            .lines()
            .filter_map(|pid| pid.parse::<u32>().ok()),
    );
    if depth > 0 {
        folders(folder).for_each(|inner| gather(&inner, depth - 1, found));
    }
}

fn remove(folder: &Path, depth: usize) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // It has groups of its own, or somebody is in it: the second try tells which.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && depth > 0 => {
            folders(folder).try_for_each(|inner| remove(&inner, depth - 1))?;
            fs::remove_dir(folder)
        }
        result => result,
    }
}
