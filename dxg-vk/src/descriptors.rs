//! Descriptor pools: which sets they hold, and how much room is left.
//!
//! *Why.* Descriptor sets are created without the host. Whether a pool has room is answered here, from the sizes that the
//! program gave it, so that an exhausted pool is an error at the right call and not a fault later. A pool keeps its slots
//! when it is reset, so that allocating is a step to the next one.
//!
//! *Invariants.* A pool that has freed single sets of the host since its last reset may be fragmented in a way only the host
//! knows; [`Pool::allocate`] says so and the caller then asks the host.
//!
//! *Locks.* One per pool, held while sets that the host has not heard of are sent; the slots' are taken in it.

use std::sync::Arc;
use std::sync::OnceLock;

use ash::vk;
use ash::vk::Handle;
use parking_lot::Mutex;

use crate::descriptor_sets::Origin;
use crate::descriptor_sets::Samplers;
use crate::descriptor_sets::Set;
use crate::descriptor_sets::Sets;
use crate::descriptor_sets::Timing;
use crate::ids::TableFull;

/// Descriptors by type; bytes for inline uniform blocks. Sets of one layout share them.
pub type Counts = Arc<[(vk::DescriptorType, u32)]>;

/// What a set layout needs of a pool.
#[derive(Clone, Debug)]
pub struct Layout {
    counts: Counts,
    variable: Option<(vk::DescriptorType, u32)>,
    /// When the host hears of sets.
    pub timing: Timing,
    /// What their samplers are.
    pub samplers: Samplers,
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
        let (timing, samplers) = (Timing::Deferred, Samplers::Written);
        Self { counts: counts.into(), variable, timing, samplers }
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

/// Whether the host must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room, and the specification promises success.
    Certain,
    /// The same, of sets that the host hears of at once.
    Tell,
    /// There is room by count; only the host knows about fragmentation.
    AskHost,
}

/// Why a pool gives no sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSets {
    /// The sets or descriptors left do not suffice.
    #[error("descriptor pool exhausted")]
    Exhausted,
    /// The device has too many sets.
    #[error(transparent)]
    TableFull(#[from] TableFull),
}

/// One set that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The layout's id.
    pub layout: u64,
    /// Descriptors of the variable binding, where the program says so.
    pub variable: Option<u32>,
}

/// What one kind of set needs: sets of the same layout and count share it.
#[derive(Debug)]
struct Use {
    wanted: Wanted,
    needs: Counts,
    timing: Timing,
    samplers: Samplers,
}

/// A set's place in a pool.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u32,
    /// Which [`Use`] it is of; `None` while there is no set here.
    kind: Option<u32>,
}

/// A descriptor pool.
#[derive(Debug)]
pub struct Pool {
    id: OnceLock<u64>,
    capacity: Vec<(vk::DescriptorType, u32)>,
    max_sets: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: Vec<(vk::DescriptorType, u32)>,
    uses: Vec<Use>,
    places: Vec<Place>,
    /// Places from here on have had no set since the last reset.
    next: usize,
    /// Places before `next` whose set was freed.
    vacant: Vec<u32>,
    live: u32,
    /// The host had a set that was freed since the last reset.
    freed_on_host: bool,
}

impl Pool {
    /// A pool of `max_sets` sets; sizes of the same type add up.
    pub fn new(max_sets: u32, sizes: impl IntoIterator<Item = (vk::DescriptorType, u32)>) -> Self {
        let mut capacity = Vec::new();
        for (kind, count) in sizes {
            add(&mut capacity, kind, count);
        }
        let state = State {
            left: capacity.clone(),
            uses: Vec::new(),
            places: Vec::new(),
            next: 0,
            vacant: Vec::new(),
            live: 0,
            freed_on_host: false,
        };
        Self { id: OnceLock::new(), capacity, max_sets, state: Mutex::new(state) }
    }

    /// Names the pool, once.
    pub fn name(&self, id: u64) {
        // A pool is named where it is made, by nobody else.
        let _ = self.id.set(id);
    }

