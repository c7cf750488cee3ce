//! The windows of IO space that this process has mapped, by IO address and by address.
//!
//! *Invariants.* Windows do not overlap, begin at a multiple of [`WINDOW_ALIGNMENT`], and end inside IO space; an announcement that
//! says otherwise ends the session. An address that the host names is looked up here and nowhere else, so that the worst a wrong one
//! can do is to fail.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use dxg_wire::session::IoAddress;
use dxg_wire::session::WINDOW_ALIGNMENT;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::ShmError;

/// Why a window was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum WindowError {
    /// Its base or size is impossible, or it overlaps another.
    #[error("window of {size_bytes} bytes at {base:#x} is not possible")]
    Range { base: u64, size_bytes: u64 },
    /// Its memory cannot be mapped.
    #[error(transparent)]
    Memory(#[from] ShmError),
}

/// All windows of a session.
#[derive(Debug, Default)]
pub(super) struct Windows {
    by_base: BTreeMap<u64, SharedSlice>,
    /// By first byte in this process: where windows are mapped, some in more than one place.
    by_address: BTreeMap<u64, Place>,
}

/// A mapping of a window, from its first byte on.
#[derive(Clone, Copy, Debug)]
struct Place {
    base: u64,
    len: u64,
}

/// Maps a window's memory after a look at its range.
pub(super) fn map(
    base: IoAddress,
    size_bytes: u64,
    memory: BorrowedFd<'_>,
    populate: Populate,
) -> Result<SharedSlice, WindowError> {
    let impossible = WindowError::Range { base: base.0, size_bytes };
    let fits =
        base.0 != 0 && base.0.is_multiple_of(WINDOW_ALIGNMENT) && base.0.checked_add(size_bytes).is_some();
    let (true, Ok(len)) = (fits && size_bytes != 0, usize::try_from(size_bytes)) else {
        return Err(impossible);
    };
    let mapping = Mapping::map(memory, 0, len, Access::ReadWrite, populate)?;
    Ok(SharedSlice::whole(&mapping))
}

impl Windows {
    /// Adds a mapped window.
    pub(super) fn insert(&mut self, base: IoAddress, memory: SharedSlice) -> Result<(), WindowError> {
        let size_bytes = memory.len() as u64;
        let impossible = WindowError::Range { base: base.0, size_bytes };
        let Some(end) = base.0.checked_add(size_bytes) else { return Err(impossible) };
        let before = self.by_base.range(..end).next_back();
        if before.is_some_and(|(other, slice)| other + slice.len() as u64 > base.0) {
            return Err(impossible);
        }
        self.by_address.insert(address(&memory), Place { base: base.0, len: size_bytes });
        self.by_base.insert(base.0, memory);
        Ok(())
    }

    /// Makes the first `len` bytes of a window known at one more address of this process.
    pub(super) fn alias(&mut self, base: IoAddress, at: u64, len: u64) {
        self.by_address.insert(at, Place { base: base.0, len });
    }

    /// Forgets a window wherever it is mapped. Its memory stays mapped while something uses it.
    pub(super) fn remove(&mut self, base: IoAddress) {
        if self.by_base.remove(&base.0).is_some() {
            self.by_address.retain(|_, place| place.base != base.0);
        }
    }

    /// The `len` bytes at an IO address; `None` unless one window has them all.
    pub(super) fn resolve(&self, at: IoAddress, len: u64) -> Option<SharedSlice> {
        let (base, memory) = self.by_base.range(..=at.0).next_back()?;
        let offset = usize::try_from(at.0.checked_sub(*base)?).ok()?;
        memory.sub(offset, usize::try_from(len).ok()?).ok()
    }

    /// The `len` bytes at an address of this process, with their IO address; `None` unless one window has them all.
    pub(super) fn at_address(&self, at: u64, len: u64) -> Option<(SharedSlice, IoAddress)> {
        let (start, place) = self.by_address.range(..=at).next_back()?;
        let offset = at.checked_sub(*start)?;
        if offset.checked_add(len)? > place.len {
            return None;
        }
        let base = &place.base;
        let memory = self.by_base.get(base)?;
        let slice = memory.sub(usize::try_from(offset).ok()?, usize::try_from(len).ok()?).ok()?;
        Some((slice, IoAddress(base.checked_add(offset)?)))
    }
}

