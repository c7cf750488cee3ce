//! What each stage refuses, and why.

use super::super::enclosure::Compilers;
use super::program::Rule;
use super::program::Test;
use super::program::When;

/// `O_TMPFILE` without the bit that says that its path is a directory.
const O_UNNAMED: i32 = 0o20_000_000;
/// What `personality` is asked with to change nothing.
const ASK_PERSONALITY: u32 = 0xFFFF_FFFF;

/// Newer than `fchmodat`, with the same number on every machine.
const FCHMODAT2: libc::c_long = 452;
/// What `rename` of C libraries calls where there is no call of that name.
#[cfg(target_arch = "x86_64")]
const RENAMEAT: libc::c_long = libc::SYS_renameat;
/// What `rename` of C libraries calls where there is no call of that name; `libc` does not know its number here.
#[cfg(target_arch = "aarch64")]
const RENAMEAT: libc::c_long = 38;

/// Refused before the driver is loaded: no driver needs it, not even to load.
pub(super) fn load() -> Vec<Rule> {
    let mut rules = Vec::new();
    // Programs: nothing but this one runs here. Drivers that start helpers (to load kernel modules) go on without.
    refuse(&mut rules, &[libc::SYS_execve, libc::SYS_execveat]);
    // Other processes: their memory, registers and descriptors.
    refuse(
        &mut rules,
        &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
            libc::SYS_migrate_pages,
        ],
    );
    // The view of the file system, and namespaces: with a user namespace comes most of what is refused here.
    refuse(
        &mut rules,
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_unshare,
            libc::SYS_setns,
        ],
    );
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    rules.push(on(libc::SYS_clone, 0, Test::AnyBit(bits(namespaces))));
    // Its flags lie in memory, where a filter does not see them. C libraries know this answer and use `clone`.
    rules.push(Rule { call: libc::SYS_clone3, when: When::Always, error: libc::ENOSYS });
    // The machine: kernel, modules, clocks, swap, names, logs, quotas.
    refuse(
        &mut rules,
        &[
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_syslog,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_adjtimex,
            libc::SYS_clock_adjtime,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_vhangup,
        ],
    );
    // Large parts of the kernel that many defects were found in, and no driver computes with.
    refuse(
        &mut rules,
        &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_fanotify_init,
            libc::SYS_fanotify_mark,
        ],
    );
    // Requests in these rings pass by this filter. Libraries know this answer: older kernels give it.
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register] {
        rules.push(Rule { call, when: When::Always, error: libc::ENOSYS });
    }
    // Files by number instead of path.
    refuse(&mut rules, &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at]);
    // Who we are. The daemon's user is all there is.
    refuse(
        &mut rules,
        &[
            libc::SYS_setuid,
            libc::SYS_setgid,
            libc::SYS_setreuid,
            libc::SYS_setregid,
            libc::SYS_setresuid,
            libc::SYS_setresgid,
            libc::SYS_setfsuid,
            libc::SYS_setfsgid,
            libc::SYS_setgroups,
            libc::SYS_capset,
        ],
    );
    rules.push(on(libc::SYS_personality, 0, Test::NotEqual(ASK_PERSONALITY)));
    // Networks: TCP and UDP, but also netlink, packets, virtual machines' sockets and the kernel's ciphers.
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.push(on(call, 0, Test::NotEqual(bits(libc::AF_UNIX))));
    }
    // Standard error may be the terminal of who started the daemon: nothing is typed into it, and its kind stays.
    for request in [libc::TIOCSTI, libc::TIOCCONS, libc::TIOCSETD, TIOCLINUX] {
        rules.push(on(libc::SYS_ioctl, 1, Test::Equal(low(request))));
    }
    #[cfg(target_arch = "x86_64")]
    refuse(
        &mut rules,
        &[
            // The processor's ports and old segments.
            libc::SYS_iopl,
            libc::SYS_ioperm,
            libc::SYS_modify_ldt,
            // Calls that newer machines never had.
            libc::SYS_uselib,
            libc::SYS__sysctl,
        ],
    );
    rules
}

