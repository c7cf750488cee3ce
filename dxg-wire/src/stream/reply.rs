//! Reply slots: where the host puts the answer to one entry.
//!
//! *Layout.* A header of [`SLOT_HEADER_BYTES`]: sequence done u32 at 0 (the futex word), waiters u32 at 4, status i32 at 8,
//! payload bytes u32 at 12; the payload at 64.
//!
//! *Invariants.* The host writes payload, length and status before the sequence. The guest uses a slot for one entry at a time and
//! gives each use a sequence other than the last.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;
use std::time::Duration;

use crate::shm::OutOfBounds;
use crate::shm::SharedSlice;
use crate::shm::futex;

/// Bytes before the payload.
pub const SLOT_HEADER_BYTES: usize = 64;

const DONE: usize = 0;
const WAITERS: usize = 4;
const STATUS: usize = 8;
const LEN: usize = 12;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 0, or a negative error of the stream.
    pub status: i32,
    /// Bytes of payload.
    pub len_bytes: usize,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The caller's closure said so.
    #[error("cancelled")]
    Cancelled,
    /// The payload does not fit the slot.
    #[error("a reply of {len_bytes} bytes; the slot takes {capacity_bytes}")]
    TooLarge {
        /// Its bytes.
        len_bytes: usize,
        /// What the slot takes.
        capacity_bytes: usize,
    },
}

/// One side's view of a reply slot.
#[derive(Clone, Debug)]
pub struct ReplySlot {
    memory: SharedSlice,
}

impl ReplySlot {
    /// The slot that fills a writable, 4-aligned range.
    ///
    /// # Errors
    /// When the range is shorter than a slot's header, misaligned or read-only.
    pub fn new(memory: SharedSlice) -> Result<Self, OutOfBounds> {
        memory.sub(0, SLOT_HEADER_BYTES)?;
        memory.atomic_u32(DONE)?;
        Ok(Self { memory })
    }

    /// Most payload bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.memory.len() - SLOT_HEADER_BYTES
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        self.memory.atomic_u32(at).expect("checked when the slot was made")
    }

    /// Guest: makes the slot ready for the reply with this sequence.
    pub fn begin(&self, sequence: u32) {
        self.word(STATUS).store(0, Ordering::Relaxed);
        self.word(LEN).store(0, Ordering::Relaxed);
        // Anything but the sequence itself.
        self.word(DONE).store(sequence.wrapping_sub(1), Ordering::Release);
    }

    /// Guest: waits for the reply with this sequence: looks for `spin`, then sleeps.
    ///
    /// `cancelled` is asked at least every [`futex::SLICE`].
    ///
    /// # Errors
    /// [`ReplyError::Cancelled`], or [`ReplyError::TooLarge`] when the host claims more than the slot holds.
    pub fn wait(
        &self,
        sequence: u32,
        spin: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Reply, ReplyError> {
        let done = self.word(DONE);
        let finished = || done.load(Ordering::Acquire) == sequence;
        if finished() {
            return self.take();
        }
        if crate::spin::spin(spin, || finished().then_some(())).is_some() {
            return self.take();
        }
        let waiters = self.word(WAITERS);
        waiters.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let outcome = loop {
            let seen = done.load(Ordering::Acquire);
            if seen == sequence {
                break self.take();
            }
            if cancelled() {
                break Err(ReplyError::Cancelled);
            }
            futex::wait(done, seen, futex::SLICE);
        };
        waiters.fetch_sub(1, Ordering::AcqRel);
        outcome
    }

    /// Guest: makes the waiter ask its closure again, once no host is left to answer.
    pub fn wake_all(&self) {
        // Another value than the waiter saw, so that it is not about to sleep on it.
        self.word(DONE).fetch_sub(1, Ordering::AcqRel);
        futex::wake_all(self.word(DONE));
    }

    fn take(&self) -> Result<Reply, ReplyError> {
        let status = self.word(STATUS).load(Ordering::Relaxed).cast_signed();
        let len_bytes = self.word(LEN).load(Ordering::Relaxed) as usize;
        let capacity_bytes = self.capacity_bytes();
        if len_bytes > capacity_bytes {
            return Err(ReplyError::TooLarge { len_bytes, capacity_bytes });
        }
        Ok(Reply { status, len_bytes })
    }

    /// Guest: copies payload from `at` on.
    ///
    /// # Errors
    /// When the range is not in the slot.
    pub fn copy_payload(&self, at: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        self.memory.copy_out(SLOT_HEADER_BYTES.saturating_add(at), into)
    }

    /// Guest: the payload of a reply, replacing what is in `into`.
    pub fn payload(&self, reply: Reply, into: &mut Vec<u8>) {
        into.resize(reply.len_bytes.min(self.capacity_bytes()), 0);
        self.memory.copy_out(SLOT_HEADER_BYTES, into).expect("no longer than the slot");
    }

    /// Host: writes the answer and wakes the guest.
    ///
    /// # Errors
    /// [`ReplyError::TooLarge`]: nothing was written; the caller answers something shorter.
    pub fn finish(&self, sequence: u32, status: i32, payload: &[u8]) -> Result<(), ReplyError> {
        let too_large =
            ReplyError::TooLarge { len_bytes: payload.len(), capacity_bytes: self.capacity_bytes() };
        let len = u32::try_from(payload.len()).map_err(|_| too_large)?;
        self.memory.copy_in(SLOT_HEADER_BYTES, payload).map_err(|_| too_large)?;
        self.word(LEN).store(len, Ordering::Relaxed);
        self.word(STATUS).store(status.cast_unsigned(), Ordering::Relaxed);
        let done = self.word(DONE);
        done.store(sequence, Ordering::Release);
        // The sequence is visible before the waiters are counted: a waiter counts itself before its last look.
        fence(Ordering::SeqCst);
        if self.word(WAITERS).load(Ordering::Relaxed) != 0 {
            futex::wake_all(done);
        }
        Ok(())
    }
}
