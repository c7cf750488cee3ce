//! A word that the guest polls, with the worker's own copy of the truth.

use dxg_wire::cell::FenceCell;
use parking_lot::Mutex;

/// A cell in the guest's memory. The guest may write anything there; what counts for this host is its own copy.
#[derive(Debug)]
pub(crate) struct Cell {
    shared: FenceCell,
    /// Largest value that was published; locked while the cell is written.
    published: Mutex<u64>,
}

impl Cell {
    /// A cell that stands at `value`, which the guest has written itself.
    pub(crate) fn new(shared: FenceCell, value: u64) -> Self {
        Self { shared, published: Mutex::new(value) }
    }

    /// Raises the cell to `value` and wakes who waits for it; a smaller value changes nothing.
    pub(crate) fn publish(&self, value: u64) {
        let mut published = self.published.lock();
        if *published < value {
            *published = value;
            self.shared.publish(value);
        }
    }

    /// Ends the use of the cell: its memory may be another's after this.
    pub(crate) fn retire(&self) {
        *self.published.lock() = u64::MAX;
    }
}
