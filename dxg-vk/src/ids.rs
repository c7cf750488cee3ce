//! Tables of objects whose handles are the ids on the wire.
//!
//! *Why.* The guest names its objects, so that creating one needs no answer. A handle is a slot (low half, from 1) and a
//! generation (high half, from 1); the host checks both, so a stale handle never reaches another object. Slots are reused
//! oldest first, and a slot whose generations are used up is retired.
//!
//! *Locks.* One per table, held for the look-up only, and by [`Table::remove_telling`] for a command without an answer.

use std::collections::VecDeque;

use parking_lot::RwLock;

/// Most slots of one table; the host refuses larger ones.
pub const MAX_SLOTS: usize = 1 << 22;

/// Objects of one type, with what the guest keeps about each.
#[derive(Debug)]
pub struct Table<T> {
    inner: RwLock<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// The table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object table full")]
pub struct TableFull;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { inner: RwLock::new(Inner { slots: Vec::new(), free: VecDeque::new() }) }
    }
}

impl<T> Table<T> {
    /// Stores `value` and names it. The id is never 0.
    ///
    /// # Errors
    /// [`TableFull`] at [`MAX_SLOTS`] live objects.
    pub fn insert(&self, value: T) -> Result<u64, TableFull> {
        let mut inner = self.inner.write();
        let index = match inner.free.pop_front() {
            Some(index) => index,
            None if inner.slots.len() < MAX_SLOTS => {
                inner.slots.push(Slot { generation: 0, value: None });
                u32::try_from(inner.slots.len() - 1).map_err(|_| TableFull)?
            }
            None => return Err(TableFull),
        };
        let slot = inner.slots.get_mut(index as usize).ok_or(TableFull)?;
        slot.generation += 1;
        slot.value = Some(value);
        Ok(u64::from(slot.generation) << 32 | u64::from(index + 1))
    }

    /// Takes an object out; its id is dead from here on. `None` for an id that is not live.
    pub fn remove(&self, id: u64) -> Option<T> {
        let (index, generation) = parts(id)?;
        let mut inner = self.inner.write();
        let slot = inner.slots.get_mut(index as usize).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        if generation != u32::MAX {
            inner.free.push_back(index);
        }
        Some(value)
    }

    /// Runs `destroy`, which tells the host, and takes the object out after it. `None`, and nothing run, for an id that is not
    /// live.
    ///
    /// *Why.* A slot that is free may be named again by another thread at once, and the host must hear of the destruction
    /// before it hears of the new object in its place.
    pub fn remove_after<R>(&self, id: u64, destroy: impl FnOnce() -> R) -> Option<(T, R)> {
        self.with(id, |_| ())?;
        let told = destroy();
        Some((self.remove(id)?, told))
    }

    /// As [`Table::remove_after`], with the table locked meanwhile: `tell` puts a command on the stream and waits for no
    /// answer. One lock less for objects that come and go by the thousand.
    pub fn remove_telling<R>(&self, id: u64, tell: impl FnOnce() -> R) -> Option<(T, R)> {
        let (index, generation) = parts(id)?;
        let mut inner = self.inner.write();
        let slot = inner.slots.get_mut(index as usize).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        let told = tell();
        if generation != u32::MAX {
            inner.free.push_back(index);
        }
        Some((value, told))
    }

