//! SIGTERM, SIGINT and SIGHUP as a descriptor, so that the event loop sees them in its turn, and SIGXFSZ as an error.

// UNSAFETY: signal masks and signalfd have no safe wrapper here.
#![expect(unsafe_code, reason = "signalfd and signal masks are raw system calls")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;

/// Makes writes beyond the largest file that is allowed fail, instead of ending the process.
///
/// # Errors
/// What the system says.
pub(super) fn ignore_file_limit() -> io::Result<()> {
    // SAFETY: takes numbers only: to ignore a signal runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Readable once the process was asked to end.
#[derive(Debug)]
pub struct TerminationSignals(OwnedFd);

impl TerminationSignals {
    /// Watches nothing: `silent` never becomes readable.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn never(silent: OwnedFd) -> Self {
        Self(silent)
    }

    /// Blocks the signals and watches for them. To be called before any thread starts.
    ///
    /// # Errors
    /// No descriptors.
    pub fn watch() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: writes one signal set, which `set` has room for.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            // SAFETY: `set` was initialised above; the signal number is valid.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: reads one signal set, initialised above; the old set is not asked for.
        let blocked = unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: reads one signal set, initialised above; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl AsFd for TerminationSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
