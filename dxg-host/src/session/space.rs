//! An address space with what lies behind its addresses.

use std::collections::HashMap;
use std::sync::Arc;

use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::backing::Backing;
use crate::objects::address_space::AddressSpace;
use crate::objects::address_space::Mapped;
use crate::objects::address_space::PAGE_BYTES;
use crate::objects::address_space::Placement;
use crate::objects::address_space::RangeError;
use crate::objects::timeline::SyncId;

/// Names something that can be mapped, in one address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TargetId(u64);

/// Something that can be mapped.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// An allocation.
    Memory(Arc<Backing>),
    /// A fence: written by fence writes only.
    Fence(SyncId),
}

/// What an address leads to.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Memory, as far as it is in one piece.
    Memory(SharedSlice),
    /// A fence, at this offset in its page.
    Fence(SyncId, u64),
}

/// GPU virtual addresses of a process.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The ranges.
    pub(super) ranges: AddressSpace<TargetId>,
    targets: HashMap<TargetId, Target>,
    last_target: u64,
}

/// A space that its process and its submitted work hold.
pub(super) type SharedSpace = Arc<Mutex<Space>>;

impl Space {
    /// Makes something mappable.
    pub(super) fn add(&mut self, target: Target) -> TargetId {
        self.last_target += 1;
        let id = TargetId(self.last_target);
        self.targets.insert(id, target);
        id
    }

    /// Unmaps something everywhere.
    pub(super) fn remove(&mut self, target: TargetId) {
        if self.targets.remove(&target).is_some() {
            self.ranges.forget(target);
        }
    }

    /// Makes a fence mappable and maps its page; answers where.
    pub(super) fn map_fence(&mut self, sync: SyncId) -> Result<(TargetId, u64), RangeError> {
        let target = self.add(Target::Fence(sync));
        let anywhere = Placement::Within(0, 0);
        match self.ranges.map(anywhere, PAGE_BYTES, Mapped { target, offset_bytes: 0 }) {
            Ok(address) => Ok((target, address)),
            Err(error) => {
                self.remove(target);
                Err(error)
            }
        }
    }

    /// Undoes [`Self::map_fence`].
    pub(super) fn unmap_fence(&mut self, target: TargetId, address: u64) {
        self.remove(target);
        // The guest may have freed the range itself.
        let _ = self.ranges.free(address, PAGE_BYTES);
    }

    /// What an address leads to, for at most `len_bytes`.
    pub(super) fn find(&self, address: u64, len_bytes: u64) -> Option<Found> {
        let (mapped, left) = self.ranges.resolve(address)?;
        match self.targets.get(&mapped.target)? {
            Target::Memory(backing) => {
                backing.at(mapped.offset_bytes, len_bytes.min(left)).map(Found::Memory)
            }
            Target::Fence(sync) => Some(Found::Fence(*sync, mapped.offset_bytes)),
        }
    }
}
