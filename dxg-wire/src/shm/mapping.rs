//! One mapping of a sealed memfd.

// UNSAFETY: mmap and munmap are raw system calls on address ranges.
#![expect(unsafe_code, reason = "mapping memory is not expressible in safe Rust")]

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use super::memfd::ShmError;
use super::memfd::verify_sealed;

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only; a store through the slice types is refused.
    ReadOnly,
    /// Loads and stores.
    ReadWrite,
}

impl Access {
    pub(super) fn protection(self) -> ProtFlags {
        match self {
            Self::ReadOnly => ProtFlags::READ,
            Self::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        }
    }
}

/// When the pages of a mapping are made present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Populate {
    /// At first touch.
    Lazy,
    /// At once, so that no first touch faults (rings and headers). Allocates sparse pages.
    Prefault,
}

/// A range of a sealed memfd in our address space, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    len: usize,
    access: Access,
}

// SAFETY: the mapping is an address range, not tied to a thread. It is unmapped once, by the only owner.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out addresses only; what is read and written through them goes by `SharedSlice`, whose
// operations tolerate concurrent writers.
unsafe impl Sync for Mapping {}

/// Page size of this process, in bytes.
pub(super) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Checks a range to be mapped against page boundaries and the memfd behind it.
pub(super) fn check_range(fd: BorrowedFd<'_>, offset: u64, len: usize) -> Result<(), ShmError> {
    let bad = ShmError::BadRange { offset_bytes: offset, len_bytes: len };
    if len == 0 || isize::try_from(len).is_err() || !offset.is_multiple_of(page_bytes()) {
        return Err(bad);
    }
    let Some(end) = offset.checked_add(len as u64) else { return Err(bad) };
    verify_sealed(fd, end)?;
    Ok(())
}

impl Mapping {
    /// Maps `len` bytes of a sealed memfd from `offset` on, a multiple of the page size.
    ///
    /// # Errors
    /// When the descriptor is not a sealed memfd that holds the range, or the system has no room.
    pub fn map(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        access: Access,
        populate: Populate,
    ) -> Result<Arc<Self>, ShmError> {
        check_range(fd, offset, len)?;
        let flags = match populate {
            Populate::Lazy => MapFlags::SHARED,
            Populate::Prefault => MapFlags::SHARED | MapFlags::POPULATE,
        };
        // SAFETY:
        // - The address hint is null and MAP_FIXED is not given, so the kernel picks a free range.
        // - The range lies within the memfd, whose size is sealed, so no access to it can fault later.
        let start =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, access.protection(), flags, fd, offset) }?;
        let start = NonNull::new(start).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Arc::new(Self { start, len, access }))
    }

    /// First byte.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it may be used for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of one successful mmap, and no slice is left: each holds an `Arc` of us.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.len) };
    }
}
