//! The system call filters (`seccomp(2)`). A worker has two: a call that the first does not list
//! does not exist for it (ENOSYS, on which libraries fall back to older calls), and a call that the
//! second lists is refused (EPERM). The lists hold what glibc, the event loop and the TLS library
//! use, with room for other versions: harmless calls are allowed although nobody makes them today.

#![allow(unsafe_code, reason = "the crate does not tell what the kernel knows")]

use super::Calls;
use nix::libc::{self, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::{collections::BTreeMap, io};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Reading and writing what is open, memory, threads, time, waiting, sockets that were handed over.
const HARMLESS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_getcwd,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_clone,
    libc::SYS_set_tid_address,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_restart_syscall,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_socketpair,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_prctl,
    // For the second filter, which refuses it.
    libc::SYS_seccomp,
];

/// The older forms of some of them.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_create,
    libc::SYS_eventfd,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_time,
    libc::SYS_getrlimit,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// For those that may open files; Landlock says which.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_statfs,
    libc::SYS_fadvise64,
];
#[cfg(target_arch = "x86_64")]
const OLDER_FILES: &[c_long] = &[libc::SYS_open, libc::SYS_readlink, libc::SYS_access];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_FILES: &[c_long] = &[];

/// What no worker does, by name, so that it is told apart from what is only unknown.
const REFUSED: &[c_long] = &[
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_create,
    libc::SYS_fanotify_init,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_personality,
    libc::SYS_vhangup,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_openat2,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capset,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_utimensat,
];
#[cfg(target_arch = "x86_64")]
const OLDER_REFUSED: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_REFUSED: &[c_long] = &[];

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
            no_truncate,
        } => Ok(vec![server(no_network, no_truncate)?]),
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

/// What exists.
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

/// What is refused of it, and beside it.
fn refused(files: bool, connect: bool) -> io::Result<BpfProgram> {
    let mut rules: Rules = [REFUSED, OLDER_REFUSED]
        .concat()
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    if !files {
        rules.extend(
            [FILES, OLDER_FILES]
                .concat()
                .into_iter()
                .map(|call| (call, Vec::new())),
        );
    }
    let own = u64::from(std::process::id());
    let (stream, kind) = (libc::SOCK_STREAM as u64, Op::MaskedEq(0xf));
    let kinds = |most: u64| (0..=0xf).filter(move |kind| *kind < stream || *kind > most);
    if connect {
        let mut socket = vec![vec![
            not(0, libc::AF_INET as u64),
            not(0, libc::AF_INET6 as u64),
        ]];
        // Streams and datagrams, the first two numbers on every processor.
        socket.extend(kinds(2).map(|number| vec![(1, kind.clone(), number)]));
        put(&mut rules, libc::SYS_socket, socket)?;
    } else {
        rules.extend([
            (libc::SYS_socket, Vec::new()),
            (libc::SYS_connect, Vec::new()),
        ]);
    }
    let mut pair = vec![vec![not(0, libc::AF_UNIX as u64)]];
    // A datagram socket of a pair could be pointed at somebody else's.
    pair.extend(kinds(stream).map(|number| vec![(1, kind.clone(), number)]));
    put(&mut rules, libc::SYS_socketpair, pair)?;
    put(
        &mut rules,
        libc::SYS_clone,
        vec![vec![(0, Op::MaskedEq(libc::CLONE_THREAD as u64), 0)]],
    )?;
    let (write, execute) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    put(
        &mut rules,
        libc::SYS_mmap,
        vec![vec![(2, Op::MaskedEq(write | execute), write | execute)]],
    )?;
    put(
        &mut rules,
        libc::SYS_mprotect,
        vec![vec![(2, Op::MaskedEq(execute), execute)]],
    )?;
    put(&mut rules, libc::SYS_tgkill, vec![vec![not(0, own)]])?;
    put(
        &mut rules,
        libc::SYS_ioctl,
        vec![IOCTLS.iter().map(|number| not(1, *number)).collect()],
    )?;
    let prctls = [
        libc::PR_SET_NAME as u64,
        libc::PR_GET_NAME as u64,
        libc::PR_GET_DUMPABLE as u64,
        PR_SET_VMA,
    ];
    put(
        &mut rules,
        libc::SYS_prctl,
        vec![prctls.iter().map(|number| not(0, *number)).collect()],
    )?;
    // Limits of others; or new ones, which come by a pointer.
    let mut limits = vec![vec![not(0, 0), not(0, own)]];
    limits.push(vec![not(2, 0)]);
    put(&mut rules, libc::SYS_prlimit64, limits)?;
    program(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::EPERM)),
    )
}

/// Everything but that. io_uring makes sockets and opens files without these calls.
fn server(no_network: bool, no_truncate: bool) -> io::Result<BpfProgram> {
    let mut rules = Rules::from([(libc::SYS_io_uring_setup, Vec::new())]);
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
