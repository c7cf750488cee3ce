//! Descriptors that whoever started us left open on purpose.

// UNSAFETY: a number from the command line becomes an owned descriptor.
#![expect(unsafe_code, reason = "owning a descriptor by number is not expressible in safe Rust")]

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::FdFlags;

/// A copy of descriptor `fd` of our parent, close-on-exec. The original keeps its number and is closed on exec too.
///
/// # Errors
/// The number is one of the standard streams' or names nothing open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "descriptors 0 to 2 cannot be used here"));
    }
    // SAFETY: the borrow lives for the two calls below only; a number that names nothing open makes them fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed.as_fd(), 3)?)
}

/// The socket at descriptor 0, which nothing else reads from here on.
///
/// # Errors
/// Descriptor 0 is closed, or there are no descriptors.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}
