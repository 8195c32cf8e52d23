//! What /proc says about processes and listening sockets. Best effort: on other systems than Linux
//! it finds nothing.

use nix::unistd::{SysconfVar, sysconf};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

/// One process, as `/proc/<pid>/stat` describes it (`proc_pid_stat(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// User and system time since its start, in milliseconds.
    pub cpu_ms: u64,
}

/// Memory and processor time of one process or of a whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// User and system time in milliseconds.
    pub cpu_ms: u64,
    /// Processes.
    #[serde(default)]
    pub processes: u32,
    /// Memory that is charged to it, the cache of its files included, where somebody counts that.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

impl Usage {
    /// Of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rss_bytes: self.rss_bytes + other.rss_bytes,
            cpu_ms: self.cpu_ms + other.cpu_ms,
            processes: self.processes + other.processes,
            memory_bytes: self
                .memory_bytes
                .or(other.memory_bytes)
                .map(|_| self.memory_bytes.unwrap_or(0) + other.memory_bytes.unwrap_or(0)),
        }
    }

    /// What it has used stays; what it has is over.
    #[must_use]
    pub const fn ended(self) -> Self {
        Self {
            rss_bytes: 0,
            cpu_ms: self.cpu_ms,
            processes: 0,
            memory_bytes: None,
        }
    }

    /// What is counted for the whole group of these processes is better known than what is seen of
    /// each.
    #[must_use]
    pub fn counted(self, group: super::GroupUse) -> Self {
        let cpu_ms = group.cpu_ms.unwrap_or(self.cpu_ms);
        Self {
            rss_bytes: self.rss_bytes,
            cpu_ms,
            processes: group.processes,
            memory_bytes: group.memory_bytes,
        }
    }
}

/// Every process that we may see.
#[must_use]
pub fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// One process.
#[must_use]
pub fn process(pid: u32) -> Option<Process> {
    parse(
        pid,
        &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?,
    )
}

/// How long the first thread of a process has waited for a processor in its life: `run_delay` of
/// the kernel's schedstat. `None`: there is no such process, or the system does not tell.
#[must_use]
pub fn waited_for_processor(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn parse(pid: u32, stat: &str) -> Option<Process> {
    // The name in parentheses may hold anything, parentheses and spaces included: what follows the
    // last one is what counts.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    let setting = |name, otherwise| {
        sysconf(name)
            .ok()
            .flatten()
            .and_then(|value| u64::try_from(value).ok())
            .unwrap_or(otherwise)
            .max(1)
    };
    Some(Process {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        group: u32::try_from(number(2)?).ok()?,
        cpu_ms: (number(11)? + number(12)?) * 1000 / setting(SysconfVar::CLK_TCK, 100),
        rss_bytes: number(21)? * setting(SysconfVar::PAGE_SIZE, 4096),
    })
}

/// Adds up, for each root, the processes below it and those in the root's own process group. One
/// walk over the table for all roots.
#[must_use]
pub fn usage_of_trees(table: &[Process], roots: &[u32]) -> BTreeMap<u32, Usage> {
    let mut below: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in table {
        below.entry(process.parent).or_default().push(process);
    }
    let tree = |root: u32| {
        let mut seen = BTreeSet::new();
        let mut sum = Usage::default();
        let mut open: Vec<&Process> = table
            .iter()
            .filter(|process| process.pid == root || process.group == root)
            .collect();
        while let Some(process) = open.pop() {
            if seen.insert(process.pid) {
                sum.rss_bytes += process.rss_bytes;
                sum.cpu_ms += process.cpu_ms;
                sum.processes += 1;
                open.extend(below.get(&process.pid).into_iter().flatten());
            }
        }
        sum
    };
    roots.iter().map(|root| (*root, tree(*root))).collect()
}

/// `pid 1234 (name)` of who listens on a TCP address, if it can be found out.
#[must_use]
pub fn who_listens(address: SocketAddr) -> Option<String> {
    // TCP_LISTEN
    who_holds(
        if address.is_ipv4() {
            "/proc/self/net/tcp"
        } else {
            "/proc/self/net/tcp6"
        },
        address.port(),
        "0A",
    )
}

/// The same of who has bound a UDP port.
#[must_use]
pub fn who_holds_udp(address: SocketAddr) -> Option<String> {
    // TCP_CLOSE, which stands for sockets without a peer.
    who_holds(
        if address.is_ipv4() {
            "/proc/self/net/udp"
        } else {
            "/proc/self/net/udp6"
        },
        address.port(),
        "07",
    )
}

fn who_holds(file: &str, port: u16, state: &str) -> Option<String> {
    let port = format!(":{port:04X}");
    let inodes: Vec<String> = std::fs::read_to_string(file)
        .ok()?
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let listening = *fields.get(3)? == state && fields.get(1)?.ends_with(&port);
            listening.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
        })
        .collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(open) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let holds = |link: std::path::PathBuf| {
            inodes
                .iter()
                .any(|inode| link.as_os_str() == inode.as_str())
        };
        if open
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .any(holds)
        {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("pid {pid} ({})", name.trim()));
        }
    }
    None
}

