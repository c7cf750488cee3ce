//! Progress cells: words in memory that both sides map, which the host moves forward.
//!
//! *Why.* A queue's progress and a timeline semaphore's counter are polled often and waited for; as cells they cost a load
//! and a futex, never a round trip. A cell has a cache line of its own, so that polling one does not slow another.

use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use parking_lot::Mutex;

use crate::heap::Heap;
use crate::heap::Piece;
use crate::link::Block;
use crate::link::Link;
use crate::ranges::GRANULE_BYTES;

/// Distance of two cells.
pub const CELL_STRIDE_BYTES: u64 = 64;

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    words: FenceCell,
    io_address: u64,
}

impl Cell {
    /// A cell that is not one of a device's [`Cells`].
    #[must_use]
    pub fn shared(words: FenceCell, io_address: u64) -> Self {
        Self { words, io_address }
    }

    /// The cell itself.
    #[must_use]
    pub fn words(&self) -> &FenceCell {
        &self.words
    }

    /// What the cell has reached.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.words.value()
    }

    /// Where the host finds it.
    #[must_use]
    pub fn io_address(&self) -> u64 {
        self.io_address
    }
}

/// The cells of a device.
#[derive(Debug, Default)]
pub struct Cells {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: Vec<Piece<Block>>,
    free: Vec<Cell>,
    retired: Vec<(u64, Cell)>,
}

impl Cells {
    /// Takes a cell that stands at `value`. `executed` is how far the host has come.
    ///
    /// # Errors
    /// When no memory can be leased.
    pub fn take(
        &self,
        heap: &Heap<Block>,
        lease: &dyn Link,
        value: u64,
        executed: u64,
    ) -> Result<Cell, ash::vk::Result> {
        let state = &mut *self.state.lock();
        let passed = state.retired.extract_if(.., |(position, _)| *position <= executed);
        state.free.extend(passed.map(|(_, cell)| cell));
        if state.free.is_empty() {
            let page = heap.take(lease, GRANULE_BYTES, GRANULE_BYTES, executed)?;
            state.free.extend(cells_of(&page));
            state.pages.push(page);
        }
        let cell = state.free.pop().ok_or(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        cell.words.initialise(value);
        Ok(cell)
    }

    /// Gives a cell back; it is reused when the host has executed all before `position`.
    pub fn give(&self, cell: Cell, position: u64) {
        self.state.lock().retired.push((position, cell));
    }
}

fn cells_of(page: &Piece<Block>) -> impl Iterator<Item = Cell> {
    let memory = page.block.memory().clone();
    let io_base = page.block.io_base().0 + page.offset_bytes;
    let offset = page.offset_bytes;
    (0..GRANULE_BYTES / CELL_STRIDE_BYTES).filter_map(move |index| {
        let at = index * CELL_STRIDE_BYTES;
        let words = memory.sub(usize::try_from(offset + at).ok()?, CELL_BYTES).ok()?;
        let words = FenceCell::new(words).ok()?;
        Some(Cell { words, io_address: io_base + at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;

    #[test]
    fn give_cell_is_reused_only_after_its_position_and_stands_at_its_new_value() {
        let (_host, stream) = FakeHost::start(4096, |_, _| Act::Silence);
        let cells = Cells::default();
        let take = |value, executed| cells.take(&stream.heap, stream.lease(), value, executed).unwrap();
        let per_page = GRANULE_BYTES / CELL_STRIDE_BYTES;
        let mut page: Vec<Cell> = (0..per_page).map(|_| take(3, 0)).collect();
        let last = page.pop().unwrap();
        let address = last.io_address();
        last.words().publish(99);
        cells.give(last, 10);
        assert_ne!(take(0, 9).io_address(), address);
        let again: Vec<Cell> = (0..per_page).map(|_| take(5, 10)).collect();
        let same = again.iter().find(|cell| cell.io_address() == address).unwrap();
        assert_eq!(same.value(), 5);
    }
}
