//! The memory of an allocation: pieces of windows, by offset.
//!
//! *Invariants.* Pieces do not overlap. A piece keeps its mapping alive, so work that was submitted never runs out of
//! memory under its feet; what the guest then reads is its own affair.

use std::collections::BTreeMap;

use dxg_wire::session::IoAddress;
use dxg_wire::shm::SharedSlice;
use parking_lot::RwLock;

/// Memory of an allocation.
#[derive(Debug, Default)]
pub(super) struct Backing {
    pieces: RwLock<BTreeMap<u64, SharedSlice>>,
}

impl Backing {
    /// Memory in one piece.
    pub(super) fn whole(memory: SharedSlice) -> Self {
        Self { pieces: RwLock::new(BTreeMap::from([(0, memory)])) }
    }

    /// Puts a piece at an offset.
    pub(super) fn place(&self, offset_bytes: u64, memory: SharedSlice) {
        self.pieces.write().insert(offset_bytes, memory);
    }

    /// The longest piece of memory from an offset on, of at most `len_bytes`.
    pub(super) fn at(&self, offset_bytes: u64, len_bytes: u64) -> Option<SharedSlice> {
        let pieces = self.pieces.read();
        let (start, piece) = pieces.range(..=offset_bytes).next_back()?;
        let skip = usize::try_from(offset_bytes.checked_sub(*start)?).ok()?;
        let left = piece.len().checked_sub(skip).filter(|left| *left != 0)?;
        let len = usize::try_from(len_bytes).unwrap_or(usize::MAX).min(left);
        piece.sub(skip, len).ok()
    }
}

/// Where a resource's memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The window.
    pub(super) base: IoAddress,
    /// The allocation's first byte in it.
    pub(super) offset_bytes: u64,
}

impl Place {
    /// Where the guest sees it.
    pub(super) fn address(self) -> Option<u64> {
        self.base.0.checked_add(self.offset_bytes)
    }
}
