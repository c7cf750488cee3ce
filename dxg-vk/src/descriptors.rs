//! Accounting of descriptor pools.
//!
//! *Why.* Descriptor sets are created without waiting for the host. Whether a pool has room is answered here, from the
//! sizes that the program gave it, so that an exhausted pool is an error at the right call and not a fault later.
//!
//! *Invariants.* A pool that has freed single sets since its last reset may be fragmented in a way only the host knows;
//! [`Pool::allocate`] says so and the caller then asks the host.

use std::collections::HashMap;

use ash::vk;
use parking_lot::Mutex;

/// Descriptors by type.
pub type Counts = Vec<(vk::DescriptorType, u32)>;

/// What a set layout needs of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors of each type; bytes for inline uniform blocks.
    pub counts: Counts,
    /// Type and layout count of the binding whose count an allocation may lower.
    pub variable: Option<(vk::DescriptorType, u32)>,
}

impl Layout {
    /// Adds a binding.
    pub fn add(&mut self, kind: vk::DescriptorType, count: u32) {
        match self.counts.iter_mut().find(|(have, _)| *have == kind) {
            Some((_, have)) => *have = have.saturating_add(count),
            None => self.counts.push((kind, count)),
        }
    }

    /// What one set needs when its variable binding has `variable_count` descriptors.
    #[must_use]
    pub fn needs(&self, variable_count: u32) -> Counts {
        let mut counts = self.counts.clone();
        if let Some((kind, most)) = self.variable
            && let Some((_, have)) = counts.iter_mut().find(|(have, _)| *have == kind)
        {
            *have = have.saturating_sub(most).saturating_add(variable_count);
        }
        counts
    }
}

/// Whether the host must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room, and the specification promises success.
    Certain,
    /// There is room by count; only the host knows about fragmentation.
    AskHost,
}

/// The pool has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("descriptor pool exhausted")]
pub struct Exhausted;

/// A descriptor pool.
#[derive(Debug)]
pub struct Pool {
    capacity: HashMap<vk::DescriptorType, u32>,
    max_sets: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: HashMap<vk::DescriptorType, u32>,
    sets: HashMap<u64, Counts>,
    freed_since_reset: bool,
}

impl Pool {
    /// A pool of `max_sets` sets; sizes of the same type add up.
    pub fn new(max_sets: u32, sizes: impl IntoIterator<Item = (vk::DescriptorType, u32)>) -> Self {
        let mut capacity = HashMap::new();
        for (kind, count) in sizes {
            let total: &mut u32 = capacity.entry(kind).or_default();
            *total = total.saturating_add(count);
        }
        let left = capacity.clone();
        let state = Mutex::new(State { left, sets: HashMap::new(), freed_since_reset: false });
        Self { capacity, max_sets, state }
    }

    /// Reserves room for all of `sets` or for none.
    ///
    /// # Errors
    /// [`Exhausted`] when the sets or descriptors left do not suffice.
    pub fn allocate(&self, sets: &[(u64, Counts)]) -> Result<Room, Exhausted> {
        let state = &mut *self.state.lock();
        if state.sets.len() + sets.len() > self.max_sets as usize {
            return Err(Exhausted);
        }
        for (taken, (_, counts)) in sets.iter().enumerate() {
            if !state.take(counts) {
                for (_, earlier) in sets.iter().take(taken) {
                    state.put(earlier);
                }
                return Err(Exhausted);
            }
        }
        state.sets.extend(sets.iter().cloned());
        Ok(if state.freed_since_reset { Room::AskHost } else { Room::Certain })
    }

    /// Returns one set's room. An unknown set is ignored.
    pub fn free(&self, set: u64) {
        let state = &mut *self.state.lock();
        if let Some(counts) = state.sets.remove(&set) {
            state.put(&counts);
            state.freed_since_reset = true;
        }
    }

    /// Empties the pool and says which sets were in it.
    pub fn reset(&self) -> Vec<u64> {
        let state = &mut *self.state.lock();
        state.left.clone_from(&self.capacity);
        state.freed_since_reset = false;
        state.sets.drain().map(|(set, _)| set).collect()
    }
}

impl State {
    fn take(&mut self, counts: &Counts) -> bool {
        let fits = counts
            .iter()
            .all(|(kind, count)| *count == 0 || self.left.get(kind).is_some_and(|left| left >= count));
        if fits {
            for (kind, count) in counts {
                if let Some(left) = self.left.get_mut(kind) {
                    *left -= count;
                }
            }
        }
        fits
    }

    fn put(&mut self, counts: &Counts) {
        for (kind, count) in counts {
            if let Some(left) = self.left.get_mut(kind) {
                *left += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFORM: vk::DescriptorType = vk::DescriptorType::UNIFORM_BUFFER;
    const STORAGE: vk::DescriptorType = vk::DescriptorType::STORAGE_BUFFER;

    #[test]
    fn allocate_within_sizes_is_certain_and_beyond_is_exhausted() {
        let pool = Pool::new(8, [(UNIFORM, 1), (UNIFORM, 1)]);
        assert_eq!(pool.allocate(&[(1, vec![(UNIFORM, 2)])]), Ok(Room::Certain));
        assert_eq!(pool.allocate(&[(2, vec![(UNIFORM, 1)])]), Err(Exhausted));
    }

    #[test]
    fn allocate_several_sets_is_all_or_nothing() {
        let pool = Pool::new(8, [(UNIFORM, 2)]);
        let three: Vec<_> = (1..=3).map(|set| (set, vec![(UNIFORM, 1)])).collect();
        assert_eq!(pool.allocate(&three), Err(Exhausted));
        assert_eq!(pool.allocate(&three[..2]), Ok(Room::Certain));
    }

    #[test]
    fn allocate_counts_sets_apart_from_descriptors() {
        let pool = Pool::new(1, [(STORAGE, 9)]);
        assert_eq!(pool.allocate(&[(1, vec![]), (2, vec![])]), Err(Exhausted));
        assert_eq!(pool.allocate(&[(1, vec![])]), Ok(Room::Certain));
    }

    #[test]
    fn allocate_type_that_the_pool_lacks_is_exhausted() {
        let pool = Pool::new(1, [(STORAGE, 9)]);
        assert_eq!(pool.allocate(&[(1, vec![(UNIFORM, 1)])]), Err(Exhausted));
    }

    #[test]
    fn free_makes_room_again_but_the_host_must_be_asked_until_reset() {
        let pool = Pool::new(1, [(STORAGE, 1)]);
        pool.allocate(&[(1, vec![(STORAGE, 1)])]).unwrap();
        pool.free(1);
        assert_eq!(pool.allocate(&[(2, vec![(STORAGE, 1)])]), Ok(Room::AskHost));
        assert_eq!(pool.reset(), [2]);
        assert_eq!(pool.allocate(&[(3, vec![(STORAGE, 1)])]), Ok(Room::Certain));
    }

    #[test]
    fn needs_variable_binding_uses_the_allocation_count() {
        let mut layout = Layout { variable: Some((STORAGE, 100)), ..Layout::default() };
        layout.add(STORAGE, 3);
        layout.add(STORAGE, 100);
        assert_eq!(layout.needs(5), [(STORAGE, 8)]);
        assert_eq!(layout.needs(0), [(STORAGE, 3)]);
    }
}