    /// Its id on the wire; 0 before it has one.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id.get().copied().unwrap_or_default()
    }

    /// Allocates one set for each of `wanted`, or none, and gives the ids to `out` with their positions.
    ///
    /// # Errors
    /// [`NoSets`].
    pub fn allocate(
        &self,
        sets: &Sets,
        wanted: impl Iterator<Item = Wanted>,
        layout: impl Fn(u64) -> Option<Arc<Layout>>,
        out: &mut [vk::DescriptorSet],
    ) -> Result<Room, NoSets> {
        let state = &mut *self.state.lock();
        for (done, wanted) in wanted.enumerate() {
            let made = state.allocate_one(sets, self.id(), self.max_sets, wanted, &layout);
            match (made, out.get_mut(done)) {
                (Ok(id), Some(place)) => *place = vk::DescriptorSet::from_raw(id),
                (Err(error), _) => {
                    for set in out.iter_mut().take(done) {
                        state.free(sets, set.as_raw());
                        *set = vk::DescriptorSet::null();
                    }
                    return Err(error);
                }
                (Ok(_), None) => {}
            }
        }
        if state.freed_on_host {
            return Ok(Room::AskHost);
        }
        let eager = state.uses.iter().any(|used| used.timing == Timing::Eager);
        Ok(if eager { Room::Tell } else { Room::Certain })
    }

    /// Frees one set, if it is this pool's. Whether the host has it.
    pub fn free(&self, sets: &Sets, set: u64) -> bool {
        self.state.lock().free(sets, set)
    }

    /// Runs `flush` with each set that the host has not heard of, if the layout's id is this or there is none.
    pub fn each_unknown(&self, sets: &Sets, layout: Option<u64>, mut flush: impl FnMut(&Set<'_>)) {
        let state = self.state.lock();
        if layout.is_some_and(|layout| !state.uses.iter().any(|used| used.wanted.layout == layout)) {
            return;
        }
        for place in state.places.iter().take(state.next).filter(|place| place.kind.is_some()) {
            if let Some(set) = sets.at(place.slot)
                && set.slot().is_unknown()
                && layout.is_none_or(|layout| set.slot().layout() == layout)
            {
                flush(&set);
            }
        }
    }

    /// Empties the pool. Whether the host has any set of it, or had since the last time.
    pub fn reset(&self, sets: &Sets) -> bool {
        self.state.lock().reset(sets, &self.capacity)
    }

    /// Ends the pool.
    pub fn end(&self, sets: &Sets) {
        let state = &mut *self.state.lock();
        state.reset(sets, &self.capacity);
        sets.give(state.places.drain(..).map(|place| place.slot));
    }
}

impl State {
    fn use_of(
        &mut self,
        wanted: Wanted,
        layout: impl Fn(u64) -> Option<Arc<Layout>>,
    ) -> Result<usize, NoSets> {
        if let Some(at) = self.uses.iter().position(|used| used.wanted == wanted) {
            return Ok(at);
        }
        // A layout that does not exist is no valid usage; the host will say so.
        let used = match layout(wanted.layout) {
            Some(layout) => Use {
                wanted,
                needs: layout.needs(wanted.variable.unwrap_or_default()),
                timing: layout.timing,
                samplers: layout.samplers,
            },
            None => {
                Use { wanted, needs: Counts::from([]), timing: Timing::Deferred, samplers: Samplers::Written }
            }
        };
        self.uses.push(used);
        Ok(self.uses.len() - 1)
    }

    fn allocate_one(
        &mut self,
        sets: &Sets,
        pool: u64,
        max_sets: u32,
        wanted: Wanted,
        layout: impl Fn(u64) -> Option<Arc<Layout>>,
    ) -> Result<u64, NoSets> {
        if self.live >= max_sets {
            return Err(NoSets::Exhausted);
        }
        let kind = self.use_of(wanted, layout)?;
        let Self { left, uses, places, next, vacant, live, .. } = self;
        let used = uses.get(kind).ok_or(NoSets::Exhausted)?;
        if !take(left, &used.needs) {
            return Err(NoSets::Exhausted);
        }
        let at = vacant.last().map_or(*next, |at| *at as usize);
        if at == places.len() {
            places.push(Place { slot: sets.take().inspect_err(|_| put(left, &used.needs))?, kind: None });
        }
        let place = places.get_mut(at).ok_or(NoSets::Exhausted)?;
        let origin = Origin {
            pool,
            layout: wanted.layout,
            variable: wanted.variable,
            place: u32::try_from(at).map_err(|_| TableFull)?,
            timing: used.timing,
            samplers: used.samplers,
        };
        let id = sets.begin(&mut place.slot, &origin).inspect_err(|_| put(left, &used.needs))?;
        place.kind = u32::try_from(kind).ok();
        if vacant.pop().is_none() {
            *next += 1;
        }
        *live += 1;
        Ok(id)
    }

