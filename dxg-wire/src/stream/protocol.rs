//! The stream protocol without waiting: what producer and consumer do to the memory, step by step.
//!
//! *Why apart.* The steps run over any [`StreamMemory`], so that they can be checked under every interleaving and against
//! memory that lies. See also `docs/decisions/stream-waiters-name-the-head-they-want.md`.

use super::ENTRY_HEADER_BYTES;
use super::EntryFlags;
use super::EntryHeader;
use super::OP_PAD;
use super::StreamError;
use super::StreamMemory;
use super::Word32;
use super::Word64;

/// What a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a consumer that sleeps waits for the doorbell"]
pub enum Pushed {
    /// Nothing: there is no room now.
    Full,
    /// The bytes are published up to here; the consumer is awake.
    At(u64),
    /// The bytes are published up to here; the doorbell must be rung.
    AtAndRing(u64),
}

/// One step of waiting for a head: `None` when it is there, else the value of the progress word to sleep on. To be repeated
/// after every wake-up, as the wish is forgotten by then.
pub fn wish_for_head<M: StreamMemory>(memory: &M, target: u64) -> Option<u32> {
    let seen = memory.load_u32(Word32::Progress);
    memory.min_u64(Word64::Wanted, target);
    memory.full_barrier();
    (memory.load_u64(Word64::Head) < target).then_some(seen)
}

/// The producer's steps.
#[derive(Debug)]
pub struct ProducerCore<M> {
    memory: M,
    tail: u64,
    /// The consumer's head when last looked at.
    head: u64,
}

