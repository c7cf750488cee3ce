//! Memory by address: of the program, and of the ranges that contexts reserve.
//!
//! *Why.* Device memory lies at the same address here and on the host, so a device pointer is an address of this process. A range
//! is reserved without memory; blocks that the host sees too are mapped into it a second time.

// UNSAFETY: maps, unmaps and copies memory that programs and contexts name by address.
#![expect(unsafe_code, reason = "memory by address")]

use std::ffi::c_void;
use std::ptr;
use std::ptr::NonNull;

use rustix::mm::MapFlags;
use rustix::mm::MremapFlags;
use rustix::mm::ProtFlags;

use dxg_core::AdoptedMemory;
use dxg_core::Streams;

use super::pointers::Address;
use crate::generated::enums::CUresult;
use crate::link::failure;
use crate::types::Answer;

/// A piece of the address space that is ours, without memory until something is mapped there. Given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    start: u64,
    bytes: u64,
}

fn pointer(address: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address as usize)
}

impl Reserved {
    /// Reserves exactly `start..start + bytes`; `None` when something else is there.
    #[must_use]
    pub fn at(start: u64, bytes: u64) -> Option<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: a new anonymous mapping that replaces nothing.
        let mapped =
            unsafe { rustix::mm::mmap_anonymous(pointer(start), bytes as usize, ProtFlags::empty(), flags) };
        let at = mapped.ok()?.expose_provenance() as u64;
        let reserved = Self { start: at, bytes };
        // A kernel that does not know the flag takes the address as a hint.
        (at == start).then_some(reserved)
    }

    /// Its first byte.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn holds(&self, at: u64, bytes: u64) -> bool {
        at >= self.start && at.checked_add(bytes).is_some_and(|end| end <= self.start + self.bytes)
    }

    /// Maps the shared memory at `from` a second time at `at`, within the range.
    ///
    /// # Errors
    /// What the kernel says; invalid argument outside the range.
    pub fn alias(&self, from: *mut u8, at: u64, bytes: u64) -> rustix::io::Result<()> {
        if !self.holds(at, bytes) {
            return Err(rustix::io::Errno::INVAL);
        }
        // SAFETY: an old length of zero leaves the shared mapping at `from` as it is and maps its pages once more. The target lies
        // in the range, which is ours and where nothing that is in use is mapped: callers alias only what they have taken.
        unsafe { rustix::mm::mremap_fixed(from.cast(), 0, bytes as usize, MremapFlags::MAYMOVE, pointer(at)) }
            .map(drop)
    }

    /// Takes memory out of the range again: the addresses stay reserved.
    pub fn clear(&self, at: u64, bytes: u64) {
        if !self.holds(at, bytes) {
            return;
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the replaced mapping is one of the range, which is ours; what it showed has been freed by the program.
        let cleared =
            unsafe { rustix::mm::mmap_anonymous(pointer(at), bytes as usize, ProtFlags::empty(), flags) };
        if let Err(error) = cleared {
            tracing::warn!(%error, bytes, "memory stays mapped");
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and its context, the last to use it, is gone.
        if let Err(error) = unsafe { rustix::mm::munmap(pointer(self.start), self.bytes as usize) } {
            tracing::warn!(%error, "range stays reserved");
        }
    }
}

/// Gives pages of the program to the device.
///
/// # Errors
/// Invalid value for memory that cannot be given; out of memory.
pub fn adopt(streams: &Streams, start: u64, bytes: u64) -> Answer<AdoptedMemory> {
    let at = NonNull::new(pointer(start).cast::<u8>()).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    // SAFETY: the program promises with `cuMemHostRegister` that the memory is its own, stays mapped until it is unregistered, and
    // that the device may write to it; nothing of ours has references into it. What is mapped over it is as large.
    let adopted = unsafe { AdoptedMemory::adopt_for_streams(streams, at, bytes) };
    adopted.map_err(|error| {
        tracing::debug!(%error, bytes, "memory not taken");
        failure(&error)
    })
}

/// Copies bytes; the ranges may overlap.
pub fn copy(to: Address, from: Address, bytes: usize) {
    if bytes == 0 {
        return;
    }
    let (to, from) =
        (ptr::with_exposed_provenance_mut::<u8>(to.0), ptr::with_exposed_provenance::<u8>(from.0));
    // SAFETY: the program promises that the memory it names can be read and written during the call; device memory was looked up.
    unsafe { ptr::copy(from, to, bytes) };
}

/// The bytes at an address.
#[must_use]
pub fn read(from: Address, bytes: usize) -> Vec<u8> {
    let mut into = vec![0_u8; bytes];
    copy(Address(into.as_mut_ptr().expose_provenance()), from, bytes);
    into
}

/// Writes bytes to an address.
pub fn write(to: Address, bytes: &[u8]) {
    copy(to, Address(bytes.as_ptr().expose_provenance()), bytes.len());
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use dxg_wire::shm::Access;
    use dxg_wire::shm::Mapping;
    use dxg_wire::shm::Populate;
    use dxg_wire::shm::create_sealed;

    use super::*;

    #[test]
    fn alias_shows_the_same_bytes_and_clear_leaves_the_range_reserved() {
        let range = Reserved::at(0x1234_0000_0000, 1 << 20).unwrap();
        let memfd = create_sealed("alias", 8192).unwrap();
        let mapping = Mapping::map(memfd.as_fd(), 0, 8192, Access::ReadWrite, Populate::Lazy).unwrap();
        range.alias(mapping.as_ptr(), range.start() + 4096, 8192).unwrap();
        write(Address(range.start() as usize + 4096 + 5), b"seen");
        assert_eq!(read(Address(mapping.as_ptr().expose_provenance() + 5), 4), b"seen");
        range.clear(range.start() + 4096, 8192);
        assert!(Reserved::at(range.start() + 4096, 4096).is_none());
        assert!(range.alias(mapping.as_ptr(), range.start() + (1 << 20), 4096).is_err());
    }
}
