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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::ptr;

    use rustix::mm::MapFlags;
    use rustix::mm::ProtFlags;

    use super::super::Mapping;
    use super::super::Populate;
    use super::super::SharedSlice;
    use super::super::create_sealed;
    use super::Access;
    use super::ShmError;
    use super::map_fixed_over;
    use super::replace_by_private;

    /// Three private pages as a program would own them, filled with a byte.
    fn owned_pages(len: usize, fill: u8) -> *mut u8 {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so the kernel picks a free range.
        let pages =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE) };
        let pages: *mut u8 = pages.unwrap().cast();
        // SAFETY: `len` writable bytes that were just mapped and that nothing else refers to.
        unsafe { ptr::write_bytes(pages, fill, len) };
        pages
    }

    fn byte_at(pages: *mut u8, at: usize) -> u8 {
        // SAFETY: the tests ask for offsets within the pages only.
        let address = unsafe { pages.add(at) };
        // SAFETY: the pages stay mapped and readable for the whole test.
        unsafe { address.read_volatile() }
    }

    #[test]
    fn pages_become_shared_and_private_again_in_place() {
        let page = usize::try_from(super::page_bytes()).unwrap();
        let len = 3 * page;
        let pages = owned_pages(len, 0x11);
        let fd = create_sealed("test", 8 * page as u64).unwrap();
        let mapping = Mapping::map(fd.as_fd(), page as u64, len, Access::ReadWrite, Populate::Lazy).unwrap();
        let window = SharedSlice::whole(&mapping);
        window.copy_in(0, &vec![0x22; len]).unwrap();

        let middle = pages.wrapping_add(page);
        // SAFETY: the middle page is ours, and no reference into it exists.
        unsafe { map_fixed_over(fd.as_fd(), 2 * page as u64, middle, page, Access::ReadWrite) }.unwrap();
        window.copy_in(page + 5, &[0x33]).unwrap();
        assert_eq!(byte_at(pages, page - 1), 0x11);
        assert_eq!(byte_at(pages, page), 0x22);
        assert_eq!(byte_at(pages, page + 5), 0x33);
        assert_eq!(byte_at(pages, 2 * page), 0x11);

        // SAFETY: the middle page was mapped by the call above, and no reference into it exists.
        unsafe { replace_by_private(middle, page) }.unwrap();
        window.copy_in(page + 5, &[0x44]).unwrap();
        assert_eq!(byte_at(pages, page + 5), 0x33);
        assert_eq!(byte_at(pages, page + 6), 0x22);
        assert_eq!(byte_at(pages, 2 * page), 0x11);
    }

    #[test]
    fn ranges_that_are_not_whole_pages_are_refused() {
        let page = usize::try_from(super::page_bytes()).unwrap();
        let pages = owned_pages(2 * page, 0x11);
        let fd = create_sealed("test", page as u64).unwrap();
        for (address, len) in [(pages.wrapping_add(8), page), (pages, page - 8), (ptr::null_mut(), page)] {
            // SAFETY: the call refuses before it touches anything; the pages would be ours.
            let refused = unsafe { map_fixed_over(fd.as_fd(), 0, address, len, Access::ReadWrite) };
            assert!(matches!(refused, Err(ShmError::BadRange { .. })));
        }
        // SAFETY: the pages are ours; the call refuses as the memfd is shorter.
        let refused = unsafe { map_fixed_over(fd.as_fd(), 0, pages, 2 * page, Access::ReadWrite) };
        assert!(matches!(refused, Err(ShmError::TooSmall { .. })));
        assert_eq!(byte_at(pages, 0), 0x11);
    }
}