/// Whether a process is stopped by a signal or a debugger (`T`, `t`); `None`: there is none, or the
/// system does not tell.
#[must_use]
pub fn is_stopped(pid: u32) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    Some(matches!(state, 'T' | 't'))
}

/// How many descriptors a process has open, and how many it may have (`RLIMIT_NOFILE`, soft).
#[must_use]
pub fn open_files(pid: u32) -> Option<(u64, u64)> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line
        .split_ascii_whitespace()
        .next()?
        .parse()
        .unwrap_or(u64::MAX);
    Some((u64::try_from(open).unwrap_or(u64::MAX), soft))
}

/// The descriptors of this process, counted without opening anything again.
pub struct OwnFiles(nix::dir::Dir);

impl OwnFiles {
    /// `None` where the system does not tell.
    #[must_use]
    pub fn open() -> Option<Self> {
        use nix::{fcntl::OFlag, sys::stat::Mode};
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::dir::Dir::open("/proc/self/fd", flags, Mode::empty())
            .ok()
            .map(Self)
    }

    /// How many there are, and how many there may be (`RLIMIT_NOFILE`, soft).
    pub fn count(&mut self) -> Option<(u64, u64)> {
        use nix::sys::resource::{Resource, getrlimit};
        let open = self
            .0
            .iter()
            .flatten()
            .filter(|entry| !entry.file_name().to_bytes().starts_with(b"."))
            .count();
        Some((
            u64::try_from(open).unwrap_or(u64::MAX),
            getrlimit(Resource::RLIMIT_NOFILE).ok()?.0,
        ))
    }
}

/// Who holds a `flock(2)` on a file (`proc_locks(5)`), without touching the lock; 0 is a process
/// that we cannot see.
#[must_use]
pub fn lock_holder(path: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", std::fs::metadata(path).ok()?.ino());
    std::fs::read_to_string("/proc/locks")
        .ok()?
        .lines()
        .find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let held = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&inode);
            held.then(|| fields.get(4).and_then(|pid| pid.parse().ok()).unwrap_or(0))
        })
}

/// Bytes and inodes that are free for us in a directory's file system (`statvfs(3)`). File systems
/// that count no inodes say so by `u64::MAX`.
#[must_use]
#[allow(
    clippy::useless_conversion,
    reason = "these counts have another width on other platforms"
)]
pub fn free_space(directory: &std::path::Path) -> Option<(u64, u64)> {
    let found = nix::sys::statvfs::statvfs(directory).ok()?;
    let inodes = if found.files() == 0 {
        u64::MAX
    } else {
        u64::from(found.files_available())
    };
    Some((
        u64::from(found.blocks_available()).saturating_mul(u64::from(found.fragment_size())),
        inodes,
    ))
}

/// Whether we may make files in a directory (`access(2)`).
#[must_use]
pub fn may_write(directory: &std::path::Path) -> bool {
    nix::unistd::access(
        directory,
        nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK,
    )
    .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 100 1000 10 18446744073709551615";
        let found = parse(7, line);
        assert_eq!(
            found,
            Some(Process {
                pid: 7,
                parent: 3,
                group: 7,
                rss_bytes: found.unwrap().rss_bytes,
                cpu_ms: 3000
            })
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_shares_a_processor_waits_and_who_is_stopped_does_not() {
        struct Ended(std::process::Child);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.kill().unwrap();
                self.0.wait().unwrap();
            }
        }
        let busy = || {
            let script = "taskset -cp 0 $$ >/dev/null; while :; do :; done";
            Ended(
                std::process::Command::new("sh")
                    .args(["-c", script])
                    .spawn()
                    .unwrap(),
            )
        };
        let (one, _other) = (busy(), busy());
        let Some(begun) = waited_for_processor(one.0.id()) else {
            return println!("skipped: this system does not tell how long processes wait");
        };
        let limit = std::time::Instant::now() + Duration::from_secs(60);
        while waited_for_processor(one.0.id()).unwrap() < begun + Duration::from_millis(200) {
            assert!(std::time::Instant::now() < limit, "it did not wait");
            std::thread::yield_now();
        }
        let pid = nix::unistd::Pid::from_raw(one.0.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        while is_stopped(one.0.id()) != Some(true) {
            std::thread::yield_now();
        }
        let stopped = waited_for_processor(one.0.id());
        let until = std::time::Instant::now() + Duration::from_millis(300);
        while std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(waited_for_processor(one.0.id()), stopped);
    }

    #[test]
    fn a_tree_counts_each_process_once() {
        let one = |pid, parent, group| Process {
            pid,
            parent,
            group,
            rss_bytes: 10,
            cpu_ms: 1,
        };
        let table = [
            one(5, 1, 5),
            one(6, 5, 5),
            one(7, 6, 7),
            one(8, 1, 5),
            one(9, 1, 9),
        ];
        assert_eq!(
            usage_of_trees(&table, &[5]).get(&5),
            Some(&Usage {
                rss_bytes: 40,
                cpu_ms: 4,
                processes: 4,
                memory_bytes: None
            })
        );
    }
}
