//! A range of shared memory: copy out, copy in, atomic words, nothing else.

// UNSAFETY: every access goes through a raw pointer into a mapping.
#![expect(unsafe_code, reason = "shared memory must not be seen as a Rust reference")]

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::copy;
use super::mapping::Access;
use super::mapping::Mapping;

/// A range that a [`SharedSlice`] cannot give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len_bytes} bytes at {offset} of a shared range of {have_bytes} bytes: {fault}")]
pub struct OutOfBounds {
    /// First byte asked for.
    pub offset: usize,
    /// Bytes asked for.
    pub len_bytes: usize,
    /// Bytes of the range.
    pub have_bytes: usize,
    /// What is wrong with it.
    pub fault: AccessFault,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessFault {
    /// It ends past the range.
    #[error("out of bounds")]
    Range,
    /// The address is not a multiple of the word size.
    #[error("misaligned")]
    Alignment,
    /// The memory is mapped for reading only.
    #[error("read-only")]
    ReadOnly,
}

/// A range of a [`Mapping`], which it keeps alive. Clones name the same bytes.
#[derive(Clone, Debug)]
pub struct SharedSlice {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl SharedSlice {
    /// All of a mapping.
    #[must_use]
    pub fn whole(mapping: &Arc<Mapping>) -> Self {
        Self { mapping: Arc::clone(mapping), offset: 0, len: mapping.len() }
    }

    /// The `len` bytes from `offset` on.
    ///
    /// # Errors
    /// When they do not lie within this range.
    pub fn sub(&self, offset: usize, len: usize) -> Result<Self, OutOfBounds> {
        self.check(offset, len)?;
        Ok(Self { mapping: Arc::clone(&self.mapping), offset: self.offset + offset, len })
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// First byte. What is done with it is subject to concurrent writers.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr().wrapping_add(self.offset)
    }

    /// The mapping it lies in.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Copies `into.len()` bytes from `at` on to private memory, each byte read once.
    ///
    /// # Errors
    /// When they do not lie within this range.
    #[inline]
    pub fn copy_out(&self, at: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let from = self.check(at, into.len())?;
        // SAFETY: `check` says that the source lies in the mapping, which we keep alive; the target is a `&mut` of ours
        // and so overlaps no shared mapping.
        unsafe { copy::out_of_shared(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies private bytes to `at`, each byte written once.
    ///
    /// # Errors
    /// When they do not fit in this range, or it is read-only.
    #[inline]
    pub fn copy_in(&self, at: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        let to = self.check_write(at, from.len())?;
        // SAFETY: `check_write` says that the target lies in a writable mapping, which we keep alive; the source is
        // a `&[u8]` of ours and so overlaps no shared mapping.
        unsafe { copy::into_shared(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// A value from the bytes at `at`, each read once.
    ///
    /// # Errors
    /// When they do not lie within this range.
    #[inline]
    pub fn read<T: FromBytes>(&self, at: usize) -> Result<T, OutOfBounds> {
        let from = self.check(at, size_of::<T>())?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: `check` says that the source lies in the mapping, which we keep alive; the target is `size_of::<T>()`
        // bytes on our stack.
        unsafe { copy::out_of_shared(from, value.as_mut_ptr().cast(), size_of::<T>()) };
        // SAFETY: all bytes are written, and any bytes are a value of a `FromBytes` type.
        Ok(unsafe { value.assume_init() })
    }

    /// Writes the bytes of a value to `at`.
    ///
    /// # Errors
    /// When they do not fit in this range, or it is read-only.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, at: usize, value: &T) -> Result<(), OutOfBounds> {
        self.copy_in(at, value.as_bytes())
    }

    /// Fills `len` bytes from `at` on with zeros.
    ///
    /// # Errors
    /// When they do not fit in this range, or it is read-only.
    pub fn zero(&self, at: usize, len: usize) -> Result<(), OutOfBounds> {
        self.check_write(at, len)?;
        let zeros = [0; 256];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(zeros.len());
            self.copy_in(at + done, &zeros[..step])?;
            done += step;
        }
        Ok(())
    }

    /// The four bytes at `at` as an atomic word.
    ///
    /// # Errors
    /// When they do not lie within this range, are not aligned, or the range is read-only.
    #[inline]
    pub fn atomic_u32(&self, at: usize) -> Result<&AtomicU32, OutOfBounds> {
        let address = self.check_word(at, size_of::<u32>())?;
        // SAFETY: `check_word` says that the word is aligned and in a writable mapping, which lives as long as `self`.
        // Everybody else uses it outside this Rust program or by atomics.
        Ok(unsafe { AtomicU32::from_ptr(address.cast()) })
    }

    /// The eight bytes at `at` as an atomic word.
    ///
    /// # Errors
    /// When they do not lie within this range, are not aligned, or the range is read-only.
    #[inline]
    pub fn atomic_u64(&self, at: usize) -> Result<&AtomicU64, OutOfBounds> {
        let address = self.check_word(at, size_of::<u64>())?;
        // SAFETY: `check_word` says that the word is aligned and in a writable mapping, which lives as long as `self`.
        // Everybody else uses it outside this Rust program or by atomics.
        Ok(unsafe { AtomicU64::from_ptr(address.cast()) })
    }

    fn fault(&self, offset: usize, len_bytes: usize, fault: AccessFault) -> OutOfBounds {
        OutOfBounds { offset, len_bytes, have_bytes: self.len, fault }
    }

    #[inline]
    fn check(&self, at: usize, len: usize) -> Result<*mut u8, OutOfBounds> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.as_ptr().wrapping_add(at)),
            _ => Err(self.fault(at, len, AccessFault::Range)),
        }
    }

    #[inline]
    fn check_write(&self, at: usize, len: usize) -> Result<*mut u8, OutOfBounds> {
        let address = self.check(at, len)?;
        match self.mapping.access() {
            Access::ReadWrite => Ok(address),
            Access::ReadOnly => Err(self.fault(at, len, AccessFault::ReadOnly)),
        }
    }

    #[inline]
    fn check_word(&self, at: usize, len: usize) -> Result<*mut u8, OutOfBounds> {
        let address = self.check_write(at, len)?;
        if address.addr().is_multiple_of(len) {
            Ok(address)
        } else {
            Err(self.fault(at, len, AccessFault::Alignment))
        }
    }
}
