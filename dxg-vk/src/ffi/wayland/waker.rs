//! Ends a wait for good, from another thread.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;

/// Once woken, every wait that looks at it ends, those to come as well.
#[derive(Debug)]
pub(crate) struct Waker {
    event: OwnedFd,
}

impl Waker {
    /// One that was not woken.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { event: unsafe { OwnedFd::from_raw_fd(event) } })
    }

    /// Ends the waits.
    pub(crate) fn wake(&self) {
        let one = 1_u64;
        // Writing can only fail when the counter is full, and then the waits end as well.
        // SAFETY: the descriptor is open, and `one` is eight readable bytes.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