    fn free(&mut self, sets: &Sets, id: u64) -> bool {
        let Some(set) = sets.get(id) else { return false };
        let at = set.slot().place();
        let Some(place) = self.places.get_mut(at as usize) else { return false };
        // A set of another pool is at the same place there, in another slot.
        if id as u32 != place.slot + 1 {
            return false;
        }
        let Some(kind) = place.kind.take() else { return false };
        if let Some(used) = self.uses.get(kind as usize) {
            put(&mut self.left, &used.needs);
        }
        self.vacant.push(at);
        self.live -= 1;
        let was_known = set.slot().end();
        self.freed_on_host |= was_known;
        was_known
    }

    fn reset(&mut self, sets: &Sets, capacity: &[(vk::DescriptorType, u32)]) -> bool {
        let mut is_known = self.freed_on_host;
        for place in self.places.iter_mut().take(self.next) {
            if place.kind.take().is_some()
                && let Some(set) = sets.at(place.slot)
            {
                is_known |= set.slot().end();
            }
        }
        self.left.copy_from_slice(capacity);
        self.uses.clear();
        self.next = 0;
        self.vacant.clear();
        self.live = 0;
        self.freed_on_host = false;
        is_known
    }
}

fn left_of(left: &mut [(vk::DescriptorType, u32)], kind: vk::DescriptorType) -> Option<&mut u32> {
    left.iter_mut().find(|(have, _)| *have == kind).map(|(_, left)| left)
}

fn take(left: &mut [(vk::DescriptorType, u32)], counts: &Counts) -> bool {
    let fits = counts
        .iter()
        .all(|(kind, count)| *count == 0 || left_of(left, *kind).is_some_and(|left| *left >= *count));
    if fits {
        for (kind, count) in counts.iter() {
            if let Some(left) = left_of(left, *kind) {
                *left -= count;
            }
        }
    }
    fits
}

