//! What is attempted inside. Each attempt is harmless where it is let.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread;

use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::socket;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::machine::call;
use super::machine::run_compiled;

/// What the process had before it was closed in.
pub(crate) struct Prepared {
    directory: PathBuf,
    /// Not connected yet.
    stream: OwnedFd,
    pair: (OwnedFd, OwnedFd),
    memory: OwnedFd,
    program: OwnedFd,
    parent: i64,
    library: PathBuf,
}

impl Prepared {
    pub(crate) fn new(directory: &Path) -> Self {
        let flags = SocketFlags::CLOEXEC;
        let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        Self {
            directory: directory.to_owned(),
            stream,
            pair,
            memory: create_sealed("test", 1 << 16).unwrap(),
            program: rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::empty()).unwrap(),
            parent: i64::from(std::os::unix::process::parent_id()),
            library: library(),
        }
    }
}

fn code<T>(done: io::Result<T>) -> i32 {
    done.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

fn text(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

/// What a worker has no business with.
pub(crate) fn forbidden(had: &Prepared) -> Vec<(&'static str, i32)> {
    let mut found = files(had);
    found.extend(sockets(had));
    found.extend(processes(had));
    found.extend(machine());
    found.extend(this_process());
    found
}

fn files(had: &Prepared) -> Vec<(&'static str, i32)> {
    let secret = had.directory.join("secret");
    let fresh = had.directory.join("fresh");
    let read = |path: &Path| code(OpenOptions::new().read(true).open(path));
    let both = |path: &Path| code(OpenOptions::new().read(true).write(true).open(path));
    let (secret_name, fresh_name) = (text(&secret), text(&fresh));
    let (secret_at, fresh_at) = (secret_name.as_ptr() as i64, fresh_name.as_ptr() as i64);
    let here = i64::from(libc::AT_FDCWD);
    let unnamed =
        OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(&had.directory);
    let parent = had.parent;
    vec![
        ("read_of_a_file_outside", read(&secret)),
        ("read_of_the_password_file", read(Path::new("/etc/passwd"))),
        ("listing_of_a_directory_outside", code(std::fs::read_dir(&had.directory))),
        ("write_to_a_file_outside", both(&secret)),
        ("write_to_a_library", both(&had.library)),
        ("memory_of_the_parent", read(&PathBuf::from(format!("/proc/{parent}/mem")))),
        ("environment_of_the_parent", read(&PathBuf::from(format!("/proc/{parent}/environ")))),
        ("creating_a_file", code(OpenOptions::new().write(true).create(true).truncate(true).open(&fresh))),
        ("creating_a_file_without_a_name", code(unnamed)),
        ("openat2", call(libc::SYS_openat2, &[here, secret_at, 0, 0])),
        ("open_by_handle", call(libc::SYS_open_by_handle_at, &[here, 0, 0])),
        (
            "making_a_directory",
            call(libc::SYS_mkdirat, &[here, text(had.directory.join("sub")).as_ptr() as i64, 0o700]),
        ),
        ("making_a_node", call(libc::SYS_mknodat, &[here, fresh_at, 0, 0])),
        ("truncating_a_file", call(libc::SYS_truncate, &[fresh_at, 0])),
        ("changing_permissions", call(libc::SYS_fchmodat, &[here, secret_at, 0o600])),
        ("changing_the_owner", call(libc::SYS_fchownat, &[here, secret_at, -1, -1, 0])),
        ("linking_a_file", call(libc::SYS_linkat, &[here, secret_at, here, fresh_at, 0])),
        ("linking_a_name", call(libc::SYS_symlinkat, &[secret_at, here, fresh_at])),
        ("renaming_a_file", call(libc::SYS_renameat2, &[here, fresh_at, here, fresh_at, 0])),
        ("removing_a_file", call(libc::SYS_unlinkat, &[here, fresh_at, 0])),
    ]
}

/// A file that drivers read: the C library.
fn library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("/libc.so")).expect("a C library");
    PathBuf::from(line.split_whitespace().last().unwrap())
}

