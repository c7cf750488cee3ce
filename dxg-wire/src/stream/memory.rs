//! What the stream protocol asks of memory.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use super::StreamError;
use super::layout;
use super::layout::Layout;
use crate::shm::SharedSlice;

/// A 64-bit word of the header, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word64 {
    /// [`layout::TAIL`].
    Tail = layout::TAIL,
    /// [`layout::HEAD`].
    Head = layout::HEAD,
    /// [`layout::WANTED`].
    Wanted = layout::WANTED,
}

/// A 32-bit word of the header, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word32 {
    /// [`layout::CONSUMER_SLEEPING`].
    ConsumerSleeping = layout::CONSUMER_SLEEPING,
    /// [`layout::STATUS`].
    Status = layout::STATUS,
    /// [`layout::STATUS_DETAIL`].
    StatusDetail = layout::STATUS_DETAIL,
    /// [`layout::PROGRESS`].
    Progress = layout::PROGRESS,
}

/// Memory of one stream. The protocol passes only ranges within the ring.
pub trait StreamMemory {
    /// Bytes of the ring: a power of two, at least 16.
    fn ring_bytes(&self) -> u32;
    /// Loads a word, with acquire ordering.
    fn load_u64(&self, word: Word64) -> u64;
    /// Stores a word, with release ordering.
    fn store_u64(&self, word: Word64, value: u64);
    /// Exchanges a word, with acquire and release ordering.
    fn swap_u64(&self, word: Word64, value: u64) -> u64;
    /// Lowers a word to at most `value`, with acquire and release ordering.
    fn min_u64(&self, word: Word64, value: u64);
    /// Loads a word, with acquire ordering.
    fn load_u32(&self, word: Word32) -> u32;
    /// Stores a word, with release ordering.
    fn store_u32(&self, word: Word32, value: u32);
    /// Exchanges a word, with acquire and release ordering.
    fn swap_u32(&self, word: Word32, value: u32) -> u32;
    /// Adds to a word (wrapping), with acquire and release ordering, and answers what it was.
    fn add_u32(&self, word: Word32, value: u32) -> u32;
    /// Orders every access before it against every access after it.
    fn full_barrier(&self);
    /// Copies from the ring, each byte read once.
    fn copy_out(&self, at: u32, into: &mut [u8]);
    /// Copies to the ring.
    fn copy_in(&self, at: u32, from: &[u8]);
}

impl<M: StreamMemory + ?Sized> StreamMemory for &M {
    fn ring_bytes(&self) -> u32 {
        (**self).ring_bytes()
    }
    fn load_u64(&self, word: Word64) -> u64 {
        (**self).load_u64(word)
    }
    fn store_u64(&self, word: Word64, value: u64) {
        (**self).store_u64(word, value);
    }
    fn swap_u64(&self, word: Word64, value: u64) -> u64 {
        (**self).swap_u64(word, value)
    }
    fn min_u64(&self, word: Word64, value: u64) {
        (**self).min_u64(word, value);
    }
    fn load_u32(&self, word: Word32) -> u32 {
        (**self).load_u32(word)
    }
    fn store_u32(&self, word: Word32, value: u32) {
        (**self).store_u32(word, value);
    }
    fn swap_u32(&self, word: Word32, value: u32) -> u32 {
        (**self).swap_u32(word, value)
    }
    fn add_u32(&self, word: Word32, value: u32) -> u32 {
        (**self).add_u32(word, value)
    }
    fn full_barrier(&self) {
        (**self).full_barrier();
    }
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        (**self).copy_out(at, into);
    }
    fn copy_in(&self, at: u32, from: &[u8]) {
        (**self).copy_in(at, from);
    }
}

/// A stream in a mapping: header page, then ring.
#[derive(Clone, Debug)]
pub struct SharedStream {
    header: SharedSlice,
    ring: SharedSlice,
    layout: Layout,
}

impl SharedStream {
    /// The stream that fills `memory`.
    ///
    /// # Errors
    /// [`StreamError::BadSize`] or [`StreamError::OutOfBounds`] when it is not page-aligned and writable.
    pub fn new(memory: &SharedSlice) -> Result<Self, StreamError> {
        let layout = Layout::of_memory(memory.len())?;
        let header = memory.sub(0, layout::HEADER_BYTES)?;
        let ring = memory.sub(layout::HEADER_BYTES, layout.ring_bytes() as usize)?;
        // Every word of the header is usable if the first one is aligned and writable.
        header.atomic_u64(0)?;
        Ok(Self { header, ring, layout })
    }

    /// Its sizes.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// A word to sleep on.
    #[inline]
    pub(super) fn word32(&self, word: Word32) -> &AtomicU32 {
        self.header.atomic_u32(word as usize).expect("checked when the stream was made")
    }

    #[inline]
    fn word64(&self, word: Word64) -> &AtomicU64 {
        self.header.atomic_u64(word as usize).expect("checked when the stream was made")
    }
}

impl StreamMemory for SharedStream {
    #[inline]
    fn ring_bytes(&self) -> u32 {
        self.layout.ring_bytes()
    }
    #[inline]
    fn load_u64(&self, word: Word64) -> u64 {
        self.word64(word).load(Ordering::Acquire)
    }
    #[inline]
    fn store_u64(&self, word: Word64, value: u64) {
        self.word64(word).store(value, Ordering::Release);
    }
    #[inline]
    fn swap_u64(&self, word: Word64, value: u64) -> u64 {
        self.word64(word).swap(value, Ordering::AcqRel)
    }
    #[inline]
    fn min_u64(&self, word: Word64, value: u64) {
        self.word64(word).fetch_min(value, Ordering::AcqRel);
    }
    #[inline]
    fn load_u32(&self, word: Word32) -> u32 {
        self.word32(word).load(Ordering::Acquire)
    }
    #[inline]
    fn store_u32(&self, word: Word32, value: u32) {
        self.word32(word).store(value, Ordering::Release);
    }
    #[inline]
    fn swap_u32(&self, word: Word32, value: u32) -> u32 {
        self.word32(word).swap(value, Ordering::AcqRel)
    }
    #[inline]
    fn add_u32(&self, word: Word32, value: u32) -> u32 {
        self.word32(word).fetch_add(value, Ordering::AcqRel)
    }
    #[inline]
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
    #[inline]
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        self.ring.copy_out(at as usize, into).expect("the protocol stays in the ring");
    }
    #[inline]
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.ring.copy_in(at as usize, from).expect("the protocol stays in the ring");
    }
}
