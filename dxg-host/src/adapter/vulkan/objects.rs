//! The native objects of one stream, by type and id.

use std::collections::HashMap;

use dxg_wire::generated::vulkan::ObjectKind;

use super::table::BadId;
use super::table::Table;

/// Native handles of one stream.
pub(crate) struct Objects {
    tables: [Table<Entry>; ObjectKind::COUNT],
    /// Ids of objects that end with their pool, by type and native handle of the pool.
    children: HashMap<(ObjectKind, u64), Vec<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    native: u64,
    /// Native handle of the pool it came from, 0 for none.
    parent: u64,
}

impl Default for Objects {
    fn default() -> Self {
        Self { tables: core::array::from_fn(|_| Table::default()), children: HashMap::new() }
    }
}

impl Objects {
    fn table(&self, kind: ObjectKind, id: u64) -> Result<&Table<Entry>, BadId> {
        self.tables.get(usize::from(kind.0)).ok_or(BadId::Unknown(id))
    }

    fn table_mut(&mut self, kind: ObjectKind, id: u64) -> Result<&mut Table<Entry>, BadId> {
        self.tables.get_mut(usize::from(kind.0)).ok_or(BadId::Unknown(id))
    }

    /// The native handle under `id`.
    ///
    /// # Errors
    /// The id names no object.
    #[inline]
    pub(crate) fn lookup(&self, kind: ObjectKind, id: u64) -> Result<u64, BadId> {
        Ok(self.table(kind, id)?.get(id)?.native)
    }

    /// Whether `id` can name a new object.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn check_vacant(&self, kind: ObjectKind, id: u64) -> Result<(), BadId> {
        self.table(kind, id)?.check_vacant(id)
    }

    /// Takes a native object in; `parent` is the native handle of its pool, or 0.
    ///
    /// # Errors
    /// The id cannot name a new object.
    pub(crate) fn insert(
        &mut self,
        kind: ObjectKind,
        id: u64,
        native: u64,
        parent: u64,
    ) -> Result<(), BadId> {
        self.table_mut(kind, id)?.insert(id, Entry { native, parent }).map_err(|(bad, _)| bad)?;
        if parent != 0 {
            self.children.entry((kind, parent)).or_default().push(id);
        }
        Ok(())
    }

    /// Takes the object out of the table.
    ///
    /// # Errors
    /// The id names no object.
    pub(crate) fn remove(&mut self, kind: ObjectKind, id: u64) -> Result<u64, BadId> {
        let entry = self.table_mut(kind, id)?.remove(id)?;
        if entry.parent != 0
            && let Some(ids) = self.children.get_mut(&(kind, entry.parent))
            && let Some(at) = ids.iter().rposition(|one| *one == id)
        {
            ids.swap_remove(at);
        }
        Ok(entry.native)
    }

    /// Takes an object out that must have come from this pool (its native handle).
    ///
    /// # Errors
    /// The id names no object, or one of another pool.
    pub(crate) fn remove_from(&mut self, kind: ObjectKind, id: u64, parent: u64) -> Result<u64, BadId> {
        if self.table(kind, id)?.get(id)?.parent != parent {
            return Err(BadId::Unknown(id));
        }
        self.remove(kind, id)
    }

    /// The ids of the objects of a pool.
    pub(crate) fn children(&self, kind: ObjectKind, parent: u64) -> &[u64] {
        self.children.get(&(kind, parent)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Forgets all objects of a pool, which have ended with it.
    pub(crate) fn remove_children(&mut self, kind: ObjectKind, parent: u64) {
        for id in self.children.remove(&(kind, parent)).unwrap_or_default() {
            if let Ok(table) = self.table_mut(kind, id) {
                // Every child is in the table: both are changed together.
                let _ = table.remove(id);
            }
        }
    }

    /// The ids of all objects of a type.
    pub(crate) fn ids(&self, kind: ObjectKind) -> Vec<u64> {
        self.tables.get(usize::from(kind.0)).map(|table| table.ids().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use dxg_wire::generated::vulkan::ObjectKind;

    use super::Objects;

    const KIND: ObjectKind = ObjectKind::DESCRIPTOR_SET;

    fn id(slot: u64) -> u64 {
        slot | 1 << 32
    }

    #[test]
    fn objects_of_a_pool_end_with_it_and_others_stay() {
        let mut objects = Objects::default();
        objects.insert(KIND, id(1), 11, 7).unwrap();
        objects.insert(KIND, id(2), 12, 8).unwrap();
        objects.remove_children(KIND, 7);
        assert!(objects.lookup(KIND, id(1)).is_err());
        assert_eq!(objects.lookup(KIND, id(2)), Ok(12));
    }

    #[test]
    fn object_is_not_taken_out_through_another_pool() {
        let mut objects = Objects::default();
        objects.insert(KIND, id(1), 11, 7).unwrap();
        assert!(objects.remove_from(KIND, id(1), 8).is_err());
        assert_eq!(objects.remove_from(KIND, id(1), 7), Ok(11));
    }

    #[test]
    fn id_of_one_type_names_nothing_of_another() {
        let mut objects = Objects::default();
        objects.insert(KIND, id(1), 11, 0).unwrap();
        assert!(objects.lookup(ObjectKind::BUFFER, id(1)).is_err());
    }
}
