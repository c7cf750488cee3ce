//! What a worker that was taken over may do: probes that run in a process closed in as a worker is.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod attempts;
#[path = "../cuda/context.rs"]
#[expect(dead_code, reason = "the tests of CUDA streams use more of it")]
mod context;
mod cuda;
mod daemon;
#[path = "../vulkan/guest.rs"]
#[expect(dead_code, reason = "the tests of streams use more of it")]
mod guest;
mod inside;
mod keeper;
mod machine;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;

use dxg_host::sandbox::Policy;

/// What a process that was closed in found.
struct Found {
    /// How far it was.
    level: String,
    /// Each attempt's error; 0 where it was let.
    errors: BTreeMap<String, i32>,
}

/// Whose worker a process is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Like {
    /// One with a driver of somebody else.
    OfADriver,
    /// One of the adapter `cpu`.
    OfTheCpu,
}

/// Runs all attempts in a process of its own.
fn attempt_all(policy: Policy, like: Like) -> Found {
    let dir = support::daemon::fresh_dir();
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("secret"), "of another").unwrap();
    let _listener = UnixListener::bind(dir.join("socket")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inside::closed_in_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(inside::POLICY, format!("{policy:?}"))
        .env(inside::DIRECTORY, &dir)
        .envs((like == Like::OfTheCpu).then_some((inside::CUDA, "1")))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let secret = std::fs::read_to_string(dir.join("secret")).unwrap();
    let mut left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    std::fs::remove_dir_all(&dir).unwrap();
    if policy != Policy::Off {
        assert_eq!(secret, "of another");
        assert_eq!(left, ["secret", "socket"], "nothing was made or removed");
    }
    let level = text.lines().find_map(|line| line.strip_prefix("level ")).unwrap().to_owned();
    let errors = text
        .lines()
        .filter_map(|line| line.strip_prefix("attempt ")?.split_once(' '))
        .map(|(name, error)| (name.to_owned(), error.parse().unwrap()))
        .collect();
    Found { level, errors }
}

fn closed_in() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| attempt_all(Policy::Best, Like::OfADriver))
}

/// The same for a worker of the adapter `cpu`, which must be closed in; `None` where this system does not let it.
fn closed_in_for_cuda() -> Option<&'static Found> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    if !closed_in().level.starts_with("full") {
        println!("skipped: this system does not let us close in wholly: {}", closed_in().level);
        return None;
    }
    Some(FOUND.get_or_init(|| attempt_all(Policy::Require, Like::OfTheCpu)))
}

/// The error of an attempt; `None` where this kernel lacks what refuses it.
fn error_of(name: &str) -> Option<i32> {
    let found = closed_in();
    let error = *found.errors.get(name).unwrap_or_else(|| panic!("{name} was not attempted"));
    if found.level.starts_with("full") {
        return Some(error);
    }
    println!("skipped: this system does not let us close in wholly: {}", found.level);
    None
}

macro_rules! refused {
    ($($name:ident => $error:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            if let Some(error) = error_of(stringify!($name)) {
                assert_eq!(error, libc::$error);
            }
        }
    )* };
}

macro_rules! works {
    ($($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            assert_eq!(closed_in().errors.get(stringify!($name)), Some(&0));
        }
    )* };
}

mod refusals {
    use super::error_of;

