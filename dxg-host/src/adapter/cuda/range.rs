//! A range of this process's addresses that the guest has chosen, and memory of windows in it.
//!
//! *Why.* A device pointer is the same number in guest and host. The range is reserved whole at the start, so that nothing
//! of this process ever lies in it.
//!
//! *How memory gets there.* A window is mapped once, when it is announced, and its descriptor is closed. To see the same pages
//! at a second address, the system is asked to "move" no bytes of a shared mapping, which duplicates it.

// UNSAFETY: maps, unmaps and copies at addresses that come from outside, all within one reservation.
#![expect(unsafe_code, reason = "MAP_FIXED and raw copies act on a reserved address range")]

use std::ffi::c_void;
use std::hint::black_box;
use std::io;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_wire::shm::SharedSlice;
use rustix::mm::MapFlags;
use rustix::mm::MremapFlags;
use rustix::mm::ProtFlags;

/// Bounds of what is mapped are multiples of this.
pub(super) const PAGE: u64 = 4096;
/// Lowest address of a range: below lies what a null pointer with an offset reaches.
const LOWEST: u64 = 1 << 32;
/// End of the addresses that user space has on the machines that we run on.
const HIGHEST: u64 = 1 << 47;
/// Largest range.
const MOST_BYTES: u64 = 1 << 44;

/// Whether a range is one that can be asked for at all.
pub(super) fn is_plausible(start: u64, bytes: u64) -> bool {
    let aligned = start.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE);
    let ends_low = start.checked_add(bytes).is_some_and(|end| end <= HIGHEST);
    aligned && start >= LOWEST && bytes != 0 && bytes <= MOST_BYTES && ends_low
}

/// A reserved range of addresses, given back on drop.
///
/// Nothing in it can be reached until [`Self::place`] puts memory there.
#[derive(Debug)]
pub(super) struct Reservation {
    start: u64,
    bytes: u64,
}

impl Reservation {
    /// Reserves a range where nothing is mapped yet.
    ///
    /// # Errors
    /// When something is there, or the system has no room.
    pub(super) fn new(start: u64, bytes: u64) -> io::Result<Self> {
        let wanted = address(start)?;
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        // A kernel that does not know the flag takes the address as a hint; then the range is elsewhere and given back.
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: the range replaces nothing: the flag refuses it where something is mapped.
        let got = unsafe { rustix::mm::mmap_anonymous(wanted, len, ProtFlags::empty(), flags) }?;
        if got != wanted {
            // SAFETY: the mapping was just made, is ours, and nothing refers to it.
            unsafe { rustix::mm::munmap(got, len) }?;
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(Self { start, bytes })
    }

    /// First address.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The address behind the last.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes
    }

    /// Whether all of these bytes lie in the range.
    pub(super) fn contains(&self, at: u64, bytes: u64) -> bool {
        at >= self.start && at.checked_add(bytes).is_some_and(|end| end <= self.end())
    }

    /// Puts shared memory at an address in the range, over what was there. Both are whole pages.
    ///
    /// The caller keeps `memory` for as long as it is there: the pages are another view of it.
    ///
    /// # Errors
    /// When the system has no room. What was there may be gone, and cannot be reached then.
    pub(super) fn place(&self, at: u64, memory: &SharedSlice) -> io::Result<()> {
        let to = self.pages(at, memory.len() as u64)?;
        let from: *mut c_void = memory.as_ptr().cast();
        if !(from.addr() as u64).is_multiple_of(PAGE) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY:
        // - No bytes are moved away: the old mapping stays as it is, and `memory` keeps it alive during the call.
        // - `memory.len()` bytes from `from` on are one shared mapping of a sealed memfd, so the new pages exist.
        // - What is replaced lies in our reservation, checked above.
        let placed = unsafe { rustix::mm::mremap_fixed(from, 0, memory.len(), MremapFlags::MAYMOVE, to) };
        if let Err(errno) = placed {
            self.clear(at, memory.len() as u64)?;
            return Err(errno.into());
        }
        Ok(())
    }

    /// Takes whatever is at an address in the range out of it, whole pages.
    ///
    /// # Errors
    /// When the system has no room for the records that it keeps of it.
    pub(super) fn clear(&self, at: u64, bytes: u64) -> io::Result<()> {
        let to = self.pages(at, bytes)?;
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: what is replaced lies in our reservation, checked above, and no Rust reference points into it.
        unsafe { rustix::mm::mmap_anonymous(to, len, ProtFlags::empty(), flags) }?;
        Ok(())
    }

    fn pages(&self, at: u64, bytes: u64) -> io::Result<*mut c_void> {
        let whole = at.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE) && bytes != 0;
        if !whole || !self.contains(at, bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        address(at)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (Ok(start), Ok(len)) = (address(self.start), usize::try_from(self.bytes)) else { return };
        // SAFETY: the range is ours since `new`, and no Rust reference points into it.
        let _ = unsafe { rustix::mm::munmap(start, len) };
    }
}