impl<M: StreamMemory> ProducerCore<M> {
    /// The producer of a stream that nobody has written yet.
    pub fn new(memory: M) -> Self {
        Self { memory, tail: 0, head: 0 }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Bytes published.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The consumer's head when last looked at: after a full ring it is as of then.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Publishes whole entries that together are at most half of the ring: `entries` must begin with a header, and its
    /// length must be a multiple of 8. They are executed in order and become visible at once.
    ///
    /// # Errors
    /// [`StreamError::Malformed`], [`StreamError::TooLarge`], or [`StreamError::BadIndex`] when the consumer broke the stream.
    #[inline]
    pub fn push(&mut self, entries: &[u8]) -> Result<Pushed, StreamError> {
        let ring_bytes = self.memory.ring_bytes();
        let len_bytes = entries.len();
        if len_bytes < ENTRY_HEADER_BYTES || !len_bytes.is_multiple_of(8) {
            return Err(StreamError::Malformed { len_bytes });
        }
        let limit_bytes = ring_bytes as usize / 2;
        if len_bytes > limit_bytes {
            return Err(StreamError::TooLarge { len_bytes, limit_bytes });
        }
        let mask = u64::from(ring_bytes) - 1;
        let offset = (self.tail & mask) as u32;
        let to_end = ring_bytes - offset;
        let padding = if (to_end as usize) < len_bytes { to_end } else { 0 };
        let needed = u64::from(padding) + len_bytes as u64;
        let room = |head: u64, tail: u64| u64::from(ring_bytes) - (tail - head);
        if room(self.head, self.tail) < needed {
            let head = self.memory.load_u64(Word64::Head);
            // The head only moves on, and never past what is published.
            if head < self.head || head > self.tail || !head.is_multiple_of(8) {
                return Err(StreamError::BadIndex { theirs: head, ours: self.tail });
            }
            self.head = head;
            if room(head, self.tail) < needed {
                return Ok(Pushed::Full);
            }
        }
        if padding != 0 {
            let pad = EntryHeader { opcode: OP_PAD, flags: EntryFlags::NONE, size_bytes: padding };
            self.memory.copy_in(offset, &pad.to_bytes());
            self.memory.copy_in(0, entries);
        } else {
            self.memory.copy_in(offset, entries);
        }
        self.tail += needed;
        self.memory.store_u64(Word64::Tail, self.tail);
        // The tail is visible before the flag is read: a consumer sets its flag before its last look at the tail.
        self.memory.full_barrier();
        let asleep = self.memory.load_u32(Word32::ConsumerSleeping) != 0
            && self.memory.swap_u32(Word32::ConsumerSleeping, 0) != 0;
        Ok(if asleep { Pushed::AtAndRing(self.tail) } else { Pushed::At(self.tail) })
    }
}

/// The consumer's steps.
#[derive(Debug)]
pub struct ConsumerCore<M> {
    memory: M,
    /// Bytes taken. The shared head follows when they are executed.
    taken: u64,
    /// The producer's tail when last looked at.
    tail: u64,
}

impl<M: StreamMemory> ConsumerCore<M> {
    /// The consumer of a stream that nobody has read yet.
    pub fn new(memory: M) -> Self {
        Self { memory, taken: 0, tail: 0 }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Bytes taken out of the ring.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next entry, if there is one: it replaces what is in `scratch`, header included.
    ///
    /// # Errors
    /// [`StreamError::BadIndex`] or [`StreamError::BadEntry`] when the producer broke the stream. It is of no use then.
    #[inline]
    pub fn take(&mut self, scratch: &mut Vec<u8>) -> Result<Option<EntryHeader>, StreamError> {
        let ring_bytes = self.memory.ring_bytes();
        loop {
            if self.is_empty()? {
                return Ok(None);
            }
            let at = self.taken;
            let available_bytes = self.tail - at;
            let offset = (at & (u64::from(ring_bytes) - 1)) as u32;
            let to_end = ring_bytes - offset;
            // Indices are multiples of 8, so a header is there and does not wrap.
            let mut bytes = [0; ENTRY_HEADER_BYTES];
            self.memory.copy_out(offset, &mut bytes);
            let header = EntryHeader::from_bytes(bytes);
            let size = header.size_bytes;
            let pad = header.opcode == OP_PAD;
            if size < ENTRY_HEADER_BYTES as u32
                || !size.is_multiple_of(8)
                || size > to_end
                || u64::from(size) > available_bytes
                || (!pad && size > ring_bytes / 2)
            {
                let opcode = header.opcode;
                return Err(StreamError::BadEntry { at, opcode, size_bytes: size, available_bytes });
            }
            self.taken = at + u64::from(size);
            if pad {
                continue;
            }
            // Not cleared first: only growth is filled, and all of it is overwritten.
            scratch.resize(size as usize, 0);
            let (head, body) = scratch.split_at_mut(ENTRY_HEADER_BYTES);
            head.copy_from_slice(&bytes);
            self.memory.copy_out(offset + ENTRY_HEADER_BYTES as u32, body);
            return Ok(Some(header));
        }
    }

    /// Says that all entries taken so far are executed; answers whether somebody is to be woken for it.
    #[inline]
    pub fn done(&mut self) -> bool {
        self.memory.store_u64(Word64::Head, self.taken);
        // The head is visible before the wish is read: a waiter wishes before its last look at the head.
        self.memory.full_barrier();
        let reached = self.memory.load_u64(Word64::Wanted) <= self.taken;
        if reached {
            // All waiters are woken and wish again if need be. The wish is cleared before the futex word changes, so whoever
            // wished before the clearing sees the change.
            self.memory.swap_u64(Word64::Wanted, u64::MAX);
            self.memory.add_u32(Word32::Progress, 1);
        }
        reached
    }

    /// Whether nothing is published beyond what was taken.
    ///
    /// # Errors
    /// [`StreamError::BadIndex`] when the producer broke the stream.
    #[inline]
    pub fn is_empty(&mut self) -> Result<bool, StreamError> {
        if self.tail == self.taken {
            let tail = self.memory.load_u64(Word64::Tail);
            // The tail only moves on, and by no more than the ring holds.
            let ahead = tail.checked_sub(self.tail);
            if ahead.is_none_or(|ahead| ahead > u64::from(self.memory.ring_bytes()))
                || !tail.is_multiple_of(8)
            {
                return Err(StreamError::BadIndex { theirs: tail, ours: self.taken });
            }
            self.tail = tail;
        }
        Ok(self.tail == self.taken)
    }

    /// Announces a sleep and looks once more: `true` when the doorbell will be rung for the next entry.
    ///
    /// # Errors
    /// As [`is_empty`](Self::is_empty).
    pub fn prepare_sleep(&mut self) -> Result<bool, StreamError> {
        // An exchange, like the producer's: then the two are ordered among themselves whatever else is.
        self.memory.swap_u32(Word32::ConsumerSleeping, 1);
        self.memory.full_barrier();
        if self.is_empty()? {
            return Ok(true);
        }
        self.end_sleep();
        Ok(false)
    }

    /// Takes the announcement back.
    pub fn end_sleep(&mut self) {
        self.memory.store_u32(Word32::ConsumerSleeping, 0);
    }
}
