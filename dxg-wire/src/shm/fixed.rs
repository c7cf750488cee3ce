//! Shared memory in place of memory that a caller owns.
//!
//! *Why.* A program may hand its own pages to the device. Its addresses must stay, so the pages are replaced by
//! a window of a memfd at the same addresses, and replaced by private pages again when the device is done.

// UNSAFETY: replaces pages at addresses that a caller names.
#![expect(unsafe_code, reason = "MAP_FIXED acts on foreign address ranges")]

use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::mm::MapFlags;
use rustix::mm::MremapFlags;
use rustix::mm::ProtFlags;

use super::copy;
use super::mapping::Access;
use super::mapping::check_range;
use super::mapping::page_bytes;
use super::memfd::ShmError;

fn check_address(address: *mut u8, len: usize) -> Result<(), ShmError> {
    let page = page_bytes();
    let aligned = (address as u64).is_multiple_of(page) && (len as u64).is_multiple_of(page);
    if address.is_null() || !aligned || address.addr().checked_add(len).is_none() {
        return Err(ShmError::BadRange { offset_bytes: address as u64, len_bytes: len });
    }
    Ok(())
}

/// Puts `len` bytes of a sealed memfd, from `offset` on, at `address`, over whatever is mapped there.
///
/// Address and length are multiples of the page size. The contents of the old pages are not copied: the caller
/// has put what matters into the memfd before.
///
/// # Errors
/// When the descriptor is not a sealed memfd that holds the range, the range is not of whole pages, or the system refuses.
///
/// # Safety
/// `address..address + len` is mapped memory whose owner agreed to have it replaced by memory that other processes
/// write; no Rust reference into it is alive.
pub unsafe fn map_fixed_over(
    fd: BorrowedFd<'_>,
    offset: u64,
    address: *mut u8,
    len: usize,
    access: Access,
) -> Result<(), ShmError> {
    check_address(address, len)?;
    check_range(fd, offset, len)?;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: the caller owns the range and agreed to its replacement; the memfd holds the range and cannot shrink.
    unsafe { rustix::mm::mmap(address.cast(), len, access.protection(), flags, fd, offset) }?;
    Ok(())
}

/// Puts private pages with the same contents at `address`, over the shared ones that [`map_fixed_over`] put there.
///
/// # Errors
/// When the range is not of whole pages or the system has no memory; the shared pages then stay.
///
/// # Safety
/// `address..address + len` was given to [`map_fixed_over`] and not unmapped since; no Rust reference into it is alive.
pub unsafe fn replace_by_private(address: *mut u8, len: usize) -> Result<(), ShmError> {
    check_address(address, len)?;
    if len == 0 {
        return Ok(());
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the address hint is null and MAP_FIXED is not given, so the kernel picks a free range.
    let fresh = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE) }?;
    // SAFETY:
    // - `address..+len` is mapped and readable: the caller says that it is a window put there before.
    // - `fresh..+len` is writable and ours alone, and so does not overlap the source.
    unsafe { copy::out_of_shared(address, fresh.cast(), len) };
    // SAFETY: `fresh..+len` is a whole mapping of ours that nothing refers to; the target is the caller's, who agreed
    // to its replacement.
    let moved = unsafe { rustix::mm::mremap_fixed(fresh, len, len, MremapFlags::MAYMOVE, address.cast()) };
    if let Err(errno) = moved {
        // SAFETY: the move failed, so `fresh..+len` is still our mapping and nothing refers to it.
        let _ = unsafe { rustix::mm::munmap(fresh, len) };
        return Err(errno.into());
    }
    Ok(())
}
