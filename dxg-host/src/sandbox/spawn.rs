//! Starts this very program again, as a worker, a probe or a keeper of code, with nothing inherited.
//!
//! *Invariants.* The child runs the executable that runs now, not what a path names later. Its environment is exactly
//! what the caller lists. It has descriptors 0 to 2 and no other, no blocked signals, and dies with the broker.

// UNSAFETY: what runs between fork and exec, and the system calls there, are raw.
#![expect(unsafe_code, reason = "a hook between fork and exec is not expressible in safe Rust")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::process::Stdio;
use std::ptr;

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;

/// The running executable. The kernel keeps it even where its file was replaced.
const SELF: &str = "/proc/self/exe";

/// What the child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves one client.
    Worker,
    /// Looks for adapters.
    Probe,
    /// Keeps code on disk.
    Keeper,
}

impl Role {
    fn subcommand(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Probe => "probe",
            Self::Keeper => "keeper",
        }
    }
}

/// Descriptor 0 of the child: a worker's or keeper's socket.
#[derive(Debug)]
pub enum Stdin {
    /// Nothing to read.
    Null,
    /// This.
    Fd(OwnedFd),
}

/// A child process, known by a descriptor that no other process can come to be named by.
#[derive(Debug)]
pub struct Child {
    pidfd: OwnedFd,
    pid: Pid,
}

impl Child {
    /// No process: `stand_in` takes the place of its descriptor, and signals to it go nowhere.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn puppet(stand_in: OwnedFd) -> Self {
        Self { pidfd: stand_in, pid: rustix::process::getpid() }
    }

    /// The descriptor, readable when the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// The process id, for people.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills it, if it still runs.
    pub fn kill(&self) {
        // It may have ended already, which is what is wanted.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Takes the ended process off the process table; `false` while it still runs.
    pub fn reap(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        !matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(None))
    }

    /// Waits for its end and takes it off the process table.
    pub fn wait(&self) {
        let pidfd = self.pidfd.as_fd();
        // Interrupted is the only failure that a retry mends.
        while matches!(
            rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED),
            Err(rustix::io::Errno::INTR)
        ) {}
    }
}

/// Starts the child.
///
/// # Errors
/// No processes, no memory, or no `/proc`.
pub fn spawn(
    role: Role,
    arguments: &[String],
    environment: &BTreeMap<String, String>,
    stdin: Stdin,
    stdout: Stdio,
) -> io::Result<Child> {
    let stdin = match stdin {
        Stdin::Null => Stdio::null(),
        Stdin::Fd(fd) => Stdio::from(fd),
    };
    let mut command = Command::new(SELF);
    command
        .arg0("dxgd")
        .arg(role.subcommand())
        .args(arguments)
        .env_clear()
        .envs(environment)
        .env("DXG_WORKER", "1")
        .current_dir("/")
        .stdin(stdin)
        .stdout(stdout);
    // SAFETY: the hook runs in a child of a single-threaded process and makes only async-signal-safe system calls.
    unsafe { command.pre_exec(before_exec) };
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("process id out of range"))?;
    // The child is ours and not reaped, so its id cannot name another process yet.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Child { pidfd, pid })
}

fn before_exec() -> io::Result<()> {
    // Descriptors are closed by exec and not here: the one that reports a failed exec must live until then.
    // SAFETY: takes numbers only.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if closed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes numbers only.
    let armed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if armed != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes one signal set, which `none` has room for.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: reads one signal set, written above; the old set is not asked for.
    let unblocked = unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    if unblocked != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
