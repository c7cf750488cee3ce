//! First-fit allocation of ranges inside one block.
//!
//! *Units.* Bytes from the start of the block; sizes are multiples of [`GRANULE_BYTES`].

use std::collections::BTreeMap;

/// Ranges begin and end at multiples of this many bytes: one page.
pub const GRANULE_BYTES: u64 = 4096;

/// The free ranges of a block, by offset.
#[derive(Debug)]
pub struct Ranges {
    size_bytes: u64,
    free: BTreeMap<u64, u64>,
}

impl Ranges {
    /// A block of `size_bytes`, all free.
    #[must_use]
    pub fn new(size_bytes: u64) -> Self {
        let size_bytes = size_bytes / GRANULE_BYTES * GRANULE_BYTES;
        Self { size_bytes, free: BTreeMap::from([(0, size_bytes)]) }
    }

    /// Takes `size_bytes` at a multiple of `alignment` (a power of two). `None` when no range fits.
    pub fn take(&mut self, size_bytes: u64, alignment: u64) -> Option<u64> {
        let size_bytes = size_bytes.max(1).checked_next_multiple_of(GRANULE_BYTES)?;
        let alignment = alignment.max(GRANULE_BYTES);
        let (start, length, at) = self.free.iter().find_map(|(&start, &length)| {
            let at = start.checked_next_multiple_of(alignment)?;
            (at.checked_add(size_bytes)? <= start + length).then_some((start, length, at))
        })?;
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        let rest = start + length - (at + size_bytes);
        if rest > 0 {
            self.free.insert(at + size_bytes, rest);
        }
        Some(at)
    }

    /// Gives back what [`Ranges::take`] gave, with the same size.
    pub fn give(&mut self, offset: u64, size_bytes: u64) {
        let mut start = offset;
        let mut length = size_bytes.max(1).next_multiple_of(GRANULE_BYTES);
        if let Some((&before, &before_length)) = self.free.range(..offset).next_back()
            && before + before_length == start
        {
            self.free.remove(&before);
            start = before;
            length += before_length;
        }
        if let Some(after_length) = self.free.remove(&(start + length)) {
            length += after_length;
        }
        self.free.insert(start, length);
    }

    /// Whether nothing is taken.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.free.get(&0) == Some(&self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_rounds_to_pages_and_fills_in_order() {
        let mut ranges = Ranges::new(4 * GRANULE_BYTES);
        assert_eq!(ranges.take(1, 1), Some(0));
        assert_eq!(ranges.take(4097, 1), Some(4096));
        assert_eq!(ranges.take(4096, 1), Some(3 * 4096));
        assert_eq!(ranges.take(1, 1), None);
    }

    #[test]
    fn take_aligned_leaves_the_gap_usable() {
        let mut ranges = Ranges::new(32 * GRANULE_BYTES);
        assert_eq!(ranges.take(4096, 4096), Some(0));
        assert_eq!(ranges.take(4096, 65536), Some(65536));
        assert_eq!(ranges.take(4096, 4096), Some(4096));
    }

    #[test]
    fn give_in_any_order_merges_to_one_range() {
        let mut ranges = Ranges::new(3 * GRANULE_BYTES);
        let taken: Vec<u64> = (0..3).map(|_| ranges.take(4096, 1).unwrap()).collect();
        assert!(!ranges.is_unused());
        ranges.give(taken[0], 4096);
        ranges.give(taken[2], 1);
        ranges.give(taken[1], 4096);
        assert!(ranges.is_unused());
        assert_eq!(ranges.take(3 * 4096, 1), Some(0));
    }

    #[test]
    fn take_more_than_any_size_is_refused_without_overflow() {
        let mut ranges = Ranges::new(1 << 20);
        assert_eq!(ranges.take(u64::MAX, 1), None);
        assert_eq!(ranges.take((1 << 20) + 1, 1), None);
        assert_eq!(ranges.take(4096, 1 << 63), Some(0));
    }
}
