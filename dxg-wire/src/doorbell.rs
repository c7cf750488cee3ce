//! Doorbells: eventfds that wake a reader that sleeps.
//!
//! *Why.* Rings say by an index that there is work; a doorbell only ends the sleep of a reader that saw none. It carries no
//! data: any number of rings is one wake-up.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::shm::futex::timespec;

/// Makes the eventfd of a doorbell: non-blocking, close-on-exec.
///
/// # Errors
/// What the system says: no descriptors.
pub fn create() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Rings: a reader that sleeps, or is about to, wakes.
pub fn ring(doorbell: impl AsFd) {
    // A full counter is as good as a ring. A peer could hand over a descriptor that refuses; then only it suffers.
    let _ = rustix::io::write(doorbell, &1_u64.to_ne_bytes());
}

/// Forgets the rings so far.
pub fn drain(doorbell: impl AsFd) {
    let mut count = [0; 8];
    // "Would block" means that there were none.
    let _ = rustix::io::read(doorbell, &mut count);
}

/// Sleeps until one of the descriptors is readable or hung up, for at most `timeout`. Answers which ones are, as bits;
/// interruptions and time-outs answer 0. At most 64 descriptors.
///
/// # Errors
/// What poll says, never an interruption.
pub fn wait(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<u64> {
    let mut polls: Vec<PollFd<'_>> =
        fds.iter().take(64).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match rustix::event::poll(&mut polls, timeout.map(timespec).as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(0),
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = 0;
    for (bit, poll) in polls.iter().enumerate() {
        if !poll.revents().is_empty() {
            ready |= 1 << bit;
        }
    }
    Ok(ready)
}
