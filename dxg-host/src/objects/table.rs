//! Handles in the format of the kernel interface: slot index in bits 6 to 29, reuse counter in bits 30 and 31.
//!
//! *Why.* The guest stores an object in the slot that the host's handle names, so all kinds of one process share one
//! space of slots. A stale handle must stay stale for as long as the format allows.
//!
//! *Invariants.* The reuse counter is 1 to 3 and moves on before a slot is used again; slots come back oldest first
//! and only when [`RESERVE`] others are free; 0 is never a handle.

use std::collections::VecDeque;

use dxg_ioctl::RawHandle;

/// Free slots that are kept back, so that a freed handle stays dead for a while.
pub const RESERVE: usize = 128;
/// Most slots of a table.
pub const MAX_SLOTS: usize = 1 << 24;

const INDEX_SHIFT: u32 = 6;
const INDEX_MASK: u32 = (1 << 24) - 1;
const UNIQUE_SHIFT: u32 = 30;

/// One slot.
#[derive(Debug)]
struct Slot<T> {
    unique: u32,
    value: Option<T>,
}

/// Values by handle.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<u32>,
    limit: usize,
}

impl<T> Table<T> {
    /// An empty table of at most `limit` slots.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), limit: limit.min(MAX_SLOTS) }
    }

    /// Publishes a value; `None` when the table is full.
    pub fn insert(&mut self, value: T) -> Option<RawHandle> {
        let index = if self.slots.len() >= self.limit || self.free.len() > RESERVE {
            self.free.pop_front()?
        } else {
            let index = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(Slot { unique: 1, value: None });
            index
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.value = Some(value);
        Some(RawHandle((slot.unique << UNIQUE_SHIFT) | (index << INDEX_SHIFT)))
    }

    /// The slot index that a handle names, if its reuse counter is the slot's and the slot is in use.
    fn find(&self, handle: RawHandle) -> Option<usize> {
        let index = usize::try_from((handle.0 >> INDEX_SHIFT) & INDEX_MASK).ok()?;
        let slot = self.slots.get(index)?;
        (slot.unique == handle.0 >> UNIQUE_SHIFT && slot.value.is_some()).then_some(index)
    }

    /// The value of a handle.
    #[must_use]
    pub fn get(&self, handle: RawHandle) -> Option<&T> {
        self.slots.get(self.find(handle)?)?.value.as_ref()
    }

    /// The value of a handle, to change it.
    pub fn get_mut(&mut self, handle: RawHandle) -> Option<&mut T> {
        let index = self.find(handle)?;
        self.slots.get_mut(index)?.value.as_mut()
    }

    /// Takes a value out; its handle is dead from here on.
    pub fn remove(&mut self, handle: RawHandle) -> Option<T> {
        let index = self.find(handle)?;
        let slot = self.slots.get_mut(index)?;
        let value = slot.value.take();
        slot.unique = slot.unique % 3 + 1;
        self.free.push_back(u32::try_from(index).ok()?);
        value
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All handles with their values.
    pub fn iter(&self) -> impl Iterator<Item = (RawHandle, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let index = u32::try_from(index).ok()?;
            let value = slot.value.as_ref()?;
            Some((RawHandle((slot.unique << UNIQUE_SHIFT) | (index << INDEX_SHIFT)), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_handle_has_the_format_of_the_interface() {
        let mut table = Table::new(8);
        assert_eq!(table.insert('a'), Some(RawHandle(0x4000_0000)));
        assert_eq!(table.insert('b'), Some(RawHandle(0x4000_0040)));
    }

    #[test]
    fn removed_handle_is_dead_and_its_slot_comes_back_with_another_counter() {
        let mut table = Table::new(1);
        let first = table.insert('a').unwrap();
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        let second = table.insert('b').unwrap();
        assert_eq!(second, RawHandle(0x8000_0000));
        assert_eq!(table.get(first), None);
        assert_eq!(table.get(second), Some(&'b'));
    }

    #[test]
    fn counter_runs_from_one_to_three_and_never_zero() {
        let mut table = Table::new(1);
        let mut uniques = Vec::new();
        for _ in 0..4 {
            let handle = table.insert(()).unwrap();
            uniques.push(handle.0 >> 30);
            table.remove(handle);
        }
        assert_eq!(uniques, [1, 2, 3, 1]);
    }

    #[test]
    fn full_table_refuses_and_serves_again_after_a_removal() {
        let mut table = Table::new(2);
        let first = table.insert(1).unwrap();
        table.insert(2).unwrap();
        assert_eq!(table.insert(3), None);
        table.remove(first);
        assert!(table.insert(3).is_some());
    }

    #[test]
    fn slots_come_back_oldest_first_and_only_over_the_reserve() {
        let mut table = Table::new(MAX_SLOTS);
        let handles: Vec<_> = (0..=RESERVE).map(|value| table.insert(value).unwrap()).collect();
        for handle in &handles[..RESERVE] {
            table.remove(*handle);
        }
        assert_eq!(
            table.insert(0).unwrap(),
            RawHandle(0x4000_0000 + 64 * 129),
            "the reserve is not over-full yet"
        );
        table.remove(handles[RESERVE]);
        assert_eq!(table.insert(0).unwrap(), RawHandle(0x8000_0000), "oldest slot, next counter");
    }

    #[test]
    fn empty_table_and_foreign_handles_find_nothing() {
        let table: Table<()> = Table::new(4);
        assert_eq!(table.get(RawHandle(0)), None);
        assert_eq!(table.get(RawHandle(0x4000_0000)), None);
        assert_eq!(table.get(RawHandle(u32::MAX)), None);
    }
}
