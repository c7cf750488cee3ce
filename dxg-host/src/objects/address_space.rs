//! GPU virtual addresses of one process: which ranges are reserved and what is mapped where.
//!
//! *Why.* Submitted commands name memory by GPU virtual address only; this map is what gives the address a meaning,
//! and what keeps one process's commands inside its own allocations.
//!
//! *Invariants.* Reservations do not overlap. Mappings do not overlap. A mapping made at an address that the caller
//! chose replaces what was mapped there. All addresses and sizes are multiples of [`PAGE_BYTES`].
//!
//! *Units.* Bytes.

use std::collections::BTreeMap;

/// Granularity of mappings.
pub const PAGE_BYTES: u64 = 4096;
/// Alignment of addresses that the host chooses.
pub const CHOICE_ALIGNMENT: u64 = 1 << 16;
/// Lowest address that the host chooses.
pub const MIN_ADDRESS: u64 = 1 << 32;
/// First address beyond the space.
pub const END_ADDRESS: u64 = 1 << 47;
/// Most ranges of either kind.
pub const MAX_RANGES: usize = 1 << 16;

/// A range that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// Not a multiple of a page, empty, or outside the space.
    Invalid,
    /// Taken, or no room.
    Occupied,
    /// Nothing there.
    NotFound,
    /// Too many ranges.
    Full,
}

/// Where an address may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Exactly there.
    At(u64),
    /// Anywhere from the first address to before the second; zeros stand for the bounds of the space.
    Within(u64, u64),
}

/// What is mapped at a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped<T> {
    /// What it is, in the caller's terms.
    pub target: T,
    /// Where in the target the range begins.
    pub offset_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct MappedRange<T> {
    end: u64,
    mapped: Mapped<T>,
}

/// The address space of one process on one adapter. `T` names what is mapped.
#[derive(Debug)]
pub struct AddressSpace<T> {
    /// Start to end.
    reserved: BTreeMap<u64, u64>,
    mapped: BTreeMap<u64, MappedRange<T>>,
}

impl<T> Default for AddressSpace<T> {
    fn default() -> Self {
        Self { reserved: BTreeMap::new(), mapped: BTreeMap::new() }
    }
}

/// End of a range, if the range is legal.
fn checked_end(start: u64, size_bytes: u64) -> Result<u64, RangeError> {
    let end = start.checked_add(size_bytes).ok_or(RangeError::Invalid)?;
    let aligned = start.is_multiple_of(PAGE_BYTES) && size_bytes.is_multiple_of(PAGE_BYTES);
    if aligned && size_bytes != 0 && start >= PAGE_BYTES && end <= END_ADDRESS {
        Ok(end)
    } else {
        Err(RangeError::Invalid)
    }
}

impl<T: Copy + PartialEq> AddressSpace<T> {
    /// Reserves a range and answers where it begins.
    ///
    /// # Errors
    /// [`RangeError`] when the range is not legal, not free, or one too many.
    pub fn reserve(&mut self, placement: Placement, size_bytes: u64) -> Result<u64, RangeError> {
        if self.reserved.len() >= MAX_RANGES {
            return Err(RangeError::Full);
        }
        let start = match placement {
            Placement::At(start) => {
                let end = checked_end(start, size_bytes)?;
                if self.next_occupied(start, end).is_some() {
                    return Err(RangeError::Occupied);
                }
                start
            }
            Placement::Within(low, high) => self.find_room(low, high, size_bytes)?,
        };
        self.reserved.insert(start, checked_end(start, size_bytes)?);
        Ok(start)
    }

    /// Maps a range of `target` and answers where. A range that the host chooses is reserved as well.
    ///
    /// # Errors
    /// [`RangeError`] as for [`Self::reserve`]; an address that the caller chose must lie in one reservation or in
    /// none.
    pub fn map(
        &mut self,
        placement: Placement,
        size_bytes: u64,
        mapped: Mapped<T>,
    ) -> Result<u64, RangeError> {
        if self.mapped.len() >= MAX_RANGES {
            return Err(RangeError::Full);
        }
        let start = match placement {
            Placement::At(start) => {
                let end = checked_end(start, size_bytes)?;
                if self.reservation_of(start, end).is_none() {
                    self.reserve(placement, size_bytes)?;
                }
                start
            }
            Placement::Within(..) => self.reserve(placement, size_bytes)?,
        };
        let end = checked_end(start, size_bytes)?;
        self.unmap_range(start, end);
        self.mapped.insert(start, MappedRange { end, mapped });
        Ok(start)
    }

    /// Unmaps a range; its reservation stays.
    ///
    /// # Errors
    /// [`RangeError::Invalid`] when the range is not legal.
    pub fn unmap(&mut self, start: u64, size_bytes: u64) -> Result<(), RangeError> {
        let end = checked_end(start, size_bytes)?;
        self.unmap_range(start, end);
        Ok(())
    }

