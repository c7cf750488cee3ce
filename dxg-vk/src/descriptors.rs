//! Accounting of descriptor pools.
//!
//! *Why.* Descriptor sets are created without waiting for the host. Whether a pool has room is answered here, from the
//! sizes that the program gave it, so that an exhausted pool is an error at the right call and not a fault later.
//!
//! *Invariants.* A pool that has freed single sets since its last reset may be fragmented in a way only the host knows;
//! [`Pool::allocate`] says so and the caller then asks the host.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::sync::Arc;

use ash::vk;
use parking_lot::Mutex;

/// Descriptors by type; bytes for inline uniform blocks. Sets of one layout share them.
pub type Counts = Arc<[(vk::DescriptorType, u32)]>;

/// What a set layout needs of a pool.
#[derive(Clone, Debug)]
pub struct Layout {
    counts: Counts,
    variable: Option<(vk::DescriptorType, u32)>,
}

fn add(counts: &mut Vec<(vk::DescriptorType, u32)>, kind: vk::DescriptorType, count: u32) {
    match counts.iter_mut().find(|(have, _)| *have == kind) {
        Some((_, have)) => *have = have.saturating_add(count),
        None => counts.push((kind, count)),
    }
}

impl Layout {
    /// A layout of these bindings. `variable` is the type and the count of the binding whose count an allocation may lower;
    /// it is among the bindings.
    pub fn new(
        bindings: impl IntoIterator<Item = (vk::DescriptorType, u32)>,
        variable: Option<(vk::DescriptorType, u32)>,
    ) -> Self {
        let mut counts = Vec::new();
        for (kind, count) in bindings {
            add(&mut counts, kind, count);
        }
        Self { counts: counts.into(), variable }
    }

    /// What one set needs when its variable binding has `variable_count` descriptors.
    #[must_use]
    pub fn needs(&self, variable_count: u32) -> Counts {
        let Some((kind, most)) = self.variable else { return Arc::clone(&self.counts) };
        let lowered = self.counts.iter().map(|(have, count)| {
            let lowered = count.saturating_sub(most).saturating_add(variable_count);
            (*have, if *have == kind { lowered } else { *count })
        });
        lowered.collect()
    }
}

/// Hashes ids, which are slots: distinct already, and only to be spread.
#[derive(Debug, Default)]
struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
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
    capacity: Vec<(vk::DescriptorType, u32)>,
    max_sets: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: Vec<(vk::DescriptorType, u32)>,
    sets: HashMap<u64, Counts, BuildHasherDefault<SlotHasher>>,
    freed_since_reset: bool,
}

impl Pool {
    /// A pool of `max_sets` sets; sizes of the same type add up.
    pub fn new(max_sets: u32, sizes: impl IntoIterator<Item = (vk::DescriptorType, u32)>) -> Self {
        let mut capacity = Vec::new();
        for (kind, count) in sizes {
            add(&mut capacity, kind, count);
        }
        let left = capacity.clone();
        let state = Mutex::new(State { left, sets: HashMap::default(), freed_since_reset: false });
        Self { capacity, max_sets, state }
    }

    /// Reserves room for all of `sets`, each of which needs what stands at its place in `needs`, or for none.
    ///
    /// # Errors
    /// [`Exhausted`] when the sets or descriptors left do not suffice.
    pub fn allocate(&self, sets: &[u64], needs: &[Counts]) -> Result<Room, Exhausted> {
        let state = &mut *self.state.lock();
        if state.sets.len() + sets.len() > self.max_sets as usize {
            return Err(Exhausted);
        }
        for (taken, counts) in needs.iter().enumerate() {
            if !state.take(counts) {
                for earlier in needs.iter().take(taken) {
                    state.put(earlier);
                }
                return Err(Exhausted);
            }
        }
        state.sets.extend(sets.iter().copied().zip(needs.iter().cloned()));
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
    fn left(&mut self, kind: vk::DescriptorType) -> Option<&mut u32> {
        self.left.iter_mut().find(|(have, _)| *have == kind).map(|(_, left)| left)
    }

    fn take(&mut self, counts: &Counts) -> bool {
        let fits = counts
            .iter()
            .all(|(kind, count)| *count == 0 || self.left(*kind).is_some_and(|left| *left >= *count));
        if fits {
            for (kind, count) in counts.iter() {
                if let Some(left) = self.left(*kind) {
                    *left -= count;
                }
            }
        }
        fits
    }

    fn put(&mut self, counts: &Counts) {
        for (kind, count) in counts.iter() {
            if let Some(left) = self.left(*kind) {
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

    fn counts(kind: vk::DescriptorType, count: u32) -> Counts {
        Arc::from([(kind, count)])
    }

    #[test]
    fn allocate_within_sizes_is_certain_and_beyond_is_exhausted() {
        let pool = Pool::new(8, [(UNIFORM, 1), (UNIFORM, 1)]);
        assert_eq!(pool.allocate(&[1], &[counts(UNIFORM, 2)]), Ok(Room::Certain));
        assert_eq!(pool.allocate(&[2], &[counts(UNIFORM, 1)]), Err(Exhausted));
    }

    #[test]
    fn allocate_several_sets_is_all_or_nothing() {
        let pool = Pool::new(8, [(UNIFORM, 2)]);
        let three = [counts(UNIFORM, 1), counts(UNIFORM, 1), counts(UNIFORM, 1)];
        assert_eq!(pool.allocate(&[1, 2, 3], &three), Err(Exhausted));
        assert_eq!(pool.allocate(&[1, 2], &three[..2]), Ok(Room::Certain));
    }

    #[test]
    fn allocate_counts_sets_apart_from_descriptors() {
        let pool = Pool::new(1, [(STORAGE, 9)]);
        let none = Counts::from([]);
        assert_eq!(pool.allocate(&[1, 2], &[Arc::clone(&none), Arc::clone(&none)]), Err(Exhausted));
        assert_eq!(pool.allocate(&[1], &[none]), Ok(Room::Certain));
    }

    #[test]
    fn allocate_type_that_the_pool_lacks_is_exhausted() {
        let pool = Pool::new(1, [(STORAGE, 9)]);
        assert_eq!(pool.allocate(&[1], &[counts(UNIFORM, 1)]), Err(Exhausted));
    }

    #[test]
    fn free_makes_room_again_but_the_host_must_be_asked_until_reset() {
        let pool = Pool::new(1, [(STORAGE, 1)]);
        let one = [counts(STORAGE, 1)];
        pool.allocate(&[1], &one).unwrap();
        pool.free(1);
        assert_eq!(pool.allocate(&[2], &one), Ok(Room::AskHost));
        assert_eq!(pool.reset(), [2]);
        assert_eq!(pool.allocate(&[3], &one), Ok(Room::Certain));
    }

    #[test]
    fn needs_variable_binding_uses_the_allocation_count() {
        let layout = Layout::new([(STORAGE, 3), (UNIFORM, 1), (STORAGE, 100)], Some((STORAGE, 100)));
        assert_eq!(*layout.needs(5), [(STORAGE, 8), (UNIFORM, 1)]);
        assert_eq!(*layout.needs(0), [(STORAGE, 3), (UNIFORM, 1)]);
    }
}