    refused! {
        // Files.
        read_of_a_file_outside => EACCES,
        read_of_the_password_file => EACCES,
        listing_of_a_directory_outside => EACCES,
        write_to_a_file_outside => EACCES,
        write_to_a_library => EACCES,
        creating_a_file => EPERM,
        creating_a_file_without_a_name => EPERM,
        openat2 => ENOSYS,
        open_by_handle => EPERM,
        making_a_directory => EPERM,
        making_a_node => EPERM,
        removing_a_file => EPERM,
        renaming_a_file => EPERM,
        linking_a_file => EPERM,
        linking_a_name => EPERM,
        truncating_a_file => EPERM,
        changing_permissions => EPERM,
        changing_the_owner => EPERM,
        memory_of_the_parent => EACCES,
        environment_of_the_parent => EACCES,
        // Sockets.
        internet_socket => EPERM,
        internet_socket_of_version_6 => EPERM,
        netlink_socket => EPERM,
        packet_socket => EPERM,
        virtual_machine_socket => EPERM,
        local_socket => EPERM,
        connecting_to_a_local_socket => EPERM,
        binding_a_socket => EPERM,
        listening => EPERM,
        // Programs and processes.
        execve => EPERM,
        execveat_of_a_memfd => EPERM,
        fork => EPERM,
        clone_of_a_process => EPERM,
        clone_with_namespaces => EPERM,
        clone3 => ENOSYS,
        ptrace_of_the_parent => EPERM,
        reading_memory_of_the_parent => EPERM,
        writing_memory_of_the_parent => EPERM,
        kill_of_the_parent => EPERM,
        kill_of_everybody => EPERM,
        tgkill_of_the_parent => EPERM,
        tkill_of_the_parent => EPERM,
        queued_signal_to_the_parent => EPERM,
        signal_by_descriptor_owner => EPERM,
        pidfd_of_the_parent => EPERM,
        descriptor_of_the_parent => EPERM,
        limits_of_the_parent => EPERM,
        priority_of_the_parent => EPERM,
        // The machine and the view of it.
        mount => EPERM,
        umount => EPERM,
        unshare => EPERM,
        setns => EPERM,
        pivot_root => EPERM,
        chroot => EPERM,
        fsopen => EPERM,
        open_tree => EPERM,
        reboot => EPERM,
        swapon => EPERM,
        module_from_memory => EPERM,
        module_from_a_file => EPERM,
        kexec => EPERM,
        setting_the_host_name => EPERM,
        setting_the_clock => EPERM,
        kernel_log => EPERM,
        // Large parts of the kernel.
        io_uring => ENOSYS,
        perf_event => EPERM,
        bpf => EPERM,
        keyctl => EPERM,
        add_key => EPERM,
        userfaultfd => EPERM,
        fanotify => EPERM,
        shared_memory_by_key => EPERM,
        queue_by_name => EPERM,
        call_that_is_too_new => ENOSYS,
        // What this process is.
        setuid => EPERM,
        setgroups => EPERM,
        capset => EPERM,
        personality => EPERM,
        becoming_dumpable => EPERM,
        outliving_the_parent => EPERM,
        typing_into_a_terminal => EPERM,
    }
}

mod allowances {
    use super::closed_in;

    works! {
        threads_start_and_end,
        threads_wait_for_each_other,
        compiled_code_runs,
        memory_of_a_descriptor_is_mapped,
        received_descriptor_is_mapped,
        library_is_read,
        library_is_loaded,
        device_node_is_opened_for_both_ways,
        processors_are_counted,
        own_status_is_read,
        event_descriptor_is_made,
        signal_to_itself,
        own_limits_are_read,
        random_bytes,
    }
}

#[test]
fn worker_of_the_cpu_is_refused_all_that_others_are() {
    let Some(found) = closed_in_for_cuda() else { return };
    // What a worker needs to load drivers is not what this one needs.
    let others = ["compiled_code_runs", "library_is_loaded"];
    for (name, error) in &closed_in().errors {
        if !MEMORY.contains(&name.as_str()) && !others.contains(&name.as_str()) {
            assert_eq!(found.errors.get(name), Some(error), "{name}");
        }
    }
    assert_eq!(found.errors.get("compiled_code_runs"), Some(&0));
    assert_ne!(found.errors.get("library_is_loaded"), Some(&0));
}

#[test]
fn worker_of_the_cpu_gets_no_memory_to_write_and_run_and_no_further_code() {
    let Some(found) = closed_in_for_cuda() else { return };
    for name in MEMORY {
        assert_eq!(found.errors.get(*name), Some(&libc::EPERM), "{name}");
        // Drivers may have their ways.
        assert_ne!(closed_in().errors.get(*name), Some(&libc::EPERM), "{name}");
    }
}

#[test]
fn worker_of_the_cpu_runs_kernels_all_the_same() {
    let Some(found) = closed_in_for_cuda() else { return };
    for name in [
        "kernels_run",
        "cooperative_kernels_run",
        "kernels_are_interpreted",
        "faults_are_errors_of_their_context",
    ] {
        assert_eq!(found.errors.get(name), Some(&0), "{name}");
    }
}

#[test]
fn fault_outside_of_kernels_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cuda::process_that_faults_itself", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
}

/// Attempts that differ with whose worker it is.
const MEMORY: &[&str] = &[
    "page_for_everything",
    "page_of_code_at_once",
    "shared_page_for_everything",
    "shared_page_of_code",
    "further_library_as_code",
    "page_that_becomes_everything",
    "page_with_a_key_that_becomes_everything",
];

#[test]
fn without_a_sandbox_the_same_attempts_succeed() {
    let open = attempt_all(Policy::Off, Like::OfADriver);
    assert_eq!(open.level, "off");
    for name in [
        "read_of_a_file_outside",
        "write_to_a_file_outside",
        "creating_a_file",
        "making_a_directory",
        "internet_socket",
        "local_socket",
        "connecting_to_a_local_socket",
        "clone_of_a_process",
        "kill_of_the_parent",
        "limits_of_the_parent",
        "unshare",
        "becoming_dumpable",
        "page_for_everything",
        "shared_page_for_everything",
        "page_that_becomes_everything",
    ] {
        assert_eq!(open.errors.get(name), Some(&0), "{name} proves nothing");
    }
}
