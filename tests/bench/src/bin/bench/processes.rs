//! What Linux says about processes: processor time to the nanosecond (`/proc/PID/task/*/schedstat`,
//! proc_pid_schedstat(5)), memory as Pss (`/proc/PID/smaps_rollup`), and which core the driver runs
//! on.

use super::Failure;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;
use std::{fs, sync::OnceLock};

/// Processes whose work is counted together, each with a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group(pub(crate) Vec<(String, u32)>);

/// Memory of one process.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    /// Its name.
    pub(crate) process: String,
    /// Its share of what it maps, in KiB.
    pub(crate) pss_kib: u64,
}

impl Group {
    /// Processor time of each, in nanoseconds since its start.
    ///
    /// # Errors
    /// One of them is gone.
    pub(crate) fn cpu(&self) -> Result<Vec<(String, u64)>, Failure> {
        self.0
            .iter()
            .map(|(name, pid)| Ok((name.clone(), cpu(*pid)?)))
            .collect()
    }

    /// Memory of each.
    ///
    /// # Errors
    /// One of them is gone.
    pub(crate) fn memory(&self) -> Result<Vec<Memory>, Failure> {
        self.0
            .iter()
            .map(|(name, pid)| {
                Ok(Memory {
                    process: name.clone(),
                    pss_kib: pss(*pid)?,
                })
            })
            .collect()
    }
}

fn cpu(pid: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text
            .split(' ')
            .next()
            .ok_or("empty schedstat")?
            .parse::<u64>()?;
    }
    Ok(sum)
}

fn pss(pid: u32) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .ok_or("no Pss in smaps_rollup")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The direct children of a process.
///
/// # Errors
/// It is gone.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>, Failure> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("children"))?;
        for child in text.split_ascii_whitespace() {
            found.push(child.parse()?);
        }
    }
    Ok(found)
}

/// The arguments of a process, without its program.
///
/// # Errors
/// It is gone.
pub(crate) fn arguments(pid: u32) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    Ok(text
        .split_terminator('\0')
        .skip(1)
        .map(str::to_owned)
        .collect())
}

/// The cores that we were given at the start.
static GIVEN: OnceLock<CpuSet> = OnceLock::new();

/// Keeps this thread, and what it starts from now on, to the last core that it may use. Best
/// effort: with one core there is nothing to choose.
pub(crate) fn keep_to_last_core() {
    let Ok(given) = sched_getaffinity(Pid::from_raw(0)) else {
        return;
    };
    let Some(last) = (0..CpuSet::count())
        .rev()
        .find(|core| given.is_set(*core).unwrap_or(false))
    else {
        return;
    };
    GIVEN.set(given).unwrap_or_default();
    let mut one = CpuSet::new();
    if one.set(last).is_ok() {
        sched_setaffinity(Pid::from_raw(0), &one).unwrap_or_default();
    }
}

/// Lets a process that was started later use all cores again.
pub(crate) fn allow_all_cores(pid: u32) {
    if let (Some(given), Ok(pid)) = (GIVEN.get(), i32::try_from(pid)) {
        sched_setaffinity(Pid::from_raw(pid), given).unwrap_or_default();
    }
}