fn address(memory: &SharedSlice) -> u64 {
    memory.as_ptr().addr() as u64
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use dxg_wire::shm::create_sealed;

    use super::*;

    fn window(size_bytes: u64) -> SharedSlice {
        let memory = create_sealed("window", size_bytes).unwrap();
        map(IoAddress(WINDOW_ALIGNMENT), size_bytes, memory.as_fd(), Populate::Lazy).unwrap()
    }

    #[test]
    fn resolve_inside_a_window_finds_its_bytes() {
        let mut windows = Windows::default();
        let memory = window(8192);
        memory.copy_in(4096, &[1, 2, 3]).unwrap();
        windows.insert(IoAddress(0x10_0000), memory).unwrap();
        let found = windows.resolve(IoAddress(0x10_1000), 4096).unwrap();
        assert_eq!(found.read::<[u8; 3]>(0).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn resolve_across_the_end_of_a_window_finds_nothing() {
        let mut windows = Windows::default();
        windows.insert(IoAddress(0x10_0000), window(4096)).unwrap();
        windows.insert(IoAddress(0x11_0000), window(4096)).unwrap();
        assert!(windows.resolve(IoAddress(0x10_0001), 4096).is_none());
        assert!(windows.resolve(IoAddress(0x10_1000), 1).is_none());
        assert!(windows.resolve(IoAddress(0xf_ffff), 1).is_none());
        assert!(windows.resolve(IoAddress(u64::MAX), u64::MAX).is_none());
    }

    #[test]
    fn insert_overlapping_window_is_refused_and_the_first_stays() {
        let mut windows = Windows::default();
        windows.insert(IoAddress(0x10_0000), window(0x2_0000)).unwrap();
        assert!(windows.insert(IoAddress(0x11_0000), window(4096)).is_err());
        assert!(windows.insert(IoAddress(0x0f_0000), window(0x2_0000)).is_err());
        assert!(windows.resolve(IoAddress(0x11_0000), 4096).is_some());
    }

    #[test]
    fn map_refuses_impossible_ranges() {
        let memory = create_sealed("window", 4096).unwrap();
        let memory = || memory.as_fd();
        assert!(map(IoAddress(0), 4096, memory(), Populate::Lazy).is_err());
        assert!(map(IoAddress(0x1000), 4096, memory(), Populate::Lazy).is_err());
        assert!(map(IoAddress(0x10_0000), 0, memory(), Populate::Lazy).is_err());
        assert!(map(IoAddress(0x10_0000), 8192, memory(), Populate::Lazy).is_err());
        assert!(map(IoAddress(u64::MAX - 0xffff), 0x2_0000, memory(), Populate::Lazy).is_err());
    }

    #[test]
    fn at_address_finds_the_io_address_until_the_window_is_gone() {
        let mut windows = Windows::default();
        let memory = window(8192);
        let start = address(&memory);
        windows.insert(IoAddress(0x10_0000), memory).unwrap();
        let (_, at) = windows.at_address(start + 4096, 4096).unwrap();
        assert_eq!(at, IoAddress(0x10_1000));
        assert!(windows.at_address(start + 4096, 4097).is_none());
        windows.remove(IoAddress(0x10_0000));
        assert!(windows.at_address(start, 1).is_none());
    }

    #[test]
    fn alias_is_found_as_far_as_it_goes_until_the_window_is_gone() {
        let mut windows = Windows::default();
        windows.insert(IoAddress(0x10_0000), window(8192)).unwrap();
        let elsewhere = 0x7000;
        windows.alias(IoAddress(0x10_0000), elsewhere, 4096);
        let (_, at) = windows.at_address(elsewhere + 8, 4088).unwrap();
        assert_eq!(at, IoAddress(0x10_0008));
        assert!(windows.at_address(elsewhere, 4097).is_none());
        windows.remove(IoAddress(0x10_0000));
        assert!(windows.at_address(elsewhere, 1).is_none());
    }
}