    /// Takes every object out.
    pub fn take_all(&self) -> Vec<T> {
        let mut inner = self.inner.write();
        let taken: Vec<(usize, T)> = inner
            .slots
            .iter_mut()
            .enumerate()
            .filter_map(|(index, slot)| slot.value.take().map(|value| (index, value)))
            .collect();
        for (index, _) in &taken {
            let is_worn = inner.slots.get(*index).is_none_or(|slot| slot.generation == u32::MAX);
            if let (false, Ok(index)) = (is_worn, u32::try_from(*index)) {
                inner.free.push_back(index);
            }
        }
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Looks at an object. `None` for an id that is not live.
    pub fn with<R>(&self, id: u64, look: impl FnOnce(&T) -> R) -> Option<R> {
        let (index, generation) = parts(id)?;
        let inner = self.inner.read();
        let slot = inner.slots.get(index as usize).filter(|slot| slot.generation == generation)?;
        slot.value.as_ref().map(look)
    }

    /// Changes what is kept about an object. `None` for an id that is not live.
    pub fn change<R>(&self, id: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let (index, generation) = parts(id)?;
        let mut inner = self.inner.write();
        let slot = inner.slots.get_mut(index as usize).filter(|slot| slot.generation == generation)?;
        slot.value.as_mut().map(change)
    }

    /// A copy of an object's state. `None` for an id that is not live.
    pub fn get(&self, id: u64) -> Option<T>
    where
        T: Clone,
    {
        self.with(id, T::clone)
    }

    /// A copy of every object's state.
    pub fn all(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.inner.read().slots.iter().filter_map(|slot| slot.value.clone()).collect()
    }

    /// How many objects are live.
    pub fn len(&self) -> usize {
        self.inner.read().slots.iter().filter(|slot| slot.value.is_some()).count()
    }

    /// Whether no object is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Slot index (from 0) and generation of an id; `None` for the null handle.
fn parts(id: u64) -> Option<(u32, u32)> {
    let index = (id as u32).checked_sub(1)?;
    Some((index, (id >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_first_object_has_slot_one_generation_one() {
        assert_eq!(Table::default().insert(()).unwrap(), 1 << 32 | 1);
    }

    #[test]
    fn insert_after_remove_has_new_generation_and_old_id_is_dead() {
        let table = Table::default();
        let first = table.insert('a').unwrap();
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b').unwrap();
        assert_eq!(second, 2 << 32 | 1);
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some('b'));
    }

    #[test]
    fn remove_several_slots_are_reused_oldest_first() {
        let table = Table::default();
        let ids: Vec<u64> = (0..3).map(|n| table.insert(n).unwrap()).collect();
        table.remove(ids[1]);
        table.remove(ids[0]);
        assert_eq!(table.insert(9).unwrap() as u32, 2);
        assert_eq!(table.insert(9).unwrap() as u32, 1);
        assert_eq!(table.insert(9).unwrap() as u32, 4);
    }

    #[test]
    fn remove_telling_tells_of_live_objects_only_and_frees_the_slot() {
        let table = Table::default();
        let id = table.insert('a').unwrap();
        assert_eq!(table.remove_telling(id, || 7), Some(('a', 7)));
        assert_eq!(table.remove_telling(id, || panic!("not live")), None::<(char, ())>);
        assert_eq!(table.remove_telling(0, || panic!("null")), None::<(char, ())>);
        assert_eq!(table.insert('b').unwrap(), 2 << 32 | 1);
    }

    #[test]
    fn remove_after_slot_is_not_free_until_the_host_was_told() {
        let table = Table::default();
        let id = table.insert('a').unwrap();
        let (value, meanwhile) = table.remove_after(id, || table.insert('b').unwrap()).unwrap();
        assert_eq!((value, meanwhile), ('a', 1 << 32 | 2));
        assert_eq!(table.insert('c').unwrap(), 2 << 32 | 1);
        assert_eq!(table.remove_after(id, || panic!("not live")), None::<(char, ())>);
    }

    #[test]
    fn take_all_empties_the_table_and_its_ids_are_dead() {
        let table = Table::default();
        let ids: Vec<u64> = (0..3).map(|n| table.insert(n).unwrap()).collect();
        table.remove(ids[1]);
        assert_eq!(table.take_all(), [0, 2]);
        assert!(table.is_empty());
        assert_eq!(table.get(ids[0]), None);
        assert_eq!(table.insert(9).unwrap(), 2 << 32 | 2);
    }

    #[test]
    fn remove_null_and_unknown_ids_are_not_found() {
        let table = Table::<()>::default();
        assert_eq!(table.remove(0), None);
        assert_eq!(table.remove(7 << 32 | 7), None);
        assert!(table.is_empty());
    }

    #[test]
    fn remove_last_generation_retires_the_slot() {
        let table = Table::default();
        let id = table.insert(()).unwrap();
        table.inner.write().slots[0].generation = u32::MAX;
        assert_eq!(table.remove(id | (u64::from(u32::MAX) << 32)), Some(()));
        assert_eq!(table.insert(()).unwrap(), 1 << 32 | 2);
    }
}
