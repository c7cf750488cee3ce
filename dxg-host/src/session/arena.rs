//! The arena: pages for fences that are not shared.
//!
//! *Invariants.* A page is zero when it is given out, and comes back oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;

#[derive(Debug, Default)]
struct Pages {
    next: usize,
    free: VecDeque<usize>,
}

/// The arena of a session.
#[derive(Debug)]
pub(super) struct Arena {
    memory: SharedSlice,
    pages: Mutex<Pages>,
}

/// A page of the arena, given back on drop.
#[derive(Debug)]
pub(super) struct ArenaPage {
    arena: Arc<Arena>,
    index: usize,
    memory: SharedSlice,
}

impl Arena {
    /// An arena over a mapping.
    pub(super) fn new(mapping: &Arc<Mapping>) -> Self {
        Self { memory: SharedSlice::whole(mapping), pages: Mutex::default() }
    }

    /// A page; `None` when all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Option<ArenaPage> {
        let mut pages = self.pages.lock();
        let count = self.memory.len() / PAGE_BYTES;
        let index = if pages.next < count {
            pages.next += 1;
            pages.next - 1
        } else {
            pages.free.pop_front()?
        };
        drop(pages);
        let memory = self.memory.sub(index * PAGE_BYTES, PAGE_BYTES).ok()?;
        memory.zero(0, PAGE_BYTES).ok()?;
        Some(ArenaPage { arena: Arc::clone(self), index, memory })
    }
}

impl ArenaPage {
    /// Its memory.
    pub(super) fn memory(&self) -> &SharedSlice {
        &self.memory
    }

    /// Where the guest sees it.
    pub(super) fn address(&self) -> IoAddress {
        IoAddress(ARENA_BASE + (self.index * PAGE_BYTES) as u64)
    }
}

impl Drop for ArenaPage {
    fn drop(&mut self) {
        self.arena.pages.lock().free.push_back(self.index);
    }
}
