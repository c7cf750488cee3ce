//! Where the blocks of a cooperative grid meet: a few words of device memory that compiled code counts in.
//!
//! *Why here.* The host gives a grid its workspace, as a device's driver does; the guest knows nothing of it. The memory is the
//! host's own, at the end of the context's range.

use std::io;
use std::os::fd::AsFd;

use dxg_wire::shm;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::memory::MapError;
use super::memory::Memory;

/// Bytes at the end of the range that are the host's.
pub(super) const BYTES: u64 = 64 << 10;
/// Bytes that a grid gets.
const SLOT_BYTES: usize = 64;
/// Grids at once: more than there are threads.
const SLOTS: usize = 256;

/// The workspaces of a context.
#[derive(Debug)]
pub(super) struct Workspaces {
    base: u64,
    memory: SharedSlice,
    free: Mutex<Vec<usize>>,
}

/// The workspace of one grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Workspace {
    number: usize,
    /// Where it lies.
    pub(super) address: u64,
}

impl Workspaces {
    /// Puts the memory at the end of a context's range.
    ///
    /// # Errors
    /// When the system has none.
    pub(super) fn new(device: &Memory) -> io::Result<Self> {
        let base = device.range().end - BYTES;
        let len = usize::try_from(BYTES).map_err(io::Error::other)?;
        let fd = shm::create_sealed("dxg-workspace", BYTES).map_err(io::Error::other)?;
        let memory = Mapping::map(fd.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy);
        let memory = SharedSlice::whole(&memory.map_err(io::Error::other)?);
        match device.map(base, memory.clone()) {
            Ok(()) => Ok(Self { base, memory, free: Mutex::new((0..SLOTS).rev().collect()) }),
            Err(MapError::System(error)) => Err(error),
            Err(misused) => Err(io::Error::other(misused)),
        }
    }

    /// A workspace of zeros; `None` when all are in use.
    pub(super) fn take(&self) -> Option<Workspace> {
        let number = self.free.lock().pop()?;
        self.memory.zero(number * SLOT_BYTES, SLOT_BYTES).ok()?;
        Some(Workspace { number, address: self.base + (number * SLOT_BYTES) as u64 })
    }

    /// The grid has ended.
    pub(super) fn give_back(&self, workspace: Workspace) {
        self.free.lock().push(workspace.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_apart_and_begin_with_zeros() {
        let start = 0x3B00_0000_0000;
        let device = Memory::reserve(start, 1 << 30).unwrap();
        let workspaces = Workspaces::new(&device).unwrap();
        let (one, two) = (workspaces.take().unwrap(), workspaces.take().unwrap());
        assert!(one.address.abs_diff(two.address) >= 64);
        assert!(device.is_mapped(one.address, 64));
        device.store(one.address, 8, 7).unwrap();
        workspaces.give_back(one);
        assert_eq!(workspaces.take(), Some(one));
        assert_eq!(device.load(one.address, 8), Ok(0));
    }
}