fn put(left: &mut [(vk::DescriptorType, u32)], counts: &Counts) {
    for (kind, count) in counts.iter() {
        if let Some(left) = left_of(left, *kind) {
            *left += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;

    const UNIFORM: vk::DescriptorType = vk::DescriptorType::UNIFORM_BUFFER;
    const STORAGE: vk::DescriptorType = vk::DescriptorType::STORAGE_BUFFER;

    /// Allocates one set of each of these layouts: so many descriptors of one type.
    fn allocate(
        pool: &Pool,
        sets: &Sets,
        layouts: &[(vk::DescriptorType, u32)],
    ) -> Result<(Room, Vec<u64>), NoSets> {
        let mut out = vec![vk::DescriptorSet::null(); layouts.len()];
        let wanted = (0..).take(layouts.len()).map(|layout| Wanted { layout, variable: None });
        let layout = |id: u64| Some(Arc::new(Layout::new([layouts[id as usize]], None)));
        let room = pool.allocate(sets, wanted, layout, &mut out)?;
        // The next call means other layouts by the same numbers.
        pool.state.lock().uses.iter_mut().for_each(|used| used.wanted.layout += 1000);
        Ok((room, out.iter().map(|set| set.as_raw()).collect()))
    }

    #[test]
    fn allocate_within_sizes_is_certain_and_beyond_is_exhausted() {
        let (pool, sets) = (Pool::new(8, [(UNIFORM, 1), (UNIFORM, 1)]), Sets::default());
        assert_eq!(allocate(&pool, &sets, &[(UNIFORM, 2)]).unwrap().0, Room::Certain);
        assert_eq!(allocate(&pool, &sets, &[(UNIFORM, 1)]), Err(NoSets::Exhausted));
    }

    #[test]
    fn allocate_several_sets_is_all_or_nothing() {
        let (pool, sets) = (Pool::new(8, [(UNIFORM, 2)]), Sets::default());
        let three = [(UNIFORM, 1); 3];
        assert_eq!(allocate(&pool, &sets, &three), Err(NoSets::Exhausted));
        assert_eq!(allocate(&pool, &sets, &three[..2]).unwrap().0, Room::Certain);
    }

    #[test]
    fn allocate_counts_sets_apart_from_descriptors() {
        let (pool, sets) = (Pool::new(1, [(STORAGE, 9)]), Sets::default());
        assert_eq!(allocate(&pool, &sets, &[(STORAGE, 0); 2]), Err(NoSets::Exhausted));
        assert!(allocate(&pool, &sets, &[(STORAGE, 0)]).is_ok());
    }

    #[test]
    fn allocate_type_that_the_pool_lacks_is_exhausted() {
        let (pool, sets) = (Pool::new(1, [(STORAGE, 9)]), Sets::default());
        assert_eq!(allocate(&pool, &sets, &[(UNIFORM, 1)]), Err(NoSets::Exhausted));
    }

    #[test]
    fn free_set_that_the_host_never_had_makes_room_that_is_certain() {
        let (pool, sets) = (Pool::new(1, [(STORAGE, 1)]), Sets::default());
        let first = allocate(&pool, &sets, &[(STORAGE, 1)]).unwrap().1[0];
        assert!(!pool.free(&sets, first));
        assert!(!pool.free(&sets, first), "it is gone");
        assert_eq!(allocate(&pool, &sets, &[(STORAGE, 1)]).unwrap().0, Room::Certain);
    }

    #[test]
    fn free_set_that_the_host_had_makes_room_but_the_host_must_be_asked_until_reset() {
        let (_host, stream) = FakeHost::start(4096, |_, _| Act::Silence);
        let (pool, sets) = (Pool::new(1, [(STORAGE, 1)]), Sets::default());
        let first = allocate(&pool, &sets, &[(STORAGE, 1)]).unwrap().1[0];
        sets.get(first).unwrap().flush(&stream).unwrap();
        assert!(pool.free(&sets, first));
        let (room, second) = allocate(&pool, &sets, &[(STORAGE, 1)]).unwrap();
        assert_eq!(room, Room::AskHost);
        assert!(pool.reset(&sets));
        assert!(sets.get(second[0]).is_none());
        assert_eq!(allocate(&pool, &sets, &[(STORAGE, 1)]).unwrap().0, Room::Certain);
        assert!(!pool.reset(&sets));
    }

    #[test]
    fn free_set_of_another_pool_is_ignored() {
        let sets = Sets::default();
        let (one, other) = (Pool::new(1, [(STORAGE, 1)]), Pool::new(1, [(STORAGE, 1)]));
        let set = allocate(&one, &sets, &[(STORAGE, 1)]).unwrap().1[0];
        allocate(&other, &sets, &[(STORAGE, 1)]).unwrap();
        other.free(&sets, set);
        assert!(sets.get(set).is_some());
    }

    #[test]
    fn end_gives_the_slots_back() {
        let sets = Sets::default();
        let pool = Pool::new(1, [(STORAGE, 1)]);
        let set = allocate(&pool, &sets, &[(STORAGE, 1)]).unwrap().1[0];
        pool.end(&sets);
        assert!(sets.get(set).is_none());
        assert_eq!(sets.take().unwrap() + 1, set as u32);
    }

    #[test]
    fn each_unknown_of_a_layout_leaves_the_others_out() {
        let (_host, stream) = FakeHost::start(4096, |_, _| Act::Silence);
        let (pool, sets) = (Pool::new(4, [(STORAGE, 4)]), Sets::default());
        let layout = |_| Some(Arc::new(Layout::new([(STORAGE, 1)], None)));
        let mut out = [vk::DescriptorSet::null(); 3];
        let wanted = [1, 1, 2].map(|layout| Wanted { layout, variable: None });
        pool.allocate(&sets, wanted.into_iter(), layout, &mut out).unwrap();
        sets.get(out[0].as_raw()).unwrap().flush(&stream).unwrap();
        let mut count = 0;
        pool.each_unknown(&sets, Some(1), |_| count += 1);
        assert_eq!(count, 1);
        pool.each_unknown(&sets, Some(3), |_| count += 100);
        pool.each_unknown(&sets, None, |_| count += 10);
        assert_eq!(count, 21);
    }

    #[test]
    fn needs_variable_binding_uses_the_allocation_count() {
        let layout = Layout::new([(STORAGE, 3), (UNIFORM, 1), (STORAGE, 100)], Some((STORAGE, 100)));
        assert_eq!(*layout.needs(5), [(STORAGE, 8), (UNIFORM, 1)]);
        assert_eq!(*layout.needs(0), [(STORAGE, 3), (UNIFORM, 1)]);
    }
}
