//! The client's memory as the worker sees it: windows of IO space, each mapped once.
//!
//! *Locks.* One reader-writer lock, never held while anything else is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use dxg_wire::session::IoAddress;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::SharedSlice;
use parking_lot::RwLock;

/// All windows of one session.
#[derive(Debug, Default)]
pub struct Windows {
    by_base: RwLock<BTreeMap<u64, Arc<Mapping>>>,
}

impl Windows {
    /// A session without windows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the window that begins at `base`, and replaces one that was there.
    pub fn insert(&self, base: IoAddress, mapping: Arc<Mapping>) {
        self.by_base.write().insert(base.0, mapping);
    }

    /// Takes the window at `base` out. Slices that were resolved from it keep their memory.
    pub fn remove(&self, base: IoAddress) -> Option<Arc<Mapping>> {
        self.by_base.write().remove(&base.0)
    }

    /// The memory at `address`; `None` unless one window holds all of `len_bytes` bytes.
    #[must_use]
    pub fn resolve(&self, address: IoAddress, len_bytes: u64) -> Option<SharedSlice> {
        let windows = self.by_base.read();
        let (base, mapping) = windows.range(..=address.0).next_back()?;
        let offset = usize::try_from(address.0.checked_sub(*base)?).ok()?;
        let len = usize::try_from(len_bytes).ok()?;
        SharedSlice::whole(mapping).sub(offset, len).ok()
    }
}
