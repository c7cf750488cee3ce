//! Object tables: ids that the guest chose, checked, to native objects.
//!
//! *Why.* A creation does not wait for the host, so the guest names the object: slot in the low 32 bits, from 1, and
//! generation in the high 32 bits, from 1. One indexed load and one comparison find an object; there is no lock,
//! because a table belongs to the thread of one stream.
//!
//! *Invariants.* A slot's generation only grows, so an id of a destroyed object never names a new one. The table grows
//! no further than [`MAX_OBJECTS`] slots, whatever ids come.

use thiserror::Error;

/// Most slots in one table: the most live objects of one type in one device.
pub(crate) const MAX_OBJECTS: usize = 1 << 20;

/// An id that the table does not accept: no honest guest sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadId {
    /// The id names no live object of this type.
    #[error("id {0:#x} names no live object of its type")]
    Unknown(u64),
    /// The slot is in use, the generation is not newer, or the number is no id at all.
    #[error("id {0:#x} cannot be given to a new object")]
    Taken(u64),
    /// The slot is beyond the largest table.
    #[error("id {0:#x} is beyond the {MAX_OBJECTS} slots of a table")]
    Beyond(u64),
}

#[derive(Debug)]
struct Slot<T> {
    /// Of the live object, or of the last one that lived here; 0 before the first.
    generation: u32,
    value: Option<T>,
}

/// Live objects of one type.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

/// Slot index and generation of an id; `None` for the numbers that are no ids.
fn split(id: u64) -> Option<(usize, u32)> {
    let bytes = id.to_le_bytes();
    let (slot, generation) =
        (u32::from_le_bytes(*bytes.first_chunk()?), u32::from_le_bytes(*bytes.last_chunk()?));
    let index = usize::try_from(slot.checked_sub(1)?).ok()?;
    (generation != 0).then_some((index, generation))
}

impl<T> Table<T> {
    /// Takes `value` in under `id`.
    ///
    /// # Errors
    /// [`BadId`] when the guest may not name a new object so; `value` comes back to be destroyed.
    pub(crate) fn insert(&mut self, id: u64, value: T) -> Result<(), (BadId, T)> {
        match self.vacant(id) {
            Ok(slot) => {
                slot.value = Some(value);
                Ok(())
            }
            Err(bad) => Err((bad, value)),
        }
    }

    /// Whether [`Self::insert`] would take `id`; asked before a native object is made.
    ///
    /// # Errors
    /// [`BadId`] when it would not.
    pub(crate) fn check_vacant(&self, id: u64) -> Result<(), BadId> {
        let (index, generation) = split(id).ok_or(BadId::Taken(id))?;
        if index >= MAX_OBJECTS {
            return Err(BadId::Beyond(id));
        }
        match self.slots.get(index) {
            Some(slot) if slot.value.is_some() || slot.generation >= generation => Err(BadId::Taken(id)),
            _ => Ok(()),
        }
    }

    fn vacant(&mut self, id: u64) -> Result<&mut Slot<T>, BadId> {
        self.check_vacant(id)?;
        let (index, generation) = split(id).ok_or(BadId::Taken(id))?;
        if index >= self.slots.len() {
            self.slots.resize_with(index.saturating_add(1), || Slot { generation: 0, value: None });
        }
        let slot = self.slots.get_mut(index).ok_or(BadId::Beyond(id))?;
        slot.generation = generation;
        Ok(slot)
    }

    /// The object that `id` names.
    ///
    /// # Errors
    /// [`BadId::Unknown`] when it names none.
    pub(crate) fn get(&self, id: u64) -> Result<&T, BadId> {
        split(id)
            .and_then(|(index, generation)| {
                self.slots.get(index).filter(|slot| slot.generation == generation)
            })
            .and_then(|slot| slot.value.as_ref())
            .ok_or(BadId::Unknown(id))
    }

    /// Takes the object that `id` names out.
    ///
    /// # Errors
    /// [`BadId::Unknown`] when it names none.
    pub(crate) fn remove(&mut self, id: u64) -> Result<T, BadId> {
        let (index, generation) = split(id).ok_or(BadId::Unknown(id))?;
        let slot = self
            .slots
            .get_mut(index)
            .filter(|slot| slot.generation == generation)
            .ok_or(BadId::Unknown(id))?;
        slot.value.take().ok_or(BadId::Unknown(id))
    }

    /// The live objects, in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// The ids of the live objects, in slot order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.slots
            .iter()
            .zip(1_u64..)
            .filter(|(slot, _)| slot.value.is_some())
            .map(|(slot, number)| number | u64::from(slot.generation) << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::BadId;
    use super::MAX_OBJECTS;
    use super::Table;

    fn id(slot: u64, generation: u64) -> u64 {
        slot | generation << 32
    }

    #[test]
    fn object_under_its_id_is_found_and_removed_once() {
        let mut table = Table::default();
        table.insert(id(3, 1), "a").unwrap();
        assert_eq!(table.get(id(3, 1)), Ok(&"a"));
        assert_eq!(table.remove(id(3, 1)), Ok("a"));
        assert_eq!(table.remove(id(3, 1)), Err(BadId::Unknown(id(3, 1))));
    }

    #[test]
    fn stale_id_does_not_name_the_next_object_of_the_slot() {
        let mut table = Table::default();
        table.insert(id(1, 1), "a").unwrap();
        table.remove(id(1, 1)).unwrap();
        table.insert(id(1, 2), "b").unwrap();
        assert_eq!(table.get(id(1, 1)), Err(BadId::Unknown(id(1, 1))));
        assert_eq!(table.get(id(1, 2)), Ok(&"b"));
    }

    #[test]
    fn generation_that_does_not_grow_is_refused_and_gives_the_value_back() {
        let mut table = Table::default();
        table.insert(id(1, 5), "a").unwrap();
        assert_eq!(table.insert(id(1, 6), "b"), Err((BadId::Taken(id(1, 6)), "b")));
        table.remove(id(1, 5)).unwrap();
        assert_eq!(table.insert(id(1, 5), "b"), Err((BadId::Taken(id(1, 5)), "b")));
    }

    #[test]
    fn numbers_that_are_no_ids_are_refused() {
        let mut table = Table::default();
        assert_eq!(table.insert(0, ()), Err((BadId::Taken(0), ())));
        assert_eq!(table.insert(id(0, 1), ()), Err((BadId::Taken(id(0, 1)), ())));
        assert_eq!(table.insert(id(1, 0), ()), Err((BadId::Taken(id(1, 0)), ())));
        assert_eq!(table.get(0), Err(BadId::Unknown(0)));
    }

    #[test]
    fn slot_beyond_the_limit_is_refused_without_growth() {
        let mut table = Table::default();
        let last = id(MAX_OBJECTS as u64, 1);
        let beyond = id(MAX_OBJECTS as u64 + 1, 1);
        assert_eq!(table.insert(beyond, ()), Err((BadId::Beyond(beyond), ())));
        assert_eq!(table.slots.len(), 0);
        table.insert(last, ()).unwrap();
        assert_eq!(table.get(last), Ok(&()));
    }

    #[test]
    fn ids_are_those_of_the_live_objects() {
        let mut table = Table::default();
        table.insert(id(1, 1), 10).unwrap();
        table.insert(id(2, 1), 15).unwrap();
        table.insert(id(4, 2), 20).unwrap();
        table.remove(id(2, 1)).unwrap();
        assert_eq!(table.ids().collect::<Vec<_>>(), [id(1, 1), id(4, 2)]);
    }
}
