//! The host's end of a stream.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use super::ConsumerCore;
use super::EntryHeader;
use super::Layout;
use super::SharedStream;
use super::StreamError;
use super::StreamMemory;
use super::Word32;
use crate::doorbell;
use crate::shm::SharedSlice;
use crate::shm::futex;

/// How long an idle consumer looks at the ring before it sleeps, unless its owner says otherwise.
pub const DEFAULT_SPIN: Duration = Duration::from_micros(50);
/// Looks at the ring between two calls of the owner's idle closure.
const LOOKS: u32 = 16;

/// What an idle consumer does next. Asked over and over while the ring is empty, and after every wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Keep looking until the spin budget is over, then sleep.
    Poll,
    /// Keep looking, whatever the budget: the owner polls something that rings no doorbell.
    Busy,
    /// Sleep now.
    Sleep,
    /// Leave with [`Next::Closed`].
    Stop,
}

/// What [`Consumer::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An entry, in the scratch memory.
    Entry(EntryHeader),
    /// The idle closure said to stop.
    Closed,
}

/// The host's end of a stream, used by one thread.
#[derive(Debug)]
pub struct Consumer {
    core: ConsumerCore<SharedStream>,
    doorbell: OwnedFd,
    watched: Vec<OwnedFd>,
    spin: Duration,
}

impl Consumer {
    /// The consumer of a fresh stream that fills `memory`, woken by `doorbell`.
    ///
    /// # Errors
    /// When the memory is not that of a stream.
    pub fn new(memory: SharedSlice, doorbell: OwnedFd) -> Result<Self, StreamError> {
        let core = ConsumerCore::new(SharedStream::new(&memory)?);
        Ok(Self { core, doorbell, watched: Vec::new(), spin: DEFAULT_SPIN })
    }

    /// Its sizes.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.core.memory().layout()
    }

    /// Sets how long an idle consumer looks before it sleeps.
    pub fn set_spin(&mut self, spin: Duration) {
        self.spin = spin;
    }

    /// Also wakes a sleeping consumer when `fd` is readable. Whoever is asked while idle drains it.
    pub fn watch(&mut self, fd: OwnedFd) {
        self.watched.push(fd);
    }

    /// Takes the next entry into `scratch`, waiting for it; `idle` says how.
    ///
    /// # Errors
    /// When the producer broke the stream, or the system refused to sleep.
    #[inline]
    pub fn next(
        &mut self,
        scratch: &mut Vec<u8>,
        idle: &mut dyn FnMut() -> Idle,
    ) -> Result<Next, StreamError> {
        match self.core.take(scratch)? {
            Some(header) => Ok(Next::Entry(header)),
            None => self.next_later(scratch, idle),
        }
    }

    /// Waits for an entry. Apart, so that a consumer that has work does not pay for it.
    #[cold]
    #[inline(never)]
    fn next_later(
        &mut self,
        scratch: &mut Vec<u8>,
        idle: &mut dyn FnMut() -> Idle,
    ) -> Result<Next, StreamError> {
        let mut until = Instant::now() + self.spin;
        loop {
            let sleep = match idle() {
                Idle::Stop => return Ok(Next::Closed),
                Idle::Sleep => true,
                Idle::Busy => false,
                Idle::Poll => Instant::now() >= until,
            };
            if sleep {
                self.sleep()?;
                until = Instant::now() + self.spin;
            }
            for _ in 0..LOOKS {
                if let Some(header) = self.core.take(scratch)? {
                    return Ok(Next::Entry(header));
                }
                std::hint::spin_loop();
            }
        }
    }

    /// Takes the next entry into `scratch` if there is one.
    ///
    /// # Errors
    /// When the producer broke the stream.
    pub fn try_next(&mut self, scratch: &mut Vec<u8>) -> Result<Option<EntryHeader>, StreamError> {
        self.core.take(scratch)
    }

    /// Says that every entry taken so far is executed, and wakes who waits for it.
    pub fn done(&mut self) {
        if self.core.done() {
            futex::wake_all(self.core.memory().word32(Word32::Progress));
        }
    }

    /// Bytes taken out of the ring so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.core.taken()
    }

    /// Sets the sticky status, unless one is set. Statuses are not 0.
    pub fn set_status(&mut self, status: u32, detail: i32) {
        let memory = self.core.memory();
        // The guest may have scribbled over it; then it deceives itself.
        if memory.load_u32(Word32::Status) == 0 {
            memory.store_u32(Word32::StatusDetail, detail.cast_unsigned());
            memory.store_u32(Word32::Status, status);
        }
    }

    fn sleep(&mut self) -> Result<(), StreamError> {
        if !self.core.prepare_sleep()? {
            return Ok(());
        }
        let mut fds: Vec<BorrowedFd<'_>> = Vec::with_capacity(self.watched.len() + 1);
        fds.push(self.doorbell.as_fd());
        fds.extend(self.watched.iter().map(AsFd::as_fd));
        let ready = doorbell::wait(&fds, None);
        self.core.end_sleep();
        if ready? & 1 != 0 {
            doorbell::drain(&self.doorbell);
        }
        Ok(())
    }
}
