//! The system call filters (`seccomp(2)`). A worker has two: a call that the first does not list
//! does not exist for it (ENOSYS, on which libraries fall back to older calls), and a call that the
//! second lists is refused (EPERM). The lists are in `syscalls`.

#![allow(unsafe_code, reason = "the crate does not tell what the kernel knows")]

use super::{
    Calls,
    syscalls::{FILES, HARMLESS, OLDER, OLDER_FILES, OLDER_REFUSED, REFUSED},
};
use nix::libc::{self, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::{collections::BTreeMap, io};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// For terminals and pipes: whether it is a terminal, how much is there, not to block, to close on
/// exec.
#[allow(
    clippy::unnecessary_cast,
    reason = "their type differs from one C library to the other"
)]
const IOCTLS: [u64; 5] = [
    libc::TCGETS as u64,
    libc::FIONREAD as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::FIONCLEX as u64,
];
/// `PR_SET_VMA`, with which glibc and the allocator give their memory names.
const PR_SET_VMA: u64 = 0x53_56_4d_41;
/// The settings of a process that workers use: names, and whether memory may be dumped.
const PRCTLS: [u64; 4] = [
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_GET_DUMPABLE as u64,
    PR_SET_VMA,
];

#[cfg(target_arch = "x86_64")]
const ARCH: Option<TargetArch> = Some(TargetArch::x86_64);
#[cfg(target_arch = "aarch64")]
const ARCH: Option<TargetArch> = Some(TargetArch::aarch64);
#[cfg(target_arch = "riscv64")]
const ARCH: Option<TargetArch> = Some(TargetArch::riscv64);
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
const ARCH: Option<TargetArch> = None;

/// Whether kernel and processor know filters.
pub(super) fn is_known() -> bool {
    /// `SECCOMP_GET_ACTION_AVAIL` (Linux 4.14).
    const ASK: libc::c_uint = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the call reads one number, which lives until it returns, and changes nothing.
    ARCH.is_some()
        && unsafe { libc::syscall(libc::SYS_seccomp, ASK, 0_u32, &raw const action) } == 0
}

/// The programs of a filter, in the order in which they are to be put in force.
pub(super) fn build(which: Calls) -> io::Result<Vec<BpfProgram>> {
    match which {
        Calls::Worker { files, connect } => {
            Ok(vec![known(files, connect)?, refused(files, connect)?])
        }
        Calls::Server {
            no_network,
            no_unix,
            no_truncate,
        } => Ok(vec![server(no_network, no_unix, no_truncate)?]),
    }
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> io::Result<BpfProgram> {
    let arch = ARCH.ok_or(io::ErrorKind::Unsupported)?;
    let filter = SeccompFilter::new(rules, otherwise, action, arch).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

/// The first filter of a worker: the calls that exist for it.
fn known(files: bool, connect: bool) -> io::Result<BpfProgram> {
    let mut all = [HARMLESS, OLDER].concat();
    if files {
        all.extend_from_slice(FILES);
        all.extend_from_slice(OLDER_FILES);
    }
    if connect {
        all.extend_from_slice(&[libc::SYS_socket, libc::SYS_connect]);
    }
    let rules: Rules = all.into_iter().map(|call| (call, Vec::new())).collect();
    program(
        rules,
        SeccompAction::Errno(errno(libc::ENOSYS)),
        SeccompAction::Allow,
    )
}

/// The second filter of a worker: calls that are refused whatever their arguments, and calls that
/// are refused with some arguments.
fn refused(files: bool, connect: bool) -> io::Result<BpfProgram> {
    let mut calls = [REFUSED, OLDER_REFUSED].concat();
    if !files {
        calls.extend([FILES, OLDER_FILES].concat());
    }
    if !connect {
        calls.extend([libc::SYS_socket, libc::SYS_connect]);
    }
    let mut rules: Rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    if connect {
        refuse_sockets(&mut rules)?;
    }
    refuse_socket_pairs(&mut rules)?;
    refuse_processes(&mut rules)?;
    refuse_new_code(&mut rules)?;
    refuse_settings(&mut rules)?;
    program(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::EPERM)),
    )
}

/// The numbers of the kinds of sockets outside `SOCK_STREAM..=most`.
fn other_kinds(most: u64) -> impl Iterator<Item = Vec<Condition>> {
    let first = libc::SOCK_STREAM as u64;
    (0..=0xf)
        .filter(move |kind| *kind < first || *kind > most)
        .map(|kind| vec![(1, Op::MaskedEq(0xf), kind)])
}

/// Sockets other than streams and datagrams of the Internet.
fn refuse_sockets(rules: &mut Rules) -> io::Result<()> {
    let mut socket = vec![vec![
        not(0, libc::AF_INET as u64),
        not(0, libc::AF_INET6 as u64),
    ]];
    // Streams and datagrams have the first two numbers on every processor.
    socket.extend(other_kinds(2));
    put(rules, libc::SYS_socket, socket)
}

