//! A queue of ours on the program's connection, and waiting for events on it.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;
use std::time::Instant;

use parking_lot::Mutex;

use super::library::Library;
use super::library::Opaque;
use super::waker::Waker;

/// Why presenting to a Wayland surface ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// There is no libwayland-client that we can use.
    #[error("no libwayland-client 1.20 or later in this process")]
    NoLibrary,
    /// The library could not allocate.
    #[error("libwayland-client is out of memory")]
    OutOfMemory,
    /// The compositor is gone, or has refused a request of ours or of the program's.
    #[error("the connection to the compositor is broken")]
    Broken,
    /// The compositor has no shared memory buffers.
    #[error("the compositor offers no wl_shm")]
    NoShm,
}

/// How long a wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Only what is there already is looked at.
    Now,
    /// Until then.
    At(Instant),
    /// As long as it takes.
    Never,
}

impl Deadline {
    /// What `poll` takes: milliseconds, rounded up, so that a wait does not end early.
    fn poll_ms(self) -> c_int {
        match self {
            Self::Now => 0,
            Self::Never => -1,
            Self::At(at) => {
                let left = at.saturating_duration_since(Instant::now());
                c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
            }
        }
    }

    fn is_over(self) -> bool {
        match self {
            Self::Now => true,
            Self::Never => false,
            Self::At(at) => at <= Instant::now(),
        }
    }
}

/// Our queue on the program's connection.
pub(crate) struct Connection {
    pub(super) library: &'static Library,
    pub(super) display: NonNull<Opaque>,
    pub(super) queue: NonNull<Opaque>,
    /// Held while callbacks run, and while an object is destroyed or a wait is begun: so no callback meets a dying object,
    /// and no wait misses what a callback on another thread has just told.
    pub(super) dispatching: Mutex<()>,
}

// SAFETY: libwayland's display and queues may be used from any thread.
unsafe impl Send for Connection {}
// SAFETY: as above; dispatching the one queue is under a lock.
unsafe impl Sync for Connection {}

impl Connection {
    /// Opens a queue on `display`.
    ///
    /// # Safety
    /// `display` is a `wl_display` of this process's libwayland-client, and stays connected while the result lives.
    ///
    /// # Errors
    /// [`Error::NoLibrary`], [`Error::OutOfMemory`].
    pub(crate) unsafe fn new(display: NonNull<std::ffi::c_void>) -> Result<Self, Error> {
        let library = Library::get().ok_or(Error::NoLibrary)?;
        let display = display.cast::<Opaque>();
        // SAFETY: the caller's promise: a live display of this library.
        let queue = unsafe { (library.create_queue)(display.as_ptr()) };
        let queue = NonNull::new(queue).ok_or(Error::OutOfMemory)?;
        Ok(Self { library, display, queue, dispatching: Mutex::new(()) })
    }

    /// Whether the connection still works, as far as is known.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        // SAFETY: the display lives as long as `self`.
        match unsafe { (self.library.get_error)(self.display.as_ptr()) } {
            0 => Ok(()),
            code => {
                tracing::debug!(code, "the Wayland connection is broken");
                Err(Error::Broken)
            }
        }
    }

    /// Sends what was requested, as far as it can be sent without waiting.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.try_flush().map(|_| ())
    }

    /// Runs the callbacks of what arrives until `done`, the deadline or the waker; the result is `done`'s last answer.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub(crate) fn wait(
        &self,
        deadline: Deadline,
        waker: Option<&Waker>,
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, Error> {
        let display = self.display.as_ptr();
        let mut looked = false;
        loop {
            let dispatching = self.dispatching.lock();
            // SAFETY: display and queue live as long as `self`.
            if unsafe { (self.library.dispatch_queue_pending)(display, self.queue.as_ptr()) } < 0 {
                return Err(Error::Broken);
            }
            if done() {
                return Ok(true);
            }
            if looked && deadline.is_over() {
                return Ok(false);
            }
            looked = true;
            // SAFETY: as above. Each success is followed by one `read_events` or one `cancel_read`.
            if unsafe { (self.library.prepare_read_queue)(display, self.queue.as_ptr()) } != 0 {
                // Events have come to the queue meanwhile.
                continue;
            }
            drop(dispatching);
            match self.poll(deadline, waker) {
                Ok(Woken::Readable) => {
                    // SAFETY: this thread has prepared to read.
                    if unsafe { (self.library.read_events)(display) } < 0 {
                        return Err(Error::Broken);
                    }
                }
                Ok(woken) => {
                    self.cancel_read();
                    if woken == Woken::Stopped {
                        return Ok(done());
                    }
                }
                Err(error) => {
                    self.cancel_read();
                    return Err(error);
                }
            }
        }
    }

    fn cancel_read(&self) {
        // SAFETY: this thread has prepared to read, as each caller has.
        unsafe { (self.library.cancel_read)(self.display.as_ptr()) };
    }

    /// Sends what it can; whether something is left that the socket does not take yet.
    fn try_flush(&self) -> Result<bool, Error> {
        // SAFETY: the display lives as long as `self`.
        if unsafe { (self.library.flush)(self.display.as_ptr()) } >= 0 {
            return Ok(false);
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => Ok(true),
            // The other end is closed, but what it said last can still be read.
            Some(libc::EPIPE) => Ok(false),
            _ => Err(Error::Broken),
        }
    }

    fn poll(&self, deadline: Deadline, waker: Option<&Waker>) -> Result<Woken, Error> {
        let is_full = self.try_flush()?;
        // SAFETY: the display lives as long as `self`.
        let fd = unsafe { (self.library.get_fd)(self.display.as_ptr()) };
        let events = if is_full { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        let mut fds = [
            libc::pollfd { fd, events, revents: 0 },
            // A negative descriptor is passed over.
            libc::pollfd {
                fd: waker.map_or(-1, |w| w.as_fd().as_raw_fd()),
                events: libc::POLLIN,
                revents: 0,
            },
        ];
        // SAFETY: `fds` is an array of two that lives through the call.
        if unsafe { libc::poll(fds.as_mut_ptr(), 2, deadline.poll_ms()) } < 0 {
            let error = io::Error::last_os_error();
            let is_harmless = error.kind() == io::ErrorKind::Interrupted;
            return if is_harmless { Ok(Woken::Nothing) } else { Err(Error::Broken) };
        }
        let [display, waker] = fds;
        Ok(if display.revents & !libc::POLLOUT != 0 {
            // An error or a hang-up too: reading tells what it is.
            Woken::Readable
        } else if waker.revents != 0 {
            Woken::Stopped
        } else {
            Woken::Nothing
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: every object on the queue holds the connection, so there is none any more.
        unsafe { (self.library.queue_destroy)(self.queue.as_ptr()) };
    }
}

/// Why `poll` came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Readable,
    Stopped,
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadline_rounds_up_for_poll() {
        let (now, second) = (Instant::now(), Duration::from_secs(3600));
        assert_eq!((Deadline::Now.poll_ms(), Deadline::Never.poll_ms()), (0, -1));
        assert_eq!(Deadline::At(now).poll_ms(), 0);
        assert!((1..=3_600_000).contains(&Deadline::At(now + second).poll_ms()));
        assert!(Deadline::Now.is_over() && Deadline::At(now).is_over() && !Deadline::Never.is_over());
    }
}
