//! Pages of monitored fences, wherever they lie.

use std::sync::Arc;

use dxg_wire::cell::FenceCell;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::SharedSlice;

use super::arena::Arena;
use super::arena::ArenaPage;
use super::share::OpenShare;
use crate::failure::Refusal;
use crate::objects::timeline::FenceStore;
use crate::worker::BrokerLink;
use crate::worker::Shareable;

use super::answer::NO_MEMORY;
use super::answer::refusal;
use super::arena::PAGE_BYTES;

/// A page, given back on drop.
pub(super) enum FencePage {
    /// In the arena.
    Arena(ArenaPage),
    /// In a window of its own, for a fence that can be shared.
    Window {
        /// Where the window goes when it is dropped.
        link: Arc<BrokerLink>,
        /// The window.
        base: IoAddress,
        /// Its memory.
        memory: SharedSlice,
    },
    /// Another session's, opened here.
    Opened {
        /// What keeps it open.
        share: Arc<OpenShare>,
    },
}

impl FencePage {
    /// A page for a fence that stays in this session.
    pub(super) fn in_arena(arena: &Arc<Arena>) -> Result<Self, Refusal> {
        arena.take().map(Self::Arena).ok_or(NO_MEMORY)
    }

    /// A page for a fence that may be shared.
    pub(super) fn in_window(link: &Arc<BrokerLink>) -> Result<Self, Refusal> {
        let (base, mapping) = link.create_window(PAGE_BYTES as u64, Shareable::Yes).map_err(refusal)?;
        Ok(Self::Window { link: Arc::clone(link), base, memory: SharedSlice::whole(&mapping) })
    }

    /// Where the guest sees it.
    pub(super) fn address(&self) -> IoAddress {
        match self {
            Self::Arena(page) => page.address(),
            Self::Window { base, .. } => *base,
            Self::Opened { share } => share.base(),
        }
    }

    fn memory(&self) -> &SharedSlice {
        match self {
            Self::Arena(page) => page.memory(),
            Self::Window { memory, .. } => memory,
            Self::Opened { share } => share.memory(),
        }
    }

    /// The window that may be shared.
    pub(super) fn window(&self) -> Option<IoAddress> {
        match self {
            Self::Window { base, .. } => Some(*base),
            _ => None,
        }
    }

    /// Its cell.
    pub(super) fn cell(&self) -> Option<FenceCell> {
        FenceCell::new(self.memory().clone()).ok()
    }
}

impl Drop for FencePage {
    fn drop(&mut self) {
        if let Self::Window { link, base, .. } = self {
            link.drop_window(*base);
        }
    }
}

/// A cell whose value only this session sets. What the guest writes into its page means nothing here.
pub(super) struct OwnCell(pub(super) FenceCell);

impl FenceStore for OwnCell {
    fn publish(&self, value: u64) {
        self.0.publish(value);
    }

    fn observed(&self) -> Option<u64> {
        None
    }
}

/// A cell that several sessions set: its value is the truth.
pub(super) struct SharedCell(pub(super) FenceCell);

impl FenceStore for SharedCell {
    fn publish(&self, value: u64) {
        self.0.publish(value);
    }

    fn observed(&self) -> Option<u64> {
        Some(self.0.value())
    }
}
