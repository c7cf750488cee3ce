//! Handle tables: which object a 32-bit handle of this process names.
//!
//! *Why.* The kernel driver keeps two tables per process. Adapter handles are chosen here; all others are chosen by the host
//! and stored in the slot that the host's index names, so that both sides use one value.
//!
//! *Invariants.* A slot holds at most one object. A host handle whose slot is taken, or whose unique bits are 0, is refused. A
//! freed adapter slot waits its turn behind all other free slots and comes back with other unique bits. The handle is freed
//! here before the host is told, because the host may use the value again in its next answer.
//!
//! *Source.* Observed: layout of a handle (instance 6 bits, index 24 bits, unique 2 bits).

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use dxg_ioctl::CallError;
use dxg_ioctl::RawHandle;
use dxg_ioctl::handle::HandleParts;

use crate::errno;

/// Reuse waits until this many slots are free, as in the kernel's table.
const MIN_FREE: usize = 128;

/// Objects under handles that the host chose.
///
/// A map, not an array: the host names the index, and an index near the end of the range must not cost memory.
#[derive(Debug)]
pub(crate) struct HostTable<T> {
    slots: HashMap<u32, (u8, T)>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { slots: HashMap::new() }
    }
}

impl<T> HostTable<T> {
    /// Puts an object under the host's handle. EINVAL when the handle is not one, or the slot is taken.
    pub(crate) fn insert(&mut self, handle: RawHandle, object: T) -> Result<(), CallError> {
        let parts = HandleParts::unpack(handle).map_err(|_| errno::INVALID)?;
        match self.slots.entry(parts.index()) {
            Entry::Occupied(_) => Err(errno::INVALID),
            Entry::Vacant(slot) => {
                slot.insert((parts.unique(), object));
                Ok(())
            }
        }
    }

    /// The object under `handle`. EINVAL when there is none.
    pub(crate) fn get(&self, handle: RawHandle) -> Result<&T, CallError> {
        let parts = HandleParts::unpack(handle).map_err(|_| errno::INVALID)?;
        match self.slots.get(&parts.index()) {
            Some((unique, object)) if *unique == parts.unique() => Ok(object),
            _ => Err(errno::INVALID),
        }
    }

    /// All objects, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.values().map(|(_, object)| object)
    }

    /// Takes the object out. EINVAL when there is none.
    pub(crate) fn remove(&mut self, handle: RawHandle) -> Result<T, CallError> {
        self.get(handle)?;
        self.slots.remove(&handle.index()).map(|(_, object)| object).ok_or(errno::INVALID)
    }
}

/// One slot of an [`OwnTable`].
#[derive(Debug)]
struct Slot<T> {
    /// What the next, or the present, handle of this slot is made of.
    parts: HandleParts,
    object: Option<T>,
}

/// Objects under handles that are chosen here.
#[derive(Debug)]
pub(crate) struct OwnTable<T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<usize>,
}

impl<T> Default for OwnTable<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new() }
    }
}

impl<T> OwnTable<T> {
    /// Puts an object under a new handle. ENOMEM when every index is in use.
    pub(crate) fn insert(&mut self, object: T) -> Result<RawHandle, CallError> {
        let next = u32::try_from(self.slots.len()).ok().and_then(|index| HandleParts::new(index, 1).ok());
        let at = match next {
            Some(parts) if self.free.len() <= MIN_FREE => {
                self.slots.push(Slot { parts, object: None });
                self.slots.len() - 1
            }
            _ => self.free.pop_front().ok_or(errno::NO_MEMORY)?,
        };
        let slot = self.slots.get_mut(at).ok_or(errno::NO_MEMORY)?;
        slot.object = Some(object);
        Ok(slot.parts.pack())
    }

    /// The object under `handle`. EINVAL when there is none.
    pub(crate) fn get(&self, handle: RawHandle) -> Result<&T, CallError> {
        let parts = HandleParts::unpack(handle).map_err(|_| errno::INVALID)?;
        let slot = self.slots.get(parts.index() as usize).filter(|slot| slot.parts == parts);
        slot.and_then(|slot| slot.object.as_ref()).ok_or(errno::INVALID)
    }

    /// Takes the object out. EINVAL when there is none.
    pub(crate) fn remove(&mut self, handle: RawHandle) -> Result<T, CallError> {
        self.get(handle)?;
        let at = handle.index() as usize;
        let slot = self.slots.get_mut(at).ok_or(errno::INVALID)?;
        slot.parts = slot.parts.next_use();
        self.free.push_back(at);
        slot.object.take().ok_or(errno::INVALID)
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use dxg_ioctl::handle::INDEX_MAX;

    use super::*;

    #[test]
    fn own_table_first_handles_are_the_ones_of_the_kernel() {
        let mut table = OwnTable::default();
        assert_eq!(table.insert('a').unwrap(), RawHandle(0x4000_0000));
        assert_eq!(table.insert('b').unwrap(), RawHandle(0x4000_0040));
    }

    #[test]
    fn own_table_freed_handle_is_stale_and_its_slot_waits() {
        let mut table = OwnTable::default();
        let first = table.insert(0).unwrap();
        assert_eq!(table.remove(first).unwrap(), 0);
        assert_eq!(table.get(first).unwrap_err(), errno::INVALID);
        assert_eq!(table.remove(first).unwrap_err(), errno::INVALID);
        assert_eq!(table.insert(1).unwrap(), RawHandle(0x4000_0040));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn own_table_reused_slot_has_other_unique_bits() {
        let mut table = OwnTable::default();
        let handles: Vec<_> = (0..=MIN_FREE).map(|n| table.insert(n).unwrap()).collect();
        for handle in &handles {
            table.remove(*handle).unwrap();
        }
        let again = table.insert(999).unwrap();
        assert_eq!(again.index(), handles[0].index());
        assert_eq!(again.unique(), 2);
        assert_eq!(table.get(handles[0]).unwrap_err(), errno::INVALID);
    }

    #[test]
    fn host_table_refuses_a_taken_slot_and_keeps_its_object() {
        let mut table = HostTable::default();
        table.insert(RawHandle(0x4000_0040), 'a').unwrap();
        assert_eq!(table.insert(RawHandle(0x8000_0040), 'b').unwrap_err(), errno::INVALID);
        assert_eq!(*table.get(RawHandle(0x4000_0040)).unwrap(), 'a');
    }

    #[test]
    fn host_table_refuses_handles_without_unique_bits() {
        let mut table = HostTable::default();
        assert_eq!(table.insert(RawHandle(0), 'a').unwrap_err(), errno::INVALID);
        assert_eq!(table.insert(RawHandle(0x40), 'a').unwrap_err(), errno::INVALID);
    }

    #[test]
    fn host_table_takes_the_last_index_without_a_large_array() {
        let mut table = HostTable::default();
        let last = HandleParts::new(INDEX_MAX, 3).unwrap().pack();
        table.insert(last, 'z').unwrap();
        assert_eq!(table.remove(last).unwrap(), 'z');
        assert_eq!(table.get(last).unwrap_err(), errno::INVALID);
    }

    #[test]
    fn host_table_lookup_ignores_the_instance_bits() {
        let mut table = HostTable::default();
        table.insert(RawHandle(0x4000_0040), 'a').unwrap();
        assert_eq!(*table.get(RawHandle(0x4000_0043)).unwrap(), 'a');
    }
}