/// Refused once the driver is loaded, too: only loading, or nothing at all, needs it. `own` is this process.
pub(super) fn serve(own: u32, compilers: Compilers) -> Vec<Rule> {
    let mut rules = Vec::new();
    if compilers == Compilers::OurOwn {
        rules.extend(executable_memory());
    }
    // Files are opened for reading only. For both ways stays open: devices are opened so when a client's device is
    // made. Landlock leaves no file but devices to be opened so.
    let creating = Test::AnyBit(bits(libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | O_UNNAMED));
    let write_only = Test::Masked { mask: bits(libc::O_ACCMODE), equal: bits(libc::O_WRONLY) };
    rules.extend([on(libc::SYS_openat, 2, creating), on(libc::SYS_openat, 2, write_only)]);
    // Its flags lie in memory, where a filter does not see them. C libraries use `openat`.
    rules.push(Rule { call: libc::SYS_openat2, when: When::Always, error: libc::ENOSYS });
    // Names in the file system.
    refuse(
        &mut rules,
        &[
            libc::SYS_mkdirat,
            libc::SYS_mknodat,
            libc::SYS_unlinkat,
            RENAMEAT,
            libc::SYS_renameat2,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_truncate,
        ],
    );
    // Owners, permissions, times and attributes: landlock says nothing about them.
    refuse(
        &mut rules,
        &[
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            FCHMODAT2,
            libc::SYS_fchown,
            libc::SYS_fchownat,
            libc::SYS_utimensat,
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_fsetxattr,
            libc::SYS_removexattr,
            libc::SYS_lremovexattr,
            libc::SYS_fremovexattr,
        ],
    );
    // Whom to speak with is settled: the broker and the client, over what was handed in. A new socket, connected or not,
    // could name a receiver.
    refuse(
        &mut rules,
        &[
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept,
            libc::SYS_accept4,
        ],
    );
    // New processes. Threads go on being made: for each stream, and by drivers that compile.
    rules.push(on(libc::SYS_clone, 0, Test::NoBit(bits(libc::CLONE_THREAD))));
    // Signals: to this process only, as `abort` sends one. The calls that do not name the process are refused whole.
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.push(on(call, 0, Test::NotEqual(own)));
    }
    refuse(&mut rules, &[libc::SYS_tkill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal]);
    // Signals to whoever is named the owner of a descriptor.
    for command in [libc::F_SETOWN, F_SETOWN_EX, F_SETSIG, libc::F_SETLEASE, libc::F_NOTIFY] {
        rules.push(on(libc::SYS_fcntl, 1, Test::Equal(bits(command))));
    }
    for request in [FIOSETOWN, SIOCSPGRP] {
        rules.push(on(libc::SYS_ioctl, 1, Test::Equal(request)));
    }
    // Limits, priorities and pages of other processes of the same user: the daemon is one.
    rules.push(on(libc::SYS_prlimit64, 0, Test::Neither(0, own)));
    rules.push(on(libc::SYS_move_pages, 0, Test::Neither(0, own)));
    refuse(
        &mut rules,
        &[
            libc::SYS_setpriority,
            libc::SYS_ioprio_set,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setattr,
        ],
    );
    // What makes this process end with the broker and keeps it from being looked into.
    for option in [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM] {
        rules.push(on(libc::SYS_prctl, 0, Test::Equal(bits(option))));
    }
    // Memory, locks and queues that are found by a key or a name.
    refuse(
        &mut rules,
        &[
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_semctl,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
        ],
    );
    #[cfg(target_arch = "x86_64")]
    {
        // The older forms of the above.
        rules.extend([on(libc::SYS_open, 1, creating), on(libc::SYS_open, 1, write_only)]);
        refuse(
            &mut rules,
            &[
                libc::SYS_creat,
                libc::SYS_mkdir,
                libc::SYS_rmdir,
                libc::SYS_mknod,
                libc::SYS_unlink,
                libc::SYS_rename,
                libc::SYS_link,
                libc::SYS_symlink,
                libc::SYS_chmod,
                libc::SYS_chown,
                libc::SYS_lchown,
                libc::SYS_utime,
                libc::SYS_utimes,
                libc::SYS_futimesat,
                libc::SYS_fork,
                libc::SYS_vfork,
            ],
        );
    }
    rules
}

