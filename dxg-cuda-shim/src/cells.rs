//! Small places in memory that both sides see: progress cells, and slots for times.
//!
//! *Why.* What is polled has a cache line of its own. A place is reused only when nothing that is queued names it any more, which
//! is what its owner waits for before it drops it.

#![forbid(unsafe_code)]

use std::sync::Arc;

use dxg_wire::cell::FenceCell;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use crate::link::LEASE_BYTES;
use crate::link::LOST;
use crate::link::Link;
use crate::link::Window;
use crate::types::Answer;

/// Distance of two places.
const STRIDE_BYTES: u64 = 64;

/// The places of a context.
#[derive(Debug, Default)]
pub struct Cells {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    windows: Vec<Window>,
    free: Vec<(SharedSlice, u64)>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub struct Cell {
    memory: SharedSlice,
    words: FenceCell,
    io: u64,
    home: Arc<Mutex<State>>,
}

impl Cells {
    /// Takes a place, at zero.
    ///
    /// # Errors
    /// Out of memory.
    pub fn take(&self, link: &dyn Link) -> Answer<Cell> {
        let mut state = self.state.lock();
        if state.free.is_empty() {
            let window = link.lease(LEASE_BYTES)?;
            let places = (0..window.bytes() / STRIDE_BYTES).filter_map(|index| {
                let at = index * STRIDE_BYTES;
                let memory = window.memory.sub(at as usize, STRIDE_BYTES as usize).ok()?;
                Some((memory, window.io + at))
            });
            state.free = places.collect();
            state.windows.push(window);
        }
        let (memory, io) = state.free.pop().ok_or(LOST)?;
        memory.zero(0, memory.len()).map_err(|_| LOST)?;
        let words = FenceCell::new(memory.clone()).map_err(|_| LOST)?;
        Ok(Cell { memory, words, io, home: Arc::clone(&self.state) })
    }
}

impl Cell {
    /// As a cell.
    #[must_use]
    pub fn words(&self) -> &FenceCell {
        &self.words
    }

    /// Its value now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.words.value()
    }

    /// Where the host sees it.
    #[must_use]
    pub fn io(&self) -> u64 {
        self.io
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.home.lock().free.push((self.memory.clone(), self.io));
    }
}
