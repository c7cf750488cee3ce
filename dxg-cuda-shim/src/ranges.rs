//! Free pieces of a range of addresses.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// Free pieces by address.
#[derive(Debug, Default)]
pub struct Ranges {
    free: BTreeMap<u64, u64>,
    free_bytes: u64,
}

impl Ranges {
    /// All of `start..start + bytes` is free.
    #[must_use]
    pub fn new(start: u64, bytes: u64) -> Self {
        Self { free: BTreeMap::from([(start, bytes)]), free_bytes: bytes }
    }

    /// Takes `bytes` at a multiple of `alignment`, the first that fits.
    pub fn take(&mut self, bytes: u64, alignment: u64) -> Option<u64> {
        let (start, length, at) = self.free.iter().find_map(|(&start, &length)| {
            let at = start.checked_next_multiple_of(alignment)?;
            (at.checked_add(bytes)? <= start + length).then_some((start, length, at))
        })?;
        self.cut(start, length, at, bytes);
        Some(at)
    }

    /// Takes exactly `at..at + bytes`; whether it was free.
    pub fn take_at(&mut self, at: u64, bytes: u64) -> bool {
        let Some((&start, &length)) = self.free.range(..=at).next_back() else { return false };
        let fits = at.checked_add(bytes).is_some_and(|end| end <= start + length);
        if fits {
            self.cut(start, length, at, bytes);
        }
        fits
    }

    fn cut(&mut self, start: u64, length: u64, at: u64, bytes: u64) {
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        let rest = start + length - (at + bytes);
        if rest > 0 {
            self.free.insert(at + bytes, rest);
        }
        self.free_bytes -= bytes;
    }

    /// Gives back what was taken.
    pub fn give(&mut self, at: u64, bytes: u64) {
        let (mut start, mut length) = (at, bytes);
        if let Some((&before, &before_length)) = self.free.range(..at).next_back()
            && before + before_length == start
        {
            self.free.remove(&before);
            start = before;
            length += before_length;
        }
        if let Some(after) = self.free.remove(&(start + length)) {
            length += after;
        }
        self.free.insert(start, length);
        self.free_bytes += bytes;
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_aligned_and_grow_together_again() {
        let mut ranges = Ranges::new(0x100, 0x1000);
        assert_eq!(ranges.take(0x10, 0x200), Some(0x200));
        assert_eq!(ranges.take(0x100, 0x100), Some(0x100));
        assert!(!ranges.take_at(0x200, 1));
        assert!(ranges.take_at(0x300, 0x100));
        ranges.give(0x100, 0x100);
        ranges.give(0x300, 0x100);
        ranges.give(0x200, 0x10);
        assert_eq!(ranges.free_bytes(), 0x1000);
        assert_eq!(ranges.take(0x1000, 1), Some(0x100));
        assert_eq!(ranges.take(1, 1), None);
    }
}