/// Pairs of sockets other than Unix streams: a datagram socket of a pair could be pointed at
/// somebody else's.
fn refuse_socket_pairs(rules: &mut Rules) -> io::Result<()> {
    let mut pair = vec![vec![not(0, libc::AF_UNIX as u64)]];
    pair.extend(other_kinds(libc::SOCK_STREAM as u64));
    put(rules, libc::SYS_socketpair, pair)
}

/// New processes (threads are allowed), and signals to other processes.
fn refuse_processes(rules: &mut Rules) -> io::Result<()> {
    let no_thread = (0, Op::MaskedEq(libc::CLONE_THREAD as u64), 0);
    put(rules, libc::SYS_clone, vec![vec![no_thread]])?;
    put(rules, libc::SYS_tgkill, vec![vec![not(0, own_id())]])
}

/// Memory that can be written and executed, and memory that becomes executable.
fn refuse_new_code(rules: &mut Rules) -> io::Result<()> {
    let (write, execute) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    let both = (2, Op::MaskedEq(write | execute), write | execute);
    put(rules, libc::SYS_mmap, vec![vec![both]])?;
    let execute = (2, Op::MaskedEq(execute), execute);
    put(rules, libc::SYS_mprotect, vec![vec![execute]])
}

/// Requests to devices and settings of the process that workers do not use, and new limits.
fn refuse_settings(rules: &mut Rules) -> io::Result<()> {
    let other_requests = IOCTLS.iter().map(|number| not(1, *number)).collect();
    put(rules, libc::SYS_ioctl, vec![other_requests])?;
    let other_settings = PRCTLS.iter().map(|number| not(0, *number)).collect();
    put(rules, libc::SYS_prctl, vec![other_settings])?;
    let other_process = vec![not(0, 0), not(0, own_id())];
    // New limits come by a pointer.
    let new_limits = vec![not(2, 0)];
    put(rules, libc::SYS_prlimit64, vec![other_process, new_limits])
}

fn own_id() -> u64 {
    u64::from(std::process::id())
}

/// The filter of a server: it refuses what the sandbox of that server takes away, and io_uring, which
/// makes sockets and opens files without these calls.
fn server(no_network: bool, no_unix: bool, no_truncate: bool) -> io::Result<BpfProgram> {
    let mut rules = Rules::from([
        (libc::SYS_io_uring_setup, Vec::new()),
        (libc::SYS_io_uring_enter, Vec::new()),
        (libc::SYS_io_uring_register, Vec::new()),
    ]);
    if no_unix {
        let unix = (0, Op::Eq, libc::AF_UNIX as u64);
        put(&mut rules, libc::SYS_socket, vec![vec![unix.clone()]])?;
        // A datagram socket of a pair could be pointed at somebody else's, and the kernel takes a
        // raw one for one of datagrams. Streams and sequences of packets are connected for good.
        let connected = [libc::SOCK_STREAM as u64, libc::SOCK_SEQPACKET as u64];
        let others = (0..=0xf).filter(|kind| !connected.contains(kind));
        let pairs = others.map(|kind| vec![unix.clone(), (1, Op::MaskedEq(0xf), kind)]);
        put(&mut rules, libc::SYS_socketpair, pairs.collect())?;
    }
    if no_network {
        put(
            &mut rules,
            libc::SYS_socket,
            vec![vec![not(0, libc::AF_UNIX as u64)]],
        )?;
    }
    if no_truncate {
        rules.insert(libc::SYS_truncate, Vec::new());
    }
    #[cfg(target_arch = "x86_64")]
    {
        /// The same calls by their numbers of the x32 form.
        const X32: c_long = 0x4000_0000;
        let calls: Vec<c_long> = rules.keys().copied().collect();
        rules.extend(calls.into_iter().map(|call| (X32 | call, Vec::new())));
    }
    program(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::EACCES)),
    )
}

type Condition = (u8, Op, u64);

fn not(argument: u8, value: u64) -> Condition {
    (argument, Op::Ne, value)
}

/// Adds a call whose arguments fulfil all conditions of one of the lists.
fn put(rules: &mut Rules, call: c_long, lists: Vec<Vec<Condition>>) -> io::Result<()> {
    for list in lists {
        let conditions = list.into_iter().map(|(argument, op, value)| {
            SeccompCondition::new(argument, length(argument, call), op, value)
        });
        let conditions = conditions
            .collect::<Result<Vec<_>, _>>()
            .map_err(io::Error::other)?;
        rules
            .entry(call)
            .or_default()
            .push(SeccompRule::new(conditions).map_err(io::Error::other)?);
    }
    Ok(())
}

/// Pointers and flags that fill a register are compared whole; numbers that the kernel takes as int
/// by their lower half, as it does.
fn length(argument: u8, call: c_long) -> seccompiler::SeccompCmpArgLen {
    let whole = [(libc::SYS_prlimit64, 2), (libc::SYS_clone, 0)];
    if whole.contains(&(call, argument)) {
        seccompiler::SeccompCmpArgLen::Qword
    } else {
        Dword
    }
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}