/// What our own compiler does not do, and drivers may: it writes private pages first, and makes them executable and not writable
/// then.
fn executable_memory() -> Vec<Rule> {
    let writable_too = bits(libc::PROT_WRITE | libc::PROT_EXEC);
    let both = Test::Masked { mask: writable_too, equal: writable_too };
    vec![
        // Files, and memory that others may write, are no code any more: all libraries are loaded.
        on(libc::SYS_mmap, 2, Test::AnyBit(bits(libc::PROT_EXEC))),
        on(libc::SYS_mprotect, 2, both),
        on(libc::SYS_pkey_mprotect, 2, both),
    ]
}

/// Calls that a keeper of code makes for its files, which no worker may.
const OF_FILES: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_utimensat,
    RENAMEAT,
];

/// Refused to a keeper beside what [`load`] refuses: what is refused to workers, but not its files, and what only
/// drivers need. `own` is this process.
pub(super) fn keep(own: u32) -> Vec<Rule> {
    let new_processes = on(libc::SYS_clone, 0, Test::NoBit(bits(libc::CLONE_THREAD)));
    let mut rules = serve(own, Compilers::OfDrivers);
    rules.retain(|rule| !OF_FILES.contains(&rule.call) && *rule != new_processes);
    refuse(&mut rules, &[libc::SYS_clone]);
    // Code is kept here, and run elsewhere.
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.push(on(call, 2, Test::AnyBit(bits(libc::PROT_EXEC))));
    }
    rules
}

/// Keys for a Linux console, its screen and its selection.
const TIOCLINUX: libc::Ioctl = 0x541C;
/// `fcntl`: the owner of a descriptor, as process, thread or group.
const F_SETOWN_EX: i32 = 15;
/// `fcntl`: the signal that the owner gets.
const F_SETSIG: i32 = 10;
/// The owner of a socket, two names for it.
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

fn refuse(rules: &mut Vec<Rule>, calls: &[libc::c_long]) {
    rules.extend(calls.iter().map(|call| Rule { call: *call, when: When::Always, error: libc::EPERM }));
}

fn on(call: libc::c_long, argument: u8, test: Test) -> Rule {
    Rule { call, when: When::Argument(argument, test), error: libc::EPERM }
}

/// Flags as the kernel sees them.
fn bits(flags: i32) -> u32 {
    flags.cast_unsigned()
}

/// The half of a request that the kernel looks at.
fn low(request: libc::Ioctl) -> u32 {
    u32::try_from(request & 0xFFFF_FFFF).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule behind one that refuses the same is never asked.
    fn assert_none_is_shadowed(rules: &[Rule]) {
        for (index, rule) in rules.iter().enumerate() {
            let before = rules.get(..index).unwrap_or_default();
            let shadowed = before
                .iter()
                .any(|other| other.call == rule.call && (other == rule || other.when == When::Always));
            assert!(!shadowed, "{rule:?} has no effect");
        }
    }

    /// By number, as the kernel's tables have them: another machine's would be other calls.
    #[cfg(target_arch = "x86_64")]
    const CHANGES_OF_NAMES: &[u32] =
        &[76, 82, 83, 84, 85, 86, 87, 88, 133, 258, 259, 263, 264, 265, 266, 268, 316, 452];
    #[cfg(target_arch = "aarch64")]
    const CHANGES_OF_NAMES: &[u32] = &[33, 34, 35, 36, 37, 38, 45, 52, 53, 276, 452];

    #[test]
    fn each_call_that_changes_names_or_permissions_is_refused_by_its_number() {
        let rules = serve(7, Compilers::OurOwn);
        for number in CHANGES_OF_NAMES {
            let refused = |rule: &Rule| rule.call == libc::c_long::from(*number) && rule.when == When::Always;
            assert!(rules.iter().any(refused), "{number} is let");
        }
    }

    #[test]
    fn no_rule_is_unused() {
        assert_none_is_shadowed(&load());
        assert_none_is_shadowed(&serve(7, Compilers::OurOwn));
        assert_none_is_shadowed(&keep(7));
    }

    #[test]
    fn second_stage_does_not_repeat_whole_refusals_of_the_first() {
        let first = load();
        for rule in serve(7, Compilers::OurOwn) {
            let repeated = first.iter().any(|other| other.call == rule.call && other.when == When::Always);
            assert!(!repeated, "{rule:?} has no effect");
        }
    }
}
