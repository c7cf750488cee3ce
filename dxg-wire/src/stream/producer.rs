//! The guest's end of a stream.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::Layout;
use super::ProducerCore;
use super::Pushed;
use super::SharedStream;
use super::StreamError;
use super::StreamMemory;
use super::Word32;
use super::Word64;
use super::protocol::wish_for_head;
use crate::doorbell;
use crate::shm::SharedSlice;
use crate::shm::futex;

/// How long a waiter looks before it sleeps.
const SPIN: Duration = Duration::from_micros(20);

/// A place in a stream: bytes from its start up to the end of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// The guest's end of a stream. Many threads may push; entries go in whole, in the order of the pushes.
#[derive(Debug)]
pub struct Producer {
    core: Mutex<ProducerCore<SharedStream>>,
    memory: SharedStream,
    doorbell: OwnedFd,
}

impl Producer {
    /// The producer of a fresh stream that fills `memory`; `doorbell` wakes its consumer.
    ///
    /// # Errors
    /// When the memory is not that of a stream.
    pub fn new(memory: SharedSlice, doorbell: OwnedFd) -> Result<Self, StreamError> {
        let memory = SharedStream::new(&memory)?;
        Ok(Self { core: Mutex::new(ProducerCore::new(memory.clone())), memory, doorbell })
    }

    /// Its sizes.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.memory.layout()
    }

    /// Pushes one entry, complete with its header, or several that are to be visible at once.
    ///
    /// Waits for space; `cancelled` is asked at least every [`futex::SLICE`] while waiting. Answers the position after it.
    ///
    /// # Errors
    /// Any of [`StreamError`]; [`StreamError::Cancelled`] leaves the stream as it was.
    pub fn push(&self, entry: &[u8], cancelled: &dyn Fn() -> bool) -> Result<Position, StreamError> {
        // A panic inside the lock leaves the indices as they were published.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match core.push(entry)? {
                Pushed::At(position) => return Ok(Position(position)),
                Pushed::AtAndRing(position) => {
                    doorbell::ring(&self.doorbell);
                    return Ok(Position(position));
                }
                Pushed::Full => {
                    // A quarter of the ring at once, so that a full ring does not mean one wake-up per entry. Where the entry
                    // needs more than that, the next round waits for the rest.
                    let quarter = u64::from(self.layout().ring_bytes()) / 4;
                    self.wait_head((core.head() + quarter).min(core.tail()), cancelled)?;
                }
            }
        }
    }

    /// The position after the last entry pushed.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.core.lock().unwrap_or_else(PoisonError::into_inner).tail())
    }

    /// Bytes executed: what ends at or before is done.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.memory.load_u64(Word64::Head)
    }

    /// Waits until everything up to a position is executed.
    ///
    /// # Errors
    /// [`StreamError::Cancelled`].
    pub fn wait_consumed(&self, position: Position, cancelled: &dyn Fn() -> bool) -> Result<(), StreamError> {
        self.wait_head(position.0, cancelled)
    }

    /// The sticky status of the host, 0 when there is none, and its detail.
    #[must_use]
    pub fn status(&self) -> (u32, i32) {
        let status = self.memory.load_u32(Word32::Status);
        (status, self.memory.load_u32(Word32::StatusDetail).cast_signed())
    }

    /// Makes every waiter look at its closure again, such as after the loss of the host.
    pub fn wake_waiters(&self) {
        self.memory.add_u32(Word32::Progress, 1);
        futex::wake_all(self.memory.word32(Word32::Progress));
    }

    fn wait_head(&self, target: u64, cancelled: &dyn Fn() -> bool) -> Result<(), StreamError> {
        let reached = || self.consumed() >= target;
        if crate::spin::spin(SPIN, || reached().then_some(())).is_some() {
            return Ok(());
        }
        let word = self.memory.word32(Word32::Progress);
        while let Some(seen) = wish_for_head(&self.memory, target) {
            if cancelled() {
                return Err(StreamError::Cancelled);
            }
            futex::wait(word, seen, futex::SLICE);
        }
        Ok(())
    }
}
