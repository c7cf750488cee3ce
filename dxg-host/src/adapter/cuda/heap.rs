//! The heap of `malloc` in kernels: a range of device memory that the guest has set aside.
//!
//! *Invariants.* What is free and what is not is recorded here, not in the heap's own memory, which kernels and the guest write.

use std::collections::BTreeMap;
use std::collections::HashMap;

/// Addresses and sizes of blocks are multiples of this, so that records take no more memory than what they record.
const UNIT: u64 = 64;
/// Most blocks at once.
const MOST_BLOCKS: usize = 1 << 20;

/// A heap.
#[derive(Debug)]
pub(super) struct Heap {
    /// Free ranges by start: their ends. Neighbours are joined.
    free: BTreeMap<u64, u64>,
    /// Blocks in use by start: their bytes.
    used: HashMap<u64, u64>,
}

impl Heap {
    /// The heap of a range.
    pub(super) fn new(start: u64, bytes: u64) -> Self {
        let first = start.next_multiple_of(UNIT);
        let end = (start + bytes) / UNIT * UNIT;
        let free = if first < end { BTreeMap::from([(first, end)]) } else { BTreeMap::new() };
        Self { free, used: HashMap::new() }
    }

    /// A block of at least so many bytes; 0 where there is none.
    pub(super) fn allocate(&mut self, bytes: u64) -> u64 {
        let Some(bytes) = bytes.max(1).checked_next_multiple_of(UNIT) else { return 0 };
        if self.used.len() >= MOST_BLOCKS {
            return 0;
        }
        let fits = self.free.iter().find(|(start, end)| **end - **start >= bytes);
        let Some((start, end)) = fits.map(|(start, end)| (*start, *end)) else { return 0 };
        self.free.remove(&start);
        if start + bytes < end {
            self.free.insert(start + bytes, end);
        }
        self.used.insert(start, bytes);
        start
    }

    /// Gives a block back. Whether it was one.
    pub(super) fn release(&mut self, start: u64) -> bool {
        let Some(bytes) = self.used.remove(&start) else { return false };
        let (mut start, mut end) = (start, start + bytes);
        if let Some(behind) = self.free.remove(&end) {
            end = behind;
        }
        let before = self.free.range(..start).next_back().map(|(start, end)| (*start, *end));
        if let Some((before, its_end)) = before
            && its_end == start
        {
            start = before;
        }
        self.free.insert(start, end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let mut heap = Heap::new(0x1001, 0x1000);
        let one = heap.allocate(1);
        let two = heap.allocate(65);
        assert_eq!((one, two), (0x1040, 0x1080));
        assert_eq!(heap.allocate(64), 0x1100);
    }

    #[test]
    fn freed_neighbours_become_one_range() {
        let mut heap = Heap::new(0x1000, 192);
        let blocks = [heap.allocate(64), heap.allocate(64), heap.allocate(64)];
        assert_eq!(heap.allocate(1), 0);
        for block in [blocks[0], blocks[2], blocks[1]] {
            assert!(heap.release(block));
        }
        assert_eq!(heap.allocate(192), 0x1000);
    }

    #[test]
    fn only_what_was_allocated_is_released_and_only_once() {
        let mut heap = Heap::new(0x1000, 192);
        let block = heap.allocate(8);
        assert!(!heap.release(block + 8));
        assert!(heap.release(block));
        assert!(!heap.release(block));
    }

    #[test]
    fn sizes_beyond_the_heap_are_refused() {
        let mut heap = Heap::new(0x1000, 192);
        assert_eq!(heap.allocate(u64::MAX), 0);
        assert_eq!(heap.allocate(193), 0);
    }
}