    /// Frees a range: what is mapped in it is unmapped, and the reservations that it covers end.
    ///
    /// # Errors
    /// [`RangeError::NotFound`] when no reservation lies in the range, or one lies across its border.
    pub fn free(&mut self, start: u64, size_bytes: u64) -> Result<(), RangeError> {
        let end = checked_end(start, size_bytes)?;
        let inside: Vec<u64> = self.reserved.range(start..end).map(|(start, _)| *start).collect();
        let across = |reserved: Option<(&u64, &u64)>| reserved.is_some_and(|(_, reserved)| *reserved > end);
        if inside.is_empty() || across(self.reserved.range(..end).next_back()) {
            return Err(RangeError::NotFound);
        }
        for start in inside {
            self.reserved.remove(&start);
        }
        self.unmap_range(start, end);
        Ok(())
    }

    /// Unmaps everything of a target.
    pub fn forget(&mut self, target: T) {
        self.mapped.retain(|_, range| range.mapped.target != target);
    }

    /// What is mapped at `address`, and how many bytes of it follow from there.
    #[must_use]
    pub fn resolve(&self, address: u64) -> Option<(Mapped<T>, u64)> {
        let (start, range) = self.mapped.range(..=address).next_back()?;
        let left = range.end.checked_sub(address).filter(|left| *left != 0)?;
        let offset_bytes = range.mapped.offset_bytes.checked_add(address - start)?;
        Some((Mapped { target: range.mapped.target, offset_bytes }, left))
    }

    /// The reservation that holds all of a range.
    fn reservation_of(&self, start: u64, end: u64) -> Option<u64> {
        let (base, reserved_end) = self.reserved.range(..=start).next_back()?;
        (*reserved_end >= end).then_some(*base)
    }

    /// End of the last reservation that meets a range.
    fn next_occupied(&self, start: u64, end: u64) -> Option<u64> {
        let (_, reserved_end) = self.reserved.range(..end).next_back()?;
        (*reserved_end > start).then_some(*reserved_end)
    }

    fn find_room(&self, low: u64, high: u64, size_bytes: u64) -> Result<u64, RangeError> {
        let low =
            low.max(MIN_ADDRESS).checked_next_multiple_of(CHOICE_ALIGNMENT).ok_or(RangeError::Invalid)?;
        let high = if high == 0 { END_ADDRESS } else { high.min(END_ADDRESS) };
        checked_end(low, size_bytes)?;
        let mut start = low;
        let mut meets =
            self.reserved.range(..=low).next_back().map(|(_, end)| *end).into_iter().filter(|end| *end > low);
        if let Some(end) = meets.next() {
            start = end.next_multiple_of(CHOICE_ALIGNMENT);
        }
        for (reserved, end) in self.reserved.range(low..) {
            if start.checked_add(size_bytes).is_some_and(|wanted| wanted <= *reserved) {
                break;
            }
            start = start.max(end.next_multiple_of(CHOICE_ALIGNMENT));
        }
        let end = start.checked_add(size_bytes).ok_or(RangeError::Invalid)?;
        if end <= high { Ok(start) } else { Err(RangeError::Occupied) }
    }

