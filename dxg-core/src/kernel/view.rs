//! Memory that the kernel mapped into this process: fence values and locked allocations.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_ioctl::UserPtr;

/// A range mapped by the kernel. The device may write it at any time, so all access is by atomics.
#[derive(Debug)]
pub(crate) struct KernelView {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the range is not tied to a thread; all access to it is atomic.
unsafe impl Send for KernelView {}
// SAFETY: as above.
unsafe impl Sync for KernelView {}

impl KernelView {
    /// The `len` bytes at `address`; `None` for null or a range beyond the address space.
    ///
    /// # Safety
    /// The range is mapped read-write as long as the view lives, and no Rust reference to it exists.
    pub(crate) unsafe fn new(address: UserPtr, len: usize) -> Option<Self> {
        let start = usize::try_from(address.0).ok()?;
        start.checked_add(len).filter(|_| isize::try_from(len).is_ok())?;
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(start))?;
        Some(Self { start, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies out; `None` past the end.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) -> Option<()> {
        self.check(at, into.len())?;
        for (offset, byte) in into.iter_mut().enumerate() {
            *byte = self.byte(at + offset).load(Ordering::Relaxed);
        }
        Some(())
    }

    /// Copies in; `None` past the end.
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> Option<()> {
        self.check(at, from.len())?;
        for (offset, byte) in from.iter().enumerate() {
            self.byte(at + offset).store(*byte, Ordering::Relaxed);
        }
        Some(())
    }

    /// The 64-bit value at an aligned offset; `None` past the end or misaligned.
    pub(crate) fn load_u64(&self, at: usize) -> Option<u64> {
        self.check(at, size_of::<u64>())?;
        let address: *mut u64 = self.start.as_ptr().wrapping_add(at).cast();
        if !address.is_aligned() {
            return None;
        }
        // SAFETY: the word lies in the mapped range, checked above, is aligned, and everybody here uses atomics.
        let word = unsafe { AtomicU64::from_ptr(address) };
        Some(word.load(Ordering::Acquire))
    }

    fn check(&self, at: usize, len: usize) -> Option<()> {
        (at.checked_add(len)? <= self.len).then_some(())
    }

    /// Callers have checked the offset.
    fn byte(&self, at: usize) -> &AtomicU8 {
        debug_assert!(at < self.len, "checked by the caller");
        // SAFETY: the byte lies in the mapped range, checked by the callers, and everybody here uses atomics.
        unsafe { AtomicU8::from_ptr(self.start.as_ptr().wrapping_add(at)) }
    }
}