fn address<T>(at: u64) -> io::Result<*mut T> {
    Ok(ptr::with_exposed_provenance_mut(usize::try_from(at).map_err(io::Error::other)?))
}

/// Bytes that are mapped in a reservation and stay so for as long as this lives, which is the promise of whoever makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapped<'a> {
    at: u64,
    bytes: u64,
    /// What keeps them mapped.
    _kept: PhantomData<&'a ()>,
}

impl<'a> Mapped<'a> {
    /// The bytes at an address.
    ///
    /// # Safety
    /// They are mapped for reading and writing for all of `'a`, and whoever else uses them does so outside of Rust references.
    pub(super) unsafe fn new(at: u64, bytes: u64) -> Self {
        Self { at, bytes, _kept: PhantomData }
    }

    fn pointer(&self) -> *mut u8 {
        // The number is a mapped address of this process, by the constructor's promise.
        ptr::with_exposed_provenance_mut(self.at as usize)
    }

    fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Copies as many bytes as both have; they may overlap.
    pub(super) fn copy_from(&self, from: &Mapped<'_>) {
        let to = black_box(self.pointer());
        let source = black_box(from.pointer());
        let len = self.len().min(from.len());
        // SAFETY: both are mapped, by the constructor's promise; bytes need no alignment and have no invalid values.
        unsafe { ptr::copy(source, to, len) };
        black_box(to);
    }

    /// Copies private bytes to the start, as many as there is room for.
    pub(super) fn write(&self, from: &[u8]) {
        let to = black_box(self.pointer());
        let len = self.len().min(from.len());
        // SAFETY: `len` bytes are mapped at `to`, by the constructor's promise; `from` is private and so does not overlap.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, len) };
        black_box(to);
    }

    /// Fills with a value of `unit` bytes, 1, 2 or 4, of which `value` holds copies. The end may cut a value.
    pub(super) fn fill(&self, value: u32, unit: FillUnit) {
        let to = black_box(self.pointer());
        let len = self.len();
        match unit {
            FillUnit::Byte => {
                // SAFETY: `len` bytes are mapped at `to`, by the constructor's promise.
                unsafe { ptr::write_bytes(to, value as u8, len) };
            }
            FillUnit::Half | FillUnit::Word => {
                let value = match unit {
                    FillUnit::Half => (value & 0xFFFF) | value << 16,
                    _ => value,
                };
                let bytes = value.to_ne_bytes();
                let mut at = 0;
                while at < len {
                    let step = (len - at).min(bytes.len());
                    // SAFETY: `at` is below `len`, so this stays within the mapped bytes.
                    let there = unsafe { to.add(at) };
                    if step == bytes.len() {
                        // SAFETY: four bytes are left from here on; no alignment is asked for.
                        unsafe { there.cast::<u32>().write_unaligned(value) };
                    } else {
                        // SAFETY: `step` bytes are left from here on; the source is on our stack.
                        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), there, step) };
                    }
                    at += step;
                }
            }
        }
        black_box(to);
    }

    /// The 4 or 8 bytes, read at once. 0 where they are not aligned or of another number.
    pub(super) fn load(&self) -> u64 {
        match self.bytes {
            4 if self.at.is_multiple_of(4) => {
                // SAFETY: four bytes are mapped and aligned; others use them by atomics or outside of Rust.
                u64::from(unsafe { AtomicU32::from_ptr(self.pointer().cast()) }.load(Ordering::Acquire))
            }
            8 if self.at.is_multiple_of(8) => {
                // SAFETY: eight bytes are mapped and aligned; others use them by atomics or outside of Rust.
                unsafe { AtomicU64::from_ptr(self.pointer().cast()) }.load(Ordering::Acquire)
            }
            _ => 0,
        }
    }

    /// Writes the 4 or 8 bytes at once; nothing where they are not aligned or of another number.
    pub(super) fn store(&self, value: u64) {
        match self.bytes {
            4 if self.at.is_multiple_of(4) => {
                // SAFETY: four bytes are mapped and aligned; others use them by atomics or outside of Rust.
                unsafe { AtomicU32::from_ptr(self.pointer().cast()) }.store(value as u32, Ordering::Release);
            }
            8 if self.at.is_multiple_of(8) => {
                // SAFETY: eight bytes are mapped and aligned; others use them by atomics or outside of Rust.
                unsafe { AtomicU64::from_ptr(self.pointer().cast()) }.store(value, Ordering::Release);
            }
            _ => {}
        }
    }
}

/// How wide a value is that memory is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FillUnit {
    /// One byte.
    Byte,
    /// Two.
    Half,
    /// Four.
    Word,
}

impl FillUnit {
    /// The unit of so many bytes.
    pub(super) fn of(bytes: u32) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Half),
            4 => Some(Self::Word),
            _ => None,
        }
    }

    /// Its bytes.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}