    fn unmap_range(&mut self, start: u64, end: u64) {
        let met: Vec<u64> = self
            .mapped
            .range(..end)
            .rev()
            .take_while(|(_, range)| range.end > start)
            .map(|(at, _)| *at)
            .collect();
        for at in met {
            let Some(range) = self.mapped.remove(&at) else { continue };
            if at < start {
                self.mapped.insert(at, MappedRange { end: start, mapped: range.mapped });
            }
            if range.end > end {
                let offset_bytes = range.mapped.offset_bytes + (end - at);
                let mapped = Mapped { target: range.mapped.target, offset_bytes };
                self.mapped.insert(end, MappedRange { end: range.end, mapped });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYWHERE: Placement = Placement::Within(0, 0);
    const PAGE: u64 = PAGE_BYTES;

    fn target(offset_bytes: u64) -> Mapped<char> {
        Mapped { target: 'a', offset_bytes }
    }

    #[test]
    fn reserve_anywhere_answers_aligned_ranges_that_do_not_overlap() {
        let mut space = AddressSpace::<char>::default();
        let first = space.reserve(ANYWHERE, 3 * PAGE).unwrap();
        let second = space.reserve(ANYWHERE, PAGE).unwrap();
        assert_eq!(first, MIN_ADDRESS);
        assert_eq!(second, MIN_ADDRESS + CHOICE_ALIGNMENT);
    }

    #[test]
    fn reserve_fills_a_hole_that_fits_and_skips_one_that_does_not() {
        let mut space = AddressSpace::<char>::default();
        let first = space.reserve(ANYWHERE, CHOICE_ALIGNMENT).unwrap();
        space.reserve(ANYWHERE, CHOICE_ALIGNMENT).unwrap();
        space.free(first, CHOICE_ALIGNMENT).unwrap();
        let large = space.reserve(ANYWHERE, 2 * CHOICE_ALIGNMENT).unwrap();
        assert_eq!(large, MIN_ADDRESS + 2 * CHOICE_ALIGNMENT);
        assert_eq!(space.reserve(ANYWHERE, CHOICE_ALIGNMENT), Ok(first));
    }

    #[test]
    fn reserve_at_an_occupied_address_is_refused() {
        let mut space = AddressSpace::<char>::default();
        let at = space.reserve(ANYWHERE, 4 * PAGE).unwrap();
        assert_eq!(space.reserve(Placement::At(at + PAGE), PAGE), Err(RangeError::Occupied));
        assert_eq!(space.reserve(Placement::At(at + 4 * PAGE), PAGE), Ok(at + 4 * PAGE));
    }

    #[test]
    fn reserve_beyond_the_limit_of_the_caller_is_refused() {
        let mut space = AddressSpace::<char>::default();
        let within = Placement::Within(MIN_ADDRESS, MIN_ADDRESS + PAGE);
        assert_eq!(space.reserve(within, 2 * PAGE), Err(RangeError::Occupied));
    }

    #[test]
    fn illegal_ranges_are_refused() {
        let mut space = AddressSpace::<char>::default();
        assert_eq!(space.reserve(ANYWHERE, 0), Err(RangeError::Invalid));
        assert_eq!(space.reserve(ANYWHERE, 1), Err(RangeError::Invalid));
        assert_eq!(space.reserve(ANYWHERE, !(PAGE - 1)), Err(RangeError::Invalid));
        assert_eq!(space.reserve(Placement::At(0), PAGE), Err(RangeError::Invalid));
        assert_eq!(space.reserve(Placement::At(END_ADDRESS), PAGE), Err(RangeError::Invalid));
        assert_eq!(space.reserve(Placement::Within(u64::MAX, 0), PAGE), Err(RangeError::Invalid));
    }

    #[test]
    fn resolve_answers_offset_and_bytes_left() {
        let mut space = AddressSpace::default();
        let at = space.map(ANYWHERE, 2 * PAGE, target(PAGE)).unwrap();
        assert_eq!(space.resolve(at + 10), Some((target(PAGE + 10), 2 * PAGE - 10)));
        assert_eq!(space.resolve(at + 2 * PAGE), None);
        assert_eq!(space.resolve(at - 1), None);
    }

    #[test]
    fn map_over_the_middle_of_a_mapping_splits_it() {
        let mut space = AddressSpace::default();
        let at = space.map(ANYWHERE, 3 * PAGE, target(0)).unwrap();
        let other = Mapped { target: 'b', offset_bytes: 0 };
        space.map(Placement::At(at + PAGE), PAGE, other).unwrap();
        assert_eq!(space.resolve(at), Some((target(0), PAGE)));
        assert_eq!(space.resolve(at + PAGE), Some((other, PAGE)));
        assert_eq!(space.resolve(at + 2 * PAGE), Some((target(2 * PAGE), PAGE)));
    }

    #[test]
    fn map_across_the_border_of_a_reservation_is_refused() {
        let mut space = AddressSpace::default();
        let at = space.reserve(ANYWHERE, 2 * PAGE).unwrap();
        assert_eq!(space.map(Placement::At(at + PAGE), 2 * PAGE, target(0)), Err(RangeError::Occupied));
    }

    #[test]
    fn free_unmaps_and_a_second_free_finds_nothing() {
        let mut space = AddressSpace::default();
        let at = space.map(ANYWHERE, PAGE, target(0)).unwrap();
        assert_eq!(space.free(at, PAGE), Ok(()));
        assert_eq!(space.resolve(at), None);
        assert_eq!(space.free(at, PAGE), Err(RangeError::NotFound));
    }

    #[test]
    fn free_of_a_part_of_a_reservation_is_refused() {
        let mut space = AddressSpace::<char>::default();
        let at = space.reserve(ANYWHERE, 2 * PAGE).unwrap();
        assert_eq!(space.free(at, PAGE), Err(RangeError::NotFound));
        assert_eq!(space.free(at + PAGE, PAGE), Err(RangeError::NotFound));
    }

    #[test]
    fn forget_unmaps_all_ranges_of_a_target() {
        let mut space = AddressSpace::default();
        let first = space.map(ANYWHERE, PAGE, target(0)).unwrap();
        let second = space.map(ANYWHERE, PAGE, Mapped { target: 'b', offset_bytes: 0 }).unwrap();
        space.forget('a');
        assert_eq!(space.resolve(first), None);
        assert!(space.resolve(second).is_some());
    }
}
