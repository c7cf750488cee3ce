//! What the ring algorithm asks of memory.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use super::CONTROL_BYTES;
use super::RingError;
use super::data_bytes;
use crate::shm::SharedSlice;

/// A word of the control page, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ControlWord {
    /// Where the next packet will be written; written by the sender.
    WriteIndex = 0,
    /// Where the next packet will be read; written by the receiver.
    ReadIndex = 4,
    /// Not zero: the receiver is awake and wants no signal; written by the receiver.
    InterruptMask = 8,
    /// Not zero: the free bytes that a blocked sender waits for; written by the sender.
    PendingSendSize = 12,
    /// Bit 0: the sender uses the pending send size; written by the sender.
    FeatureBits = 64,
}

/// Memory of one ring. The algorithm passes only ranges within the data area.
pub trait RingMemory {
    /// Bytes of the data area: a multiple of 8, not zero.
    fn data_bytes(&self) -> u32;
    /// Loads a control word, with acquire ordering.
    fn load(&self, word: ControlWord) -> u32;
    /// Stores a control word, with release ordering.
    fn store(&self, word: ControlWord, value: u32);
    /// Orders every access before it against every access after it.
    fn full_barrier(&self);
    /// Copies from the data area, each byte read once.
    fn copy_out(&self, at: u32, into: &mut [u8]);
    /// Copies to the data area.
    fn copy_in(&self, at: u32, from: &[u8]);
}

impl<M: RingMemory + ?Sized> RingMemory for &M {
    fn data_bytes(&self) -> u32 {
        (**self).data_bytes()
    }
    fn load(&self, word: ControlWord) -> u32 {
        (**self).load(word)
    }
    fn store(&self, word: ControlWord, value: u32) {
        (**self).store(word, value);
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

impl<M: RingMemory + ?Sized> RingMemory for Arc<M> {
    fn data_bytes(&self) -> u32 {
        (**self).data_bytes()
    }
    fn load(&self, word: ControlWord) -> u32 {
        (**self).load(word)
    }
    fn store(&self, word: ControlWord, value: u32) {
        (**self).store(word, value);
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

/// A ring in a mapping: control page, then data area.
#[derive(Clone, Debug)]
pub struct SharedRing {
    control: SharedSlice,
    data: SharedSlice,
    data_bytes: u32,
}

impl SharedRing {
    /// The ring that fills `memory`.
    ///
    /// # Errors
    /// [`RingError::BadSize`] when the size is not one of a ring, the range is not page-aligned or it is read-only.
    pub fn new(memory: &SharedSlice) -> Result<Self, RingError> {
        let bytes = memory.len() as u64;
        let data_bytes = data_bytes(bytes)?;
        let control_bytes = CONTROL_BYTES as usize;
        let bad = |_| RingError::BadSize { bytes };
        let control = memory.sub(0, control_bytes).map_err(bad)?;
        let data = memory.sub(control_bytes, data_bytes as usize).map_err(bad)?;
        // Every control word is usable if the first one is aligned and writable.
        control.atomic_u64(0).map_err(bad)?;
        Ok(Self { control, data, data_bytes })
    }

    #[inline]
    fn word(&self, word: ControlWord) -> &AtomicU32 {
        self.control.atomic_u32(word as usize).expect("checked when the ring was made")
    }
}

impl RingMemory for SharedRing {
    #[inline]
    fn data_bytes(&self) -> u32 {
        self.data_bytes
    }

    #[inline]
    fn load(&self, word: ControlWord) -> u32 {
        self.word(word).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, word: ControlWord, value: u32) {
        self.word(word).store(value, Ordering::Release);
    }

    #[inline]
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn copy_out(&self, at: u32, into: &mut [u8]) {
        self.data.copy_out(at as usize, into).expect("the algorithm stays in the data area");
    }

    #[inline]
    fn copy_in(&self, at: u32, from: &[u8]) {
        self.data.copy_in(at as usize, from).expect("the algorithm stays in the data area");
    }
}