fn sockets(had: &Prepared) -> Vec<(&'static str, i32)> {
    let socket = |family: i32, kind: i32| call(libc::SYS_socket, &[i64::from(family), i64::from(kind), 0]);
    let address = SocketAddrUnix::new(had.directory.join("socket")).unwrap();
    let connected = rustix::net::connect(&had.stream, &address).map_err(io::Error::from);
    vec![
        ("internet_socket", socket(libc::AF_INET, libc::SOCK_STREAM)),
        ("internet_socket_of_version_6", socket(libc::AF_INET6, libc::SOCK_DGRAM)),
        ("netlink_socket", socket(libc::AF_NETLINK, libc::SOCK_RAW)),
        ("packet_socket", socket(libc::AF_PACKET, libc::SOCK_RAW)),
        ("virtual_machine_socket", socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
        ("local_socket", socket(libc::AF_UNIX, libc::SOCK_DGRAM)),
        ("connecting_to_a_local_socket", code(connected)),
        ("binding_a_socket", call(libc::SYS_bind, &[-1, 0, 0])),
        ("listening", call(libc::SYS_listen, &[-1, 0])),
    ]
}

fn processes(had: &Prepared) -> Vec<(&'static str, i32)> {
    let parent = had.parent;
    let program = i64::from(had.program.as_raw_fd());
    let empty = c"".as_ptr() as i64;
    let signal = i64::from(libc::SIGCHLD);
    let namespaces = i64::from(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS);
    let own_fd = i64::from(had.pair.0.as_raw_fd());
    vec![
        ("execve", call(libc::SYS_execve, &[c"/nonexistent".as_ptr() as i64, 0, 0])),
        (
            "execveat_of_a_memfd",
            call(libc::SYS_execveat, &[program, empty, 0, 0, i64::from(libc::AT_EMPTY_PATH)]),
        ),
        #[cfg(target_arch = "x86_64")]
        ("fork", call(libc::SYS_fork, &[])),
        #[cfg(not(target_arch = "x86_64"))]
        ("fork", call(libc::SYS_clone, &[signal, 0, 0, 0, 0])),
        ("clone_of_a_process", call(libc::SYS_clone, &[signal, 0, 0, 0, 0])),
        ("clone_with_namespaces", call(libc::SYS_clone, &[signal | namespaces, 0, 0, 0, 0])),
        ("clone3", call(libc::SYS_clone3, &[0, 0])),
        ("ptrace_of_the_parent", call(libc::SYS_ptrace, &[i64::from(libc::PTRACE_PEEKDATA), parent, 0, 0])),
        ("reading_memory_of_the_parent", call(libc::SYS_process_vm_readv, &[parent, 0, 0, 0, 0, 0])),
        ("writing_memory_of_the_parent", call(libc::SYS_process_vm_writev, &[parent, 0, 0, 0, 0, 0])),
        ("kill_of_the_parent", call(libc::SYS_kill, &[parent, 0])),
        ("kill_of_everybody", call(libc::SYS_kill, &[-1, 0])),
        ("tgkill_of_the_parent", call(libc::SYS_tgkill, &[parent, parent, 0])),
        ("tkill_of_the_parent", call(libc::SYS_tkill, &[parent, 0])),
        ("queued_signal_to_the_parent", call(libc::SYS_rt_sigqueueinfo, &[parent, 0, 0])),
        ("signal_by_descriptor_owner", call(libc::SYS_fcntl, &[own_fd, i64::from(libc::F_SETOWN), parent])),
        ("pidfd_of_the_parent", call(libc::SYS_pidfd_open, &[parent, 0])),
        ("descriptor_of_the_parent", call(libc::SYS_pidfd_getfd, &[-1, 0, 0])),
        ("limits_of_the_parent", call(libc::SYS_prlimit64, &[parent, 7, 0, 0])),
        ("priority_of_the_parent", call(libc::SYS_setpriority, &[0, parent, 19])),
    ]
}

fn machine() -> Vec<(&'static str, i32)> {
    let nothing = c"".as_ptr() as i64;
    let root = c"/".as_ptr() as i64;
    vec![
        ("mount", call(libc::SYS_mount, &[0, 0, 0, 0, 0])),
        ("umount", call(libc::SYS_umount2, &[nothing, 0])),
        ("unshare", call(libc::SYS_unshare, &[0])),
        ("setns", call(libc::SYS_setns, &[-1, 0])),
        ("pivot_root", call(libc::SYS_pivot_root, &[nothing, nothing])),
        ("chroot", call(libc::SYS_chroot, &[root])),
        ("fsopen", call(libc::SYS_fsopen, &[nothing, 0])),
        ("open_tree", call(libc::SYS_open_tree, &[-1, nothing, 0])),
        ("reboot", call(libc::SYS_reboot, &[0, 0, 0, 0])),
        ("swapon", call(libc::SYS_swapon, &[nothing, 0])),
        ("module_from_memory", call(libc::SYS_init_module, &[0, 0, 0])),
        ("module_from_a_file", call(libc::SYS_finit_module, &[-1, nothing, 0])),
        ("kexec", call(libc::SYS_kexec_load, &[0, -1, 0, 0])),
        ("setting_the_host_name", call(libc::SYS_sethostname, &[nothing, -1])),
        ("setting_the_clock", call(libc::SYS_clock_settime, &[-1, 0])),
        ("kernel_log", call(libc::SYS_syslog, &[-1, 0, 0])),
        ("io_uring", call(libc::SYS_io_uring_setup, &[0, 0])),
        ("perf_event", call(libc::SYS_perf_event_open, &[0, 0, 0, 0, 0])),
        ("bpf", call(libc::SYS_bpf, &[-1, 0, 0])),
        ("keyctl", call(libc::SYS_keyctl, &[-1])),
        ("add_key", call(libc::SYS_add_key, &[0, 0, 0, 0, 0])),
        ("userfaultfd", call(libc::SYS_userfaultfd, &[-1])),
        ("fanotify", call(libc::SYS_fanotify_init, &[-1, 0])),
        ("shared_memory_by_key", call(libc::SYS_shmget, &[1, 0, 0])),
        ("queue_by_name", call(libc::SYS_mq_open, &[nothing, 0])),
        // Lists a mount, since Linux 6.8.
        ("call_that_is_too_new", call(457, &[0, 0, 0, 0])),
    ]
}

fn this_process() -> Vec<(&'static str, i32)> {
    let user = i64::from(rustix::process::getuid().as_raw());
    let terminal = [0, i64::try_from(libc::TIOCSTI).unwrap(), 0];
    vec![
        ("setuid", call(libc::SYS_setuid, &[user])),
        ("setgroups", call(libc::SYS_setgroups, &[-1, 0])),
        ("capset", call(libc::SYS_capset, &[0, 0])),
        ("personality", call(libc::SYS_personality, &[0])),
        ("becoming_dumpable", call(libc::SYS_prctl, &[i64::from(libc::PR_SET_DUMPABLE), 1])),
        ("outliving_the_parent", call(libc::SYS_prctl, &[i64::from(libc::PR_SET_PDEATHSIG), 0])),
        ("typing_into_a_terminal", call(libc::SYS_ioctl, &terminal)),
    ]
}

/// Ways to memory that is writable and executable, and to files as code.
pub(crate) fn executable_memory() -> Vec<(&'static str, i32)> {
    let (all, code) =
        (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::PROT_READ | libc::PROT_EXEC);
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let shared = rustix::fs::memfd_create("code", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&shared, 4096).unwrap();
    let shared = i64::from(shared.as_raw_fd());
    let map = |access: i32, flags: i32, fd: i64| {
        call(libc::SYS_mmap, &[0, 4096, i64::from(access), i64::from(flags), fd, 0])
    };
    let file = std::fs::File::open(library()).unwrap();
    vec![
        ("page_for_everything", map(all, private, -1)),
        ("page_of_code_at_once", map(code, private, -1)),
        ("shared_page_for_everything", map(all, libc::MAP_SHARED, shared)),
        ("shared_page_of_code", map(code, libc::MAP_SHARED, shared)),
        ("further_library_as_code", map(code, libc::MAP_PRIVATE, i64::from(file.as_raw_fd()))),
        ("page_that_becomes_everything", become_everything(libc::SYS_mprotect)),
        ("page_with_a_key_that_becomes_everything", become_everything(libc::SYS_pkey_mprotect)),
    ]
}

/// Changes a page of our own, which is aligned and stays for the time of the call.
fn become_everything(number: libc::c_long) -> i32 {
    let all = i64::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    let pages = vec![0_u8; 2 * 4096];
    let start = (pages.as_ptr() as i64 + 4095) / 4096 * 4096;
    let done = call(number, &[start, 4096, all, -1]);
    // For the sake of who gets the memory next.
    if done == 0 {
        call(libc::SYS_mprotect, &[start, 4096, i64::from(libc::PROT_READ | libc::PROT_WRITE)]);
    }
    done
}

/// What a worker lives by.
pub(crate) fn needed(had: &Prepared) -> Vec<(&'static str, i32)> {
    let own = i64::from(std::process::id());
    let read = |path: &str| code(std::fs::read(path));
    vec![
        (
            "threads_start_and_end",
            code(thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap())),
        ),
        ("threads_wait_for_each_other", wait_for_each_other()),
        ("compiled_code_runs", i32::from(run_compiled() != 42)),
        ("memory_of_a_descriptor_is_mapped", map(&had.memory)),
        ("received_descriptor_is_mapped", receive_and_map(had)),
        ("library_is_read", code(std::fs::File::open(&had.library))),
        ("library_is_loaded", load_library()),
        (
            "device_node_is_opened_for_both_ways",
            code(OpenOptions::new().read(true).write(true).open("/dev/null")),
        ),
        ("processors_are_counted", read("/sys/devices/system/cpu/online")),
        ("own_status_is_read", read("/proc/self/status")),
        ("event_descriptor_is_made", code(dxg_wire::doorbell::create())),
        (
            "signal_to_itself",
            call(libc::SYS_tgkill, &[own, i64::from(rustix::thread::gettid().as_raw_nonzero().get()), 0]),
        ),
        ("own_limits_are_read", call(libc::SYS_prlimit64, &[0, 7, 0, 0])),
        ("random_bytes", call(libc::SYS_getrandom, &[0, 0, 0])),
    ]
}

fn map(memory: &OwnedFd) -> i32 {
    i32::from(Mapping::map(memory.as_fd(), 0, 1 << 16, Access::ReadWrite, Populate::Prefault).is_err())
}

fn receive_and_map(had: &Prepared) -> i32 {
    socket::send(&had.pair.0, b"memory", &[had.memory.as_fd()]).unwrap();
    let mut bytes = [0; 16];
    let received = socket::recv(&had.pair.1, &mut bytes, 1).unwrap();
    received.fds.first().map_or(-1, map)
}

fn wait_for_each_other() -> i32 {
    let meeting = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&meeting);
    let other = thread::spawn(move || {
        *theirs.0.lock().unwrap() = true;
        theirs.1.notify_one();
    });
    let guard = meeting.1.wait_while(meeting.0.lock().unwrap(), |came| !*came).unwrap();
    drop(guard);
    other.join().unwrap();
    0
}

fn load_library() -> i32 {
    i32::from(super::machine::load("libanl.so.1").is_err())
}
